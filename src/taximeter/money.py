"""Exact money: whole numbers of 1e-12 USD inside, :class:`~decimal.Decimal` at the edge.

1e-12 USD (a *pico-dollar*) is a millionth of a millionth: a price of 0.0375 USD per million tokens is 37,500 of
them per token. No float is accepted or produced anywhere in this module.
"""

from __future__ import annotations

import re
from decimal import Context, Decimal, Inexact, InvalidOperation
from fractions import Fraction
from typing import Self

import msgspec

from taximeter.errors import MoneyError

PICO_PER_USD = 10**12
"""How many of the smallest unit make one US dollar."""

_MAX_TEXT = 64
_USD_TEXT = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?")
# Our own context: the ambient one may round. Wide enough for every amount that the pattern above lets in.
_EXACT = Context(prec=4096, traps=[Inexact, InvalidOperation])


class Money(msgspec.Struct, frozen=True, order=True, gc=False):
    """An exact amount of US dollars.

    >>> Money.usd("0.0118625") + Money.usd("0.0000001")
    Money('0.0118626')

    Attributes:
        pico: the amount in 1e-12 USD; negative for a refund.
    """

    pico: int

    @classmethod
    def usd(cls, amount: Decimal | int | str) -> Self:
        """An amount given in US dollars.

        Raises:
            MoneyError: for a float, for text that is no number, and for digits below 1e-12 USD.
        """
        return cls(pico=_exact_pico(amount))

    @classmethod
    def nearest(cls, pico: Fraction | int) -> Self:
        """The amount nearest to ``pico`` (in 1e-12 USD), a tie going to the even one: how a line item is rounded."""
        return cls(pico=round(pico))

    @property
    def decimal(self) -> Decimal:
        """The amount in US dollars, exactly."""
        return Decimal(self.pico).scaleb(-12, _EXACT)

    def __add__(self, other: Money) -> Money:
        return Money(self.pico + other.pico)

    def __sub__(self, other: Money) -> Money:
        return Money(self.pico - other.pico)

    def __neg__(self) -> Money:
        return Money(-self.pico)

    def __str__(self) -> str:
        """Plain decimal digits without trailing zeros and never an exponent: ``0.0118625``."""
        whole, part = divmod(abs(self.pico), PICO_PER_USD)
        sign = "-" if self.pico < 0 else ""
        return f"{sign}{whole}" + (f".{part:012d}".rstrip("0") if part else "")

    def __repr__(self) -> str:
        return f"Money('{self}')"

    def __format__(self, spec: str) -> str:
        """``""`` is every digit; another spec is that of :class:`~decimal.Decimal`, for display: ``f"{cost:,.4f}"``."""
        return format(self.decimal, spec) if spec else str(self)


ZERO = Money(0)


def _exact_pico(amount: object) -> int:
    if isinstance(amount, bool) or not isinstance(amount, (Decimal, int, str)):
        msg = f"money is a Decimal, an int or text, not {type(amount).__name__}: {amount!r}"
        raise MoneyError(msg)
    if isinstance(amount, int):
        return amount * PICO_PER_USD
    text = str(amount)
    if len(text) > _MAX_TEXT or not _USD_TEXT.fullmatch(text.strip()):
        msg = f"not an amount of US dollars: {text[:_MAX_TEXT]!r}"
        raise MoneyError(msg)
    try:
        scaled = Decimal(text.strip()).scaleb(12, _EXACT).to_integral_exact(context=_EXACT)
    except (Inexact, InvalidOperation) as error:
        msg = f"{text} USD has digits below 1e-12 USD; round it first, by a rule that you name"
        raise MoneyError(msg) from error
    return int(scaled)


def nearest_usd(text: str) -> Money | None:
    """The amount that ``text`` says, rounded half-even to 1e-12 USD; ``None`` when it says none.

    For figures that others computed with floats: a provider's own cost of ``0.0076509169000000005``.
    """
    if len(text) > _MAX_TEXT or not _USD_TEXT.fullmatch(text.strip()):
        return None
    return Money.nearest(Fraction(text.strip()) * PICO_PER_USD)
