"""What the demo shows in the end: the reports, what they leave out, the check, and what to do next."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Final

from taximeter.cli.demo.audit import Audit
from taximeter.cli.demo.figures import REPORTS, Figures
from taximeter.cli.terminal import counts, plain, table, usd
from taximeter.event import CallEvent
from taximeter.store import ReportRow
from taximeter.units import UNITS
from taximeter.usage import Count

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_COLUMNS: Final = (
    ("input", "input_tokens", 66),
    ("cached", "cache_read_tokens", 76),
    ("written", "cache_write_tokens", 100),
    ("output", "output_tokens", 66),
    ("thought", "output_reasoning_tokens", 100),
)
"""Title, unit, and how wide the screen must be for it in a report."""

_INDENT: Final = "  "
_NEXT: Final = (
    ("report --store {store} --by user --by model", "where the money went"),
    ("export --store {store} --format jsonl", "every event, whole"),
    ("read {captures}/*/*", "recorded calls, in every wire format"),
    ("chat", "a chat that shows what each turn costs"),
)


class Ending:
    """What comes after the calls.

    Args:
        console: shows it.
        width: of the screen, in signs.
    """

    def __init__(self, console: Console, width: int) -> None:
        self._console = console
        self._width = width

    def reports(self, figures: Figures) -> None:
        """By model, by operation, by project and user; and what the costs leave out."""
        self._title("The report, asked of the store")
        total = figures.total()
        for by in REPORTS:
            self._table(_report(by, figures.report(by), total, self._width))
        self._title("What these costs leave out, or estimate")
        for line in _left_out(figures.events()):
            self._text(line)
        self._text("")

    def check(self, checked: Audit) -> None:
        """The provider's books and the store, and whether they are equal."""
        self._title("The check: what the provider says it served, and what is in the store")
        self._table(_books(checked))
        if checked.estimated:
            counted = " and ".join(f"{count:,} {unit}" for unit, count in checked.estimated.items())
            self._text(f"Our estimates are not in it: {counted}.", "dim")
        if checked.equal:
            self._text("✓ Equal: call by call, token by token.", "bold green")
            self._text(
                f"✓ {checked.told_cost_usd} USD were told while they ran; the store says the same.", "bold green"
            )
        for problem in _problems(checked):
            self._text(f"✗ {problem}", "bold red")
        self._text("")

    def next(self, store: str, captures: Path, *, temporary: bool) -> None:
        """Where the store is, and which commands to try.

        Args:
            store: what opens it.
            captures: the folder of recorded calls that comes with the package.
            temporary: whether it is one that nobody asked to keep.
        """
        self._title("Next")
        command = "taximeter" if shutil.which("taximeter") else sys.argv[0]
        for words, what in _NEXT:
            self._text(f"# {what}", "dim")
            # what is to be copied is not broken into lines
            self._console.print(f"{_INDENT}{command} {words.format(store=store, captures=captures)}", soft_wrap=True)
        if temporary:
            self._text("# The store is a temporary file; --store FILE keeps it where you want it.", "dim")

    def _title(self, text: str) -> None:
        for line in wrap(text, self._width):
            self._console.print(line, style="bold")

    def _text(self, text: str, style: str = "") -> None:
        for line in wrap(text, self._width - len(_INDENT)) or [""]:
            self._console.print(f"{_INDENT}{line}".rstrip(), style=style or None)

    def _table(self, made: Table) -> None:
        from rich.padding import Padding

        made.title = None
        made.show_edge = False
        self._console.print(Padding(made, (0, 0, 1, len(_INDENT)), expand=False))


def _report(by: Sequence[str], rows: Iterable[ReportRow], total: ReportRow, width: int) -> Table:
    """A report's table; the last of them has the total."""
    columns = [(title, unit) for title, unit, least in _COLUMNS if width >= least]
    units = [unit for _, unit in columns]
    numbers = ["calls", *(title for title, _ in columns), "no cost", "cost USD"]
    first, *others = by
    made = table("", [f"by {first}", *others, *numbers], numbers)
    for row in rows:
        made.add_row(*map(plain, row.keys), *_figures(row, units))
    if by == REPORTS[-1]:
        made.add_section()
        made.add_row("total", *("" for _ in others), *_figures(total, units), style="bold")
    return made


def _figures(row: ReportRow, units: Sequence[str]) -> Iterator[str]:
    yield f"{row.calls:,}"
    yield from counts(row.usage, units)
    yield str(row.unpriced_calls or "")
    yield usd(row.cost)


def _books(checked: Audit) -> Table:
    """The two books beside each other, every unit that occurs."""
    made = table("", ["", "the provider", "the store", ""], ["the provider", "the store"])
    served, stored = checked.served, checked.stored
    rows: list[tuple[str, Count, Count]] = [
        ("calls", served.calls, stored.calls),
        ("calls with figures", served.stated_calls, stored.stated_calls),
    ]
    rows += [(unit, served.usage.get(unit, 0), stored.usage.get(unit, 0)) for unit in UNITS]
    for name, theirs, ours in rows:
        if theirs or ours:
            made.add_row(name, f"{theirs:,}", f"{ours:,}", "=" if theirs == ours else "≠")
    return made


def _problems(checked: Audit) -> Iterator[str]:
    """What is not as it should be."""
    for side, calls in (("the provider", checked.only_served), ("the store", checked.only_stored)):
        yield from (f"Only {side} has {plain(call)}" for call in calls)
    if not checked.adds_up:
        yield "The store's totals are not the sums of its calls."
    if checked.told_cost_usd != checked.stored_cost_usd:
        yield f"{checked.told_cost_usd} USD were told while they ran; the store says {checked.stored_cost_usd} USD."


def _left_out(events: Iterable[CallEvent]) -> Iterator[str]:
    """How many calls have no cost, or an estimated one, and why."""
    for why, calls in Counter(filter(None, map(_why, events))).items():
        yield f"{calls} {'call' if calls == 1 else 'calls'}: {why}"


def _why(event: CallEvent) -> str | None:
    if event.usage_source == "estimated":
        return f"{event.outcome} before all was stated; usage and cost are our estimate"
    if event.outcome == "failed":
        return f"refused by the provider ({event.status}): no usage, no cost"
    if event.usage is None:
        return f"{event.outcome} before anything was stated; usage and cost are unknown"
    if event.cost is None:
        reasons = (part.cost.reason for part in event.parts if part.cost is not None and part.cost.reason)
        return f"no price: {plain(next(reasons, None)).partition(';')[0]}"
    return None
