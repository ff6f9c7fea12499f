"""From the journal into a store that may be locked, slow, full, gone, or that will not take one of the events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from taximeter.event import CallEvent


class Sink(Protocol):
    """Where events go for good."""

    def add(self, events: Sequence[CallEvent], /) -> object:
        """Takes events, all or none. One whose id is known already changes nothing.

        With no events it does all that it would do with some: when that succeeds the sink works.

        Raises:
            Exception: when it has not taken them.
        """

    def sync(self) -> None:
        """Puts on the disk what it has taken. Called before the journal forgets, where a power cut must lose nothing.

        Raises:
            Exception: when it could not.
        """


def deliver(sink: Sink, events: Sequence[CallEvent]) -> list[CallEvent]:
    """Gives events to a sink.

    When it does not take them it is asked whether it works at all. If it does, then something in the events is the
    matter, and they are halved until that is found: one event that cannot be kept must not hold up those behind it.

    Returns:
        The events that a working sink would not take, tried by themselves and twice.

    Raises:
        Exception: what the sink raised, when it does not work.
    """
    try:
        sink.add(events)
    except Exception:  # noqa: BLE001 - of whatever kind: what matters is whether the sink works without these events
        sink.add(())
    else:
        return []
    if len(events) > 1:
        half = len(events) // 2
        return deliver(sink, events[:half]) + deliver(sink, events[half:])
    try:
        sink.add(events)
    except Exception:  # noqa: BLE001 - as above
        sink.add(())
        return list(events)
    return []
