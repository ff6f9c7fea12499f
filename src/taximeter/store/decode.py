"""Rows into events: the way back from :mod:`taximeter.store.encode`, giving what went in."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, Row, Select, Table, select

from taximeter.event import CallEvent, Content, Correction, Cost, Part, ProviderError, Scope, ToolCall, ToolResult
from taximeter.store import clock, schema
from taximeter.store.limbs import join
from taximeter.usage import Contradiction, Usage

_PAGE = 500  # events whose parts are fetched together: well below SQLite's bound of 32,766 values in a statement

_usage = msgspec.json.Decoder(dict[str, int | Decimal])
_cost = msgspec.json.Decoder(Cost)
_contradictions = msgspec.json.Decoder(tuple[Contradiction, ...])
_arguments = msgspec.json.Decoder(tuple[str, ...])

# What a driver hands over has no type of its own; a test of the round trip stands in for one.
Record = Row[Any]


class _Children(NamedTuple):
    sole_parts: dict[int, list[Record]]
    contents: dict[int, list[Record]]
    parts: dict[int, list[Record]]
    tags: dict[int, list[Record]]
    tool_calls: dict[int, list[Record]]
    tool_results: dict[int, list[Record]]


def read_events(connection: Connection, statement: Select[Any]) -> Generator[CallEvent]:
    """The events of a statement with the columns of the effective events, a page in memory at a time."""
    result = connection.execution_options(yield_per=_PAGE).execute(statement)
    for page in result.partitions():
        children = _children(connection, page)
        for row in page:
            yield _event(row, children)


def read_corrections(connection: Connection, ids: Sequence[str]) -> Iterator[Correction]:
    """The corrections with these ids."""
    corrections, parts, events = schema.corrections, schema.parts, schema.events
    found = select(corrections, events.c.id.label("event_id")).join(events).where(corrections.c.id.in_(ids))
    for row in connection.execute(found).all():
        its_own = select(parts).where(parts.c.event_seq == row.event_seq, parts.c.record_seq == row.seq)
        yield Correction(
            id=row.id,
            event_id=row.event_id,
            reason=row.reason,
            usage=_usage_of(row.usage),
            usage_source=row.usage_source,
            cost=join(row.cost_hi, row.cost_lo),
            parts=tuple(_part(part) for part in connection.execute(its_own.order_by(parts.c.position))),
        )


def _children(connection: Connection, page: Sequence[Record]) -> _Children:
    seqs = [row.seq for row in page]
    records = {row.record_seq for row in page}
    parts = _by_event(connection, schema.parts, seqs)
    current = {seq: [part for part in found if part.record_seq in records] for seq, found in parts.items()}
    sole = _by_event(connection, schema.sole_parts, [seq for seq in seqs if seq in records])
    tables = (schema.contents, schema.tags, schema.tool_calls, schema.tool_results)
    contents, *others = (_by_event(connection, table, seqs) for table in tables)
    return _Children(sole, contents, current, *others)


def _by_event(connection: Connection, table: Table, seqs: list[int]) -> dict[int, list[Record]]:
    found: dict[int, list[Record]] = {}
    statement = select(table).where(table.c.event_seq.in_(seqs)).order_by(*table.primary_key.columns)
    for row in connection.execute(statement):
        found.setdefault(row.event_seq, []).append(row)
    return found


def _event(row: Record, children: _Children) -> CallEvent:
    tags = tuple((tag.name, tag.value) for tag in children.tags.get(row.seq, ()))
    return CallEvent(
        id=row.id,
        started_at=clock.moment(row.started_at),
        provider=row.provider,
        api=row.api,
        outcome=row.outcome,
        scope=Scope(row.project, row.session, row.turn, row.user_id, row.operation, tags),
        request_model=row.request_model,
        response_model=row.response_model,
        response_id=row.response_id,
        service_tier=row.service_tier,
        stream=row.stream,
        status=row.status,
        error=ProviderError(row.error_type, row.error_code, row.error_message) if row.has_error else None,
        finish_reason=row.finish_reason,
        usage=_usage_of(row.usage),
        usage_source=row.usage_source,
        raw_usage=row.raw_usage,
        contradictions=_contradictions.decode(row.contradictions) if row.contradictions else (),
        cost=join(row.cost_hi, row.cost_lo),
        provider_cost=join(row.provider_cost_hi, row.provider_cost_lo),
        parts=_parts(row, children),
        tool_calls=tuple(
            ToolCall(call.id, call.name, call.argument_bytes) for call in children.tool_calls.get(row.seq, ())
        ),
        tool_results=tuple(
            ToolResult(found.id, found.name, found.duration_ms, found.failed, found.result_bytes)
            for found in children.tool_results.get(row.seq, ())
        ),
        first_token_ms=row.first_token_ms,
        duration_ms=row.duration_ms,
        attempt=row.attempt,
        content=next(map(_content, children.contents.get(row.seq, ())), None),
    )


def _parts(row: Record, children: _Children) -> tuple[Part, ...]:
    if row.seq in children.sole_parts:
        (sole,) = children.sole_parts[row.seq]
        model = row.response_model or row.request_model
        return (Part(model, _usage_of(row.usage), kind=sole.kind, cost=_cost_of(sole.price)),)
    return tuple(map(_part, children.parts.get(row.seq, ())))


def _part(row: Record) -> Part:
    return Part(
        model=row.model,
        usage=_usage_of(row.usage),
        billed=row.billed,
        kind=row.kind,
        cost=_cost_of(row.price),
    )


def _content(row: Record) -> Content:
    arguments = () if row.tool_arguments is None else _arguments.decode(row.tool_arguments)
    return Content(row.user_message, row.answer, arguments)


def _cost_of(text: str | None) -> Cost | None:
    return None if text is None else _cost.decode(text)


def _usage_of(text: str | None) -> Usage | None:
    return None if text is None else Usage(**_usage.decode(text))
