"""``taximeter doctor``: is everything there, how old is it, and what did the meter fail to learn."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from datetime import UTC, date, datetime
from importlib import metadata
from pathlib import Path

import click
import msgspec

from taximeter.cli.lines import dump
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
    """Everything that ``taximeter doctor --json`` writes."""

    ok: bool
    store: StoreState
    prices: PriceState
    python: str
    platform: str
    packages: Mapping[str, str | None]


@click.command(
    short_help="Check the store and the price data; list versions.",
    epilog="\b\nExamples:\n  taximeter doctor\n  taximeter doctor --json --store sqlite:////var/lib/taximeter/store.sqlite3",
)
@store_option
@json_option
def doctor(store_url: str | None, *, as_json: bool) -> None:
    """Check the store and the price data, and list versions. Changes nothing. Exit code 1 when something is broken."""
    store, prices = _store(store_url), _prices(datetime.now(UTC).date())
    found = Diagnosis(
        ok=store.problem is None and prices.problem is None,
        store=store,
        prices=prices,
        python=platform.python_version(),
        platform=platform.platform(),
        packages={name: _version(name) for name in _PACKAGES},
    )
    if as_json:
        click.echo(dump(found))
    else:
        _show(found)
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


def _show(found: Diagnosis) -> None:
    store, prices = found.store, found.prices
    click.echo(f"store      {store.url or 'nowhere'}: {store.state}")
    if store.events is not None and store.size_bytes is not None:
        click.echo(f"           {store.events:,} events in {store.size_bytes:,} bytes")
    for name, count in (store.counters or {}).items():
        click.echo(f"           {count:,} {name.replace('_', ' ')}")
    age = "of unknown age" if prices.age_days is None else f"checked {prices.data_date}, {prices.age_days} days ago"
    click.echo(f"prices     {prices.version}, {age}")
    if prices.age_days is not None and prices.age_days > _OLD_DAYS:
        click.echo("           newer ones may be out: pip install --upgrade genai-prices")
    click.echo(f"python     {found.python} on {found.platform}")
    packages = ", ".join(f"{name} {version or 'missing'}" for name, version in found.packages.items())
    click.echo(f"packages   {packages}")
    for problem in (store.problem, prices.problem):
        if problem is not None:
            click.echo(f"taximeter: {problem}", err=True)
