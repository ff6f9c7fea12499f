"""One process that serves: its loop, its sockets, and how it ends without dropping a call."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Self

from taximeter.errors import TaximeterError
from taximeter.gateway.config import ServingSettings
from taximeter.gateway.http.client import ClientConnection
from taximeter.gateway.http.serving import Serving, Words, cost_alone
from taximeter.gateway.plan import Gatekeeper
from taximeter.meter.runtime import Meter

_log = logging.getLogger("taximeter.gateway")

_BACKLOG: Final = 2048
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_KEPT_BYTES: Final = 16 * 1024 * 1024
_GARBAGE: Final = (50_000, 20, 50)
"""How often Python looks for cycles. An exchange leaves none behind, so looking often finds nothing, and costs."""

_START_S: Final = 60
_LAST_S: Final = 0.5
"""That connections have to send what was written, after the last call has ended."""


class Worker:
    """Serves on sockets that are listened on already, in the loop that runs :meth:`run`.

    Args:
        gatekeeper: makes who decides; called at the start, and again at every :meth:`reload`.
        listen: the sockets; closed when it is told to end. Other processes may go on with theirs.
        settings: limits and time-outs.
        meter: counts the calls; ``None``: nothing is metered.
        words: what callers are told of costs in the usage.
        drains: called when the worker is told to end, before it does.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - each is one thing that a worker is given
        self,
        gatekeeper: Callable[[], Gatekeeper],
        listen: Sequence[socket.socket],
        settings: ServingSettings,
        meter: Meter | None,
        words: Words = cost_alone,
        drains: Callable[[], None] | None = None,
    ) -> None:
        self._drains = drains
        self._make = gatekeeper
        self._listen = listen
        self._settings = settings
        self._meter = meter
        self._words = words
        self._loop: asyncio.AbstractEventLoop | None = None
        self._serving: Serving | None = None
        self._ending: asyncio.Event | None = None
        self._empty: asyncio.Event | None = None

    async def run(self, ready: Callable[[], None] | None = None) -> None:
        """Serves until :meth:`drain`, and then until the calls under way have ended, or ``drain_s`` is over.

        Args:
            ready: called when it serves.
        """
        self._loop = loop = asyncio.get_running_loop()
        self._ending = ending = asyncio.Event()
        self._empty = asyncio.Event()
        if self._meter is not None:
            self._meter.start()  # what a worker that died left is stored, whenever the first call comes
            self._meter.book()  # some 100 ms, which the first answers would wait for
        self._serving = serving = Serving(loop, self._make(), self._settings, self._meter, self._words)
        servers = [
            await loop.create_server(lambda: ClientConnection(serving), sock=each.dup(), backlog=_BACKLOG)
            for each in self._listen
        ]
        serving.start()
        _keep_memory()
        gc.collect()
        gc.freeze()
        before = gc.get_threshold()
        gc.set_threshold(*_GARBAGE)
        try:
            if ready is not None:
                ready()
            await ending.wait()
            for open_to_clients in (*servers, *self._listen):
                open_to_clients.close()
            await self._let_end(serving)
        finally:
            gc.set_threshold(*before)
            gc.unfreeze()
            serving.stop()
            for server in servers:
                server.close()

    def drain(self) -> None:
        """Takes no more connections, lets calls end, and has :meth:`run` return. From the loop's own thread."""
        if self._drains is not None:
            self._drains()
        if self._ending is not None:
            self._ending.set()

    def reload(self) -> None:
        """Has a new gatekeeper decide from the next call on; where none can be made the old one stays."""
        if self._serving is None:
            return
        try:
            self._serving.gatekeeper = self._make()
        except TaximeterError as error:
            _log.error("reload failed, what was in force stays so: %s", error)
        else:
            _log.info("reloaded")

    def soon(self, what: Callable[[], None]) -> None:
        """Has :meth:`drain` or :meth:`reload` called from another thread."""
        if self._loop is not None:
            with suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(what)

    async def _let_end(self, serving: Serving) -> None:
        empty = self._empty
        serving.draining = True
        for connection in tuple(serving.connections):
            if isinstance(connection, ClientConnection):
                connection.end_if_idle()
        if serving.calls and empty is not None:
            serving.emptied = empty.set
            with suppress(TimeoutError):
                await asyncio.wait_for(empty.wait(), self._settings.drain_s)
        left = serving.calls
        if left:
            _log.warning("%d calls were cut off: they did not end within %s s", left, self._settings.drain_s)
        deadline = 0.0 if left else _LAST_S
        while serving.clients and deadline > 0:
            await asyncio.sleep(0.01)
            deadline -= 0.01
        for connection in tuple(serving.connections):
            if isinstance(connection, ClientConnection):
                connection.abort()
        serving.stop()
        await asyncio.sleep(0)  # for what hears of it in the next turn of the loop
        await asyncio.sleep(0)


def _keep_memory() -> None:
    """Has glibc keep for the next call what a large body took: given back, each of its pages would be fetched anew."""
    with suppress(OSError, AttributeError, TypeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES // 2)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def new_loop() -> asyncio.AbstractEventLoop:
    """A loop to serve on: uvloop's, or asyncio's own where there is none (Windows)."""
    try:
        import uvloop  # noqa: PLC0415 - it is an extra, and is not to be had everywhere
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def serve(  # noqa: PLR0913 - each is one thing that a process is given
    gatekeeper: Callable[[], Gatekeeper],
    listen: Sequence[socket.socket],
    settings: ServingSettings,
    meter: Meter | None,
    *,
    words: Words = cost_alone,
    ready: Callable[[], None] | None = None,
    drains: Callable[[], None] | None = None,
) -> None:
    """Serves in this process until SIGTERM or SIGINT; SIGHUP reloads. For the main thread.

    Args:
        gatekeeper: makes who decides.
        listen: sockets that are listened on.
        settings: limits and time-outs.
        meter: counts the calls.
        words: what callers are told of costs in the usage.
        ready: called when it serves.
        drains: called when it is told to end, before it does.
    """
    worker = Worker(gatekeeper, listen, settings, meter, words, drains)
    with asyncio.Runner(loop_factory=new_loop) as runner:
        loop = runner.get_loop()
        for name, what in (("SIGTERM", worker.drain), ("SIGINT", worker.drain), ("SIGHUP", worker.reload)):
            with suppress(NotImplementedError, AttributeError):  # Windows
                loop.add_signal_handler(getattr(signal, name), what)
        runner.run(worker.run(ready))
    if meter is not None:
        meter.close()


class Gateway:
    """A gateway that runs in a thread of this process: for tests, and for applications that bring their own.

    >>> from taximeter.gateway.config import ServingSettings  # doctest: +SKIP
    >>> with Gateway(lambda: keeper, ServingSettings(), meter) as gateway:  # doctest: +SKIP
    ...     client = OpenAI(base_url=f"{gateway.url}/v1")

    Args:
        gatekeeper: makes who decides.
        settings: limits and time-outs.
        meter: counts the calls; is not closed with it.
        words: what callers are told of costs in the usage.
        host: to listen on.
        port: to listen on; 0 takes a free one.
    """

    def __init__(  # noqa: PLR0913 - each is one setting, given by name
        self,
        gatekeeper: Callable[[], Gatekeeper],
        settings: ServingSettings,
        meter: Meter | None,
        *,
        words: Words = cost_alone,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.socket = listening(host, port)
        self.host = host
        self.port: int = self.socket.getsockname()[1]
        self._worker = Worker(gatekeeper, [self.socket], settings, meter, words)
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="taximeter-gateway", daemon=True)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://{self.host}:{self.port}"

    def reload(self) -> None:
        """As SIGHUP."""
        self._worker.soon(self._worker.reload)

    def start(self) -> Self:
        """Serves from now on.

        Raises:
            TaximeterError: when it cannot.
        """
        self._thread.start()
        self._ready.wait(_START_S)
        if self._failure is not None:
            msg = f"the gateway does not start: {self._failure}"
            raise TaximeterError(msg) from self._failure
        return self

    def stop(self) -> None:
        """As SIGTERM, and waits for the end.

        Raises:
            TaximeterError: when the gateway failed.
        """
        self._worker.soon(self._worker.drain)
        self._thread.join(_START_S)
        self.socket.close()
        if self._failure is not None:
            msg = f"the gateway failed: {self._failure!r}"
            raise TaximeterError(msg) from self._failure

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=new_loop) as runner:
                runner.run(self._worker.run(self._ready.set))
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that asked for all this
            self._failure = error
        finally:
            self._ready.set()


def listening(host: str, port: int) -> socket.socket:
    """A socket that is listened on, to be inherited by every worker.

    Raises:
        OSError: when the address cannot be had.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(_BACKLOG)
        made.setblocking(False)  # noqa: FBT003 - the standard library takes no name
    except OSError:
        made.close()
        raise
    return made
