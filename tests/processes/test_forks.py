"""A fork in the midst of things: the child has SQLite's memory of its parent's locks, and none of the locks."""

from __future__ import annotations

from pathlib import Path

from tests.processes.conftest import Books, Program

COMMON = """
import os
import sys
import threading
import time
import httpx2
import taximeter
from taximeter.meter import the_meter

taximeter.instrument()

def ask(number):
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": f"Hello {number}"}]}
    with taximeter.scope(operation=str(number)):
        httpx2.post(os.environ["PROVIDER"] + "/chat/completions", json=body).raise_for_status()
"""

OUTLIVES = """
ask(0)
assert taximeter.flush()
ready, told = os.pipe()
if os.fork():
    os.read(ready, 1)
    sys.exit(0)
os.setsid()
parent = os.getppid()
ask(1)
assert taximeter.flush()
os.write(told, b"x")
while os.getppid() == parent:
    time.sleep(0.01)
time.sleep(0.2)
ask(2)
assert taximeter.flush()
assert not the_meter().failures
print("stored")
"""

IN_A_TRANSACTION = """
from taximeter.store import forks, open_store
forks.SECONDS = 0.2
store = open_store(os.environ["TAXIMETER_STORE"])
begun, over = threading.Event(), threading.Event()

def write():
    with store._database.plain(write=True):
        begun.set()
        over.wait(30)

thread = threading.Thread(target=write)
thread.start()
begun.wait()
child = os.fork()
if not child:
    over.set()
    ask(0)
    assert not taximeter.flush(0.5)
    assert the_meter().failures
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
over.set()
thread.join()
ask(1)
assert taximeter.flush()
print("stored")
"""


def run(program: Program, tmp_path: Path, code: str) -> None:
    """Runs it, and what it forks, to the end."""
    (tmp_path / "forks.py").write_text(COMMON + code)
    running = program("forks.py")
    said = running.communicate(timeout=60)[0]
    assert said.splitlines()[-1:] == ["stored"], said


def test_a_child_outlives_its_parent(program: Program, books: Books, tmp_path: Path) -> None:
    """What it stores after its parent has closed the store is there when it has ended too."""
    run(program, tmp_path, OUTLIVES)
    events = books.events()
    assert sorted(event.scope.operation or "" for event in events) == ["0", "1", "2"]
    assert books.differences(events) == []
    assert books.recover() == 0


def test_a_fork_in_a_transaction(program: Program, books: Books, tmp_path: Path) -> None:
    """A child that cannot use the store loses nothing: its calls are found by the next process."""
    run(program, tmp_path, IN_A_TRANSACTION)
    assert books.recover() == 0
    events = books.events()
    assert sorted(event.scope.operation or "" for event in events) == ["0", "1"]
    assert books.differences(events) == []
