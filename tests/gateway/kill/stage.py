"""A gateway's whole tree of processes, a client in another, and the books of both sides held against each other."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from taximeter.event import CallEvent
from taximeter.simulator import Simulator
from taximeter.simulator.books import Served as Call
from taximeter.store import open_store
from tests.gateway.extras.stage import Served

END_S = 20
ASKED = {"model": "gpt-4o", "messages": [{"role": "user", "content": "what is new?"}]}
_MAIN = "from taximeter.cli import main; main()"
_LOAD = Path(__file__).with_name("load.py")


def write_config(folder: Path, provider: Simulator) -> None:
    """A configuration whose upstreams are all one simulator."""
    mounts = {"openai": "openai", "anthropic": "anthropic", "gemini": "google"}
    sections = [
        f'[upstreams.{name}]\nbase_url = "{provider.url(at)}"\nkey_env = "A_KEY"\n' for name, at in mounts.items()
    ]
    (folder / "taximeter.toml").write_text("".join(sections))


def command(folder: Path, *words: str) -> tuple[list[str], dict[str, str]]:
    """The words and the environment of a command of ours, on the store of a test."""
    environment = {
        **os.environ,
        "A_KEY": "sk-of-the-provider",
        "PYTHONPATH": os.pathsep.join(sys.path),
        "TAXIMETER_STORE": str(folder / "store.sqlite3"),
        "TAXIMETER_CONFIG": str(folder / "taximeter.toml"),
    }
    return [sys.executable, "-c", _MAIN, *words], environment


class Tree(Served):
    """``taximeter serve`` with all its workers, a group of processes of its own."""

    def ports_of(self, worker: int) -> frozenset[int]:
        """The clients' ports of the connections that a worker has. It must be stopped, or they change meanwhile."""
        sockets: set[str] = set()
        for each in Path(f"/proc/{worker}/fd").iterdir():
            with suppress(OSError):
                sockets.add(str(each.readlink()))
        ports: set[int] = set()
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            ours, theirs = (int(each.partition(":")[2], 16) for each in fields[1:3])
            if ours == self.to.port and theirs and f"socket:[{fields[9]}]" in sockets:
                ports.add(theirs)
        return frozenset(ports)

    def holds(self, connection_port: int) -> int:
        """Which worker has the connection of a client that waits for nothing."""
        return next(worker for worker in self.workers if connection_port in self.ports_of(worker))

    def kill(self, index: int) -> frozenset[int]:
        """Kills one of the workers that live; the ports of those who were connected to it."""
        living = [pid for pid in self.workers if Path(f"/proc/{pid}/fd").exists()]
        worker = living[index % len(living)]
        os.kill(worker, signal.SIGSTOP)
        while "T (" not in Path(f"/proc/{worker}/status").read_text():
            os.sched_yield()
        ports = self.ports_of(worker)
        os.kill(worker, signal.SIGKILL)
        return ports

    def kill_all(self) -> None:
        """Kills the supervisor and all workers at once."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(END_S)

    def end(self) -> None:
        """SIGTERM, and that it ends well."""
        self.process.terminate()
        assert self.process.wait(END_S) == 0


@contextmanager
def tree(folder: Path, *words: str, workers: int = 2) -> Generator[Tree]:
    """Starts one; at the end nothing of it is left."""
    said = ("serve", "--json", "--port", "0", "--workers", str(workers), *words)
    line, environment = command(folder, *said)
    with subprocess.Popen(line, stdout=-1, stderr=-1, text=True, env=environment, start_new_session=True) as process:
        try:
            running = Tree(process)
            running.wait(workers)
            yield running
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(END_S)


class Made(msgspec.Struct, frozen=True):
    """A call as its client saw it.

    Attributes:
        number: which it was.
        port: from which it was made.
        status: of the answer; ``None`` when none came.
        whole: whether the answer came to its end.
        id: the call's, as the answer tells it.
        error: how it broke.
    """

    number: int
    port: int | None
    status: int | None
    whole: bool
    id: str | None = None
    error: str | None = None


class Load:
    """A client in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def calls(self) -> list[Made]:
        """All that it has made, once it has made them."""
        out, _ = self._process.communicate(timeout=60)
        return [msgspec.json.decode(line, type=Made) for line in out.splitlines()]


@contextmanager
def load(to: Tree, calls: int, at_once: int) -> Generator[Load]:
    """Begins to make calls."""
    line = [sys.executable, str(_LOAD), str(to.to.port), str(calls), str(at_once)]
    with subprocess.Popen(line, stdout=-1, text=True) as process:
        try:
            yield Load(process)
        finally:
            process.kill()
            process.wait(END_S)


class Books(NamedTuple):
    """The books of both sides, by the number of the call.

    Attributes:
        events: what the store has of each, in order.
        served: what the simulator has.
    """

    events: Mapping[int, list[CallEvent]]
    served: Mapping[int, Call]

    @property
    def outcomes(self) -> Counter[str]:
        """How many calls ended how."""
        return Counter(event.outcome for events in self.events.values() for event in events)


def books(folder: Path, provider: Simulator) -> Books:
    """What both sides have."""
    events: dict[int, list[CallEvent]] = {}
    with open_store(str(folder / "store.sqlite3")) as store:
        for event in store.events():
            events.setdefault(int(event.scope.session or -1), []).append(event)
    return Books(events, {int(call.knobs.rpartition("seed=")[2]): call for call in provider.served})


def assert_agree(both: Books, made: Iterable[Made]) -> None:
    """Nothing lost, nothing twice, nothing wrong: each call is in the store once, as what it was.

    What a client has read to its end is completed, with the figures that the simulator stated. What its worker took
    with it may be ``unknown``, and only that.
    """
    events, served = both.events, both.served
    assert all(len(each) == 1 for each in events.values()), "twice"
    assert served.keys() <= events.keys(), "lost"
    for call in made:
        [event] = events.get(call.number, [None])
        if call.whole:
            assert call.status == 200
            assert event is not None
            assert (event.outcome, event.id) == ("completed", call.id)
    broken = {call.number for call in made if not call.whole}
    sums = Counter[str](), Counter[str]()
    for number, [event] in events.items():
        if event.outcome == "completed":
            call = served[number]
            assert call.outcome == "completed"
            assert event.usage is not None
            assert call.usage is not None
            for counted, usage in zip(sums, (event.usage, call.usage), strict=True):
                counted.update({unit: int(usage.get(unit) or 0) for unit in ("input_tokens", "output_tokens")})
        else:
            assert event.outcome == "unknown", event
            assert number in broken, event
    assert sums[0] == sums[1]
    assert sums[0]["output_tokens"] > 0


class Stream:
    """A stream that is under way: its head has come, and its first event.

    Args:
        to: the gateway.
        knobs: what the simulator is to do.
        key: the virtual key.
    """

    def __init__(self, to: Tree, knobs: str = "stall=50, output=60", key: str = "none") -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", to.to.port, timeout=END_S)
        headers = {"content-type": "application/json", "x-simulate": knobs, "authorization": f"Bearer {key}"}
        self.connection.request("POST", "/v1/chat/completions", json.dumps(ASKED | {"stream": True}), headers)
        self._answer = self.connection.getresponse()
        self.status = self._answer.status
        self._first = self._answer.readline()
        assert self._first

    def rest(self) -> bytes:
        """Everything to its end."""
        return self._first + self._answer.read()

    def close(self) -> None:
        """Hangs up."""
        self._answer.close()
        self.connection.close()


def status(connection: http.client.HTTPConnection, key: str) -> int:
    """A call that is no stream, over a connection that stays."""
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
    connection.request("POST", "/v1/chat/completions", json.dumps(ASKED), headers)
    with connection.getresponse() as answer:
        answer.read()
        return answer.status
