"""Several processes on one file, and processes that die at the worst moment."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from taximeter.store import Store, open_store
from tests.store.helpers import NOW, ask, call, priced

Start = Callable[..., "subprocess.Popen[str]"]

CHILD = """
import sys
from tests.store.helpers import NOW, call, priced, repriced
from taximeter.store import open_store
"""

OPEN = (
    CHILD
    + """
print("ready", flush=True)
sys.stdin.readline()
with open_store(sys.argv[1]) as store:
    for batch in range(20):
        added = store.add([call(f"{sys.argv[2]}-{batch}-{n}") for n in range(5)], recorded_at=NOW)
        assert added.new == 5
"""
)

SAME = (
    CHILD
    + """
print("ready", flush=True)
sys.stdin.readline()
with open_store(sys.argv[1]) as store:
    print(sum(store.add([call(f"{batch}-{n}") for n in range(5)], recorded_at=NOW).new for batch in range(20)))
"""
)

# Stops for good in the middle of a second batch, just before a statement begins as the second argument says for the
# third argument's time.
STOP = (
    CHILD
    + """
store = open_store(sys.argv[1])
first = [priced(f"first-{n}", "m", "1") for n in range(50)]
store.add(first, recorded_at=NOW)
still = int(sys.argv[3])

def stop():
    print("stopped", flush=True)
    sys.stdin.readline()

def before(statement):
    global still
    still -= statement.startswith(sys.argv[2])
    if not still:
        stop()

with store._database._alone() as connection:
    connection.set_trace_callback(before)
if sys.argv[2] == "INSERT INTO corrections":
    store.correct([repriced(f"c-{n}", event, "9") for n, event in enumerate(first)], recorded_at=NOW)
else:
    store.add([priced(f"second-{n}", "m", "1", raw_usage="x" * 9_000) for n in range(2_000)], recorded_at=NOW)
if sys.argv[2] == "after":
    stop()
"""
)

STATEMENTS = [
    ("UPDATE counters", 1),
    ("INSERT INTO events", 1),
    ("INSERT INTO events", 1_900),  # some MB of the batch are in the file by then
    ("INSERT INTO sole_parts", 1_000),
    ("INSERT INTO corrections", 7),
    ("COMMIT", 1),
]


@pytest.fixture
def children(repository: Path) -> Iterator[Start]:
    """Starts Python children that see the package and the tests' helpers, and ends those that are left."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str, *arguments: object) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=repository,
        )
        started.append(child)
        return child

    yield start
    for child in started:
        child.kill()
        child.communicate()


def _said(child: subprocess.Popen[str], line: str) -> None:
    assert child.stdout is not None
    assert child.stdout.readline() == line + "\n"


def test_processes_that_open_a_fresh_file_at_once_all_succeed(children: Start, tmp_path: Path) -> None:
    """Four processes make the same store at the same moment and write to it: all succeed and nothing is lost."""
    path = tmp_path / "s"
    running = [children(OPEN, path, name) for name in "abcd"]
    for child in running:
        _said(child, "ready")
    for child in running:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    assert [child.wait(60) for child in running] == [0, 0, 0, 0]
    with open_store(str(path)) as store:
        assert store.count() == 4 * 20 * 5
        assert _numbers(store) == list(range(1, 401))


def test_threads_share_an_open_store(store: Store) -> None:
    """Threads that add and report through one Store take turns, and every batch arrives."""

    def work(name: str) -> int:
        added = [store.add([call(f"{name}-{batch}")], recorded_at=NOW).new for batch in range(20)]
        return sum(added) + len(store.report(["provider"]))

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(work, "abcd")) == [21, 21, 21, 21]
    assert _numbers(store) == list(range(1, 81))


def test_processes_that_add_the_same_events_add_them_once(children: Start, tmp_path: Path) -> None:
    """Two processes that read the same source at the same time record each event once between them."""
    path = tmp_path / "s"
    running = [children(SAME, path) for _ in range(2)]
    for child in running:
        _said(child, "ready")
    answers = [child.communicate("go\n", 60)[0] for child in running]
    assert sum(int(answer) for answer in answers) == 100
    with open_store(str(path)) as store:
        assert store.count() == 100


@pytest.mark.parametrize(("statement", "time"), STATEMENTS)
def test_a_process_killed_in_a_batch_leaves_no_half_of_it(
    children: Start, tmp_path: Path, statement: str, time: int
) -> None:
    """Kill -9 at each step of a batch loses no committed event, leaves nothing of the batch, and frees the lock."""
    path = tmp_path / "s"
    child = children(STOP, path, statement, time)
    _said(child, "stopped")
    child.kill()
    child.wait(60)
    with open_store(str(path)) as store:
        _only_the_first_batch(store)
        assert store.add([call("next")], recorded_at=NOW).new == 1
        assert _numbers(store)[-1] == 51


def test_a_process_killed_after_a_batch_loses_nothing(children: Start, tmp_path: Path) -> None:
    """What `add` has returned from is there after kill -9, though the store was never closed."""
    path = tmp_path / "s"
    child = children(STOP, path, "after", 1)
    _said(child, "stopped")
    child.kill()
    child.wait(60)
    with open_store(str(path)) as store:
        assert store.count() == 2_050
        assert str(store.report([])[0].cost) == "2050"


def _only_the_first_batch(store: Store) -> None:
    first = [priced(f"first-{n}", "m", "1") for n in range(50)]
    assert list(store.events()) == first
    tables = ("events", "sole_parts", "parts", "corrections")
    assert [ask(store, f"SELECT count(*) FROM {table}") for table in tables] == [[(50,)], [(50,)], [(0,)], [(0,)]]  # noqa: S608 - our own names
    assert ask(store, "PRAGMA integrity_check") == [("ok",)]


def _numbers(store: Store) -> list[int]:
    return [seq for (seq,) in ask(store, "SELECT seq FROM events ORDER BY seq")]
