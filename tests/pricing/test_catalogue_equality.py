"""Every price of the installed catalogue, against ``genai-prices`` itself at 80 digits, as exact rationals."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, localcontext
from fractions import Fraction
from itertools import combinations

import pytest
from genai_prices import types as genai
from genai_prices.data import providers as genai_providers

from taximeter.event import Cost
from taximeter.pricing.catalogue import Catalogue, Days, Hours, Model
from taximeter.pricing.offers import Offer, Source
from taximeter.units import PARENTS, UNITS, join
from taximeter.usage import Usage

PICO = 10**12
PRICEABLE = [unit for unit in UNITS if unit != "requests"]
# 80 digits of at most some thousand dollars: what a rate that does not terminate can be off by.
TINY = Fraction(1, 10**70)
PAIRS = [pytest.param(index, id=provider.id) for index, provider in enumerate(genai_providers)]


def contexts(model: Model) -> list[dict[str, str]]:
    """No context, one that no price knows, each that a variant names, and each two of them together."""
    named = list(dict.fromkeys(variant.when for variant in model.variants))
    both = [dict(first) | dict(second) for first, second in combinations(named, 2)]
    return [{}, {"service_tier": "nobody has this"}, *(dict(when) for when in named), *both] if named else [{}]


def instants(model: Model) -> list[datetime]:
    """For each day and hour at which a price may change: the last microsecond before, and the instant itself."""
    terms = [entry.term for entry in (*model.prices, *model.variants)]
    days = {day for term in terms if isinstance(term, Days) for day in (term.since, term.until) if day}
    clocks = {clock for term in terms if isinstance(term, Hours) for clock in (term.start, term.end)}
    midnights = [datetime.combine(day, time(), UTC) for day in sorted(days)] or [datetime(2026, 11, 20, tzinfo=UTC)]
    sampled = [midnight + step for midnight in midnights for step in (timedelta(microseconds=-1), timedelta(0))]
    for clock in clocks:
        for midnight in midnights:
            change = datetime.combine(midnight.date(), clock, UTC)
            sampled += [change - timedelta(microseconds=1), change]
    return sampled


def usage(priced: list[str], rng: random.Random) -> Usage:
    """A usage whose every leaf has a priced unit above it, and whose counts are those of disjoint leaves."""
    reachable = [unit for unit in PRICEABLE if any(parent in priced for parent in (unit, *PARENTS[unit]))]
    units = set(rng.sample(reachable, min(len(reachable), rng.randint(1, 5))))
    # The units that include a chosen one, and those that count what two of them both count, are reported too.
    while (
        missing := (
            {parent for unit in units for parent in PARENTS[unit]}
            | {both for one, other in combinations(units, 2) if (both := join(UNITS[one], UNITS[other]))}
        )
        - units
    ):
        units |= missing
    leaves = {unit: rng.choice([0, 1, 7, 1_000, 123_457, 600_000]) * rng.randint(1, 3) for unit in sorted(units)}
    return Usage(**{whole: sum(n for unit, n in leaves.items() if whole in (unit, *PARENTS[unit])) for whole in units})


def exact(cost: Cost) -> Fraction:
    """The cost in 1e-12 USD before any rounding."""
    return sum((Fraction(item.count) * item.rate.pico_per_unit for item in cost.items), Fraction(0))


def cases(model: Model) -> Iterator[tuple[dict[str, str], datetime]]:
    """Each price context at each instant."""
    return ((context, at) for context in contexts(model) for at in instants(model))


@pytest.mark.parametrize("index", PAIRS)
def test_every_price_equals_that_of_genai_prices(catalogue: Catalogue, index: int) -> None:
    """For each model, context and interval: the same exact cost, of which each line is off by half a pico at most."""
    theirs, ours = genai_providers[index], catalogue.providers[index]
    rng = random.Random(theirs.id)
    compared = 0
    with localcontext(Context(prec=80)):
        for their_model, model in zip(theirs.models, ours.models, strict=True):
            offer = Offer((Source("genai-prices", "test", ours.id, model),))
            for context, at in cases(model):
                card = offer.under(context).at(at).card
                assert card is not None
                priced = [unit for unit in card.card.rates if unit != "requests"]
                if not card.card.rates:
                    continue
                counted = usage(priced, rng) if priced else Usage()
                cost = card.price(counted)
                expected = their_model.calc_price(
                    genai.Usage(**counted), theirs, genai_request_timestamp=at, price_context=context or None
                )
                difference = exact(cost) - Fraction(expected.total_price) * PICO
                terminates = all(item.rate.per % 3 for item in cost.items)
                assert difference == 0 if terminates else abs(difference) < TINY * PICO, (
                    model.id,
                    context,
                    at,
                    counted,
                )
                assert cost.total is not None
                assert cost.total.pico == sum(item.amount.pico for item in cost.items)
                for item in cost.items:
                    assert abs(item.amount.pico - Fraction(item.count) * item.rate.pico_per_unit) <= Fraction(1, 2)
                assert {item.unit: item.count for item in cost.items if item.unit != "requests"} == {
                    unit: count for unit, count in counted.leaves().items() if count
                } or model.least_seconds
                compared += 1
    assert compared or not any(entry.prices for model in ours.models for entry in model.prices)


def test_another_providers_entry_ignores_the_context(catalogue: Catalogue) -> None:
    """A model that is reached through a fallback has its standard price, whatever the context: as in genai-prices."""
    ours = {provider.id: provider for provider in catalogue.providers}
    azure = next(provider for provider in genai_providers if provider.id == "azure")
    own = {id(model) for model in azure.models}
    at = datetime(2026, 11, 20, tzinfo=UTC)
    counts = {"input_tokens": 1_000, "output_tokens": 10}
    seen = 0
    for entry in ours["openai"].models:
        contextual = [dict(variant.when) for variant in entry.variants]
        found = azure.find_model(entry.id, all_providers=genai_providers)
        if not contextual or found is None or found.id != entry.id or id(found) in own:
            continue
        offer = Offer((Source("genai-prices", "test", "openai", entry, own=False),))
        card = offer.under(contextual[0]).at(at).card
        assert card is not None
        with localcontext(Context(prec=80)):
            theirs = found.calc_price(
                genai.Usage(**counts), azure, genai_request_timestamp=at, price_context=contextual[0]
            )
        assert exact(card.price(Usage(**counts))) == Fraction(theirs.total_price) * PICO
        assert card.card.ref.context == ()
        seen += 1
    assert seen > 0


def test_the_data_is_whole(catalogue: Catalogue) -> None:
    """No provider, model, date or price was left behind when the data was turned into our records."""
    ours = [
        (provider.id, model.id, len(entry.prices), entry.term.since if isinstance(entry.term, Days) else None)
        for provider in catalogue.providers
        for model in provider.models
        for entry in model.prices
    ]
    assert ours == [
        (provider.id, model.id, _priced(entry.prices), _since(entry.constraint))
        for provider in genai_providers
        for model in provider.models
        for entry in (model.prices if isinstance(model.prices, list) else [genai.ConditionalPrice(prices=model.prices)])
    ]


def _priced(prices: genai.ModelPrice) -> int:
    return sum(price is not None for price in vars(prices).values())


def _since(constraint: object) -> date | None:
    return constraint.start_date if isinstance(constraint, genai.StartDateConstraint) else None
