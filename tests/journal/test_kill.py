"""Real processes killed with SIGKILL at every step: afterwards every call is in the store, exactly once.

What must be there is decided by an oracle outside the child: what the child had told before it died. A failure shows
the seed; ``TAXIMETER_HYPOTHESIS=deep`` makes ten times as many schedules.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from taximeter.journal import look
from taximeter.store import open_store
from tests.journal.helpers import finished, opening
from tests.journal.nursery import RECOVERY_STEPS, STEPS, Job

DEEP = os.environ.get("TAXIMETER_HYPOTHESIS") == "deep"
ROUNDS = 10 if DEEP else 1
REPOSITORY = Path(__file__).parents[2]


class Told(NamedTuple):
    """What a child told before it ended.

    Attributes:
        steps: the last letter told about each call.
        lines: how much it told.
        words: what it told besides.
        status: how it ended.
    """

    steps: dict[int, str]
    lines: int
    words: str
    status: int


class Nursery:
    """The process that bears the children."""

    def __init__(self, empty_store: bytes) -> None:
        self.empty_store = empty_store
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.journal.nursery"],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, job: Job, *, kill_after: int | None = None) -> Told:
        """Runs a job to its end, or kills it after it has told so many lines."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(job).decode() + "\n")
        self._process.stdin.flush()
        child, lines, words = 0, 0, ""
        steps: dict[int, str] = {}
        for line in self._process.stdout:
            word, _, rest = line.strip().partition(" ")
            if word == "child":
                child = int(rest)
            elif word == "ended":
                return Told(steps, lines, words, int(rest))
            elif word == "error":
                pytest.fail(f"{job}: {rest}")
            else:
                lines += 1
                if rest:
                    steps[int(rest)] = word
                else:
                    words += word
            if child and kill_after is not None and lines >= kill_after:
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
                kill_after = None
        pytest.fail(f"the nursery died over {job}")

    def close(self) -> None:
        """Ends it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(10)


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """One nursery for all, and an empty store to copy, since both take long to make."""
    path = tmp_path_factory.mktemp("store") / "store"
    open_store(str(path)).close()
    made = Nursery(path.read_bytes())
    yield made
    made.close()


def _job(kind: str, folder: Path, **fields: object) -> Job:
    return msgspec.structs.replace(Job(kind, str(folder)), **fields)


def _prepared(folder: Path, nursery: Nursery) -> Path:
    (folder / "journal").mkdir(parents=True)
    (folder / "store").write_bytes(nursery.empty_store)
    return folder


def _check(folder: Path, told: dict[str, Told], what: object) -> None:
    """Holds the store against what the children had told before they died."""
    with open_store(str(folder / "store"), create=False) as store:
        stored = list(store.events())
    events = {event.id: event for event in stored}
    assert len(stored) == len(events), what
    for prefix, one in told.items():
        for number, step in one.steps.items():
            event = events.pop(f"{prefix}-{number}", None)
            unknown = opening(number, prefix=prefix).unknown()
            whole = finished(number, prefix=prefix, padding=number * 37 % 9_000)
            allowed = {"o": (None, unknown), "O": (unknown,), "c": (unknown, whole), "C": (whole,)}[step]
            assert event in allowed, (what, number, step, event)
    assert events == {}, what
    state = look(folder / "journal")
    assert (state.live, state.left, state.refused) == (0, 0, ()), what
    assert not list((folder / "journal").glob("*.new")), what


def _recovered(nursery: Nursery, folder: Path) -> None:
    assert nursery.run(_job("recover", folder)).status == 0


@pytest.mark.parametrize("durability", ["process", "fsync"])
@pytest.mark.parametrize("step", STEPS)
def test_killed_at_each_step(tmp_path: Path, nursery: Nursery, step: str, durability: str) -> None:
    """A child that dies at one step, the first time or a later one, has lost nothing and doubled nothing."""
    for at in (1, 2, 5, 9)[: 4 if durability == "process" else 2]:
        folder = _prepared(tmp_path / str(at), nursery)
        job = _job("calls", folder, step=step, at=at, seed=at, calls=60, durability=durability)
        told = nursery.run(job)
        assert os.WTERMSIG(told.status) == signal.SIGKILL
        assert told.words == "", "it never came to that step"
        _recovered(nursery, folder)
        _check(folder, {"call": told}, job)


def test_killed_at_any_moment(tmp_path: Path, nursery: Nursery) -> None:
    """Hundreds of seeded schedules: killed from outside at whatever instruction it was at."""
    for seed in range(250 * ROUNDS):
        dice = random.Random(seed)
        folder = _prepared(tmp_path / str(seed), nursery)
        job = _job("calls", folder, seed=seed, threads=dice.randint(1, 4), calls=dice.randint(1, 40))
        kill_after = dice.randint(1, job.calls * 4)
        told = nursery.run(job, kill_after=kill_after)
        _recovered(nursery, folder)
        _check(folder, {"call": told}, (job, kill_after))


@pytest.mark.parametrize("step", RECOVERY_STEPS)
def test_recovery_killed_at_each_step(tmp_path: Path, nursery: Nursery, step: str) -> None:
    """A recovery that dies at one step leaves all that the next one needs."""
    folder = _prepared(tmp_path, nursery)
    told = {
        prefix: nursery.run(_job("calls", folder, prefix=prefix, seed=number)) for number, prefix in enumerate("abc")
    }
    for at in (1, 2):
        killed = nursery.run(_job("recover", folder, step=step, at=at))
        assert (os.WTERMSIG(killed.status), killed.words) == (signal.SIGKILL, "R")
    _recovered(nursery, folder)
    _check(folder, told, step)


def test_many_deaths_in_a_row(tmp_path: Path, nursery: Nursery) -> None:
    """Children die, recoveries die, more children come: at the end every call of all of them is there once."""
    for seed in range(25 * ROUNDS):
        dice = random.Random(seed)
        folder = _prepared(tmp_path / str(seed), nursery)
        told: dict[str, Told] = {}
        for number in range(dice.randint(2, 5)):
            if told and dice.random() < 0.6:
                step = dice.choice(RECOVERY_STEPS)
                nursery.run(_job("recover", folder, step=step, at=dice.randint(1, 3)))
            else:
                job = _job("calls", folder, prefix=f"p{number}", seed=seed, calls=dice.randint(1, 25))
                job.step, job.at = dice.choice(STEPS), dice.randint(1, 20)
                told[job.prefix] = nursery.run(job)
        _recovered(nursery, folder)
        _check(folder, told, seed)


def test_the_oracle_would_notice(tmp_path: Path, nursery: Nursery) -> None:
    """Without a recovery the same check fails: it does look for what must be there."""
    folder = _prepared(tmp_path, nursery)
    told = nursery.run(_job("calls", folder, step="after closed", at=3))
    with pytest.raises(AssertionError):
        _check(folder, {"call": told}, "no recovery")
