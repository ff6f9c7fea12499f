"""The store: events in, effective events and reports out.

Recording goes to the driver; SQLAlchemy is loaded by the first method that reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from types import TracebackType
from typing import Final, Self, TypeVar

import msgspec

from taximeter.errors import StoreError
from taximeter.event import CallEvent, Correction
from taximeter.store import clock
from taximeter.store.encode import Rows
from taximeter.store.engine import Database
from taximeter.store.location import locate
from taximeter.store.query import EVERYTHING, Added, Dimension, Query, ReportRow
from taximeter.store.upgrade import prepare
from taximeter.store.writer import DuplicateError, Writer

_RecordT = TypeVar("_RecordT", CallEvent, Correction)

_FORGET: Final = 1_000  # contents deleted in one transaction: other writers wait some milliseconds at most
_ALWAYS: Final = 2**63 - 1


def open_store(url: str | None = None, *, create: bool = True) -> Store:
    """Opens a store, creating it or bringing it to this version's tables where needed.

    Args:
        url: ``sqlite:///FILE`` or a plain path; ``None``: the one that ``TAXIMETER_STORE`` names, else a file in the
            user's data folder.
        create: whether a file that does not exist is made; a reader that was given a wrong name wants to hear of it.

    Raises:
        ConfigError: when the URL names no kind of store that there is.
        StoreError: when it cannot be opened, is not there, or was written by a newer version.
    """
    location = locate(url)
    if not create and not location.path.exists():
        msg = f"there is no store at {location.path}: nothing has been recorded there yet"
        raise StoreError(msg)
    if location.default:
        location.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = Database(location)
    try:
        prepare(database)
    except BaseException:
        database.close()
        raise
    return Store(database)


class Store:
    """An open store. May be used from several threads, and its file by several processes, at once.

    Attributes:
        url: what opens the same store again.
        path: its file.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.url = database.location.url
        self.path = database.location.path

    def add(self, events: Iterable[CallEvent], *, recorded_at: datetime) -> Added:
        """Records events, all in one transaction: when this returns they are committed, when it raises none is.

        Adding again what is known changes nothing. An event that is known with other contents changes nothing either:
        its id is in ``different``. The batch is held in memory; a thousand events is a good size.

        Raises:
            StoreError: when it cannot be written, or an event holds what the store cannot keep exactly; then
                ``record_id`` names the event.
        """
        batch = list(events)
        moment = clock.micros(recorded_at, "recorded_at")
        with self._database.writing() as writer:
            try:
                _insert_events(writer, batch, moment)
            except DuplicateError:  # hardly ever, so nothing is looked up before
                writer.begin_again()
                writer.take(0)  # so that no other writer adds anything between the look and the leap
                known = {event.id: event for event in self._originals(writer, batch)}
                new, added = _sorted_out(batch, known)
                _insert_events(writer, new, moment)
                return added
        return Added(new=len(batch), known=0)

    def correct(self, corrections: Iterable[Correction], *, recorded_at: datetime) -> Added:
        """Records later words on events, as :meth:`add` records events. The events themselves stay as they are.

        Raises:
            StoreError: as :meth:`add`, and when there is no such event.
        """
        batch = list(corrections)
        moment = clock.micros(recorded_at, "recorded_at")
        with self._database.writing() as writer:
            writer.take(0)  # first of all: from here to the commit no other writer can add anything
            with self._database.reading() as reader:
                known = {known.id: known for known in reader.corrections([correction.id for correction in batch])}
                new, added = _sorted_out(batch, known)
                event_seqs = reader.event_seqs(new)
            rows = Rows()
            for seq, correction in enumerate(new, start=writer.take(len(new)) + 1):
                rows.add_correction(correction, seq=seq, recorded_at=moment, event_seq=event_seqs[correction.event_id])
            writer.insert(rows)
        return added

    def events(self, query: Query = EVERYTHING) -> Iterator[CallEvent]:
        """The effective events that a query means, in the order of their commit, in constant memory.

        They are those of one moment: what is recorded while they are read is not among them.
        """
        with self._database.reading() as reader:
            yield from reader.events(query)

    def report(self, by: Sequence[Dimension], query: Query = EVERYTHING) -> list[ReportRow]:
        """Sums over the effective events that a query means, grouped; see :func:`taximeter.store.report.report`.

        Raises:
            ConfigError: for a dimension or time zone that does not exist.
        """
        (rows,) = self.reports([by], query)
        return rows

    def reports(self, groupings: Sequence[Sequence[Dimension]], query: Query = EVERYTHING) -> list[list[ReportRow]]:
        """Several reports of one moment: ``rows, (total,) = store.reports([["model"], []])``.

        Raises:
            ConfigError: as :meth:`report`.
        """
        with self._database.reading() as reader:
            return [reader.report(by, query) for by in groupings]

    def count(self) -> int:
        """How many events are recorded."""
        with self._database.reading() as reader:
            return reader.count()

    def forget_contents(self, before: datetime | None = None) -> int:
        """Deletes what was said in calls that started before a moment (``None``: in all), and leaves their figures.

        It is done in batches, each committed by itself, so that other writers hardly wait. What is deleted is
        overwritten in the file, and the write-ahead log is emptied; while somebody reads an earlier moment it cannot
        be, and later writing overwrites it. Copies and backups are not ours to reach.

        Returns:
            of how many calls there were contents.

        Raises:
            StoreError: when it cannot be written; what was deleted before that stays so.
        """
        until = _ALWAYS if before is None else clock.micros(before, "before")
        forgotten = last = 0
        while True:
            with self._database.writing() as writer:
                seqs = writer.forget_contents(after=last, before=until, at_most=_FORGET)
            if not seqs:
                break
            forgotten, last = forgotten + len(seqs), max(seqs)
        self._database.empty_log()
        return forgotten

    def sync(self) -> None:
        """Puts what was committed on the disk, where a power cut cannot reach it.

        Raises:
            StoreError: when the disk fails.
        """
        self._database.sync()

    def close(self) -> None:
        """Closes the file. What was added has long been committed."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _originals(self, writer: Writer, batch: list[CallEvent]) -> Iterator[CallEvent]:
        ids = list(writer.known_events([event.id for event in batch]))
        if ids:  # otherwise it is twice in the batch
            with self._database.reading() as reader:
                yield from reader.originals(ids)


def _insert_events(writer: Writer, events: list[CallEvent], moment: int) -> None:
    rows = Rows()
    for seq, event in enumerate(events, start=writer.take(len(events)) + 1):
        rows.add_event(event, seq=seq, recorded_at=moment)
    writer.insert(rows)


def _sorted_out(batch: list[_RecordT], known: dict[str, _RecordT]) -> tuple[list[_RecordT], Added]:
    """Which records of a batch are new; a record may also be in the batch twice."""
    new: list[_RecordT] = []
    different: dict[str, None] = {}
    for record in batch:
        before = known.get(record.id)
        if before is None:
            new.append(known.setdefault(record.id, record))
        elif not _same(before, record):
            different[record.id] = None
    return new, Added(new=len(new), known=len(batch) - len(new), different=tuple(different))


def _same(before: CallEvent | Correction, record: CallEvent | Correction) -> bool:
    """Whether a record is what is known; what was said in the call counts only where both still have it."""
    if isinstance(before, CallEvent) and isinstance(record, CallEvent) and None in (before.content, record.content):
        before, record = (msgspec.structs.replace(it, content=None) for it in (before, record))
    return before == record
