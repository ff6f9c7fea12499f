"""Hours, days and months of a time zone, over changes of the clock, as Python's own zone rules have them."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taximeter.store import Query, Store, clock
from tests.store.helpers import NO_EXPLAIN, NOW, call, fresh_store

ZONES = [
    "UTC",
    "Europe/Rome",
    "America/New_York",
    "Asia/Kolkata",  # +05:30
    "Asia/Kathmandu",  # +05:45
    "Australia/Lord_Howe",  # clocks move by half an hour
    "America/St_Johns",  # -03:30
    "Pacific/Chatham",  # +12:45 and +13:45
    "Africa/Casablanca",  # clocks move around a moving month
    "Pacific/Apia",  # left out the 30th of December 2011
    "Pacific/Kiritimati",  # +14:00
]


def at(text: str) -> datetime:
    """A moment from ISO text with an offset."""
    return datetime.fromisoformat(text)


def by(
    store: Store, period: str, zone: str, *, since: datetime | None = None, until: datetime | None = None
) -> list[tuple[str | None, int]]:
    """The periods of a report and the calls in each."""
    return [(row.keys[0], row.calls) for row in store.report([period], Query(tz=zone, since=since, until=until))]


def test_a_day_of_25_hours_and_a_day_of_23(store: Store) -> None:
    """Calls every half hour around both changes of the clock in Rome fall on the day that a wall calendar says."""
    spring, autumn = at("2026-03-28T23:00Z"), at("2026-10-24T22:00Z")  # midnights in Rome before the two changes
    starts = [start + timedelta(minutes=30 * n) for start in (spring, autumn) for n in range(-1, 51)]
    store.add([call(f"e{n}", started_at=start) for n, start in enumerate(starts)], recorded_at=NOW)
    assert by(store, "day", "Europe/Rome") == [
        ("2026-03-28", 1),
        ("2026-03-29", 23 * 2),
        ("2026-03-30", 51 - 23 * 2),
        ("2026-10-24", 1),
        ("2026-10-25", 25 * 2),
        ("2026-10-26", 51 - 25 * 2),
    ]
    assert by(store, "month", "Europe/Rome") == [("2026-03", 52), ("2026-10", 52)]


def test_an_hour_that_comes_twice_is_two_hours(store: Store) -> None:
    """When clocks go back, the two hours of one name are told apart by their offsets."""
    starts = [at("2026-10-25T00:10Z"), at("2026-10-25T00:50Z"), at("2026-10-25T01:10Z"), at("2026-10-25T02:10Z")]
    store.add([call(f"e{n}", started_at=start) for n, start in enumerate(starts)], recorded_at=NOW)
    assert by(store, "hour", "Europe/Rome") == [
        ("2026-10-25T02:00+01:00", 1),
        ("2026-10-25T02:00+02:00", 2),
        ("2026-10-25T03:00+01:00", 1),
    ]
    assert by(store, "hour", "America/St_Johns") == [
        ("2026-10-24T21:00-02:30", 1),  # 00:10 and 00:50 UTC are 21:40 and 22:20
        ("2026-10-24T22:00-02:30", 2),
        ("2026-10-24T23:00-02:30", 1),
    ]


def test_a_moment_belongs_to_the_period_that_it_begins(store: Store) -> None:
    """The last microsecond of a day is of that day and the next is of the next, a quarter of an hour off UTC too."""
    midnight = at("2026-11-22T18:15Z")  # in Kathmandu, +05:45
    starts = [midnight - timedelta(microseconds=1), midnight]
    store.add([call(f"e{n}", started_at=start) for n, start in enumerate(starts)], recorded_at=NOW)
    assert by(store, "day", "Asia/Kathmandu") == [("2026-11-22", 1), ("2026-11-23", 1)]
    assert by(store, "day", "Asia/Kathmandu", since=midnight) == [("2026-11-23", 1)]
    assert by(store, "day", "Asia/Kathmandu", until=midnight) == [("2026-11-22", 1)]


@pytest.mark.parametrize("start", ["0001-01-01T00:00Z", "1969-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"])
def test_absurd_dates_are_reported_all_the_same(store: Store, start: str) -> None:
    """A clock that was far off does not break a report in any zone, nor make it slow."""
    store.add([call("a", started_at=at(start)), call("b")], recorded_at=NOW)
    assert sum(calls for _, calls in by(store, "day", "Pacific/Kiritimati")) == 2
    assert (start[:10], 1) in by(store, "day", "UTC")
    assert (start[:13] + ":00+00:00", 1) in by(store, "hour", "UTC")


_moments = st.datetimes(datetime(1972, 2, 1), datetime(2099, 12, 1), timezones=st.just(UTC))  # noqa: DTZ001 - as above
_near_changes = st.builds(
    lambda change, minutes: at(change) + timedelta(minutes=minutes, microseconds=minutes % 3),
    st.sampled_from(
        ["2026-03-29T01:00Z", "2026-10-25T01:00Z", "2026-04-04T15:00Z", "2026-10-03T15:30Z", "2011-12-30T10:00Z"]
    ),
    st.integers(-2_000, 2_000),
)


@settings(max_examples=40, phases=NO_EXPLAIN)
@given(st.lists(_moments | _near_changes, min_size=1, max_size=8), st.sampled_from(ZONES))
def test_periods_are_those_of_zoneinfo(starts: list[datetime], name: str) -> None:
    """For any moments and zone, days, months and hours are what converting each moment in Python gives."""
    zone = ZoneInfo(name)
    local = [start.astimezone(zone) for start in starts]
    with fresh_store() as store:
        store.add([call(f"e{n}", started_at=start) for n, start in enumerate(starts)], recorded_at=NOW)
        days, months, hours = (dict(by(store, period, name)) for period in ("day", "month", "hour"))
    assert days == Counter(f"{moment:%Y-%m-%d}" for moment in local)
    assert months == Counter(f"{moment:%Y-%m}" for moment in local)
    assert hours == Counter(
        moment.replace(minute=0, second=0, microsecond=0).isoformat("T", "minutes") for moment in local
    )


@given(st.datetimes(timezones=st.just(UTC)))
def test_microseconds_are_exact(start: datetime) -> None:
    """Every moment that Python has survives as a whole number of microseconds."""
    assert clock.moment(clock.micros(start, "start")) == start


def test_steps_find_each_change() -> None:
    """A year of Rome has its two changes, at the second; UTC has none."""
    first, last = (clock.micros(at(text), "") for text in ("2026-01-01T00:00Z", "2027-01-01T00:00Z"))
    steps = clock.steps(ZoneInfo("Europe/Rome"), first, last)
    hours = [(clock.moment(step.since).isoformat(), step.offset // clock.HOUR) for step in steps]
    assert hours == [
        ("2026-01-01T00:00:00+00:00", 1),
        ("2026-03-29T01:00:00+00:00", 2),
        ("2026-10-25T01:00:00+00:00", 1),
    ]
    assert clock.steps(UTC, first, last) == [(first, 0)]
