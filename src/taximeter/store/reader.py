"""What a transaction that reads can be asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing

from sqlalchemy import Connection, func, select

from taximeter.errors import StoreError
from taximeter.event import CallEvent, Correction
from taximeter.store import schema
from taximeter.store.decode import read_corrections, read_events
from taximeter.store.effective import at_model, effective_events, original_events
from taximeter.store.query import Dimension, Query, ReportRow
from taximeter.store.report import report
from taximeter.store.writer import pages


class Reader:
    """The questions to one transaction: all answers are of one moment."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def events(self, query: Query) -> Iterator[CallEvent]:
        """The effective events that a query means, in the order of their commit."""
        effective = effective_events(query)
        statement = select(effective).order_by(effective.c.seq)
        if query.model is not None:
            statement = statement.where(at_model(effective, query.model))
        with closing(read_events(self._connection, statement)) as found:
            yield from found

    def report(self, by: Sequence[Dimension], query: Query) -> list[ReportRow]:
        """Sums over the effective events that a query means, grouped."""
        return report(self._connection, by, query)

    def count(self) -> int:
        """How many events there are."""
        return self._connection.execute(select(func.count()).select_from(schema.events)).scalar_one()

    def originals(self, ids: Sequence[str]) -> Iterator[CallEvent]:
        """The events with these ids, as they were first recorded."""
        for page in pages(ids):
            yield from read_events(self._connection, original_events(page))

    def corrections(self, ids: Sequence[str]) -> Iterator[Correction]:
        """The corrections with these ids."""
        for page in pages(ids):
            yield from read_corrections(self._connection, page)

    def event_seqs(self, corrections: Iterable[Correction]) -> dict[str, int]:
        """The number of each event that is corrected, by id.

        Raises:
            StoreError: when there is no such event.
        """
        wanted = {correction.event_id: correction.id for correction in corrections}
        columns = schema.events.c
        found: dict[str, int] = {}
        for page in pages(list(wanted)):
            statement = select(columns.id, columns.seq).where(columns.id.in_(page))
            found |= {row.id: row.seq for row in self._connection.execute(statement)}
        missing = [event_id for event_id in wanted if event_id not in found]
        if missing:
            more = f", nor {len(missing) - 1} more" if missing[1:] else ""
            msg = f"there is no event {missing[0]} to correct{more}"
            raise StoreError(msg, record_id=wanted[missing[0]])
        return found
