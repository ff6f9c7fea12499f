"""Time as the store keeps it: whole microseconds of UTC since 1970, and hours and days of a time zone made of them.

A zone's rules stay in Python (:mod:`zoneinfo`); the database adds an offset that is constant between two changes of the
zone, and divides. So a day of 23 or 25 hours, and an offset of 45 minutes, come out right in any engine.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import NamedTuple

from taximeter.errors import StoreError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SECOND = 1_000_000
HOUR = 3_600 * _SECOND
DAY = 24 * HOUR
_DAYS_TO_1970 = date(1970, 1, 1).toordinal() - 1
# No zone has changed twice within a week since 1972: for all 599 of the IANA database, looking every day until 2042
# finds the same changes (checked 2026-11-22).
_STRIDE = 7 * DAY
TO_1970 = _DAYS_TO_1970 * DAY
"""The microseconds from the beginning of year 1 to 1970."""
# Outside these years a zone keeps the offset that it has at their edge: one absurd date must not cost 8,000 years of
# rules.
_FIRST = 0
_LAST = (date(2100, 1, 1).toordinal() - 1 - _DAYS_TO_1970) * DAY


class Step(NamedTuple):
    """From ``since`` on (microseconds), until the next step, local time is UTC plus ``offset`` (microseconds)."""

    since: int
    offset: int


def micros(moment: datetime, what: str) -> int:
    """The microseconds from 1970 to a moment, exactly.

    Raises:
        StoreError: for a moment without a time zone; ``what`` names it.
    """
    if moment.tzinfo is None:
        msg = f"{what} has no time zone: {moment.isoformat()}"
        raise StoreError(msg)
    since = moment - _EPOCH
    return since.days * DAY + since.seconds * _SECOND + since.microseconds


def moment(microseconds: int) -> datetime:
    """The moment that :func:`micros` made a number of."""
    return _EPOCH + timedelta(microseconds=microseconds)


def steps(zone: tzinfo, first: int, last: int) -> list[Step]:
    """The offsets of a zone from ``first`` to ``last`` (microseconds), in order; at least one."""
    first, last = (min(max(bound, _FIRST), _LAST) for bound in (first, last))
    found = [Step(first, _offset(zone, first))]
    here = first
    while here < last:
        following = min(here + _STRIDE, last)
        if _offset(zone, following) != found[-1].offset:
            change = _change(zone, here, following)
            found.append(Step(change, _offset(zone, change)))
        here = following
    return found


def _change(zone: tzinfo, before: int, after: int) -> int:
    """The moment between the two at which the offset becomes that of ``after``; changes happen on whole seconds."""
    target = _offset(zone, after)
    low, high = before // _SECOND, -(-after // _SECOND)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _offset(zone, middle * _SECOND) == target else (middle, high)
    return high * _SECOND


def _offset(zone: tzinfo, microseconds: int) -> int:
    offset = moment(microseconds).astimezone(zone).utcoffset()
    return 0 if offset is None else offset // _MICROSECOND


def day_text(number: int) -> str:
    """The date of a local day's :func:`taximeter.store.periods.bucket`."""
    return date.fromordinal(min(max(number + 1, 1), date.max.toordinal())).isoformat()


def month_text(number: int) -> str:
    """The month of a local day's :func:`taximeter.store.periods.bucket`."""
    return day_text(number)[: len("2026-11")]


def hour_text(number: int, offset: int) -> str:
    """A local hour with its offset, which tells apart the two hours that have one name when clocks go back."""
    day, hour = divmod(number, 24)
    sign, minutes = ("-" if offset < 0 else "+"), abs(offset) // (60 * _SECOND)
    return f"{day_text(day)}T{hour:02d}:00{sign}{minutes // 60:02d}:{minutes % 60:02d}"
