"""Adding: what is known, what is refused and by which name, and one moment for what belongs together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event as hooks

from taximeter.errors import StoreError
from taximeter.event import CallEvent, ToolCall
from taximeter.journal import deliver
from taximeter.money import Money
from taximeter.store import Added, Store, open_store
from taximeter.usage import Usage
from tests.store.helpers import NOW, ask, call, priced, repriced, share


class Sink:
    """The store as the journal meets it; ``sizes`` are those of the batches that it was given."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.sizes: list[int] = []

    def add(self, events: Sequence[CallEvent]) -> object:
        """Adds them."""
        self.sizes.append(len(events))
        return self.store.add(events, recorded_at=NOW)

    def sync(self) -> None:
        """Syncs it."""
        self.store.sync()


BAD: list[dict[str, Any]] = [
    {"cost": Money(10**24 + 1)},
    {"response_id": "\ud800"},
    {"duration_ms": 2**63},
    {"usage": Usage(input_tokens=10**1_001)},
    {"tool_calls": (ToolCall("\udfff", "look"),)},
    {"raw_usage": ["a list"]},
]


@pytest.mark.parametrize("fields", BAD)
def test_a_refusal_names_the_event(store: Store, fields: dict[str, Any]) -> None:
    """Whether it is found on the way to a row or by the driver, what cannot be kept is said to be whose it is."""
    batch = [priced("good", "m", "1"), call("bad", **fields), call("more")]
    with pytest.raises(StoreError, match="'bad' cannot be kept") as caught:
        store.add(batch, recorded_at=NOW)
    assert caught.value.record_id == "bad"
    assert store.count() == 0


def test_a_refusal_names_the_correction(store: Store) -> None:
    """So it is with a correction, also one of an event that is not there."""
    event = priced("a", "m", "1")
    store.add([event], recorded_at=NOW)
    for bad in (
        repriced("bad", event, "9" * 13),
        repriced("bad", event, "1", share("\ud800", "1")),
        repriced("bad", call("missing"), "1"),
    ):
        with pytest.raises(StoreError) as caught:
            store.correct([repriced("good", event, "2"), bad], recorded_at=NOW)
        assert caught.value.record_id == "bad"
    assert str(store.report([])[0].cost) == "1"


def test_a_fault_of_the_store_names_no_record(store: Store) -> None:
    """A store that cannot be written at all blames nobody."""
    with store._database._alone() as connection:
        connection.execute("PRAGMA query_only = ON")
    with pytest.raises(StoreError) as caught:
        store.add([call("a")], recorded_at=NOW)
    assert caught.value.record_id is None


def test_the_journal_finds_the_refused_event_by_its_name(store: Store) -> None:
    """Of a thousand events all but one are in the store after a few batches, and that one is handed back."""
    batch = [call(f"e{n}") for n in range(1_000)]
    batch[700] = call("e700", duration_ms=2**63)
    sink = Sink(store)
    assert deliver(sink, batch) == [batch[700]]
    assert sink.sizes == [1_000, 0, 1, 0, 1, 0, 500, 499]
    assert store.count() == 999


def test_the_journal_finds_every_refused_event(store: Store) -> None:
    """Several that are refused, two of them under one id, are all handed back, and no other."""
    refused = {3, 4, 50, 98}
    batch = [call(f"e{n}", duration_ms=2**63 if n in refused else 1) for n in range(100)]
    batch[4] = call("e3", duration_ms=2**64)
    sink = Sink(store)
    found = deliver(sink, batch)
    assert sorted(event.duration_ms or 0 for event in found) == [2**63, 2**63, 2**63, 2**64]
    assert store.count() == 96


def test_what_is_known_is_found_among_what_is_new(store: Store) -> None:
    """In a batch larger than one look-up, known and new events are told apart wherever they stand."""
    store.add([priced(f"e{n}", "m", "1") for n in range(0, 1_500, 3)], recorded_at=NOW)
    batch = [priced(f"e{n}", "m", "2" if n == 600 else "1") for n in range(1_500)]
    assert store.add(batch, recorded_at=NOW) == Added(new=1_000, known=500, different=("e600",))
    assert ask(store, "SELECT count(*), max(seq), sum(cost_hi) FROM events") == [(1_500, 1_500, 1_500_000)]


def test_a_batch_of_nothing_changes_nothing_but_is_written(store: Store) -> None:
    """Adding no events takes no number, and fails where adding some would."""
    store.add([call("a")], recorded_at=NOW)
    assert store.add([], recorded_at=NOW) == Added(new=0, known=0)
    assert ask(store, "SELECT value FROM counters WHERE name = 'seq'") == [(1,)]
    with store._database._alone() as connection:
        connection.execute("PRAGMA query_only = ON")
    with pytest.raises(StoreError, match="cannot be written"):
        store.add([], recorded_at=NOW)


def test_one_part_that_says_nothing_new_is_not_written_twice(store: Store) -> None:
    """Only a part that differs from its event in model, figures or billing has rows of its own."""
    own = priced("own", "m", "1")
    (part,) = own.parts
    others = [
        priced("model", "m", "1", parts=(share("n", "1"),)),
        priced("usage", "m", "1", parts=(share("m", "1", tokens=11),)),
        priced("cost", "m", "1", parts=(share("m", "2"),)),
        priced("unbilled", "m", "1", parts=(share("m", None, billed=False),)),
        priced("two", "m", "2", parts=(part, part)),
    ]
    store.add([own, call("bare", request_model="m"), *others], recorded_at=NOW)
    assert ask(store, "SELECT id FROM sole_parts JOIN events ON seq = event_seq") == [("own",)]
    with_rows = "SELECT DISTINCT id FROM parts JOIN events ON seq = event_seq ORDER BY seq"
    assert ask(store, with_rows) == [(event.id,) for event in others]
    assert list(store.events()) == [own, call("bare", request_model="m"), *others]


def test_reports_asked_for_together_are_of_one_moment(store: Store) -> None:
    """A call that is recorded while the first of two reports is made is in neither."""
    store.add([priced("a", "m", "1")], recorded_at=NOW)
    late = [priced("b", "m", "2")]

    def meanwhile(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if late and statement.startswith("SELECT"):
            with open_store(store.url) as another:
                another.add([late.pop()], recorded_at=NOW)

    store.count()  # opens what reads
    hooks.listen(store._database._engine, "after_cursor_execute", meanwhile)
    rows, (total,) = store.reports([["model"], []])
    assert not late
    assert ([str(row.cost) for row in rows], str(total.cost), total.calls) == (["1"], "1", 1)
    assert [str(row.cost) for row in store.report(["model"])] == ["3"]


def test_a_sync_puts_the_log_on_the_disk(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It syncs the log and the folder, waits for no reader, and says so when the disk fails."""
    synced: list[int] = []

    def note(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)

    store.add([call("a"), call("b")], recorded_at=NOW)
    reading = store.events()
    next(reading)
    store.add([call("c")], recorded_at=NOW)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", note)
        store.sync()
        assert synced == [it.stat().st_ino for it in (Path(f"{store.path}-wal"), store.path.parent)]

        def fail(_: int) -> None:
            raise OSError(5, "Input/output error")

        patch.setattr(os, "fsync", fail)
        with pytest.raises(StoreError, match=r"cannot be put on the disk: Input/output error"):
            store.sync()
    assert [event.id for event in reading] == ["b"]
    store.close()
    store.sync()  # closed, so that there is no log any more
