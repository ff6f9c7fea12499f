"""Time-outs without a timer for each: connections have a deadline in ticks of one coarse clock, which looks at all."""

from __future__ import annotations

import math
from typing import Final, NamedTuple, Protocol

from taximeter.gateway.config import ServingSettings

TICK_S: Final = 0.25
"""How coarse the clock is. Time-outs are never early, and at most two ticks late."""

NEVER: Final = 1 << 62
"""A deadline that does not come."""


class Timed(Protocol):
    """A connection that must get on.

    Attributes:
        deadline: the tick after which it is overdue.
    """

    deadline: int

    def overdue(self) -> None:
        """The deadline has passed."""
        ...


class Ticks(NamedTuple):
    """The time-outs of the settings, in ticks."""

    first_byte: int
    idle: int
    head: int
    body: int
    keep_alive: int
    upstream_keep_alive: int
    connect: int


def ticks_of(settings: ServingSettings) -> Ticks:
    """The time-outs in ticks."""
    return Ticks(
        first_byte=_ticks(settings.first_byte_s),
        idle=_ticks(settings.idle_s),
        head=_ticks(settings.head_s),
        body=_ticks(settings.body_s),
        keep_alive=_ticks(settings.keep_alive_s),
        upstream_keep_alive=_ticks(settings.upstream_keep_alive_s),
        connect=_ticks(settings.connect_s),
    )


def _ticks(seconds: float) -> int:
    return math.ceil(seconds / TICK_S) + 1  # the tick that is under way does not count
