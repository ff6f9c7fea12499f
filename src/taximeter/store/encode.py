"""Records into rows. :mod:`taximeter.store.decode` is the way back, and gives what went in.

Line items stay JSON text beside their part (counts and rates as digits, amounts as whole 1e-12 USD: nothing is lost):
no report adds them up, they are read with their part or not at all, and as rows they would be most of the store.

Nearly every call is billed as a whole at its own model. Then its one part says nothing that the event does not say, but
its kind and how its price came about, and that is all that is written of it (``sole_parts``).
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Final, cast

import msgspec

from taximeter.errors import StoreError
from taximeter.event import CallEvent, Content, Correction, Part
from taximeter.money import Money
from taximeter.store import clock
from taximeter.store.columns import COLUMNS, UNIT_COLUMNS, WHOLE
from taximeter.store.limbs import split
from taximeter.usage import Count, Usage

Value = int | str | None
Row = tuple[Value, ...]
"""The values of a row in the order of its table's :data:`~taximeter.store.columns.COLUMNS`; a flag is 0 or 1."""

MAX_AMOUNT: Final = 10**12
"""The largest count that is left to the database to sum; larger ones are summed in Python."""

MAX_DIGITS: Final = 1_000
"""How many digits a count may have, before and after the point."""

_encode = msgspec.json.Encoder().encode
_HAS_COLUMN: Final = frozenset(UNIT_COLUMNS)
_NO_COUNTS: Final[Row] = (None,) * len(UNIT_COLUMNS)


class Rows:
    """The rows of a batch, by table, in an order in which they can be inserted."""

    def __init__(self) -> None:
        self.by_table: dict[str, list[Row]] = {table: [] for table in COLUMNS}

    def add_event(self, event: CallEvent, *, seq: int, recorded_at: int) -> None:
        """Adds an event under its number; ``recorded_at`` in microseconds.

        Raises:
            StoreError: for what cannot be kept exactly; it names the event.
        """
        tables = self.by_table
        try:
            tables["events"].append(_event_row(event, seq, recorded_at))
            sole = _sole_part(event, event.model)
            if sole is not None:
                tables["sole_parts"].append((seq, sole.kind, None if sole.cost is None else _text(sole.cost)))
            if sole is not None or not event.parts:
                tables["unit_counts"] += _count_rows((seq, seq, 0), event.usage, whole=True)
            else:
                self._add_parts(seq, seq, event)
        except (StoreError, ValueError) as error:
            raise _refused(event, error) from error
        if event.scope.tags:
            tables["tags"] += _tag_rows(event.scope.tags, seq)
        if event.tool_calls:
            calls = enumerate(event.tool_calls)
            tables["tool_calls"] += [(seq, place, call.id, call.name, call.argument_bytes) for place, call in calls]
        if event.tool_results:
            tables["tool_results"] += [
                (seq, place, found.id, found.name, found.duration_ms, _flag(found.failed), found.result_bytes)
                for place, found in enumerate(event.tool_results)
            ]
        if event.content is not None:
            tables["contents"].append(_content_row(event.content, seq))

    def add_correction(self, correction: Correction, *, seq: int, recorded_at: int, event_seq: int) -> None:
        """Adds a correction, of the event with that number, under its own number.

        Raises:
            StoreError: as for an event.
        """
        try:
            self.by_table["corrections"].append(
                (
                    seq,
                    correction.id,
                    event_seq,
                    recorded_at,
                    correction.reason,
                    correction.usage_source,
                    *_figures(correction.usage, correction.cost),
                )
            )
            if correction.parts:
                self._add_parts(event_seq, seq, correction)
            else:
                self.by_table["unit_counts"] += _count_rows((event_seq, seq, 0), correction.usage, whole=True)
        except (StoreError, ValueError) as error:
            raise _refused(correction, error) from error

    def check(self) -> None:
        """Looks for a value that no database takes, to say whose it is; for when a driver has refused one.

        Raises:
            StoreError: when there is one.
        """
        records = {seq: str(name) for table in ("events", "corrections") for seq, name, *_ in self.by_table[table]}
        for table, rows in self.by_table.items():
            names = COLUMNS[table]
            owner = next(names.index(name) for name in ("record_seq", "seq", "event_seq") if name in names)
            for row in rows:
                for name, value in zip(names, row, strict=True):
                    fault = _fault(value)
                    if fault:
                        record_id = records[row[owner]]
                        msg = f"{record_id!r} cannot be kept: {table}.{name} is {fault}"
                        raise StoreError(msg, record_id=record_id)

    def _add_parts(self, event_seq: int, record_seq: int, record: CallEvent | Correction) -> None:
        parts = record.parts
        first_at = {part.model: place for place, part in reversed(list(enumerate(parts)))}
        unpriced = {part.model for part in parts if part.billed and _amount(part) is None}
        counts = self.by_table["unit_counts"]
        shared = len(parts) == 1 and parts[0].billed and parts[0].usage == record.usage
        if not shared:
            counts += _count_rows((event_seq, record_seq, WHOLE), record.usage, whole=True)
        for place, part in enumerate(parts):
            key = (event_seq, record_seq, place)
            first = first_at[part.model] == place
            self.by_table["parts"].append(
                (
                    *key,
                    part.model,
                    part.kind,
                    int(part.billed),
                    *_figures(part.usage, _amount(part), summed=part.billed),
                    None if part.cost is None else _text(part.cost),
                    int(first),
                    int(first and part.model in unpriced),
                    int(first and len(first_at) == 1),
                )
            )
            if part.billed:
                counts += _count_rows(key, part.usage, whole=shared)


def _refused(record: CallEvent | Correction, error: Exception) -> StoreError:
    kind = "event" if isinstance(record, CallEvent) else "correction"
    return StoreError(f"{kind} {record.id!r} cannot be kept: {error}", record_id=record.id)


def _fault(value: object) -> str | None:
    if isinstance(value, int):
        return None if -(2**63) <= value < 2**63 else f"an integer beyond 64 bits: {value}"
    if isinstance(value, str):
        return f"not text: {value!r}" if any("\ud800" <= letter <= "\udfff" for letter in value) else None
    return None if value is None else f"neither text nor a whole number: {value!r}"


def _sole_part(event: CallEvent, model: str | None) -> Part | None:
    """The part of an event that has one, if that has the event's own model and figures."""
    if len(event.parts) != 1:
        return None
    (part,) = event.parts
    own = part.billed and part.model == model and part.usage == event.usage and _amount(part) == event.cost
    return part if own else None


def _event_row(event: CallEvent, seq: int, recorded_at: int) -> Row:
    scope, error = event.scope, event.error
    return (
        seq,
        event.id,
        recorded_at,
        clock.micros(event.started_at, "started_at"),
        event.provider,
        event.api,
        event.outcome,
        scope.project,
        scope.session,
        scope.turn,
        scope.user,
        scope.operation,
        event.request_model,
        event.response_model,
        event.response_id,
        event.service_tier,
        _flag(event.stream),
        event.status,
        *((0, None, None, None) if error is None else (1, error.type, error.code, error.message)),
        event.finish_reason,
        event.usage_source,
        *_figures(event.usage, event.cost),
        event.raw_usage,
        _text(event.contradictions) if event.contradictions else None,
        *split(event.provider_cost),
        event.first_token_ms,
        event.duration_ms,
        event.attempt,
    )


def _figures(usage: Usage | None, cost: Money | None, *, summed: bool = True) -> Row:
    """The columns of :data:`taximeter.store.columns.FIGURES`; those that reports sum stay empty unless ``summed``."""
    if usage is None:
        return (None, *_NO_COUNTS, *split(cost if summed else None))
    counts = usage.counts
    if not summed:
        return (_text(counts), *_NO_COUNTS, None, None)
    # None of the units with a column is counted in seconds, so what goes there is an integer.
    columns = cast("list[int | None]", [counts.get(unit) for unit in UNIT_COLUMNS])
    if max(counts.values(), default=0) > MAX_AMOUNT:
        columns = [None if count is None or count > MAX_AMOUNT else count for count in columns]
    return (_text(counts), *columns, *split(cost))


def _count_rows(key: tuple[int, int, int], usage: Usage | None, *, whole: bool) -> list[Row]:
    """A row for each count that has no column, or does not fit it."""
    if usage is None:
        return []
    return [
        (*key, unit, int(whole), *_summable(unit, count))
        for unit, count in usage.counts.items()
        if count > MAX_AMOUNT or unit not in _HAS_COLUMN
    ]


def _summable(unit: str, count: Count) -> tuple[int | None, str | None]:
    """A count as a number that the database sums, or else as text."""
    if count <= MAX_AMOUNT and count == int(count):
        return int(count), None
    return None, _digits(unit, count)


def _digits(unit: str, count: Count) -> str:
    exponent = Decimal(count).as_tuple().exponent
    if count >= 10**MAX_DIGITS or not isinstance(exponent, int) or exponent < -MAX_DIGITS:
        msg = f"a count of {unit} has more than {MAX_DIGITS} digits before or after the point"
        raise StoreError(msg)
    return str(count)


def _amount(part: Part) -> Money | None:
    return None if part.cost is None else part.cost.total


def _tag_rows(tags: tuple[tuple[str, str], ...], seq: int) -> Iterator[Row]:
    last = {name: place for place, (name, _) in enumerate(tags)}
    for place, (name, value) in enumerate(tags):
        yield seq, place, name, value, int(last[name] == place)


def _content_row(content: Content, seq: int) -> Row:
    arguments = _text(content.tool_arguments) if content.tool_arguments else None
    return seq, content.user_message, content.answer, arguments


def _flag(value: bool | None) -> int | None:  # noqa: FBT001 - a value of a field, not a switch
    return None if value is None else int(value)


def _text(value: object) -> str:
    return _encode(value).decode()
