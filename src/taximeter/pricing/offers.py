"""All that is known about the price of one model: the sources in the order in which they are asked, over time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from taximeter.event import Cost, RateCardRef
from taximeter.pricing.card import CompiledCard, RateCard, card_rates
from taximeter.pricing.catalogue import Model
from taximeter.pricing.schedule import Cell, Schedule, in_utc

PriceContext = tuple[tuple[str, str], ...]
"""The part of a call's price context on which prices of the model depend, sorted."""

_FIRST = datetime.min.replace(tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)


class Source(NamedTuple):
    """Where a price may come from.

    Attributes:
        name: whose data it is.
        version: of the data.
        provider: whose entry it is.
        model: the entry.
        own: whether it is the called provider's own. The variants of another provider's entry are not offered by it.
    """

    name: Literal["genai-prices", "user"]
    version: str
    provider: str
    model: Model
    own: bool = True


class Offer:
    """One model as one provider sells it.

    Attributes:
        sources: where its price may come from, the first that has one winning.
        plain: its cards for calls without a price context.
        unknown: the cost of a call that no source has a price for, once somebody has worked out what to say of it.
    """

    __slots__ = ("_by_context", "_pairs", "plain", "sources", "unknown")

    def __init__(self, sources: tuple[Source, ...]) -> None:
        """An offer of ``sources``."""
        self.sources = sources
        self.plain = Timeline(sources, ())
        self.unknown: Cost | None = None
        variants = (variant for source in sources if source.own for variant in source.model.variants)
        self._pairs = frozenset(pair for variant in variants for pair in variant.when)
        self._by_context: dict[PriceContext, Timeline] = {(): self.plain}

    def under(self, context: Mapping[str, str]) -> Timeline:
        """Its cards for calls of a price context."""
        pairs = self._pairs
        relevant = tuple([pair for pair in context.items() if pair in pairs])
        if len(relevant) > 1:
            relevant = tuple(sorted(relevant))
        return self._by_context.get(relevant) or self._add(relevant)

    def _add(self, context: PriceContext) -> Timeline:
        timeline = self._by_context[context] = Timeline(self.sources, context)
        return timeline


class InForce(NamedTuple):
    """The card that applies from an instant until before another, without a break; ``None`` where none does."""

    start: datetime
    end: datetime
    card: CompiledCard | None


class Timeline:
    """The rate cards of an offer for one price context."""

    __slots__ = ("_cards", "_schedules", "_sources")

    def __init__(self, sources: tuple[Source, ...], context: PriceContext) -> None:
        """The cards of ``sources``."""
        self._sources = sources
        self._schedules = tuple(Schedule(source.model, context if source.own else ()) for source in sources)
        self._cards: dict[tuple[int, Cell], CompiledCard | None] = {}

    def at(self, at: datetime) -> InForce:
        """What is in force at an instant.

        Raises:
            PricingError: when ``at`` has no time zone.
        """
        at = in_utc(at)
        start, end, card = _FIRST, _LAST, None
        for number, schedule in enumerate(self._schedules):
            cell = schedule.cell(at)
            first, last = schedule.span(at, cell)
            start, end = max(start, first), min(end, last)
            if (number, cell) not in self._cards:
                self._cards[number, cell] = _compiled(self._sources[number], schedule, cell)
            card = self._cards[number, cell]
            if card is not None:
                break
        return InForce(start, end, card)


def _compiled(source: Source, schedule: Schedule, cell: Cell) -> CompiledCard | None:
    prices = schedule.prices(cell)
    if prices is None:
        return None
    model = source.model
    ref = RateCardRef(source.name, source.version, source.provider, model.id, prices.since, prices.context)
    return CompiledCard(RateCard(ref, card_rates(prices.prices), model.free, model.least_seconds))
