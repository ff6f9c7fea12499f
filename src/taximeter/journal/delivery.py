"""From the journal into a store that may be locked, slow, full, gone, or that will not take one of the events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from taximeter.errors import StoreError
from taximeter.event import CallEvent


class Sink(Protocol):
    """Where events go for good."""

    def add(self, events: Sequence[CallEvent], /) -> object:
        """Takes events, all or none. One whose id is known already changes nothing.

        With no events it does all that it would do with some: when that succeeds the sink works.

        Raises:
            Exception: when it has not taken them. A :class:`~taximeter.errors.StoreError` may name the one at fault.
        """

    def sync(self) -> None:
        """Puts on the disk what it has taken. Called before the journal forgets, where a power cut must lose nothing.

        Raises:
            Exception: when it could not.
        """


def deliver(sink: Sink, events: Sequence[CallEvent]) -> list[CallEvent]:
    """Gives events to a sink.

    When it does not take them it is asked whether it works at all. If it does, then something in the events is the
    matter: the one that the error names is taken apart, and the others are halved, until what is not taken stands
    alone. One event that cannot be kept must not hold up those behind it.

    Returns:
        The events that a working sink would not take, tried by themselves and twice.

    Raises:
        Exception: what the sink raised, when it does not work.
    """
    try:
        sink.add(events)
    except Exception as error:  # noqa: BLE001 - of whatever kind: what matters is whether the sink works without these events
        sink.add(())
        named = error.record_id if isinstance(error, StoreError) else None
    else:
        return []
    if len(events) > 1:
        return [refused for some in _apart(events, named) for refused in deliver(sink, some)]
    try:
        sink.add(events)
    except Exception:  # noqa: BLE001 - as above
        sink.add(())
        return list(events)
    return []


def _apart(events: Sequence[CallEvent], named: str | None) -> list[Sequence[CallEvent]]:
    """Two or more events in smaller groups: those with the id that was named, and each half of the others."""
    others = [event for event in events if event.id != named]
    half = (len(others) + 1) // 2
    if not others:  # all of one id
        half = len(events) // 2
        return [events[:half], events[half:]]
    groups = ([event for event in events if event.id == named], others[:half], others[half:])
    return [group for group in groups if group]
