"""The demo's calls, asked of the store: reports over them alone, whatever else the store holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from taximeter.cli.demo.audit import Audit
from taximeter.cli.report import ReportLine, RowLine
from taximeter.event import CallEvent
from taximeter.store import Query, ReportRow, Store
from taximeter.usage import Usage

TAG: Final = "demo"
"""Every call of a demo has this tag, with a value that no other demo has."""

REPORTS: Final = (("model",), ("operation",), ("project", "user"))
"""What is reported by."""

_NO_CALLS: Final = ReportRow(
    keys=(),
    calls=0,
    errors=0,
    unpriced_calls=0,
    estimated_calls=0,
    unknown_usage_calls=0,
    usage=Usage(),
    cost=None,
    provider_cost=None,
)


class DemoLine(msgspec.Struct, frozen=True):
    """What ``taximeter demo --json`` writes.

    Attributes:
        store: what opens the store.
        sdks: the SDKs that calls were made with; the other calls were made by HTTP, as SDKs make them.
        reports: by model, by operation, by project and user; each as ``taximeter report --json`` writes it.
        check: the provider's books against the store.
    """

    store: str
    sdks: Sequence[str]
    reports: Sequence[ReportLine]
    check: Audit


class Figures:
    """What the store has of one run of the demo.

    Args:
        store: where its calls are.
        run: the value of its tag.
        query: restricts what the store has to look through.
    """

    def __init__(self, store: Store, run: str, query: Query) -> None:
        self._store = store
        self._run = run
        self._query = query

    def events(self) -> list[CallEvent]:
        """Its calls, in the order of their commit."""
        return [event for event in self._store.events(self._query) if dict(event.scope.tags).get(TAG) == self._run]

    def report(self, by: Sequence[str]) -> list[ReportRow]:
        """A report over its calls."""
        rows = self._store.report((f"tag:{TAG}", *by), self._query)
        return [msgspec.structs.replace(row, keys=row.keys[1:]) for row in rows if row.keys[0] == self._run]

    def total(self) -> ReportRow:
        """The report's row over all of them."""
        rows = self.report(())
        return rows[0] if rows else _NO_CALLS

    def lines(self) -> list[ReportLine]:
        """The JSON of every report."""
        total = RowLine.of((), self.total())
        return [ReportLine(by, "UTC", [RowLine.of(by, row) for row in self.report(by)], total) for by in REPORTS]
