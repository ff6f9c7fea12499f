"""The thread between the journal and a sink that works, or does not."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from taximeter.event import CallEvent
from taximeter.journal import Journal, Pace, Writer, look, recover
from tests.journal.helpers import Shelf, finished, opening

QUICK = Pace(gather_s=0.001, retry_s=0.001, retry_s_max=0.004)
PATIENT = Pace(gather_s=0.001, retry_s=60, retry_s_max=60)
TIME = 10
"""Seconds that nothing here takes."""


@pytest.fixture(params=["process", "fsync"])
def journal(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Journal]:
    """A journal in an empty folder, in either durability."""
    made = Journal.create(tmp_path / "journal", durability=request.param)
    yield made
    made.after_fork_in_child()


def _call(journal: Journal, *numbers: int) -> None:
    for number in numbers:
        journal.opened(opening(number))
        journal.closed(finished(number))


def test_events_reach_the_sink(journal: Journal) -> None:
    """The thread starts with the first finished call, and what was flushed is stored and forgotten."""
    shelf = Shelf()
    writer = Writer(journal, shelf, QUICK)
    journal.opened(opening(1))
    assert not writer.running
    journal.closed(finished(1))
    assert writer.running
    _call(journal, *range(2, 50))
    assert writer.flush(TIME)
    assert shelf.events == {f"call-{number}": finished(number) for number in range(1, 50)}
    assert (writer.stored_events, writer.failures, journal.waiting_events) == (49, 0, 0)
    assert (shelf.synced == 49) == (journal.durability == "fsync")
    assert writer.stop(TIME)
    assert journal.close()
    assert list(journal.folder.iterdir()) == []


def test_calls_that_finish_together_are_stored_together(tmp_path: Path) -> None:
    """A batch is what came while it was gathered, and no more than its size."""
    journal, shelf = Journal.create(tmp_path), Shelf()
    writer = Writer(journal, shelf, Pace(batch_events=40, gather_s=60))
    _call(journal, *range(100))
    assert writer.flush(TIME)
    assert max(shelf.batches) == 40
    assert len(shelf.batches) <= 4
    writer.stop(TIME)


def test_a_sink_that_fails_delays_and_loses_nothing(journal: Journal) -> None:
    """While the sink fails, calls go on; the failures are counted and the last one told; then all is stored."""
    shelf = Shelf()
    failed_often = threading.Event()

    def failing(events: Sequence[CallEvent]) -> None:
        shelf.batches.append(len(events))
        if len(shelf.batches) >= 10:
            failed_often.set()
        raise OSError(28, "No space left on device")

    add, shelf.add = shelf.add, failing
    writer = Writer(journal, shelf, QUICK)
    _call(journal, *range(20))
    assert failed_often.wait(TIME)
    assert not writer.flush(0.01)
    assert writer.failures >= 4
    assert writer.last_error == "OSError: [Errno 28] No space left on device"
    _call(journal, *range(20, 30))
    assert journal.waiting_events == 30
    shelf.add = add
    assert writer.flush(TIME)
    assert sorted(shelf.events) == sorted(f"call-{number}" for number in range(30))
    assert writer.last_error is None
    writer.stop(TIME)


def test_a_flush_does_not_wait_for_the_next_attempt(journal: Journal) -> None:
    """Between two attempts, a minute apart, a flush tries at once."""
    shelf = Shelf()
    shelf.fault = OSError(5, "Input/output error")
    writer = Writer(journal, shelf, PATIENT)
    _call(journal, 1)
    assert not writer.flush(0.05)
    shelf.fault = None
    assert writer.flush(TIME)
    writer.stop(TIME)


def test_a_sink_that_hangs_holds_up_no_call(tmp_path: Path) -> None:
    """While the sink sits on a batch, calls are journaled at full speed and a flush gives up when told."""
    go_on, inside = threading.Event(), threading.Event()

    class Stuck(Shelf):
        def add(self, events: Sequence[CallEvent]) -> None:
            inside.set()
            assert go_on.wait(TIME)
            super().add(events)

    journal, shelf = Journal.create(tmp_path), Stuck()
    writer = Writer(journal, shelf, QUICK)
    _call(journal, 0)
    assert inside.wait(TIME)
    _call(journal, *range(1, 500))
    assert not writer.flush(0.01)
    assert (journal.open_calls, journal.waiting_events) == (0, 500)
    go_on.set()
    assert writer.flush(TIME)
    assert len(shelf.events) == 500
    writer.stop(TIME)


def test_an_event_that_the_sink_refuses_holds_up_no_other(journal: Journal) -> None:
    """It is kept on disk, counted, and found again by the next recovery."""
    shelf = Shelf()
    shelf.poison = {"call-3"}
    writer = Writer(journal, shelf, QUICK)
    _call(journal, *range(8))
    assert writer.flush(TIME)
    assert (len(shelf.events), writer.stored_events, writer.refused_events, writer.failures) == (7, 7, 1, 0)
    assert len(look(journal.folder).refused) == 1
    writer.stop(TIME)
    shelf.poison = set()
    recover(journal.folder, shelf)
    assert shelf.events["call-3"] == finished(3)


def test_an_event_that_the_journal_could_not_write(journal: Journal) -> None:
    """It goes to the sink from memory, as many as make a batch, and its call is no longer open."""
    shelf = Shelf()
    writer = Writer(journal, shelf, Pace(batch_events=2, gather_s=60))
    journal.opened(opening(1))
    assert writer.rescue(finished(1))
    assert writer.rescue(finished(2))
    assert not writer.rescue(finished(3))
    assert writer.flush(TIME)
    assert set(shelf.events) == {"call-1", "call-2"}
    assert journal.open_calls == 0
    assert writer.rescue(finished(3))
    assert writer.stop(TIME)


def test_a_call_after_the_stop_starts_the_thread_again(journal: Journal) -> None:
    """Late calls are stored too."""
    shelf = Shelf()
    writer = Writer(journal, shelf, QUICK)
    _call(journal, 1)
    assert writer.stop(TIME)
    assert not writer.running
    _call(journal, 2)
    assert writer.flush(TIME)
    assert set(shelf.events) == {"call-1", "call-2"}
    writer.stop(TIME)


def test_calls_from_an_event_loop(journal: Journal) -> None:
    """Calls of many tasks are journaled from the loop itself, and stored."""
    shelf = Shelf()
    writer = Writer(journal, shelf, QUICK)

    async def one(number: int) -> None:
        journal.opened(opening(number))
        await asyncio.sleep(0)
        journal.closed(finished(number))

    async def all_of_them() -> None:
        await asyncio.gather(*(one(number) for number in range(100)))

    asyncio.run(all_of_them())
    assert writer.flush(TIME)
    assert len(shelf.events) == 100
    writer.stop(TIME)


def test_a_process_without_threads_to_spare(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """When no thread can be started the events stay in the journal, and a flush moves them itself."""

    def exhausted(_: threading.Thread) -> None:
        msg = "can't start new thread"
        raise RuntimeError(msg)

    shelf = Shelf()
    writer = Writer(journal, shelf, QUICK)
    monkeypatch.setattr(threading.Thread, "start", exhausted)
    _call(journal, 1)
    assert (writer.running, journal.waiting_events) == (False, 1)
    assert writer.last_error == "RuntimeError: can't start new thread"
    assert writer.flush(TIME)
    assert set(shelf.events) == {"call-1"}


EXIT = """
import asyncio, sys, threading, atexit, time
from pathlib import Path
from taximeter.journal import Journal, Writer
from taximeter.store import open_store
from tests.journal.helpers import StoreSink, opening, finished
folder = Path(sys.argv[1])
atexit.register(lambda: sys.argv[2] == "late" and call(99))
journal = Journal.create(folder / "journal")
writer = Writer(journal, StoreSink(open_store(str(folder / "store"))))
def call(number):
    journal.opened(opening(number))
    journal.closed(finished(number))
call(0)
match sys.argv[2]:
    case "thread":
        threading.Thread(target=lambda: (threading.main_thread().join(), call(1))).start()
    case "loop":
        async def later():
            await asyncio.sleep(0)
            call(1)
        asyncio.run(later())
    case "daemon":
        journal.opened(opening(1))
        threading.Thread(target=lambda: time.sleep(60), daemon=True).start()
    case "raise":
        call(1)
        raise SystemExit(3)
    case "late":
        call(1)
"""


@pytest.mark.parametrize("way", ["thread", "loop", "daemon", "raise", "late"])
def test_the_end_of_the_process(tmp_path: Path, way: str) -> None:
    """Whatever the way out, what was finished is in the store at the end, and what was not is in the journal."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", EXIT, str(tmp_path), way],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (3 if way == "raise" else 0, "")
    left = [path.name for path in (tmp_path / "journal").iterdir()]
    shelf = Shelf()
    found = recover(tmp_path / "journal", shelf)
    if way == "daemon":  # it was still open
        assert (len(left), found.unknown_calls) == (1, 1)
    elif way == "late":  # by a handler that runs after ours
        assert (len(left), set(shelf.events)) == (1, {"call-99"})
    else:
        assert (left, shelf.events) == ([], {})
    from taximeter.store import open_store  # noqa: PLC0415 - only this test needs a store

    with open_store(str(tmp_path / "store"), create=False) as store:
        stored = {event.id for event in store.events()}
    assert stored == ({"call-0"} if way == "daemon" else {"call-0", "call-1"})
