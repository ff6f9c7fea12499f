"""What programs read: the JSON of captures, events, quotes and reports. Money is text, counts are numbers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec

from taximeter.event import CallEvent, Content, Cost, LineItem, Part, ProviderError, RateCardRef, Scope, ToolResult
from taximeter.money import Money
from taximeter.usage import Contradiction, Count, Usage

_encoder: Final = msgspec.json.Encoder(decimal_format="number")


def dump(line: object) -> str:
    """One line of JSON."""
    return _encoder.encode(line).decode()


class ItemLine(msgspec.Struct, frozen=True):
    """A line item: ``count × rate_usd ÷ per = amount_usd``, rounded once, half-even, to 1e-12 USD."""

    unit: str
    count: Count
    rate_usd: str
    per: int
    rate_unit: str
    amount_usd: str

    @classmethod
    def of(cls, item: LineItem) -> ItemLine:
        """The JSON of a line item."""
        rate = f"{item.rate.usd:f}"
        return cls(item.unit, item.count, rate, item.rate.per, item.rate_unit, str(item.amount))


class CardLine(msgspec.Struct, frozen=True):
    """Which rate card priced something."""

    source: str
    version: str
    provider: str
    model: str
    since: str | None
    context: dict[str, str]

    @classmethod
    def of(cls, card: RateCardRef | None) -> CardLine | None:
        """The JSON of a reference to a rate card."""
        if card is None:
            return None
        since = None if card.since is None else card.since.isoformat()
        return cls(card.source, card.version, card.provider, card.model, since, dict(card.context))


class PartLine(msgspec.Struct, frozen=True):
    """The share of a call that is billed at one model."""

    model: str | None
    usage: Mapping[str, Count]
    billed: bool
    cost_usd: str | None
    line_items: list[ItemLine]
    rate_card: CardLine | None

    @classmethod
    def of(cls, part: Part) -> PartLine:
        """The JSON of a part."""
        cost = part.cost or Cost(None)
        items = [ItemLine.of(item) for item in cost.items]
        return cls(part.model, units(part.usage), part.billed, amount(cost.total), items, CardLine.of(cost.card))


class ToolLine(msgspec.Struct, frozen=True):
    """A tool call that the model asked for."""

    id: str | None
    name: str


class CaptureLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of ``taximeter read --json``."""

    capture: str
    api: str
    provider: str
    request_model: str | None
    response_model: str | None
    service_tier: str | None
    stream: bool | None
    status: int | None
    usage_source: str
    usage: Mapping[str, Count]
    tool_calls: list[ToolLine]
    finish_reason: str | None
    complete: bool | None
    error: ProviderError | None
    contradictions: tuple[Contradiction, ...]
    cost_usd: str | None
    provider_cost_usd: str | None
    parts: list[PartLine]
    price_date: str
    price_date_source: str

    @classmethod
    def of(
        cls, event: CallEvent, *, capture: str, complete: bool | None, price_date: datetime, price_date_source: str
    ) -> CaptureLine:
        """The JSON of a capture that was read."""
        return cls(
            capture=capture,
            api=event.api,
            provider=event.provider,
            request_model=event.request_model,
            response_model=event.response_model,
            service_tier=event.service_tier,
            stream=event.stream,
            status=event.status,
            usage_source=event.usage_source,
            usage=units(event.usage),
            tool_calls=[ToolLine(call.id, call.name) for call in event.tool_calls],
            finish_reason=event.finish_reason,
            complete=complete,
            error=event.error,
            contradictions=event.contradictions,
            cost_usd=amount(event.cost),
            provider_cost_usd=amount(event.provider_cost),
            parts=[PartLine.of(part) for part in event.parts],
            price_date=price_date.isoformat(),
            price_date_source=price_date_source,
        )


class ScopeLine(msgspec.Struct, frozen=True):
    """Who a call is attributed to."""

    project: str | None
    session: str | None
    turn: str | None
    user: str | None
    operation: str | None
    tags: dict[str, str]

    @classmethod
    def of(cls, scope: Scope) -> ScopeLine:
        """The JSON of a scope."""
        return cls(scope.project, scope.session, scope.turn, scope.user, scope.operation, dict(scope.tags))


class EventLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of ``taximeter export --format jsonl``: an effective event, whole."""

    id: str
    started_at: datetime
    provider: str
    api: str
    request_model: str | None
    response_model: str | None
    response_id: str | None
    service_tier: str | None
    stream: bool | None
    outcome: str
    status: int | None
    error: ProviderError | None
    finish_reason: str | None
    usage_source: str
    usage: Mapping[str, Count]
    contradictions: tuple[Contradiction, ...]
    cost_usd: str | None
    provider_cost_usd: str | None
    parts: list[PartLine]
    tool_calls: list[ToolLine]
    tool_results: tuple[ToolResult, ...]
    content: Content | None
    scope: ScopeLine
    first_token_ms: int | None
    duration_ms: int | None
    attempt: int
    raw_usage: str | None

    @classmethod
    def of(cls, event: CallEvent) -> EventLine:
        """The JSON of an event."""
        return cls(
            id=event.id,
            started_at=event.started_at,
            provider=event.provider,
            api=event.api,
            request_model=event.request_model,
            response_model=event.response_model,
            response_id=event.response_id,
            service_tier=event.service_tier,
            stream=event.stream,
            outcome=event.outcome,
            status=event.status,
            error=event.error,
            finish_reason=event.finish_reason,
            usage_source=event.usage_source,
            usage=units(event.usage),
            contradictions=event.contradictions,
            cost_usd=amount(event.cost),
            provider_cost_usd=amount(event.provider_cost),
            parts=[PartLine.of(part) for part in event.parts],
            tool_calls=[ToolLine(call.id, call.name) for call in event.tool_calls],
            tool_results=event.tool_results,
            content=event.content,
            scope=ScopeLine.of(event.scope),
            first_token_ms=event.first_token_ms,
            duration_ms=event.duration_ms,
            attempt=event.attempt,
            raw_usage=event.raw_usage,
        )


def amount(money: Money | None) -> str | None:
    """US dollars as decimal text."""
    return None if money is None else str(money)


def units(usage: Usage | None) -> Mapping[str, Count]:
    """The counts that there are: none when the usage is unknown, which ``usage_source`` says."""
    return {} if usage is None else usage.counts
