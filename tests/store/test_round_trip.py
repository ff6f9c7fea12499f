"""What is added comes back exactly, once, in the order of its commit."""

from __future__ import annotations

import tracemalloc
from datetime import datetime, timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taximeter.errors import StoreError
from taximeter.event import CallEvent, Correction, ProviderError, Scope
from taximeter.money import Money
from taximeter.store import Added, Query, Store
from taximeter.usage import Usage
from tests.store import helpers
from tests.store.helpers import NO_EXPLAIN, NOW, call, fresh_store, priced


@settings(max_examples=60, phases=NO_EXPLAIN)
@given(st.lists(helpers.events, max_size=6, unique_by=lambda event: event.id))
def test_every_event_comes_back_equal(batch: list[CallEvent]) -> None:
    """Whatever an event holds, the store gives back an equal one, and knows it when it comes again."""
    with fresh_store() as store:
        assert store.add(batch, recorded_at=NOW) == Added(new=len(batch), known=0)
        assert list(store.events()) == batch
        assert store.add(reversed(batch), recorded_at=NOW) == Added(new=0, known=len(batch))


@settings(max_examples=40, phases=NO_EXPLAIN)
@given(helpers.events, helpers.corrections)
def test_every_correction_is_known_again(event: CallEvent, correction: Correction) -> None:
    """A correction puts exactly its own figures in the event's place, and is recorded once."""
    correction = msgspec.structs.replace(correction, event_id=event.id)
    with fresh_store() as store:
        store.add([event], recorded_at=NOW)
        assert store.correct([correction], recorded_at=NOW) == Added(new=1, known=0)
        assert store.correct([correction, correction], recorded_at=NOW) == Added(new=0, known=2)
        figures = {name: getattr(correction, name) for name in ("usage", "usage_source", "cost", "parts")}
        assert list(store.events()) == [msgspec.structs.replace(event, **figures)]
        assert store.add([event], recorded_at=NOW) == Added(new=0, known=1)


def test_the_pages_of_a_long_read_join(store: Store) -> None:
    """More events than are fetched at a time come back all, in the order of their commit, whatever their start."""
    batch = [priced(f"e{n}", "m", "0.01", started_at=NOW - timedelta(seconds=n)) for n in range(1_203)]
    store.add(batch, recorded_at=NOW)
    assert list(store.events()) == batch
    assert store.count() == 1_203


def test_a_read_takes_constant_memory(store: Store) -> None:
    """Reading 4,000 events of 4 kB holds a few hundred of them at a time."""
    batch = [call(f"e{n}", raw_usage="x" * 4_000) for n in range(4_000)]
    store.add(batch, recorded_at=NOW)
    batch.clear()
    next(store.events())  # what is loaded once
    tracemalloc.start()
    read = sum(1 for _ in store.events())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert read == 4_000
    assert peak < 1_500 * 4_000


def test_a_read_sees_one_moment(store: Store) -> None:
    """What is added while events are being read is not among them, and the writer does not wait for the reader."""
    store.add([call("a"), call("b")], recorded_at=NOW)
    reading = store.events()
    seen = [next(reading).id]
    store.add([call("c")], recorded_at=NOW)
    seen += [event.id for event in reading]
    assert seen == ["a", "b"]
    assert [event.id for event in store.events()] == ["a", "b", "c"]


def test_a_known_id_with_other_contents_is_listed_and_not_written(store: Store) -> None:
    """The first word on an event stays; a different one under its id is named, once, and counted as known."""
    first, other = call("a", status=200), call("a", status=500)
    assert store.add([first], recorded_at=NOW) == Added(new=1, known=0)
    assert store.add([other, call("b"), other], recorded_at=NOW) == Added(new=1, known=2, different=("a",))
    assert list(store.events()) == [first, call("b")]


def test_an_id_twice_in_a_batch_is_one_event(store: Store) -> None:
    """Within one batch too, the first event of an id is recorded and a different second one is named."""
    first = call("a")
    batch = [first, first, call("a"), call("a", status=500)]
    assert store.add(batch, recorded_at=NOW) == Added(new=1, known=3, different=("a",))
    assert list(store.events()) == [call("a")]


def test_a_corrected_event_is_known_by_its_first_contents(store: Store) -> None:
    """Re-reading the source of an event that was corrected since finds it known, and not different."""
    event = priced("a", "m", "1")
    store.add([event], recorded_at=NOW)
    store.correct([helpers.repriced("c", event, "2")], recorded_at=NOW)
    assert store.add([event], recorded_at=NOW) == Added(new=0, known=1)


def test_absent_is_not_empty(store: Store) -> None:
    """No usage and an empty one, no error and one that says nothing, 0 and nothing: each comes back as it was."""
    batch = [
        call("a", usage=None, cost=None),
        call("b", usage=Usage(), cost=Money(0), error=ProviderError()),
        call("c", usage=Usage(input_tokens=0), scope=Scope(project="")),
    ]
    store.add(batch, recorded_at=NOW)
    back = list(store.events())
    assert back == batch
    assert [event.usage for event in back] == [None, Usage(), Usage(input_tokens=0)]
    assert [event.error for event in back] == [None, ProviderError(), None]


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"started_at": datetime(2026, 1, 1)}, "no time zone"),  # noqa: DTZ001 - the very fault
        ({"cost": Money(10**24 + 1)}, "10\\^12 USD"),
        ({"provider_cost": Money(-(10**24) - 1)}, "10\\^12 USD"),
        ({"response_id": "\ud800"}, "'bad' .*not text"),
        ({"duration_ms": 2**63}, "'bad' .*64 bits"),
        ({"usage": Usage(input_tokens=10**1_001)}, "more than 1000 digits"),
    ],
)
def test_what_cannot_be_kept_refuses_the_batch(store: Store, fields: dict[str, object], complaint: str) -> None:
    """An event that cannot be kept exactly is refused with its reason, and nothing of its batch is recorded."""
    with pytest.raises(StoreError, match=complaint):
        store.add([call("good"), call("bad", **fields)], recorded_at=NOW)
    assert store.count() == 0
    assert store.add([call("good")], recorded_at=NOW).new == 1


def test_a_query_restricts_what_is_read(store: Store) -> None:
    """Each restriction leaves the calls that have the value, and the interval is half-open."""
    scope = Scope("p", "s", "t", "u", "o")
    wanted = call("a", provider="groq", api="x", outcome="failed", scope=scope, started_at=NOW)
    store.add([wanted, call("b", started_at=NOW + timedelta(microseconds=1))], recorded_at=NOW)
    second = timedelta(microseconds=1)
    queries = [
        Query(provider="groq"),
        Query(api="x"),
        Query(outcome="failed"),
        Query(project="p"),
        Query(session="s"),
        Query(turn="t"),
        Query(user="u"),
        Query(operation="o"),
        Query(since=NOW, until=NOW + second),
    ]
    for query in queries:
        assert list(store.events(query)) == [wanted], query
    assert list(store.events(Query(since=NOW + second))) == [call("b", started_at=NOW + second)]
    assert list(store.events(Query(provider="groq", project="other"))) == []


def test_a_model_is_asked_for_by_its_parts(store: Store) -> None:
    """A query for a model finds the calls with a part at it, whatever the call as a whole was served by."""
    mixed = call("a", response_model="m1", parts=(helpers.share("m1", "1"), helpers.share("m2", "2")))
    without_parts = call("b", request_model="m2")
    store.add([mixed, without_parts, priced("c", "m3", "1")], recorded_at=NOW)
    assert [event.id for event in store.events(Query(model="m2"))] == ["a", "b"]
    assert [event.id for event in store.events(Query(model="m1"))] == ["a"]
