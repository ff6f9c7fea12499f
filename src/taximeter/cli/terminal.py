"""What a person sees: tables, amounts, progress. Colours and bars appear on a terminal only; NO_COLOR is honoured."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from taximeter.money import Money
from taximeter.usage import Usage

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_ItemT = TypeVar("_ItemT")

_WIDE = 200
_LONGEST_TEXT = 300
_LONG_WORK = 20


def console() -> Console:
    """Standard output. Where it is no terminal nothing is cut or wrapped for want of width."""
    from rich.console import Console

    plain = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(highlight=False, markup=False, emoji=False, width=_WIDE if plain else None)


def table(title: str, columns: Sequence[str], numbers: Iterable[str] = ()) -> Table:
    """An empty table; ``numbers`` are the columns that are set to the right."""
    from rich import box
    from rich.table import Table

    right = set(numbers)
    made = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    made.padding = (0, 1, 0, 0)
    made.pad_edge = False
    for column in columns:
        if column in right:
            made.add_column(column, justify="right", no_wrap=True)
        else:
            made.add_column(column, overflow="fold")
    return made


def plain(text: str | None) -> str:
    """A text that others wrote, in one short line: what would steer a terminal is made visible; a dash for nothing."""
    if not text:
        return "–"
    shown = "".join(sign if sign.isprintable() else "·" for sign in text[:_LONGEST_TEXT])
    return shown if len(text) <= _LONGEST_TEXT else f"{shown} …"


def usd(amount: Money | None) -> str:
    """Every digit of an amount; a dash where it is not known, which is not 0."""
    return "–" if amount is None else str(amount)


def counts(usage: Usage | None, units: Iterable[str]) -> list[str]:
    """The counts of some units; a dash where one is absent, which is not 0."""
    present = usage or Usage()
    return [f"{present[unit]:,}" if unit in present else "–" for unit in units]


def track(items: Sequence[_ItemT], label: str) -> Iterator[_ItemT]:
    """The items, with a progress bar on standard error while they last, if there are many and someone looks."""
    if len(items) < _LONG_WORK or not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import track as bar

    yield from bar(items, description=label, console=Console(stderr=True), transient=True)
