"""Whoever wants to hear of calls while they happen. A listener that raises breaks nothing, and is counted."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, Literal

import msgspec

from taximeter.event import CallEvent, Part
from taximeter.money import Money
from taximeter.usage import Usage

_log = logging.getLogger("taximeter")

EventName = Literal["call_opened", "first_token", "call_closed", "cost", "unpriced", "recovered", "meter_error"]
EVENT_NAMES: Final = ("call_opened", "first_token", "call_closed", "cost", "unpriced", "recovered", "meter_error")


class FirstToken(msgspec.Struct, frozen=True):
    """The first byte of an answer has come.

    Attributes:
        call_id: of which call.
        first_token_ms: how long after the request left.
    """

    call_id: str
    first_token_ms: int


class CostReport(msgspec.Struct, frozen=True):
    """What a call cost; sent once per call that has a price.

    Attributes:
        call_id: of which call.
        operation: what the application was doing; :attr:`action` is the same.
        provider, model: who served it.
        usage: tokens by class.
        cost: the exact cost.
        timestamp: when the call began.
        parts: one per model billed: an advisor or a fallback is billed at its own.
    """

    call_id: str
    operation: str | None
    provider: str
    model: str | None
    usage: Usage
    cost: Money
    timestamp: datetime
    parts: tuple[Part, ...]

    @property
    def action(self) -> str | None:
        """What the application was doing."""
        return self.operation

    @property
    def cost_usd(self) -> str:
        """The cost as a decimal text."""
        return str(self.cost)


class MeterFailure(msgspec.Struct, frozen=True):
    """The meter itself failed; the call it was metering went on unless the settings say otherwise.

    Attributes:
        where: which part of the meter: ``journal``, ``reader``, ``store`` …
        message: what happened.
        call_id: of which call, where there is one.
    """

    where: str
    message: str
    call_id: str | None = None


def cost_report(event: CallEvent) -> CostReport:
    """What a listener to ``cost`` is told; only for an event that has a cost."""
    if event.cost is None:
        msg = f"event {event.id} has no cost"
        raise ValueError(msg)
    return CostReport(
        call_id=event.id,
        operation=event.scope.operation,
        provider=event.provider,
        model=event.model,
        usage=event.usage or Usage(),  # a cost that was stated without counts
        cost=event.cost,
        timestamp=event.started_at,
        parts=event.parts,
    )


Listener = Callable[[Any], object]


class Listeners:
    """Listeners by the name of what they listen to.

    Attributes:
        failures: how often a listener raised.
    """

    def __init__(self) -> None:
        self._by_name: dict[str, tuple[Listener, ...]] = {}
        self.failures = 0

    def on(self, name: str, listener: Listener) -> Callable[[], None]:
        """Adds a listener; what is returned removes it again.

        Raises:
            ValueError: for a name that nothing is told under.
        """
        if name not in EVENT_NAMES:
            msg = f"nothing is told under {name!r}; there are {', '.join(EVENT_NAMES)}"
            raise ValueError(msg)
        self._by_name[name] = (*self._by_name.get(name, ()), listener)

        def off() -> None:
            rest = list(self._by_name.get(name, ()))
            if listener in rest:
                rest.remove(listener)
            self._by_name[name] = tuple(rest)

        return off

    def wanted(self, name: EventName) -> bool:
        """Whether anybody listens."""
        return bool(self._by_name.get(name))

    def tell(self, name: EventName, what: object) -> None:
        """Tells every listener of ``name``."""
        for listener in self._by_name.get(name, ()):
            try:
                listener(what)
            except Exception:  # noqa: BLE001 - whatever an application's listener raises
                self.failures += 1
                _log.exception("a listener to %s raised; the call is not affected", name)
