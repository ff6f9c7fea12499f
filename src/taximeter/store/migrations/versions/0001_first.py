"""The first tables: events and corrections with what belongs to them, and the counter that numbers both."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_UNITS = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "output_reasoning_tokens",
)


def upgrade() -> None:
    """Creates the tables and gives the counter its row."""
    columns = (_text("name", required=True), _number("value", required=True))
    counters = op.create_table("counters", *columns, _key("counters", "name"))
    op.bulk_insert(counters, [{"name": "seq", "value": 0}])
    _create_records()
    _create_parts()
    _create_other_children()


def _create_records() -> None:
    op.create_table(
        "events",
        _seq(),
        _text("id", required=True),
        _number("recorded_at", required=True),
        _number("started_at", required=True),
        *(_text(name, required=True) for name in ("provider", "api", "outcome")),
        *(_text(name) for name in ("project", "session", "turn", "user_id", "operation")),
        *(_text(name) for name in ("request_model", "response_model", "response_id", "service_tier")),
        sa.Column("stream", sa.Boolean(), nullable=True),
        _number("status"),
        _flag("has_error"),
        *(_text(name) for name in ("error_type", "error_code", "error_message", "finish_reason")),
        _text("usage_source", required=True),
        *_figures(),
        _text("raw_usage"),
        _text("contradictions"),
        *(_number(name) for name in ("provider_cost_hi", "provider_cost_lo", "first_token_ms", "duration_ms")),
        _number("attempt", required=True),
        _key("events", "seq"),
        sa.UniqueConstraint("id", name="uq_events_id"),
    )
    op.create_index("ix_events_started_at", "events", ["started_at"])
    op.create_table(
        "corrections",
        _seq(),
        _text("id", required=True),
        _number("event_seq", required=True),
        _number("recorded_at", required=True),
        _text("reason", required=True),
        _text("usage_source", required=True),
        *_figures(),
        _key("corrections", "seq"),
        sa.UniqueConstraint("id", name="uq_corrections_id"),
        _of_event("corrections"),
    )
    op.create_index("ix_corrections_event_seq_seq", "corrections", ["event_seq", "seq"])


def _create_parts() -> None:
    _create_child(
        "parts",
        ("event_seq", "record_seq", "position"),
        _number("record_seq", required=True),
        _text("model"),
        _text("kind", required=True),
        _flag("billed"),
        _flag("stated"),
        *_figures(),
        _text("price"),
        sa.Column("calls", sa.SmallInteger(), nullable=False),
        sa.Column("unpriced", sa.SmallInteger(), nullable=False),
        _flag("sole_model"),
    )
    _create_child(
        "unit_counts",
        ("event_seq", "record_seq", "position", "unit"),
        _number("record_seq", required=True),
        _text("unit", required=True),
        _flag("whole"),
        _number("amount"),
        _text("exact"),
    )


def _create_other_children() -> None:
    key = ("event_seq", "position")
    _create_child("tags", key, _text("name", required=True), _text("value", required=True), _flag("in_force"))
    _create_child(
        "tool_calls", key, _text("id"), _text("name", required=True), _number("argument_bytes", required=True)
    )
    failed = sa.Column("failed", sa.Boolean())
    result = (_text("id", required=True), _text("name"), _number("duration_ms"), failed)
    _create_child("tool_results", key, *result, _number("result_bytes", required=True))


def _create_child(table: str, key: tuple[str, ...], *columns: sa.Column[Any]) -> None:
    """A table of what belongs to an event, kept in the order of its key."""
    own = (_number("event_seq", required=True), _number("position", required=True), *columns)
    op.create_table(table, *own, _key(table, *key), _of_event(table), sqlite_with_rowid=False)


def _seq() -> sa.Column[int]:
    return sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False)


def _text(name: str, *, required: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=not required)


def _number(name: str, *, required: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=not required)


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean(), nullable=False)


def _figures() -> list[sa.Column[Any]]:
    return [_text("usage"), *(_number(name) for name in (*_UNITS, "cost_hi", "cost_lo"))]


def _key(table: str, *columns: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint(*columns, name=f"pk_{table}")


def _of_event(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["event_seq"], ["events.seq"], name=f"fk_{table}_event_seq", ondelete="CASCADE")
