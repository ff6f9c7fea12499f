"""What becomes of an answer on its way to the client: passed as it is, held to tell its cost, or edited as it flows.

The meter hears of every byte. Of an answer's last bytes it hears first: a call's outcome is written down before anyone
is told of it. Of those before, it hears after the client has them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from taximeter.errors import WireError
from taximeter.gateway.http.framing import Framing, Nothing
from taximeter.gateway.http.replies import CLOSE, AnswerHead, pass_on
from taximeter.wire.costing import CostAdder, states_cost, whole_with_cost
from taximeter.wire.editing import EventEditor
from taximeter.wire.encoding import decoder_for
from taximeter.wire.injection import UsageRemover

if TYPE_CHECKING:
    from taximeter.event import CallEvent
    from taximeter.gateway.http.client import ClientConnection
    from taximeter.gateway.plan import Destination, Gatekeeper
    from taximeter.meter.call import Call

_OK: Final = 200
_HTTP_ERROR: Final = 400
_EVENTS: Final = "text/event-stream"
_LINES: Final = ("ndjson", "jsonl", "jsonlines", "stream+json")
_LAST_CHUNK: Final = b"0\r\n\r\n"
_MAX_DECODED_BYTES: Final = 16 * 1024 * 1024
_FRAMING_HEADERS: Final = frozenset({"content-length", "transfer-encoding", "trailer"})
_REMADE: Final = _FRAMING_HEADERS | {"content-encoding"}
_NONE: Final[frozenset[str]] = frozenset()


class Setting(Protocol):
    """What an answer must know of its exchange."""

    call: Call | None
    destination: Destination | None
    asked: bool
    told: bool

    @property
    def old_client(self) -> bool:
        """Whether the client speaks HTTP/1.0."""
        ...

    @property
    def max_held_bytes(self) -> int:
        """How long an answer may be that is held."""
        ...

    @property
    def gatekeeper(self) -> Gatekeeper:
        """Masks keys."""
        ...

    def members(self, event: CallEvent | None) -> bytes:
        """What the caller is told of the cost, as JSON members."""
        ...

    def answer_ended_early(self, *, reset: bool) -> None:
        """The answer cannot be passed on to its end."""
        ...


class Answer:
    """The answer to one call, on its way.

    Attributes:
        delimited: whether the client can tell its end from a connection that broke.
    """

    __slots__ = ("delimited",)

    def __init__(self) -> None:
        self.delimited = True

    def take(self, raw: bytes, payload: bytes, framing: Framing) -> None:
        """More has come.

        Args:
            raw: as it was sent, frames included.
            payload: without them.
            framing: whose ``done`` says whether that was all.
        """
        raise NotImplementedError

    def error_event(self, data: bytes) -> bool:
        """Sends an event that says what went wrong, where the answer is a stream of events; whether it is."""
        del data
        return False


class Passing(Answer):
    """An answer that passes as it is.

    Args:
        setting: its exchange.
        client: whose it is.
        head: of the answer, as the client gets it.
        bare: whether its chunks are taken out of their frames, for a client that knows none.
        events: whether it is a stream of events.
    """

    __slots__ = ("_aligned", "_bare", "_call", "_client", "_events", "_head", "_setting")

    def __init__(self, setting: Setting, client: ClientConnection, head: bytes, *, bare: bool, events: bool) -> None:
        super().__init__()
        self.delimited = not bare
        self._setting = setting
        self._client = client
        self._head = head
        self._call = setting.call
        self._bare = bare
        self._events = events
        self._aligned = True

    def take(self, raw: bytes, payload: bytes, framing: Framing) -> None:
        """Hands it on at once."""
        if self._bare:
            raw = payload
        if self._head:
            raw = self._head + raw
            self._head = b""
            self._setting.told = True
        call = self._call
        if framing.done:
            if call is not None:
                call.feed(payload)
                call.close()
            self._client.write(raw)
            return
        self._client.write(raw)
        if call is not None:
            call.feed(payload)
        self._aligned = framing.aligned

    def catch_up(self, raw: bytes, payload: bytes, framing: Framing) -> None:
        """Hands on what was held; the meter knows it."""
        self._client.write(self._head + (payload if self._bare else raw))
        self._head = b""
        self._setting.told = True
        self._aligned = framing.aligned

    def error_event(self, data: bytes) -> bool:
        """See :meth:`Answer.error_event`."""
        if not self._events or not self._aligned or not self.delimited:
            return False
        self._client.write(_chunk(data))
        return True


class Edited(Passing):
    """A stream of events in which something is put in or taken out. What is left alone passes in its own frames.

    Args:
        setting: its exchange.
        client: whose it is.
        head: of the answer, as the client gets it.
        editor: puts in and takes out.
        bare: as for :class:`Passing`.
        framed: whether it comes in chunks; where it does not, every chunk is made here.
    """

    __slots__ = ("_editor", "_framed")

    def __init__(  # noqa: PLR0913 - each is one thing that it must know
        self, setting: Setting, client: ClientConnection, head: bytes, editor: EventEditor, *, bare: bool, framed: bool
    ) -> None:
        super().__init__(setting, client, head, bare=bare, events=True)
        self._editor = editor
        self._framed = framed

    def take(self, raw: bytes, payload: bytes, framing: Framing) -> None:
        """Hands on what is left of it."""
        call = self._call
        if call is not None:
            call.feed(payload)  # first: what it states is put in
        try:
            edited = self._editor.feed(payload)
            rest = self._editor.close() if framing.done else b""
        except WireError:  # it is not of the encoding that it claims
            self._setting.answer_ended_early(reset=not self.delimited)
            return
        if framing.done and call is not None:
            call.close()
        if self._bare:
            out = edited + rest
        elif edited is payload and not rest and self._framed and self._aligned and framing.aligned:
            out = raw
        else:
            out = _chunk(edited + rest)
            if framing.done:
                out += framing.tail or _LAST_CHUNK
        self._aligned = framing.aligned or not raw
        if self._head:
            out = self._head + out
            self._head = b""
            self._setting.told = True
        if out:
            self._client.write(out)


class Whole(Answer):
    """An answer that is held until it is whole, so that its head can tell what it cost.

    Args:
        setting: its exchange.
        client: whose it is.
        head: of the answer, as it came.
        extra: lines to add to it.
        passing: makes what takes over when there is more than may be held.
        delimited: whether the client can then tell its end.
    """

    __slots__ = (
        "_bytes",
        "_call",
        "_client",
        "_extra",
        "_head",
        "_passing",
        "_payload",
        "_raw",
        "_setting",
        "_takes_over",
    )

    def __init__(  # noqa: PLR0913 - each is one thing that it must know
        self,
        setting: Setting,
        client: ClientConnection,
        head: AnswerHead,
        extra: bytes,
        passing: Callable[[], Passing],
        *,
        delimited: bool,
    ) -> None:
        super().__init__()
        self.delimited = delimited
        self._setting = setting
        self._client = client
        self._call = setting.call
        self._head = head
        self._extra = extra
        self._raw: list[bytes] = []
        self._payload: list[bytes] = []
        self._bytes = 0
        self._takes_over = passing
        self._passing: Passing | None = None

    def take(self, raw: bytes, payload: bytes, framing: Framing) -> None:
        """Keeps it, and hands it on with the last of it."""
        if self._passing is not None:
            self._passing.take(raw, payload, framing)
            return
        if self._call is not None:
            self._call.feed(payload)
        self._raw.append(raw)
        self._payload.append(payload)
        self._bytes += len(raw)
        if framing.done:
            self._finish()
        elif self._bytes > self._setting.max_held_bytes:
            self._passing = self._takes_over()
            self._passing.catch_up(b"".join(self._raw), b"".join(self._payload), framing)
            self._raw = self._payload = []

    def _finish(self) -> None:
        head, setting = self._head, self._setting
        payload = self._payload[0] if len(self._payload) == 1 else b"".join(self._payload)
        extra = self._extra
        event = None
        if self._call is not None:
            event = self._call.close()
            if event is not None and event.cost is not None:
                extra += b"x-taximeter-cost-usd: %b\r\n" % str(event.cost).encode()
        edited = self._edited(payload, event)
        setting.told = True
        if edited is None and self.delimited:
            self._client.write(b"".join((pass_on(head, extra=extra), *self._raw)))
            return
        if edited is None:  # the client knows no chunks
            edited, gone = payload, _FRAMING_HEADERS
        else:
            gone = _REMADE
        extra += b"content-length: %d\r\n" % len(edited)
        self._client.write(pass_on(head, without=gone, extra=extra) + edited)
        self.delimited = True

    def _edited(self, payload: bytes, event: CallEvent | None) -> bytes | None:
        """The body with its cost, or without keys; ``None`` where it stays as it is."""
        setting, head = self._setting, self._head
        destination = setting.destination
        if head.status >= _HTTP_ERROR:
            plain = _decoded(payload, head.content_encoding)
            masked = None if plain is None else setting.gatekeeper.mask(plain)
            return None if masked is plain else masked
        if destination is not None and destination.edit is not None:
            plain = _decoded(payload, head.content_encoding)
            return None if plain is None else destination.edit(head.status, plain)
        if event is None or destination is None or destination.route is None or not destination.cost_in_usage:
            return None
        if not states_cost(destination.route.api):
            return None
        members = setting.members(event)
        plain = _decoded(payload, head.content_encoding) if members else None
        return None if plain is None else whole_with_cost(destination.route.api, plain, members)


class Drained(Answer):
    """An answer whose client has gone: read for the books alone, up to a limit.

    Args:
        call: the call.
        most_bytes: that are read.
        enough: called when that was it.
    """

    __slots__ = ("_call", "_enough", "_left")

    def __init__(self, call: Call, most_bytes: int, enough: Callable[[], None]) -> None:
        super().__init__()
        self._call = call
        self._left = most_bytes
        self._enough = enough

    def take(self, raw: bytes, payload: bytes, framing: Framing) -> None:
        """Counts it."""
        self._call.feed(payload)
        self._left -= len(raw)
        if self._left < 0 and not framing.done:
            self._enough()


def answer_for(setting: Setting, client: ClientConnection, head: AnswerHead, framing: Framing) -> Answer:
    """How an answer is to pass, by its head."""
    call = setting.call
    bare = setting.old_client and head.chunked
    body = not isinstance(framing, Nothing)
    delimited = not bare and (not body or head.chunked or head.length is not None)
    extra = b"" if call is None else b"x-taximeter-call-id: %b\r\n" % call.id.encode()
    stays = client.stays
    closing = extra if stays and delimited else extra + CLOSE
    events = _EVENTS in head.content_type
    if call is not None and events and body and head.status == _OK:
        editor = _editor(setting, head.content_encoding)
        if editor is not None:
            return _edited(setting, client, head, closing, editor)

    def passing() -> Passing:
        made = pass_on(head, without=_FRAMING_HEADERS if bare else _NONE, extra=closing)
        found = Passing(setting, client, made, bare=bare, events=events and head.chunked)
        found.delimited = delimited
        return found

    if body and not events and _is_held(setting, head):
        whole_extra = extra if stays else extra + CLOSE
        return Whole(setting, client, head, whole_extra, passing, delimited=delimited)
    return passing()


def _is_held(setting: Setting, head: AnswerHead) -> bool:
    """Whether an answer is held until it is whole: errors for what they may tell, and JSON for its cost."""
    if head.length is not None and head.length > setting.max_held_bytes:
        return False
    if head.status >= _HTTP_ERROR:
        return True
    if "json" not in head.content_type or any(each in head.content_type for each in _LINES):
        return False
    call, destination = setting.call, setting.destination
    if call is None:
        return destination is not None and destination.edit is not None
    return call.opened.stream is not True and call.opened.route.stream is not True


def _editor(setting: Setting, encoding: str | None) -> EventEditor | None:
    """What edits a stream; ``None`` where nothing is to be done, or can be."""
    destination = setting.destination
    if destination is None or destination.route is None:
        return None
    try:
        if setting.asked:
            return UsageRemover(encoding)
        if destination.cost_in_usage and states_cost(destination.route.api):
            return CostAdder(destination.route.api, lambda: setting.members(None), encoding)
    except (WireError, KeyError):
        pass  # an encoding that nobody here can undo, or a format that streams no usage
    return None


def _edited(setting: Setting, client: ClientConnection, head: AnswerHead, extra: bytes, editor: EventEditor) -> Edited:
    """A stream to be edited: in chunks, however it came."""
    bare = setting.old_client
    drop = frozenset({"content-encoding"}) if head.chunked and not bare else _REMADE
    if not bare and not head.chunked:
        extra += b"transfer-encoding: chunked\r\n"
    if bare and CLOSE not in extra:
        extra += CLOSE
    made = pass_on(head, without=drop, extra=extra)
    return Edited(setting, client, made, editor, bare=bare, framed=head.chunked)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def _decoded(body: bytes, encoding: str | None) -> bytes | None:
    """A body without its encoding; ``None`` where that cannot be undone."""
    if not encoding:
        return body
    try:
        decoder = decoder_for(encoding, body[:8])
        if decoder is None:
            return body
        pieces: list[bytes] = []
        size = 0
        for piece in decoder.feed(body):
            pieces.append(piece)
            size += len(piece)
            if size > _MAX_DECODED_BYTES:
                return None
    except WireError:
        return None
    return b"".join(pieces)
