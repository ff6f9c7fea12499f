"""The store: events in, effective events and reports out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from datetime import datetime
from types import TracebackType
from typing import Self, TypeVar

from sqlalchemy import Connection, Engine, bindparam, func, select, update

from taximeter.errors import StoreError
from taximeter.event import CallEvent, Correction
from taximeter.store import clock, schema
from taximeter.store import report as reports
from taximeter.store.decode import read_corrections, read_events
from taximeter.store.effective import at_model, effective_events, original_events
from taximeter.store.encode import Rows
from taximeter.store.engine import checkpoint, connect, insert, transaction
from taximeter.store.location import Location, locate
from taximeter.store.query import EVERYTHING, Added, Dimension, Query, ReportRow
from taximeter.store.upgrade import prepare

_RecordT = TypeVar("_RecordT", CallEvent, Correction)

_SEQ = "seq"
_LOOKUP = 500  # ids looked up in one statement
_counters = schema.counters
_HOLD = update(_counters).where(_counters.c.name == _SEQ).values(value=_counters.c.value).returning(_counters.c.value)
_COUNT_UP = update(_counters).where(_counters.c.name == _SEQ).values(value=bindparam("last"))
_KNOWN = select(schema.events.c.id).where(schema.events.c.id.in_(bindparam("ids", expanding=True)))


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
    engine = connect(location)
    try:
        prepare(engine, location)
    except BaseException:
        engine.dispose()
        raise
    return Store(engine, location)


class Store:
    """An open store. May be used from several threads, and its file by several processes, at once.

    Attributes:
        url: what opens the same store again.
        path: its file.
    """

    def __init__(self, engine: Engine, location: Location) -> None:
        self._engine = engine
        self._location = location
        self.url = location.url
        self.path = location.path

    def add(self, events: Iterable[CallEvent], *, recorded_at: datetime) -> Added:
        """Records events, all in one transaction: when this returns they are committed, when it raises none is.

        Adding again what is known changes nothing. An event that is known with other contents changes nothing either:
        its id is in ``different``. The batch is held in memory; a thousand events is a good size.

        Raises:
            StoreError: when it cannot be written, or an event holds what the store cannot keep exactly.
        """
        batch = list(events)
        moment = clock.micros(recorded_at, "recorded_at")
        with self._transaction(write=True) as connection:
            seq = _last_seq(connection)  # first of all: from here to the commit no other writer can take numbers
            known = {event.id: event for event in _originals(connection, batch)}
            new, added = _sorted_out(batch, known)
            rows = Rows()
            for place, event in enumerate(new, start=seq + 1):
                rows.add_event(event, seq=place, recorded_at=moment)
            _insert(connection, rows, seq + len(new))
        return added

    def correct(self, corrections: Iterable[Correction], *, recorded_at: datetime) -> Added:
        """Records later words on events, as :meth:`add` records events. The events themselves stay as they are.

        Raises:
            StoreError: as :meth:`add`, and when there is no such event.
        """
        batch = list(corrections)
        moment = clock.micros(recorded_at, "recorded_at")
        with self._transaction(write=True) as connection:
            seq = _last_seq(connection)
            known = {correction.id: correction for correction in _known_corrections(connection, batch)}
            new, added = _sorted_out(batch, known)
            targets = _targets(connection, new)
            rows = Rows()
            for place, correction in enumerate(new, start=seq + 1):
                event_seq, model = targets[correction.event_id]
                rows.add_correction(correction, seq=place, recorded_at=moment, event_seq=event_seq, model=model)
            _insert(connection, rows, seq + len(new))
        return added

    def events(self, query: Query = EVERYTHING) -> Iterator[CallEvent]:
        """The effective events that a query means, in the order of their commit, in constant memory.

        They are those of one moment: what is recorded while they are read is not among them.
        """
        effective = effective_events(query)
        statement = select(effective).order_by(effective.c.seq)
        if query.model is not None:
            statement = statement.where(at_model(effective, query.model))
        with self._transaction(write=False) as connection, closing(read_events(connection, statement)) as found:
            yield from found

    def report(self, by: Sequence[Dimension], query: Query = EVERYTHING) -> list[ReportRow]:
        """Sums over the effective events that a query means, grouped; see :func:`taximeter.store.report.report`.

        Raises:
            ConfigError: for a dimension or time zone that does not exist.
        """
        with self._transaction(write=False) as connection:
            return reports.report(connection, by, query)

    def count(self) -> int:
        """How many events are recorded."""
        with self._transaction(write=False) as connection:
            return connection.execute(select(func.count()).select_from(schema.events)).scalar_one()

    def sync(self) -> None:
        """Puts what was committed on the disk, where a power cut cannot reach it.

        Raises:
            StoreError: when the disk fails.
        """
        checkpoint(self._engine, self._location)

    def close(self) -> None:
        """Closes the file. What was added has long been committed."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _transaction(self, *, write: bool) -> AbstractContextManager[Connection]:
        return transaction(self._engine, self._location, write=write)


def _last_seq(connection: Connection) -> int:
    """The last number given out, with the row that says so held until the commit."""
    return connection.execute(_HOLD).scalar_one()


def _originals(connection: Connection, batch: list[CallEvent]) -> Iterator[CallEvent]:
    for ids in _pages([event.id for event in batch]):
        known = connection.execute(_KNOWN, {"ids": ids}).scalars().all()
        if known:  # hardly ever: a batch that was stored before
            yield from read_events(connection, original_events(list(known)))


def _known_corrections(connection: Connection, batch: list[Correction]) -> Iterator[Correction]:
    for ids in _pages([correction.id for correction in batch]):
        yield from read_corrections(connection, ids)


def _sorted_out(batch: list[_RecordT], known: dict[str, _RecordT]) -> tuple[list[_RecordT], Added]:
    """Which records of a batch are new; a record may also be in the batch twice."""
    new: list[_RecordT] = []
    different: dict[str, None] = {}
    for record in batch:
        before = known.setdefault(record.id, record)
        if before is record:
            new.append(record)
        elif before != record:
            different[record.id] = None
    return new, Added(new=len(new), known=len(batch) - len(new), different=tuple(different))


def _targets(connection: Connection, corrections: list[Correction]) -> dict[str, tuple[int, str | None]]:
    """The number and the model of each event that is corrected, by id."""
    found: dict[str, tuple[int, str | None]] = {}
    columns = schema.events.c
    for ids in _pages([correction.event_id for correction in corrections]):
        model = func.coalesce(columns.response_model, columns.request_model)
        statement = select(columns.id, columns.seq, model).where(columns.id.in_(ids))
        for event_id, seq, name in connection.execute(statement):
            found[event_id] = (seq, name)
    missing = [correction.event_id for correction in corrections if correction.event_id not in found]
    if missing:
        msg = f"there is no event {missing[0]} to correct" + (f", nor {len(missing) - 1} more" if missing[1:] else "")
        raise StoreError(msg)
    return found


def _insert(connection: Connection, rows: Rows, last_seq: int) -> None:
    try:
        for table, values in rows.by_table.items():
            if values:
                insert(connection, table, values)
    except (UnicodeEncodeError, OverflowError):
        rows.check()  # to name the event; what it does not find is explained as it is
        raise
    connection.execute(_COUNT_UP, {"last": last_seq})


def _pages(ids: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(ids), _LOOKUP):
        yield ids[start : start + _LOOKUP]
