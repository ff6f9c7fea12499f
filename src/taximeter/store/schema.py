"""The tables. Their history is in ``migrations/``; a test holds the two equal.

``seq`` is handed out from one row of ``counters``, by an ``UPDATE`` that holds that row until its transaction commits.
So numbers are given in the order of commits, with any number of writers and in any engine: who has read up to a
``seq`` has missed nothing before it. Events and corrections draw from the same counter.

A *record* is an event or a correction: what states figures. Its ``seq`` is the ``record_seq`` of the parts and counts
that belong to it, so the parts of an effective event are found without caring which of the two stated them.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, MetaData, SmallInteger, Table, Text

from taximeter.store.columns import UNIT_COLUMNS

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite: only a column declared INTEGER is the table's own key (the rowid), with no index beside it.
_Seq = BigInteger().with_variant(Integer(), "sqlite")


def _text(name: str, *, required: bool = False) -> Column[str]:
    return Column(name, Text, nullable=not required)


def _number(name: str, *, required: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=not required)


def _flag(name: str, *, required: bool = True) -> Column[bool]:
    return Column(name, Boolean, nullable=not required)


def _money(name: str) -> list[Column[int]]:
    return [_number(f"{name}_hi"), _number(f"{name}_lo")]


def _figures() -> list[Column[int] | Column[str]]:
    """What a record states and a report adds up."""
    return [_text("usage"), *(_number(unit) for unit in UNIT_COLUMNS), *_money("cost")]


def _event_seq(*, key: bool = True) -> Column[int]:
    event = ForeignKey("events.seq", ondelete="CASCADE")
    return Column("event_seq", BigInteger, event, primary_key=key, nullable=False)


def _one_per_event() -> Column[int]:
    """The key of what an event has one of or none: rows in the order of their events, which cost the least to add."""
    return Column(
        "event_seq", _Seq, ForeignKey("events.seq", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )


def _key(name: str) -> Column[int]:
    return Column(name, BigInteger, primary_key=True, autoincrement=False)


counters = Table("counters", metadata, Column("name", Text, primary_key=True), _number("value", required=True))

events = Table(
    "events",
    metadata,
    Column("seq", _Seq, primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False, unique=True),
    _number("recorded_at", required=True),
    _number("started_at", required=True),
    _text("provider", required=True),
    _text("api", required=True),
    _text("outcome", required=True),
    *(_text(name) for name in ("project", "session", "turn", "user_id", "operation")),
    *(_text(name) for name in ("request_model", "response_model", "response_id", "service_tier")),
    _flag("stream", required=False),
    _number("status"),
    _flag("has_error"),
    *(_text(name) for name in ("error_type", "error_code", "error_message", "finish_reason")),
    _text("usage_source", required=True),
    *_figures(),
    _text("raw_usage"),
    _text("contradictions"),
    *_money("provider_cost"),
    _number("first_token_ms"),
    _number("duration_ms"),
    _number("attempt", required=True),
    Index(None, "started_at"),
)

corrections = Table(
    "corrections",
    metadata,
    Column("seq", _Seq, primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False, unique=True),
    _event_seq(key=False),
    _number("recorded_at", required=True),
    _text("reason", required=True),
    _text("usage_source", required=True),
    *_figures(),
    Index(None, "event_seq", "seq"),
)

sole_parts = Table(
    "sole_parts",  # of an event with one part, that has the event's own model and figures: they are not written twice
    metadata,
    _one_per_event(),
    _text("kind", required=True),
    _text("price"),  # as in parts
)

parts = Table(
    "parts",  # of a record whose parts say what it does not; without any, a record is one part with its own figures
    metadata,
    _event_seq(),
    _key("record_seq"),
    _key("position"),
    _text("model"),
    _text("kind", required=True),
    _flag("billed"),
    *_figures(),  # the columns to be summed are NULL in an unbilled part
    _text("price"),  # the Cost: line items, rate card, why there is none
    # What this row adds to a report by model; a call with two parts at one model is one call there.
    Column("calls", SmallInteger, nullable=False),
    Column("unpriced", SmallInteger, nullable=False),
    _flag("sole_model"),  # the call has no other model, so its provider_cost is this model's
    sqlite_with_rowid=False,
)

unit_counts = Table(
    "unit_counts",
    metadata,
    _event_seq(),
    _key("record_seq"),
    _key("position"),
    Column("unit", Text, primary_key=True),
    _flag("whole"),  # counts in the record's own usage too: one row does for both when there is one part
    _number("amount"),
    _text("exact"),  # in place of amount: a count that is not whole, or too large to be summed in 64 bits
    sqlite_with_rowid=False,
)

tags = Table(
    "tags",
    metadata,
    _event_seq(),
    _key("position"),
    _text("name", required=True),
    _text("value", required=True),
    _flag("in_force"),  # of a name given more than once, the last
    sqlite_with_rowid=False,
)

tool_calls = Table(
    "tool_calls",
    metadata,
    _event_seq(),
    _key("position"),
    _text("id"),
    _text("name", required=True),
    _number("argument_bytes", required=True),
    sqlite_with_rowid=False,
)

tool_results = Table(
    "tool_results",
    metadata,
    _event_seq(),
    _key("position"),
    _text("id", required=True),
    _text("name"),
    _number("duration_ms"),
    _flag("failed", required=False),
    _number("result_bytes", required=True),
    sqlite_with_rowid=False,
)

contents = Table(
    "contents",  # apart from the events, so that they can be deleted, and are in nobody's way
    metadata,
    _one_per_event(),
    _text("user_message"),
    _text("answer"),
    _text("tool_arguments"),  # a JSON list of texts; none when it would be empty
)

virtual_keys = Table(
    "virtual_keys",
    metadata,
    Column("id", Text, primary_key=True),
    _text("name", required=True),
    Column("hash", Text, nullable=False, unique=True),  # keyed: the key itself is nowhere
    _text("old_hash"),
    _number("created_at", required=True),
    *(_number(name) for name in ("expires_at", "revoked_at", "old_until", "last_used_at")),
    _text("grants", required=True),  # JSON: what the key is bound to and may do
)
