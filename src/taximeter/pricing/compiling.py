"""Turns the data of ``genai-prices`` into a :class:`~taximeter.pricing.catalogue.Catalogue`.

The only module that knows that package. Importing it takes a third of a second and loads pydantic and an HTTP client,
so that happens inside the function and its result is cached (:mod:`taximeter.pricing.cache`).
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING

from taximeter.errors import PricingError
from taximeter.pricing.catalogue import (
    FORMAT,
    AllOf,
    AnyOf,
    Catalogue,
    Clause,
    Contains,
    DatedPrices,
    Days,
    EndsWith,
    Equals,
    Hours,
    Model,
    Pattern,
    Price,
    Provider,
    StartsWith,
    Term,
    Tier,
    Variant,
)
from taximeter.units import UNITS

if TYPE_CHECKING:
    from genai_prices import types as genai

_UNIT_OF_PRICE_KEY = {unit.price_key: name for name, unit in UNITS.items()}
_CHECKED = re.compile(r"checked[^.]{0,40}?(20\d\d-\d\d-\d\d)")
# Words by which entries of the data say that nothing is charged. "Included in the subscription" is not one of them:
# something is charged, only not by the call.
_FREE_ID = ":free"
_FREE_NAME = "(free)"
_FREE_WORDS = "free of charge"
# Groq bills at least ten seconds of audio per call (https://console.groq.com/docs/speech-to-text, "minimum billed
# length"; checked 2026-11-22). genai-prices has the rule in code, for the same two models.
_LEAST_SECONDS = {("groq", "whisper-large-v3"): 10, ("groq", "whisper-large-v3-turbo"): 10}


def compile_catalogue(version: str) -> Catalogue:
    """The whole catalogue, from the installed ``genai-prices``, whose version is ``version``."""
    from genai_prices.data import providers  # noqa: PLC0415 - heavy: see the module's docstring

    texts = [text for provider in providers for text in _comments(provider)]
    checked = [date.fromisoformat(day) for text in texts for day in _CHECKED.findall(text)]
    return Catalogue(FORMAT, version, max(checked, default=None), tuple(_provider(entry) for entry in providers))


def _comments(provider: genai.Provider) -> list[str]:
    texts = [provider.price_comments, *(model.price_comments for model in provider.models)]
    return [text for text in texts if text]


def _provider(entry: genai.Provider) -> Provider:
    return Provider(
        id=entry.id,
        models=tuple(_model(entry.id, model) for model in entry.models),
        own_models=_clause(entry.model_match) if entry.model_match else None,
        fallback=tuple(entry.fallback_model_providers or ()),
    )


def _model(provider: str, entry: genai.ModelInfo) -> Model:
    if isinstance(entry.prices, list):
        prices = tuple(DatedPrices(_prices(dated.prices), _term(dated.constraint)) for dated in entry.prices)
    else:
        prices = (DatedPrices(_prices(entry.prices)),)
    variants = tuple(
        Variant(tuple(variant.when.items()), _prices(variant.prices), _term(variant.constraint))
        for variant in entry.price_variants or ()
    )
    return Model(
        id=entry.id,
        names=_clause(entry.match),
        prices=prices,
        variants=variants,
        free=_says_free(entry),
        least_seconds=_LEAST_SECONDS.get((provider, entry.id)),
        context_window=entry.context_window,
        deprecated=bool(entry.deprecated),
    )


def _says_free(entry: genai.ModelInfo) -> bool:
    words = f"{entry.description or ''} {entry.price_comments or ''}".lower()
    return entry.id.endswith(_FREE_ID) or _FREE_NAME in (entry.name or "").lower() or _FREE_WORDS in words


def _prices(entry: genai.ModelPrice) -> dict[str, Price]:
    # A price for a unit that we do not count could never be applied.
    known = {_UNIT_OF_PRICE_KEY[key]: price for key, price in vars(entry).items() if key in _UNIT_OF_PRICE_KEY}
    return {unit: _price(price) for unit, price in known.items() if price is not None}


def _price(price: genai.TieredPrices | object) -> Price:
    from decimal import Decimal  # noqa: PLC0415

    from genai_prices.types import TieredPrices  # noqa: PLC0415 - heavy: see the module's docstring

    if isinstance(price, Decimal):
        return Price(price)
    if isinstance(price, TieredPrices):
        tiers = sorted(price.tiers, key=lambda tier: tier.start)
        return Price(price.base, tuple(Tier(tier.start, tier.price) for tier in tiers))
    msg = f"genai-prices has a price of a kind that is not known: {price!r}"
    raise PricingError(msg)


def _term(constraint: genai.StartDateConstraint | genai.TimeOfDateConstraint | None) -> Term | None:
    from genai_prices.types import StartDateConstraint  # noqa: PLC0415 - heavy: see the module's docstring

    if constraint is None:
        return None
    if isinstance(constraint, StartDateConstraint):
        return Days(constraint.start_date)
    return Hours(_utc(constraint.start_time), _utc(constraint.end_time))


def _utc(clock: time) -> time:
    if clock.tzinfo is None:
        return clock
    return datetime.combine(date(1970, 1, 2), clock).astimezone(UTC).time()


def _clause(logic: object) -> Clause:  # noqa: PLR0911 - one per kind of clause
    from genai_prices import types  # noqa: PLC0415 - heavy: see the module's docstring

    match logic:
        case types.ClauseStartsWith():
            return StartsWith(logic.starts_with.lower())
        case types.ClauseEndsWith():
            return EndsWith(logic.ends_with.lower())
        case types.ClauseContains():
            return Contains(logic.contains.lower())
        case types.ClauseEquals():
            return Equals(logic.equals.lower())
        case types.ClauseRegex():
            return Pattern(logic.regex)
        case types.ClauseOr():
            return AnyOf(tuple(_clause(clause) for clause in logic.or_))
        case types.ClauseAnd():
            return AllOf(tuple(_clause(clause) for clause in logic.and_))
        case _:
            msg = f"genai-prices matches names in a way that is not known: {logic!r}"
            raise PricingError(msg)
