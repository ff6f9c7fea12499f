"""The provider on sockets: HTTP/1.1 by h11 over asyncio streams."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import h11
import msgspec

from taximeter.simulator.books import Books, Outcome, Served
from taximeter.simulator.play import Play
from taximeter.simulator.provider import Provider, Request, Response

_READ_BYTES: Final = 65_536
_MOST_BODY_BYTES: Final = 64 * 1024 * 1024
_MS: Final = 1_000
_REASONS: Final = {status.value: status.phrase.encode() for status in HTTPStatus}
_BYTES_PER_BREATH: Final = 64
"""How many single bytes are written before others get their turn."""


class _GoneError(Exception):
    """The client went away."""


class Server:
    """Serves a provider's answers until it is told to stop.

    Args:
        provider: what answers.
        books: where each call is entered.
        on_served: told of each call once it is entered.
    """

    def __init__(self, provider: Provider, books: Books, on_served: Callable[[Served], None] | None) -> None:
        self._provider = provider
        self._books = books
        self._on_served = on_served
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.failure: BaseException | None = None

    async def start(self, host: str, port: int, context: ssl.SSLContext | None) -> int:
        """Listens; the port."""
        self._server = await asyncio.start_server(self._accept, host, port, ssl=context, backlog=1024)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Closes the listening socket and every connection."""
        if self._server is not None:
            self._server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._connection(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.failure = self.failure or task.exception()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _Connection(reader, writer, self._provider, self._book).run()
        except (_GoneError, ConnectionError, ssl.SSLError, TimeoutError):
            pass  # the client's own affair; the call, if there was one, is booked
        except asyncio.CancelledError:
            writer.transport.abort()  # we stop: a client that does not read must not hold us
            raise
        finally:
            writer.close()

    def _book(self, draft: Served) -> None:
        call = self._books.book(draft)
        if self._on_served is not None:
            self._on_served(call)


class _Connection:
    """One connection: request after request, as long as it is kept alive."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        provider: Provider,
        book: Callable[[Served], None],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._provider = provider
        self._book = book
        self._http = h11.Connection(h11.SERVER)

    async def run(self) -> None:
        """Answers until either side is done."""
        while True:
            try:
                request = await self._request()
            except h11.RemoteProtocolError as error:
                self._refuse(error.error_status_hint, str(error))
                return
            if request is None:
                return
            sent = self._provider.answer(request)
            if not await self._send(sent):
                return
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                return
            self._http.start_next_cycle()

    async def _event(self) -> h11.Event | type[h11.PAUSED]:
        while True:
            event = self._http.next_event()
            if event is not h11.NEED_DATA:
                return event  # pyright: ignore[reportReturnType] - NEED_DATA is excluded, which its type cannot say
            if self._http.they_are_waiting_for_100_continue:
                self._writer.write(self._http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
            self._http.receive_data(await self._reader.read(_READ_BYTES))

    async def _request(self) -> Request | None:
        """The next request, with all of its body; ``None`` when the client has no more."""
        event = await self._event()
        if not isinstance(event, h11.Request):
            return None
        head = event
        body = bytearray()
        while True:
            event = await self._event()
            if isinstance(event, h11.Data):
                body += event.data
                if len(body) > _MOST_BODY_BYTES:
                    msg = f"a body of more than {_MOST_BODY_BYTES} bytes"
                    raise h11.RemoteProtocolError(msg, error_status_hint=413)
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                return None
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
        return Request(head.method.decode(), head.target.decode("latin-1"), headers, bytes(body))

    def _refuse(self, status: int, message: str) -> None:
        """What is no HTTP is told so, and the connection ends."""
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            headers = [("content-type", "text/plain"), ("connection", "close")]
            data = self._http.send(h11.Response(status_code=status, headers=headers)) or b""
            data += self._http.send(h11.Data(data=message.encode())) or b""
            self._writer.write(data + (self._http.send(h11.EndOfMessage()) or b""))

    async def _send(self, response: Response) -> bool:
        """Sends an answer and books it; whether the connection can be used again.

        A call is booked before its last bytes are handed over: whoever has read an answer to its end finds it booked.
        """
        played = response.play
        sending = _Sending(self, response)
        try:
            if played.slow_ms:
                await self.wait(played.slow_ms)
            if played.no_head:
                sending.book("cut")
                return False
            await sending.run(_head(played))
        except (_GoneError, ConnectionError):
            sending.book("left")
            raise
        except asyncio.CancelledError:
            sending.book("cut")
            raise
        return played.ending == "end"

    async def wait(self, pause_ms: int) -> None:
        """Waits, unless the client has gone.

        Raises:
            _GoneError: when it has.
        """
        await asyncio.sleep(pause_ms / _MS)
        self.check()

    def check(self) -> None:
        """Raises _GoneError when the client has gone."""
        if self._reader.at_eof() or self._writer.transport.is_closing():
            raise _GoneError

    async def until_gone(self) -> None:
        """Waits for the client to go."""
        while await self._reader.read(_READ_BYTES):
            pass
        raise _GoneError

    def enter(self, served: Served) -> None:
        """Books a call."""
        self._book(served)

    def frame(self, event: h11.Event) -> bytes:
        """The bytes of HTTP for this."""
        return self._http.send(event) or b""

    async def write(self, data: bytes) -> None:
        """Hands bytes over."""
        self._writer.write(data)
        await self._writer.drain()


def _head(played: Play) -> h11.Response:
    headers = list(played.headers)
    if played.length is not None:
        headers.append(("content-length", str(played.length)))
    return h11.Response(status_code=played.status, headers=headers, reason=_REASONS.get(played.status, b"Simulated"))


class _Sending:
    """One answer on its way out."""

    def __init__(self, connection: _Connection, response: Response) -> None:
        self._connection = connection
        self._play = response.play
        self._served = response.served
        self._chunks = 0
        self._bytes = 0

    def book(self, outcome: Outcome) -> None:
        """Enters the call in the books, once."""
        if self._served is None:
            return
        stated = self._play.usage if self._chunks > self._play.usage_at else None
        entry = msgspec.structs.replace(
            self._served, outcome=outcome, usage=stated, chunks=self._chunks, body_bytes=self._bytes
        )
        self._served = None
        self._connection.enter(entry)

    async def run(self, head: h11.Response) -> None:
        """Sends the head, the chunks, and the end that is asked for."""
        played = self._play
        pending = self._connection.frame(head)
        paced = played.pace_ms or played.bytewise
        for index, chunk in enumerate(played.chunks):
            if paced and index:
                await self._connection.write(pending)
                pending = b""
                if played.pace_ms:
                    await self._connection.wait(played.pace_ms)
            if played.bytewise:
                await self._connection.write(pending)
                pending = await self._bytewise(chunk, last=index == len(played.chunks) - 1)
            else:
                pending += self._framed(chunk)
            self._chunks += 1
            self._bytes += len(chunk)
        if played.ending == "hang":
            await self._connection.write(pending)
            await self._connection.until_gone()
        self.book(played.outcome)
        if played.ending == "end":
            pending += self._connection.frame(h11.EndOfMessage())
        await self._connection.write(pending)

    def _framed(self, data: bytes) -> bytes:
        return self._connection.frame(h11.Data(data=data)) if self._play.honest else data

    async def _bytewise(self, chunk: bytes, *, last: bool) -> bytes:
        """Writes byte by byte; the very last is left to the caller, who books first."""
        until = len(chunk) - 1 if last else len(chunk)
        for at in range(until):
            await self._connection.write(self._framed(chunk[at : at + 1]))
            if at % _BYTES_PER_BREATH == 0:
                await asyncio.sleep(0)
        return self._framed(chunk[until:]) if last else b""
