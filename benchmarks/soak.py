"""Many streams at once through one metered process, for long: is memory flat, and is every call booked once?

``--streams`` workers stream answers over httpx2 from the simulator, which runs in a process of its own. Chunks come one
by one, so that all streams are under way together. Some are left by their reader, some are cut by the provider, some
calls fail, some are no streams. At the end the store must have every call that the simulator served exactly once, by
the id of its answer, and the sums of usage must be what the simulator says it stated.

Run ``python benchmarks/soak.py``; it ends with 1 when a call is missing, doubled or wrong, or when memory grew by more
than ``--bound-mb`` after the first two minutes (of a run of less than six: after its first third).
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx2
from overhead import environment, started
from sides.provider import Place

import taximeter

REPORT_S: Final = 30
FLUSH_S: Final = 120
PACE_MS: Final = 100
"""Between two chunks of a stream."""
OUTPUT_TOKENS: Final = 60
LEFT_AFTER: Final = 5
_OF: Final = 100
LEFT, CUT, REFUSED, WHOLE = range(4)
"""Of a hundred calls, the one that its reader leaves, that the provider cuts, that is refused, that is no stream."""
UNITS: Final = ("input_tokens", "cache_read_tokens", "output_tokens", "output_reasoning_tokens")


class Books(NamedTuple):
    """What one side has of the calls.

    Attributes:
        answers: how often each answer's id occurs.
        usage: the sums over those that ended well.
        outcomes: how many ended how.
    """

    answers: Counter[str]
    usage: Counter[str]
    outcomes: Counter[str]


def memory_mb() -> float:
    """What this process holds of the machine's memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


async def worker(client: httpx2.AsyncClient, numbers: Iterator[int], until: float) -> None:
    """Makes one call after the other."""
    while time.monotonic() < until:
        number = next(numbers)
        kind = number % _OF
        knobs = f"output={OUTPUT_TOKENS}, stall={PACE_MS}" + {CUT: ", drop=7", REFUSED: ", status=500"}.get(kind, "")
        body: dict[str, Any] = {
            "model": "gpt-5-mini",
            "messages": [{"role": "user", "content": f"{number}: what is new on the river today?"}],
        }
        if kind != WHOLE:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        call = client.stream("POST", "/chat/completions", json=body, headers={"x-simulate": knobs})
        try:
            async with call as response:
                chunks = 0
                async for _ in response.aiter_raw():
                    chunks += 1
                    if kind == LEFT and chunks == LEFT_AFTER:
                        break
        except httpx2.RemoteProtocolError:
            if kind != CUT:
                raise


async def report(seconds: float, settled: float) -> tuple[float, float]:
    """Prints memory now and then; what it was ``settled`` seconds after the start, and at the end."""
    begun, memory = time.monotonic(), dict[float, float]()
    for moment in sorted({settled, *range(REPORT_S, int(seconds), REPORT_S), seconds}):
        await asyncio.sleep(begun + moment - time.monotonic())
        memory[moment] = memory_mb()
        ended = sum(tally.calls for tally in taximeter.totals("outcome").values())
        print(f"{moment:6.0f} s {memory[moment]:8.1f} MB {ended:8} calls", flush=True)
    return memory[settled], memory[seconds]


async def soak(url: str, streams: int, minutes: float) -> tuple[float, float]:
    """Runs all workers for so long; memory after the start, and at the end."""
    seconds = minutes * 60
    begun = time.monotonic()
    numbers = itertools.count()
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx2.AsyncClient(base_url=url, limits=limits, timeout=60, trust_env=False) as client:
        memory = asyncio.create_task(report(seconds, min(120, seconds / 3)))
        await asyncio.gather(*(worker(client, numbers, begun + seconds) for _ in range(streams)))
        return await memory


def served(place: Place) -> Books:
    """The simulator's own books."""
    calls = httpx2.get(f"{place.simulator}/_simulator/served", timeout=120, trust_env=False).json()
    usage: Counter[str] = Counter()
    for call in calls:
        if call["outcome"] == "completed":
            usage.update({unit: call["usage"].get(unit, 0) for unit in UNITS})
    return Books(
        Counter(call["response_id"] or "none" for call in calls), usage, Counter(call["outcome"] for call in calls)
    )


def booked() -> Books:
    """What the store has."""
    answers: Counter[str] = Counter()
    usage: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    with taximeter.open_store() as store:
        for event in store.events():
            answers[event.response_id or "none"] += 1
            outcomes[event.outcome] += 1
            if event.outcome == "completed" and event.usage is not None:
                usage.update({unit: int(event.usage.get(unit) or 0) for unit in UNITS})
    return Books(answers, usage, outcomes)


def differences(ours: Books, theirs: Books) -> list[str]:
    """What does not agree, in words."""
    wrong = [
        f"{answer}: booked {ours.answers[answer]} times, served {count}"
        for answer, count in theirs.answers.items()
        if ours.answers[answer] != count
    ]
    wrong += [f"{answer}: booked, and never served" for answer in ours.answers.keys() - theirs.answers.keys()]
    wrong += [
        f"{unit}: booked {ours.usage[unit]}, served {theirs.usage[unit]}"
        for unit in UNITS
        if ours.usage[unit] != theirs.usage[unit]
    ]
    names = {"completed": "completed", "failed": "failed", "cancelled": "left", "interrupted": "cut"}
    wrong += [
        f"{mine}: {ours.outcomes[mine]}, the simulator says {yours}: {theirs.outcomes[yours]}"
        for mine, yours in names.items()
        if ours.outcomes[mine] != theirs.outcomes[yours]
    ]
    return wrong


def main() -> int:
    """Soaks, compares, and says how it went."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--bound-mb", type=float, default=16, help="how much memory may grow after the start (16)")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        log = stack.enter_context(Path(folder, "log").open("w+"))
        provider = stack.enter_context(started(["-m", "sides.provider"], environment(folder), log))
        assert provider.stdout is not None
        place = Place(**json.loads(provider.stdout.readline()))
        os.environ["TAXIMETER_STORE"] = f"sqlite:///{folder}/store.db"
        taximeter.instrument()
        before, after = asyncio.run(soak(place.openai, options.streams, options.minutes))
        flushed = taximeter.flush(FLUSH_S)
        ours, theirs = booked(), served(place)
    wrong = differences(ours, theirs)
    wrong += [] if flushed else ["not everything was stored in time"]
    wrong += [f"memory grew by {after - before:.1f} MB"] if after - before > options.bound_mb else []
    calls = sum(ours.answers.values())
    print(f"{calls} calls booked: {dict(ours.outcomes)}; {calls / options.minutes / 60:.0f} a second")
    print(f"usage of those that completed: {dict(ours.usage)}")
    print(f"memory {before:.1f} MB after the start, {after:.1f} at the end (bound: {options.bound_mb:g} more)")
    for difference in wrong[:20]:
        print(f"WRONG {difference}")
    print("every call is booked once, and the sums are equal" if not wrong else f"{len(wrong)} differences")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
