"""The journal of one process: every call on file before its request leaves, every outcome before it is told."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Final, Literal, Self

from taximeter.codec import unpack_event
from taximeter.errors import JournalError
from taximeter.event import CallEvent
from taximeter.journal import files, forks
from taximeter.journal.frames import CLOSED, DROPPED, HEADER, OPENED, Damage, Record, frame, scan
from taximeter.journal.records import OpenCall, closed_frame, is_verbatim, opened_frame

Durability = Literal["process", "fsync"]
"""``process``: a record is with the kernel, which survives the death of the process. ``fsync``: it is on the disk."""

SHRINK_BYTES: Final = 4 * 2**20
"""How much of a file must be done with before the rest is moved to a new one."""
_COPY_BYTES: Final = 2**20  # and how much the rest may be, while callers wait: about a millisecond's worth


class Journal:
    """An append-only file that only this process writes. Made at the first record, removed when nothing is left in it.

    May be used from any thread, from finalisers and from signal handlers. It knows no store, so no store holds it up.

    Attributes:
        folder: where the file is. Every process has a file of its own there.
        durability: when a record counts as written.
        waiting_events: finished calls that are not confirmed yet.
        closed_events: finished calls that were ever written here.
        failures: how often something could not be written or read.
        last_error: what was said the last time.
        kept_events_max: so many finished calls at most are kept in memory too, until they are confirmed. While no more
            wait than that, they need not be read back.
        notify: called after each finished call, in the thread that finished it; must neither wait nor raise.
    """

    fork_order = 1  # after the writer, which waits for the journal in the midst of a batch

    def __init__(self, folder: Path, durability: Durability) -> None:
        self.folder = folder
        self.durability: Durability = durability
        self.waiting_events = 0
        self.closed_events = 0
        self.failures = 0
        self.last_error: str | None = None
        self.kept_events_max = 4_000
        self.notify: Callable[[], None] | None = None
        self._reset()
        forks.watch(self)

    @classmethod
    def create(cls, folder: Path, *, durability: Durability = "process") -> Self:
        """A journal in a folder, which is made if need be. The file itself comes with the first record.

        Raises:
            JournalError: when there can be no such folder.
        """
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise files.explain(folder, "make the folder", error) from error
        return cls(folder, durability)

    @property
    def open_calls(self) -> int:
        """Calls that were opened and not closed."""
        return len(self._open)

    @property
    def bytes_on_disk(self) -> int:
        """The size of the file."""
        return self._end

    @property
    def path(self) -> Path | None:
        """The file; ``None`` while there is none."""
        return self._path

    def opened(self, call: OpenCall) -> None:
        """Writes down that a call is about to leave. When this returns, the death of this process cannot hide it.

        Raises:
            JournalError: when it could not be written: where, why and what to do. Nothing of it is in the file then,
                unless it was the disk that failed, at the sync.
        """
        self._append(call.id, opened_frame(call), OPENED)

    def closed(self, event: CallEvent) -> None:
        """Writes down how a call ended. When this returns, the event will get to the store, whatever happens here.

        Raises:
            JournalError: as :meth:`opened`. The call stays open; to try again is allowed.
        """
        self._append(event.id, closed_frame(event), CLOSED, event)
        if self.notify is not None:
            self.notify()

    def dropped(self, call_id: str) -> None:
        """Writes down that a call which was opened is in other books: no recovery will find it open.

        Raises:
            JournalError: as :meth:`opened`. The call stays open.
        """
        self._append(call_id, frame(DROPPED, call_id.encode("ascii", "replace")), DROPPED)

    def waiting(self, limit: int) -> list[CallEvent]:
        """The first events that are not confirmed, at most ``limit``. For one thread only.

        From memory, where they are all there; else read back from the file.

        Raises:
            JournalError: when the file cannot be read.
        """
        found: list[CallEvent] = []
        ends: deque[int] = deque()
        with self._reading:
            with self._lock, self._uninterrupted("read"):
                self._refresh()
                if self._all_kept:
                    kept = list(islice(self._kept, limit))
                    self._ends = deque(end for end, _ in kept)
                    return [event for _, event in kept]
                start, stop = self._confirmed_at, self._end
                expected = min(limit, self.waiting_events)
            # What lies before `stop` does not change, so those who write need not wait while this is read.
            with self._explained("read"):
                for item in scan(self._descriptor, start, stop):
                    event = self._event(item)
                    if event is not None:
                        found.append(event)
                        ends.append(item.end)
                    if len(found) >= limit:
                        break
        self._ends = ends
        if len(found) < expected:  # something could not be read: go on behind it, and count again
            with self._lock, self._uninterrupted("read"):
                self._confirmed_at = self._confirmed_at if found else stop
                self._stale = True
                self._refresh()
        return found

    def confirm(self, count: int) -> None:
        """Says that the first ``count`` events of the last :meth:`waiting` are in the store, and may be forgotten."""
        with self._reading, self._sync, self._lock:
            for _ in range(count):
                self._confirmed_at = self._ends.popleft()
            self.waiting_events -= count
            if self._all_kept:
                for _ in range(count):
                    self._kept.popleft()
            elif not self.waiting_events:
                self._all_kept = True
            if self._closing:
                self._remove()
            elif self._confirmed_at - self._start >= self._shrink_at:
                self._shrink()
            self._catch_up()

    def forget(self, call_id: str) -> None:
        """Says that a call whose end could not be written is in the store all the same. It is no longer open."""
        with self._lock:
            self._open.pop(call_id, None)

    def close(self) -> bool:
        """Removes the file, if no call is open and no event waits; otherwise as soon as that is so.

        What is left when the process ends stays in the file for the next recovery. A record that comes later starts a
        new file, so that calls made while a process is ending are not lost either.

        Returns:
            Whether nothing is left.
        """
        with self._reading, self._sync, self._lock:
            self._closing = True
            self._remove()
            self._catch_up()
            return self._descriptor < 0

    def before_fork(self) -> None:
        """Waits until no record is half written, and holds the others up until the fork is over."""
        self._sync.acquire()
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Lets the others go on."""
        self._lock.release()
        self._sync.release()

    def after_fork_in_child(self) -> None:
        """Turns this into an empty journal, which starts a file of its own; that of the parent is not touched."""
        if self._descriptor >= 0:
            files.let_go(self._descriptor)
        self.waiting_events = self.closed_events = self.failures = 0
        self.last_error = self.notify = None
        self._reset()

    def _reset(self) -> None:
        # Taken in this order. One thread may enter them twice: a finaliser or a signal handler may close a call in our
        # midst.
        self._reading = threading.RLock()  # held while the file is read, and by whoever puts another in its place
        self._sync = threading.RLock()  # held while the file is synced, and by whoever puts another in its place
        self._lock = threading.RLock()  # held while the file or the state changes
        self._open: dict[str, bytes] = {}
        self._deferred: deque[tuple[str, bytes, bytes, CallEvent | None]] = deque()
        self._ends: deque[int] = deque()
        self._kept: deque[tuple[int, CallEvent]] = deque()  # with the offset at which each one's frame ends
        self._all_kept = True  # whether every event that waits is in it
        self._path: Path | None = None
        self._descriptor = -1
        self._start = self._confirmed_at = self._end = 0
        self._written = self._durable = 0  # records ever written, and how many of them are on the disk
        self._shrink_at = SHRINK_BYTES
        self._writing = self._closing = self._stale = self._damaged = self._unsure = False

    def _append(self, call_id: str, data: bytes, kind: bytes, event: CallEvent | None = None) -> None:
        with self._lock:
            if self._writing:
                # We are inside a record of this very thread, which cannot be waited for. It is written next.
                self._deferred.append((call_id, data, kind, event))
                return
            try:
                self._append_alone(call_id, data, kind, event)
            finally:
                if self._deferred:
                    self._catch_up()
            number = self._written
        if self.durability == "fsync":
            self._make_durable(number)

    def _catch_up(self) -> None:
        while self._deferred and not self._writing:
            call_id, data, kind, event = self._deferred.popleft()
            with suppress(JournalError):  # counted; there is nobody here to be told
                self._append_alone(call_id, data, kind, event)

    def _append_alone(self, call_id: str, data: bytes, kind: bytes, event: CallEvent | None) -> None:
        self._writing = True  # what _uninterrupted does, without what a context manager costs
        try:
            if self._stale:
                self._refresh()
            if self._descriptor < 0:
                self._begin()
            self._write(data)
            if kind == OPENED:
                self._open[call_id] = data
            else:
                self._open.pop(call_id, None)
            if event is not None:
                self.waiting_events += 1
                self.closed_events += 1
                self._keep(event, data)
            self._written += 1
        except OSError as error:
            raise self._failed(error, "write") from error
        except BaseException:
            self._stale = True  # Ctrl-C between the writing and the counting: count again
            raise
        finally:
            self._writing = False

    def _keep(self, event: CallEvent, data: bytes) -> None:
        """Keeps an event in memory too, unless there are too many, or what was written is not what it says."""
        if not self._all_kept:
            return
        if len(self._kept) < self.kept_events_max and is_verbatim(data):
            self._kept.append((self._end, event))
        else:
            self._forget_kept()

    def _forget_kept(self) -> None:
        self._kept.clear()
        self._all_kept = False

    @contextmanager
    def _uninterrupted(self, doing: str) -> Generator[None]:
        self._writing = True
        try:
            with self._explained(doing):
                yield
        except JournalError:
            raise
        except BaseException:
            self._stale = True
            raise
        finally:
            self._writing = False

    def _write(self, data: bytes) -> None:
        try:
            files.write_all(self._descriptor, data)
        except OSError:
            try:
                os.ftruncate(self._descriptor, self._end)  # half a record must not be left before the next one
            except OSError:
                self._stale = True  # then it is passed over, by its checksum
            raise
        self._end += len(data)

    def _begin(self) -> None:
        """Starts a file with the calls that are open and what is not confirmed, in the place of the one before."""
        path = self._path or self.folder / (files.fresh_name() + files.JOURNAL)
        descriptor, place = files.make(path)
        head = frame(HEADER, b"") + b"".join(self._open.values())
        shift = len(head) - self._confirmed_at
        interrupted: BaseException | None = None
        try:
            files.write_all(descriptor, head)
            files.copy(self._descriptor, self._confirmed_at, self._end, descriptor)
            if self.durability == "fsync":
                os.fsync(descriptor)
            place.rename(path)
        except BaseException as error:
            if not files.is_at(descriptor, path):
                with suppress(OSError):
                    place.unlink()
                files.let_go(descriptor)
                raise
            interrupted = error  # by a signal, after the new file had taken its place
        before, self._descriptor, self._path = self._descriptor, descriptor, path
        self._start = self._confirmed_at = self._confirmed_at + shift
        self._end += shift
        self._durable = self._written
        self._unsure = self.durability == "fsync"
        self._ends = deque(place + shift for place in self._ends)
        self._kept = deque((place + shift, event) for place, event in self._kept)
        if before >= 0:
            files.let_go(before)
        if self._unsure:
            files.sync_folder(self.folder)
            self._unsure = False
        if interrupted is not None:
            raise interrupted

    def _shrink(self) -> None:
        """Moves what is left to a new file, when that is little beside what is done with."""
        left = self._end - self._confirmed_at
        if left > max(_COPY_BYTES, (self._confirmed_at - self._start) // 4):
            return
        if self._damaged:
            return  # nothing of a file that is to be set aside is thrown away
        with suppress(JournalError), self._uninterrupted("move what is left to a new file"):
            self._begin()
            self._shrink_at = SHRINK_BYTES
            return
        self._shrink_at = self._confirmed_at - self._start + SHRINK_BYTES  # a full disk: not at every batch

    def _remove(self) -> None:
        if self._descriptor < 0 or self._path is None or self._open or self.waiting_events:
            return
        with suppress(JournalError), self._uninterrupted("remove the file"):
            if self._damaged:
                files.set_aside(self._path)
            else:
                self._path.unlink(missing_ok=True)
        files.let_go(self._descriptor)
        self._path, self._descriptor = None, -1
        self._start = self._confirmed_at = self._end = 0
        self._damaged = self._stale = False

    def _refresh(self) -> None:
        """Counts again after something came between; without that, nothing."""
        if not self._stale or self._descriptor < 0:
            return
        self._forget_kept()
        self._end = os.lseek(self._descriptor, 0, os.SEEK_END)
        waiting = 0
        for item in scan(self._descriptor, self._confirmed_at, self._end):
            if isinstance(item, Record) and item.kind == DROPPED:
                self._open.pop(item.payload.decode("ascii", "replace"), None)
            event = self._event(item)
            if event is not None:
                self._open.pop(event.id, None)
                waiting += 1
        self.closed_events += waiting - self.waiting_events
        self.waiting_events = waiting
        self._stale = False

    def _event(self, item: Record | Damage) -> CallEvent | None:
        """The event in a piece of the file; ``None`` when that is something else, or cannot be read."""
        if isinstance(item, Record):
            if item.kind != CLOSED:
                return None
            with suppress(JournalError):
                return unpack_event(item.payload)
        self._damaged = True
        return None

    def _make_durable(self, number: int) -> None:
        """Returns when record ``number`` is on the disk. One sync serves all whose records were written before it."""
        if self._unsure:
            self._renew()
        with self._sync:
            if self._durable >= number:
                return
            written = self._written
            with self._explained("sync"):
                try:
                    os.fdatasync(self._descriptor)
                except OSError:
                    # The kernel may drop what it could not write, and say yes the next time: all must be written anew.
                    self._unsure = True
                    raise
            self._durable = written

    def _renew(self) -> None:
        with self._reading, self._sync, self._lock:
            if self._unsure and not self._writing:
                with self._uninterrupted("sync"):
                    self._begin()
            self._catch_up()

    @contextmanager
    def _explained(self, doing: str) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise self._failed(error, doing) from error

    def _failed(self, error: OSError, doing: str) -> JournalError:
        explained = files.explain(self._path or self.folder, doing, error)
        self.failures += 1
        self.last_error = str(explained)
        return explained
