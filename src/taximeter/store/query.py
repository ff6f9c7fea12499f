"""What can be asked of a store, and what it answers."""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from taximeter.errors import ConfigError
from taximeter.event import Outcome
from taximeter.money import Money
from taximeter.usage import Usage

Dimension = str
"""One of :data:`DIMENSIONS`, or ``tag:NAME``."""

DIMENSIONS: Final = (
    "model",
    "provider",
    "api",
    "project",
    "operation",
    "session",
    "turn",
    "user",
    "outcome",
    "hour",
    "day",
    "month",
)
"""What a report can be grouped by, beside ``tag:NAME``."""

TAG: Final = "tag:"

ERROR_OUTCOMES: Final[tuple[Outcome, ...]] = ("interrupted", "failed", "refused", "unknown")
"""The outcomes that a report counts as errors: all but ``completed`` and what the caller itself cancelled."""


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Which calls are meant. Everything that is ``None`` does not restrict.

    Attributes:
        id: the call of this id.
        since: calls that started at this moment or later; timezone-aware.
        until: calls that started before this moment; timezone-aware.
        model: calls with a part at this model. A report restricted to a model adds up those parts alone.
        as_of: only what was recorded until this moment (itself included): events and corrections; timezone-aware.
        tz: the IANA time zone in which a report's hours, days and months are meant.
    """

    id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    provider: str | None = None
    api: str | None = None
    model: str | None = None
    project: str | None = None
    session: str | None = None
    turn: str | None = None
    user: str | None = None
    operation: str | None = None
    outcome: Outcome | None = None
    as_of: datetime | None = None
    tz: str = "UTC"


EVERYTHING: Final = Query()
"""The query that restricts nothing."""


class ReportRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a report.

    Attributes:
        keys: the values of the dimensions, in the order asked for; ``None`` where a call has none.
        calls: how many calls. In a report by model, a call with parts at two models is in two rows.
        errors: how many of them have one of :data:`ERROR_OUTCOMES`.
        unpriced_calls: how many have no cost, for whatever reason; ``cost`` is complete when this is 0.
        estimated_calls: how many have a usage that is our estimate.
        unknown_usage_calls: how many have a usage that nobody knows.
        usage: the sum of what is known, by unit; a unit that no call reported is absent.
        cost: the sum of the priced calls; ``None`` when none was.
        provider_cost: the sum of what providers themselves said; ``None`` when none did. By model, only calls that
            were billed at one model count here.
    """

    keys: tuple[str | None, ...]
    calls: int
    errors: int
    unpriced_calls: int
    estimated_calls: int
    unknown_usage_calls: int
    usage: Usage
    cost: Money | None
    provider_cost: Money | None


class Added(msgspec.Struct, frozen=True):
    """What became of a batch.

    Attributes:
        new: how many were recorded.
        known: how many had been recorded before (``different`` ones included); nothing was changed by them.
        different: the ids of those known ones whose contents are not what is recorded under that id.
    """

    new: int
    known: int
    different: tuple[str, ...] = ()


def zone(name: str) -> tzinfo:
    """The time zone of an IANA name.

    Raises:
        ConfigError: when no zone has that name, or the machine has no time zone data.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        msg = f"no time zone is called {name!r}; names are those of the IANA database, like Europe/Rome"
        raise ConfigError(msg) from error
