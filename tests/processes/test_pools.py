"""Pools of processes, of both kinds and however they are started, whose workers call through one store."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.processes.conftest import Books, Program

POOL = """
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
import httpx2
import taximeter

taximeter.instrument()

def ask(number):
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": f"Hello {number}"}]}
    with taximeter.scope(operation=str(number)):
        httpx2.post(os.environ["PROVIDER"] + "/chat/completions", json=body).raise_for_status()

def begin(all_have_called):
    ask(100)
    all_have_called.wait(60)

if __name__ == "__main__":
    kind, method, end = sys.argv[1:]
    context = multiprocessing.get_context(method)
    first = {"initializer": begin, "initargs": [context.Barrier(2)]}
    ask(0)
    assert taximeter.flush()  # the store is open when workers are forked
    if kind == "executor":
        with ProcessPoolExecutor(2, mp_context=context, **first) as pool:
            list(pool.map(ask, range(1, 9)))
    else:
        with context.Pool(2, **first) as pool:
            pool.map(ask, range(1, 9), chunksize=1)
            if end == "joined":
                pool.close()
                pool.join()
    ask(9)
"""


CALLS = [*range(10), 100, 100]
"""The process' own, first and last; one of each of its two workers, at their start; eight between these."""


def run(program: Program, tmp_path: Path, *arguments: str) -> None:
    """Runs it to its end."""
    (tmp_path / "pool.py").write_text(POOL)
    no_warning = ["-W", "error", "-W", "ignore:This process:DeprecationWarning"]  # from 3.12 on: a fork beside threads
    running = program(*no_warning, "pool.py", *arguments)
    said = running.communicate(timeout=60)[0]
    assert (running.returncode, said) == (0, "")


@pytest.mark.parametrize(
    ("kind", "method"),
    [("executor", "fork"), ("executor", "spawn"), ("executor", "forkserver"), ("pool", "fork"), ("pool", "spawn")],
)
def test_every_call_once(program: Program, books: Books, tmp_path: Path, kind: str, method: str) -> None:
    """When the pool is joined the store has each call, of its workers and of the process that called before."""
    run(program, tmp_path, kind, method, "joined")
    events = books.events()
    assert sorted(int(event.scope.operation or 0) for event in events) == CALLS
    assert books.differences(events) == []
    assert books.recover() == 0


def test_workers_are_terminated(program: Program, books: Books, tmp_path: Path) -> None:
    """A pool that is let go of ends its workers: what they had no time to store is found by the next process."""
    run(program, tmp_path, "pool", "fork", "terminated")
    assert books.recover() == 0
    events = books.events()
    assert sorted(int(event.scope.operation or 0) for event in events) == CALLS
    assert books.differences(events) == []
