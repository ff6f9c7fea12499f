"""What a request asks for, whatever format it came in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Final, Literal, NamedTuple, cast

import msgspec

from taximeter.simulator.knobs import Knobs
from taximeter.simulator.tokens import MEDIA_TOKENS, MESSAGE_TOKENS, tokens
from taximeter.wire.format import Route
from taximeter.wire.loose import JsonObject as Json
from taximeter.wire.loose import arr, obj, text


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """One request, taken apart.

    Attributes:
        path: without the query.
        query: what follows it.
        headers: by lower-case name.
        body: the JSON, or the fields of a form.
        route: format, provider and model, as :func:`taximeter.wire.recognise` tells; the model without its knobs.
        model: as asked for, without its knobs.
        stream: whether a stream is asked for.
        knobs: what the caller turned.
        key: a digest of what is asked: the same request has the same, streamed or not.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: Json
    route: Route
    model: str
    stream: bool
    knobs: Knobs
    key: bytes

    @property
    def id(self) -> str:
        """24 hexadecimal digits that ids are made of."""
        return self.key.hex()[:24]


class Turn(NamedTuple):
    """One message.

    Attributes:
        text: every text in it.
        media: how many pictures, sounds and files it holds.
        mark: the lifetime (``5m``, ``1h``) of the cache entry that is to end here, if one is.
    """

    role: Literal["system", "user", "assistant", "tool"]
    text: str
    media: int = 0
    mark: str | None = None

    @property
    def tokens(self) -> int:
        """What it costs."""
        return MESSAGE_TOKENS + tokens(self.text) + MEDIA_TOKENS * self.media

    def digest(self, before: bytes) -> bytes:
        """A digest of this message and all before it."""
        return hashlib.sha256(before + f"{self.role}\0{self.media}\0{self.text}".encode("utf-8", "replace")).digest()


class Tool(NamedTuple):
    """A tool that the request declares."""

    name: str
    schema: Json


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What a model is asked for.

    Attributes:
        turns: the messages, the system's first.
        effort: how hard it is to think; ``None`` when the request does not ask for thinking.
        choice: ``required``, ``none``, or the name of the tool to call; ``None`` leaves it to the model.
        parallel: whether several tools may be called at once.
        max_tokens: of output, thinking included.
        choices: how many answers are wanted.
        marks_cache: whether the format's cache keeps only what the request marks.
    """

    turns: tuple[Turn, ...]
    tools: tuple[Tool, ...] = ()
    effort: str | None = None
    choice: str | None = None
    parallel: bool = True
    max_tokens: int | None = None
    choices: int = 1
    marks_cache: bool = False

    @property
    def tools_tokens(self) -> int:
        """What the declarations of the tools cost."""
        return sum(tokens(tool.name) + tokens(dump(tool.schema)) for tool in self.tools)


def whole(*values: object) -> int | None:
    """The first of the values that is a number above 0."""
    return next((each for each in values if isinstance(each, int) and not isinstance(each, bool) and each > 0), None)


def dump(value: object) -> str:
    """Compact JSON."""
    return msgspec.json.encode(value).decode()


_MEDIA: Final = frozenset(
    [
        "image_url",
        "input_audio",
        "inlineData",
        "inline_data",
        "fileData",
        "file_data",
        "file_id",
        "source",
        "image",
        "video",
        "document",
        "file",
    ]
)
_NAMES: Final = frozenset(
    [
        "type",
        "role",
        "id",
        "tool_call_id",
        "tool_use_id",
        "toolUseId",
        "call_id",
        "cache_control",
        "cachePoint",
        "status",
        "signature",
        "thoughtSignature",
        "encrypted_content",
        "citations",
        "detail",
        "filename",
    ]
)


class _Content:
    def __init__(self) -> None:
        self.texts: list[str] = []
        self.media = 0
        self.mark: str | None = None

    def walk(self, value: object) -> None:
        if isinstance(value, str):
            self.texts.append(value)
        elif isinstance(value, list):
            for each in arr(cast("object", value)):
                self.walk(each)
        elif isinstance(value, dict):
            for key, each in obj(cast("object", value)).items():
                self._member(key, each)

    def _member(self, key: str, value: object) -> None:
        if key == "images":  # Ollama: a list beside the text
            self.media += len(arr(value))
        elif key in _MEDIA and value:
            self.media += 1
        elif key in ("cache_control", "cachePoint") and isinstance(value, dict):
            self.mark = text(obj(cast("object", value)).get("ttl")) or "5m"
        elif key not in _NAMES:
            self.walk(value)


def turn(role: object, content: object, *, tool: bool = False) -> Turn:
    """One message: its texts wherever they stand in it, its media, and where its cache entry is to end.

    Args:
        role: as the format calls it.
        content: text, parts, or the whole message; names, ids and types in it do not count.
        tool: whether it brings a tool's result.
    """
    found = _Content()
    found.walk(content)
    role = "tool" if tool or role in ("tool", "function") else _ROLES.get(str(role).lower(), "user")
    return Turn(role, "\n".join(found.texts), found.media, found.mark)


_ROLES: Final[Mapping[str, Literal["system", "user", "assistant"]]] = {
    "system": "system",
    "developer": "system",
    "assistant": "assistant",
    "model": "assistant",
    "chatbot": "assistant",
}


def openai_turns(messages: object) -> Iterator[Turn]:
    """The messages of those who speak as OpenAI's chat does: a role and a content each."""
    for each in arr(messages):
        yield turn(obj(each).get("role"), each)


def openai_tools(tools: object) -> Iterator[Tool]:
    """The tools of those who declare them as OpenAI does, beside or within ``function``."""
    for each in arr(tools):
        declared = obj(obj(each).get("function")) or obj(obj(each).get("custom")) or obj(each)
        name = text(declared.get("name"))
        if name is not None:
            yield Tool(name, obj(declared.get("parameters")) or obj(declared.get("parameters_json_schema")))


def openai_choice(value: object) -> str | None:
    """What OpenAI's ``tool_choice`` says: ``required``, ``none``, or a name."""
    if isinstance(value, dict):
        chosen = obj(cast("object", value))
        return text(obj(chosen.get("function")).get("name")) or text(chosen.get("name")) or "required"
    named = {"required": "required", "any": "required", "none": "none", "REQUIRED": "required", "NONE": "none"}
    return named.get(str(value))
