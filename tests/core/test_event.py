"""Events: their ids, their rates, their totals."""

from __future__ import annotations

import uuid
from decimal import Decimal
from fractions import Fraction

from taximeter.event import Cost, Part, Rate, content_id, total_cost, uuid7
from taximeter.money import Money


def test_uuid7_is_of_its_version_and_sorts_by_time() -> None:
    """RFC 9562: the time first, then version 7, then the variant."""
    early, late = uuid7(1_700_000_000_000, b"\xff" * 10), uuid7(1_700_000_000_001, b"\x00" * 10)
    assert early < late
    assert uuid.UUID(early).version == 7
    assert uuid.UUID(early).variant == uuid.RFC_4122
    assert int(early.replace("-", "")[:12], 16) == 1_700_000_000_000


def test_content_id_is_of_the_content() -> None:
    """The same parts give the same id; the same bytes cut elsewhere do not."""
    assert content_id(b"ab", b"c") == content_id(b"ab", b"c")
    assert content_id(b"ab", b"c") != content_id(b"a", b"bc")
    assert uuid.UUID(content_id(b"")).version == 8


def test_a_rate_is_exact() -> None:
    """0.111 USD per hour of 3,600 seconds does not terminate and stays a fraction."""
    assert Rate(Decimal("0.111"), 3600).pico_per_unit == Fraction(111 * 10**9, 3600)
    assert Rate(Decimal("0.0375"), 1_000_000).pico_per_unit == 37_500


def test_total_cost() -> None:
    """The billed parts' sum; None when one of them has no price, or there is none."""
    one = Part(model="a", usage=None, cost=Cost(total=Money(3)))
    two = Part(model="b", usage=None, cost=Cost(total=Money(4)))
    free_ride = Part(model="c", usage=None, billed=False)
    unpriced = Part(model="d", usage=None, cost=Cost(total=None))
    assert total_cost((one, two, free_ride)) == Money(7)
    assert total_cost((one, unpriced)) is None
    assert total_cost((free_ride,)) is None
    assert total_cost(()) is None
