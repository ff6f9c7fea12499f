"""The arithmetic of one set of units at one card, as a straight line of Python that is written and compiled once.

Walking over the leaves would cost twice as much as pricing them. The text of a program consists of words and whole
numbers that are chosen here: names, rates and whatever else came from outside are handed to it as values, and never
become code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple, cast

from taximeter.event import Cost, LineItem, Rate, RateCardRef
from taximeter.money import Money

Program = Callable[[Iterable[object]], Cost | None]
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


def compile_program(units: int, steps: Sequence[Step], card: RateCardRef) -> Program | None:
    """The program of ``steps``, which counts ``units`` units; ``None`` when it takes more than whole numbers."""
    if not steps or any(step.rate is None or step.pico is None for step in steps):
        return None
    values: dict[str, object] = {"Cost": Cost, "LineItem": LineItem, "Money": Money, "card": card}
    for number, step in enumerate(steps):
        values |= {f"unit{number}": step.unit, f"rate{number}": step.rate, f"rate_unit{number}": step.rate_unit}
    exec(compile(_text(units, steps), "<a rate card>", "exec"), values)  # noqa: S102 - our own words: see above
    return cast("Program", values["program"])


def _text(units: int, steps: Sequence[Step]) -> str:
    """For two leaves, cached input and the rest of it::

    def program(counts):
        count0, count1, = counts
        leaf0 = count0 - count1
        leaf1 = count1
        amount0 = leaf0 * 3000000
        amount1 = leaf1 * 300000
        total = Money(amount0 + amount1)
        if leaf0 > 0 and leaf1 > 0:
            return Cost(total, (LineItem(unit0, leaf0, rate0, rate_unit0, Money(amount0)), LineItem(…),), (), card)
        if leaf0 < 0 or leaf1 < 0:
            return None
        items = []
        if leaf0: items.append(LineItem(unit0, leaf0, rate0, rate_unit0, Money(amount0)))
        if leaf1: items.append(LineItem(…))
        return Cost(total, tuple(items), (), card)
    """
    numbers = range(len(steps))
    items = [f"LineItem(unit{n}, leaf{n}, rate{n}, rate_unit{n}, Money(amount{n}))" for n in numbers]
    lines = [
        "".join(f"count{place}, " for place in range(units)) + "= counts",
        *(f"leaf{n} = {_leaf(step)}" for n, step in enumerate(steps)),
        *(f"amount{n} = leaf{n} * {step.pico}" for n, step in enumerate(steps)),
        f"total = Money({' + '.join(f'amount{n}' for n in numbers)})",
        f"if {' and '.join(f'leaf{n} > 0' for n in numbers)}: return Cost(total, ({', '.join(items)},), (), card)",
        f"if {' or '.join(f'leaf{n} < 0' for n in numbers)}: return None",
        "items = []",
        *(f"if leaf{n}: items.append({item})" for n, item in enumerate(items)),
        "return Cost(total, tuple(items), (), card)",
    ]
    return "def program(counts):\n" + "".join(f"    {line}\n" for line in lines)


def _leaf(step: Step) -> str:
    minus = "".join(f" - count{place}" for place in step.minus)
    plus = "".join(f" + count{place}" for place in step.plus)
    return f"count{step.place}{minus}{plus}"
