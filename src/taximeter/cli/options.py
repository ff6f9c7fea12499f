"""Options that several commands share, and how their values are read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from typing import Any, TypeVar

import click

_CommandT = TypeVar("_CommandT", bound=Callable[..., Any])

STORE_HELP = "The store: a sqlite:/// URL or a file. Default: TAXIMETER_STORE, else a file in your data folder."


def store_option(command: _CommandT) -> _CommandT:
    """``--store URL``."""
    return click.option("--store", "store_url", metavar="URL", help=STORE_HELP)(command)


def json_option(command: _CommandT) -> _CommandT:
    """``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Write JSON, for programs.")(command)


def moment(text: str | None, option: str, zone: tzinfo = UTC) -> datetime | None:
    """A moment from an ISO 8601 date or time; one without an offset is meant in ``zone``.

    Raises:
        click.BadParameter: when it is none.
    """
    if text is None:
        return None
    try:
        read = datetime.fromisoformat(text.strip())
    except ValueError as error:
        msg = f"{text!r} is no date or time; write 2026-11-22 or 2026-11-22T08:30:00+01:00"
        raise click.BadParameter(msg, param_hint=option) from error
    return read if read.tzinfo is not None else read.replace(tzinfo=zone)


def pairs(values: tuple[str, ...], option: str) -> dict[str, str]:
    """``NAME=VALUE`` options as a mapping.

    Raises:
        click.BadParameter: when one has no ``=``.
    """
    found: dict[str, str] = {}
    for value in values:
        name, sign, rest = value.partition("=")
        if not sign or not name:
            msg = f"{value!r} is not NAME=VALUE"
            raise click.BadParameter(msg, param_hint=option)
        found[name] = rest
    return found
