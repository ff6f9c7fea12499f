"""Events, costs and corrections for the tests of the store: plain ones, and all that there can be."""

from __future__ import annotations

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import msgspec
from hypothesis import Phase

from taximeter.event import (
    CallEvent,
    Content,
    Correction,
    Cost,
    LineItem,
    Part,
    ProviderError,
    Rate,
    RateCardRef,
    Scope,
    ToolCall,
    ToolResult,
)
from taximeter.money import Money
from taximeter.store import Store, open_store
from taximeter.units import DURATION_UNITS, UNITS
from taximeter.usage import Contradiction, Usage

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
"""When the tests record."""


@contextmanager
def fresh_store() -> Generator[Store]:
    """An empty store for one random case: a copy of one that was made once, since making the tables takes longest."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "store.sqlite3")
        path.write_bytes(_empty_file())
        with open_store(str(path)) as store:
            yield store


@cache
def _empty_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "store.sqlite3")
        open_store(str(path)).close()
        return path.read_bytes()


def ask(store: Store, query: str) -> list[Any]:
    """What a query of the file itself finds, past everything that the store does."""
    with store._database.plain(write=False) as connection:
        return connection.execute(query).fetchall()


def call(name: str, **fields: object) -> CallEvent:
    """A completed call with an id of its own, and whatever else is said of it."""
    plain = CallEvent(id=name, started_at=NOW, provider="openai", api="openai.chat", outcome="completed")
    return msgspec.structs.replace(plain, **fields)


def priced(name: str, model: str, usd: str, *, tokens: int = 10, **fields: object) -> CallEvent:
    """A call with one priced part."""
    part = share(model, usd, tokens=tokens)
    figures = {"usage": part.usage, "usage_source": "reported", "cost": Money.usd(usd), "parts": (part,)}
    return call(name, response_model=model, **{**figures, **fields})


def share(model: str, usd: str | None, *, tokens: int = 10, billed: bool = True) -> Part:
    """A part with some input tokens and a cost in US dollars; ``None``: it has no price."""
    cost = Cost(Money.usd(usd)) if usd is not None else Cost(None, unpriced=("input_tokens",), reason="no price")
    return Part(model, Usage(input_tokens=tokens), billed=billed, cost=cost if billed else None)


def repriced(name: str, event: CallEvent, usd: str | None, *parts: Part, tokens: int = 10) -> Correction:
    """A later word on the cost of a call."""
    return Correction(
        id=name,
        event_id=event.id,
        reason="reprice: the rate changed",
        usage=Usage(input_tokens=tokens),
        usage_source="reported",
        cost=None if usd is None else Money.usd(usd),
        parts=parts,
    )


_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_maybe_text = st.none() | _texts
_names = st.sampled_from(["a", "b", "Ωmega"])
_maybe_name = st.none() | _names
_whole = st.integers(0, 2_000) | st.integers(0, 10**25)
_seconds = st.decimals(0, 10**6, allow_nan=False, allow_infinity=False, places=15)
moneys = st.builds(Money, st.integers(-(10**24), 10**24) | st.integers(-(10**6), 10**6))
"""Amounts from 1e-12 USD to a trillion, of either sign."""

usages = st.dictionaries(st.sampled_from(sorted(UNITS)), _whole, max_size=4).map(
    lambda counts: Usage(**counts)
) | st.dictionaries(st.sampled_from(sorted(DURATION_UNITS)), _seconds | _whole, max_size=2).map(
    lambda counts: Usage(**counts)
)
"""Usages with few and with large counts, whole and of seconds."""

_counts = _whole | _seconds
_rates = st.builds(Rate, usd=st.decimals(0, 1_000, places=9), per=st.sampled_from([1, 1_000, 1_000_000]))
_items = st.builds(LineItem, unit=_names, count=_counts, rate=_rates, rate_unit=_names, amount=moneys)
_cards = st.builds(
    RateCardRef,
    source=st.sampled_from(["genai-prices", "user"]),
    version=_texts,
    provider=_texts,
    model=_texts,
    since=st.none() | st.dates(),
    context=st.lists(st.tuples(_texts, _texts), max_size=2).map(tuple),
)
_costs = st.builds(
    Cost,
    total=st.none() | moneys,
    items=st.lists(_items, max_size=3).map(tuple),
    unpriced=st.lists(_names, max_size=2).map(tuple),
    card=st.none() | _cards,
    reason=_maybe_text,
)
_parts = st.lists(
    st.builds(
        Part,
        model=_maybe_name,
        usage=st.none() | usages,
        billed=st.booleans(),
        kind=_texts,
        cost=st.none() | _costs,
    ),
    max_size=3,
).map(tuple)
_scopes = st.builds(
    Scope,
    project=_maybe_name,
    session=_maybe_text,
    turn=_maybe_text,
    user=_maybe_name,
    operation=_maybe_text,
    tags=st.lists(st.tuples(_names, _texts), max_size=3).map(tuple),
)
_errors = st.builds(ProviderError, type=_maybe_text, code=_maybe_text, message=_maybe_text)
_sources = st.sampled_from(["reported", "estimated", "unknown"])
_maybe_count = st.none() | st.integers(0, 10**9)

_any_events = st.builds(
    CallEvent,
    id=st.uuids().map(str),
    started_at=st.datetimes(datetime(1960, 1, 1), datetime(2101, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - the zone is beside it
    provider=_names,
    api=_texts,
    outcome=st.sampled_from(["completed", "cancelled", "interrupted", "failed", "refused", "unknown"]),
    scope=_scopes,
    request_model=_maybe_name,
    response_model=_maybe_name,
    response_id=_maybe_text,
    service_tier=_maybe_text,
    stream=st.none() | st.booleans(),
    status=st.none() | st.integers(100, 599),
    error=st.none() | _errors,
    finish_reason=_maybe_text,
    usage=st.none() | usages,
    usage_source=_sources,
    raw_usage=_maybe_text,
    contradictions=st.lists(
        st.builds(Contradiction, kind=st.just("total_disagrees"), unit=_texts, detail=_texts), max_size=2
    ).map(tuple),
    cost=st.none() | moneys,
    provider_cost=st.none() | moneys,
    parts=_parts,
    tool_results=st.lists(
        st.builds(
            ToolResult,
            id=_texts,
            name=_maybe_text,
            duration_ms=st.none() | st.integers(0, 10**9),
            failed=st.none() | st.booleans(),
            result_bytes=st.integers(0, 10**9),
        ),
        max_size=2,
    ).map(tuple),
    tool_calls=st.lists(
        st.builds(ToolCall, id=_maybe_text, name=_texts, argument_bytes=st.integers(0, 10**9)), max_size=2
    ).map(tuple),
    first_token_ms=_maybe_count,
    duration_ms=_maybe_count,
    attempt=st.integers(1, 9),
    content=st.none()
    | st.builds(
        Content,
        user_message=_maybe_text,
        answer=_maybe_text,
        tool_arguments=st.lists(_texts, max_size=2).map(tuple),
    ),
)


def _billed_as_one(event: CallEvent, kind: str, cost: Cost | None) -> CallEvent:
    """The event with one part, which has the event's own model and figures."""
    part = Part(event.model, event.usage, kind=kind, cost=cost)
    return msgspec.structs.replace(event, parts=(part,), cost=None if cost is None else cost.total)


events = _any_events | st.builds(_billed_as_one, _any_events, _texts, st.none() | _costs)
"""Events with anything in any field; many with one part that says what the event says."""

corrections = st.builds(
    Correction,
    id=st.uuids().map(str),
    event_id=st.just("set by the test"),
    reason=_texts,
    usage=st.none() | usages,
    usage_source=_sources,
    cost=st.none() | moneys,
    parts=_parts,
)
"""Corrections with anything in any field; the test says of which event."""

NO_EXPLAIN = [phase for phase in Phase if phase is not Phase.explain]
"""The phases of Hypothesis but the last, which traces every line of SQLAlchemy and takes minutes."""

SECONDS = Decimal("8.470000267028809")
"""A duration as a provider writes it: the shortest text of some 32-bit float."""
