"""Processes that share a folder and never a file: forked, spawned, and forked from one that had used its journal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from taximeter.journal import look, recover
from taximeter.store import open_store
from tests.journal.helpers import Shelf, finished, opening

COMMON = """
import multiprocessing, os, signal, sys, threading, time
from pathlib import Path
from taximeter.journal import Journal, Pace, Writer, look
from taximeter.store import open_store
from tests.journal.helpers import StoreSink, Shelf, finished, opening

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else None

def begin(folder):
    journal = Journal.create(folder / "journal")
    return journal, Writer(journal, StoreSink(open_store(str(folder / "store"))))

def call(journal, number):
    journal.opened(opening(number))
    journal.closed(finished(number))
"""

PRELOADED = """
journal, writer = begin(FOLDER)
call(journal, 0)
journal.opened(opening(1))
writer.flush(10)
mine = journal.path
children = []
for child in range(3):
    pid = os.fork()
    if pid == 0:
        assert (journal.open_calls, journal.waiting_events, journal.path) == (0, 0, None)
        writer = Writer(journal, StoreSink(open_store(str(FOLDER / "store"))))
        for number in range(10 + child * 10, 20 + child * 10):
            call(journal, number)
        assert journal.path != mine
        sys.exit(0)
    children.append(pid)
for pid in children:
    assert os.waitpid(pid, 0)[1] == 0
assert look(FOLDER / "journal").live == 1
journal.closed(finished(1))
call(journal, 2)
"""

ORPHAN = """
journal, writer = begin(FOLDER)
journal.opened(opening(0))
ready, told = os.pipe()
alive, hold = os.pipe()
if os.fork() == 0:
    os.close(hold)
    journal.opened(opening(1))
    os.write(told, b"x")
    os.read(alive, 1)
    os._exit(0)
os.read(ready, 1)
print("ready", flush=True)
sys.stdin.readline()
os.kill(os.getpid(), signal.SIGKILL)
"""

BUSY = """
journal, writer = begin(FOLDER)
stop = threading.Event()
def busy(first):
    number = first
    while not stop.is_set() and number < 4_000:
        call(journal, number)
        number += 4
threads = [threading.Thread(target=busy, args=(first,)) for first in range(4)]
for thread in threads:
    thread.start()
for child in range(15):
    pid = os.fork()
    if pid == 0:
        journal.opened(opening(child, prefix="child"))
        journal.closed(finished(child, prefix="child"))
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
stop.set()
for thread in threads:
    thread.join()
print(journal.closed_events)
"""

WORKERS = """
def work(folder, number):
    journal, writer = begin(Path(folder))
    call(journal, number)

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[2])
    if sys.argv[2] == "fork":
        journal, writer = begin(FOLDER)
        call(journal, 0)
    children = [context.Process(target=work, args=(str(FOLDER), number)) for number in range(1, 5)]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0
    left = look(FOLDER / "journal")
    assert (left.live, left.left) == (int(sys.argv[2] == "fork"), 0), left
"""

SUBPROCESS = """
import subprocess
journal, writer = begin(FOLDER)
journal.opened(opening(0))
sleeper = subprocess.Popen(["sleep", "60"], close_fds=False)
print(sleeper.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def _start(tmp_path: Path, code: str, *arguments: str) -> subprocess.Popen[str]:
    script = tmp_path / "script.py"
    script.write_text(COMMON + code)
    command = [sys.executable, str(script), str(tmp_path), *arguments]
    root = str(Path(__file__).parents[2])
    source = str(Path(sys.modules["taximeter"].__path__[0]).parent)
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command,
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        text=True,
        env={"PYTHONPATH": f"{root}:{source}", "PATH": "/bin:/usr/bin"},
    )


def _run(tmp_path: Path, code: str, *arguments: str) -> str:
    process = _start(tmp_path, code, *arguments)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    return out


def _stored(tmp_path: Path) -> list[str]:
    with open_store(str(tmp_path / "store"), create=False) as store:
        return sorted(event.id for event in store.events())


def test_forks_of_a_process_that_had_used_its_journal(tmp_path: Path) -> None:
    """Each child starts with an empty journal of its own; the parent's open call and file are not touched."""
    _run(tmp_path, PRELOADED)
    assert _stored(tmp_path) == sorted(f"call-{number}" for number in (0, 1, 2, *range(10, 40)))
    assert list((tmp_path / "journal").iterdir()) == []


def test_the_death_of_a_parent_is_seen_while_its_child_lives(tmp_path: Path) -> None:
    """A child holds no copy of its parent's lock: what the parent left is recovered, what the child has is not."""
    parent = _start(tmp_path, ORPHAN)
    assert parent.stdin is not None
    assert parent.stdout is not None
    assert parent.stdout.readline() == "ready\n"
    state = look(tmp_path / "journal")
    assert (state.live, state.left) == (2, 0)
    shelf = Shelf()
    assert recover(tmp_path / "journal", shelf).live == 2
    parent.stdin.write("\n")
    parent.stdin.flush()
    assert parent.wait(10) == -9
    first = recover(tmp_path / "journal", shelf)
    # The child ends with its parent's end of the pipe, so it may be gone by now; its call is its own, either way.
    second = recover(tmp_path / "journal", shelf)
    assert shelf.events["call-0"] == opening(0).unknown()
    assert first.unknown_calls + second.unknown_calls <= 2
    parent.communicate()


def test_forks_in_the_midst_of_writing(tmp_path: Path) -> None:
    """While four threads write, fifteen forks: no child hangs on a lock or touches a record, and all is found."""
    closed = int(_run(tmp_path, BUSY))
    shelf = Shelf()
    found = recover(tmp_path / "journal", shelf)
    assert (found.files, found.unknown_calls, found.set_aside) == (15, 0, ())
    assert shelf.events == {f"child-{number}": finished(number, prefix="child") for number in range(15)}
    assert len(_stored(tmp_path)) == closed


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_of_multiprocessing(tmp_path: Path, method: str) -> None:
    """However they are started, each stores its own calls before it ends, and leaves no file."""
    _run(tmp_path, WORKERS, method)
    assert _stored(tmp_path) == [f"call-{number}" for number in range(0 if method == "fork" else 1, 5)]


def test_a_program_that_was_started_keeps_no_lock(tmp_path: Path) -> None:
    """A program that the process had started, and that outlives it, does not keep its journal from being recovered."""
    process = _start(tmp_path, SUBPROCESS)
    assert process.stdout is not None
    sleeper = int(process.stdout.readline())
    try:
        assert process.wait(10) == -9
        assert recover(tmp_path / "journal", Shelf()).unknown_calls == 1
    finally:
        subprocess.run(["kill", str(sleeper)], check=False)
        process.communicate()
