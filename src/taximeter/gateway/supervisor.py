"""Several workers on the same sockets: started, watched, started anew when they die, told to drain and to reload.

Workers are forked, and not started as programs of their own: what they need is a callable, which only a fork hands
over; what was loaded before is shared between them until somebody writes to it; and a worker that has died is replaced
within milliseconds, whatever has become of the disk since. A fork in a process with threads is unsafe, so the
supervisor has none, and does nothing but wait.

All workers accept from one inherited socket. With ``SO_REUSEPORT`` each would have a queue of its own, and whatever
connections wait in it are lost when its worker dies; one queue loses none.
"""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NoReturn

_log = logging.getLogger("taximeter.gateway")

_AT_ONCE_S: Final = 2
"""A worker that dies sooner after its start is taken to die of its start."""

_MOST_AT_ONCE: Final = 5
"""So many deaths in a row by their start, and the supervisor gives up."""

_LONGEST_PAUSE_S: Final = 5
_GRACE_S: Final = 5
"""What workers get beyond their time to drain, before they are killed."""

_READY: Final = b"r"
_FAILED: Final = 1
_SIGNALS: Final = ("SIGTERM", "SIGINT", "SIGHUP", "SIGCHLD")


class _Worker:
    """A worker as its supervisor sees it."""

    __slots__ = ("lifeline", "pid", "ready", "started_at")

    def __init__(self, pid: int, ready: int) -> None:
        self.pid = pid
        self.ready: int | None = ready
        self.started_at = time.monotonic()


class Supervisor:
    """Keeps workers going.

    Args:
        work: what a worker does, in a process of its own: serves until it is told to drain by SIGTERM. Is given a
            function to call when it serves. What it raises is logged, and it counts as dead.
        workers: how many.
        drain_s: how long a worker may take to end.
        ready: called once, when every worker serves.
        ends: called once, when they are told to end: lets go of what is listened on, so that nobody queues there for
            workers that take no more.
    """

    def __init__(
        self,
        work: Callable[[Callable[[], None]], None],
        workers: int,
        *,
        drain_s: float,
        ready: Callable[[], None] | None = None,
        ends: Callable[[], None] | None = None,
    ) -> None:
        self._work = work
        self._count = workers
        self._drain_s = drain_s
        self._tell_ready = ready
        self._tell_ends = ends
        self._workers: dict[int, _Worker] = {}
        self._early_deaths = 0
        self._restart_at: list[float] = []
        self._ending_until: float | None = None
        self._failed = False
        self._wake_read = self._wake_write = -1
        self._life_read = self._life_write = -1

    def run(self) -> int:
        """Runs until SIGTERM or SIGINT; SIGHUP has every worker reload. For a process with no other thread.

        Returns:
            The exit status: 0 when it was told to end, 1 when workers do not start.
        """
        if threading.active_count() > 1:
            _log.warning("there are other threads in this process, and a worker may inherit what they hold")
        self._wake_read, self._wake_write = os.pipe()
        self._life_read, self._life_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        os.set_blocking(self._wake_read, False)
        before = {name: signal.signal(getattr(signal, name), self._on_signal) for name in _SIGNALS}
        try:
            for _ in range(self._count):
                self._start()
            while self._workers or (self._restart_at and self._ending_until is None):
                self._wait()
            return _FAILED if self._failed else 0
        finally:
            for name, handler in before.items():
                signal.signal(getattr(signal, name), handler)
            for each in (self._wake_read, self._wake_write, self._life_read, self._life_write):
                os.close(each)

    @staticmethod
    def _nothing(*_: object) -> None:
        """In a worker, until its loop has its own handlers."""

    def _on_signal(self, number: int, _frame: object) -> None:
        with suppress(OSError):  # full: it will wake anyway
            os.write(self._wake_write, bytes([number]))

    # ---- one turn

    def _wait(self) -> None:
        """Waits for something to happen, and sees to it."""
        pipes = [worker.ready for worker in self._workers.values() if worker.ready is not None]
        readable, _, _ = select.select([self._wake_read, *pipes], [], [], self._patience())
        if self._wake_read in readable:
            with suppress(BlockingIOError):
                for number in os.read(self._wake_read, 4096):
                    self._heed(number)
        for worker in tuple(self._workers.values()):
            if worker.ready in readable:
                self._hear(worker)
        self._reap()
        now = time.monotonic()
        if self._ending_until is None:
            due = [at for at in self._restart_at if at <= now]
            self._restart_at = [at for at in self._restart_at if at > now]
            for _ in due:
                self._start()
        elif now > self._ending_until:
            for pid in self._workers:
                _log.warning(_line("worker killed", pid=pid, reason="it did not end in time"))
                os.kill(pid, signal.SIGKILL)
            self._ending_until = now + _GRACE_S

    def _patience(self) -> float:
        moments = [*self._restart_at] if self._ending_until is None else [self._ending_until]
        return max(0.0, min(moments) - time.monotonic()) + 0.001 if moments else 3600.0

    def _heed(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._end()
        elif number == signal.SIGHUP:
            _log.info(_line("reload", workers=len(self._workers)))
            for pid in self._workers:
                os.kill(pid, signal.SIGHUP)

    def _hear(self, worker: _Worker) -> None:
        """A worker serves, or has died before it did."""
        if worker.ready is None:
            return
        said = os.read(worker.ready, 1)
        os.close(worker.ready)
        worker.ready = None
        if said == _READY:
            self._early_deaths = 0
            _log.info(_line("worker serves", pid=worker.pid))
            if self._tell_ready is not None and all(each.ready is None for each in self._workers.values()):
                tell, self._tell_ready = self._tell_ready, None
                tell()

    def _reap(self) -> None:
        while self._workers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            worker = self._workers.pop(pid, None)
            if worker is None:
                continue
            if worker.ready is not None:
                os.close(worker.ready)
            if self._ending_until is None:
                self._replace(worker, os.waitstatus_to_exitcode(status))

    def _replace(self, worker: _Worker, code: int) -> None:
        early = time.monotonic() - worker.started_at < _AT_ONCE_S
        self._early_deaths = self._early_deaths + 1 if early else 0
        _log.warning(_line("worker died", pid=worker.pid, code=code))
        if self._early_deaths >= _MOST_AT_ONCE * self._count:
            _log.error(_line("workers do not start", deaths=self._early_deaths))
            self._failed = True
            self._end()
            return
        rounds = self._early_deaths // self._count
        pause = min(_LONGEST_PAUSE_S, 0.1 * 2**rounds) if early else 0
        self._restart_at.append(time.monotonic() + pause)

    def _end(self) -> None:
        if self._ending_until is None:
            self._ending_until = time.monotonic() + self._drain_s + _GRACE_S
            if self._tell_ends is not None:
                self._tell_ends()
            for pid in self._workers:
                os.kill(pid, signal.SIGTERM)

    # ---- a worker

    def _start(self) -> None:
        told, tell = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            os.close(tell)
            self._workers[pid] = _Worker(pid, told)
            return
        os.close(told)
        self._be_worker(tell)

    def _be_worker(self, tell: int) -> NoReturn:
        """The life of a forked child: nothing of the supervisor's runs in it, not even what that does at its exit."""
        status = _FAILED
        try:
            os.close(self._life_write)
            for worker in self._workers.values():
                if worker.ready is not None:
                    os.close(worker.ready)
            for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGCHLD"):
                signal.signal(getattr(signal, name), signal.SIG_DFL if name != "SIGHUP" else self._nothing)
            watcher = threading.Thread(target=_end_with, args=(self._life_read,), name="taximeter-parent", daemon=True)
            watcher.start()

            def ready() -> None:
                os.write(tell, _READY)
                os.close(tell)

            self._work(ready)
            status = 0
        except BaseException:  # noqa: BLE001 - whatever it is, it must not run on in the supervisor's place
            _log.exception("a worker failed")
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)


def _end_with(lifeline: int) -> None:
    """Drains a worker whose supervisor has died: the pipe from it is closed then, however it died."""
    with suppress(OSError):
        os.read(lifeline, 1)
        os.kill(os.getpid(), signal.SIGTERM)


def _line(event: str, **figures: object) -> str:
    return json.dumps({"event": event, **figures})
