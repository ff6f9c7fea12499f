"""A process that bears children to be killed: it imports everything once, and each child is a fork of it.

It reads one job a line and runs it in a child. On standard output come ``child PID``, then what the child tells, then
``ended STATUS``. A child tells each step of each call before and after it, by one ``write``:

    o 7   call 7 is about to be journaled        c 7   its outcome is about to be
    O 7   it was; the request may leave          C 7   it was; anyone may be told
    R     a recovery is about to start           F     it is over         E     all calls are made

A job can name a step at which its child kills itself. Otherwise the test kills it whenever it likes.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from taximeter.event import CallEvent
from taximeter.journal import Journal, Pace, Writer, recover
from taximeter.journal import files as journal_files
from taximeter.journal import journal as journal_module
from taximeter.store import open_store
from tests.journal.helpers import StoreSink, finished, opening

STEPS = (
    "before opened",
    "in opened",
    "after opened",
    "before closed",
    "in closed",
    "after closed",
    "before store",
    "after store",
    "after confirm",
    "before rename",
    "after rename",
)
WRITER_STEPS = STEPS[6:]
RECOVERY_STEPS = ("before store", "after store", "before sync", "after sync", "before unlink", "after unlink")


class Job(msgspec.Struct):
    """What a child is to do.

    Attributes:
        kind: ``calls`` or ``recover``.
        folder: where the journal folder and the store are.
        prefix: of the ids of its calls.
        calls: how many it makes.
        threads: in how many threads.
        seed: of its dice.
        step: where it kills itself; empty: nowhere.
        at: the how-manieth time that it comes there.
        durability: of its journal.
    """

    kind: str
    folder: str
    prefix: str = "call"
    calls: int = 20
    threads: int = 2
    seed: int = 0
    step: str = ""
    at: int = 1
    durability: str = "process"


def tell(line: str) -> None:
    """Tells the test, in one piece."""
    os.write(1, f"{line}\n".encode())


class Fate:
    """Counts how often a step was reached, and ends the process there."""

    def __init__(self, job: Job) -> None:
        self._step, self._left = job.step, job.at

    def comes(self, step: str) -> bool:
        """Whether this is the moment."""
        if step != self._step:
            return False
        self._left -= 1
        return self._left == 0

    def meet(self, step: str) -> None:
        """Dies, if this is the moment."""
        if self.comes(step):
            die()


def die() -> NoReturn:
    """Dies at once, as by ``kill -9``."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


class FatefulSink(StoreSink):
    """A real store, with steps around it."""

    fate: Fate

    def add(self, events: Sequence[CallEvent]) -> None:
        """Adds them, if it lives."""
        self.fate.meet("before store")
        super().add(events)
        self.fate.meet("after store")

    def sync(self) -> None:
        """Syncs, if it lives."""
        self.fate.meet("before sync")
        super().sync()
        self.fate.meet("after sync")


def _around(function: Callable[..., Any], fate: Fate, before: str, after: str) -> Callable[..., Any]:
    def run(*arguments: Any, **named: Any) -> Any:
        fate.meet(before)
        result = function(*arguments, **named)
        fate.meet(after)
        return result

    return run


def _half_written(fate: Fate, job: Job) -> None:
    """Makes death come in the middle of a record."""
    whole = journal_files.write_all
    dice = random.Random(job.seed)

    def write_all(descriptor: int, data: bytes) -> None:
        kind = {ord("O"): "in opened", ord("C"): "in closed"}.get(data[12], "")
        if kind and fate.comes(kind):
            whole(descriptor, data[: dice.randrange(len(data))])
            die()
        whole(descriptor, data)

    journal_files.write_all = write_all


def make_calls(job: Job) -> None:
    """Makes calls until it is killed, or all are made."""
    fate, folder = Fate(job), Path(job.folder)
    FatefulSink.fate = fate
    _half_written(fate, job)
    Path.rename = _around(Path.rename, fate, "before rename", "after rename")  # pyright: ignore[reportAttributeAccessIssue]
    Journal.confirm = _around(Journal.confirm, fate, "", "after confirm")  # pyright: ignore[reportAttributeAccessIssue]
    journal_module.SHRINK_BYTES = 4_000  # pyright: ignore[reportAttributeAccessIssue]
    durability = "fsync" if job.durability == "fsync" else "process"
    journal = Journal.create(folder / "journal", durability=durability)
    journal._shrink_at = 4_000
    sink = FatefulSink(open_store(str(folder / "store")))
    writer = Writer(journal, sink, Pace(batch_events=1 + job.seed % 3, gather_s=0.0005))

    def some(first: int) -> None:
        open_now: list[int] = []
        dice = random.Random(job.seed + first)
        for number in range(first, job.calls, job.threads):
            tell(f"o {number}")
            fate.meet("before opened")
            journal.opened(opening(number, prefix=job.prefix))
            tell(f"O {number}")
            fate.meet("after opened")
            open_now.append(number)
            while open_now and dice.random() < 0.6:
                close(open_now.pop(dice.randrange(len(open_now))))

    def close(number: int) -> None:
        tell(f"c {number}")
        fate.meet("before closed")
        journal.closed(finished(number, prefix=job.prefix, padding=number * 37 % 9_000))
        tell(f"C {number}")
        fate.meet("after closed")

    threads = [threading.Thread(target=some, args=(first,)) for first in range(job.threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if job.step in WRITER_STEPS:
        writer.flush(5)
    tell("E")
    die()  # with some calls open, some waiting


def run_recovery(job: Job) -> None:
    """Recovers, if it lives."""
    FatefulSink.fate = fate = Fate(job)
    Path.unlink = _around(Path.unlink, fate, "before unlink", "after unlink")  # pyright: ignore[reportAttributeAccessIssue]
    folder = Path(job.folder)
    tell("R")
    recover(folder / "journal", FatefulSink(open_store(str(folder / "store"))))
    tell("F")


def main() -> None:
    """Bears one child a job."""
    for line in sys.stdin:
        job = msgspec.json.decode(line, type=Job)
        child = os.fork()
        if child == 0:
            try:
                {"calls": make_calls, "recover": run_recovery}[job.kind](job)
            except BaseException as error:  # noqa: BLE001 - told, so that the test fails
                tell(f"error {error!r}")
            os._exit(0)
        tell(f"child {child}")
        tell(f"ended {os.waitpid(child, 0)[1]}")


if __name__ == "__main__":
    main()
