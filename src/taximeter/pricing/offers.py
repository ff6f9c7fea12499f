"""All that is known about the price of one model: the sources in the order in which they are asked, over time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal, NamedTuple

from taximeter.event import Cost, RateCardRef
from taximeter.pricing.card import CompiledCard, RateCard, card_rates
from taximeter.pricing.catalogue import Model
from taximeter.pricing.schedule import Schedule

PriceContext = tuple[tuple[str, str], ...]
"""The part of a call's price context on which prices of the model depend, sorted."""


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
        only: the card for calls without a price context, where it is the same at every instant.
        unknown: the cost of a call that no source has a price for, once somebody has worked out what to say of it.
    """

    __slots__ = ("_pairs", "_timelines", "only", "sources", "unknown")

    def __init__(self, sources: tuple[Source, ...]) -> None:
        """An offer of ``sources``."""
        self.sources = sources
        variants = (variant for source in sources if source.own for variant in source.model.variants)
        self._pairs = frozenset(pair for variant in variants for pair in variant.when)
        self._timelines: dict[PriceContext, tuple[_Timeline, ...]] = {}
        self.only: CompiledCard | None = self._of(())[0].only if sources else None
        self.unknown: Cost | None = None

    def card(self, at: datetime, context: Mapping[str, str] | None) -> CompiledCard | None:
        """The card in force at ``at`` (UTC); ``None`` when no source has one."""
        relevant = ()
        if context and (pairs := self._pairs):
            relevant = tuple([pair for pair in context.items() if pair in pairs])
            if len(relevant) > 1:
                relevant = tuple(sorted(relevant))
        for timeline in self._timelines.get(relevant) or self._of(relevant):
            card = timeline.card(at)
            if card is not None:
                return card
        return None

    def _of(self, context: PriceContext) -> tuple[_Timeline, ...]:
        timelines = tuple(_Timeline(source, context if source.own else ()) for source in self.sources)
        self._timelines[context] = timelines
        return timelines


class _Timeline:
    """The cards of one source for one price context."""

    __slots__ = ("_cards", "_schedule", "_source", "only")

    def __init__(self, source: Source, context: PriceContext) -> None:
        self._source = source
        self._schedule = Schedule(source.model, context)
        self._cards: dict[tuple[int, int], CompiledCard | None] = {}
        self.only: CompiledCard | None = self._compile((0, 0)) if self._schedule.constant else None

    def card(self, at: datetime) -> CompiledCard | None:
        if self.only is not None:
            return self.only
        cell = self._schedule.cell(at)
        if cell not in self._cards:
            self._cards[cell] = self._compile(cell)
        return self._cards[cell]

    def _compile(self, cell: tuple[int, int]) -> CompiledCard | None:
        prices = self._schedule.prices(cell)
        if prices is None:
            return None
        source, model = self._source, self._source.model
        ref = RateCardRef(source.name, source.version, source.provider, model.id, prices.since, prices.context)
        return CompiledCard(RateCard(ref, card_rates(prices.prices), model.free, model.least_seconds))
