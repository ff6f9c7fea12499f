"""The price book: what a usage costs at a provider, for a model, at an instant."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import TYPE_CHECKING

from taximeter.event import Cost
from taximeter.pricing import providers
from taximeter.pricing.card import RateCard
from taximeter.pricing.catalogue import Catalogue
from taximeter.pricing.files import load_catalogue, read_rate_cards
from taximeter.pricing.matching import Finder
from taximeter.pricing.offers import Offer, Source
from taximeter.pricing.program import Program
from taximeter.pricing.usercards import UserCards
from taximeter.usage import Usage

if TYPE_CHECKING:
    from pathlib import Path

# Names, units and contexts come from the network, and there may be any number of them: above these, all are forgotten.
_MOST_OFFERS = 4096
_MOST_KNOWN = 4096

_Key = tuple[str, str, tuple[str, ...], tuple[tuple[str, str], ...] | None]
"""Provider, model, the units that were counted, and the price context: what a program is chosen by."""


class PriceBook:
    """Every known price: the user's own rate cards, which win, and the catalogue of ``genai-prices``.

    A book is read once and does not change. It may be shared between threads.

    >>> from datetime import UTC
    >>> book = PriceBook.load()
    >>> usage = Usage(input_tokens=1000, output_tokens=10)
    >>> book.price(usage, provider="openai", model="gpt-4o", at=datetime(2026, 11, 1, tzinfo=UTC)).total
    Money('0.0026')
    """

    def __init__(self, catalogue: Catalogue, cards: UserCards | None = None) -> None:
        """A book of a catalogue and, over it, the user's own cards."""
        self.version: str = f"genai-prices {catalogue.version}"
        """The data's name and version."""
        self.data_date: date | None = catalogue.checked
        """The latest day on which the data says that one of its prices was checked: it is not older than that."""
        self._catalogue = catalogue
        self._cards = cards or UserCards((), "")
        self._finder = Finder(catalogue)
        self._offers: dict[tuple[str, str], Offer] = {}
        self._programs: dict[_Key, tuple[datetime, datetime, Program]] = {}

    @classmethod
    def load(cls, rate_cards: Path | None = None) -> PriceBook:
        """The installed catalogue and the user's own rate cards.

        Args:
            rate_cards: a TOML file of rate cards. When not given: ``TAXIMETER_RATE_CARDS``, or else
                ``taximeter/rate-cards.toml`` in the user's folder of settings, if there is one.

        Raises:
            ConfigError: when the file cannot be read or says something that no rate card can say.
        """
        return cls(load_catalogue(), read_rate_cards(rate_cards))

    def price(
        self, usage: Usage, *, provider: str, model: str, at: datetime, context: Mapping[str, str] | None = None
    ) -> Cost:
        """What a usage costs.

        Each leaf of the usage that is not 0 is priced at its own rate, or at that of the most specific unit that
        includes it and has one; every line is rounded once to 1e-12 USD, and the total is the sum of the lines.

        Args:
            usage: the counts.
            provider: who was called, as the wire names it (``openai``, ``bedrock``) or the catalogue does.
            model: the model that served the call.
            at: when the call started; timezone-aware.
            context: what a price may depend on beside the model: ``service_tier``, ``processing``, ``speed`` …

        Returns:
            The cost. Where the model, or a price for something counted, is not known, the total is ``None``, and it
            says why.

        Raises:
            UsageError: when parts of the usage exceed their whole; :func:`taximeter.usage.consistent` prevents it.
            PricingError: when ``at`` has no time zone.
        """
        key = (provider, model, usage.units, tuple(context.items()) if context else None)
        try:
            start, end, program = self._programs[key]
            cost = program(usage.counts.values()) if start <= at < end else None
        except (KeyError, TypeError):  # not met yet; an instant without a time zone, which is refused below
            cost = None
        if cost is not None:
            return cost
        return self._price(usage, key, at, context)

    def card(
        self, provider: str, model: str, at: datetime, context: Mapping[str, str] | None = None
    ) -> RateCard | None:
        """The rate card that :meth:`price` applies; ``None`` when the model is in no price book.

        Raises:
            PricingError: when ``at`` has no time zone.
        """
        compiled = self._offer(provider, model).under(context or {}).at(at).card
        return compiled.card if compiled else None

    def suggest(self, provider: str, model: str, limit: int = 3) -> tuple[str, ...]:
        """The known models with the nearest names: this provider's, or of all when it has none like it."""
        import difflib  # noqa: PLC0415 - takes 5 ms, and most never ask

        listings = list(providers.listings(self._finder, provider, model))
        entries = [entry for listing in listings[:1] if (entry := self._finder.provider(listing.provider))]
        own = [known.id for entry in entries for known in entry.models] + self._cards.names(self._names(provider))
        name = (listings[0].name if listings else model).lower()
        near = difflib.get_close_matches(name, dict.fromkeys(own), limit)
        if not near:
            every = [known.id for entry in self._catalogue.providers for known in entry.models]
            near = difflib.get_close_matches(name, dict.fromkeys(every), limit)
        return tuple(near)

    def context_window(self, provider: str, model: str) -> int | None:
        """How many input tokens a model takes; ``None`` when that is not known."""
        windows = (source.model.context_window for source in self._offer(provider, model).sources)
        return next((window for window in windows if window is not None), None)

    def _price(self, usage: Usage, key: _Key, at: datetime, context: Mapping[str, str] | None) -> Cost:
        provider, model, units, _ = key
        offer = self._offer(provider, model)
        start, end, card = offer.under(context or {}).at(at)
        if card is None:
            return self._unknown(offer, provider, model)
        if program := card.program(units):
            if len(self._programs) >= _MOST_KNOWN:
                self._programs.clear()
            self._programs[key] = start, end, program
        return card.price(usage)

    def _offer(self, provider: str, model: str) -> Offer:
        return self._offers.get((provider, model)) or self._find(provider, model)

    def _find(self, provider: str, model: str) -> Offer:
        entries = self._cards.find(self._names(provider), model)
        sources = [Source("user", self._cards.version, entry.provider, entry.model) for entry in entries]
        if match := providers.find(self._finder, provider, model):
            version = self._catalogue.version
            sources.append(Source("genai-prices", version, match.provider.id, match.model, own=match.own))
        if len(self._offers) >= _MOST_OFFERS:
            self._offers.clear()
        offer = self._offers[provider, model] = Offer(tuple(sources))
        return offer

    def _names(self, provider: str) -> tuple[str | None, ...]:
        return provider, providers.catalogue_id(self._finder, provider)

    def _unknown(self, offer: Offer, provider: str, model: str) -> Cost:
        if offer.unknown is None:
            near = ", ".join(self.suggest(provider, model))
            reason = f"{model} of {provider} is in no price book" + (f"; near names: {near}" if near else "")
            offer.unknown = Cost(None, reason=reason)
        return offer.unknown
