"""The only join of wire and pricing: from what a reader found to the event that is kept."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

import msgspec

from taximeter.event import CallEvent, Content, Cost, Outcome, Part, ProviderError, Scope, ToolResult, total_cost
from taximeter.usage import Usage
from taximeter.wire import PartReading, Reading, Route

_HTTP_ERROR = 400


class Prices(Protocol):
    """What a usage costs: a :class:`taximeter.pricing.PriceBook`, or what takes its place."""

    def price(
        self, usage: Usage, *, provider: str, model: str, at: datetime, context: Mapping[str, str] | None = None
    ) -> Cost:
        """As :meth:`taximeter.pricing.PriceBook.price`."""
        ...


class NoPrices:
    """Takes the place of a price book that cannot be read: calls are counted, and what they cost is not known.

    Pricing them without the user's own cards would look right and be wrong.
    """

    def __init__(self, reason: str) -> None:
        self._cost = Cost(total=None, reason=reason)

    def price(
        self, usage: Usage, *, provider: str, model: str, at: datetime, context: Mapping[str, str] | None = None
    ) -> Cost:
        """A cost that is not known, and why."""
        del usage, provider, model, at, context
        return self._cost


class CallFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a call besides its answer.

    Attributes:
        id: the event's id.
        started_at: when the request left; the rates in force then apply.
        route: how it is read, and who was called.
        request_model: the model asked for.
        status: the HTTP status; ``None`` when no response came.
        scope: who it is attributed to.
        first_token_ms, duration_ms: measured from ``started_at``.
        attempt: 1 for the first try.
        stream: whether a stream was asked for, which counts where no answer came; ``None`` when that is not known.
        tool_results: the results of earlier answers' tool calls that the request carried.
        error: what the caller was shown instead of an answer, or of the rest of one.
        content: what was said, as far as it is kept.
    """

    id: str
    started_at: datetime
    route: Route
    request_model: str | None = None
    status: int | None = None
    scope: Scope = Scope()
    first_token_ms: int | None = None
    duration_ms: int | None = None
    attempt: int = 1
    stream: bool | None = None
    tool_results: tuple[ToolResult, ...] = ()
    error: ProviderError | None = None
    content: Content | None = None


def make_event(facts: CallFacts, reading: Reading, book: Prices, outcome: Outcome | None = None) -> CallEvent:
    """The event of a call.

    Args:
        facts: what is known besides the answer.
        reading: what the answer said.
        book: prices it.
        outcome: how it ended, where the caller knows better than the answer (a cancellation).
    """
    parts = tuple([_part(facts, reading, part, book, first=index == 0) for index, part in enumerate(reading.parts)])
    return CallEvent(
        id=facts.id,
        started_at=facts.started_at,
        provider=facts.route.provider,
        api=facts.route.api,
        outcome=outcome or outcome_of(facts.status, reading),
        scope=facts.scope,
        request_model=facts.request_model,
        response_model=reading.response_model,
        response_id=reading.response_id,
        service_tier=reading.service_tier,
        stream=facts.stream if facts.status is None else reading.stream,
        status=facts.status,
        error=reading.error or facts.error,
        finish_reason=reading.finish_reason,
        usage=reading.usage,
        usage_source=reading.usage_source,
        raw_usage=reading.raw_usage,
        contradictions=reading.contradictions,
        cost=total_cost(parts),
        provider_cost=reading.provider_cost,
        parts=parts,
        tool_calls=reading.tool_calls,
        tool_results=facts.tool_results,
        first_token_ms=facts.first_token_ms,
        duration_ms=facts.duration_ms,
        attempt=facts.attempt,
        content=facts.content,
    )


def outcome_of(status: int | None, reading: Reading) -> Outcome:
    """How a call ended, by its answer alone."""
    if status is None:
        return "interrupted"
    if status >= _HTTP_ERROR or reading.error is not None:
        return "failed"
    return "interrupted" if reading.complete is False else "completed"


def _part(facts: CallFacts, reading: Reading, part: PartReading, book: Prices, *, first: bool) -> Part:
    model = part.model or facts.request_model or facts.route.model
    if first and facts.route.api == "bedrock.invoke" and facts.route.model:
        model = facts.route.model  # the answer has the maker's bare name, and what region serves it changes the price
    cost = None
    if part.usage is not None and part.billed:
        if model is None:
            cost = Cost(total=None, reason="neither the call nor the answer names a model")
        else:
            cost = book.price(
                part.usage,
                provider=facts.route.provider,
                model=model,
                at=facts.started_at,
                context=dict(reading.price_context),
            )
            missing = _missing(reading, part) if first else None
            if missing is not None:
                cost = msgspec.structs.replace(cost, total=None, reason=f"the provider did not state {missing}")
    return Part(model=model, usage=part.usage, billed=part.billed, kind=part.kind, cost=cost)


def _missing(reading: Reading, part: PartReading) -> str | None:
    """A count that belongs to the format and was not given: what it would have cost is not known."""
    absent = (found.unit for found in reading.contradictions if found.kind == "count_absent")
    return next((unit for unit in absent if part.usage is not None and unit not in part.usage), None)
