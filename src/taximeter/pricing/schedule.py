"""Which prices of a model are in force at an instant.

Terms are whole UTC days and hours of the UTC day. Their starts and ends cut time into cells in each of which the
answer is the same, so that it is worked out once per cell.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from typing import NamedTuple

from taximeter.errors import PricingError
from taximeter.pricing.catalogue import Days, Hours, Model, Price, Term, Variant

Cell = tuple[int, int]
"""A stretch of days, and a stretch of hours of each of them, by number."""

_FIRST = datetime.min.replace(tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)


class Prices(NamedTuple):
    """What is in force.

    Attributes:
        prices: by unit name.
        since: the first day of it; ``None``: from the beginning.
        context: the part of the call's price context that chose among variants.
    """

    prices: dict[str, Price]
    since: date | None
    context: tuple[tuple[str, str], ...]


class Schedule:
    """A model's prices over time, for one price context."""

    __slots__ = ("_clocks", "_days", "_model", "_variants")

    def __init__(self, model: Model, context: tuple[tuple[str, str], ...]) -> None:
        """The prices of ``model`` where the call's price context is ``context``."""
        pairs = frozenset(context)
        self._model = model
        self._variants = [variant for variant in model.variants if pairs.issuperset(variant.when)]
        terms = [entry.term for entry in (*model.prices, *self._variants)]
        self._days = sorted({day for term in terms for day in _first_days(term)})
        self._clocks = sorted({clock for term in terms for clock in _changes(term)})

    def cell(self, at: datetime) -> Cell:
        """Names the days and the hours into which ``at`` (UTC) falls: the prices are the same throughout a cell."""
        return bisect_right(self._days, at.date()), bisect_right(self._clocks, at.time())

    def span(self, at: datetime, cell: Cell) -> tuple[datetime, datetime]:
        """From when until before when, around ``at`` (UTC) and without a break, its cell lasts."""
        day, clock = cell
        start = datetime.combine(self._days[day - 1], time(), UTC) if day else _FIRST
        end = datetime.combine(self._days[day], time(), UTC) if day < len(self._days) else _LAST
        if self._clocks:
            today = at.date()
            start = max(start, datetime.combine(today, self._clocks[clock - 1] if clock else time(), UTC))
            end = min(end, datetime.combine(today, self._clocks[clock] if clock < len(self._clocks) else time.max, UTC))
        return start, end

    def prices(self, cell: Cell) -> Prices | None:
        """The prices in force in a cell; ``None`` when the model has lapsed."""
        since = self._days[cell[0] - 1] if cell[0] else None
        clock = self._clocks[cell[1] - 1] if cell[1] else time.min
        day = since or date.min
        standard = self._standard(day, clock)
        if standard is None:
            return None
        replaced: dict[str, Price] = {}
        context: set[tuple[str, str]] = set()
        for variant in _active(self._variants, day, clock):
            context.update(variant.when)
            replaced = variant.prices | replaced
        return Prices(standard | replaced, since, tuple(sorted(context)))

    def _standard(self, day: date, clock: time) -> dict[str, Price] | None:
        entries = self._model.prices
        active = (entry for entry in reversed(entries) if entry.term is None or entry.term.holds(day, clock))
        chosen = next(active, None)
        if chosen is None and entries and not self._model.lapses:
            chosen = entries[0]
        if chosen is None:
            return None if self._model.lapses else {}
        return chosen.prices


def in_utc(at: datetime) -> datetime:
    """The same instant in UTC.

    Raises:
        PricingError: when ``at`` does not say in which time zone it is.
    """
    if at.utcoffset() is None:
        msg = f"the time of a call needs a time zone: {at!r}"
        raise PricingError(msg)
    return at.astimezone(UTC)


def _active(variants: list[Variant], day: date, clock: time) -> Iterator[Variant]:
    return (variant for variant in variants if variant.term is None or variant.term.holds(day, clock))


def _first_days(term: Term | None) -> Iterator[date]:
    if isinstance(term, Days):
        yield from (day for day in (term.since, term.until) if day is not None)


def _changes(term: Term | None) -> Iterator[time]:
    if isinstance(term, Hours):
        yield from (term.start, term.end)
