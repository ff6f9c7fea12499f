"""Money is exact, whatever the size, and says so when it cannot be."""

from __future__ import annotations

from decimal import ROUND_DOWN, Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.errors import MoneyError
from taximeter.money import Money, nearest_usd


@pytest.mark.parametrize(
    ("given_as", "pico"),
    [
        ("0.0118625", 11_862_500_000),
        ("0.000000000001", 1),
        ("-3", -3_000_000_000_000),
        (Decimal("1e-12"), 1),
        ("1e9", 10**21),
        (7, 7 * 10**12),
        (".5", 5 * 10**11),
    ],
)
def test_dollars(given_as: str | int | Decimal, pico: int) -> None:
    """An amount in dollars is the whole number of 1e-12 dollars that it says."""
    assert Money.usd(given_as).pico == pico


@pytest.mark.parametrize(
    "wrong", [0.1, True, "", "1.2.3", "NaN", "Infinity", "1e-13", Decimal("0.0000000000001"), "1_000", "0x1"]
)
def test_what_is_no_exact_amount(wrong: object) -> None:
    """Floats, bools, words and digits below 1e-12 are refused, not rounded."""
    with pytest.raises(MoneyError):
        Money.usd(wrong)  # type: ignore[arg-type]


@given(st.integers(-(10**40), 10**40))
def test_text_and_back(pico: int) -> None:
    """What is printed reads back as the same amount, at any size and whatever the ambient Decimal context."""
    with localcontext() as context:
        context.prec = 3
        context.rounding = ROUND_DOWN
        assert Money.usd(str(Money(pico))).pico == pico
        assert Money.usd(Money(pico).decimal).pico == pico


@given(st.lists(st.integers(-(10**30), 10**30)))
def test_sums(picos: list[int]) -> None:
    """A sum is the sum."""
    total = Money(0)
    for pico in picos:
        total += Money(pico)
    assert total.pico == sum(picos)


@pytest.mark.parametrize(
    ("exact", "rounded"), [("1/2", 0), ("3/2", 2), ("5/2", 2), ("-1/2", 0), ("7/3", 2), ("8/3", 3)]
)
def test_rounding_is_half_even(exact: str, rounded: int) -> None:
    """A tie goes to the even neighbour."""
    assert Money.nearest(Fraction(exact)) == Money(rounded)


def test_display() -> None:
    """Every digit by default and never an exponent; a format rounds for display."""
    assert str(Money(1)) == "0.000000000001"
    assert str(Money.usd("-1234.5600")) == "-1234.56"
    assert f"{Money.usd('1234.5678'):,.2f}" == "1,234.57"
    assert repr(Money.usd("0.5")) == "Money('0.5')"


def test_amounts_that_others_computed() -> None:
    """A provider's own cost may carry the noise of floats; it is rounded half-even, or absent when it is no amount."""
    assert nearest_usd("0.0076509169000000005") == Money.usd("0.0076509169")
    assert nearest_usd("3.4e-07") == Money.usd("0.00000034")
    assert nearest_usd("a lot") is None
    assert nearest_usd("1e" + "9" * 80) is None
