"""Records into rows. :mod:`taximeter.store.decode` is the way back, and gives what went in.

Line items stay JSON text inside their part (counts and rates as digits, amounts as whole 1e-12 USD: nothing is lost):
no report adds them up, they are read with their part or not at all, and as rows they would be most of the store.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from typing import Final, TypeGuard

import msgspec
from sqlalchemy import Table

from taximeter.errors import StoreError
from taximeter.event import CallEvent, Correction, Part, ToolCall, ToolResult
from taximeter.money import Money
from taximeter.store import clock, schema
from taximeter.store.limbs import split
from taximeter.usage import Count, Usage

Value = int | str | bool | None
Row = dict[str, Value]

MAX_AMOUNT: Final = 10**12
"""The largest count that is left to the database to sum; larger ones are summed in Python."""

MAX_DIGITS: Final = 1_000
"""How many digits a count may have, before and after the point."""

_json = msgspec.json.Encoder()
_NOTHING: Final[Mapping[str, Count]] = {}
_NO_FIGURES: Final[Row] = dict.fromkeys(("usage", *schema.UNIT_COLUMNS, "cost_hi", "cost_lo"))


class Rows:
    """The rows of a batch, by table, in an order in which they can be inserted."""

    def __init__(self) -> None:
        self.by_table: dict[Table, list[Row]] = {
            table: []
            for table in (
                schema.events,
                schema.corrections,
                schema.parts,
                schema.unit_counts,
                schema.tags,
                schema.tool_calls,
                schema.tool_results,
            )
        }

    def add_event(self, event: CallEvent, *, seq: int, recorded_at: int) -> None:
        """Adds an event under its number; ``recorded_at`` in microseconds."""
        with _named("event", event.id):
            self.by_table[schema.events].append(_event_row(event, seq, recorded_at))
            self._add_parts(seq, seq, event, event.model)
        self.by_table[schema.tags] += _tag_rows(event.scope.tags, seq)
        self.by_table[schema.tool_calls] += _tool_call_rows(event.tool_calls, seq)
        self.by_table[schema.tool_results] += _tool_result_rows(event.tool_results, seq)

    def add_correction(
        self, correction: Correction, *, seq: int, recorded_at: int, event_seq: int, model: str | None
    ) -> None:
        """Adds a correction under its number; ``model`` is that of the event that it corrects."""
        row: Row = {
            "seq": seq,
            "id": correction.id,
            "event_seq": event_seq,
            "recorded_at": recorded_at,
            "reason": correction.reason,
            "usage_source": correction.usage_source,
        }
        with _named("correction", correction.id):
            self.by_table[schema.corrections].append(row | _figures(correction.usage, correction.cost))
            self._add_parts(event_seq, seq, correction, model)

    def check(self) -> None:
        """Looks for a value that no database takes, to say whose it is; for when a driver has refused one.

        Raises:
            StoreError: when there is one.
        """
        records = {
            row["seq"]: row["id"] for table in (schema.events, schema.corrections) for row in self.by_table[table]
        }
        for table, rows in self.by_table.items():
            for row in rows:
                for name, value in row.items():
                    fault = _fault(value)
                    if fault:
                        seq = row.get("record_seq", row.get("event_seq", row.get("seq")))
                        msg = f"{records[seq]!r} cannot be kept: {table.name}.{name} is {fault}"
                        raise StoreError(msg)

    def _add_parts(self, event_seq: int, record_seq: int, record: CallEvent | Correction, model: str | None) -> None:
        stated = bool(record.parts)
        key: Row = {"event_seq": event_seq, "record_seq": record_seq}
        parts = record.parts if stated else (Part(model=model, usage=record.usage),)
        first_at = {part.model: place for place, part in reversed(list(enumerate(parts)))}
        unpriced = {part.model for part in parts if part.billed and _amount(part, record) is None}
        counts = self.by_table[schema.unit_counts]
        shared = len(parts) == 1 and parts[0].billed and parts[0].usage == record.usage
        if not shared:
            counts += _count_rows(key, schema.WHOLE, record.usage, whole=True)
        for place, part in enumerate(parts):
            first = first_at[part.model] == place
            self.by_table[schema.parts].append(
                key
                | _figures(part.usage, _amount(part, record), summed=part.billed)
                | {
                    "position": place,
                    "model": part.model,
                    "kind": part.kind,
                    "billed": part.billed,
                    "stated": stated,
                    "price": _text(part.cost) if part.cost is not None else None,
                    "calls": int(first),
                    "unpriced": int(first and part.model in unpriced),
                    "sole_model": first and len(first_at) == 1,
                }
            )
            if part.billed:
                counts += _count_rows(key, place, part.usage, whole=shared)


@contextmanager
def _named(kind: str, record_id: str) -> Generator[None]:
    """Says whose the contents are that cannot be kept."""
    try:
        yield
    except (StoreError, ValueError) as error:
        msg = f"{kind} {record_id!r} cannot be kept: {error}"
        raise StoreError(msg) from error


def _fault(value: Value) -> str | None:
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return f"an integer beyond 64 bits: {value}"
    if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
        return f"not text: {value!r}"
    return None


def _event_row(event: CallEvent, seq: int, recorded_at: int) -> Row:
    scope, error = event.scope, event.error
    provider_hi, provider_lo = split(event.provider_cost)
    row: Row = {
        "seq": seq,
        "id": event.id,
        "recorded_at": recorded_at,
        "started_at": clock.micros(event.started_at, "started_at"),
        "provider": event.provider,
        "api": event.api,
        "outcome": event.outcome,
        "project": scope.project,
        "session": scope.session,
        "turn": scope.turn,
        "user_id": scope.user,
        "operation": scope.operation,
        "request_model": event.request_model,
        "response_model": event.response_model,
        "response_id": event.response_id,
        "service_tier": event.service_tier,
        "stream": event.stream,
        "status": event.status,
        "has_error": error is not None,
        "error_type": error.type if error else None,
        "error_code": error.code if error else None,
        "error_message": error.message if error else None,
        "finish_reason": event.finish_reason,
        "usage_source": event.usage_source,
        "raw_usage": event.raw_usage,
        "contradictions": _text(event.contradictions) if event.contradictions else None,
        "provider_cost_hi": provider_hi,
        "provider_cost_lo": provider_lo,
        "first_token_ms": event.first_token_ms,
        "duration_ms": event.duration_ms,
        "attempt": event.attempt,
    }
    return row | _figures(event.usage, event.cost)


def _figures(usage: Usage | None, cost: Money | None, *, summed: bool = True) -> Row:
    """The columns of :func:`taximeter.store.schema._figures`; those that reports sum stay empty unless ``summed``."""
    row = _NO_FIGURES.copy()
    counts = _NOTHING if usage is None else usage.counts
    if usage is not None:
        row["usage"] = _text(counts)
    if summed:
        row["cost_hi"], row["cost_lo"] = split(cost)
        for unit, count in counts.items():
            if _has_column(count, unit):
                row[unit] = count
    return row


def _count_rows(key: Row, place: int, usage: Usage | None, *, whole: bool) -> Iterator[Row]:
    """A row for each count that has no column, or does not fit it."""
    for unit, count in _NOTHING.items() if usage is None else usage.counts.items():
        if not _has_column(count, unit):
            summable = count <= MAX_AMOUNT and count == int(count)
            yield key | {
                "position": place,
                "unit": unit,
                "whole": whole,
                "amount": int(count) if summable else None,
                "exact": None if summable else _digits(unit, count),
            }


def _digits(unit: str, count: Count) -> str:
    exponent = Decimal(count).as_tuple().exponent
    if count >= 10**MAX_DIGITS or not isinstance(exponent, int) or exponent < -MAX_DIGITS:
        msg = f"a count of {unit} has more than {MAX_DIGITS} digits before or after the point"
        raise StoreError(msg)
    return str(count)


def _has_column(count: Count, unit: str) -> TypeGuard[int]:
    return unit in _NO_FIGURES and isinstance(count, int) and count <= MAX_AMOUNT


def _amount(part: Part, record: CallEvent | Correction) -> Money | None:
    """What a part costs; a record without parts is one part, and costs what the record says."""
    if not record.parts:
        return record.cost
    return part.cost.total if part.cost else None


def _tag_rows(tags: tuple[tuple[str, str], ...], seq: int) -> Iterator[Row]:
    last = {name: place for place, (name, _) in enumerate(tags)}
    for place, (name, value) in enumerate(tags):
        in_force = last[name] == place
        yield {"event_seq": seq, "position": place, "name": name, "value": value, "in_force": in_force}


def _tool_call_rows(tool_calls: tuple[ToolCall, ...], seq: int) -> Iterator[Row]:
    for place, call in enumerate(tool_calls):
        size = call.argument_bytes
        yield {"event_seq": seq, "position": place, "id": call.id, "name": call.name, "argument_bytes": size}


def _tool_result_rows(results: tuple[ToolResult, ...], seq: int) -> Iterator[Row]:
    for place, result in enumerate(results):
        yield {"event_seq": seq, "position": place, **msgspec.structs.asdict(result)}


def _text(value: object) -> str:
    return _json.encode(value).decode()
