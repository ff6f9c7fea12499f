"""What a call asks for: the model, a stream, and what ties it to earlier calls.

A body is decoded once, only as deep as needed: the messages stay bytes, of which a digest is taken each, so that a
request with a megabyte of history costs about what finding its ends costs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from taximeter.wire.format import Route
from taximeter.wire.keeping import bounded
from taximeter.wire.loose import UNDECODED, JsonObject, arr, obj, text, utf8_len

_OBJECT_STARTS = (b"{", b" ", b"\n", b"\r", b"\t")
_EDGE = 96
"""How much of a message's beginning and end tells it apart, with its length."""
_COPIED = 4096
"""A message up to this size is copied, which is sooner done than looking into it where it is."""


class ToolAnswer(msgspec.Struct, frozen=True):
    """The result of a tool call that a request carries back to the model.

    Attributes:
        id: of the tool call that it answers.
        failed: whether the caller says that the tool failed; ``None`` where the format cannot say.
        result_bytes: length of the result, in bytes of UTF-8.
    """

    id: str
    failed: bool | None
    result_bytes: int


class Asking(msgspec.Struct, frozen=True):
    """What the body of a call says.

    Attributes:
        model: the model asked for.
        stream: whether a stream was asked for; ``None`` when the body does not say.
        digests: one per message, in order: equal for equal messages.
        tool_answers: the results in the newest messages.
        previous: the id of an earlier response that this one continues.
    """

    model: str | None = None
    stream: bool | None = None
    digests: tuple[int, ...] = ()
    tool_answers: tuple[ToolAnswer, ...] = ()
    previous: str | None = None


class _Usual(msgspec.Struct, gc=False):
    """A body that is what most are."""

    model: str | None = None
    stream: bool | None = None
    messages: list[msgspec.Raw] | None = None
    input: str | list[msgspec.Raw] | None = None
    contents: list[msgspec.Raw] | None = None
    modelId: str | None = None  # noqa: N815 - as Bedrock calls it
    previous_response_id: str | None = None
    previous_interaction_id: str | None = None


class _Body(msgspec.Struct):
    """Any other."""

    model: Any = None
    stream: Any = None
    messages: msgspec.Raw = msgspec.Raw()
    input: msgspec.Raw = msgspec.Raw()
    contents: msgspec.Raw = msgspec.Raw()
    modelId: Any = None  # noqa: N815 - as Bedrock calls it
    previous_response_id: Any = None
    previous_interaction_id: Any = None


class _Part(msgspec.Struct, gc=False):
    type: str | None = None
    toolResult: None = None  # noqa: N815 - as Bedrock calls it
    functionResponse: None = None  # noqa: N815 - as Gemini calls it


class _Message(msgspec.Struct, gc=False):
    """As much of a message as tells whether it holds the result of a tool; what does not fit in here may."""

    role: str | None = None
    type: str | None = None
    content: str | list[_Part] | None = None
    parts: list[_Part] | None = None


_PLAIN_TEXT = re.compile(rb'\{\s*"role"\s*:\s*"(?:user|system|developer|assistant)"\s*,\s*"content"\s*:\s*"')
"""How a message begins that says something in one text: in no format does such a one carry a result too."""

_decode_usual = msgspec.json.Decoder(_Usual).decode
_decode_body = msgspec.json.Decoder(_Body).decode
_decode_messages = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_message = msgspec.json.Decoder(_Message).decode
_decode = msgspec.json.decode
_OUTPUTS = ("function_call_output", "custom_tool_call_output")


def read_asking(route: Route, body: bytes | None) -> Asking:
    """Reads a request's body; what is no JSON object (a form, an upload) says nothing but the route's own model."""
    if not body or body[:1] not in _OBJECT_STARTS:
        return Asking(route.model, route.stream)
    try:
        found = _decode_usual(body)
    except UNDECODED:
        return _read_any(route, body)
    messages = found.messages if found.contents is None or found.messages is not None else found.contents
    if messages is None:
        messages = found.input if isinstance(found.input, list) else []
    return Asking(
        found.model or found.modelId or route.model,
        route.stream if found.stream is None else found.stream,
        tuple([_digest(message) for message in messages]),
        _tool_answers(messages),
        found.previous_response_id or found.previous_interaction_id or None,
    )


def _read_any(route: Route, body: bytes) -> Asking:
    try:
        found = _decode_body(body)
    except UNDECODED:
        return Asking(route.model, route.stream)
    messages = _first_list(found.messages, found.contents, found.input)
    return Asking(
        text(found.model) or text(found.modelId) or route.model,
        found.stream if isinstance(found.stream, bool) else route.stream,
        tuple(map(_digest, messages)),
        _tool_answers(messages),
        text(found.previous_response_id) or text(found.previous_interaction_id),
    )


def _first_list(*values: msgspec.Raw) -> list[msgspec.Raw]:
    """The items of the first of the values that is an array."""
    for raw in values:
        if bytes(memoryview(raw)[:1]) == b"[":
            try:
                return _decode_messages(raw)
            except UNDECODED:
                return []
    return []


def _digest(message: msgspec.Raw) -> int:
    size = len(message)
    if size <= _COPIED:
        data = bytes(message)
        return hash((size, data[:_EDGE], data[-_EDGE:]))
    view = memoryview(message)
    return hash((size, bytes(view[:_EDGE]), bytes(view[-_EDGE:])))


def _tool_answers(messages: list[msgspec.Raw]) -> tuple[ToolAnswer, ...]:
    """The results in the last messages, back to the last that holds none."""
    if not messages or not _may_answer(messages[-1]):
        return ()  # as most requests
    found: list[ToolAnswer] = []
    for raw in reversed(messages):
        try:
            answers = list(_answers_in(obj(_decode(raw)))) if _may_answer(raw) else []
        except UNDECODED:
            break
        if not answers:
            break
        found[:0] = answers  # in the order of the request
    return tuple(found)


def _may_answer(raw: msgspec.Raw) -> bool:
    if _PLAIN_TEXT.match(memoryview(raw)[:_EDGE]):
        return False  # without a copy of what may be a megabyte
    try:
        message = _decode_message(raw)
    except UNDECODED:
        return True
    if message.role == "tool" or message.type in _OUTPUTS:
        return True
    parts = message.content if isinstance(message.content, list) else None
    return any(part.type == "tool_result" for part in parts or message.parts or ())


def _answers_in(message: JsonObject) -> Iterator[ToolAnswer]:
    if message.get("type") in _OUTPUTS:  # Responses
        yield from _answer(message.get("call_id"), None, message.get("output"))
    elif message.get("role") == "tool":  # Chat Completions, Cohere
        yield from _answer(message.get("tool_call_id"), None, message.get("content"))
    for part in arr(message.get("content")) or arr(message.get("parts")):
        block = obj(part)
        if block.get("type") == "tool_result":  # Anthropic
            yield from _answer(block.get("tool_use_id"), block.get("is_error") is True, block.get("content"))
        converse = obj(block.get("toolResult"))
        if converse:  # Bedrock
            yield from _answer(converse.get("toolUseId"), converse.get("status") == "error", converse.get("content"))
        gemini = obj(block.get("functionResponse"))
        if gemini:
            failed = "error" in obj(gemini.get("response"))
            yield from _answer(gemini.get("id"), failed, gemini.get("response"))


def _answer(identity: object, failed: bool | None, result: object) -> Iterator[ToolAnswer]:  # noqa: FBT001 - as it is kept
    named = text(identity)
    if named is not None:
        size = (
            utf8_len(result)
            if isinstance(result, str)
            else len(msgspec.json.encode(result))
            if result is not None
            else 0
        )
        yield ToolAnswer(named, failed, size)


class _Said(msgspec.Struct):
    """Where the formats have what the user says."""

    messages: Any = None
    contents: Any = None
    input: Any = None
    prompt: Any = None
    message: Any = None
    inputText: Any = None  # noqa: N815 - as Amazon's Titan calls it
    inputs: Any = None


_decode_said = msgspec.json.Decoder(_Said).decode
_NO_MESSAGES = frozenset(
    {
        "openai.embeddings",
        "openai.speech",
        "openai.transcriptions",
        "gemini.embed",
        "cohere.embed",
        "vertex.predict",
        "rerank",
        "mistral.ocr",
    }
)
_TEXT_PARTS = (None, "text", "input_text")
_USER_ITEMS = (None, "message", "user_input")
"""Types of items without a role that are the user's: Gemini's have neither, Interactions name theirs."""
_BETWEEN_PARTS = "\n"


def last_user_text(route: Route, body: bytes | None) -> str | None:
    """The text of the user's newest message, bounded; ``None`` where a request has none.

    What carries back the results of tools is no message of the user's, though some formats give it that role. Of a
    message in several parts, the texts are joined by a line feed.
    """
    if not body or body[:1] not in _OBJECT_STARTS or route.api in _NO_MESSAGES:
        return None
    try:
        said = _decode_said(body)
    except UNDECODED:
        return None
    try:
        found = _words_in(said)
    except UNDECODED:
        return None
    return bounded(found) if found else None


def _words_in(said: _Said) -> str | None:
    for value in (said.messages, said.contents, said.input):
        if value:
            return _newest(value)
    prompts = (said.prompt, said.message, said.inputText, said.inputs)
    return next((found for value in prompts if (found := _text_of(value))), None)


def _newest(messages: object) -> str | None:
    """The text of the newest message of the user, among messages or the parts of one."""
    parts: list[str] = []
    for each in reversed(arr(messages) or [messages]):
        message = obj(each)
        role = message.get("role")
        content = message.get("content", message.get("parts"))
        kind = message.get("type")
        if role is None and content is None:  # a part of the one message; or the result of a tool
            parts += filter(None, [_text_of([each]) if kind in _TEXT_PARTS else None])
            continue
        if parts:
            break
        theirs = kind in _USER_ITEMS if role is None else isinstance(role, str) and role.lower() == "user"
        if not theirs:
            continue
        if said := _text_of(content):
            return said
        if not any(_answers_in(message)):
            return None  # a picture, say
    return _BETWEEN_PARTS.join(reversed(parts)) or None


def _text_of(content: object) -> str | None:
    """The text of what is a text itself, or has some, or is made of parts that have."""
    if isinstance(content, str):
        return content or None
    texts = [each if isinstance(each, str) else obj(each).get("text") for each in arr(content) or [content]]
    return _BETWEEN_PARTS.join(each for each in texts if isinstance(each, str) and each) or None
