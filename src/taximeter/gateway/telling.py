"""The meter of a worker: it knows what the other workers know of turns and of calls in the background.

:class:`Told` says which turn a call belongs to, whichever worker served the ones before it, and what its caller is told
of the cost; :class:`GatewayMeter` has it, and books calls in the background once.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import msgspec

from taximeter.event import CallEvent, Scope, ToolCall
from taximeter.gateway.background import (
    SWEEP_S,
    Background,
    Kind,
    Waiting,
    booked,
    is_unfinished,
    kind_of,
    tells_the_end,
)
from taximeter.gateway.calls import Recent
from taximeter.gateway.http.serving import cost_member
from taximeter.gateway.turns import LocalTurns, Place, SharedTurns, TurnCost, Turns
from taximeter.meter.call import Call, Opened
from taximeter.meter.conversations import Conversations, Joined
from taximeter.meter.making import CallFacts
from taximeter.meter.runtime import Meter
from taximeter.meter.settings import Settings
from taximeter.money import Money
from taximeter.wire import Asking, Route

_log = logging.getLogger("taximeter.gateway")

_TURNS: Final = ".turns"
_BACKGROUND: Final = ".background"


class _Counted(NamedTuple):
    """A call as its turn counts it."""

    cost: Money | None
    tool_call_ids: tuple[str, ...]
    total: TurnCost


class _Placed(Protocol):
    """A call that has its place: one that runs, or its event."""

    @property
    def id(self) -> str: ...
    @property
    def scope(self) -> Scope: ...


class Told(Conversations):
    """The conversations of a worker, which knows the turns of the others too.

    A call is counted in its turn once: when a stream states its usage, and else at its end. What a stream says of its
    usage later, and how it ends, changes what was counted.

    Args:
        turns: what the workers share.
    """

    def __init__(self, turns: Turns) -> None:
        super().__init__()
        self._turns = turns
        self._running: dict[str, _Counted] = {}
        self._last: tuple[str, TurnCost | None] = "", None
        self._aside: set[str] = set()

    def join(self, asking: Asking, explicit: Scope, call_id: str, now_ns: int, within: str = "") -> Joined:
        """See :meth:`~taximeter.meter.conversations.Conversations.join`; the answer may have been another worker's."""
        if asking.tool_answers and explicit.turn is None:
            place = self._turns.find(within, [answer.id for answer in asking.tool_answers])
            if place is not None:
                explicit = msgspec.structs.replace(explicit, turn=place.turn, session=explicit.session or place.session)
        return super().join(asking, explicit, call_id, now_ns, within)

    def remember(self, event: CallEvent, chain: tuple[int, ...], now_ns: int, within: str = "") -> None:
        """See :meth:`~taximeter.meter.conversations.Conversations.remember`; counts the call in its turn."""
        super().remember(event, chain, now_ns, within)
        counted = self._running.pop(event.id, None)
        if counted is None and event.outcome in {"failed", "refused"} and event.usage is None:
            return  # nobody bills for having said no
        self._last = event.id, self._total(counted, within, event, event.cost, _ids(event.tool_calls))

    def leave_aside(self, call_id: str) -> None:
        """A call will not be booked itself, and is in no turn; what it tells of a cost is told on."""
        self._aside.add(call_id)

    def forget(self, call_id: str) -> None:
        """A call is in other books."""
        self._aside.discard(call_id)
        self._running.pop(call_id, None)

    def words(self, caller: str, call: Call, event: CallEvent | None) -> bytes:
        """What the caller is told; see :class:`taximeter.gateway.http.serving.Words`."""
        if event is not None:
            known, total = self._last
            return _members(event.cost, total if known == event.id else None)
        figures = None if call.foreign else call.so_far()
        if figures is None:
            return b""
        if call.id in self._aside:
            return cost_member(figures.cost)
        cost, ids = figures.cost, _ids(figures.tool_calls)
        total = self._total(self._running.get(call.id), caller, call.opened, cost, ids)
        if total is not None:
            self._running[call.id] = _Counted(cost, ids, total)
        return _members(cost, total)

    def close(self) -> None:
        """Lets go of the turns."""
        self._turns.close()

    def _total(
        self, counted: _Counted | None, caller: str, call: _Placed, cost: Money | None, tool_call_ids: tuple[str, ...]
    ) -> TurnCost | None:
        """A turn with a call counted in it; ``None`` for a call that is alone in its turn, and that none can join."""
        session, turn = call.scope.session, call.scope.turn
        if turn is None or (turn == call.id and not tool_call_ids):
            return None
        if counted is None:
            return self._turns.add(caller, Place(session, turn), cost, tool_call_ids)
        if (counted.cost, counted.tool_call_ids) == (cost, tool_call_ids):
            return counted.total
        return self._turns.revise(caller, Place(session, turn), counted.cost, cost, tool_call_ids)


class GatewayMeter(Meter):
    """The meter of a worker.

    Args:
        settings: how it behaves.
        alone: whether no other worker serves: what turns cost then stays in memory.

    Attributes:
        told: ties calls to turns, and makes what callers are told of them.
        recent: the calls that run, and those that have just ended.
    """

    def __init__(self, settings: Settings, *, alone: bool) -> None:
        super().__init__(settings)
        self._conversations = self.told = Told(LocalTurns() if alone else self._shared())
        self.recent = Recent()
        self.listeners.on("call_opened", self.recent.opened)
        self.listeners.on("call_closed", self.recent.closed)
        self._later: dict[str, Kind] = {}
        self._background: Background | None = None
        self._swept_at = 0.0

    def open(  # noqa: PLR0913 - as of the meter
        self,
        route: Route,
        body: bytes | None,
        *,
        attempt: int = 1,
        provisional: bool = False,
        scope: Scope | None = None,
        within: str = "",
    ) -> Call | None:
        """See :meth:`taximeter.meter.runtime.Meter.open`."""
        call = super().open(route, body, attempt=attempt, provisional=provisional, scope=scope, within=within)
        kind = None if call is None else kind_of(route, body)
        if call is not None and kind is not None:
            self._later[call.id] = kind
            if kind == "poll":
                self.told.leave_aside(call.id)
        return call

    def finished(self, opened: Opened, event: CallEvent) -> None:
        """See :meth:`taximeter.meter.runtime.Meter.finished`; a poll is no call, and one in the background may wait."""
        kind = self._later.pop(opened.id, None) if self._later else None
        if kind == "poll":
            if tells_the_end(event):
                self._end(event)
            self.dropped(opened)
        elif kind == "background" and is_unfinished(event) and self._waits(opened, event):
            self.dropped(opened)
        else:
            super().finished(opened, event)

    def dropped(self, opened: Opened) -> None:
        """See :meth:`taximeter.meter.runtime.Meter.dropped`."""
        self._later.pop(opened.id, None)
        self.told.forget(opened.id)
        self.recent.forget(opened.id)
        super().dropped(opened)

    def close(self, timeout: float = 5.0) -> None:  # no float: seconds
        """See :meth:`taximeter.meter.runtime.Meter.close`."""
        if self._background is not None or self._path(_BACKGROUND).exists():
            self._swept_at = 0.0
            try:
                self._sweep()
            except OSError as error:
                self.failed("background", error)
        super().close(timeout)
        self.told.close()
        if self._background is not None:
            self._background.close()
            self._background = None

    # ---- calls in the background

    def _waits(self, opened: Opened, event: CallEvent) -> bool:
        """Has a call wait for its end. It is in the file before the journal forgets it."""
        try:
            waits = event.response_id is not None and self._file().put(event.response_id, opened)
            self._sweep()
        except OSError as error:
            self.failed("background", error, opened.id)
            return False  # then it is booked as it is
        return waits

    def _end(self, told: CallEvent) -> None:
        """Books the call that a poll asked after. It is in the journal before the file forgets it.

        Whoever dies in between leaves it to be booked again by the next poll: an event of the same id changes nothing.
        """
        if told.response_id is None:
            return
        try:
            waiting = self._file().find(told.provider, told.response_id)
            if waiting is None:
                return
            super().finished(*booked(waiting, told, self.book()))
            self._file().remove(told.provider, told.response_id)
        except OSError as error:
            self.failed("background", error, told.id)

    def _sweep(self) -> None:
        """Books those that have waited too long: nobody will ever know how they ended."""
        now = time.monotonic()
        if self._swept_at and now - self._swept_at < SWEEP_S:
            return
        self._swept_at = now
        for provider, response_id, waiting in self._file().overdue():
            super().finished(_opened(waiting), waiting.call.unknown())
            self._file().remove(provider, response_id)

    # ---- files

    def _file(self) -> Background:
        if self._background is None:
            self._background = Background(self._path(_BACKGROUND, make=True), self.settings.durability)
        return self._background

    def _path(self, suffix: str, *, make: bool = False) -> Path:
        """A file beside the journals."""
        folder = self.journal_folder()
        if make:
            folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder.with_suffix(suffix)

    def _shared(self) -> Turns:
        """What the workers share; where there can be no file, each knows its own calls."""
        try:
            return SharedTurns(self._path(_TURNS, make=True))
        except OSError as error:
            _log.warning("turns are not shared between workers: %s", error)
            return LocalTurns()


def _opened(waiting: Waiting) -> Opened:
    call = waiting.call
    route = Route(call.api, call.provider)
    return Opened(
        CallFacts(id=call.id, started_at=call.started_at, route=route, scope=call.scope), within=waiting.within
    )


def _ids(tool_calls: tuple[ToolCall, ...]) -> tuple[str, ...]:
    return tuple([each.id for each in tool_calls if each.id is not None])


def _members(cost: Money | None, total: TurnCost | None) -> bytes:
    return b",".join(filter(None, (cost_member(cost), b"" if total is None else total.members())))
