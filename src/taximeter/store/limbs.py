"""Money in two limbs: whole numbers that a 64-bit ``SUM`` adds without ever overflowing.

An amount is ``hi × 10^9 + lo`` of 1e-12 USD, with ``0 <= lo < 10^9`` (floor division, so that negative amounts need no
rule of their own). A plain 64-bit sum of 1e-12 USD overflows past nine million dollars; the sum of either limb does not
before nine billion calls or nine quadrillion dollars, and SQLite says so rather than wrap.
"""

from __future__ import annotations

from taximeter.errors import StoreError
from taximeter.money import Money

LIMB = 10**9
"""How many 1e-12 USD one of the upper limb stands for: 0.001 USD."""

MAX_PICO = 10**24
"""The largest amount of one event, either side of zero: a trillion US dollars."""


def split(amount: Money | None) -> tuple[int | None, int | None]:
    """The two limbs of an amount; two ``None`` for an amount that is not known.

    Raises:
        StoreError: for an amount beyond :data:`MAX_PICO`, of which a few thousand could not be summed.
    """
    if amount is None:
        return None, None
    if not -MAX_PICO <= amount.pico <= MAX_PICO:
        msg = f"an amount of {amount} USD is beyond what the store sums exactly (10^12 USD in one event)"
        raise StoreError(msg)
    return divmod(amount.pico, LIMB)


def join(hi: int | None, lo: int | None) -> Money | None:
    """The amount of two limbs, or of two sums of limbs; ``None`` where nothing was known."""
    if hi is None or lo is None:
        return None
    return Money(hi * LIMB + lo)
