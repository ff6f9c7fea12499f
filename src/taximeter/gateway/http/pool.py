"""Connections to one origin: kept while they are good, opened up to a limit, waited for beyond it."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from typing import TYPE_CHECKING, Protocol

from taximeter.gateway.http.upstream import UpstreamConnection
from taximeter.gateway.plan import Origin

if TYPE_CHECKING:
    from taximeter.gateway.http.serving import Serving


class Asker(Protocol):
    """Who wants a connection."""

    def connected(self, connection: UpstreamConnection) -> None:
        """Here it is."""
        ...

    def unreachable(self, error: Exception) -> None:
        """There is none to be had."""
        ...


class Pool:
    """The connections of one worker to one origin.

    Args:
        serving: what the worker's connections share.
        origin: where they lead.
    """

    def __init__(self, serving: Serving, origin: Origin) -> None:
        self.origin = origin
        self._serving = serving
        self._idle: dict[UpstreamConnection, None] = {}  # in the order in which they became so
        self._waiting: deque[Asker] = deque()
        self._opened = 0  # and being opened
        self._opening: set[asyncio.Task[None]] = set()
        self._context: ssl.SSLContext | None = None

    def take(self, asker: Asker) -> None:
        """Gets a connection for somebody: at once where one is idle, who was used last first."""
        if self._idle:
            connection, _ = self._idle.popitem()
            asker.connected(connection)
            return
        self._waiting.append(asker)
        self._open()

    def forget(self, asker: Asker) -> None:
        """Somebody does not want one any more."""
        if asker in self._waiting:
            self._waiting.remove(asker)

    def give_back(self, connection: UpstreamConnection) -> None:
        """A connection is free, with nothing unread in it."""
        if self._waiting:
            self._waiting.popleft().connected(connection)
        else:
            self._idle[connection] = None

    def lost(self, connection: UpstreamConnection) -> None:
        """A connection has ended."""
        self._opened -= 1
        self._idle.pop(connection, None)
        if len(self._waiting) > len(self._opening):
            self._open()

    def close(self) -> None:
        """Ends what is idle or being opened."""
        for task in self._opening:
            task.cancel()
        for connection in tuple(self._idle):
            connection.close()

    def _open(self) -> None:
        if self._opened >= self._serving.settings.max_upstream_connections:
            return
        self._opened += 1
        task = self._serving.loop.create_task(self._connect())
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _connect(self) -> None:
        origin = self.origin
        try:
            async with asyncio.timeout(self._serving.settings.connect_s):
                _, connection = await self._serving.loop.create_connection(
                    lambda: UpstreamConnection(self._serving, self),
                    origin.host,
                    origin.port,
                    ssl=await self._tls() if origin.tls else None,
                    server_hostname=(origin.server_name or origin.host) if origin.tls else None,
                )
        except asyncio.CancelledError:
            self._opened -= 1
            raise
        except Exception as error:  # noqa: BLE001 - no address, no route, no trust, no time: who waits is told, whatever it was
            self._opened -= 1
            if self._waiting:
                self._waiting.popleft().unreachable(error)
        else:
            self.give_back(connection)

    async def _tls(self) -> ssl.SSLContext:
        if self._context is None:  # it reads files
            self._context = await asyncio.to_thread(_tls_context, self.origin.verify)
        return self._context


def _tls_context(verify: bool | str) -> ssl.SSLContext:  # noqa: FBT001 - as an origin has it
    context = ssl.create_default_context(cafile=verify if isinstance(verify, str) else None)
    if verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context
