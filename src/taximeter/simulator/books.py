"""What a simulator served: its own books, kept by its own rule, to hold a meter against."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Mapping
from typing import Literal

import msgspec

Outcome = Literal["completed", "failed", "error_event", "garbage", "cut", "left"]
"""How a call ended, seen from the provider: ``completed``; ``failed``: an HTTP status that says no; ``error_event`` and
``garbage``: in the midst of the body; ``cut``: the connection closed early, by us; ``left``: the client went first."""


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """One call, as it was served.

    Attributes:
        number: its place in the order in which calls ended, from 1.
        api: the wire format.
        provider: whom the path says is called.
        model: as asked for, without the knobs behind it; of a response that was stored, the model that made it.
        status: the HTTP status; 0 when the connection was closed before the head.
        usage: what it stated, by unit; ``None`` when the chunk that has the last figures was not sent, or has none.
        planned: what it would have stated, had it come to its end.
        response_id: the answer's own id.
        tool_calls: how many the answer asks for.
        chunks: how many chunks of the body were sent.
        body_bytes: how many bytes of it, as encoded, without HTTP's framing.
        knobs: what the caller turned, as written.
    """

    number: int
    method: str
    path: str
    api: str
    provider: str
    model: str
    stream: bool
    status: int
    outcome: Outcome
    usage: Mapping[str, int] | None = None
    planned: Mapping[str, int] | None = None
    response_id: str | None = None
    tool_calls: int = 0
    chunks: int = 0
    body_bytes: int = 0
    knobs: str = ""


class Totals(msgspec.Struct, frozen=True):
    """Sums over every call that was ever served, forgotten ones too.

    Attributes:
        calls: how many.
        outcomes: how many by outcome.
        usage: what was stated in all, by unit.
        by_model: the same by ``api model``.
    """

    calls: int
    outcomes: Mapping[str, int]
    usage: Mapping[str, int]
    by_model: Mapping[str, Mapping[str, int]]


class Books:
    """Every call that was served, the latest ``most`` in full. Safe to read from any thread."""

    def __init__(self, most: int) -> None:
        self._changed = threading.Condition()
        self._calls: deque[Served] = deque(maxlen=most)
        self._number = 0
        self._outcomes: Counter[str] = Counter()
        self._usage: Counter[str] = Counter()
        self._by_model: dict[str, Counter[str]] = {}

    def book(self, call: Served) -> Served:
        """Enters a call; it gets its number here."""
        with self._changed:
            self._number += 1
            call = msgspec.structs.replace(call, number=self._number)
            self._calls.append(call)
            self._outcomes[call.outcome] += 1
            if call.usage is not None:
                self._usage.update(call.usage)
                self._by_model.setdefault(f"{call.api} {call.model}", Counter()).update(call.usage)
            self._changed.notify_all()
            return call

    def calls(self, after: int = 0) -> tuple[Served, ...]:
        """The calls with a number above ``after``, in the order in which they ended."""
        with self._changed:
            return tuple(call for call in self._calls if call.number > after)

    def totals(self) -> Totals:
        """Sums over all."""
        with self._changed:
            by_model = {name: dict(usage) for name, usage in self._by_model.items()}
            return Totals(self._number, dict(self._outcomes), dict(self._usage), by_model)

    def wait(self, number: int, timeout: float) -> bool:
        """Waits until so many calls have ended; whether they have, within ``timeout`` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._number >= number, timeout)

    def forget(self) -> None:
        """Starts anew: no calls, sums of 0, numbers from 1."""
        with self._changed:
            self._calls.clear()
            self._number = 0
            self._outcomes.clear()
            self._usage.clear()
            self._by_model.clear()
