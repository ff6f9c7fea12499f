"""Many streams at once through the gateway, for long, with faults: is each call booked once, and is memory flat?

A client keeps ``--streams`` calls under way over httpx2, through ``taximeter serve`` with ``--workers`` processes and a
virtual key, to the simulator, which runs in a process of its own. Chunks come one by one, so that all are under way
together. Some of a hundred calls are cut, left, stalled, refused, spoilt or compressed. At the end the store must have
every call that the simulator served exactly once, by the number that the client gave it, as what it was, and the sums
of usage must be what the simulator says it stated.

Run ``python benchmarks/gateway_soak.py``; it ends with 1 when a call is missing, doubled or wrong, or when the memory
of a worker grows: when the line through what it held after the start (ten minutes; of less than half an hour a third)
rises by more than ``--bound-mb`` until the end. By then what a worker remembers of its latest calls (8,192, some 6 MB)
is full; in a run of some minutes it is not, and the bound leaves room for it.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx2
from overhead import environment, started
from sides.provider import Place

from taximeter.event import CallEvent
from taximeter.store import open_store

START_S: Final = 600
OUTPUT_TOKENS: Final = 40
SAMPLE_S: Final = 5
REPORT_S: Final = 30
IDLE_S: Final = 4
"""After which the gateway gives up on a stream in which nothing comes."""
LEFT_AFTER: Final = 5
STOP_S: Final = 60
UNITS: Final = ("input_tokens", "cache_read_tokens", "output_tokens", "output_reasoning_tokens")
COMMAND: Final = ("-c", "from taximeter.cli import main; main()")
MOUNTS: Final = {"openai": "/openai/v1", "anthropic": "/anthropic", "gemini": "/google"}


class Kind(NamedTuple):
    """One kind of call.

    Attributes:
        outcome: what it is to be in the books.
        knobs: what the simulator is to do beside answering.
        path: where it goes.
        stream: whether it is a stream.
        left: whether its client leaves after some pieces.
    """

    outcome: str
    knobs: str = ""
    path: str = "/v1/chat/completions"
    stream: bool = True
    left: bool = False


STREAM: Final = Kind("completed")
FAULTS: Final[Mapping[str, Kind]] = {
    "left by its client": Kind("cancelled", left=True),
    "cut": Kind("interrupted", "drop=7"),
    "cut before its head": Kind("interrupted", "no-head"),
    "stalled for good": Kind("interrupted", "hang=3"),
    "an error in its midst": Kind("failed", "error-event=5"),
    "garbage in its midst": Kind("interrupted", "garbage=5"),
    "refused with 429": Kind("failed", "status=429"),
    "refused with 500": Kind("failed", "status=500"),
    "compressed": Kind("completed", "gzip"),
    "byte by byte": Kind("completed", "bytewise"),
    "no stream": Kind("completed", stream=False),
    "no stream, compressed": Kind("completed", "gzip", stream=False),
    "no stream, cut": Kind("interrupted", "wrong-length=10", stream=False),
    "of Anthropic's API": Kind("completed", path="/v1/messages"),
    "of Anthropic's API, left": Kind("cancelled", path="/v1/messages", left=True),
    "of Gemini's API": Kind("completed", path="/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"),
}
"""Each is one call of a hundred; the others are streams, of which every other asks for its usage."""
KINDS: Final = (*FAULTS.values(), *[STREAM] * (100 - len(FAULTS)))


class Sample(NamedTuple):
    """What a worker holds of the machine's memory at a moment, in seconds from the start."""

    at_s: float
    memory_mb: float


class Books(NamedTuple):
    """Both sides' books, by the number of the call."""

    events: Mapping[int, Sequence[CallEvent]]
    served: Mapping[int, Mapping[str, Any]]


# ---- the client


def request(number: int, key: str, pace_ms: int) -> tuple[str, dict[str, Any], dict[str, str]]:
    """What a call asks: path, body, headers."""
    kind = KINDS[number % len(KINDS)]
    text = f"{number}: what is new on the river today?"
    if kind.path.startswith("/v1beta"):
        body: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": text}]}]}
    else:
        body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": text}], "stream": kind.stream}
        if kind.path.endswith("/messages"):
            body |= {"model": "claude-haiku-4-5", "max_tokens": 999}
        elif kind.stream and number % 2:
            body["stream_options"] = {"include_usage": True}
    pace = f"stall={pace_ms}" if kind.stream and kind.knobs != "bytewise" else ""
    knobs = " ".join(filter(None, (pace, f"output={OUTPUT_TOKENS}", kind.knobs, f"seed={number}")))
    headers = {"authorization": f"Bearer {key}", "x-simulate": knobs, "x-taximeter-session": str(number)}
    return kind.path, body, headers


async def call(client: httpx2.AsyncClient, number: int, key: str, pace_ms: int) -> None:
    """Makes one call, and reads its answer, or some of it."""
    path, body, headers = request(number, key, pace_ms)
    left = KINDS[number % len(KINDS)].left
    async with client.stream("POST", path, json=body, headers=headers) as response:
        pieces = 0
        async for _ in response.aiter_raw():
            pieces += 1
            if left and pieces == LEFT_AFTER:
                break


async def caller(client: httpx2.AsyncClient, numbers: Iterator[int], until: float, key: str, pace_ms: int) -> None:
    """Makes one call after the other."""
    while time.monotonic() < until:
        number = next(numbers)
        try:
            await call(client, number, key, pace_ms)
        except httpx2.RemoteProtocolError:
            if KINDS[number % len(KINDS)].outcome != "interrupted":
                raise


async def watch(supervisor: int, seconds: float) -> dict[int, list[Sample]]:
    """Samples the memory of the workers, and prints it now and then."""
    begun, samples = time.monotonic(), dict[int, list[Sample]]()
    due = 0.0
    while (now := time.monotonic() - begun) < seconds:
        held = {worker: memory_mb(worker) for worker in workers_of(supervisor)}
        for worker, megabytes in held.items():
            samples.setdefault(worker, []).append(Sample(now, megabytes))
        if now >= due:
            due += REPORT_S
            print(f"{now:6.0f} s  " + "  ".join(f"{each:7.1f} MB" for each in held.values()), flush=True)
        await asyncio.sleep(min(SAMPLE_S, seconds - now))
    return samples


async def soak(url: str, key: str, supervisor: int, options: argparse.Namespace) -> dict[int, list[Sample]]:
    """Keeps so many calls under way for so long; what the workers held."""
    seconds = options.minutes * 60
    until, numbers = time.monotonic() + seconds, itertools.count()
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx2.AsyncClient(base_url=url, limits=limits, timeout=60, trust_env=False) as client:
        watching = asyncio.create_task(watch(supervisor, seconds))
        await asyncio.gather(*(caller(client, numbers, until, key, options.pace_ms) for _ in range(options.streams)))
        return await watching


# ---- the processes


def workers_of(supervisor: int) -> list[int]:
    """The processes that a supervisor has forked."""
    return [int(each) for each in Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()]


def memory_mb(process: int) -> float:
    """What a process holds of the machine's memory."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def write_config(folder: Path, simulator: str) -> None:
    """The gateway's configuration."""
    sections = [f"[gateway]\nport = 0\nidle_s = {IDLE_S}\ndrain_s = {STOP_S}\n"]
    sections += [
        f'[upstreams.{name}]\nbase_url = "{simulator}{mount}"\nkey_env = "A_KEY"\n' for name, mount in MOUNTS.items()
    ]
    (folder / "taximeter.toml").write_text("".join(sections))


def made_key(variables: Mapping[str, str]) -> str:
    """A virtual key."""
    line = [sys.executable, *COMMAND, "key", "create", "soak", "--json"]
    done = subprocess.run(line, env=variables, capture_output=True, text=True, check=True)  # noqa: S603 - our own
    return json.loads(done.stdout)["key"]


# ---- the books


def read_books(store: str, simulator: str) -> Books:
    """What the store and the simulator have."""
    events: dict[int, list[CallEvent]] = {}
    with open_store(store, create=False) as opened:
        for event in opened.events():
            events.setdefault(int(event.scope.session or -1), []).append(event)
    calls = httpx2.get(f"{simulator}/_simulator/served", timeout=300, trust_env=False).json()
    return Books(events, {int(each["knobs"].rpartition("seed=")[2]): each for each in calls})


def sums(books: Books) -> tuple[Counter[str], Counter[str]]:
    """The usage of the calls that completed, but for those that are left: ours, and the simulator's."""
    ours, theirs = Counter[str](), Counter[str]()
    for number, found in books.events.items():
        for event in found:
            if event.outcome == "completed" and event.usage is not None and not KINDS[number % len(KINDS)].left:
                ours.update({unit: int(event.usage.get(unit) or 0) for unit in UNITS})
    for number, each in books.served.items():
        if each["outcome"] == "completed" and not KINDS[number % len(KINDS)].left:
            theirs.update({unit: each["usage"].get(unit, 0) for unit in UNITS})
    return ours, theirs


def differences(books: Books) -> list[str]:
    """What does not agree, in words."""
    events, served = books
    wrong = [f"call {number} is lost" for number in served.keys() - events.keys()]
    wrong += [f"call {number} was never served" for number in events.keys() - served.keys()]
    wrong += [f"call {number} is booked {len(found)} times" for number, found in events.items() if len(found) > 1]
    for number, found in events.items():
        kind = KINDS[number % len(KINDS)]
        # whoever reads slowly may leave an answer that is over
        late = kind.left and number in served and served[number]["outcome"] == "completed"
        wrong += [
            f"call {number} ({kind.knobs or kind.path}) is {event.outcome}, not {kind.outcome}"
            for event in found
            if event.outcome != kind.outcome and not (late and event.outcome == "completed")
        ]
    ours, theirs = sums(books)
    wrong += [f"{unit}: booked {ours[unit]}, served {theirs[unit]}" for unit in UNITS if ours[unit] != theirs[unit]]
    return wrong


def growth_mb(samples: Sequence[Sample]) -> float:
    """By how much the line through the samples after the start rises, from there to the end."""
    if not samples:
        return 0.0
    end = samples[-1].at_s
    settled = [each for each in samples if each.at_s >= min(START_S, end / 3)]
    if len(settled) < 3:  # noqa: PLR2004 - two make a line of any two figures
        return 0.0
    line = statistics.linear_regression([each.at_s for each in settled], [each.memory_mb for each in settled])
    return line.slope * (end - settled[0].at_s)


# ---- the verdict


def run(options: argparse.Namespace, stack: ExitStack) -> tuple[Books, dict[int, list[Sample]], int]:
    """Starts everything, soaks, and stops; the books, what the workers held, and how the gateway ended."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    log = stack.enter_context((folder / "log").open("w+"))
    variables = environment(str(folder)) | {"A_KEY": "sk-of-nobody", "TAXIMETER_CONFIG": str(folder / "taximeter.toml")}
    provider = stack.enter_context(started(["-m", "sides.provider"], variables, log))
    assert provider.stdout is not None
    place = Place(**json.loads(provider.stdout.readline()))
    write_config(folder, place.simulator)
    key = made_key(variables)
    serve = [*COMMAND, "serve", "--json", "--workers", str(options.workers)]
    gateway = stack.enter_context(started(serve, variables, log))
    assert gateway.stdout is not None
    url = json.loads(gateway.stdout.readline())["url"]
    held = asyncio.run(soak(url, key, gateway.pid, options))
    gateway.send_signal(signal.SIGTERM)
    status = gateway.wait(STOP_S + 10)
    return read_books(variables["TAXIMETER_STORE"], place.simulator), held, status


def main() -> int:
    """Soaks, compares, and says how it went."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--pace-ms", type=int, default=150, help="between two chunks of a stream (150)")
    parser.add_argument("--bound-mb", type=float, default=8, help="how much a worker's memory may grow (8)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    with ExitStack() as stack:
        books, held, status = run(options, stack)
    wrong = differences(books)
    wrong += [f"the gateway ended with {status}"] if status else []
    wrong += [] if len(held) == options.workers else [f"workers died: there were {len(held)}"]
    growths = {worker: growth_mb(samples) for worker, samples in held.items()}
    wrong += [
        f"worker {worker} grew by {growth:.1f} MB" for worker, growth in growths.items() if growth > options.bound_mb
    ]
    outcomes = Counter(event.outcome for found in books.events.values() for event in found)
    calls = sum(outcomes.values())
    print(f"{calls} calls booked, {calls / options.minutes / 60:.0f} a second: {dict(outcomes)}")
    print(f"usage of those that completed: {dict(sums(books)[0])}")
    print("worker      first MB    last MB    most MB   growth MB")
    for worker, samples in held.items():
        megabytes = [each.memory_mb for each in samples]
        row = (megabytes[0], megabytes[-1], max(megabytes), growths[worker])
        print(f"{worker:<10}" + "".join(f"{each:11.1f}" for each in row))
    for difference in wrong[:20]:
        print(f"WRONG {difference}")
    print("nothing lost, nothing twice, sums equal, memory flat" if not wrong else f"{len(wrong)} differences")
    if options.json is not None:
        figures = {
            "calls": calls,
            "outcomes": outcomes,
            "growth_mb": list(growths.values()),
            "memory_mb": [samples[-1].memory_mb for samples in held.values() if samples],
            "wrong": wrong,
        }
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
