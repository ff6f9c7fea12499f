"""``taximeter doctor``: is everything there, how old is it, and what did the meter fail at or not see."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from importlib import metadata
from pathlib import Path

import click
import msgspec

from taximeter.cli.lines import dump
from taximeter.cli.metering import JournalState, Metering, MeterState, UnmeteredLine, metering, say, show_metering
from taximeter.cli.options import json_option, store_option
from taximeter.errors import TaximeterError

_PACKAGES = ("taximeter", "genai-prices", "msgspec", "sqlalchemy", "alembic", "brotli", "zstandard", "click", "rich")
_OLD_DAYS = 60
"""Prices change about monthly; data older than this is worth a word."""


class StoreState(msgspec.Struct, frozen=True, kw_only=True):
    """The store as it is found.

    Attributes:
        state: ``ready``; ``none yet`` (made at the first event); ``broken``.
        counters: calls about which something is not known: without a cost, with an estimated usage, without usage.
    """

    url: str | None
    state: str
    events: int | None = None
    size_bytes: int | None = None
    counters: Mapping[str, int] | None = None
    problem: str | None = None


class PriceState(msgspec.Struct, frozen=True, kw_only=True):
    """The price data as it is found.

    Attributes:
        data_date: the latest day on which the data says that a price was checked.
        age_days: how long ago that was.
    """

    version: str | None
    data_date: date | None = None
    age_days: int | None = None
    problem: str | None = None


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that ``taximeter doctor --json`` writes.

    Attributes:
        ok: whether nothing is broken.
        problems: what is, in sentences.
    """

    ok: bool
    problems: Sequence[str]
    store: StoreState
    journal: JournalState
    meter: MeterState
    unmetered: Sequence[UnmeteredLine]
    prices: PriceState
    python: str
    platform: str
    packages: Mapping[str, str | None]


@click.command(
    short_help="Check the store, the journals, the meter and the price data.",
    epilog="\b\nExamples:\n  taximeter doctor\n  taximeter doctor --json --store sqlite:////var/lib/taximeter/store.sqlite3",
)
@store_option
@json_option
def doctor(store_url: str | None, *, as_json: bool) -> None:
    """Check the store, the journals, the meter and the price data, and list versions. Changes nothing.

    Exit code 1 when something is broken: a store, journal folder or price data that cannot be read, events that the
    store refused, a corrupt journal, a setting that cannot be used, or a failure of the meter within the last 24 hours,
    in whatever process.

    The rest is for information: older failures, journals that dead processes left and that the next one will store,
    calls without a cost or usage, and hosts that look like they serve models and are not metered, with the line that
    has them metered. TAXIMETER_JOURNAL names the folder of the journals where it is not beside the store.
    """
    now = datetime.now(UTC)
    store, prices, going = _store(store_url), _prices(now.date()), metering(store_url, now)
    said = (*(part.problem for part in (store, prices) if part.problem is not None), *going.problems())
    found = Diagnosis(
        ok=not said,
        problems=tuple(dict.fromkeys(said)),
        store=store,
        journal=going.journal,
        meter=going.meter,
        unmetered=going.unmetered,
        prices=prices,
        python=platform.python_version(),
        platform=platform.platform(),
        packages={name: _version(name) for name in _PACKAGES},
    )
    if as_json:
        click.echo(dump(found))
    else:
        _show(found, going)
    if not found.ok:
        sys.exit(1)


def _store(url: str | None) -> StoreState:
    from taximeter.store import locate, open_store

    place = None
    try:
        location = locate(url)
        place = location.url
        if not location.path.exists():
            return StoreState(url=place, state="none yet")
        with open_store(place, create=False) as store:
            (total,) = store.report(())
            counters = {
                "unpriced_calls": total.unpriced_calls,
                "estimated_calls": total.estimated_calls,
                "unknown_usage_calls": total.unknown_usage_calls,
            }
            size = sum(file.stat().st_size for file in _files(location.path))
            return StoreState(url=place, state="ready", events=total.calls, size_bytes=size, counters=counters)
    except TaximeterError as error:
        return StoreState(url=place, state="broken", problem=str(error))


def _files(path: Path) -> list[Path]:
    """The store's file and what SQLite keeps beside it while it is in use."""
    return [file for file in (path, *(Path(f"{path}{end}") for end in ("-wal", "-shm"))) if file.exists()]


def _prices(today: date) -> PriceState:
    from taximeter.pricing import PriceBook

    try:
        book = PriceBook.load()
    except TaximeterError as error:
        return PriceState(version=_version("genai-prices"), problem=str(error))
    age = None if book.data_date is None else (today - book.data_date).days
    return PriceState(version=book.version, data_date=book.data_date, age_days=age)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _show(found: Diagnosis, going: Metering) -> None:
    store, prices = found.store, found.prices
    say("store", f"{store.url or 'nowhere'}: {store.state}")
    if store.events is not None and store.size_bytes is not None:
        say("", f"{store.events:,} events in {store.size_bytes:,} bytes")
    for name, count in (store.counters or {}).items():
        say("", f"{count:,} {name.replace('_', ' ')}")
    show_metering(going)
    age = "of unknown age" if prices.age_days is None else f"checked {prices.data_date}, {prices.age_days} days ago"
    say("prices", f"{prices.version}, {age}")
    if prices.age_days is not None and prices.age_days > _OLD_DAYS:
        say("", "newer ones may be out: pip install --upgrade genai-prices")
    say("python", f"{found.python} on {found.platform}")
    say("packages", ", ".join(f"{name} {version or 'missing'}" for name, version in found.packages.items()))
    for problem in found.problems:
        click.echo(f"taximeter: {problem}", err=True)
