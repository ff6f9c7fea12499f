"""The life of one call: open, answered, fed, closed. Told what happens and when; does no input or output of its own.

Whoever carries the bytes (a hook in an application, the gateway) tells a :class:`Call` what passes. Nothing that a
call is told makes it raise: the call that it meters must not notice it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from taximeter.event import CallEvent, Content, Outcome, ProviderError, Scope, ToolCall, ToolResult
from taximeter.meter.making import CallFacts, make_event
from taximeter.meter.scope import Turn
from taximeter.money import Money
from taximeter.usage import Usage
from taximeter.wire import Reader, Reading, Route

if TYPE_CHECKING:
    from taximeter.meter.runtime import Meter

CALL_ID_HEADER = "x-taximeter-call-id"
"""The gateway's own mark on an answer: the call is in its books, and not to be booked here again."""


class Opened(msgspec.Struct, frozen=True):
    """What is known of a call when its request leaves.

    Attributes:
        facts: who is called, when, by whom.
        chain: ties it to later calls; see :mod:`taximeter.meter.conversations`.
        turn: the turn that it adds to, if one was opened.
        within: whose conversations it belongs to, where one process serves several callers.
        user_message: the text of the user's newest message, where it is kept.
    """

    facts: CallFacts
    chain: tuple[int, ...] = ()
    turn: Turn | None = None
    within: str = ""
    user_message: str | None = None

    @property
    def id(self) -> str:
        """The call's id."""
        return self.facts.id

    @property
    def scope(self) -> Scope:
        """Who the call is attributed to."""
        return self.facts.scope

    @property
    def route(self) -> Route:
        """How it is read, and who is called."""
        return self.facts.route

    @property
    def stream(self) -> bool | None:
        """Whether a stream was asked for; ``None`` when the request does not say."""
        return self.facts.stream

    @property
    def tool_results(self) -> tuple[ToolResult, ...]:
        """The results of earlier tool calls that it carries."""
        return self.facts.tool_results


class Figures(NamedTuple):
    """What an answer states before its end.

    Attributes:
        usage: what was counted.
        cost: what that costs; ``None`` when it has no price.
        tool_calls: what the answer has asked for.
    """

    usage: Usage | None
    cost: Money | None
    tool_calls: tuple[ToolCall, ...]


class Call:
    """One call that is under way.

    Attributes:
        opened: what was known when its request left.
        event: the event, once it is closed; ``None`` before, and for a call that somebody else has booked.
        closed: whether it is closed.
    """

    __slots__ = (
        "_clock",
        "_first_ms",
        "_meter",
        "_reader",
        "_started_ns",
        "_status",
        "closed",
        "event",
        "foreign",
        "opened",
    )

    def __init__(self, meter: Meter, opened: Opened, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self.opened = opened
        self.event: CallEvent | None = None
        self.closed = False
        self.foreign = False
        self._meter = meter
        self._clock = clock
        self._started_ns = clock()
        self._first_ms: int | None = None
        self._status: int | None = None
        self._reader: Reader | None = None

    @property
    def id(self) -> str:
        """The id that its event will have."""
        return self.opened.facts.id

    def answered(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        """The head of the answer has come."""
        try:
            self._status = status
            self._reader = reader = Reader(
                self.opened.facts.route, status=status, headers=headers, keep=self._meter.settings.capture
            )
            self.foreign = CALL_ID_HEADER in reader.headers
        except Exception as error:  # noqa: BLE001 - a failure of the meter is counted, and never the call's
            self._meter.failed("reader", error, self.id)

    def feed(self, chunk: bytes) -> None:
        """Bytes of the answer's body have come, encoded as they were sent."""
        reader = self._reader
        if reader is None or self.closed:
            return
        try:
            if self._first_ms is None and chunk:
                self._first_token()
            reader.feed(chunk)
        except Exception as error:  # noqa: BLE001 - as above
            self._reader = None
            self._meter.failed("reader", error, self.id)

    def so_far(self) -> Figures | None:
        """What the part of a stream that has come states and costs; ``None`` before it states anything.

        May be asked at any time, and changes nothing of what the event will say. Never raises.
        """
        reader = self._reader
        if reader is None or self.closed:
            return None
        try:
            reading = reader.so_far()
            if reading is None or reading.usage is None:
                return None
            event = make_event(self._facts(), reading, self._meter.book())
        except Exception as error:  # noqa: BLE001 - as above
            self._meter.failed("reader", error, self.id)
            return None
        return Figures(event.usage, event.cost, event.tool_calls)

    def close(
        self, outcome: Outcome | None = None, *, cut: bool = False, error: BaseException | None = None
    ) -> CallEvent | None:
        """The call is over; telling it twice changes nothing.

        Args:
            outcome: how it ended, where the carrier knows better than the answer: ``cancelled`` by the application,
                ``interrupted`` by the network.
            cut: the body broke off before the end that HTTP announced.
            error: what the carrier raised to the application.
        """
        if self.closed:
            return self.event
        self.closed = True
        try:
            self.event = self._finish(outcome, cut=cut, error=error)
        except Exception as failure:  # noqa: BLE001 - as above
            self._meter.failed("close", failure, self.id)
        return self.event

    def _first_token(self) -> None:
        self._first_ms = (self._clock() - self._started_ns) // 1_000_000
        self._meter.first_token(self.id, self._first_ms)

    def _finish(self, outcome: Outcome | None, *, cut: bool, error: BaseException | None) -> CallEvent | None:
        if self.foreign:
            self._meter.dropped(self.opened)
            return None
        # who lets go of an answer may have read all of it: SDKs stop at the last event, before the connection's end
        reading = self._reader.close(cut=cut and outcome != "cancelled") if self._reader else _NOTHING
        self._reader = None
        if outcome == "cancelled" and reading.stream and _was_read(reading):
            outcome = None
        content = None
        if self._meter.settings.capture != "none":
            content = self._meter.content(reading.content, self.opened)
        event = make_event(self._facts(error, content), reading, self._meter.book(), outcome)
        self._meter.finished(self.opened, event)
        return event

    def _facts(self, error: BaseException | None = None, content: Content | None = None) -> CallFacts:
        facts = self.opened.facts
        return CallFacts(
            id=facts.id,
            started_at=facts.started_at,
            route=facts.route,
            request_model=facts.request_model,
            status=self._status,
            scope=facts.scope,
            first_token_ms=self._first_ms,
            duration_ms=(self._clock() - self._started_ns) // 1_000_000,
            attempt=facts.attempt,
            stream=facts.stream,
            tool_results=facts.tool_results,
            error=None if error is None else _shown(error),
            content=content,
        )


def _shown(error: BaseException) -> ProviderError:
    return ProviderError(type=type(error).__name__, message=str(error)[:500] or None)


def _was_read(reading: Reading) -> bool:
    """Whether a stream was read to its protocol's end, though perhaps not to that of its encoding."""
    return bool(reading.complete) or (reading.usage_source == "reported" and reading.finish_reason is not None)


_NOTHING = Reading(usage=None, usage_source="unknown")
