"""What the meter failed at and what it did not meter: counted, kept beside the journals, merged, without any key."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from taximeter.errors import JournalError
from taximeter.journal import files
from taximeter.meter import snapshots
from taximeter.meter.health import FailureCount, Health, UnmeteredHost, prune, read_health
from taximeter.meter.snapshots import HEALTH, MOST_PLACES, OTHERS, Snapshot

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=40)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The journal folder of a test, not made yet."""
    return tmp_path / "journal"


@pytest.fixture
def health(folder: Path) -> Iterator[Health]:
    """The health of this process."""
    made = Health(lambda: folder)
    yield made
    made.close()


def counts(folder: Path) -> dict[str, int]:
    """How often each part failed, over all processes."""
    return {failed.where: failed.count for failed in read_health(folder).failures}


def calls(folder: Path) -> dict[str, int]:
    """How many calls to each host were not metered, over all processes."""
    return {seen.host: seen.calls for seen in read_health(folder).unmetered}


def kept(folder: Path) -> list[Path]:
    """Everything in the folder."""
    return sorted(folder.iterdir())


def failed(where: str, count: int, at: datetime = NOW, message: str = "x") -> FailureCount:
    """An entry for a part that failed, the first time an hour before the last."""
    return FailureCount(where=where, count=count, first_at=at - timedelta(hours=1), last_at=at, message=message)


def seen(host: str, count: int, at: datetime = NOW) -> UnmeteredHost:
    """An entry for a host that was not metered."""
    return UnmeteredHost(host=host, api="openai.chat", path="/v1/chat", calls=count, first_at=at, last_at=at)


def leave(folder: Path, snapshot: Snapshot) -> Path:
    """The snapshot of a dead process."""
    folder.mkdir(exist_ok=True)
    path = folder / (files.fresh_name() + HEALTH)
    files.let_go(snapshots.write(path, snapshot))
    return path


# ---- what a process counts


def test_nothing_happens_nothing_is_written(health: Health, folder: Path) -> None:
    """A meter without a failure makes no folder and no file, and asks for none."""
    health.save()
    assert not health.changed
    assert not folder.exists()
    assert read_health(folder) == snapshots.HealthReport()


def test_failures_are_counted_and_kept(health: Health, folder: Path) -> None:
    """By part, with the first and the last time, and the last message and call."""
    health.failure("journal", JournalError("the disk is full"), "call-1")
    health.failure("journal", OSError("gone"), "call-2")
    health.failure("reader", ValueError("no"))
    health.save()
    assert health.failures == {"journal": 2, "reader": 1}
    reader, journal = read_health(folder).failures
    assert (reader.where, reader.count, reader.message, reader.call_id) == ("reader", 1, "ValueError: no", None)
    assert (journal.where, journal.count, journal.message, journal.call_id) == ("journal", 2, "OSError: gone", "call-2")
    assert journal.first_at < journal.last_at < reader.last_at


def test_a_snapshot_is_private_and_replaced(health: Health, folder: Path) -> None:
    """One file for its owner alone, in a folder for its owner alone, whole at any time; unchanged, it is left alone."""
    health.failure("open", ValueError())
    health.save()
    (path,) = kept(folder)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    written = path.stat().st_ino
    health.save()
    assert path.stat().st_ino == written
    health.failure("open", ValueError())
    health.save()
    assert kept(folder) == [path]
    assert counts(folder) == {"open": 2}


def test_saving_seldom(folder: Path) -> None:
    """Who comes often writes once a second at most; a plain save at the end has all of it."""
    clock = [0]
    health = Health(lambda: folder, lambda: clock[0])
    for _ in range(5):
        health.failure("reader", ValueError())
        health.save_seldom()
    assert counts(folder) == {"reader": 1}
    clock[0] = 10**9
    health.save_seldom()
    assert counts(folder) == {"reader": 5}
    health.failure("reader", ValueError())
    health.save_seldom()
    assert counts(folder) == {"reader": 5}
    health.save()
    assert counts(folder) == {"reader": 6}
    health.close()


def test_no_key_is_kept(health: Health, folder: Path) -> None:
    """What looks like a key is taken out of a message before it is written."""
    health.failure("hook", ValueError("401 for Bearer sk-proj-abcdefgh12345678, api_key='hunter2', key=AIzaSyA1b2c3"))
    health.save()
    (path,) = kept(folder)
    text = path.read_text()
    assert "ValueError: 401 for" in text
    assert not any(secret in text for secret in ("sk-proj", "abcdefgh", "hunter2", "AIza"))


def test_an_error_that_cannot_tell_what_it_is(health: Health, folder: Path) -> None:
    """Neither one that fails at it nor one of half a character stops the meter."""

    class SilentError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    health.failure("hook", SilentError())
    health.failure("reader", ValueError("half \ud83d"))
    health.save()
    assert {each.where: each.message for each in read_health(folder).failures} == {
        "hook": "SilentError",
        "reader": "ValueError: half ?",
    }


def test_unmetered_hosts(health: Health, folder: Path) -> None:
    """Each call counts, at its host and path; what is no call, and what is in a query or a body, is not kept."""
    for _ in range(3):
        health.unmetered("POST", "LLM.internal:8000", "/v2/chat?key=secret")
    health.unmetered("POST", "llm.internal:8000", "/v1/embed")
    health.unmetered("POST", "me:word@tgi", "/generate")
    health.unmetered("GET", "llm.internal:8000", "/v2/chat")
    health.unmetered("POST", "shop.example", "/v1/orders")
    health.save()
    found = {(each.host, each.api, each.path): each.calls for each in read_health(folder).unmetered}
    assert found == {
        ("llm.internal:8000", "cohere.chat", "/v2/chat"): 3,
        ("llm.internal:8000", "cohere.embed", "/v1/embed"): 1,
        ("tgi", "huggingface.inference", "/generate"): 1,
    }


def test_the_number_of_hosts_is_bounded(health: Health, folder: Path) -> None:
    """The first ones are told apart, the others counted together; what is no host is one of the others."""
    for number in range(MOST_PLACES + 50):
        health.unmetered("POST", f"h{number}", "/v1/chat")
    health.unmetered("POST", "h0", "/v1/chat")
    health.unmetered("POST", "no host\n", "/v1/chat")
    health.save()
    found = calls(folder)
    assert len(found) == MOST_PLACES + 1
    assert (found["h0"], found[OTHERS]) == (2, 51)


def test_many_threads(health: Health, folder: Path) -> None:
    """No count is lost between threads that fail, threads that call, and one that saves."""

    def work() -> None:
        for _ in range(200):
            health.failure("reader", ValueError())
            health.unmetered("POST", "h", "/v1/chat")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        health.save()
    health.save()
    assert (counts(folder), calls(folder)) == ({"reader": 800}, {"h": 800})


def test_a_folder_that_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """That is counted and logged once, nothing raises, and all is written when it can be."""
    in_the_way = tmp_path / "journal"
    in_the_way.write_text("")
    health = Health(lambda: in_the_way)
    health.failure("journal", OSError())
    health.save()
    health.save()
    health.close()
    assert health.failures == {"journal": 1, "health": 3}
    assert len(caplog.records) == 1
    in_the_way.unlink()
    health.close()
    assert counts(in_the_way) == {"journal": 1, "health": 3}


def test_after_closing_a_new_file_begins(health: Health, folder: Path) -> None:
    """What was closed is a dead process' snapshot, which may be merged; what comes later counts beside it, once."""
    health.failure("reader", ValueError())
    health.close()
    prune(folder)
    health.failure("reader", ValueError())
    health.save()
    assert len(kept(folder)) == 2
    assert counts(folder) == {"reader": 2}
    assert health.failures == {"reader": 2}


# ---- other processes


CHILD = """
import os, signal, sys, time
from pathlib import Path
from taximeter.meter.health import Health
folder = Path(sys.argv[1])
health = Health(lambda: folder)
health.failure("journal", OSError("before"))
health.save()
"""


def run(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Runs a program in a process of its own."""
    command = [sys.executable, "-c", CHILD + code, str(folder)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def test_a_killed_process_is_counted(folder: Path, health: Health) -> None:
    """What was saved before the kill stays, and adds to what others count."""
    assert run(folder, "os.kill(os.getpid(), signal.SIGKILL)").returncode == -signal.SIGKILL
    health.failure("journal", OSError("mine"))
    health.save()
    assert counts(folder) == {"journal": 2}
    assert read_health(folder).failures[0].message == "OSError: mine"


def test_a_fork_starts_anew(folder: Path) -> None:
    """The child counts its own, in its own file; the parent's figures are in the books once."""
    code = """
pid = os.fork()
if not pid:
    assert not health.failures and not health.changed
    health.failure("reader", ValueError())
    health.save()
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
health.failure("journal", OSError("after"))
health.save()
"""
    done = run(folder, code)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(kept(folder)) == 2
    assert counts(folder) == {"journal": 2, "reader": 1}


def test_a_child_keeps_no_parent_alive(folder: Path) -> None:
    """A parent that was killed is dead although its forked child lives: its snapshot can be merged."""
    code = """
read, write = os.pipe()
if not os.fork():
    os.write(write, b"I live")
    os.read(sys.stdin.fileno(), 1)  # until the test lets go
    os._exit(0)
os.read(read, 6)
os.kill(os.getpid(), signal.SIGKILL)
"""
    command = [sys.executable, "-c", CHILD + code, str(folder)]
    parent = subprocess.Popen(command, stdin=subprocess.PIPE)
    assert parent.stdin is not None
    try:
        assert parent.wait(30) == -signal.SIGKILL
        (path,) = kept(folder)
        assert not files.is_owned(path)
    finally:
        parent.stdin.close()


# ---- reading and pruning


def test_snapshots_add_up(folder: Path) -> None:
    """Over processes: counts are summed, first and last times are the first and the last, the last message wins."""
    leave(folder, Snapshot(failures=(failed("store", 2, NOW, "late"),), unmetered=(seen("a", 1),)))
    early = NOW - timedelta(days=2)
    leave(
        folder, Snapshot(failures=(failed("store", 3, early, "early"),), unmetered=(seen("a", 4), seen("b", 1, early)))
    )
    report = read_health(folder)
    assert report.failures == (
        FailureCount(where="store", count=5, first_at=early - timedelta(hours=1), last_at=NOW, message="late"),
    )
    assert [(each.host, each.calls) for each in report.unmetered] == [("a", 5), ("b", 1)]


def test_damaged_files_are_named_and_skipped(folder: Path) -> None:
    """Whatever is in them: nothing, half of it, another layout, figures that cannot be, no end."""
    good = leave(folder, Snapshot(failures=(failed("store", 2),)))
    whole = good.read_bytes()
    contents = [b"", whole[:-9], b'{"version": 2}', whole.replace(b":2", b":-2"), b"\xff" * 9, b" " * 2**20 + whole]
    for number, data in enumerate(contents):
        (folder / f"{number}{HEALTH}").write_bytes(data)
    (folder / f"folder{HEALTH}").mkdir()
    report = read_health(folder)
    assert counts(folder) == {"store": 2}
    assert len(report.damaged) == len(contents) + 1
    assert good not in report.damaged


def test_a_folder_that_cannot_be_read(tmp_path: Path) -> None:
    """That is said, and not taken for good health."""
    place = tmp_path / "journal"
    place.write_text("")
    with pytest.raises(JournalError, match="cannot read the folder"):
        read_health(place)


def test_dead_snapshots_become_one(health: Health, folder: Path) -> None:
    """With the same sums; a living process keeps its own, and goes on with it."""
    health.failure("store", OSError())
    health.save()
    for number in range(20):
        leave(folder, Snapshot(failures=(failed("store", number),), unmetered=(seen(f"h{number % 3}", 1),)))
    before = read_health(folder)
    prune(folder, now=NOW)
    assert len(kept(folder)) == 2
    assert read_health(folder) == before
    health.failure("store", OSError())
    health.save()
    prune(folder, now=NOW)
    assert len(kept(folder)) == 2
    assert counts(folder) == {"store": 192}


def test_one_dead_snapshot_is_left_as_it_is(folder: Path) -> None:
    """There is nothing to merge it with, and nothing old in it."""
    path = leave(folder, Snapshot(failures=(failed("store", 1),)))
    written = path.stat().st_ino
    prune(folder, now=NOW)
    assert [each.stat().st_ino for each in kept(folder)] == [written]


def test_what_is_long_ago_is_forgotten(folder: Path) -> None:
    """Entry by entry, by the last time; a file with nothing else in it goes."""
    leave(
        folder,
        Snapshot(failures=(failed("store", 1, LONG_AGO), failed("open", 1)), unmetered=(seen("a", 1, LONG_AGO),)),
    )
    leave(folder, Snapshot(failures=(failed("store", 7, LONG_AGO),)))
    prune(folder, now=NOW)
    assert (counts(folder), calls(folder)) == ({"open": 1}, {})
    prune(folder, keep=timedelta(0), now=NOW + timedelta(days=1))
    assert kept(folder) == []


def test_damaged_files_go_in_the_end(folder: Path) -> None:
    """They are left for a person to see, and removed when they are old."""
    folder.mkdir()
    path = folder / f"1{HEALTH}"
    path.write_bytes(b"half")
    prune(folder)
    assert read_health(folder).damaged == (path,)
    os.utime(path, (0, 0))
    prune(folder)
    assert kept(folder) == []


def test_a_merger_that_died_counts_nothing_twice(folder: Path) -> None:
    """Killed after the merged file had its name and before the others were removed: neither read nor merged again."""
    code = """
from datetime import datetime, UTC
from taximeter.meter import snapshots
from taximeter.meter.health import prune
health.close()
for _ in range(3):
    health.failure("reader", ValueError())
    health.close()
def dies(self, missing_ok=False):
    os.kill(os.getpid(), signal.SIGKILL)
Path.unlink = dies
prune(folder)
"""
    assert run(folder, code).returncode == -signal.SIGKILL
    assert len(kept(folder)) == 5
    assert counts(folder) == {"journal": 1, "reader": 3}
    leave(folder, Snapshot(failures=(failed("store", 1, datetime.now(UTC)),)))
    for _ in range(2):
        prune(folder)
        assert counts(folder) == {"journal": 1, "reader": 3, "store": 1}
        assert len(kept(folder)) == 1


def test_the_merged_file_is_bounded_too(folder: Path) -> None:
    """Hosts of many processes do not add up without end."""
    for part in range(3):
        leave(folder, Snapshot(unmetered=tuple(seen(f"h{part}-{number}", 1) for number in range(MOST_PLACES))))
    prune(folder, now=NOW)
    found = calls(folder)
    assert len(found) == MOST_PLACES + 1
    assert found[OTHERS] == 2 * MOST_PLACES


def test_mergers_at_the_same_time(folder: Path) -> None:
    """Several processes that start at once: every count once, in whatever order they come."""
    for _ in range(40):
        leave(folder, Snapshot(failures=(failed("store", 1, datetime.now(UTC)),)))
    code = "health.close()\nfrom taximeter.meter.health import prune\nprune(folder)"
    command = [sys.executable, "-c", CHILD + code, str(folder)]
    children = [subprocess.Popen(command) for _ in range(3)]
    assert [child.wait(60) for child in children] == [0, 0, 0]
    assert counts(folder) == {"store": 40, "journal": 3}
    prune(folder)
    assert len(kept(folder)) == 1
    assert counts(folder) == {"store": 40, "journal": 3}


def test_reading_while_others_merge(folder: Path) -> None:
    """Who looks in the midst of it finds everything once: no less than was there before, no more than is after."""
    left = [0]
    wrong: list[tuple[int, int, int]] = []
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            before = left[0]
            found = counts(folder).get("store", 0)
            if not before <= found <= left[0] + 1:  # one may be there that is not counted yet
                wrong.append((before, found, left[0]))

    looking = threading.Thread(target=look)
    looking.start()
    for _ in range(150):
        leave(folder, Snapshot(failures=(failed("store", 1),)))
        left[0] += 1
        prune(folder, now=NOW)
    over.set()
    looking.join()
    assert wrong == []
    assert counts(folder) == {"store": 150}


def test_the_layout_is_readable(folder: Path) -> None:
    """A snapshot is one JSON object that names its version."""
    path = leave(folder, Snapshot(failures=(failed("store", 1),)))
    assert msgspec.json.decode(path.read_bytes()) == {
        "failures": [
            {
                "where": "store",
                "count": 1,
                "first_at": "2026-11-22T11:00:00Z",
                "last_at": "2026-11-22T12:00:00Z",
                "message": "x",
                "call_id": None,
            }
        ],
        "unmetered": [],
        "merged": [],
        "version": 1,
    }
