"""A turn over several calls, whichever worker served them: what ties them together, and what they cost so far.

A call names its turn, or carries the result of a tool call that an earlier answer of the same caller asked for. One
worker alone keeps this in memory. Several share a small file: a turn costs some 20 µs more then, a call that belongs to
none costs nothing.

What is kept here is a convenience for whoever reads the cost on the wire. It is not the books: those are events, and
the store's. So a file that is lost or locked leaves a figure out, and no more.
"""

from __future__ import annotations

import sqlite3
import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from taximeter.gateway.sharing import open_shared
from taximeter.money import Money

KEPT_S: Final = 24 * 3600
"""How long a turn is remembered after its last call, in seconds."""

_LIMB: Final = 10**9  # a sum of 1e-12 USD does not fit 64 bits past nine million dollars
_SWEEP_EVERY: Final = 10_000
_MOST_IN_MEMORY: Final = 100_000


class Place(NamedTuple):
    """Where an earlier answer stood: its session and its turn."""

    session: str | None
    turn: str


class TurnCost(NamedTuple):
    """What the calls of a turn come to so far.

    Attributes:
        calls: how many of them have ended.
        known: the exact sum of the costs that are known.
        unpriced_calls: how many have none.
    """

    calls: int
    known: Money
    unpriced_calls: int

    def members(self) -> bytes:
        """As JSON members: the cost of the turn, or how many calls stand in the way of one."""
        if self.unpriced_calls:
            return b'"turn_unpriced_calls":%d' % self.unpriced_calls
        return b'"turn_cost_usd":"%s"' % str(self.known).encode()


class Turns(Protocol):
    """Turns by caller: what one caller names or answers is nothing to another."""

    def find(self, caller: str, tool_call_ids: Sequence[str]) -> Place | None:
        """Where the answer stood that asked for one of these tool calls."""
        ...

    def add(self, caller: str, place: Place, cost: Money | None, tool_call_ids: Sequence[str]) -> TurnCost | None:
        """Counts a call in its turn; ``None`` when that cannot be known now.

        Args:
            caller: whose it is.
            place: its session and turn.
            cost: of the call; ``None`` when it has no price.
            tool_call_ids: that its answer asked for.
        """
        ...

    def revise(
        self, caller: str, place: Place, before: Money | None, after: Money | None, tool_call_ids: Sequence[str]
    ) -> TurnCost | None:
        """A call that was counted costs something else than was known then; ``None`` as with :meth:`add`.

        Args:
            caller: as it was counted.
            place: as it was counted.
            before: its cost as it was counted.
            after: its cost.
            tool_call_ids: that its answer asked for, all of them.
        """
        ...

    def close(self) -> None:
        """Lets go of what it holds."""
        ...


class LocalTurns:
    """The turns of one worker, in memory; the oldest are forgotten first."""

    def __init__(self) -> None:
        self._turns: OrderedDict[tuple[str, str], TurnCost] = OrderedDict()
        self._tools: OrderedDict[tuple[str, str], Place] = OrderedDict()

    def find(self, caller: str, tool_call_ids: Sequence[str]) -> Place | None:
        """See :meth:`Turns.find`."""
        return next((place for each in tool_call_ids if (place := self._tools.get((caller, each))) is not None), None)

    def add(self, caller: str, place: Place, cost: Money | None, tool_call_ids: Sequence[str]) -> TurnCost:
        """See :meth:`Turns.add`."""
        return self._put(caller, place, TurnCost(1, cost or _NOTHING, int(cost is None)), tool_call_ids)

    def revise(
        self, caller: str, place: Place, before: Money | None, after: Money | None, tool_call_ids: Sequence[str]
    ) -> TurnCost:
        """See :meth:`Turns.revise`."""
        return self._put(caller, place, _difference(before, after), tool_call_ids)

    def _put(self, caller: str, place: Place, more: TurnCost, tool_call_ids: Sequence[str]) -> TurnCost:
        calls, known, unpriced = self._turns.pop((caller, place.turn), (0, _NOTHING, 0))
        total = TurnCost(calls + more.calls, known + more.known, unpriced + more.unpriced_calls)
        self._turns[caller, place.turn] = total
        for each in tool_call_ids:
            self._tools[caller, each] = place
        for kept in (self._turns, self._tools):
            while len(kept) > _MOST_IN_MEMORY:
                kept.popitem(last=False)
        return total

    def close(self) -> None:
        """Nothing is held."""


class SharedTurns:
    """The turns of several workers, in a file that each of them opens.

    It is written without any sync: what a power cut takes is a convenience, and what a worker's death takes is nothing.

    Args:
        path: of the file; made if need be.

    Raises:
        OSError: when there can be no such file.
    """

    def __init__(self, path: Path) -> None:
        self._file = open_shared(path, "turns", _TABLES)
        self._until_sweep = _SWEEP_EVERY

    def find(self, caller: str, tool_call_ids: Sequence[str]) -> Place | None:
        """See :meth:`Turns.find`."""
        with suppress(sqlite3.Error):
            for each in tool_call_ids:
                found = self._file.execute(_FIND, (caller, each)).fetchone()
                if found is not None:
                    return Place(*found)
        return None

    def add(self, caller: str, place: Place, cost: Money | None, tool_call_ids: Sequence[str]) -> TurnCost | None:
        """See :meth:`Turns.add`."""
        return self._put(caller, place, TurnCost(1, cost or _NOTHING, int(cost is None)), tool_call_ids)

    def revise(
        self, caller: str, place: Place, before: Money | None, after: Money | None, tool_call_ids: Sequence[str]
    ) -> TurnCost | None:
        """See :meth:`Turns.revise`."""
        return self._put(caller, place, _difference(before, after), tool_call_ids)

    def _put(self, caller: str, place: Place, more: TurnCost, tool_call_ids: Sequence[str]) -> TurnCost | None:
        hi, lo = divmod(more.known.pico, _LIMB)
        now = int(time.time())
        try:
            self._file.execute("BEGIN IMMEDIATE")
            try:
                said = (caller, place.turn, more.calls, hi, lo, more.unpriced_calls, now)
                row = self._file.execute(_ADD, said).fetchone()
                if tool_call_ids:
                    rows = [(caller, each, place.session, place.turn, now) for each in tool_call_ids]
                    self._file.executemany(_TOOL, rows)
                self._sweep(now)
            finally:
                self._file.execute("COMMIT")
        except sqlite3.Error:
            return None
        calls, sum_hi, sum_lo, unpriced = row
        return TurnCost(calls, Money(sum_hi * _LIMB + sum_lo), unpriced)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _sweep(self, now: int) -> None:
        self._until_sweep -= 1
        if not self._until_sweep:
            self._until_sweep = _SWEEP_EVERY
            for table in ("turns", "tools"):
                self._file.execute(f"DELETE FROM {table} WHERE at < ?", (now - KEPT_S,))  # noqa: S608 - two constants


def _difference(before: Money | None, after: Money | None) -> TurnCost:
    """What a call's new cost adds to its turn, which counts the call already."""
    return TurnCost(0, (after or _NOTHING) - (before or _NOTHING), int(after is None) - int(before is None))


_NOTHING: Final = Money(0)
_TABLES: Final = """
PRAGMA synchronous = OFF;
CREATE TABLE IF NOT EXISTS turns (caller TEXT, turn TEXT, calls INT, hi INT, lo INT, unpriced INT, at INT,
    PRIMARY KEY (caller, turn)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tools (caller TEXT, id TEXT, session TEXT, turn TEXT, at INT,
    PRIMARY KEY (caller, id)) WITHOUT ROWID;
"""
_FIND: Final = "SELECT session, turn FROM tools WHERE caller = ? AND id = ?"
_ADD: Final = (
    "INSERT INTO turns VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (caller, turn) DO UPDATE SET "
    "calls = calls + excluded.calls, hi = hi + excluded.hi, lo = lo + excluded.lo, "
    "unpriced = unpriced + excluded.unpriced, at = excluded.at RETURNING calls, hi, lo, unpriced"
)
_TOOL: Final = "INSERT OR REPLACE INTO tools VALUES (?, ?, ?, ?, ?)"
