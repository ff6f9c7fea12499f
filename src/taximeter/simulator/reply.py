"""The answer of one format, ready to be sent: its head, its body in chunks, and what it states."""

from __future__ import annotations

import base64

import msgspec

from taximeter.wire.eventstream import encode_message
from taximeter.wire.loose import JsonObject as Json

JSON = "application/json"
SSE = "text/event-stream"
LINES = "application/x-ndjson"
BINARY = "application/vnd.amazon.eventstream"
CREATED = 1_790_000_000
"""The moment at which every answer says that it was made: a moment that moves would make answers differ."""
CREATED_TEXT = "2026-09-21T14:13:20Z"

dumps = msgspec.json.encode
"""Compact JSON, as bytes."""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """An answer before any fault is done to it.

    Attributes:
        kind: the content type.
        chunks: the body; a stream's events each, or the whole in one.
        stream: whether it is a stream.
        usage: the usage that it states, by our units; ``None`` when it states none.
        usage_at: the chunk that has stated all of it.
        broken: what a stream of this format sends when the provider fails in its midst.
        response_id: the answer's own id.
        model: the model that it names.
        tool_calls: how many it asks for.
        headers: beside the content type.
    """

    chunks: list[bytes]
    usage: dict[str, int] | None
    kind: str = JSON
    stream: bool = False
    usage_at: int = 0
    broken: bytes = b""
    response_id: str | None = None
    model: str | None = None
    tool_calls: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    status: int = 200


def event(data: object, *, newline: bytes = b"\n") -> bytes:
    """A server-sent event of data alone."""
    return b"data: " + dumps(data) + newline + newline


def typed(data: Json, key: str = "type") -> bytes:
    """A server-sent event that is named after the type of its data."""
    return b"event: " + str(data[key]).encode() + b"\ndata: " + dumps(data) + b"\n\n"


def line(data: object) -> bytes:
    """One document on a line."""
    return dumps(data) + b"\n"


def message(name: str, data: object, kind: str = "event") -> bytes:
    """One of Amazon's binary messages: an event, or an ``exception``."""
    headers = {f":{kind}-type": name, ":content-type": JSON, ":message-type": kind}
    return encode_message(headers, dumps(data))


def wrapped(data: object) -> bytes:
    """A vendor's own event within one of Amazon's messages."""
    return message("chunk", {"bytes": base64.b64encode(dumps(data)).decode(), "p": "abcdefgh"})


def pretty(data: object) -> bytes:
    """JSON over many lines."""
    return msgspec.json.format(dumps(data), indent=2)


def padding(serial: str, size: int) -> str:
    """So many characters of nothing: what hides the length of a piece of text."""
    return (serial * (1 + size // len(serial)))[:size]
