"""Words in which the tests of pricing say what they expect."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from taximeter.event import Cost
from taximeter.money import Money
from taximeter.pricing import PriceBook
from taximeter.pricing.catalogue import FORMAT, Catalogue, DatedPrices, Equals, Model, Price, Provider, Tier

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def mtok(usd_per_million: str, tokens: int) -> Money:
    """What so many tokens cost at a price per million."""
    return Money.usd(Decimal(usd_per_million) * tokens / 1_000_000)


def price(usd: str, *tiers: tuple[int, str]) -> Price:
    """A price, with ``(above, usd)`` for each tier."""
    return Price(Decimal(usd), tuple(Tier(above, Decimal(dearer)) for above, dearer in tiers))


def model(name: str = "m", *prices: DatedPrices, **more: Any) -> Model:
    """A model that is called ``name``."""
    return Model(name, Equals(name), prices, **more)


def book_of(*models: Model, provider: str = "acme") -> PriceBook:
    """A book with one provider."""
    return PriceBook(Catalogue(FORMAT, "test", None, (Provider(provider, models),)))


def usd(cost: Cost) -> str | None:
    """The total in plain digits."""
    return None if cost.total is None else str(cost.total)
