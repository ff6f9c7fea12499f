"""The reader of one answer: encodings undone, framing chosen, events handed to the format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from taximeter.errors import WireError
from taximeter.event import ProviderError
from taximeter.wire.encoding import Decoder, decoder_for
from taximeter.wire.eventstream import EventStreamFraming
from taximeter.wire.format import Route, failure
from taximeter.wire.idle import IdlePattern
from taximeter.wire.loose import arr, obj, parse
from taximeter.wire.ndjson import JsonArrayFraming, NdjsonFraming
from taximeter.wire.reading import Reading
from taximeter.wire.routes import format_for
from taximeter.wire.sse import SseFraming

MAX_BODY_BYTES: Final = 256 * 1024 * 1024
"""The largest whole body that is held; what is larger is passed over and its usage is unknown."""

_EVENT_STREAM = "application/vnd.amazon.eventstream"
_BINARY = ("audio/", "video/", "image/", "application/octet-stream")
_LINES = (
    "application/x-ndjson",
    "application/jsonl",
    "application/x-jsonlines",
    "application/stream+json",
    "application/ndjson",
)
_SSE_STARTS = (b"data:", b"event:", b"id:", b"retry:", b":")
_LONGEST_START = 8
_HTTP_ERROR = 400


class Reader:
    """Reads the answer to one call from its bytes, cut anywhere.

    Nothing that the bytes hold makes it raise: what cannot be read is told in :attr:`Reading.fault`, and what was read
    before it counts. It keeps the event that is not yet whole, or the whole body of an answer that is no stream, and
    otherwise only what it found.

    Args:
        route: the wire format and who was called.
        status: the HTTP status.
        headers: of the response, in order; names in any case.

    Attributes:
        headers: the last of each name, names in lower case.
    """

    def __init__(self, route: Route, *, status: int = 200, headers: Iterable[tuple[str, str]] = ()) -> None:
        self.headers = {name.lower(): value for name, value in headers}
        self._format = format_for(route, self.headers)
        self._failed = status >= _HTTP_ERROR
        self._status = status
        self._type = self.headers.get("content-type", "").lower()
        self._sink: Callable[[bytes], None] = self._decide
        self._first = b""
        self._decoder: Decoder | None = None
        self._idle = IdlePattern()
        self._framing: _Document | SseFraming | NdjsonFraming | JsonArrayFraming | EventStreamFraming | None = None
        self._fault: str | None = None
        self._broken = False
        self._document: object = None
        self._closing = False

    def feed(self, chunk: bytes) -> None:
        """Takes the next bytes of the body."""
        try:
            self._sink(chunk)
        except WireError as error:
            self._break(error)

    def close(self, *, cut: bool = False) -> Reading:
        """The body is at its end.

        Args:
            cut: the connection broke before the end that HTTP announced.
        """
        whole = not cut
        try:
            if not self._broken:
                whole = self._finish() and whole
        except WireError as error:
            self._break(error)
        stream = "event-stream" in self._type if isinstance(self._framing, _Document) else self._framing is not None
        if self._failed and self._format.error is None:
            self._format.error = failure(self._document) if self._document else ProviderError(code=str(self._status))
        self._format.text_bytes += self._idle.text_bytes
        return self._format.reading(stream=stream, whole=whole and not self._broken, fault=self._fault)

    def _decide(self, chunk: bytes) -> None:
        """The first bytes: whether they are encoded."""
        self._first += chunk
        if len(self._first) < _LONGEST_START and not self._closing:
            return
        first, self._first = self._first, b""
        self._decoder = decoder_for(self.headers.get("content-encoding"), first)
        self._sink = self._plain if self._decoder is None else self._decode
        self._sink(first)

    def _decode(self, chunk: bytes) -> None:
        if self._decoder is not None:
            for piece in self._decoder.feed(chunk):
                self._plain(piece)

    def _plain(self, piece: bytes) -> None:
        """Decoded bytes: the first of them choose the framing."""
        if self._framing is None:
            self._first += piece
            start = self._first.lstrip(b" \t\r\n")
            if len(start) < _LONGEST_START and not self._closing:
                return
            piece, self._first = self._first, b""
            self._framing = self._choose(start)
            if self._decoder is None:
                self._sink = self._framing.feed
        self._framing.feed(piece)

    def _choose(self, start: bytes) -> SseFraming | NdjsonFraming | JsonArrayFraming | EventStreamFraming | _Document:
        if _EVENT_STREAM in self._type:
            return EventStreamFraming(self._event, self._idle)
        start = start.removeprefix(b"\xef\xbb\xbf")
        if self._type.startswith(_BINARY) and not start.startswith((b"{", *_SSE_STARTS)):
            return _Document(keep=False)
        if start.startswith(_SSE_STARTS) or ("event-stream" in self._type and not start.startswith((b"{", b"["))):
            return SseFraming(self._event, self._stray, self._idle)
        if start.startswith(b"[") and self._format.array_stream:
            return JsonArrayFraming(self._event, self._idle)
        if start.startswith(b"{") and not self._failed and self._type.startswith(_LINES):
            return NdjsonFraming(self._event, self._idle)
        return _Document(keep=True)

    def _finish(self) -> bool:
        """Ends decoder and framing; whether both were at their end."""
        self._closing = True
        if self._framing is None and self._first:
            self._sink(b"")
            if self._framing is None and self._first:
                self._plain(b"")
        whole = self._decoder is None or self._decoder.finished()
        framing = self._framing
        if isinstance(framing, _Document):
            return self._whole_body(framing, whole=whole)
        if isinstance(framing, EventStreamFraming):
            return framing.close() and whole
        if framing is not None:
            framing.close()
            self._look_at_last()
        return whole

    def _whole_body(self, framing: _Document, *, whole: bool) -> bool:
        """Reads a body that is one value, or lines that nothing announced as such."""
        body = bytes(framing.held).strip().removeprefix(b"\xef\xbb\xbf")
        framing.held.clear()
        if not body:
            return whole
        try:
            self._document = parse(body)
        except WireError as error:
            return self._unparsed_body(body, error, whole=whole)
        for value in arr(self._document) or [self._document]:
            document = obj(value)
            if document and not self._format.fail(document) and not self._failed:
                self._format.document(document)
        return whole

    def _unparsed_body(self, body: bytes, error: WireError, *, whole: bool) -> bool:
        if self._failed:
            self._document = body[:2000].decode("utf-8", "replace")
            return whole
        if self._format.line_stream and body.startswith(b"{") and b"\n" in body:
            self._framing = lines = NdjsonFraming(self._event, self._idle)
            lines.feed(body)
            lines.close()
            return whole
        if body.startswith((b"{", b"[")) or "json" in self._type:
            self._fault = f"the body of {len(body)} bytes is {error}"
            return False
        return whole  # plain text, as a transcription may be

    def _event(self, name: bytes, data: bytes, raw: bytes) -> None:
        try:
            body = parse(data)
        except WireError as error:
            stripped = data.strip()
            if not stripped.startswith(b"{"):
                self._format.marker(stripped)
            elif self._fault is None:
                self._fault = f"an event of {len(data)} bytes is {error}"
            return
        self._look_at_last()
        document = obj(body)
        if name == b"error" or name.startswith((b"exception:", b"error:")):
            self._stream_error(name, document, body)
            return
        idle = self._format.event(name, document)
        if idle is not None:
            self._idle.learn(raw, idle)
        else:
            self._idle.forget()

    def _look_at_last(self) -> None:
        """Reads the last event that was passed over although its numbers differed; its text is counted already."""
        raw = self._idle.take_last()
        if raw is not None:
            text_bytes = self._format.text_bytes
            self._format.event(b"", obj(parse(raw[raw.index(b"{") : raw.rindex(b"}") + 1])))
            self._format.text_bytes = text_bytes

    def _stream_error(self, name: bytes, document: Mapping[str, object], body: object) -> None:
        if self._format.error is None:
            found = failure(document or body)
            kind = name.partition(b":")[2].decode("utf-8", "replace") or found.type
            self._format.error = ProviderError(type=kind, code=found.code, message=found.message)

    def _stray(self, data: bytes) -> None:
        """Lines of an event stream that are no events: Gemini's way to report an error."""
        try:
            self._format.fail(parse(data))
        except WireError:
            self._fault = self._fault or f"{len(data)} bytes that are no server-sent event: {data[:80]!r}"

    def _break(self, error: WireError) -> None:
        self._broken = True
        self._sink = _ignore
        self._fault = self._fault or str(error)
        if isinstance(self._framing, _Document):
            self._framing.held.clear()


def _ignore(chunk: bytes) -> None:
    """What comes after bytes that cannot be read."""


class _Document:
    """A body that is one value, or nothing that is read."""

    def __init__(self, *, keep: bool) -> None:
        self.keep = keep
        self.held = bytearray()

    def feed(self, chunk: bytes) -> None:
        if self.keep:
            self.held += chunk
            if len(self.held) > MAX_BODY_BYTES:
                msg = f"a body of more than {MAX_BODY_BYTES} bytes"
                raise WireError(msg)
