"""The framings that providers put their answers in: one document, events, lines, an array, binary messages."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from taximeter.wire.eventstream import encode_message

Json = Mapping[str, object]

JSON = "application/json"
SSE = "text/event-stream"
LINES = "application/x-ndjson"
BINARY = "application/vnd.amazon.eventstream"
ADVICE = "Pack light, leave early, and let the afternoon decide."
WORDS = tuple(f"{word} " for word in ADVICE.split())


class Demo(NamedTuple):
    """One capture to write: what was asked of whom, and the bytes that answered.

    Attributes:
        folder: where it goes, below the demo captures: ``openai_chat/stream``.
        url: host and path.
        request: the request's body.
        body: the response's body, as it would come over the wire.
        kind: the response's content type.
        status: the HTTP status.
        headers: of the response, beside content type and date.
    """

    folder: str
    url: str
    request: Json
    body: bytes
    kind: str = JSON
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


def compact(value: object) -> bytes:
    """A JSON document as a server writes it, without spaces."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def pretty(value: object) -> bytes:
    """A JSON document over many lines."""
    return json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n"


def events(documents: Iterable[Json], *, end: bytes = b"", newline: bytes = b"\n") -> bytes:
    """Server-sent events of data alone, and what ends the stream."""
    return b"".join(b"data: " + compact(document) + newline * 2 for document in documents) + end


DONE = b"data: [DONE]\n\n"


def typed_events(documents: Iterable[Json]) -> bytes:
    """Server-sent events that are named after the ``type`` of their data."""
    return b"".join(b"event: %b\ndata: %b\n\n" % (str(each["type"]).encode(), compact(each)) for each in documents)


def lines(documents: Iterable[Json]) -> bytes:
    """One document a line."""
    return b"".join(compact(document) + b"\n" for document in documents)


def messages(documents: Iterable[tuple[str, Json]]) -> bytes:
    """Amazon's binary messages, each with its event type."""
    return b"".join(
        encode_message({":event-type": name, ":content-type": JSON, ":message-type": "event"}, compact(document))
        for name, document in documents
    )


def wrapped(documents: Iterable[Json]) -> bytes:
    """A vendor's own events, each in base64 within one of Amazon's messages."""
    return messages(
        ("chunk", {"bytes": base64.b64encode(compact(each)).decode(), "p": "abcdefgh"}) for each in documents
    )


def deflated(body: bytes) -> bytes:
    """The body under ``content-encoding: deflate``, stored: so that every zlib writes the same bytes."""
    return zlib.compress(body, level=0)


def write(demos: Iterable[Demo], target: Path) -> list[Path]:
    """Writes each capture in its folder below ``target``; returns the folders."""
    folders: list[Path] = []
    for number, demo in enumerate(demos):
        folder = target / demo.folder
        folder.mkdir(parents=True, exist_ok=True)
        request = {"method": "POST", "url": demo.url, "scheme": "https", "headers": {"content-type": JSON}}
        (folder / "request.json").write_bytes(pretty({**request, "body": demo.request}))
        date = f"Mon, 02 Nov 2026 {9 + number // 6:02d}:{number % 6 * 10:02d}:00 GMT"
        headers = [["content-type", demo.kind], ["date", date], *map(list, demo.headers)]
        (folder / "response.headers.json").write_bytes(pretty({"status": demo.status, "headers": headers}))
        (folder / "response.body").write_bytes(demo.body)
        folders.append(folder)
    return folders
