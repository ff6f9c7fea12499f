"""The sum that the store returns is the sum in Python, digit for digit."""

from __future__ import annotations

import decimal
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taximeter.errors import StoreError
from taximeter.event import CallEvent, total_cost
from taximeter.money import Money
from taximeter.store import ReportRow, Store, limbs
from taximeter.usage import Usage
from tests.store import helpers
from tests.store.helpers import NO_EXPLAIN, NOW, SECONDS, call, fresh_store, priced, repriced, share


def total(store: Store) -> ReportRow:
    """The one row of a report by nothing."""
    (row,) = store.report([])
    return row


@given(st.integers(-(10**24), 10**24))
def test_limbs_join_to_what_was_split(pico: int) -> None:
    """Two limbs are the amount again; the lower is never negative and the upper leaves room for nine thousand sums."""
    hi, lo = limbs.split(Money(pico))
    assert limbs.join(hi, lo) == Money(pico)
    assert lo is not None
    assert 0 <= lo < 10**9
    assert hi is not None
    assert abs(hi) * 9_000 < 2**63


def test_an_unknown_amount_has_no_limbs() -> None:
    """No amount is no limb, on the way in and on the way out; and it is not 0."""
    assert limbs.split(None) == (None, None)
    assert limbs.join(None, None) is None
    assert limbs.split(Money(0)) == (0, 0)
    assert limbs.join(0, 0) == Money(0)


def test_sums_above_a_billion_dollars_keep_every_digit(store: Store) -> None:
    """Where 64 bits of 1e-12 USD overflow at 9.2 million, three calls sum to billions with their last digit."""
    amounts = ["4999999999.999999999999", "4999999999.999999999999", "0.000000000003"]
    store.add([priced(f"e{n}", "m", usd) for n, usd in enumerate(amounts)], recorded_at=NOW)
    # 4,999,999,999.999999999999 × 2 + 0.000000000003 = 9,999,999,999.999999999998 + 0.000000000003
    assert str(total(store).cost) == "10000000000.000000000001"
    (by_model,) = store.report(["model"])
    assert by_model.cost == total(store).cost


def test_many_of_the_largest_amounts_are_summed(store: Store) -> None:
    """Two thousand calls of a trillion dollars and a pico-dollar less: the sum is exact still."""
    largest = Money(limbs.MAX_PICO - 1)
    store.add([call(f"e{n}", cost=largest, provider_cost=-largest) for n in range(2_000)], recorded_at=NOW)
    assert total(store).cost == Money(2_000 * (10**24 - 1))
    assert total(store).provider_cost == Money(-2_000 * (10**24 - 1))


def test_negative_amounts_and_corrections_are_summed(store: Store) -> None:
    """A refund, and a correction that lowers a cost or makes it negative, are subtracted exactly."""
    first, second = priced("a", "m", "0.5"), priced("b", "m", "-0.000000000001")
    store.add([first, second], recorded_at=NOW)
    assert str(total(store).cost) == "0.499999999999"  # 0.5 - 0.000000000001
    store.correct([repriced("c", first, "-2000000000.25")], recorded_at=NOW)
    assert str(total(store).cost) == "-2000000000.250000000001"  # -2,000,000,000.25 - 0.000000000001


def test_nothing_priced_is_no_zero(store: Store) -> None:
    """A report of unpriced calls has no cost, and says that they are unpriced; a free call has the cost 0."""
    store.add([call("a"), call("b", usage=Usage(input_tokens=3), usage_source="reported")], recorded_at=NOW)
    row = total(store)
    assert (row.cost, row.provider_cost, row.calls, row.unpriced_calls) == (None, None, 2, 2)
    store.add([call("c", cost=Money(0))], recorded_at=NOW)
    assert (total(store).cost, total(store).unpriced_calls) == (Money(0), 2)


def test_a_unit_that_no_call_reported_is_absent(store: Store) -> None:
    """Absent units stay absent in a sum, an explicit 0 stays 0, and an empty store has neither."""
    assert total(store).usage == Usage()
    assert total(store).calls == 0
    usages = [None, Usage(), Usage(input_tokens=0), Usage(input_audio_tokens=0)]
    store.add([call(f"e{n}", usage=usage) for n, usage in enumerate(usages)], recorded_at=NOW)
    assert total(store).usage == Usage(input_tokens=0, input_audio_tokens=0)


def test_counts_are_summed_whatever_their_size(store: Store) -> None:
    """Counts too large for a 64-bit sum are added to those that are not, in units with and without a column."""
    usages = [
        Usage(input_tokens=2**63, input_audio_tokens=2**63),
        Usage(input_tokens=5, input_audio_tokens=7),
        Usage(input_tokens=10**30, input_audio_tokens=10**30),
        Usage(input_tokens=10**30, input_audio_tokens=10**30),
    ]
    store.add([call(f"e{n}", usage=usage) for n, usage in enumerate(usages)], recorded_at=NOW)
    large = 2**63 + 2 * 10**30
    assert total(store).usage == Usage(input_tokens=large + 5, input_audio_tokens=large + 7)


def test_seconds_are_summed_without_the_ambient_context(store: Store) -> None:
    """Fractions of seconds add up exactly, though the ambient Decimal context would round to two digits."""
    calls = [call(f"e{n}", usage=Usage(audio_seconds=SECONDS)) for n in range(3)]
    whole = call("whole", usage=Usage(audio_seconds=Decimal("1E+20")))
    store.add([*calls, whole, call("two", usage=Usage(audio_seconds=2))], recorded_at=NOW)
    with decimal.localcontext(prec=2):
        found = total(store).usage["audio_seconds"]
    # 3 × 8.470000267028809 = 25.410000801086427
    assert found == Decimal("100000000000000000027.410000801086427")


@settings(max_examples=60, phases=NO_EXPLAIN)
@given(st.lists(helpers.events, max_size=6, unique_by=lambda event: event.id))
def test_a_total_is_the_sum_of_the_events(batch: list[CallEvent]) -> None:
    """For any events, every figure of the total is what Python makes of the same events."""
    with fresh_store() as store:
        store.add(batch, recorded_at=NOW)
        row = total(store)
    costs = [event.cost for event in batch if event.cost is not None]
    provider_costs = [event.provider_cost for event in batch if event.provider_cost is not None]
    assert row == ReportRow(
        keys=(),
        calls=len(batch),
        errors=sum(event.outcome not in {"completed", "cancelled"} for event in batch),
        unpriced_calls=sum(event.cost is None for event in batch),
        estimated_calls=sum(event.usage_source == "estimated" for event in batch),
        unknown_usage_calls=sum(event.usage_source == "unknown" for event in batch),
        usage=summed([event.usage for event in batch]),
        cost=sum(costs, Money(0)) if costs else None,
        provider_cost=sum(provider_costs, Money(0)) if provider_costs else None,
    )


@settings(max_examples=60, phases=NO_EXPLAIN)
@given(st.lists(helpers.events, max_size=6, unique_by=lambda event: event.id))
def test_by_model_is_the_sum_of_the_billed_parts(batch: list[CallEvent]) -> None:
    """For any events, each row by model has the calls, the usage and the cost of the billed parts at that model."""
    with fresh_store() as store:
        store.add(batch, recorded_at=NOW)
        rows = {row.keys[0]: row for row in store.report(["model"])}
    stated = [part for event in batch for part in event.parts]
    alone = [event for event in batch if not event.parts]
    assert rows.keys() == {part.model for part in stated} | {event.model for event in alone}
    for model, row in rows.items():
        here = [part for part in stated if part.model == model and part.billed]
        whole = [event for event in alone if event.model == model]
        costs = [part.cost.total for part in here if part.cost is not None] + [event.cost for event in whole]
        known = [cost for cost in costs if cost is not None]
        assert row.cost == (sum(known, Money(0)) if known else None)
        assert row.usage == summed([part.usage for part in here] + [event.usage for event in whole])
        at_model = [event for event in batch if any(part.model == model for part in event.parts)]
        assert row.calls == len(at_model) + len(whole)
        unpriced = [
            event
            for event in at_model
            if any(part.billed for part in event.parts if part.model == model)
            and total_cost(tuple(part for part in event.parts if part.model == model)) is None
        ]
        assert row.unpriced_calls == len(unpriced) + sum(event.cost is None for event in whole)


def summed(usages: list[Usage | None]) -> Usage:
    """The sum in Python, in a context wide enough."""
    with decimal.localcontext(prec=100):
        return Usage.total(usage for usage in usages if usage is not None)


@pytest.mark.parametrize("by", [[], ["model"], ["day"]])
def test_a_sum_that_overflows_is_an_error(store: Store, by: list[str]) -> None:
    """What is past the stated bound is refused by the database; it does not wrap."""
    largest = Money(limbs.MAX_PICO)
    store.add([call(f"e{n}", cost=largest) for n in range(9_300)], recorded_at=NOW)
    with pytest.raises(StoreError, match="integer overflow"):
        store.report(by)


def test_a_part_and_the_whole_may_differ(store: Store) -> None:
    """When an event's own usage is not that of its parts, whole reports use the one and reports by model the other."""
    usage = Usage(input_tokens=7, input_audio_tokens=5)
    part = share("m", "1", tokens=9)
    store.add([call("a", usage=usage, cost=Money.usd("3"), parts=(part,))], recorded_at=NOW)
    assert (total(store).usage, total(store).cost) == (usage, Money.usd("3"))
    (row,) = store.report(["model"])
    assert (row.usage, row.cost) == (Usage(input_tokens=9), Money.usd("1"))
