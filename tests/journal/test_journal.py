"""The journal of one process, from its first record to the removal of its file."""

from __future__ import annotations

import gc
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import msgspec
import pytest

from taximeter.errors import JournalError
from taximeter.journal import Journal, Recovered, look, recover
from taximeter.journal import files as files_module
from taximeter.journal import journal as journal_module
from tests.journal.helpers import Shelf, finished, opening


@pytest.fixture(params=["process", "fsync"])
def journal(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Journal]:
    """A journal in an empty folder, in either durability."""
    made = Journal.create(tmp_path / "journal", durability=request.param)
    yield made
    _die(made)


def _die(journal: Journal) -> None:
    """What the kernel does for a process that dies."""
    journal.after_fork_in_child()


def _drained(journal: Journal, limit: int = 1_000) -> list[str]:
    ids: list[str] = []
    while events := journal.waiting(limit):
        ids += [event.id for event in events]
        journal.confirm(len(events))
    return ids


def _recovered(journal: Journal) -> tuple[Shelf, Recovered]:
    _die(journal)
    shelf = Shelf()
    return shelf, recover(journal.folder, shelf)


def test_more_events_than_are_kept_in_memory(journal: Journal) -> None:
    """Whatever comes from memory, or from the file, or from both by turns: each once, and in order."""
    journal.kept_events_max = 3
    seen: list[str] = []
    closed = 0
    for step in range(60):
        for _ in range((step * 7) % 5):
            journal.closed(finished(closed))
            closed += 1
        events = journal.waiting(1 + step % 4)
        seen += [event.id for event in events[: 1 + step % 2]]
        journal.confirm(min(len(events), 1 + step % 2))
        assert len(journal._kept) <= 3
    assert seen + _drained(journal) == [f"call-{number}" for number in range(closed)]
    journal.closed(finished(closed))
    assert journal._all_kept, "what was read back is confirmed: from here on memory will do again"
    assert _drained(journal) == [f"call-{closed}"]


def test_text_that_is_mended_in_the_file_is_mended_for_the_store(journal: Journal) -> None:
    """Half a surrogate pair can be stored nowhere: what comes is what stands in the file."""
    journal.closed(finished(1))
    journal.closed(msgspec.structs.replace(finished(2), finish_reason="a\ud800b"))
    assert [event.finish_reason for event in journal.waiting(9)][1] == "a\ufffdb"


def test_nothing_is_made_before_the_first_record(journal: Journal) -> None:
    """A process that makes no call has a folder, and no file in it."""
    assert list(journal.folder.iterdir()) == []
    journal.opened(opening(1))
    assert journal.path is not None
    assert [path.stat().st_mode & 0o777 for path in journal.folder.iterdir()] == [0o600]


@pytest.mark.parametrize("kept", [0, 1, 2, 1_000])
def test_events_come_back_in_order_until_confirmed(journal: Journal, kept: int) -> None:
    """What is waiting stays until it is confirmed, comes in the order of closing, and equals what went in."""
    journal.kept_events_max = kept
    for number in range(5):
        journal.opened(opening(number))
    for number in (3, 1, 4):
        journal.closed(finished(number))
    assert (journal.open_calls, journal.waiting_events) == (2, 3)
    assert journal.waiting(2) == [finished(3), finished(1)]
    assert journal.waiting(2) == [finished(3), finished(1)]
    journal.confirm(1)
    assert journal.waiting(9) == [finished(1), finished(4)]
    journal.confirm(2)
    assert journal.waiting(9) == []
    assert (journal.open_calls, journal.waiting_events) == (2, 0)


def test_the_file_is_gone_after_a_clean_end(journal: Journal) -> None:
    """With no call open and all confirmed, closing leaves an empty folder."""
    journal.opened(opening(1))
    journal.closed(finished(1))
    assert _drained(journal) == ["call-1"]
    assert journal.close()
    assert list(journal.folder.iterdir()) == []
    assert journal.bytes_on_disk == 0


def test_an_open_call_outlives_the_close(journal: Journal) -> None:
    """Closing with a call open keeps the file, for the call that may still end or for the next recovery."""
    journal.opened(opening(1))
    assert not journal.close()
    journal.closed(finished(1))
    assert _drained(journal) == ["call-1"]
    assert list(journal.folder.iterdir()) == []


def test_a_late_call_starts_a_new_file(journal: Journal) -> None:
    """A call made while the process is ending, after the journal was closed, is not lost."""
    journal.opened(opening(1))
    journal.closed(finished(1))
    _drained(journal)
    assert journal.close()
    journal.opened(opening(2))
    shelf, found = _recovered(journal)
    assert (found.finished_calls, found.unknown_calls) == (0, 1)
    assert shelf.events == {"call-2": opening(2).unknown()}


def test_the_file_shrinks_under_calls_that_never_stop(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a call always open the file is still bounded, and no record that matters is left behind."""
    monkeypatch.setattr(journal_module, "SHRINK_BYTES", 20_000)
    monkeypatch.setattr(journal_module, "_COPY_BYTES", 5_000)
    journal._shrink_at = 20_000
    journal.opened(opening(0))
    told: list[str] = []
    largest = 0
    for number in range(1, 301):
        journal.opened(opening(number))
        journal.closed(finished(number))
        if number % 3 == 0:  # one always stays behind
            events = journal.waiting(100)[:-1]
            told += [event.id for event in events]
            journal.confirm(len(events))
        largest = max(largest, journal.bytes_on_disk)
    assert len(list(journal.folder.iterdir())) == 1
    assert journal.path is not None
    assert journal.path.stat().st_size == journal.bytes_on_disk
    shelf, found = _recovered(journal)
    assert [*told, *(name for name in shelf.events if name not in told)] == [
        *(f"call-{number}" for number in range(1, 301)),
        "call-0",
    ]
    assert found.unknown_calls == 1
    assert largest < 30_000 < 300 * 800


def test_a_backlog_is_not_in_memory(journal: Journal) -> None:
    """Ten thousand events wait in the file: reading them back takes one batch at a time."""
    if journal.durability == "fsync":
        return  # ten thousand syncs say nothing more
    for number in range(10_000):
        journal.closed(finished(number))
    gc.collect()
    before = len(gc.get_objects())
    assert journal.waiting_events == 10_000
    assert len(journal.waiting(100)) == 100
    assert len(gc.get_objects()) - before < 100
    assert _drained(journal) == [f"call-{number}" for number in range(10_000)]


def test_many_threads(journal: Journal) -> None:
    """Records of many threads do not mix, and while one thread confirms the others write on."""
    threads = [
        threading.Thread(
            target=lambda base=base: [
                (journal.opened(opening(number)), journal.closed(finished(number, padding=number % 5_000)))
                for number in range(base, base + 50)
            ]
        )
        for base in range(0, 400, 50)
    ]
    for thread in threads:
        thread.start()
    told: list[str] = []
    while any(thread.is_alive() for thread in threads):
        told += _drained(journal, 7)
    told += _drained(journal, 7)
    assert sorted(told) == sorted(f"call-{number}" for number in range(400))
    assert journal.close()


def test_a_finaliser_inside_a_record(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that is closed while this very thread writes another record neither hangs nor spoils it."""
    write_all = files_module.write_all
    nested = [9, 8]

    def interrupted(descriptor: int, data: bytes) -> None:
        half = len(data) // 2
        write_all(descriptor, data[:half])
        if nested:
            journal.closed(finished(nested.pop()))
        write_all(descriptor, data[half:])

    journal.opened(opening(1))
    monkeypatch.setattr(files_module, "write_all", interrupted)
    journal.closed(finished(1))
    assert _drained(journal) == ["call-1", "call-8", "call-9"]
    assert journal.failures == 0


def test_ctrl_c_between_writing_and_counting(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception of a signal handler in the midst of a record leaves the count as the file has it."""
    write_all = files_module.write_all

    def interrupted(descriptor: int, data: bytes) -> None:
        write_all(descriptor, data)
        raise KeyboardInterrupt

    journal.opened(opening(1))
    with monkeypatch.context() as patch:
        patch.setattr(files_module, "write_all", interrupted)
        with pytest.raises(KeyboardInterrupt):
            journal.closed(finished(1))
    journal.closed(finished(2))
    assert journal.open_calls == 0
    assert _drained(journal) == ["call-1", "call-2"]
    assert journal.close()


def _limit_file_size(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@pytest.fixture
def file_size_limit() -> Iterator[None]:
    """Puts the limit back."""
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield
    _limit_file_size(resource.RLIM_INFINITY)
    signal.signal(signal.SIGXFSZ, before)


@pytest.mark.usefixtures("file_size_limit")
def test_a_full_disk_spoils_nothing(journal: Journal) -> None:
    """What does not fit is an error that says what to do, leaves no half record, and goes once there is room."""
    journal.opened(opening(1))
    journal.opened(opening(2))
    size = journal.bytes_on_disk
    _limit_file_size(size + 500)  # room for a part of the next record
    with pytest.raises(JournalError, match=r"journal .*\.journal: cannot write: File too large: .*raise the limit"):
        journal.closed(finished(1))
    assert journal.path is not None
    assert journal.path.stat().st_size == size
    assert (journal.open_calls, journal.waiting_events, journal.failures) == (2, 0, 1)
    assert "File too large" in (journal.last_error or "")
    _limit_file_size(resource.RLIM_INFINITY)
    journal.closed(finished(1))
    shelf, found = _recovered(journal)
    assert shelf.events == {"call-1": finished(1), "call-2": opening(2).unknown()}
    assert found.set_aside == ()


@pytest.mark.usefixtures("file_size_limit")
def test_half_a_record_that_cannot_be_cut_off(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a disk fails so badly that half a record stays, it is passed over and the file kept."""

    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error")

    journal.opened(opening(1))
    _limit_file_size(journal.bytes_on_disk + 500)
    monkeypatch.setattr(os, "ftruncate", broken)
    with pytest.raises(JournalError):
        journal.closed(finished(1))
    monkeypatch.undo()
    _limit_file_size(resource.RLIM_INFINITY)
    journal.closed(finished(1))
    assert _drained(journal) == ["call-1"]
    assert journal.close()
    assert [path.suffix for path in journal.folder.iterdir()] == [".corrupt"]


@pytest.mark.usefixtures("file_size_limit")
def test_no_room_for_a_file(tmp_path: Path) -> None:
    """When not even an empty journal fits, every call hears of it; no litter is left, and later it works."""
    journal = Journal.create(tmp_path)
    _limit_file_size(5)
    for _ in range(3):
        with pytest.raises(JournalError, match="File too large"):
            journal.opened(opening(1))
    assert list(tmp_path.iterdir()) == []
    _limit_file_size(resource.RLIM_INFINITY)
    journal.opened(opening(1))
    assert journal.open_calls == 1
    _die(journal)


@pytest.mark.usefixtures("file_size_limit")
def test_no_room_to_shrink(journal: Journal) -> None:
    """When what is left cannot be moved to a new file, the old one is kept and nothing is lost."""
    journal._shrink_at = 100
    for number in range(3):
        journal.opened(opening(number))
    journal.closed(finished(1))
    journal.closed(finished(2))
    assert len(journal.waiting(1)) == 1
    _limit_file_size(50)
    journal.confirm(1)
    _limit_file_size(resource.RLIM_INFINITY)
    assert journal.failures == 1
    assert len(list(journal.folder.iterdir())) == 1
    shelf, found = _recovered(journal)
    assert set(shelf.events) == {"call-0", "call-1", "call-2"}
    assert found.unknown_calls == 1


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    """A path that is a file is named in the error, and so is the cause."""
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match=r"journal .*file/journal: cannot make the folder: Not a directory"):
        Journal.create(tmp_path / "file" / "journal")


def test_a_record_that_is_too_large(journal: Journal) -> None:
    """A record that recovery would take for damage is not written."""
    with pytest.raises(JournalError, match="at most"):
        journal.closed(finished(1, padding=17 * 2**20))
    assert journal.bytes_on_disk == 0


def test_a_sync_that_fails_is_not_believed_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failed sync everything is written anew, to another file, since the kernel may have dropped it."""

    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    journal = Journal.create(tmp_path, durability="fsync")
    journal.opened(opening(1))
    journal.opened(opening(2))
    inode = next(tmp_path.iterdir()).stat().st_ino
    monkeypatch.setattr(os, "fdatasync", broken)
    with pytest.raises(JournalError, match="cannot sync: Input/output error"):
        journal.closed(finished(1))
    monkeypatch.undo()
    journal.closed(finished(2))
    (path,) = tmp_path.iterdir()
    assert path.stat().st_ino != inode
    assert _drained(journal) == ["call-1", "call-2"]
    assert journal.close()


def test_one_sync_serves_all_who_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one thread syncs, others write; one more sync serves them all."""
    syncing, go_on = threading.Event(), threading.Event()
    syncs = count()
    fdatasync = os.fdatasync

    def slow(descriptor: int) -> None:
        if next(syncs) == 0:
            syncing.set()
            go_on.wait(10)
        fdatasync(descriptor)

    journal = Journal.create(tmp_path, durability="fsync")
    journal.opened(opening(0))
    monkeypatch.setattr(os, "fdatasync", slow)
    threads = [threading.Thread(target=journal.opened, args=(opening(number),)) for number in range(1, 21)]
    threads[0].start()
    assert syncing.wait(10)
    for thread in threads[1:]:
        thread.start()
    while journal.open_calls < 21:  # all written, none on the disk
        pass
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert next(syncs) <= 3
    _die(journal)


def test_damage_in_a_living_file(journal: Journal) -> None:
    """A record that the disk spoiled stops nothing: those behind it come, and the file is kept at the end."""
    journal.kept_events_max = 0
    for number in range(3):
        journal.closed(finished(number))
    assert journal.path is not None
    with journal.path.open("r+b") as file:
        content = file.read()
        file.seek(content.index(b"call-1") + 2)
        file.write(b"X")
    assert _drained(journal) == ["call-0", "call-2"]
    assert journal.waiting_events == 0
    assert journal.close()
    assert [path.suffix for path in journal.folder.iterdir()] == [".corrupt"]


def test_damage_at_the_end_of_a_living_file(journal: Journal) -> None:
    """When all that waits is spoiled, nothing waits, and later events come."""
    journal.kept_events_max = 0
    journal.closed(finished(0))
    assert journal.path is not None
    with journal.path.open("r+b") as file:
        file.seek(-3, os.SEEK_END)
        file.write(b"XX")
    assert _drained(journal) == []
    assert journal.waiting_events == 0
    journal.closed(finished(1))
    assert _drained(journal) == ["call-1"]


def test_importing_opens_nothing() -> None:
    """Importing the package starts no thread and opens no file."""
    code = (
        "import os, threading; before = len(os.listdir('/proc/self/fd')); import taximeter.journal; "
        "print(threading.active_count(), len(os.listdir('/proc/self/fd')) - before)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["1", "0"]


def test_a_look_at_the_folder(journal: Journal) -> None:
    """Whoever looks learns which journals live and which were left, and changes nothing."""
    journal.opened(opening(1))
    state = look(journal.folder)
    assert (state.live, state.left, state.size_bytes) == (1, 0, journal.bytes_on_disk)
    _die(journal)
    state = look(journal.folder)
    assert (state.live, state.left, state.refused, state.corrupt) == (0, 1, (), ())
    with suppress(FileNotFoundError):
        assert look(journal.folder / "none").live == 0
