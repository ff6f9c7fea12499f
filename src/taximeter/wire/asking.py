"""What a call asks for: the model, a stream, and what ties it to earlier calls.

A body is decoded once, only as deep as needed: the messages stay bytes, of which a digest is taken each, so that a
request with a megabyte of history costs about what finding its ends costs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from taximeter.wire.format import Route
from taximeter.wire.loose import JsonObject, arr, obj, text, utf8_len

_IN_ANSWERS = (b"tool", b"call_output", b"functionResponse", b"\\u")
"""One of these is in every message that holds the result of a tool; an escape may hide the others."""
_EDGE = 96
"""How much of a message's beginning and end tells it apart, with its length."""


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


class _Body(msgspec.Struct):
    model: Any = None
    modelId: Any = None  # noqa: N815 - as Bedrock calls it
    stream: Any = None
    messages: msgspec.Raw = msgspec.Raw()
    input: msgspec.Raw = msgspec.Raw()
    contents: msgspec.Raw = msgspec.Raw()
    system: msgspec.Raw = msgspec.Raw()
    previous_response_id: Any = None
    previous_interaction_id: Any = None


_decode_body = msgspec.json.Decoder(_Body).decode
_decode_messages = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode = msgspec.json.decode


def read_asking(route: Route, body: bytes | None) -> Asking:
    """Reads a request's body; what is no JSON object (a form, an upload) says nothing but the route's own model."""
    if not body or body[:1] not in (b"{", b" ", b"\n", b"\r", b"\t"):
        return Asking(model=route.model, stream=route.stream)
    try:
        found = _decode_body(body)
    except (msgspec.DecodeError, RecursionError):
        return Asking(model=route.model, stream=route.stream)
    messages = _messages(found)
    stream = found.stream if isinstance(found.stream, bool) else route.stream
    return Asking(
        model=text(found.model) or text(found.modelId) or route.model,
        stream=stream,
        digests=tuple(_digest(message) for message in messages),
        tool_answers=tuple(_tool_answers(messages)),
        previous=text(found.previous_response_id) or text(found.previous_interaction_id),
    )


def _messages(body: _Body) -> list[msgspec.Raw]:
    for raw in (body.messages, body.contents, body.input):
        if bytes(memoryview(raw)[:1]) == b"[":
            try:
                return _decode_messages(raw)
            except (msgspec.DecodeError, RecursionError):
                return []
    return []


def _digest(message: msgspec.Raw) -> int:
    view = memoryview(message)
    return hash((len(view), bytes(view[:_EDGE]), bytes(view[-_EDGE:])))


def _tool_answers(messages: list[msgspec.Raw]) -> Iterator[ToolAnswer]:
    """The results in the last messages, back to the last that holds none."""
    for raw in reversed(messages):
        data = bytes(raw)
        if not any(part in data for part in _IN_ANSWERS):
            return  # what most messages are: not worth decoding
        try:
            message = obj(_decode(raw))
        except (msgspec.DecodeError, RecursionError):
            return
        answers = list(_answers_in(message))
        if not answers:
            return
        yield from answers


def _answers_in(message: JsonObject) -> Iterator[ToolAnswer]:
    if message.get("type") in ("function_call_output", "custom_tool_call_output"):  # Responses
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
