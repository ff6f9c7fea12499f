"""A connection to an upstream: sends requests one after the other, and finds where each answer ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol, cast

from taximeter.gateway.http.clock import NEVER
from taximeter.gateway.http.framing import Framing, framing_of
from taximeter.gateway.http.heads import BadMessage
from taximeter.gateway.http.replies import AnswerHead, has_body, read_answer

if TYPE_CHECKING:
    from taximeter.gateway.http.pool import Pool
    from taximeter.gateway.http.serving import Serving

_FIRST_FINAL: Final = 200
_CONTINUE: Final = 100
_SWITCHING: Final = 101
_MOST_INTERIM: Final = 64


class Asking(Protocol):
    """Who has sent a request over the connection, and hears what becomes of it."""

    def informed(self, head: AnswerHead) -> None:
        """An interim answer (1xx) has come."""
        ...

    def answered(self, head: AnswerHead, framing: Framing) -> None:
        """The head of the answer has come; :meth:`goes_on` follows in the same turn of the loop."""
        ...

    def goes_on(self, raw: bytes, payload: bytes, framing: Framing) -> None:
        """More of the body has come, possibly nothing. With ``framing.done`` the answer is over, and so is all this."""
        ...

    def broken(self, error: Exception) -> None:
        """The connection has ended before the answer, or what came is none; nothing follows."""
        ...

    def upstream_late(self, *, head: bool) -> None:
        """Nothing has come for too long; ``head``: not even a head."""
        ...

    def upstream_full(self) -> None:
        """No more of the request can be sent now."""
        ...

    def upstream_ready(self) -> None:
        """More of the request can be sent."""
        ...


class UpstreamLost(Exception):  # noqa: N818 - said of the peer
    """The upstream closed the connection before its answer was over."""


class UpstreamConnection(asyncio.Protocol):
    """One connection to an upstream.

    Args:
        serving: what the worker's connections share.
        pool: that it belongs to.

    Attributes:
        deadline: the tick after which it is overdue.
    """

    __slots__ = (
        "_asking",
        "_framing",
        "_head",
        "_held",
        "_interim",
        "_method",
        "_paused",
        "_pool",
        "_sending",
        "_serving",
        "_transport",
        "deadline",
    )

    def __init__(self, serving: Serving, pool: Pool) -> None:
        self.deadline = NEVER
        self._serving = serving
        self._pool = pool
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._asking: Asking | None = None
        self._method = b""
        self._sending = False
        self._head: AnswerHead | None = None
        self._framing: Framing | None = None
        self._held = b""
        self._interim = 0
        self._paused = False

    # ---- what an exchange does with it

    def begin(self, asking: Asking, method: bytes, data: bytes, *, whole: bool) -> None:
        """Sends a request, or the first of it.

        Args:
            asking: who hears of the answer.
            method: of the request.
            data: its first bytes.
            whole: whether that is all of it.
        """
        self._asking = asking
        self._method = method
        self._framing = None
        self._interim = 0
        self._sending = True
        self._transport.write(data)
        if whole:
            self.sent()

    def write(self, data: bytes) -> None:
        """Sends more of the request."""
        self._transport.write(data)

    def sent(self) -> None:
        """The request is whole: from now on an answer is due."""
        self._sending = False
        if self._framing is None:
            self.deadline = self._serving.tick + self._serving.ticks.first_byte

    @property
    def awaiting(self) -> bool:
        """Whether the request is whole, and its answer under way."""
        return not self._sending

    def pause(self) -> None:
        """Takes nothing in until :meth:`resume`."""
        if not self._paused:
            self._paused = True
            self.deadline = NEVER
            self._transport.pause_reading()

    def resume(self) -> None:
        """Takes in what comes."""
        if self._paused:
            self._paused = False
            self.deadline = self._serving.tick + self._serving.ticks.idle
            self._transport.resume_reading()

    def close(self) -> None:
        """Ends the connection; nobody hears of it."""
        self._asking = None
        self._transport.abort()

    # ---- what the loop does with it

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport = cast("asyncio.Transport", transport)
        self._serving.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        asking = self._asking
        if asking is None:  # nobody asked for these: whatever they are, they are no answer to the next request
            self.close()
            return
        framing = self._framing
        began = False
        try:
            if framing is None:
                rest = self._take_head(data)
                if rest is None:
                    return
                data = rest
                framing = cast("Framing", self._framing)
                began = True
            payload = framing.take(data)
        except BadMessage as problem:
            self.close()
            asking.broken(problem)
            return
        if framing.excess:
            data = data[: -framing.excess]
        if began:
            asking.answered(cast("AnswerHead", self._head), framing)
        if framing.done:
            self._over(framing)
        elif not self._paused:
            self.deadline = self._serving.tick + self._serving.ticks.idle
        asking.goes_on(data, payload, framing)

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended."""
        self._serving.connections.discard(self)
        self._pool.lost(self)
        asking, self._asking = self._asking, None
        if asking is None:
            return
        framing = self._framing
        if framing is not None and exc is None and framing.ended():
            asking.goes_on(b"", b"", framing)
        else:
            asking.broken(exc or UpstreamLost("the upstream closed the connection before its answer was over"))

    def pause_writing(self) -> None:
        """The upstream does not keep up."""
        if self._asking is not None:
            self.deadline = self._serving.tick + self._serving.ticks.idle
            self._asking.upstream_full()

    def resume_writing(self) -> None:
        """It does again."""
        if self._asking is not None:
            if self._sending:
                self.deadline = NEVER
            self._asking.upstream_ready()

    def overdue(self) -> None:
        """Nothing has come for too long."""
        asking = self._asking
        late = self._framing is None
        self.close()
        if asking is not None:
            asking.upstream_late(head=late)

    # ----

    def _take_head(self, data: bytes) -> bytes | None:
        """Takes heads up to that of the answer; what comes after it, or ``None`` while it is not whole."""
        if self._held:
            data = self._held + data
            self._held = b""
        while True:
            end = data.find(b"\r\n\r\n") + 4
            if end < 4:
                if len(data) > self._serving.settings.max_head_bytes:
                    raise BadMessage("the upstream's head is too large")
                self._held = data
                return None
            if end > self._serving.settings.max_head_bytes:
                raise BadMessage("the upstream's head is too large")
            head = read_answer(data[:end])
            data = data[end:]
            if head.status >= _FIRST_FINAL:
                self._head = head
                self._framing = framing_of(head, body=has_body(head.status, self._method))
                return data
            self._interim += 1
            if head.status == _SWITCHING or self._interim > _MOST_INTERIM:
                raise BadMessage("the upstream changes the protocol, or never comes to its answer")
            if head.status != _CONTINUE and self._asking is not None:  # nobody was told to wait for this one
                self._asking.informed(head)
            if not data:
                return None

    def _over(self, framing: Framing) -> None:
        """The answer is over: the connection is free, or ended where somebody could read what is not his."""
        head = cast("AnswerHead", self._head)
        self._asking = None
        self._head = None
        counted = framing.tail or head.length is not None or not has_body(head.status, self._method)
        if self._sending or framing.excess or not head.keep_alive or not counted or self._serving.draining:
            self._transport.abort()
            return
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        self.deadline = self._serving.tick + self._serving.ticks.upstream_keep_alive
        self._pool.give_back(self)
