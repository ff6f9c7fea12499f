"""The arithmetic of one set of units at one card, as a straight line of Python that is written and compiled once.

Walking over the leaves would cost twice as much as pricing them. The text of a program consists of words and whole
numbers that are chosen here: names, rates and whatever else came from outside are handed to it as values, and never
become code.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from fractions import Fraction
from typing import NamedTuple, cast

from taximeter.event import Cost, LineItem, Rate, RateCardRef
from taximeter.money import Money
from taximeter.units import PARENTS
from taximeter.usage import Count

Program = Callable[[Collection[Count]], Cost | None]
"""From the counts, in the order of the units, to their cost; ``None`` when parts exceed their whole."""


class Step(NamedTuple):
    """How one leaf is counted and priced: ``counts[place] - counts[minus…] + counts[plus…]``, times ``pico``.

    ``rate`` is ``None`` where the card has none for the leaf. ``pico`` is ``None`` where ``exact`` must be used: the
    rate is no whole number of 1e-12 USD, or the count need not be whole.
    """

    unit: str
    place: int
    minus: tuple[int, ...]
    plus: tuple[int, ...]
    rate: Rate | None
    rate_unit: str
    pico: int | None
    exact: Fraction


def compile_program(
    units: Sequence[str], tiers: Sequence[Sequence[Step]], thresholds: Sequence[int], card: RateCardRef
) -> Program | None:
    """The program for usages of just these units; ``None`` when it takes more than whole numbers.

    Args:
        units: in the order of their counts.
        tiers: the steps of each tier.
        thresholds: above how many input tokens each tier but the first begins.
        card: what the costs name as their rate card.
    """
    if not tiers[0] or any(step.rate is None or step.pico is None for steps in tiers for step in steps):
        return None
    dearer: list[tuple[int, int, Program]] = []
    if any("input_tokens" in (unit, *PARENTS[unit]) for unit in units) and thresholds:
        if "input_tokens" not in units:
            return None  # the total has to be summed first
        place = list(units).index("input_tokens")
        for threshold, steps in zip(thresholds, tiers[1:], strict=True):
            dearer.append((place, threshold, _compiled(len(units), steps, card, [])))
    return _compiled(len(units), tiers[0], card, dearer)


def _compiled(
    units: int, steps: Sequence[Step], card: RateCardRef, dearer: Sequence[tuple[int, int, Program]]
) -> Program:
    values: dict[str, object] = {"Cost": Cost, "LineItem": LineItem, "Money": Money, "card": card}
    for number, step in enumerate(steps):
        values |= {f"unit{number}": step.unit, f"rate{number}": step.rate, f"rate_unit{number}": step.rate_unit}
    for number, (_, _, program) in enumerate(dearer):
        values[f"tier{number}"] = program
    text = _text(units, steps, [(place, threshold) for place, threshold, _ in dearer])
    exec(compile(text, "<a rate card>", "exec"), values)  # noqa: S102 - our own words: see above
    return cast("Program", values["program"])


def _text(units: int, steps: Sequence[Step], tiers: Sequence[tuple[int, int]]) -> str:
    """The text of a program.

    For two leaves, cached input and the rest of it, and a tier above 200,000 tokens::

        def program(counts):
            count0, count1, = counts
            if count0 > 200000: return tier0(counts)
            leaf0 = count0 - count1
            amount0 = leaf0 * 3000000
            amount1 = count1 * 300000
            total = Money(amount0 + amount1)
            if leaf0 > 0 and count1:
                return Cost(total, (LineItem(unit0, leaf0, rate0, rate_unit0, Money(amount0)), LineItem(…),), (), card)
            if leaf0 < 0: return None
            items = []
            if leaf0: items.append(LineItem(unit0, leaf0, rate0, rate_unit0, Money(amount0)))
            if count1: items.append(LineItem(…))
            return Cost(total, tuple(items), (), card)
    """
    # A count is never negative; what is left of one may be.
    rests = {n: f"leaf{n}" for n, step in enumerate(steps) if step.minus or step.plus}
    leaves = [rests.get(n, f"count{step.place}") for n, step in enumerate(steps)]
    items = [f"LineItem(unit{n}, {leaf}, rate{n}, rate_unit{n}, Money(amount{n}))" for n, leaf in enumerate(leaves)]
    all_there = " and ".join(f"{leaf} > 0" if n in rests else leaf for n, leaf in enumerate(leaves))
    lines = [
        "".join(f"count{place}, " for place in range(units)) + "= counts",
        *(f"if count{tiers[n][0]} > {tiers[n][1]}: return tier{n}(counts)" for n in reversed(range(len(tiers)))),
        *(f"{leaf} = {_rest(steps[n])}" for n, leaf in rests.items()),
        *(f"amount{n} = {leaf} * {step.pico}" for n, (leaf, step) in enumerate(zip(leaves, steps, strict=True))),
        f"total = Money({' + '.join(f'amount{n}' for n in range(len(steps)))})",
        f"if {all_there}: return Cost(total, ({', '.join(items)},), (), card)",
        *(f"if {leaf} < 0: return None" for leaf in rests.values()),
        "items = []",
        *(f"if {leaf}: items.append({item})" for leaf, item in zip(leaves, items, strict=True)),
        "return Cost(total, tuple(items), (), card)",
    ]
    return "def program(counts):\n" + "".join(f"    {line}\n" for line in lines)


def _rest(step: Step) -> str:
    minus = "".join(f" - count{place}" for place in step.minus)
    plus = "".join(f" + count{place}" for place in step.plus)
    return f"count{step.place}{minus}{plus}"
