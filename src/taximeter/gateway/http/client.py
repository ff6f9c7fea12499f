"""A connection from a client: reads its requests one after the other, and refuses what could be read in two ways.

A head is collected until it is whole, checked as bytes (:mod:`~taximeter.gateway.http.heads`), and only then parsed by
llhttp; what both accept goes on. A head that the connection sent before, but for its length, is known: neither is done
again. Where a body in chunks ends, llhttp says; other bodies are counted.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Final, cast

import httptools

from taximeter.gateway.http.clock import NEVER
from taximeter.gateway.http.exchange import Exchange
from taximeter.gateway.http.heads import (
    BadMessage,
    Header,
    KnownHead,
    RequestHead,
    check_request,
    check_start,
    known,
    read_request,
)
from taximeter.gateway.http.replies import JSON, make_answer

if TYPE_CHECKING:
    from taximeter.gateway.http.serving import Serving
    from taximeter.gateway.plan import Family

_LINGER_TICKS: Final = 8
"""How long a client that is still sending may go on, so that it reads our answer before its connection breaks."""

_BYTES_PER_TICK: Final = 256
"""A body that comes slower than 1 KB/s for longer than ``body_s`` is a slow one."""

_AT_ONCE: Final = struct.pack("ii", 1, 0)
"""For ``SO_LINGER``: the connection is reset, which nobody takes for its end."""

_FRAME_BYTES: Final = 32
_MOST_FRAMES_BYTES: Final = 16 * 1024
"""A chunked body may have so many bytes a chunk that are no payload, and so many in all beside them (trailers)."""


class _State(Enum):
    """What is expected of the client."""

    HEAD = 1  # a request, or the rest of its head
    BODY = 2  # the rest of a body
    ANSWER = 3  # nothing: it is our turn
    END = 4  # that it goes


class ClientConnection(asyncio.Protocol):
    """One connection from a client.

    Args:
        serving: what the worker's connections share.

    Attributes:
        deadline: the tick after which it is overdue.
        peer: the client's address.
        head: of the request under way.
        paused: whether the client takes nothing more for now.
        trailers: of the request under way.
        complete: whether the body of the request has come whole.
    """

    __slots__ = (
        "_chunks",
        "_early",
        "_exchange",
        "_fields",
        "_frame_bytes",
        "_headers",
        "_held",
        "_known",
        "_left",
        "_parser",
        "_reading",
        "_serving",
        "_state",
        "_transport",
        "complete",
        "deadline",
        "head",
        "paused",
        "peer",
        "trailers",
    )

    def __init__(self, serving: Serving) -> None:
        self.deadline = NEVER
        self.peer = ""
        self.head: RequestHead | None = None
        self.paused = False
        self.complete = False
        self.trailers: list[Header] = []
        self._serving = serving
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._parser: httptools.HttpRequestParser | None = None
        self._known: KnownHead | None = None
        self._left: int | None = None  # of a body that is counted
        self._state = _State.HEAD
        self._held: bytes = b""
        self._headers: list[Header] = []
        self._fields: list[Header] = []
        self._chunks: list[bytes] = []
        self._frame_bytes: int = 0
        self._early = False
        self._reading = True
        self._exchange: Exchange | None = None

    # ---- what the loop does with it

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has come."""
        self._transport = cast("asyncio.Transport", transport)
        serving = self._serving
        serving.clients += 1
        if serving.clients > serving.settings.max_connections:
            self._transport.abort()
            return
        address = transport.get_extra_info("peername")
        self.peer = str(address[0]) if address else ""
        serving.connections.add(self)
        self.deadline = serving.tick + serving.ticks.head

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        state = self._state
        if state is _State.HEAD:
            self._take_head(data)
        elif state is _State.BODY:
            self._take_body(data)
        elif state is _State.ANSWER:
            # a request before the answer to the last: where one message ends and the next begins is what smugglers
            # play with, and no SDK does this
            self._early = True
            self.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - why does not matter
        """The client has gone."""
        self._serving.clients -= 1
        self._serving.connections.discard(self)
        self._state = _State.END
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.client_left()

    def pause_writing(self) -> None:
        """The client does not keep up."""
        self.paused = True
        self.deadline = self._serving.tick + self._serving.ticks.idle
        if self._exchange is not None:
            self._exchange.client_full()

    def resume_writing(self) -> None:
        """It does again."""
        self.paused = False
        self.deadline = self._next_deadline()
        if self._exchange is not None:
            self._exchange.client_ready()

    def overdue(self) -> None:
        """The client, or what it waits for, has taken too long."""
        exchange = self._exchange
        if self.paused or self._state is _State.END:
            self._transport.abort()
        elif self._state is _State.BODY:
            self.deadline = NEVER
            if exchange is not None:
                exchange.refuse(408, "request_timeout", "the request's body came too slowly")
        elif self._held:
            self._refuse(BadMessage("the request's head came too slowly", status=408, code="request_timeout"))
        else:
            self._end()

    # ---- what the parser does with it

    def on_message_begin(self) -> None:
        """A request begins; a second one may, in the very bytes that end the first."""
        if self.complete:
            self._early = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer."""
        if not self._early:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """What are headers from here on are trailers."""
        if not self._early:
            self._fields = self._headers
            self._headers = self.trailers = []

    def on_body(self, body: bytes) -> None:
        """Bytes of a body."""
        if not self._early:
            self._chunks.append(body)

    def on_chunk_header(self) -> None:
        """A chunk begins."""
        self._frame_bytes -= _FRAME_BYTES

    def on_message_complete(self) -> None:
        """The request is whole."""
        self.complete = True

    # ---- from bytes to a request

    def _take_head(self, data: bytes) -> None:
        fresh = not self._held
        if not fresh:
            data = self._held + data
            self._held = b""
        elif data[0] in b"\r\n":
            data = data.lstrip(b"\r\n")  # https://www.rfc-editor.org/rfc/rfc9112#section-2.2
            if not data:
                return
        again = None if self._known is None else self._known.again(data)
        if again is not None:
            self._begin(again[0], data[again[1] :])
            return
        serving = self._serving
        end = data.find(b"\r\n\r\n") + 4
        try:
            if end < 4:
                check_start(data, serving.head_limits)
                if fresh:
                    self.deadline = serving.tick + serving.ticks.head
                self._held = data
                return
            head = self._read_head(data[:end])
            body = data[end:]
            if head.length is None and body:
                body = self._unchunked(body)
        except BadMessage as problem:
            self._refuse(problem)
            return
        self._begin(head, body)

    def _read_head(self, raw: bytes) -> RequestHead:
        limits = self._serving.head_limits
        method, target, old = check_request(raw, limits)
        self.complete = False
        self._frame_bytes = 0
        self._headers = []
        self._parse(raw)
        head = read_request(method, target, self._fields, old=old)
        if head.length is not None:
            self._parser = None  # it waits for a body that it will not see
            self._known = known(raw, head, limits)
        return head

    def _parse(self, data: bytes) -> None:
        parser = self._parser
        if parser is None:
            parser = self._parser = httptools.HttpRequestParser(self)
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade as error:
            raise BadMessage("no other protocol is offered") from error
        except httptools.HttpParserError as error:
            if not self.complete:
                raise BadMessage("the request is malformed") from error
            self._early = True  # it is not looked into

    def _begin(self, head: RequestHead, body: bytes) -> None:
        """A head has come, and perhaps some of the body."""
        serving = self._serving
        self.head = head
        self._left = head.length
        if head.length is not None:
            self.complete = False
            body = self._counted(body)
        self._state = _State.ANSWER if self.complete else _State.BODY
        self.deadline = self._next_deadline()
        exchange = self._exchange = Exchange(serving, self, head)
        exchange.start(body)

    def _take_body(self, data: bytes) -> None:
        exchange = self._exchange
        try:
            body = self._unchunked(data) if self._left is None else self._counted(data)
        except BadMessage as problem:
            if exchange is not None:
                exchange.refuse(problem.status, problem.code, problem.message)
            return
        if self.complete:
            self._state = _State.ANSWER
            self.deadline = NEVER
        elif self._reading:
            self.deadline += len(data) // _BYTES_PER_TICK
        if exchange is not None and (body or self.complete):
            exchange.body(body)

    def _counted(self, data: bytes) -> bytes:
        """What of these bytes is of the body, whose length was announced."""
        left = (self._left or 0) - len(data)
        if left > 0:
            self._left = left
            return data
        self._left = 0
        self.complete = True
        if left == 0:
            return data
        if data[left:].strip(b"\r\n"):  # as before a request, an empty line is nothing
            self._early = True
        return data[:left]

    def _unchunked(self, data: bytes) -> bytes:
        """What lies in the chunks of these bytes."""
        self._parse(data)
        chunks, self._chunks = self._chunks, []
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self._frame_bytes += len(data) - len(body)
        if self._frame_bytes > _MOST_FRAMES_BYTES and not self._early:
            raise BadMessage("the chunks of the body are mostly not its content")
        return body

    # ---- what an exchange does with it

    @property
    def stays(self) -> bool:
        """Whether the connection can be used again after this answer, as far as is known now."""
        head = self.head
        return head is not None and head.keep_alive and self.complete and not self._early and not self._serving.draining

    def write(self, data: bytes) -> None:
        """Sends bytes."""
        self._transport.write(data)

    def answer(self, status: int, headers: Sequence[Header], body: bytes) -> None:
        """Sends a whole answer of our own, and ends the exchange."""
        head = self.head
        to_head = head is not None and head.method == b"HEAD"
        self._transport.write(make_answer(status, headers, body, keep_alive=self.stays, to_head=to_head))
        self.finish(keep=True)

    def finish(self, *, keep: bool) -> None:
        """The answer is over.

        Args:
            keep: whether the client knows where it ended.
        """
        self._exchange = None
        if keep and self.stays:
            self.head = None
            self._state = _State.HEAD
            self.deadline = self._next_deadline()
            return
        if keep and self._early:
            self._refuse(BadMessage("a request came before the answer to the one before it"))
            return
        if keep and not self.complete:
            self._linger()
        else:
            self._end()

    def break_off(self, *, reset: bool) -> None:
        """Ends the connection in the midst of an answer.

        Args:
            reset: so that the client sees that it broke even where the end of the connection is that of the body.
        """
        self._exchange = None
        if reset:
            found = self._transport.get_extra_info("socket")
            if found is not None:
                found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            self._transport.abort()
        else:
            self._end()

    def pause_reading(self) -> None:
        """Takes no more of the request for now."""
        if self._reading and self._state is not _State.END:
            self._reading = False
            self._transport.pause_reading()
            if self._state is _State.BODY and not self.paused:
                self.deadline = NEVER

    def resume_reading(self) -> None:
        """Takes more of the request."""
        if not self._reading and not self._early:
            self._reading = True
            self._transport.resume_reading()
            if self._state is _State.BODY and not self.paused:
                self.deadline = self._next_deadline()

    def _next_deadline(self) -> int:
        """When the client is overdue, by what it is to do next."""
        serving = self._serving
        match self._state:
            case _State.HEAD:
                return serving.tick + serving.ticks.keep_alive
            case _State.BODY if self._reading:
                return serving.tick + serving.ticks.body
            case _State.END:
                return serving.tick + serving.ticks.idle
            case _:
                return NEVER

    # ---- ends

    def end_if_idle(self) -> None:
        """The worker is about to end: a connection without a call goes now, others with their answer."""
        if self._state is _State.HEAD:
            self._end()

    def abort(self) -> None:
        """The worker ends now."""
        self._transport.abort()

    def _refuse(self, problem: BadMessage) -> None:
        """Answers what is no request; the connection cannot be used after it."""
        family: Family = "openai"  # nobody knows yet whose SDK it is
        status, body = self._serving.gatekeeper.fault(family, problem.status, problem.code, problem.message)
        self._transport.write(make_answer(status, (JSON,), body, keep_alive=False, to_head=False))
        self._linger()

    def _linger(self) -> None:
        """Lets a client that may still be sending read our answer: closed at once, its connection would be reset."""
        self._state = _State.END
        self._held = b""
        self.deadline = self._serving.tick + _LINGER_TICKS
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def _end(self) -> None:
        self._state = _State.END
        self.deadline = self._serving.tick + self._serving.ticks.idle  # for what is still to be sent
        self._transport.close()
