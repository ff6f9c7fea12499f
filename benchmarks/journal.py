"""What journaling one call costs (its opening and its closing), beside the embedded stores that could have done it.

Run it with ``python benchmarks/journal.py``; ``--json`` adds one JSON object as the last line. LMDB is measured where
its Python package (``lmdb``) is installed. All write the same bytes: the two records of a typical call.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from taximeter.codec import pack_event, unpack_event
from taximeter.event import CallEvent, Cost, LineItem, Part, Rate, RateCardRef, Scope, uuid7
from taximeter.journal import Journal, OpenCall
from taximeter.journal.records import pack_open
from taximeter.money import Money
from taximeter.usage import Usage

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)
CALLS = 5_000
SYNCED_CALLS = 60
THREADS = (1, 16)

USAGE = Usage(input_tokens=12_000, cache_read_tokens=9_000, output_tokens=900, output_reasoning_tokens=500)
PRICES = {"input_tokens": "1.25", "cache_read_tokens": "0.125", "output_tokens": "10", "output_reasoning_tokens": "10"}
RAW = (
    '{"prompt_tokens":12000,"completion_tokens":900,"total_tokens":12900,"prompt_tokens_details":{"cached_tokens":9000,'
    '"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":500,"audio_tokens":0}}'
)


class Call(NamedTuple):
    """A typical call, as the journal sees it."""

    opening: OpenCall
    event: CallEvent


def typical(number: int) -> Call:
    """A streamed chat with cached input and reasoning: one part, four line items."""
    items: list[LineItem] = []
    for unit, count in USAGE.leaves().items():
        rate = Rate(Decimal(PRICES[unit]), 1_000_000)
        items.append(LineItem(unit, count, rate, unit, Money.nearest(rate.pico_per_unit * int(count))))
    card = RateCardRef("genai-prices", "0.2.3", "openai", "gpt-5", AT.date(), (("service_tier", "default"),))
    total = Money(sum(item.amount.pico for item in items))
    opening = OpenCall(
        id=uuid7(1_795_000_000_000 + number, number.to_bytes(10, "big")),
        started_at=AT,
        provider="openai",
        api="openai.chat",
        request_model="gpt-5",
        scope=Scope("shop", "session-123", "turn-4", "user-77", "chat", (("env", "prod"),)),
        stream=True,
    )
    event = CallEvent(
        id=opening.id,
        started_at=AT,
        provider="openai",
        api="openai.chat",
        outcome="completed",
        scope=opening.scope,
        request_model="gpt-5",
        response_model="gpt-5-2025-08-07",
        response_id="chatcmpl-AbCdEf0123456789",
        service_tier="default",
        stream=True,
        status=200,
        finish_reason="stop",
        usage=USAGE,
        usage_source="reported",
        raw_usage=RAW,
        cost=total,
        parts=(Part("gpt-5-2025-08-07", USAGE, cost=Cost(total, tuple(items), card=card)),),
        first_token_ms=321,
        duration_ms=4_321,
    )
    return Call(opening, event)


Put = Callable[[Call], None]
Make = Callable[[Path, str], Put]


def ours(folder: Path, durability: str) -> Put:
    """The journal."""
    journal = Journal.create(folder, durability="fsync" if durability == "fsync" else "process")

    def put(call: Call) -> None:
        journal.opened(call.opening)
        journal.closed(call.event)

    return put


def sqlite(folder: Path, durability: str) -> Put:
    """SQLite: a row and a transaction for each record. OFF is as safe against the death of the process as it gets."""
    connection = sqlite3.connect(folder / "journal.db", isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {'FULL' if durability == 'fsync' else 'OFF'}")
    connection.execute("CREATE TABLE records (seq INTEGER PRIMARY KEY, kind INTEGER, payload BLOB)")
    insert = "INSERT INTO records (kind, payload) VALUES (?, ?)"
    lock = threading.Lock()

    def put(call: Call) -> None:
        with lock:
            connection.execute(insert, (0, pack_open(call.opening)))
        with lock:
            connection.execute(insert, (1, pack_event(call.event)))

    return put


def lmdb(folder: Path, durability: str) -> Put:
    """LMDB: a key and a transaction for each record."""
    package: Any = importlib.import_module("lmdb")
    environment: Any = package.open(str(folder), map_size=2**30, sync=durability == "fsync")
    counter = iter(range(10**9))

    def record(payload: bytes) -> None:
        with environment.begin(write=True) as transaction:
            transaction.put(next(counter).to_bytes(8, "big"), payload, append=True)

    def put(call: Call) -> None:
        record(b"O" + pack_open(call.opening))
        record(b"C" + pack_event(call.event))

    return put


CONTENDERS: dict[str, Make] = {"journal": ours, "SQLite": sqlite, "LMDB": lmdb}


class Result(NamedTuple):
    """Least of the rounds.

    Attributes:
        cpu_us: CPU microseconds per call, handed to the kernel.
        size: bytes on disk per call.
        synced_us: microseconds of the clock per call, on the disk, by number of threads.
    """

    cpu_us: float
    size: float
    synced_us: dict[int, float]


def measure(make: Make, calls: list[Call], rounds: int) -> Result:
    """Runs one contender."""
    cpu: list[float] = []
    size = 0.0
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            put = make(Path(name), "process")
            start = time.process_time_ns()
            for call in calls:
                put(call)
            cpu.append((time.process_time_ns() - start) / len(calls) / 1_000)
            # Blocks in use, not lengths: LMDB's file is sparse.
            size = sum(path.stat().st_blocks * 512 for path in Path(name).rglob("*")) / len(calls)
    synced = {threads: min(_synced(make, calls, threads) for _ in range(rounds)) for threads in THREADS}
    return Result(min(cpu), size, synced)


def _synced(make: Make, calls: list[Call], threads: int) -> float:
    with tempfile.TemporaryDirectory() as name:
        put = make(Path(name), "fsync")
        put(calls[-1])
        workers = [
            threading.Thread(target=lambda: [put(call) for call in calls[:SYNCED_CALLS]]) for _ in range(threads)
        ]
        start = time.perf_counter_ns()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return (time.perf_counter_ns() - start) / threads / SYNCED_CALLS / 1_000


def timed(work: Callable[[], object], times: int, rounds: int) -> float:
    """CPU microseconds, least of the rounds."""
    figures: list[float] = []
    for _ in range(rounds):
        start = time.process_time_ns()
        for _ in range(times):
            work()
        figures.append((time.process_time_ns() - start) / times / 1_000)
    return min(figures)


def read_back(calls: list[Call]) -> float:
    """CPU microseconds per event to read all back from the journal in batches and confirm them."""
    with tempfile.TemporaryDirectory() as name:
        journal = Journal.create(Path(name))
        for call in calls:
            journal.opened(call.opening)
            journal.closed(call.event)
        start = time.process_time_ns()
        read: list[CallEvent] = []
        while events := journal.waiting(1_000):
            read += events
            journal.confirm(len(events))
        spent = time.process_time_ns() - start
        assert read == [call.event for call in calls]
        assert journal.close()
        return spent / len(calls) / 1_000


def main() -> None:
    """Runs all and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    calls = [typical(number) for number in range(CALLS)]
    event, packed = calls[0].event, pack_event(calls[0].event)
    assert unpack_event(packed) == event
    pack_us = timed(lambda: pack_event(event), 20_000, options.rounds)
    unpack_us = timed(lambda: unpack_event(packed), 5_000, options.rounds)
    opening_bytes = len(pack_open(calls[0].opening))
    read_us = statistics.median(read_back(calls) for _ in range(options.rounds))

    results: dict[str, Result] = {}
    for name, make in CONTENDERS.items():
        if name != "LMDB" or importlib.util.find_spec("lmdb"):
            results[name] = measure(make, calls, options.rounds)
    print(f"A call is two records: {opening_bytes} bytes when it opens, {len(packed)} when it closes.")
    print(
        f"An event to bytes {pack_us:.1f} µs, back {unpack_us:.1f} µs; read back, confirmed {read_us:.1f} µs a call.\n"
    )
    print(f"{'':10}{'CPU µs a call':>15}{'bytes a call':>15}{'synced, 1 thread':>19}{f'{THREADS[1]} threads':>13}")
    for name, result in results.items():
        one, many = (result.synced_us[threads] for threads in THREADS)
        print(f"{name:10}{result.cpu_us:>15.1f}{result.size:>15,.0f}{one:>16,.0f} µs{many:>10,.0f} µs")
    print(f"\nLeast of {options.rounds} rounds; {os.cpu_count()} cores. Synced: the clock's time a call, all threads.")
    if options.json:
        own = results["journal"]
        figures = {
            "us_per_call": round(own.cpu_us, 2),
            "bytes_per_call": round(own.size),
            "pack_us": round(pack_us, 2),
            "unpack_us": round(unpack_us, 2),
            "read_back_us": round(read_us, 2),
            "synced_us_per_call": {str(threads): round(figure) for threads, figure in own.synced_us.items()},
            "peers": {name: round(result.cpu_us, 2) for name, result in results.items() if name != "journal"},
        }
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
