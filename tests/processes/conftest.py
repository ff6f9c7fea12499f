"""Programs of several processes that share a store, and a provider that they call."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from taximeter.event import CallEvent
from taximeter.journal import recover
from taximeter.store import open_store
from taximeter.testing import Simulator, running_simulator
from tests.journal.helpers import StoreSink

Program = Callable[..., "subprocess.Popen[str]"]


class Books:
    """What a program left behind.

    Attributes:
        store: the file that its processes share.
    """

    def __init__(self, folder: Path, provider: Simulator) -> None:
        self.store = folder / "store.sqlite3"
        self.journals = folder / "store.journal"
        self._provider = provider

    def events(self) -> list[CallEvent]:
        """The calls that are in the store."""
        with open_store(str(self.store)) as store:
            return list(store.events())

    def recover(self) -> int:
        """Does what the next process would do; how many calls had been under way in a process that died."""
        with open_store(str(self.store)) as store:
            found = recover(self.journals, StoreSink(store))
        assert (found.live, found.set_aside, found.problems) == (0, (), ())
        return found.unknown_calls

    def differences(self, events: Sequence[CallEvent]) -> list[object]:
        """Calls, with their usage, that only the store has, or only the provider: one that is there twice is too."""
        served = self._provider.wait_served(len(events))
        ours = Counter((event.response_id, event.outcome, figures(event.usage)) for event in events)
        theirs = Counter((call.response_id, call.outcome, figures(call.usage)) for call in served)
        return [*(ours - theirs), *(theirs - ours)]


def figures(usage: Any) -> tuple[int | None, int | None] | None:
    """Tokens in and out."""
    return None if usage is None else (usage.get("input_tokens"), usage.get("output_tokens"))


@pytest.fixture
def provider() -> Iterator[Simulator]:
    """A simulated provider, new for each test."""
    with running_simulator() as running:
        yield running


@pytest.fixture
def books(tmp_path: Path, provider: Simulator) -> Books:
    """Those of the programs that the test starts."""
    return Books(tmp_path, provider)


@pytest.fixture
def program(books: Books, provider: Simulator, tmp_path: Path) -> Iterator[Program]:
    """Starts Python programs that share a store, in a process group of their own, and ends what is left of them."""
    source = Path(sys.modules["taximeter"].__path__[0]).parent
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(source)]),
        "TAXIMETER_STORE": str(books.store),
        "PROVIDER": provider.url("openai"),
    }
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **options: Any) -> subprocess.Popen[str]:
        made = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            **options,
        )
        started.append(made)
        return made

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, 9)
        process.communicate()
