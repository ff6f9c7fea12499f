"""One run of what is tracked: what is known of it, and the one event that it becomes, if no hook books a better one."""

from __future__ import annotations

import time
from contextlib import suppress
from contextvars import ContextVar, Token
from decimal import Decimal
from types import TracebackType
from typing import Final

import msgspec

from taximeter.event import (
    CallEvent,
    Cost,
    LineItem,
    Outcome,
    Part,
    ProviderError,
    Rate,
    RateCardRef,
    Scope,
    total_cost,
)
from taximeter.instrument.duck import UNKNOWN, Witness, stated
from taximeter.meter.call import Opened
from taximeter.meter.making import make_event, outcome_of
from taximeter.meter.runtime import around, the_meter
from taximeter.meter.scope import current_scope, put, take_back
from taximeter.meter.toolruns import with_runs
from taximeter.money import Money
from taximeter.wire import Reading, Route

API: Final = "track"
"""Stands for the wire format of a call whose wire nobody saw."""

_OK: Final = 200
_LONGEST_MESSAGE: Final = 500

innermost: ContextVar[Tracked | None] = ContextVar("taximeter_tracked", default=None)
"""The run that is under way here."""


class Tracked:
    """A tracked call that is under way, as ``with taximeter.track(…) as call`` gives it.

    Attributes:
        event: what was booked, once it is over; ``None`` before, and where a hook booked the call instead.
        scope: the attribution within.
        held: keeps it in force, where it is around a stretch of code.
        awaited: whether what it gave to be awaited was.
    """

    def __init__(self, scope: Scope, *, provider: str | None, model: str | None) -> None:
        self.event: CallEvent | None = None
        self.held: Within | None = None
        self.awaited = False
        self.scope = scope
        self._provider = provider
        self._model = model
        self._served: str | None = None
        self._stated: Reading | None = None
        self._cost: Money | None = None
        self._witness = Witness()
        self._meter = the_meter()
        self._outer = around.get()
        self._started_ns = time.monotonic_ns()
        self._first_ms: int | None = None
        token = put(scope)
        try:
            call = self._meter.open(Route(API, provider or UNKNOWN, model), None, provisional=True)
        finally:
            take_back(token)
        self._opened: Opened | None = call.opened if call is not None else None

    # ---- what the application may say

    def record(
        self,
        response: object = None,
        *,
        usage: object = None,
        model: str | None = None,
        provider: str | None = None,
        cost_usd: Decimal | int | str | None = None,
    ) -> None:
        """Says what cannot be seen from outside. What is said later counts; what is said wins over what was seen.

        Args:
            response: an answer, or a chunk of one, as an SDK gives it; recognised by its shape.
            usage: counts by unit (``{"input_tokens": 12, "output_tokens": 3}``), or an SDK's usage object.
            model: the model that served the call.
            provider: who was called.
            cost_usd: what the call cost, in US dollars; instead of what the price book says.

        Raises:
            UsageError: for counts that cannot be.
            MoneyError: for an amount that is not exact; write a float's text: ``str(cost)``.
            TypeError: for a usage that is none.
        """
        cost = None if cost_usd is None else Money.usd(cost_usd)
        said = None if usage is None else stated(usage, model)
        self._served = model or self._served
        self._provider = provider or self._provider
        self._cost = cost or self._cost
        self._stated = said or self._stated
        if response is not None:
            self.gave(response)

    def discard(self) -> None:
        """There was no call: an answer came from a cache, say. Nothing is booked."""
        opened, self._opened = self._opened, None
        if opened is not None:
            try:
                self._meter.dropped(opened)
            except Exception as error:  # noqa: BLE001 - a failure of the meter is counted, and never the call's
                self._meter.failed("track", error, opened.id)

    # ---- what is seen of it

    @property
    def watching(self) -> bool:
        """Whether what it gives is still of interest: no hook has booked the call, and it is not over."""
        return self._opened is not None

    def within(self) -> Within:
        """Puts its scope in force for a stretch of the run: all of it, or one step of a stream."""
        return Within(self)

    def gave(self, value: object) -> None:
        """It gave an object that may be an answer, or hold one."""
        if self._opened is not None:
            try:
                self._witness.see(value)
            except Exception as error:  # noqa: BLE001 - as above: whatever an SDK's object raises when it is looked at
                self._meter.failed("track", error, self._opened.id)

    def streamed(self, value: object) -> None:
        """It gave a chunk of a stream."""
        opened = self._opened
        if opened is not None:
            if self._first_ms is None:
                self._first_ms = self._elapsed_ms()
                self._meter.first_token(opened.id, self._first_ms)
            try:
                self._witness.see(value, stream=True)
            except Exception as error:  # noqa: BLE001 - as above
                self._meter.failed("track", error, opened.id)

    def ended(self) -> None:
        """It came to its end."""
        self._finish(None, None)

    def abandoned(self) -> None:
        """The application let go of it before its end."""
        self._finish("cancelled", None)

    def raised(self, error: BaseException) -> None:
        """It raised; the application is shown the same."""
        if not isinstance(error, Exception):  # KeyboardInterrupt, GeneratorExit, and how event loops cancel
            self._finish("cancelled", None)
        else:
            self._finish("interrupted" if self._first_ms is not None else "failed", error)

    # ---- what becomes of it

    def metered_inside(self) -> None:
        """A call was metered within: that is the one to book."""
        self.discard()
        if self._outer is not None:
            self._outer()

    def _elapsed_ms(self) -> int:
        return (time.monotonic_ns() - self._started_ns) // 1_000_000

    def _finish(self, outcome: Outcome | None, error: BaseException | None) -> None:
        opened, self._opened = self._opened, None
        if opened is None:
            return
        try:
            event = self._event(opened, outcome, error)
            self._meter.listeners.tell("call_opened", opened)
            self._meter.finished(opened, event)
            self.event = event
        except Exception as failure:  # noqa: BLE001 - as above
            self._meter.failed("track", failure, opened.id)

    def _event(self, opened: Opened, outcome: Outcome | None, error: BaseException | None) -> CallEvent:
        witness = self._witness
        seen = self._stated or witness.reading(cut=outcome is not None)
        reading = _at(self._served, seen or Reading(usage=None, usage_source="unknown"))
        said = self._stated is not None or self._cost is not None
        whole = said or (seen is not None and not witness.stream)
        if whole or _to_its_end(reading):
            outcome, error = None, None  # the call gave its answer; what the application did after that is its own
        api = witness.api or API
        provider = self._provider or witness.provider
        facts = msgspec.structs.replace(
            opened.facts,
            route=Route(api, provider, self._model),
            request_model=self._model or self._served,
            first_token_ms=self._first_ms,
            duration_ms=self._elapsed_ms(),
            stream=witness.stream or (None if witness.api is None else False),
            tool_results=with_runs((), api),
        )
        if error is not None:
            reading = msgspec.structs.replace(reading, error=_told(error))
        event = make_event(facts, reading, self._meter.book(), outcome or outcome_of(_OK, reading))
        return event if self._cost is None else _priced(event, self._cost)


class Within:
    """The stretch of time for which a run's scope is in force.

    What a generator leaves in force at a step's end is in force again at its next step, and not in between.
    """

    __slots__ = ("_around", "_innermost", "_run", "_scope")

    def __init__(self, run: Tracked) -> None:
        self._run = run

    def __enter__(self) -> None:
        run = self._run
        self._scope: Token[Scope] = put(run.scope)
        self._around = around.set(run.metered_inside)
        self._innermost = innermost.set(run)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._run.scope = current_scope()
        with suppress(ValueError):  # closed from another context than it began in, where there is nothing to undo
            innermost.reset(self._innermost)
            around.reset(self._around)
            take_back(self._scope)


def _at(model: str | None, reading: Reading) -> Reading:
    """A reading at the model that the application names."""
    if model is None:
        return reading
    first = tuple(msgspec.structs.replace(part, model=model) for part in reading.parts[:1])
    return msgspec.structs.replace(reading, response_model=model, parts=(*first, *reading.parts[1:]))


def _to_its_end(reading: Reading) -> bool:
    """Whether a stream had said all that its protocol has to say, however its reader then let go of it."""
    return reading.usage_source == "reported" and reading.finish_reason is not None and reading.error is None


def _told(error: BaseException) -> ProviderError:
    status = getattr(error, "status_code", None)
    code = str(status) if isinstance(status, int) else None
    return ProviderError(type=type(error).__name__, code=code, message=str(error)[:_LONGEST_MESSAGE] or None)


def _priced(event: CallEvent, amount: Money) -> CallEvent:
    """An event at the cost that the application states: one line, for one call."""
    item = LineItem("requests", 1, Rate(usd=Decimal(str(amount)), per=1), "requests", amount)
    card = RateCardRef("user", "stated by the application", event.provider, event.model or UNKNOWN)
    parts = (Part(model=event.model, usage=event.usage, cost=Cost(total=amount, items=(item,), card=card)),)
    return msgspec.structs.replace(event, parts=parts, cost=total_cost(parts))
