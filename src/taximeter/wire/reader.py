"""The reader of one answer: encodings undone, framing chosen, events handed to the format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from taximeter.errors import WireError
from taximeter.event import ProviderError
from taximeter.wire.encoding import Decoder, decoder_for
from taximeter.wire.eventstream import EventStreamFraming
from taximeter.wire.format import Format, Route, failure
from taximeter.wire.framing import Framing, OnFault
from taximeter.wire.idle import UNUSUAL, IdlePattern
from taximeter.wire.keeping import Keep
from taximeter.wire.loose import arr, obj, parse
from taximeter.wire.ndjson import JsonArrayFraming, NdjsonFraming
from taximeter.wire.reading import Reading
from taximeter.wire.routes import format_of
from taximeter.wire.sse import SseFraming

MAX_BODY_BYTES: Final = 256 * 1024 * 1024
"""The largest whole body that is held; what is larger is passed over and its usage is unknown."""

_EVENT_STREAM = "application/vnd.amazon.eventstream"
_JSON = "application/json"
_BINARY = ("audio/", "video/", "image/", "application/octet-stream")
_LINES = (
    "application/x-ndjson",
    "application/jsonl",
    "application/x-jsonlines",
    "application/stream+json",
    "application/ndjson",
)
_SSE_STARTS = (b"data:", b"event:", b"id:", b"retry:", b":")
_USUAL_SSE = (b"data:", b"event:")
_LONGEST_START = 8
_DONE = b"[DONE]"
_ERROR = b"error"
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
        keep: what is kept of what is said, in :attr:`Reading.content`; to keep the text, every event of a stream is
            parsed.

    Attributes:
        headers: the last of each name, names in lower case.
    """

    _sink: Callable[[bytes], None] | None = None
    """Where the bytes go, once their first have shown what they are."""
    _first = b""
    _decoder: Decoder | None = None
    _framing: _Document | Framing | None = None
    _idle: IdlePattern | None = None
    _fault: str | None = None
    _broken = False
    _document: object = None
    _closing = False
    _made: Format | None = None
    _reading: Reading | None = None

    def __init__(
        self, route: Route, *, status: int = 200, headers: Iterable[tuple[str, str]] = (), keep: Keep = "none"
    ) -> None:
        self.headers = _by_name(headers)
        self._route = route
        self._kind = format_of(route)
        self._keep: Keep = keep
        self._failed = status >= _HTTP_ERROR
        self._status = status
        self._type = self.headers.get("content-type", "").lower()

    def feed(self, chunk: bytes) -> None:
        """Takes the next bytes of the body."""
        # a stream puts its framing's own method in the place of this one, for what comes after its first event
        if self._sink is None:
            self._begin(chunk)
        else:
            self._sink(chunk)

    def close(self, *, cut: bool = False) -> Reading:
        """The body is at its end; what is said a second time is what was said the first time.

        Args:
            cut: the connection broke before the end that HTTP announced.
        """
        if self._reading is None:
            whole = not cut
            if not self._broken:
                try:
                    whole = self._finish(whole=whole)
                except WireError as error:
                    self._break(error)
            if self._reading is None:
                self._reading = self._read(whole=whole and not self._broken)
            self._let_go()
        return self._reading

    def so_far(self) -> Reading | None:
        """What has been read of a stream until now, as if it ended here; ``None`` where that cannot be said.

        May be asked at any time, and changes nothing of what :meth:`close` will say.
        """
        if self._reading is not None:
            return self._reading
        if self._idle is None or self._broken:
            return None
        try:
            self._look_at_last()
        except WireError:
            return None
        return self._format.so_far()

    def _read(self, *, whole: bool) -> Reading:
        found = self._format
        stream = "event-stream" in self._type if isinstance(self._framing, _Document) else self._framing is not None
        if self._failed and found.error is None:
            found.error = failure(self._document) if self._document else ProviderError(code=str(self._status))
        if self._idle is not None:
            found.text_bytes += self._idle.text_bytes
        return found.reading(stream=stream, whole=whole, fault=self._fault)

    @property
    def _format(self) -> Format:
        """What reads the answer, unless it is read at once."""
        if self._made is None:
            self._made = self._kind(self._route, self.headers)
            if self._keep != "none":
                self._made.keeping(self._keep)
        return self._made

    def _let_go(self) -> None:
        """Parts from what refers back to this reader, so that all of it is freed at once."""
        self._sink = self.feed = _ignore
        self._framing = None
        if self._idle is not None:
            self._idle.forget()

    def _begin(self, chunk: bytes) -> None:
        """The first bytes: whether they are encoded."""
        first = self._first + chunk
        # what most answers are: neither is how anything encoded begins
        if first.startswith(b"{") and self._type.startswith(_JSON):
            self._first = b""
            self._frame(_Document(self._break), first)
            return
        if first.startswith(_USUAL_SSE) and self._type.startswith("text/event-stream"):
            self._first = b""
            self._frame(SseFraming(self._event, self._stray, self._pattern(), self._break), first)
            return
        if len(first) < _LONGEST_START and not self._closing:
            self._first = first
            return
        self._first = b""
        try:
            self._decoder = decoder_for(self.headers.get("content-encoding"), first)
        except WireError as error:
            self._break(error)
            return
        if self._decoder is None:
            self._plain(first)
        else:
            self._sink = self._decode
            self._decode(first)

    def _decode(self, chunk: bytes) -> None:
        try:
            for piece in self._decoder.feed(chunk) if self._decoder is not None else ():
                self._plain(piece)
        except WireError as error:
            self._break(error)

    def _plain(self, piece: bytes) -> None:
        """Decoded bytes: the first of them choose the framing."""
        if self._framing is not None:
            self._framing.feed(piece)
            return
        self._first += piece
        start = self._first.lstrip(b" \t\r\n")
        if len(start) < _LONGEST_START and not self._closing:
            return
        piece, self._first = self._first, b""
        self._frame(self._choose(start), piece)

    def _frame(self, framing: Framing | _Document, first: bytes) -> None:
        self._framing = framing
        if self._decoder is None:
            self._sink = framing.feed
            if self._idle is not None:
                self.feed = framing.feed
        framing.feed(first)

    def _choose(self, start: bytes) -> Framing | _Document:
        if _EVENT_STREAM in self._type:
            return EventStreamFraming(self._event, self._pattern(), self._break)
        start = start.removeprefix(b"\xef\xbb\xbf")
        if self._type.startswith(_BINARY) and not start.startswith((b"{", *_SSE_STARTS)):
            return _Document(self._break, keep=False)
        if start.startswith(_SSE_STARTS) or ("event-stream" in self._type and not start.startswith((b"{", b"["))):
            return SseFraming(self._event, self._stray, self._pattern(), self._break)
        if start.startswith(b"[") and self._format.array_stream:
            return JsonArrayFraming(self._event, self._pattern(), self._break)
        if start.startswith(b"{") and not self._failed and self._type.startswith(_LINES):
            return NdjsonFraming(self._event, self._pattern(), self._break)
        return _Document(self._break)

    def _pattern(self) -> IdlePattern:
        self._idle = IdlePattern()
        return self._idle

    def _finish(self, *, whole: bool) -> bool:
        """Ends decoder and framing; whether all were at their end."""
        self._closing = True
        if self._framing is None and self._first:
            self.feed(b"")
            if self._framing is None and self._first:
                self._plain(b"")
            if self._broken:
                return False
        whole = (self._decoder is None or self._decoder.finished()) and whole
        framing = self._framing
        if isinstance(framing, _Document):
            return self._whole_body(framing.take(), whole=whole)
        if framing is not None:
            whole = framing.close() and whole
            self._look_at_last()
        return whole

    def _whole_body(self, body: bytes, *, whole: bool) -> bool:
        """Reads a body that is one value, or lines that nothing announced as such."""
        body = body.strip().removeprefix(b"\xef\xbb\xbf")
        if not body:
            return whole
        if whole and not self._failed and self._keep == "none" and self._type.startswith(_JSON):
            self._reading = self._kind.usual(self._route, body)
            if self._reading is not None:
                return True
        try:
            self._document = parse(body)
        except WireError as error:
            return self._unparsed_body(body, error, whole=whole)
        for value in arr(self._document) or (self._document,):
            document = obj(value)
            if document and not self._format.fail(document) and not self._failed:
                self._format.document(document)
        return whole

    def _unparsed_body(self, body: bytes, error: WireError, *, whole: bool) -> bool:
        if self._failed:
            self._document = body[:2000].decode("utf-8", "replace")
            return whole
        if self._format.line_stream and body.startswith(b"{") and b"\n" in body:
            self._framing = lines = NdjsonFraming(self._event, self._pattern(), self._break)
            lines.feed(body)
            lines.close()
            return whole
        if body.startswith((b"{", b"[")) or "json" in self._type:
            self._fault = f"the body of {len(body)} bytes is {error}"
            return False
        return whole  # plain text, as a transcription may be

    def _event(self, name: bytes, data: bytes, raw: bytes) -> None:
        form = self._format
        if data == _DONE:
            form.marker(data)
            return
        if name and (start := form.silent.get(name)) is not None and data.startswith(start) and data.endswith(b"}"):
            return
        pattern = self._idle
        if pattern is not None and pattern.last is not None:
            self._look_at_last()
        idle = form.usual_event(name, data) if self._keep == "none" and name != _ERROR else UNUSUAL
        if idle is UNUSUAL:
            self._any_event(name, data, raw)
        elif pattern is not None:
            if idle is None:
                pattern.forget()
            else:
                pattern.learn(raw, idle)

    def _any_event(self, name: bytes, data: bytes, raw: bytes) -> None:
        form = self._format
        try:
            body = parse(data)
        except WireError as error:
            stripped = data.strip()
            if not stripped.startswith(b"{"):
                form.marker(stripped)
            elif self._fault is None:
                self._fault = f"an event of {len(data)} bytes is {error}"
            return
        document = obj(body)
        if name and (name == _ERROR or name.startswith((b"exception:", b"error:"))):
            self._stream_error(name, document, body)
            return
        idle = form.event(name, document)
        if self._idle is None:
            return
        if idle is not None and form.answer is None:
            self._idle.learn(raw, idle)
        else:
            self._idle.forget()

    def _look_at_last(self) -> None:
        """Reads the last event that was passed over although its numbers differed; its text is counted already."""
        if self._idle is not None and (raw := self._idle.take_last()) is not None:
            form, data = self._format, raw[raw.index(b"{") : raw.rindex(b"}") + 1]
            text_bytes = form.text_bytes
            if form.usual_event(b"", data) is UNUSUAL:
                form.event(b"", obj(parse(data)))
            form.text_bytes = text_bytes

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
        self._sink = self.feed = _ignore
        self._fault = self._fault or str(error)


def _ignore(chunk: bytes) -> None:
    """What comes after bytes that cannot be read, or after the end."""


def _by_name(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The last value of each header, by its name in lower case."""
    pairs = headers if isinstance(headers, (list, tuple)) else list(headers)
    found = dict(pairs)
    if "".join(found).islower():  # as HTTP/2 and most clients have them
        return found
    return {name.lower(): value for name, value in pairs}


class _Document:
    """A body that is one value, or nothing that is read."""

    def __init__(self, on_fault: OnFault, *, keep: bool = True) -> None:
        self._on_fault = on_fault
        self._keep = keep
        self._held: bytes | bytearray = b""

    def feed(self, chunk: bytes) -> None:
        if not self._keep:
            return
        if not self._held:
            self._held = chunk  # most bodies come in one piece, which need not be copied
        else:
            if isinstance(self._held, bytes):
                self._held = bytearray(self._held)
            self._held += chunk
        if len(self._held) > MAX_BODY_BYTES:
            self._keep, self._held = False, b""
            self._on_fault(WireError(f"a body of more than {MAX_BODY_BYTES} bytes"))

    def take(self) -> bytes:
        """All of it, which is then let go."""
        whole, self._held = bytes(self._held), b""
        return whole
