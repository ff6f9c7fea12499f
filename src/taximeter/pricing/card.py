"""Rate cards: one model's rates in one interval, and what a usage costs by them.

A card compiles, for each set of units that it meets, a short program of integer operations: which counts to subtract
from which, so that every token is in one leaf, and what one unit of that leaf costs in 1e-12 USD.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

import msgspec

from taximeter.event import Cost, LineItem, Rate, RateCardRef
from taximeter.money import ZERO, Money
from taximeter.pricing.catalogue import Price
from taximeter.pricing.program import Program, Step, compile_program
from taximeter.units import DURATION_UNITS, PARENTS, UNITS
from taximeter.usage import Count, Usage, minus, plus

_MOST_PLANS = 1024


class CardRate(msgspec.Struct, frozen=True):
    """What a unit costs.

    Attributes:
        base: the rate.
        tiers: ``(threshold, rate)`` by rising threshold: the rate of the last threshold that the call's input tokens
            exceed applies to all of its units.
    """

    base: Rate
    tiers: tuple[tuple[int, Rate], ...] = ()

    def at(self, input_tokens: int) -> Rate:
        """The rate for a call with so many input tokens."""
        rate = self.base
        for threshold, dearer in self.tiers:
            if input_tokens > threshold:
                rate = dearer
        return rate


class RateCard(msgspec.Struct, frozen=True):
    """One model's rates in one effective interval and price context.

    Attributes:
        ref: which card it is: source, version, provider, model, since when, for what context.
        rates: by unit name, in the registry's order.
        free: the source says in words that the model costs nothing.
        least_seconds: audio shorter than this is billed as this long.
    """

    ref: RateCardRef
    rates: dict[str, CardRate]
    free: bool = False
    least_seconds: int | None = None

    def price(self, usage: Usage) -> Cost:
        """What ``usage`` costs by this card; see :meth:`taximeter.pricing.PriceBook.price`."""
        return CompiledCard(self).price(usage)


def card_rates(prices: Mapping[str, Price]) -> dict[str, CardRate]:
    """The rates that prices by unit name stand for, in the registry's order."""
    return {unit: _card_rate(prices[unit], UNITS[unit].per) for unit in UNITS if unit in prices}


def _card_rate(price: Price, per: int) -> CardRate:
    return CardRate(Rate(price.usd, per), tuple((tier.above, Rate(tier.usd, per)) for tier in price.tiers))


class _Plan(NamedTuple):
    """What to do with one set of units: the steps of each tier, and the program of them where there can be one."""

    tiers: tuple[tuple[Step, ...], ...]
    program: Program | None


class CompiledCard:
    """A rate card that prices fast."""

    __slots__ = ("_free", "_least_seconds", "_plans", "_ref", "_requests", "_thresholds", "card")

    def __init__(self, card: RateCard) -> None:
        """Compiles ``card``; what it needs for a set of units is compiled when that set is first met."""
        self.card = card
        self._ref = card.ref
        self._free = Cost(ZERO, (), (), card.ref) if card.free and not card.rates else None
        self._least_seconds = card.least_seconds
        self._requests = card.rates.get("requests")
        self._thresholds = sorted({threshold for rate in card.rates.values() for threshold, _ in rate.tiers})
        self._plans: dict[tuple[str, ...], _Plan] = {}

    def price(self, usage: Usage) -> Cost:
        """What ``usage`` costs by this card; see :meth:`taximeter.pricing.PriceBook.price`."""
        program = self.program(usage.units)
        return (program and program(usage.counts.values())) or self._price_exactly(usage)

    def program(self, units: tuple[str, ...]) -> Program | None:
        """What prices a usage of just these units, given its counts; ``None`` where that takes more than integers."""
        return self._plan(units).program

    def _price_exactly(self, usage: Usage) -> Cost:
        """The same for what is rare: fractions, counts that need not be whole, fees per call, missing rates."""
        if self._free is not None:
            return self._free
        tiers = self._plan(usage.units).tiers
        values = tuple(_lengthened(usage.counts, self._least_seconds).values())
        input_tokens = _input_tokens(values, tiers[0]) if self._thresholds else 0
        steps = tiers[bisect_left(self._thresholds, input_tokens)]
        items: list[LineItem] = []
        unpriced: list[str] = []
        for step in steps:
            count = _leaf(values, step)
            if count < 0:
                usage.leaves()  # raises, and names the parts that exceed their whole
            elif count and step.rate is None:
                unpriced.append(step.unit)
            elif count and step.rate is not None:
                items.append(LineItem(step.unit, count, step.rate, step.rate_unit, _amount(count, step.exact)))
        if self._requests is not None and (calls := usage.counts.get("requests", 1)):
            rate = self._requests.at(input_tokens)
            items.append(LineItem("requests", calls, rate, "requests", _amount(calls, rate.pico_per_unit)))
        if unpriced or not self.card.rates:
            return Cost(None, tuple(items), tuple(unpriced), self._ref, self._why(unpriced))
        return Cost(Money(sum(item.amount.pico for item in items)), tuple(items), (), self._ref)

    def _why(self, unpriced: Sequence[str]) -> str:
        name = f"{self._ref.provider}/{self._ref.model}"
        if not self.card.rates:
            return f"the entry of {name} in the price book states no price, and does not say that the model is free"
        return f"the rate card of {name} has no rate for {', '.join(unpriced)}, nor for a unit that includes it"

    def _plan(self, units: tuple[str, ...]) -> _Plan:
        plan = self._plans.get(units)
        if plan is None:
            if len(self._plans) >= _MOST_PLANS:
                self._plans.clear()
            plan = self._plans[units] = self._compile(units)
        return plan

    def _compile(self, units: tuple[str, ...]) -> _Plan:
        billed = [unit for unit in units if unit != "requests"]  # a fee per call is priced by its own rate alone
        terms = _leaf_terms(billed)
        tiers = tuple(
            tuple(self._step(unit, units, terms[unit], tokens) for unit in billed)
            for tokens in (0, *(threshold + 1 for threshold in self._thresholds))
        )
        if self._requests is not None:
            return _Plan(tiers, None)
        return _Plan(tiers, compile_program(units, tiers, self._thresholds, self._ref))

    def _step(self, unit: str, units: tuple[str, ...], terms: Mapping[str, int], input_tokens: int) -> Step:
        minus = tuple(units.index(part) for part, times in terms.items() for _ in range(-times))
        plus = tuple(units.index(part) for part, times in terms.items() if part != unit for _ in range(times))
        rate_unit = next((name for name in (unit, *PARENTS[unit]) if name in self.card.rates), None)
        if rate_unit is None:
            return Step(unit, units.index(unit), minus, plus, None, unit, None, Fraction(0))
        rate = self.card.rates[rate_unit].at(input_tokens)
        exact = rate.pico_per_unit
        whole = exact.denominator == 1 and unit not in DURATION_UNITS
        return Step(unit, units.index(unit), minus, plus, rate, rate_unit, exact.numerator if whole else None, exact)


def _leaf_terms(units: Sequence[str]) -> dict[str, dict[str, int]]:
    """For each unit, how often each count goes into its leaf: ``{"input_tokens": 1, "cache_read_tokens": -1}``."""
    terms: dict[str, dict[str, int]] = {}
    for unit in sorted(units, key=lambda name: -len(UNITS[name].dimensions)):
        own = {unit: 1}
        for part in (part for part in terms if unit in PARENTS[part]):
            for name, times in terms[part].items():
                own[name] = own.get(name, 0) - times
        terms[unit] = own
    return terms


def _leaf(values: Sequence[Count], step: Step) -> Count:
    count = values[step.place]
    for part in step.plus:
        count = plus(count, values[part])
    for part in step.minus:
        count = minus(count, values[part])
    return count


def _input_tokens(values: Sequence[Count], steps: Sequence[Step]) -> int:
    """The call's input tokens, by which its tier is chosen: the sum of their leaves, for the total may be absent."""
    return sum(int(_leaf(values, step)) for step in steps if "input_tokens" in (step.unit, *PARENTS[step.unit]))


def _lengthened(counts: Mapping[str, Count], least_seconds: int | None) -> Mapping[str, Count]:
    """The counts that are billed where audio that is shorter than ``least_seconds`` is billed as that long."""
    seconds = counts.get("audio_seconds") or counts.get("input_audio_seconds")
    if not least_seconds or not seconds or seconds >= least_seconds:
        return counts
    return {unit: least_seconds if unit in DURATION_UNITS and count else count for unit, count in counts.items()}


def _amount(count: Count, pico_per_unit: Fraction) -> Money:
    return Money.nearest(Fraction(count) * pico_per_unit)
