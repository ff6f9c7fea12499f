"""Reports: each dimension, parts at their own models, corrections, and what was known when."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taximeter.errors import ConfigError, StoreError
from taximeter.event import Scope
from taximeter.money import Money
from taximeter.store import DIMENSIONS, Query, ReportRow, Store
from taximeter.usage import Usage
from tests.store.helpers import NOW, ask, call, priced, repriced, share


def table(rows: list[ReportRow]) -> list[tuple[object, ...]]:
    """The keys, calls and cost of each row."""
    return [(*row.keys, row.calls, None if row.cost is None else str(row.cost)) for row in rows]


def test_every_dimension_groups_by_its_own_field(store: Store) -> None:
    """Each dimension has the field's value as its key; a call without one has None, and comes last."""
    scope = Scope("pr", "se", "tu", "us", "op")
    full = priced("a", "mo", "1", provider="pv", api="ap", scope=scope, outcome="failed")
    bare = call("b", provider="zz", api="zz", outcome="unknown", started_at=NOW + timedelta(days=40))
    store.add([bare, full], recorded_at=NOW)
    keys = {name: [row.keys for row in store.report([name])] for name in DIMENSIONS}
    assert keys == {
        "model": [("mo",), (None,)],
        "provider": [("pv",), ("zz",)],
        "api": [("ap",), ("zz",)],
        "project": [("pr",), (None,)],
        "operation": [("op",), (None,)],
        "session": [("se",), (None,)],
        "turn": [("tu",), (None,)],
        "user": [("us",), (None,)],
        "outcome": [("failed",), ("unknown",)],
        "hour": [("2026-11-22T12:00+00:00",), ("2027-01-01T12:00+00:00",)],
        "day": [("2026-11-22",), ("2027-01-01",)],
        "month": [("2026-11",), ("2027-01",)],
    }


def test_several_dimensions_make_one_row_for_each_combination(store: Store) -> None:
    """Two dimensions give the combinations that occur, in the order asked for, each with its own sum."""
    scopes = {name: Scope(project=name) for name in ("p", "q")}
    store.add(
        [
            priced("a", "m1", "1", scope=scopes["p"]),
            priced("b", "m2", "2", scope=scopes["p"]),
            priced("c", "m1", "4", scope=scopes["q"]),
            priced("d", "m1", "8", scope=scopes["q"]),
        ],
        recorded_at=NOW,
    )
    assert table(store.report(["project", "model"])) == [("p", "m1", 1, "1"), ("p", "m2", 1, "2"), ("q", "m1", 2, "12")]
    assert table(store.report(["model"], Query(project="p"))) == [("m1", 1, "1"), ("m2", 1, "2")]
    assert table(store.report(["month", "project"])) == [("2026-11", "p", 2, "3"), ("2026-11", "q", 2, "12")]


def test_outcomes_and_sources_are_counted(store: Store) -> None:
    """All outcomes but completed and cancelled are errors; estimated and unknown usages are counted apart."""
    outcomes = ["completed", "cancelled", "interrupted", "failed", "refused", "unknown"]
    sources = ["reported", "estimated", "estimated", "unknown", "unknown", "unknown"]
    pairs = zip(outcomes, sources, strict=True)
    store.add([call(o, outcome=o, usage_source=s, response_model="m") for o, s in pairs], recorded_at=NOW)
    for by in ([], ["model"]):
        (row,) = store.report(by)
        assert (row.calls, row.errors, row.estimated_calls, row.unknown_usage_calls) == (6, 4, 2, 3)


def test_by_model_sums_each_part_at_its_own_model(store: Store) -> None:
    """A call with an adviser at another model is one call at each; two parts at one model are one call there."""
    parts = (share("big", "1", tokens=10), share("small", "0.25", tokens=4), share("big", "2", tokens=20))
    whole = call("a", response_model="big", usage=Usage(input_tokens=34), cost=Money.usd("3.25"), parts=parts)
    store.add([whole], recorded_at=NOW)
    rows = store.report(["model"])
    assert table(rows) == [("big", 1, "3"), ("small", 1, "0.25")]
    assert [row.usage for row in rows] == [Usage(input_tokens=30), Usage(input_tokens=4)]
    assert table(store.report([])) == [(1, "3.25")]


def test_a_report_restricted_to_a_model_sums_its_parts_alone(store: Store) -> None:
    """Naming a model leaves out what the same calls cost at other models, whatever the report is by."""
    mixed = call("a", cost=Money.usd("1.25"), parts=(share("big", "1"), share("small", "0.25")))
    store.add([mixed, priced("b", "small", "4")], recorded_at=NOW)
    assert table(store.report(["day"], Query(model="small"))) == [("2026-11-22", 2, "4.25")]
    assert table(store.report(["day"], Query(model="big"))) == [("2026-11-22", 1, "1")]
    assert store.report(["day"], Query(model="none such")) == []


def test_an_unbilled_part_is_a_call_without_figures(store: Store) -> None:
    """A refused hop is counted at its model with no usage and no cost, and is not called unpriced."""
    parts = (share("first", None, tokens=50, billed=False), share("second", "1"))
    store.add([call("a", usage=Usage(input_tokens=10), cost=Money.usd("1"), parts=parts)], recorded_at=NOW)
    first, second = store.report(["model"])
    assert (first.keys, first.calls, first.unpriced_calls, first.usage, first.cost) == (("first",), 1, 0, Usage(), None)
    assert (second.keys, second.usage, second.cost) == (("second",), Usage(input_tokens=10), Money.usd("1"))


def test_an_unpriced_part_leaves_the_call_unpriced_and_the_priced_part_counted(store: Store) -> None:
    """By model the priced part has its cost and the other is unpriced; as a whole the call has no cost."""
    store.add([call("a", cost=None, parts=(share("known", "1"), share("new", None)))], recorded_at=NOW)
    known, new = store.report(["model"])
    assert (known.cost, known.unpriced_calls) == (Money.usd("1"), 0)
    assert (new.cost, new.unpriced_calls) == (None, 1)
    (row,) = store.report([])
    assert (row.cost, row.unpriced_calls) == (None, 1)


def test_a_provider_cost_is_given_to_a_model_only_when_it_is_the_only_one(store: Store) -> None:
    """The provider's own cost of a call that was billed at two models is in the whole, and at neither model."""
    mixed = call("a", provider_cost=Money.usd("5"), parts=(share("big", "1"), share("small", "1")))
    store.add([mixed, priced("b", "big", "1", provider_cost=Money.usd("0.5"))], recorded_at=NOW)
    rows = store.report(["model"])
    assert [(row.keys, row.provider_cost) for row in rows] == [(("big",), Money.usd("0.5")), (("small",), None)]
    assert store.report([])[0].provider_cost == Money.usd("5.5")


def test_a_tag_is_a_dimension(store: Store) -> None:
    """`tag:NAME` groups by that tag's value; of a name given twice the last counts; a call without it is under None."""
    tagged = [
        priced("a", "m", "1", scope=Scope(tags=(("team", "x"), ("other", "y")))),
        priced("b", "m", "2", scope=Scope(tags=(("team", "y"), ("team", "x")))),
        priced("c", "m", "4", scope=Scope(tags=(("team", "y"),))),
        priced("d", "m", "8"),
    ]
    store.add(tagged, recorded_at=NOW)
    assert table(store.report(["tag:team"])) == [("x", 2, "3"), ("y", 1, "4"), (None, 1, "8")]
    assert table(store.report(["tag:team", "tag:other"])) == [
        ("x", "y", 1, "1"),
        ("x", None, 1, "2"),
        ("y", None, 1, "4"),
        (None, None, 1, "8"),
    ]


def test_what_there_is_no_report_by_is_said(store: Store) -> None:
    """A dimension or a time zone that does not exist is an error which names what does."""
    with pytest.raises(ConfigError, match=r"colour.*model, provider.*tag:NAME"):
        store.report(["colour"])
    with pytest.raises(ConfigError, match=r"Mars/Olympus.*Europe/Rome"):
        store.report(["day"], Query(tz="Mars/Olympus"))
    with pytest.raises(StoreError, match="since has no time zone"):
        store.report([], Query(since=NOW.replace(tzinfo=None)))


def test_the_latest_correction_counts(store: Store) -> None:
    """Of several corrections the one recorded last is in force, in every report and in what is read."""
    event = priced("a", "m", "1", tokens=10)
    store.add([event, priced("b", "m", "100")], recorded_at=NOW)
    store.correct([repriced("c1", event, "2"), repriced("c2", event, "3", tokens=11)], recorded_at=NOW)
    for by in ([], ["model"], ["day"]):
        (row,) = store.report(by)
        assert (row.calls, row.cost, row.usage) == (2, Money.usd("103"), Usage(input_tokens=21))
    first, _ = store.events()
    assert (first.cost, first.usage, first.parts) == (Money.usd("3"), Usage(input_tokens=11), ())
    assert first.id == "a"


def test_corrected_parts_replace_the_parts(store: Store) -> None:
    """A correction with parts at another model moves the call in reports by model; one without parts does not."""
    event, other = priced("a", "m1", "1"), priced("b", "m1", "1")
    store.add([event, other], recorded_at=NOW)
    store.correct([repriced("c1", event, "5", share("m2", "5")), repriced("c2", other, "7")], recorded_at=NOW)
    assert table(store.report(["model"])) == [("m1", 1, "7"), ("m2", 1, "5")]
    assert [event.id for event in store.events(Query(model="m2"))] == ["a"]


def test_a_correction_can_take_a_cost_away_or_give_one(store: Store) -> None:
    """A call that turns out to have no known price becomes unpriced, and the other way round."""
    event, unpriced = priced("a", "m", "1"), call("b", usage=Usage(input_tokens=1), response_model="m")
    store.add([event, unpriced], recorded_at=NOW)
    store.correct([repriced("c1", event, None), repriced("c2", unpriced, "0.5")], recorded_at=NOW)
    for by in ([], ["model"]):
        (row,) = store.report(by)
        assert (row.cost, row.unpriced_calls, row.unknown_usage_calls) == (Money.usd("0.5"), 1, 0)


def test_as_of_sees_what_was_recorded_until_then(store: Store) -> None:
    """An event or correction recorded later than the moment asked for is not seen; one recorded at it is."""
    minutes = [NOW + timedelta(minutes=n) for n in range(4)]
    event = priced("a", "m", "1")
    store.add([event], recorded_at=minutes[1])
    store.correct([repriced("c1", event, "2")], recorded_at=minutes[2])
    store.correct([repriced("c2", event, "3")], recorded_at=minutes[3])
    costs = [store.report([], Query(as_of=at))[0].cost for at in minutes]
    assert costs == [None, Money.usd("1"), Money.usd("2"), Money.usd("3")]
    assert [len(list(store.events(Query(as_of=at)))) for at in minutes] == [0, 1, 1, 1]
    assert [table(store.report(["model"], Query(as_of=at))) for at in minutes[1:3]] == [
        [("m", 1, "1")],
        [("m", 1, "2")],
    ]


def test_a_correction_of_nothing_is_refused(store: Store) -> None:
    """A correction that names no recorded event is an error, and its batch leaves nothing behind."""
    event = priced("a", "m", "1")
    store.add([event], recorded_at=NOW)
    with pytest.raises(StoreError, match="no event missing to correct"):
        store.correct([repriced("c1", event, "2"), repriced("c2", call("missing"), "2")], recorded_at=NOW)
    assert table(store.report([])) == [(1, "1")]


def test_a_correction_that_says_something_else_under_a_known_id_is_named(store: Store) -> None:
    """Like an event, a correction is recorded once, and a different one under its id is listed and not written."""
    event = priced("a", "m", "1")
    store.add([event], recorded_at=NOW)
    store.correct([repriced("c", event, "2", share("m", "2"))], recorded_at=NOW)
    assert store.correct([repriced("c", event, "9", share("m", "9"))], recorded_at=NOW).different == ("c",)
    assert table(store.report([])) == [(1, "2")]


def test_numbers_are_given_in_the_order_of_commits(store: Store) -> None:
    """Events and corrections share one sequence without gaps, and what was known already takes no number."""
    event = priced("a", "m", "1")
    store.add([event, call("b")], recorded_at=NOW)
    store.correct([repriced("c", event, "2")], recorded_at=NOW)
    store.add([event, call("d")], recorded_at=NOW)
    numbers = ask(store, "SELECT id, seq FROM events UNION SELECT id, seq FROM corrections ORDER BY 2")
    assert numbers == [("a", 1), ("b", 2), ("c", 3), ("d", 4)]
