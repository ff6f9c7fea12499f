"""Usage: what includes what, absent is not 0, and contradictions are named."""

from __future__ import annotations

import pickle
from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.errors import UsageError
from taximeter.units import PARENTS, UNITS, join
from taximeter.usage import Usage, consistent


def test_the_units_are_those_of_the_registry() -> None:
    """Names, sizes, price keys and dimensions are those of genai-prices, all of them."""
    from genai_prices.data_units import unit_data  # noqa: PLC0415 - heavy, and only compared with

    theirs = {
        name: (unit["per"], unit["price_key"], frozenset(unit["dimensions"].items()))
        for name, unit in unit_data.items()
    }
    assert {unit.name: (unit.per, unit.price_key, unit.dimensions) for unit in UNITS.values()} == theirs


def test_absent_is_not_zero() -> None:
    """A unit that was not mentioned is absent; an explicit 0 is 0."""
    usage = Usage(input_tokens=0, output_tokens=None)
    assert dict(usage) == {"input_tokens": 0}
    assert usage.input_tokens == 0
    assert usage.output_tokens is None
    assert usage != Usage(output_tokens=0)


@pytest.mark.parametrize(
    "counts",
    [
        {"input_tokens": -1},
        {"input_tokens": 1.0},
        {"input_tokens": True},
        {"prompt_tokens": 1},
        {"input_tokens": Decimal("1.5")},
    ],
)
def test_counts_that_cannot_be(counts: dict[str, object]) -> None:
    """Negative counts, floats, bools, fractions of tokens and unknown units are refused."""
    with pytest.raises(UsageError):
        Usage(**counts)  # type: ignore[arg-type]


def test_seconds_may_have_a_fraction() -> None:
    """Seconds are kept exactly as they were stated."""
    assert Usage(audio_seconds=Decimal("3.32")).leaves() == {"audio_seconds": Decimal("3.32")}


def test_seconds_are_added_exactly() -> None:
    """Whatever the ambient Decimal context: 1000.001 + 0.0001 s, and 1000.001 s less 0.0001 s of them."""
    with localcontext() as context:
        context.prec = 3
        total = Usage(audio_seconds=Decimal("1000.001")) + Usage(audio_seconds=Decimal("0.0001"))
        leaves = Usage(audio_seconds=Decimal("1000.001"), input_audio_seconds=Decimal("0.0001")).leaves()
    assert total["audio_seconds"] == Decimal("1000.0011")
    assert leaves == {"audio_seconds": Decimal("1000.0009"), "input_audio_seconds": Decimal("0.0001")}


def test_addition() -> None:
    """Unit by unit; what is absent on one side keeps the other's count."""
    total = Usage(input_tokens=3, cache_read_tokens=1) + Usage(input_tokens=4, output_tokens=0)
    assert total == Usage(input_tokens=7, cache_read_tokens=1, output_tokens=0)
    assert Usage.total([]) == Usage()


def test_it_cannot_be_changed() -> None:
    """A usage is a value: it has no setter, can be a key, and survives pickling."""
    usage = Usage(input_tokens=3)
    for name in ("input_tokens", "counts", "units"):
        with pytest.raises(AttributeError):
            setattr(usage, name, 4)
    assert {usage: 1}[Usage(input_tokens=3)] == 1
    assert pickle.loads(pickle.dumps(usage)) == usage  # noqa: S301 - our own bytes


def test_leaves() -> None:
    """Each token is in one leaf: 1000 in = 300 plain + 500 read + 100 written for 5 min + 60 for 1 h + 40 unsplit."""
    usage = Usage(
        input_tokens=1000,
        cache_read_tokens=500,
        cache_write_tokens=200,
        cache_write_5m_tokens=100,
        cache_write_1h_tokens=60,
        output_tokens=90,
        output_reasoning_tokens=64,
    )
    assert usage.leaves() == {
        "input_tokens": 300,
        "output_tokens": 26,
        "cache_read_tokens": 500,
        "cache_write_tokens": 40,
        "cache_write_5m_tokens": 100,
        "cache_write_1h_tokens": 60,
        "output_reasoning_tokens": 64,
    }


def test_leaves_of_an_impossible_usage() -> None:
    """Parts beyond their whole are refused by name, when nobody has clamped them."""
    with pytest.raises(UsageError, match=r"cache_read_tokens \(9\) cannot be in input_tokens \(5\)"):
        Usage(input_tokens=5, cache_read_tokens=9).leaves()


def test_a_part_above_its_whole_is_clamped_and_named() -> None:
    """A Grok at Azure reported 161 cached of 10 tokens."""
    usage, found = consistent({"input_tokens": 10, "cache_read_tokens": 161, "output_tokens": 213})
    assert usage == Usage(input_tokens=10, cache_read_tokens=10, output_tokens=213)
    assert [(each.kind, each.unit) for each in found] == [("subset_exceeds_total", "cache_read_tokens")]
    assert "cache_read_tokens (161) exceeds input_tokens (10)" in found[0].detail


def test_parts_that_exclude_each_other() -> None:
    """A Gemini at OpenRouter reported the same 2161 tokens as read and as written, of 2168."""
    usage, found = consistent({"input_tokens": 2168, "cache_read_tokens": 2161, "cache_write_tokens": 2161})
    assert usage == Usage(input_tokens=2168, cache_read_tokens=2161, cache_write_tokens=7)
    assert [(each.kind, each.unit) for each in found] == [("subsets_exceed_total", "cache_write_tokens")]


def test_parts_that_overlap() -> None:
    """370 cached and 256 of a picture, of 504: at least 122 were both, which contradicts nothing."""
    usage, found = consistent({"input_tokens": 504, "cache_read_tokens": 370, "input_image_tokens": 256})
    assert found == ()
    assert usage["cache_image_read_tokens"] == 370 + 256 - 504
    assert usage.leaves() == {
        "input_tokens": 0,
        "cache_read_tokens": 248,
        "input_image_tokens": 134,
        "cache_image_read_tokens": 122,
    }


def test_joins() -> None:
    """Audio and cache reads have a unit for what is both; reads and writes exclude each other."""
    assert join(UNITS["input_audio_tokens"], UNITS["cache_read_tokens"]) == "cache_audio_read_tokens"
    assert join(UNITS["cache_read_tokens"], UNITS["cache_write_tokens"]) is None
    assert join(UNITS["input_tokens"], UNITS["output_tokens"]) is None


counts = st.dictionaries(
    st.sampled_from([unit for unit in UNITS if unit != "requests"]), st.integers(0, 1000), max_size=9
)


@given(counts)
def test_consistent_always_is(given_counts: dict[str, int]) -> None:
    """Whatever a provider reports, what is kept fits together, nothing grows, and every change of a count is named."""
    usage, found = consistent(given_counts)
    leaves = usage.leaves()
    assert all(count >= 0 for count in leaves.values())
    assert all(usage[unit] <= count for unit, count in given_counts.items())
    assert {each.unit for each in found} == {unit for unit, count in given_counts.items() if usage[unit] != count}
    roots = {unit for unit in usage if not any(parent in usage for parent in PARENTS[unit])}
    assert sum(leaves.values()) >= max((usage[unit] for unit in roots), default=0)


@given(counts)
def test_consistent_leaves_a_consistent_usage_alone(given_counts: dict[str, int]) -> None:
    """What already fits together is not touched again."""
    usage, _ = consistent(given_counts)
    assert consistent(usage) == (usage, ())
