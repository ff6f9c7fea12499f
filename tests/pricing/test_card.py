"""What a card makes of a usage: leaves, ancestors, tiers, rounding, and what it does not know."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, timedelta, timezone
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.errors import PricingError, UsageError
from taximeter.event import Cost
from taximeter.money import Money
from taximeter.pricing import PriceBook
from taximeter.pricing.card import CompiledCard
from taximeter.pricing.catalogue import DatedPrices, Price, Tier
from taximeter.units import PARENTS, UNITS
from taximeter.usage import Usage, consistent
from tests.pricing.helpers import NOW, book_of, model, mtok, price, usd


def cost(prices: Mapping[str, Price], usage: Usage, **more: Any) -> Cost:
    """What a usage costs by one made-up entry."""
    book = book_of(model("m", DatedPrices(dict(prices)), **more))
    return book.price(usage, provider="acme", model="m", at=NOW)


IN_OUT = {"input_tokens": price("3"), "output_tokens": price("15")}


def test_every_leaf_at_its_own_rate() -> None:
    """Cached tokens are taken out of the input, and each class is priced by its own rate."""
    rates = {**IN_OUT, "cache_read_tokens": price("0.30")}
    got = cost(rates, Usage(input_tokens=100, cache_read_tokens=60, output_tokens=7))
    assert [(item.unit, item.count, item.amount) for item in got.items] == [
        ("input_tokens", 40, mtok("3", 40)),
        ("output_tokens", 7, mtok("15", 7)),
        ("cache_read_tokens", 60, mtok("0.30", 60)),
    ]
    assert got.total == mtok("3", 40) + mtok("15", 7) + mtok("0.30", 60)
    assert (got.unpriced, got.reason) == ((), None)


def test_a_leaf_without_a_rate_takes_its_nearest_ancestors() -> None:
    """Writes for an hour are priced as writes where only those have a rate, and the item says so."""
    rates = {**IN_OUT, "cache_write_tokens": price("3.75")}
    got = cost(rates, Usage(input_tokens=50, cache_write_tokens=30, cache_write_1h_tokens=20))
    assert [(item.unit, item.count, item.rate_unit) for item in got.items] == [
        ("input_tokens", 20, "input_tokens"),
        ("cache_write_tokens", 10, "cache_write_tokens"),
        ("cache_write_1h_tokens", 20, "cache_write_tokens"),
    ]
    assert got.total == mtok("3", 20) + mtok("3.75", 10) + mtok("3.75", 20)


def test_a_token_in_two_parts_is_billed_once() -> None:
    """Audio that was read from the cache is neither billed as audio nor as a cache read, but as both at once."""
    rates = {
        **IN_OUT,
        "cache_read_tokens": price("1"),
        "input_audio_tokens": price("40"),
        "cache_audio_read_tokens": price("4"),
    }
    counts = Usage(input_tokens=100, cache_read_tokens=30, input_audio_tokens=50, cache_audio_read_tokens=20)
    assert cost(rates, counts).total == mtok("3", 40) + mtok("1", 10) + mtok("40", 30) + mtok("4", 20)


def test_a_leaf_of_zero_gives_no_line() -> None:
    """An explicit 0, and a whole that its parts use up, cost nothing and are not listed."""
    got = cost(IN_OUT, Usage(input_tokens=60, cache_read_tokens=60, output_tokens=0))
    assert [(item.unit, item.count) for item in got.items] == [("cache_read_tokens", 60)]


@pytest.mark.parametrize("usage", [Usage(), Usage(input_tokens=0, output_tokens=0)])
def test_nothing_used_costs_nothing(usage: Usage) -> None:
    """A usage of nothing on a card with rates is an exact 0 without lines."""
    assert cost(IN_OUT, usage) == Cost(Money(0), (), (), cost(IN_OUT, usage).card)


def test_something_without_a_price_makes_the_total_unknown() -> None:
    """A search that the card does not know leaves the known lines, no total, and a sentence that names it."""
    got = cost(IN_OUT, Usage(input_tokens=10, web_searches=2))
    assert got.total is None
    assert got.unpriced == ("web_searches",)
    assert [(item.unit, item.amount) for item in got.items] == [("input_tokens", mtok("3", 10))]
    assert got.reason == "the rate card of acme/m has no rate for web_searches, nor for a unit that includes it"


def test_no_search_needs_no_price() -> None:
    """A unit that the card does not know does no harm while it counts 0."""
    assert usd(cost(IN_OUT, Usage(input_tokens=10, web_searches=0))) == "0.00003"


def test_an_entry_without_prices_is_unknown() -> None:
    """No price stated means that none is known, even for a usage of nothing; it does not mean that it is free."""
    for usage in (Usage(input_tokens=1), Usage()):
        got = cost({}, usage)
        assert got.total is None
        assert got.reason is not None
        assert got.card is not None
    assert cost({}, Usage(input_tokens=1)).unpriced == ("input_tokens",)


def test_an_entry_that_says_free_is_free() -> None:
    """An entry without prices that says that the model is free costs exactly 0, without lines."""
    got = cost({}, Usage(input_tokens=1_000_000, web_searches=3), free=True)
    assert (got.total, got.items, got.unpriced, got.reason) == (Money(0), (), (), None)


def test_a_rate_of_zero_is_a_price() -> None:
    """An explicit rate of 0 prices its tokens at 0, on a line of its own."""
    got = cost({"input_tokens": price("0")}, Usage(input_tokens=5))
    assert (got.total, len(got.items)) == (Money(0), 1)


@pytest.mark.parametrize(
    ("tokens", "rate"), [(199_999, "3"), (200_000, "3"), (200_001, "6"), (500_000, "6"), (500_001, "9")]
)
def test_tiers(tokens: int, rate: str) -> None:
    """Above its threshold, and not at it, a tier's rate applies to all tokens of the call."""
    rates = {
        "input_tokens": price("3", (200_000, "6"), (500_000, "9")),
        "output_tokens": price("15", (200_000, "22.5")),
    }
    got = cost(rates, Usage(input_tokens=tokens, output_tokens=10))
    assert got.total == mtok(rate, tokens) + mtok("15" if tokens <= 200_000 else "22.5", 10)


def test_tiers_go_by_all_input_tokens() -> None:
    """Cached tokens count towards the threshold; an absent total is summed; output does not count."""
    rates = {"input_tokens": price("3", (100, "6")), "output_tokens": price("15", (100, "30"))}
    assert cost(rates, Usage(input_tokens=101, cache_read_tokens=100)).total == mtok("6", 101)
    assert cost(rates, Usage(cache_read_tokens=80, cache_write_tokens=21)).total == mtok("6", 101)
    assert cost(rates, Usage(input_tokens=100, output_tokens=500)).total == mtok("3", 100) + mtok("15", 500)


def test_a_fee_per_call() -> None:
    """A rate per call is charged once, also when nothing was counted, and by the count of calls when that is given."""
    rates = {**IN_OUT, "requests": price("12")}
    assert cost(rates, Usage(input_tokens=10)).total == Money.usd("0.012") + mtok("3", 10)
    assert cost(rates, Usage()).total == Money.usd("0.012")
    assert cost(rates, Usage(requests=3)).total == Money.usd("0.036")
    assert cost(IN_OUT, Usage(input_tokens=10, requests=1)).total == mtok("3", 10)


@pytest.mark.parametrize(
    ("seconds", "billed"),
    [("0", None), ("0.4", "10"), ("9.999", "10"), ("10", "10"), ("10.001", "10.001"), ("3600", "3600")],
)
def test_least_billed_seconds(book: PriceBook, seconds: str, billed: str | None) -> None:
    """Groq bills ten seconds of audio at least: 0.111 USD per hour; none for no audio."""
    usage = Usage(audio_seconds=Decimal(seconds))
    got = book.price(usage, provider="groq", model="whisper-large-v3", at=NOW)
    expected = (
        []
        if billed is None
        else [(Decimal(billed), Money.nearest(Fraction(billed) * Fraction("0.111") * 10**12 / 3600))]
    )
    assert [(item.count, item.amount) for item in got.items] == expected


def test_an_amount_is_rounded_once_and_half_to_even() -> None:
    """0.5 and 1.5 pico-dollars become 0 and 2: the rate itself is not rounded."""
    rates = {"input_tokens": price("0.0000005"), "output_tokens": price("0.0000005")}
    got = cost(rates, Usage(input_tokens=1, output_tokens=3))
    assert [item.amount.pico for item in got.items] == [0, 2]
    assert got.total == Money(2)


def test_decimal_seconds_are_exact_whatever_the_context() -> None:
    """Forty digits of seconds are subtracted and multiplied without rounding, in an ambient context of three digits."""
    part = Decimal("0.1234567890123456789012345678901234567")
    with localcontext() as ambient:
        ambient.prec = 60
        whole = 1_000 + part
        ambient.prec = 3
        got = cost({"audio_seconds": price("3600")}, Usage(audio_seconds=whole, input_audio_seconds=part))
    assert [item.count for item in got.items] == [Decimal(1000), part]
    assert got.total == Money.usd(1000) + Money(123_456_789_012)


def test_parts_above_their_whole_are_refused() -> None:
    """A usage that contradicts itself is an error, on the fast path as on the exact one."""
    broken = Usage(input_tokens=5, cache_read_tokens=6)
    for rates in (IN_OUT, {**IN_OUT, "requests": price("1")}):
        with pytest.raises(UsageError, match="cache_read_tokens"):
            cost(rates, broken)


def test_a_call_without_a_time_zone_is_refused() -> None:
    """An instant that may be any of twenty-four is not guessed at, whether or not the like was priced before."""
    book = book_of(model("m", DatedPrices(IN_OUT)))
    for at in (NOW.replace(tzinfo=None), NOW, NOW, NOW.replace(tzinfo=None)):
        if at.tzinfo is not None:
            assert book.price(Usage(input_tokens=1), provider="acme", model="m", at=at).total == mtok("3", 1)
            continue
        with pytest.raises(PricingError, match="time zone"):
            book.price(Usage(input_tokens=1), provider="acme", model="m", at=at)
        with pytest.raises(PricingError, match="time zone"):
            book.card("acme", "m", at)


def test_any_time_zone_is_the_same_instant() -> None:
    """The card is that of the instant, however it is written down."""
    book = book_of(model("m", DatedPrices(IN_OUT)))
    india = timezone(timedelta(hours=5, minutes=30))
    usage = Usage(input_tokens=1)
    costs = {book.price(usage, provider="acme", model="m", at=NOW.astimezone(zone)) for zone in (UTC, india)}
    assert len(costs) == 1


COUNTS = st.dictionaries(
    st.sampled_from([unit for unit, entry in UNITS.items() if ("family", "tokens") in entry.dimensions]),
    st.integers(0, 10**9),
    max_size=6,
)
RATES = st.dictionaries(st.sampled_from(list(UNITS)[:12]), st.decimals(0, 1000, places=9), min_size=1, max_size=5)


@given(counts=COUNTS, rates=RATES)
def test_any_usage_on_any_card(counts: dict[str, int], rates: dict[str, Decimal]) -> None:
    """Lines are the leaves that have a rate above them, each at the most specific one; the rest is named."""
    usage, _ = consistent(counts)
    got = cost({unit: Price(rate) for unit, rate in rates.items()}, usage)
    leaves = {unit: count for unit, count in usage.leaves().items() if count}
    assert {item.unit: item.count for item in got.items} | dict.fromkeys(got.unpriced, 0) == {
        unit: 0 if unit in got.unpriced else count for unit, count in leaves.items()
    }
    for item in got.items:
        above = [unit for unit in (item.unit, *PARENTS[item.unit]) if unit in rates]
        assert item.rate_unit in above
        assert len(UNITS[item.rate_unit].dimensions) == max(len(UNITS[unit].dimensions) for unit in above)
        assert item.rate.usd == rates[item.rate_unit]
        exact = Fraction(item.count) * Fraction(rates[item.rate_unit]) * 10**12 / UNITS[item.rate_unit].per
        assert abs(item.amount.pico - exact) <= Fraction(1, 2)
    for unit in got.unpriced:
        assert not any(name in rates for name in (unit, *PARENTS[unit]))
    assert got.total == (None if got.unpriced else Money(sum(item.amount.pico for item in got.items)))


@given(counts=COUNTS, rates=RATES, threshold=st.integers(0, 10**9))
def test_the_program_does_what_the_steps_say(counts: dict[str, int], rates: dict[str, Decimal], threshold: int) -> None:
    """The compiled program, where there is one, gives what walking over its steps with fractions gives."""
    usage, _ = consistent(counts)
    prices = {unit: Price(rate, (Tier(threshold, rate * 2),)) for unit, rate in rates.items()}
    card = book_of(model("m", DatedPrices(prices))).card("acme", "m", NOW)
    assert card is not None
    compiled = CompiledCard(card)
    program = compiled.program(tuple(usage))
    if program is not None:
        assert program(usage.counts.values()) == compiled._price_exactly(usage)


def test_a_typical_usage_has_a_program() -> None:
    """The fast way is taken where rates are whole, and left where a fee, a fraction or no rate is met."""
    units = ("input_tokens", "output_tokens", "cache_read_tokens", "output_reasoning_tokens")
    cards = [
        IN_OUT,
        {"input_tokens": price("3", (200_000, "6")), "output_tokens": price("15")},
        {**IN_OUT, "requests": price("1")},
        {"input_tokens": price("0.0000001"), "output_tokens": price("15")},
        {"input_tokens": price("3")},
    ]
    has: list[bool] = []
    for prices in cards:
        card = book_of(model("m", DatedPrices(prices))).card("acme", "m", NOW)
        assert card is not None
        has.append(CompiledCard(card).program(units) is not None)
    assert has == [True, True, False, False, False]


@given(counts=COUNTS)
def test_the_same_usage_again(counts: dict[str, int]) -> None:
    """A cost depends on the usage alone, and not on what was priced before it or in which order units were given."""
    usage, _ = consistent(counts)
    book = book_of(model("m", DatedPrices(IN_OUT)))
    turned = Usage(**dict(reversed(list(usage.items()))))
    first, second = (book.price(each, provider="acme", model="m", at=NOW) for each in (usage, turned))
    assert first == second == cost(IN_OUT, usage)
