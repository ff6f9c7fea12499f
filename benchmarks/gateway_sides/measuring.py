"""Measures one system from its start to its stop: every figure of it once."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Final, NamedTuple

from gateway_sides.processes import Tree
from gateway_sides.systems import Kind, Place, Setup, environment
from gateway_sides.tools import Loaded, Target, Tools, Work, loaded

WORKS: Final = {
    "ns2_us": Work(2_000),
    "ns20_us": Work(20_000),
    "ns200_us": Work(200_000),
    "ns1m_us": Work(1_000_000),
    "stream_us": Work(stream=True),
    "asked_us": Work(stream=True, asks=True),
    "paced_us": Work(stream=True, pace_us=2_000, connections=16, stagger_us=125),
}
"""What CPU is measured of; by default a stream does not ask for its usage, which is then the gateway's to find out."""

RATES: Final = {"": 50, "_500": 500}
"""Calls a second at which latency is measured, by what their keys have in their middle."""

OPEN: Final = 1_000
HELD_EVENTS: Final = 20
BUSIEST: Final = 0.7
"""The share of its core with which a system is taken to carry a rate: above, the latency is that of a queue."""


class Effort(NamedTuple):
    """How long things are measured, in seconds.

    Attributes:
        closed: each kind of call but the paced ones.
        paced: those.
        warm: before each of them.
        open: by the rate, each slice of the calls of which latency is measured.
        slices: of them; as many of calls to the provider itself take turns with them, and of either the calmest counts.
        held: streams that are open at the same time.
    """

    closed: float = 1.5
    paced: float = 3
    warm: float = 0.3
    open: Mapping[int, float] = {50: 4, 500: 2}
    slices: int = 3
    held: float = 8


QUICK: Final = Effort(closed=0.3, paced=0.8, warm=0.1, open={50: 1, 500: 0.5}, held=2)
PATIENCE_S: Final = 60
START_S: Final = 90


class Direct(NamedTuple):
    """What the provider answers by itself, in the same round.

    Attributes:
        target: where it is.
        whole_bytes: of a whole answer.
        stream_bytes: by the key of the work, of its streams.
    """

    target: Target
    whole_bytes: int
    stream_bytes: Mapping[str, int]


def look_direct(tools: Tools, upstream: int) -> Direct:
    """Sees what the provider answers by itself."""
    target = Target(upstream)
    once = {key: _checked(tools.load(target, work, "--calls", 1)) for key, work in WORKS.items()}
    streams = {key: once[key].bytes_most for key, work in WORKS.items() if work.stream}
    return Direct(target, once["ns2_us"].bytes_most, streams)


class Found(NamedTuple):
    """What one life of a system showed.

    Attributes:
        figures: by key; those that it cannot have are absent.
        wrong: by the key of a figure that is absent for it, or by ``start`` or ``books``: what went wrong, in words.
    """

    figures: dict[str, float]
    wrong: dict[str, str]


class Bench(NamedTuple):
    """What is the same for all systems of a round.

    Attributes:
        tools: the programs.
        core: where a system runs.
        effort: how long things are measured.
        beside: what the provider does by itself.
    """

    tools: Tools
    core: int
    effort: Effort
    beside: Direct


def measure(bench: Bench, kind: Kind, place: Place) -> Found:
    """Starts a system, measures everything, and stops it."""
    found = Found({}, {})
    try:
        setup = kind.set_up(place)
    except RuntimeError as error:
        return Found({}, {"start": str(error)})
    tree = Tree(setup.command, {**environment(place.folder), **setup.environment}, place.folder, bench.core)
    life = _Life(bench, kind, setup, tree, found)
    try:
        if life.attempt("start", life.start):
            life.everything()
    finally:
        tree.stop()
    books = setup.booked(life.answered) if setup.booked and "start" not in found.wrong else ""
    if books:
        found.wrong["books"] = f"after {life.answered} calls: {books}"
    return found


class _Life:
    """A system that has been started."""

    def __init__(self, bench: Bench, kind: Kind, setup: Setup, tree: Tree, found: Found) -> None:
        self._bench = bench
        self._kind = kind
        self._target = setup.target
        self._address = setup.address
        self._tree = tree
        self._found = found
        self.answered = 0

    def attempt(self, key: str, step: Callable[[], dict[str, float]]) -> bool:
        """Takes a step, whose failure is no reason not to take the others."""
        try:
            self._found.figures.update(step())
            self._tree.check()
        except (RuntimeError, OSError) as error:
            self._found.wrong[key] = f"{error}; it said: {self._tree.said()}"
        return key not in self._found.wrong

    def everything(self) -> None:
        """All figures of a system that answers."""
        self.attempt("idle_mb", self._idle)
        for key in WORKS:
            self.attempt(key, partial(self._cpu, key))
        for infix, rate in RATES.items():
            if self._found.figures.get("ns2_us", 0) * rate < BUSIEST * 1e6:
                self.attempt(f"p50{infix}_ms", partial(self._added, infix, rate))
        self.attempt("streams_mb", self._held)

    def start(self) -> dict[str, float]:
        """Milliseconds until the first good answer."""
        begun = time.monotonic()
        body = WORKS["ns2_us"].body(self._target.model)
        headers = {"content-type": "application/json"} | dict(line.split(": ", 1) for line in self._target.headers)
        status = None
        while time.monotonic() - begun < START_S:
            self._tree.check()
            if self._address and self._address.exists():
                with suppress(ValueError):  # it is just being written
                    self._target = self._target._replace(port=int(self._address.read_text("ascii")))
            connection = http.client.HTTPConnection("127.0.0.1", self._target.port, timeout=START_S)
            with suppress(OSError, http.client.HTTPException):
                connection.request("POST", self._target.path, body, headers)
                answer = connection.getresponse()
                answer.read()
                status = answer.status
            connection.close()
            if status == http.client.OK:
                self.answered += 1
                return {"start_ms": (time.monotonic() - begun) * 1_000}
            time.sleep(0.005)
        msg = f"no good answer in {START_S} s; the last status was {status}"
        raise RuntimeError(msg)

    def _idle(self) -> dict[str, float]:
        self._tree.settled_cpu_ns()
        return {"idle_mb": self._tree.memory_mb()}

    def _cpu(self, key: str) -> dict[str, float]:
        work = WORKS[key]
        seconds = self._bench.effort.paced if work.pace_us else self._bench.effort.closed
        self._load(work, "--seconds", self._bench.effort.warm)
        before = self._tree.settled_cpu_ns()
        made = self._load(work, "--seconds", seconds)
        taken = self._tree.settled_cpu_ns() - before
        due = self._due_bytes(work, key)
        if due is not None and (made.bytes_least, made.bytes_most) != (due, due):
            msg = f"answers of {made.bytes_least} to {made.bytes_most} bytes; the provider's have {due}"
            raise RuntimeError(msg)
        if work.stream and made.events_least < work.events:
            msg = f"a stream of {made.events_least} events; the provider sent {work.events}"
            raise RuntimeError(msg)
        return {key: taken / made.good / 1_000}

    def _due_bytes(self, work: Work, key: str) -> int | None:
        """How many bytes an answer must have, if it is to have those of the provider."""
        if not work.stream:
            return self._bench.beside.whole_bytes if self._kind.passes_whole else None
        passes = self._kind.passes_whole if work.asks else self._kind.passes_streams
        return (
            self._bench.beside.stream_bytes[key] if passes else None
        )  # whoever tells the cost adds to what was asked for

    def _added(self, infix: str, rate: int) -> dict[str, float]:
        """Latency, less that of the provider by itself."""
        effort, tools, work = self._bench.effort, self._bench.tools, Work(connections=64)
        options = ("--rate", rate, "--seconds", effort.open[rate])
        direct, its = list[Loaded](), list[Loaded]()
        for _ in range(effort.slices):
            direct.append(_checked(tools.load(self._bench.beside.target, work, *options)))
            its.append(self._load(work, *options))
        p50_us = min(slice_.p50_us for slice_ in its) - min(slice_.p50_us for slice_ in direct)
        p99_us = min(slice_.p99_us for slice_ in its) - min(slice_.p99_us for slice_ in direct)
        return {f"p50{infix}_ms": p50_us / 1_000, f"p99{infix}_ms": p99_us / 1_000}

    def _held(self) -> dict[str, float]:
        """The most memory while many streams are open, and how many were."""
        pace_us = int(self._bench.effort.held * 1e6 / HELD_EVENTS)
        work = Work(stream=True, pace_us=pace_us, events=HELD_EVENTS, connections=OPEN, stagger_us=1_000)
        most = 0.0
        with self._bench.tools.start(self._target, work, "--calls", OPEN, "--patience", PATIENCE_S) as process:
            while process.poll() is None:
                most = max(most, self._tree.memory_mb())
                time.sleep(0.1)
            made = self._counted(loaded(process))
        return {"streams_mb": most, "streams_open": made.open_most}

    def _load(self, work: Work, *options: object) -> Loaded:
        return self._counted(self._bench.tools.load(self._target, work, *options, "--patience", PATIENCE_S))

    def _counted(self, made: Loaded) -> Loaded:
        self.answered += made.good
        return _checked(made)


def _checked(made: Loaded) -> Loaded:
    if made.errors or made.unfinished or not made.good:
        msg = f"of {made.calls} calls {made.errors} went wrong and {made.unfinished} did not end: {made.error}"
        raise RuntimeError(msg)
    return made
