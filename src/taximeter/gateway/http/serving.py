"""What all connections of a worker share: who decides, the meter, the pools, and one coarse clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Protocol

from taximeter.event import CallEvent
from taximeter.gateway.config import ServingSettings
from taximeter.gateway.http.clock import TICK_S, Timed, ticks_of
from taximeter.gateway.http.heads import HeadLimits
from taximeter.gateway.http.pool import Pool
from taximeter.gateway.plan import Gatekeeper, Origin
from taximeter.meter.call import Call
from taximeter.meter.runtime import Meter
from taximeter.money import Money


class Words(Protocol):
    """What the caller is told of a call's cost in the usage of its answer."""

    def __call__(self, caller: str, call: Call, event: CallEvent | None) -> bytes:
        """JSON members without braces; empty: nothing.

        Args:
            caller: whose call it is: the id of a key; empty where nobody asks.
            call: the call.
            event: how it ended; ``None`` while it runs and its usage has just been read.
        """
        ...


def cost_alone(caller: str, call: Call, event: CallEvent | None) -> bytes:  # noqa: ARG001 - as `Words` says
    """``cost_usd``, where the call has a cost."""
    if event is not None:
        return cost_member(event.cost)
    figures = call.so_far()
    return b"" if figures is None else cost_member(figures.cost)


def cost_member(cost: Money | None) -> bytes:
    """The member for a cost; empty where it is not known."""
    return b"" if cost is None else b'"cost_usd":"%b"' % str(cost).encode()


class Serving:
    """What the connections of one worker share.

    Args:
        loop: that they run on.
        gatekeeper: decides; may be exchanged while calls are under way, which keep the one they began with.
        settings: limits and time-outs.
        meter: counts; ``None`` passes everything on uncounted.
        words: what callers are told of costs.

    Attributes:
        tick: the clock.
        connections: those that must get on, of clients and to upstreams.
        clients: how many clients are connected.
        calls: how many calls are under way.
        draining: whether the worker is about to end.
        emptied: called when the last call has ended while draining.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        gatekeeper: Gatekeeper,
        settings: ServingSettings,
        meter: Meter | None,
        words: Words = cost_alone,
    ) -> None:
        self.loop = loop
        self.gatekeeper = gatekeeper
        self.settings = settings
        self.meter = meter
        self.words = words
        self.ticks = ticks_of(settings)
        self.head_limits = HeadLimits(settings.max_head_bytes, settings.max_target_bytes, settings.max_headers)
        self.tick = 0
        self.connections: set[Timed] = set()
        self.clients = 0
        self.calls = 0
        self.draining = False
        self.emptied: Callable[[], None] | None = None
        self._pools: dict[Origin, Pool] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def pool(self, origin: Origin) -> Pool:
        """The connections to an origin."""
        found = self._pools.get(origin)
        if found is None:
            found = self._pools[origin] = Pool(self, origin)
        return found

    def run(self, work: Coroutine[object, object, None]) -> None:
        """Runs what has to wait for something: answers of our own, which are rare."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def call_ended(self) -> None:
        """One call less is under way."""
        self.calls -= 1
        if self.draining and not self.calls and self.emptied is not None:
            self.emptied()

    def start(self) -> None:
        """Starts the clock."""
        self._timer = self.loop.call_later(TICK_S, self._pass)

    def stop(self) -> None:
        """Stops the clock and gives up connecting."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for pool in self._pools.values():
            pool.close()

    def _pass(self) -> None:
        self.tick = tick = self.tick + 1
        for connection in [each for each in self.connections if each.deadline < tick]:
            if connection.deadline < tick:  # another's end may have been its own
                connection.overdue()
        self._timer = self.loop.call_later(TICK_S, self._pass)
