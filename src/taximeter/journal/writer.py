"""The thread that moves finished calls from the journal to the store, and the end of the process."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue

import msgspec

from taximeter.errors import JournalError
from taximeter.event import CallEvent
from taximeter.journal import forks
from taximeter.journal.delivery import Sink, deliver
from taximeter.journal.journal import Journal
from taximeter.journal.refused import keep_refused


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How the writer works. All times in seconds.

    Attributes:
        batch_events: the most events that go to the sink in one piece, and are in memory at once.
        gather_s: how long events may wait for others to be stored with them.
        retry_s: the pause after a first failure; it doubles with each further one.
        retry_s_max: the longest pause.
        exit_s: the longest that the end of the process is held up.
        fork_s: the longest that a fork is held up.
    """

    batch_events: int = 1_000
    gather_s: float = 0.5
    retry_s: float = 0.1
    retry_s_max: float = 30.0
    exit_s: float = 5.0
    fork_s: float = 1.0


class Writer:
    """Moves events from a journal to a sink, in a thread that starts at the first event and waits without any work.

    An event leaves the journal only when the sink has it. A sink that is locked, slow, full or gone delays events: they
    are tried again for as long as the process lives, and stay in the journal when it ends. An event that a working sink
    will not take is kept in a file of its own beside the journal.

    Attributes:
        stored_events: events that the sink has taken.
        refused_events: events that it would not take.
        failures: attempts that failed.
        last_error: what the last failed attempt said; ``None`` again once one has succeeded.
    """

    fork_order = 0

    def __init__(self, journal: Journal, sink: Sink, pace: Pace | None = None) -> None:
        self.stored_events = 0
        self.refused_events = 0
        self.failures = 0
        self.last_error: str | None = None
        self._journal, self._sink, self._pace = journal, sink, pace or Pace()
        self._process = os.getpid()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._at_work = threading.RLock()  # one batch at a time
        self._gate = threading.RLock()  # passed before each batch; a fork closes it, or it would hardly get its turn
        # The one kind of queue that may be put to from a finaliser while this very thread is in it.
        self._signals: SimpleQueue[None] = SimpleQueue()
        self._awake = self._hurried = self._stopped = False
        self._rescued: deque[CallEvent] = deque()
        self._progress = threading.Condition()
        self._exit_known = False
        self._resting = False
        journal.notify = self.wake
        forks.watch(self)

    @property
    def running(self) -> bool:
        """Whether the thread is there."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    def wake(self) -> None:
        """Says that events wait. Costs next to nothing while the thread is awake; starts it when it is not there."""
        if self._awake or self._process != os.getpid():
            return
        if not self.running and not self._start():
            return
        self._awake = True
        self._signals.put(None)

    def rescue(self, event: CallEvent) -> bool:
        """Takes an event that the journal could not write, so that it gets to the store if this process lives.

        Returns:
            Whether there was room: no more than a batch of them is kept in memory.
        """
        if len(self._rescued) >= self._pace.batch_events or self._process != os.getpid():
            return False
        self._rescued.append(event)
        self.wake()
        return True

    def flush(self, timeout_s: float) -> bool:
        """Waits until what waits now is in the sink; a pause after a failure is cut short.

        Returns:
            Whether it is. If not, the events stay in the journal.
        """
        if self._process != os.getpid():
            return False
        target, deadline = self._journal.closed_events, time.monotonic() + timeout_s
        if self._settled(target):
            return True
        self._hurried = True
        self._awake = False
        self.wake()
        if not self.running:  # a process that is ending starts no threads
            return self._flush_here(target, deadline)
        with self._progress:
            return self._progress.wait_for(lambda: self._settled(target), max(0, deadline - time.monotonic()))

    def stop(self, timeout_s: float) -> bool:
        """Flushes, and ends the thread. An event that comes later starts it again.

        Returns:
            As :meth:`flush`.
        """
        flushed = self.flush(timeout_s)
        thread = self._thread
        if thread is not None and self._process == os.getpid():
            self._stopped = True
            self._signals.put(None)
            if flushed:  # else it is in the sink, and may stay there for long
                thread.join(timeout_s)
        return flushed

    def before_fork(self) -> None:
        """Waits until no batch is in the sink, for a child inherits every lock that is held in there, and no thread."""
        self._gate.acquire()
        self._resting = self._at_work.acquire(timeout=self._pace.fork_s)

    def after_fork_in_parent(self) -> None:
        """Goes on."""
        if self._resting:
            self._resting = False
            self._at_work.release()
        self._gate.release()

    def after_fork_in_child(self) -> None:
        """Nothing: the journal has forgotten this writer, and all of its methods know the process that it is of."""

    def _settled(self, target: int) -> bool:
        return not self._rescued and self._journal.closed_events - self._journal.waiting_events >= target

    def _start(self) -> bool:
        if not self._starting.acquire(blocking=False):
            return False  # somebody else is at it, maybe this very thread
        try:
            if not self.running:
                self._stopped = False
                thread = threading.Thread(target=self._run, name="taximeter-writer", daemon=True)
                thread.start()
                self._thread = thread
                self._at_exit()
        except RuntimeError as error:  # no more threads: the events stay in the journal, and the next one tries again
            self._failed(error)
            return False
        finally:
            self._starting.release()
        return True

    def _at_exit(self) -> None:
        if self._exit_known:
            return
        self._exit_known = True
        # After the threads that Python waits for have ended, and the event loops with them.
        atexit.register(self._exit)
        # A child of multiprocessing leaves without atexit before Python 3.13.
        util = sys.modules.get("multiprocessing.util")
        if util is not None:
            finalize: Callable[..., object] = util.Finalize
            finalize(None, self._exit, exitpriority=-1)

    def _exit(self) -> None:
        if self._process == os.getpid():  # not in a child that inherited the handler
            self.stop(self._pace.exit_s)
            self._journal.close()

    def _run(self) -> None:
        failed_in_a_row = 0
        while not self._stopped:
            if not self._work_waits():
                self._rest()
                continue
            if not failed_in_a_row:
                self._pause(self._pace.gather_s)
            failed_in_a_row = 0 if self._step() else failed_in_a_row + 1
            if failed_in_a_row:
                longest = self._pace.retry_s_max
                self._pause(min(longest, self._pace.retry_s * 2 ** min(failed_in_a_row - 1, 30)))

        self._thread, self._awake = None, False

    def _work_waits(self) -> bool:
        return bool(self._journal.waiting_events or self._rescued)

    def _rest(self) -> None:
        """Waits for the first event; costs nothing meanwhile."""
        self._awake = self._hurried = False
        if not self._work_waits():  # looked at after the flag: whoever comes now puts a signal
            self._signals.get()
        self._awake = True

    def _pause(self, seconds: float) -> None:
        full = self._journal.waiting_events >= self._pace.batch_events
        if self._hurried or self._stopped or (full and seconds == self._pace.gather_s):
            return
        with suppress(Empty):
            self._signals.get(timeout=seconds)

    def _step(self) -> bool:
        """Moves one batch. Returns whether that went well."""
        try:
            with self._gate:
                pass
            with self._at_work:
                self._move_batch()
        except Exception as error:  # noqa: BLE001 - the sink's, of whatever kind; kept, counted, and tried again
            self._failed(error)
            self._hurried = False  # whoever hurries has had their attempt; without this we would not pause
            return False
        self.last_error = None
        with self._progress:
            self._progress.notify_all()
        return True

    def _move_batch(self) -> None:
        events = self._journal.waiting(self._pace.batch_events)
        rescued = list(self._rescued)
        refused = deliver(self._sink, [*events, *rescued])
        if refused:
            keep_refused(self._journal.folder, refused)
        if self._journal.durability == "fsync":
            self._sink.sync()
        self._journal.confirm(len(events))
        for event in rescued:
            self._rescued.popleft()
            self._journal.forget(event.id)
        self.stored_events += len(events) + len(rescued) - len(refused)
        self.refused_events += len(refused)

    def _flush_here(self, target: int, deadline: float) -> bool:
        while not self._settled(target) and time.monotonic() < deadline:
            if not self._step():
                break
        return self._settled(target)

    def _failed(self, error: Exception) -> None:
        self.failures += 1
        self.last_error = str(error) if isinstance(error, JournalError) else f"{type(error).__name__}: {error}"
