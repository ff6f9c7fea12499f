"""Reports: the effective events, grouped and added up by the database, exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal, Inexact
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    FromClause,
    Subquery,
    and_,
    case,
    cast,
    func,
    literal,
    or_,
    select,
)

from taximeter.errors import ConfigError
from taximeter.money import Money
from taximeter.store import clock
from taximeter.store.columns import UNIT_COLUMNS
from taximeter.store.effective import effective_events, model_of, parts_of
from taximeter.store.encode import MAX_DIGITS
from taximeter.store.limbs import join
from taximeter.store.periods import bucket, offset_of
from taximeter.store.query import DIMENSIONS, ERROR_OUTCOMES, TAG, Dimension, Query, ReportRow, zone
from taximeter.store.schema import events, parts, tags, unit_counts
from taximeter.usage import Count, Usage, plus

_CALLS = ("calls", "errors", "unpriced", "estimated", "unknown")
# Our own context: the ambient one may round. Wide enough for all counts that encode.MAX_DIGITS lets in.
_EXACT = Context(prec=4 * MAX_DIGITS, traps=[Inexact])
_LIMBS = ("cost_hi", "cost_lo", "provider_cost_hi", "provider_cost_lo")
# In a report by parts: whether an event has no rows of them, so that it is one part with its own figures.
_WHOLE = parts.c.record_seq.is_(None)


class _Dimension(NamedTuple):
    """How to group by one dimension: the columns to group by, and the key that their values stand for."""

    columns: tuple[ColumnElement[Any], ...]
    key: Callable[..., str | None]


class _Plan(NamedTuple):
    """What is grouped: the rows, by what, and whether they are parts (each at its model) or whole events."""

    source: FromClause
    effective: Subquery
    dimensions: list[_Dimension]
    by_part: bool
    conditions: list[ColumnElement[bool]]

    @property
    def grouping(self) -> list[ColumnElement[Any]]:
        columns = (column for dimension in self.dimensions for column in dimension.columns)
        return [column.label(f"group_{place}") for place, column in enumerate(columns)]

    def keys(self, values: Sequence[Any]) -> tuple[str | None, ...]:
        rest = iter(values)
        return tuple(dimension.key(*(next(rest) for _ in dimension.columns)) for dimension in self.dimensions)


@dataclass
class _Totals:
    """One row in the making; two groups of the database can be one row (the days of a month)."""

    calls: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_CALLS, 0))
    usage: dict[str, Count] = field(default_factory=dict[str, Count])
    cost: Money | None = None
    provider_cost: Money | None = None

    def count(self, unit: str, count: Count) -> None:
        self.usage[unit] = plus(self.usage.get(unit, 0), count)

    def row(self, keys: tuple[str | None, ...]) -> ReportRow:
        return ReportRow(
            keys=keys,
            calls=self.calls["calls"],
            errors=self.calls["errors"],
            unpriced_calls=self.calls["unpriced"],
            estimated_calls=self.calls["estimated"],
            unknown_usage_calls=self.calls["unknown"],
            usage=Usage(**self.usage),
            cost=self.cost,
            provider_cost=self.provider_cost,
        )


def report(connection: Connection, by: Sequence[Dimension], query: Query) -> list[ReportRow]:
    """The rows of a report, ordered by their keys, ``None`` last. With no dimension: one row, the total.

    Naming a model, as a dimension or in the query, adds up parts, each at its own model; otherwise whole events are
    added up. An event without rows of parts is one part.

    Raises:
        ConfigError: for a dimension or time zone that does not exist.
    """
    plan = _plan(connection, by, query)
    totals: dict[tuple[str | None, ...], _Totals] = {}
    width = len(plan.grouping)
    for values in connection.execute(_figures(plan)):
        _add_figures(totals.setdefault(plan.keys(values[:width]), _Totals()), values[width:])
    for values in connection.execute(_counts(plan)):
        unit, exact, amount, times = values[width:]
        # what has no 64-bit sum comes value by value, and is added here
        count = int(amount) if exact is None else _times(exact, times)
        totals.setdefault(plan.keys(values[:width]), _Totals()).count(unit, count)
    ordered = sorted(totals, key=lambda keys: [(key is None, key or "") for key in keys])
    return [totals[keys].row(keys) for keys in ordered]


def _plan(connection: Connection, by: Sequence[Dimension], query: Query) -> _Plan:
    effective = effective_events(query)
    by_part = "model" in by or query.model is not None
    source: FromClause = effective
    conditions: list[ColumnElement[bool]] = []
    if by_part:
        source = source.outerjoin(parts, parts_of(effective))
    model = case((_WHOLE, model_of(effective)), else_=parts.c.model)
    if query.model is not None:
        conditions.append(model == query.model)
    dimensions: list[_Dimension] = []
    for place, name in enumerate(by):
        if name.startswith(TAG):
            tag = tags.alias(f"tag_{place}")
            in_force = and_(tag.c.event_seq == effective.c.seq, tag.c.name == name.removeprefix(TAG), tag.c.in_force)
            source = source.outerjoin(tag, in_force)
            dimensions.append(_Dimension((tag.c.value,), _as_is))
        elif name in {"hour", "day", "month"}:
            dimensions.append(_period(name, effective.c.started_at, _offsets(connection, query)))
        elif name in DIMENSIONS:
            column = model if name == "model" else effective.c["user_id" if name == "user" else name]
            dimensions.append(_Dimension((column,), _as_is))
        else:
            msg = f"no report is by {name!r}; there are {', '.join(DIMENSIONS)} and {TAG}NAME"
            raise ConfigError(msg)
    return _Plan(source, effective, dimensions, by_part, conditions)


def _as_is(value: str | None) -> str | None:
    return value


def _period(name: str, started_at: ColumnElement[int], offsets: list[clock.Step]) -> _Dimension:
    offset = offset_of(started_at, offsets)
    if name == "hour":
        return _Dimension((bucket(started_at, offset, clock.HOUR), offset), clock.hour_text)
    day = bucket(started_at, offset, clock.DAY)
    return _Dimension((day,), clock.month_text if name == "month" else clock.day_text)


def _offsets(connection: Connection, query: Query) -> list[clock.Step]:
    """The zone's offsets over the time that the report spans, so far as there are events."""
    earliest, latest = select(func.min(events.c.started_at)), select(func.max(events.c.started_at))
    first, last = connection.execute(select(earliest.scalar_subquery(), latest.scalar_subquery())).one()
    first, last = first or 0, last or 0
    if query.since is not None:
        first = max(first, clock.micros(query.since, "since"))
    if query.until is not None:
        last = min(last, clock.micros(query.until, "until"))
    return clock.steps(zone(query.tz), first, max(first, last))


def _figures(plan: _Plan) -> Any:  # noqa: ANN401 - a Select of as many columns as there are dimensions
    effective = plan.effective
    weight: ColumnElement[int] = literal(1)
    unpriced: ColumnElement[int] = case((effective.c.cost_hi.is_(None), 1), else_=0)
    if plan.by_part:
        weight, unpriced = func.coalesce(parts.c.calls, 1), func.coalesce(parts.c.unpriced, unpriced)
    sums = [
        weight,
        case((effective.c.outcome.in_(ERROR_OUTCOMES), weight), else_=0),
        unpriced,
        case((effective.c.usage_source == "estimated", weight), else_=0),
        case((effective.c.usage_source == "unknown", weight), else_=0),
        *(_figure(plan, name) for name in (*_LIMBS, *UNIT_COLUMNS)),
    ]
    grouping = plan.grouping
    statement = select(*grouping, *(func.sum(cast(column, BigInteger)) for column in sums))
    return statement.select_from(plan.source).where(*plan.conditions).group_by(*grouping)


def _figure(plan: _Plan, name: str) -> ColumnElement[Any]:
    """A column that is summed: the part's, where parts are; a provider's cost is of calls at one model only."""
    whole = plan.effective.c[name]
    if not plan.by_part:
        return whole
    if name in parts.c:
        return case((_WHOLE, whole), else_=parts.c[name])
    return case((or_(_WHOLE, parts.c.sole_model), whole))


def _add_figures(totals: _Totals, found: Sequence[Any]) -> None:
    sums = [None if number is None else int(number) for number in found]  # an engine may sum integers to a decimal
    calls, limbs, units = sums[: len(_CALLS)], sums[len(_CALLS) : -len(UNIT_COLUMNS)], sums[-len(UNIT_COLUMNS) :]
    for name, number in zip(_CALLS, calls, strict=True):
        totals.calls[name] += number or 0
    totals.cost = _plus(totals.cost, join(limbs[0], limbs[1]))
    totals.provider_cost = _plus(totals.provider_cost, join(limbs[2], limbs[3]))
    for unit, count in zip(UNIT_COLUMNS, units, strict=True):
        if count is not None:
            totals.count(unit, count)


def _counts(plan: _Plan) -> Any:  # noqa: ANN401 - as above
    """The counts that have no column of their own: a row by unit, and for one that cannot be summed, by value."""
    effective, counts = plan.effective, unit_counts.c
    place = counts.position == func.coalesce(parts.c.position, 0) if plan.by_part else counts.whole
    ours = and_(counts.event_seq == effective.c.seq, counts.record_seq == effective.c.record_seq, place)
    grouping = [*plan.grouping, counts.unit, counts.exact]
    statement = select(*grouping, func.sum(counts.amount), func.count())
    return statement.select_from(plan.source.join(unit_counts, ours)).where(*plan.conditions).group_by(*grouping)


def _times(exact: str, times: int) -> Count:
    return int(exact) * times if exact.isdecimal() else _EXACT.multiply(Decimal(exact), times)


def _plus(total: Money | None, amount: Money | None) -> Money | None:
    if total is None or amount is None:
        return total or amount
    return total + amount
