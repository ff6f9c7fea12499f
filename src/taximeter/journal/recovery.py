"""What dead processes left: their finished calls are stored, their open ones become events of outcome ``unknown``."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from taximeter.codec import unpack_event
from taximeter.errors import JournalError
from taximeter.event import CallEvent
from taximeter.journal import files
from taximeter.journal.delivery import Sink, deliver
from taximeter.journal.frames import CLOSED, DROPPED, HEADER, OPENED, Record, scan
from taximeter.journal.records import OpenCall, unpack_open
from taximeter.journal.refused import keep_refused

_BATCH: Final = 1_000


class Recovered(msgspec.Struct):
    """What a recovery found and did.

    Attributes:
        finished_calls: events that were in the files; the store may have known some of them.
        unknown_calls: calls that were open when their process died.
        refused_calls: events that the store would not take; kept in files that end in ``.refused``.
        files: journals that were dealt with.
        live: journals that have an owner, left alone.
        set_aside: files in which something could not be read, under their new names (``.corrupt``). What was good in
            them was stored.
        problems: what else could not be done, in sentences.
    """

    finished_calls: int = 0
    unknown_calls: int = 0
    refused_calls: int = 0
    files: int = 0
    live: int = 0
    set_aside: tuple[Path, ...] = ()
    problems: tuple[str, ...] = ()


def recover(folder: Path, sink: Sink) -> Recovered:
    """Brings the journals of dead processes into the store, and removes them.

    Safe to be killed at any point, to be run by several processes at once, and to be run again: a file goes only after
    the sink has everything that was in it. No more than a batch of events is in memory, and the calls that were open at
    one time. What cannot be read is set aside and stops nothing.

    Raises:
        Exception: what the sink raised, when it does not work. What was not stored stays in its file.
    """
    found = Recovered()
    if not folder.is_dir():
        return found
    busy = [path for path in _candidates(folder) if not _dealt_with(path, sink, found)]
    # Somebody may have looked at a file for a moment just then: once more, and those still held have an owner.
    found.live = sum(not _dealt_with(path, sink, found) for path in busy if path.suffix == files.JOURNAL)
    for leftover in folder.glob(f"*{files.NEW}"):
        _clear(leftover, found)
    return found


def _candidates(folder: Path) -> list[Path]:
    names = [path for ending in (files.JOURNAL, files.REFUSED) for path in folder.glob(f"*{ending}")]
    return [path for path in sorted(names) if files.is_plain(path)]


def _dealt_with(path: Path, sink: Sink, found: Recovered) -> bool:
    """Whether there was nothing that an owner, or another recovery, kept from us."""
    try:
        descriptor = files.take_over(path)
    except OSError as error:
        found.problems += (str(files.explain(path, "open it", error)),)
        return True
    if descriptor is None:
        return not files.is_plain(path)
    try:
        pieces = _Pieces(sink, found)
        try:
            pieces.read(descriptor)
        except OSError as error:
            found.problems += (str(files.explain(path, "read it", error)),)
            return True
        pieces.finish(unknown=path.suffix == files.JOURNAL)
        sink.sync()
        _put_away(path, pieces, found)
    finally:
        files.let_go(descriptor)
    return True


def _put_away(path: Path, pieces: _Pieces, found: Recovered) -> None:
    """After all that could be stored is stored."""
    found.files += 1
    found.refused_calls += len(pieces.refused)
    try:
        if path.suffix == files.REFUSED and pieces.refused:
            return  # as before
        if pieces.refused:
            keep_refused(path.parent, pieces.refused)
        if pieces.damaged:
            found.set_aside += (files.set_aside(path),)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        found.problems += (str(files.explain(path, "put it away", error)),)
    except JournalError as error:
        found.problems += (str(error),)


def _clear(leftover: Path, found: Recovered) -> None:
    """Removes a file that its maker did not live to complete: there is nothing in it that is not elsewhere."""
    with suppress(OSError):
        descriptor = files.take_over(leftover)
        if descriptor is not None:
            try:
                leftover.unlink(missing_ok=True)
            except OSError as error:
                found.problems += (str(files.explain(leftover, "remove it", error)),)
            finally:
                files.let_go(descriptor)


class _Pieces:
    """The contents of one file, on their way into a sink."""

    def __init__(self, sink: Sink, found: Recovered) -> None:
        self.damaged = False
        self.refused: list[CallEvent] = []
        self._sink, self._found = sink, found
        self._open: dict[str, OpenCall] = {}
        self._batch: list[CallEvent] = []

    def read(self, descriptor: int) -> None:
        size = os.fstat(descriptor).st_size
        self.damaged = size == 0
        for item in scan(descriptor, 0, size):
            if not isinstance(item, Record):
                self.damaged = True
                continue
            try:
                self._take(item)
            except JournalError:
                self.damaged = True

    def finish(self, *, unknown: bool) -> None:
        """Stores what is left."""
        if unknown:
            for call in self._open.values():
                self._found.unknown_calls += 1
                self._add(call.unknown())
        self._deliver()

    def _take(self, record: Record) -> None:
        if record.kind == OPENED:
            call = unpack_open(record.payload)
            self._open[call.id] = call
        elif record.kind == CLOSED:
            event = unpack_event(record.payload)
            self._open.pop(event.id, None)
            self._found.finished_calls += 1
            self._add(event)
        elif record.kind == DROPPED:
            self._open.pop(record.payload.decode("ascii", "replace"), None)
        elif record.kind != HEADER:
            self.damaged = True  # what a newer version wrote is kept for it

    def _add(self, event: CallEvent) -> None:
        self._batch.append(event)
        if len(self._batch) >= _BATCH:
            self._deliver()

    def _deliver(self) -> None:
        if self._batch:
            self.refused += deliver(self._sink, self._batch)
            self._batch = []


class FolderState(NamedTuple):
    """A journal folder as it is found, for whoever wants to know how things stand.

    Attributes:
        live: journals that have an owner.
        left: journals of dead processes that wait for the next recovery.
        refused: files with events that the store would not take.
        corrupt: files in which something could not be read.
        size_bytes: all of them together.
    """

    live: int
    left: int
    refused: tuple[Path, ...]
    corrupt: tuple[Path, ...]
    size_bytes: int


def look(folder: Path) -> FolderState:
    """How things stand in a journal folder. Changes nothing.

    Raises:
        JournalError: when the folder cannot be read.
    """
    endings = (files.JOURNAL, files.REFUSED, files.CORRUPT)
    try:
        by_ending = {ending: sorted(folder.glob(f"*{ending}")) for ending in endings}
        journals = [files.is_owned(path) for path in by_ending[files.JOURNAL] if files.is_plain(path)]
        sizes = [path.lstat().st_size for paths in by_ending.values() for path in paths if path.exists()]
    except OSError as error:
        raise files.explain(folder, "read the folder", error) from error
    return FolderState(
        sum(journals),
        len(journals) - sum(journals),
        tuple(by_ending[files.REFUSED]),
        tuple(by_ending[files.CORRUPT]),
        sum(sizes),
    )
