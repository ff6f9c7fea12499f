"""What dead processes left behind, in every state that it can be in."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from taximeter.codec import pack_event
from taximeter.journal import Journal, look, recover
from taximeter.journal import journal as journal_module
from taximeter.journal.frames import CLOSED, HEADER, OPENED, frame
from taximeter.journal.records import pack_open
from tests.journal.helpers import Shelf, finished, opening


def _opened(*numbers: int) -> list[bytes]:
    return [frame(OPENED, pack_open(opening(number))) for number in numbers]


def _closed(*numbers: int) -> list[bytes]:
    return [frame(CLOSED, pack_event(finished(number))) for number in numbers]


def _left(folder: Path, *pieces: bytes, name: str = "1-2-3.journal") -> Path:
    path = folder / name
    path.write_bytes(frame(HEADER, b"") + b"".join(pieces))
    return path


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_no_folder_is_nothing_to_do(tmp_path: Path) -> None:
    """Before the first call there is no folder, which is no error."""
    found = recover(tmp_path / "none", Shelf())
    assert (found.files, found.problems) == (0, ())


def test_finished_calls_are_stored_and_open_ones_are_unknown(tmp_path: Path) -> None:
    """A finished call comes as it was; an open one as an unknown event with all that was known, and without a cost."""
    _left(tmp_path, *_opened(1, 2, 3), *_closed(2))
    shelf = Shelf()
    found = recover(tmp_path, shelf)
    assert (found.finished_calls, found.unknown_calls, found.files, found.live) == (1, 2, 1, 0)
    assert shelf.events == {"call-2": finished(2), "call-1": opening(1).unknown(), "call-3": opening(3).unknown()}
    event = shelf.events["call-1"]
    assert (event.outcome, event.usage_source, event.usage, event.cost) == ("unknown", "unknown", None, None)
    assert (event.provider, event.request_model, event.scope, event.stream, event.attempt) == (
        "openai",
        "gpt-5",
        opening(1).scope,
        False,
        2,
    )
    assert _names(tmp_path) == []
    assert shelf.synced == 3


def test_a_living_journal_is_left_alone(tmp_path: Path) -> None:
    """Also one of this very process: it has an owner, whoever asks."""
    journal = Journal.create(tmp_path)
    journal.opened(opening(1))
    journal.closed(finished(1))
    shelf = Shelf()
    found = recover(tmp_path, shelf)
    assert (found.files, found.live, shelf.events) == (0, 1, {})
    assert [event.id for event in journal.waiting(5)] == ["call-1"]
    journal.after_fork_in_child()


def test_a_torn_last_record(tmp_path: Path) -> None:
    """Cut anywhere, the records before the cut are stored; a file with half a record is set aside, whole."""
    whole = b"".join([frame(HEADER, b""), *_opened(1), *_closed(1)])
    first = len(frame(HEADER, b""))
    second = first + len(_opened(1)[0])
    for cut in range(len(whole) + 1):
        folder = tmp_path / str(cut)
        folder.mkdir()
        (folder / "a.journal").write_bytes(whole[:cut])
        shelf = Shelf()
        found = recover(folder, shelf)
        expected = {} if cut < second else {"call-1": opening(1).unknown() if cut < len(whole) else finished(1)}
        assert shelf.events == expected
        torn = cut not in (first, second, len(whole))
        assert _names(folder) == (["a.corrupt"] if torn else [])
        assert len(found.set_aside) == torn
        if torn:
            assert (folder / "a.corrupt").read_bytes() == whole[:cut]


def test_garbage_in_the_middle(tmp_path: Path) -> None:
    """What is good on both sides of it is stored, and the file kept as it was found."""
    path = _left(tmp_path, *_closed(1), b"\x00" * 5_000, *_opened(2), b"TX1 junk \xffTX1", *_closed(3))
    content = path.read_bytes()
    shelf = Shelf()
    found = recover(tmp_path, shelf)
    assert set(shelf.events) == {"call-1", "call-2", "call-3"}
    assert [path.name for path in found.set_aside] == ["1-2-3.corrupt"]
    assert found.set_aside[0].read_bytes() == content
    assert look(tmp_path).corrupt == found.set_aside
    assert recover(tmp_path, shelf).files == 0


def test_a_second_damaged_file_of_the_same_name(tmp_path: Path) -> None:
    """A file that was set aside before is not written over."""
    (tmp_path / "1-2-3.corrupt").write_text("older")
    _left(tmp_path, b"junk")
    (path,) = recover(tmp_path, Shelf()).set_aside
    assert path.name == "1-2-3-2.corrupt"
    assert (tmp_path / "1-2-3.corrupt").read_text() == "older"


@pytest.mark.parametrize("content", [b"", b"\x00" * 4_096, b"a letter to my landlord", b"SQLite format 3\x00"])
def test_a_file_that_is_no_journal(tmp_path: Path, content: bytes) -> None:
    """A file with our ending and nothing of ours in it is set aside, never removed, and stops nothing."""
    (tmp_path / "0.journal").write_bytes(content)
    _left(tmp_path, *_closed(1))
    shelf = Shelf()
    found = recover(tmp_path, shelf)
    assert set(shelf.events) == {"call-1"}
    assert (tmp_path / "0.corrupt").read_bytes() == content
    assert len(found.set_aside) == 1


def test_things_that_are_no_files(tmp_path: Path) -> None:
    """A folder, a pipe and a link with our ending, and other people's files, are left as they are."""
    (tmp_path / "a.journal").mkdir()
    os.mkfifo(tmp_path / "b.journal")
    (tmp_path / "c.journal").symlink_to("nowhere")
    (tmp_path / "notes.txt").write_text("mine")
    _left(tmp_path, *_closed(1))
    found = recover(tmp_path, Shelf())
    assert (found.files, found.problems) == (1, ())
    assert _names(tmp_path) == ["a.journal", "b.journal", "c.journal", "notes.txt"]


def test_what_a_newer_version_wrote_is_kept(tmp_path: Path) -> None:
    """A kind of record that is not known here, or an event that cannot be read, is not thrown away."""
    _left(tmp_path, frame(b"Z", b"news"), *_closed(1), name="a.journal")
    _left(tmp_path, frame(CLOSED, b"\x09news"), *_closed(2), name="b.journal")
    shelf = Shelf()
    assert len(recover(tmp_path, shelf).set_aside) == 2
    assert set(shelf.events) == {"call-1", "call-2"}


def test_a_file_that_was_never_completed(tmp_path: Path) -> None:
    """A journal whose maker died before it got its name has nothing in it that is not elsewhere, and goes."""
    _left(tmp_path, *_opened(1), name="a.journal.new")
    assert recover(tmp_path, Shelf()).files == 0
    assert _names(tmp_path) == []


def test_a_sink_that_does_not_work_keeps_the_files(tmp_path: Path) -> None:
    """What the sink raises comes out; the next recovery finds everything as it was."""
    path = _left(tmp_path, *_opened(1, 2), *_closed(2))
    shelf = Shelf()
    shelf.fault = OSError(28, "No space left on device")
    with pytest.raises(OSError, match="No space left"):
        recover(tmp_path, shelf)
    assert path.exists()
    shelf.fault = None
    assert recover(tmp_path, shelf).finished_calls == 1
    assert set(shelf.events) == {"call-1", "call-2"}


def test_more_than_a_batch(tmp_path: Path) -> None:
    """A large file goes in batches, its unknown calls too."""
    _left(tmp_path, *_opened(*range(2_500)), *_closed(*range(1_200)))
    shelf = Shelf()
    found = recover(tmp_path, shelf)
    assert (found.finished_calls, found.unknown_calls) == (1_200, 1_300)
    assert len(shelf.events) == 2_500
    assert shelf.batches == [1_000, 1_000, 500]


def test_an_event_that_the_store_refuses(tmp_path: Path) -> None:
    """It is kept in a file of its own, offered again at each recovery, and holds up no other."""
    _left(tmp_path, *_closed(*range(50)))
    shelf = Shelf()
    shelf.poison = {"call-7", "call-30"}
    found = recover(tmp_path, shelf)
    assert found.refused_calls == 2
    assert len(shelf.events) == 48
    (kept,) = look(tmp_path).refused
    assert recover(tmp_path, shelf).refused_calls == 2
    assert look(tmp_path).refused == (kept,)
    shelf.poison = set()
    assert recover(tmp_path, shelf).refused_calls == 0
    assert shelf.events["call-7"] == finished(7)
    assert _names(tmp_path) == []


def test_two_recoveries_at_once(tmp_path: Path) -> None:
    """Each file is recovered by one of them, and nothing is stored twice or missed."""
    for name in range(40):
        _left(tmp_path, *_opened(2 * name, 2 * name + 1), *_closed(2 * name), name=f"{name}.journal")
    shelves = [Shelf() for _ in range(4)]
    threads = [threading.Thread(target=recover, args=(tmp_path, shelf)) for shelf in shelves]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stored = [name for shelf in shelves for name in shelf.events]
    assert sorted(stored) == sorted(f"call-{number}" for number in range(80))
    assert _names(tmp_path) == []


def test_recoveries_all_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While journals are made, moved to new files and removed, a recovery that runs all the time takes nothing."""
    monkeypatch.setattr(journal_module, "SHRINK_BYTES", 2_000)
    shelf, stop = Shelf(), threading.Event()
    problems: list[str] = []

    def recovering() -> None:
        while not stop.is_set():
            found = recover(tmp_path, shelf)
            problems.extend(found.problems)
            problems.extend(path.name for path in found.set_aside)

    thread = threading.Thread(target=recovering, daemon=True)
    thread.start()
    told: list[str] = []
    for round_of in range(40):
        journal = Journal.create(tmp_path)
        journal._shrink_at = 2_000
        for number in range(round_of * 20, round_of * 20 + 20):
            journal.opened(opening(number))
            journal.closed(finished(number))
            events = journal.waiting(10)[: -1 if number % 20 < 19 else None]
            told += [event.id for event in events]
            journal.confirm(len(events))
        assert journal.failures == 0
        assert journal.close()
    stop.set()
    thread.join()
    assert told == [f"call-{number}" for number in range(800)]
    assert (shelf.events, problems) == ({}, [])
    assert _names(tmp_path) == []


def test_an_unreadable_file_is_a_problem_not_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that cannot be opened is named with its cause, and the others are recovered."""
    open_file = os.open

    def refusing(path: Path, flags: int, mode: int = 0o777) -> int:
        if Path(path).name == "a.journal":
            raise PermissionError(13, "Permission denied")
        return open_file(path, flags, mode)

    _left(tmp_path, *_closed(1), name="a.journal")
    _left(tmp_path, *_closed(2), name="b.journal")
    monkeypatch.setattr(os, "open", refusing)
    shelf = Shelf()
    found = recover(tmp_path, shelf)
    assert set(shelf.events) == {"call-2"}
    assert len(found.problems) == 1
    assert "a.journal: cannot open it: Permission denied: this user may not" in found.problems[0]
