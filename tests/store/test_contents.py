"""What was said in a call: kept where the event has it, and deleted without a trace when that is asked for."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from taximeter.codec import pack_event, unpack_event
from taximeter.errors import StoreError
from taximeter.event import CallEvent, Content
from taximeter.store import Added, Query, Store
from tests.store.helpers import NOW, ask, call, priced

SAID = Content("What is the capital of Latvia?", "Riga, on the Daugava.", ('{"city":"Rīga"}', ""))


def without(event: CallEvent) -> CallEvent:
    """The event with nothing of what was said."""
    return msgspec.structs.replace(event, content=None)


def test_contents_come_back_as_they_went_in(store: Store) -> None:
    """Each kind of content, an empty one and none: all come back equal, and none of them is made up."""
    contents = [SAID, Content(), Content(answer=""), Content(tool_arguments=("",)), None]
    batch = [priced(f"e{n}", "m", "1", content=content) for n, content in enumerate(contents)]
    store.add(batch, recorded_at=NOW)
    assert [event.content for event in store.events()] == contents
    assert list(store.events()) == batch
    assert ask(store, "SELECT count(*) FROM contents") == [(4,)]


def test_contents_go_through_the_journal() -> None:
    """The bytes that a journal writes of an event hold what was said."""
    event = call("a", content=SAID)
    assert unpack_event(pack_event(event)) == event
    assert unpack_event(pack_event(call("b"))).content is None


def test_nothing_is_left_of_forgotten_contents(store: Store) -> None:
    """The calls and their figures stay; what was said is not in the file any more, nor in what lies beside it."""
    said = [Content(f"secret question {n}", "secret answer" * n, ("secret argument",)) for n in range(1_200)]
    batch = [priced(f"e{n}", "m", "1", content=content) for n, content in enumerate(said)]
    store.add(batch, recorded_at=NOW)
    total = store.report([])
    assert store.forget_contents() == 1_200
    assert store.forget_contents() == 0
    assert list(store.events()) == [without(event) for event in batch]
    assert store.report([]) == total
    assert not [path for path in _files(store) if b"secret" in path.read_bytes()]


def test_contents_are_forgotten_up_to_a_moment(store: Store) -> None:
    """Those of calls that started before it go, in whatever order they were recorded; that of one at it stays."""
    starts = [NOW + timedelta(seconds=second) for second in (5, -1, 0, -300, 900)]
    store.add([call(f"e{n}", started_at=at, content=SAID) for n, at in enumerate(starts)], recorded_at=NOW)
    assert store.forget_contents(NOW) == 2
    assert [event.id for event in store.events() if event.content is None] == ["e1", "e3"]
    assert store.forget_contents(NOW) == 0
    with pytest.raises(StoreError, match="before has no time zone"):
        store.forget_contents(datetime(2026, 1, 1))  # noqa: DTZ001 - the very fault
    assert store.forget_contents() == 3


def test_forgetting_does_not_wait_for_a_reader(store: Store) -> None:
    """While an export is under way contents are deleted for everybody else; the export goes on with its own moment."""
    store.add([call(f"e{n}", content=SAID) for n in range(3)], recorded_at=NOW)
    reading = store.events()
    assert next(reading).content == SAID
    began = time.monotonic()
    assert store.forget_contents() == 3
    assert time.monotonic() - began < 15
    assert [event.content for event in store.events()] == [None, None, None]
    assert [event.content for event in reading] == [SAID, SAID]


def test_forgotten_contents_make_no_event_different(store: Store) -> None:
    """An event that comes again is known, with or without what was said; other words under its id are named."""
    event = call("a", content=SAID)
    store.add([event], recorded_at=NOW)
    assert store.add([event, without(event)], recorded_at=NOW) == Added(new=0, known=2)
    other = call("a", content=Content("Something else"))
    assert store.add([other], recorded_at=NOW).different == ("a",)
    store.forget_contents()
    assert store.add([event, other], recorded_at=NOW) == Added(new=0, known=2)
    assert store.add([call("a", status=500, content=SAID)], recorded_at=NOW).different == ("a",)
    assert [known.content for known in store.events(Query(provider="openai"))] == [None]


def _files(store: Store) -> list[Path]:
    return list(store.path.parent.glob(f"{store.path.name}*"))
