"""The process's running totals, for code that steers by cost."""

from __future__ import annotations

from threading import RLock
from typing import Final

from taximeter.event import CallEvent
from taximeter.meter.scope import Tally

DIMENSIONS: Final = ("provider", "api", "project", "user", "operation", "outcome", "model")
"""What there are totals by. Sessions and turns add up by themselves."""

OTHERS: Final = "(others)"
"""Stands for what came after the first ten thousand combinations."""

_SEVERAL: Final = "\x00several"
_MOST_CELLS = 10_000
_Cell = tuple[str | None, ...]


class Totals:
    """Running totals: a tally for each combination that occurs, added up when somebody asks.

    By model, each part of a call counts at its own model, as a call.
    """

    def __init__(self) -> None:
        self._lock = RLock()
        self._cells: dict[_Cell, Tally] = {}
        self._parts: dict[_Cell, Tally] = {}  # by model alone, of calls that several models served
        self._reported: dict[str, dict[str | None, Tally]] = {}

    def add(self, event: CallEvent) -> None:
        """Counts a call that has ended."""
        scope = event.scope
        several = len(event.parts) > 1
        model = _SEVERAL if several else event.model
        cell = (event.provider, event.api, scope.project, scope.user, scope.operation, event.outcome, model)
        tally = self._cells.get(cell) or self._tally(self._cells, cell)
        tally.count(event.usage, event.cost)
        if several:
            for part in event.parts:
                if part.billed:
                    tally = self._tally(self._parts, (part.model,))
                    tally.count(part.usage, part.cost.total if part.cost else None)

    def by(self, name: str, *, drain: bool = False) -> dict[str | None, Tally]:
        """The totals by a dimension.

        Args:
            name: the dimension.
            drain: only what has come since the last drain by it, so that each call is reported once.

        Raises:
            ValueError: for a dimension that there is not.
        """
        if name not in DIMENSIONS:
            msg = f"there are no totals by {name!r}; there are those by {', '.join(DIMENSIONS)}"
            raise ValueError(msg)
        place = DIMENSIONS.index(name)
        now: dict[str | None, Tally] = {}
        with self._lock:
            for cell, tally in self._cells.items():
                if name != "model" or cell[place] != _SEVERAL:
                    now.setdefault(cell[place], Tally()).merge(tally)
            for (model,), tally in self._parts.items() if name == "model" else ():
                now.setdefault(model, Tally()).merge(tally)
            if not drain:
                return now
            before, self._reported[name] = self._reported.get(name, {}), now
        return {
            key: tally.since(before.get(key)) for key, tally in now.items() if tally.calls > _calls(before.get(key))
        }

    def _tally(self, cells: dict[_Cell, Tally], key: _Cell) -> Tally:
        tally = cells.get(key)
        if tally is None:
            with self._lock:
                if key not in cells and len(cells) >= _MOST_CELLS:
                    key = (OTHERS,) * len(key)
                tally = cells.setdefault(key, Tally())
        return tally


def _calls(tally: Tally | None) -> int:
    return 0 if tally is None else tally.calls
