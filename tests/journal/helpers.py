"""Calls, and sinks that keep them, for the tests of the journal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from taximeter.event import CallEvent, Cost, LineItem, Part, Rate, Scope, ToolCall
from taximeter.journal import OpenCall
from taximeter.money import Money
from taximeter.store import Store
from taximeter.usage import Usage

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
"""When the first call of a test starts, and when the tests record."""


def opening(number: int, *, prefix: str = "call") -> OpenCall:
    """Call ``number`` as it is known when it leaves."""
    return OpenCall(
        id=f"{prefix}-{number}",
        started_at=NOW + timedelta(microseconds=number),
        provider="openai",
        api="openai.chat",
        request_model="gpt-5",
        scope=Scope(project="shop", user=f"user-{number % 7}", tags=(("env", "test"),)),
        stream=number % 2 == 0,
        attempt=1 + number % 3,
    )


def finished(number: int, *, prefix: str = "call", padding: int = 0) -> CallEvent:
    """Call ``number`` as it ended: ``number`` tokens at 1.25 USD per million."""
    call = opening(number, prefix=prefix)
    rate = Rate(Money.usd("1.25").decimal, 1_000_000)
    amount = Money(1_250_000 * number)  # 1.25 USD / 10^6 = 1,250,000 pico-dollars a token
    item = LineItem("input_tokens", number, rate, "input_tokens", amount)
    usage = Usage(input_tokens=number)
    return CallEvent(
        id=call.id,
        started_at=call.started_at,
        provider=call.provider,
        api=call.api,
        outcome="completed",
        scope=call.scope,
        request_model=call.request_model,
        response_model="gpt-5-2025-08-07",
        stream=call.stream,
        status=200,
        usage=usage,
        usage_source="reported",
        raw_usage=f'{{"prompt_tokens":{number}}}' + " " * padding,
        cost=amount,
        parts=(Part("gpt-5-2025-08-07", usage, cost=Cost(amount, (item,))),),
        tool_calls=(ToolCall("t", "search", number),),
        duration_ms=number,
        attempt=call.attempt,
    )


class Shelf:
    """A sink in memory that keeps the rules of one: all or none, and once by id.

    Attributes:
        events: what it holds, by id.
        batches: the sizes of what it was given.
        synced: how many it held when it last synced.
        fault: what to raise instead of taking anything.
        poison: ids of events that it will not take.
    """

    def __init__(self) -> None:
        self.events: dict[str, CallEvent] = {}
        self.batches: list[int] = []
        self.synced = 0
        self.fault: Exception | None = None
        self.poison: set[str] = set()

    def add(self, events: Sequence[CallEvent]) -> None:
        """Takes all, or raises."""
        self.batches.append(len(events))
        if self.fault is not None:
            raise self.fault
        for event in events:
            if event.id in self.poison:
                msg = f"{event.id} cannot be kept"
                raise ValueError(msg)
        for event in events:
            self.events.setdefault(event.id, event)

    def sync(self) -> None:
        """Notes that it was asked to."""
        self.synced = len(self.events)


class StoreSink:
    """A real store as a sink."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, events: Sequence[CallEvent]) -> None:
        """Adds them."""
        self._store.add(events, recorded_at=NOW)

    def sync(self) -> None:
        """Puts the store's files on the disk."""
        self._store.sync()
