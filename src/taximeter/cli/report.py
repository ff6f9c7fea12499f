"""``taximeter report``: where the tokens and the money went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click
import msgspec

from taximeter.cli.lines import amount, dump, units
from taximeter.cli.options import json_option, moment, store_option
from taximeter.usage import Count

if TYPE_CHECKING:
    from rich.table import Table

    from taximeter.store import Query, ReportRow

_EXAMPLES = """\b
Examples:
  taximeter report
  taximeter report --by day --by model --since 2026-11-01 --tz Europe/Zurich
  taximeter report --by tag:team --csv > teams.csv
  taximeter report --by month --as-of 2026-10-01 --json
"""

_SHOWN = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "output_reasoning_tokens")
_SHOWN_AS = ("input", "cache read", "cache write", "output", "reasoning")
_ALL = "total"


class RowLine(msgspec.Struct, frozen=True):
    """A row of ``taximeter report --json``; see :class:`taximeter.store.ReportRow`."""

    keys: Mapping[str, str | None]
    calls: int
    errors: int
    unpriced_calls: int
    estimated_calls: int
    unknown_usage_calls: int
    usage: Mapping[str, Count]
    cost_usd: str | None
    provider_cost_usd: str | None

    @classmethod
    def of(cls, by: Sequence[str], row: ReportRow) -> RowLine:
        """The JSON of a row."""
        return cls(
            dict(zip(by, row.keys, strict=True)),
            row.calls,
            row.errors,
            row.unpriced_calls,
            row.estimated_calls,
            row.unknown_usage_calls,
            units(row.usage),
            amount(row.cost),
            amount(row.provider_cost),
        )


class ReportLine(msgspec.Struct, frozen=True):
    """What ``taximeter report --json`` writes: the rows, and the total over all calls."""

    by: Sequence[str]
    tz: str
    rows: Sequence[RowLine]
    total: RowLine


@click.command(epilog=_EXAMPLES)
@click.option(
    "--by",
    multiple=True,
    metavar="DIMENSION",
    help="Group by model, provider, api, project, operation, session, turn, user, outcome, hour, day, month or "
    "tag:NAME; may be given several times. Default: model.",
)
@click.option("--since", metavar="ISO", help="Calls that started at this date or time, or later.")
@click.option("--until", metavar="ISO", help="Calls that started before this date or time.")
@click.option("--tz", default="UTC", show_default=True, metavar="ZONE", help="Time zone of dates, and of days.")
@click.option("--as-of", metavar="ISO", help="As it was known at this date or time.")
@click.option("--csv", "as_csv", is_flag=True, help="Write CSV, for spreadsheets.")
@store_option
@json_option
def report(
    by: tuple[str, ...],
    since: str | None,
    until: str | None,
    tz: str,
    as_of: str | None,
    store_url: str | None,
    *,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Report calls, usage and cost from the store.

    A cost is the exact sum of what has a price; calls without one are counted beside it, and are not free.
    """
    from taximeter.store import Query, open_store
    from taximeter.store.query import zone

    if as_csv and as_json:
        msg = "--csv and --json exclude each other"
        raise click.UsageError(msg)
    by = by or ("model",)
    where = zone(tz)
    query = Query(
        since=moment(since, "--since", where),
        until=moment(until, "--until", where),
        as_of=moment(as_of, "--as-of", where),
        tz=tz,
    )
    with open_store(store_url, create=False) as store:
        rows, (total,) = store.reports([by, ()], query)
    if as_json:
        lines = [RowLine.of(by, row) for row in rows]
        click.echo(dump(ReportLine(by, tz, lines, RowLine.of((), total))))
    elif as_csv:
        _write_csv(by, rows)
    else:
        show(by, rows, total, query)


def show(by: Sequence[str], rows: Sequence[ReportRow], total: ReportRow, query: Query) -> None:
    """Prints a report as a table, with what its costs leave out."""
    from taximeter.cli.terminal import console

    if not total.calls:
        click.echo("No calls are recorded there." if query.since or query.until else "No calls are recorded yet.")
        return
    console().print(report_table(by, rows, total))
    if total.unpriced_calls:
        click.echo(
            f"  {total.unpriced_calls} of {total.calls} calls have no cost; what they cost is not known, and not 0."
        )
    if total.estimated_calls:
        click.echo(f"  {total.estimated_calls} have a usage that is our estimate, because their answer was cut off.")


def report_table(by: Sequence[str], rows: Sequence[ReportRow], total: ReportRow) -> Table:
    """The table of a report; its last row is the total over all calls."""
    from taximeter.cli.terminal import counts, plain, table, usd

    numbers = ("calls", *_SHOWN_AS, "no cost", "cost USD")
    made = table("", [*by, *numbers], numbers)
    for row in rows:
        keys = [plain(key) for key in row.keys]
        made.add_row(*keys, f"{row.calls:,}", *counts(row.usage, _SHOWN), str(row.unpriced_calls or ""), usd(row.cost))
    made.add_section()
    keys = [_ALL, *("" for _ in by[1:])]
    figures = [f"{total.calls:,}", *counts(total.usage, _SHOWN), str(total.unpriced_calls or ""), usd(total.cost)]
    made.add_row(*keys, *figures, style="bold")
    return made


def _write_csv(by: Sequence[str], rows: Sequence[ReportRow]) -> None:
    """One line per row: its keys, counts of calls, each unit that any row has, the costs."""
    import sys

    from taximeter.cli.csvtext import CsvText
    from taximeter.units import UNITS

    present = [unit for unit in UNITS if any(unit in row.usage for row in rows)]
    calls = ("calls", "errors", "unpriced_calls", "estimated_calls", "unknown_usage_calls")
    writer = CsvText(sys.stdout)
    writer.row([*by, *calls, *present, "cost_usd", "provider_cost_usd"])
    for row in rows:
        figures = [row.calls, row.errors, row.unpriced_calls, row.estimated_calls, row.unknown_usage_calls]
        used = [row.usage.get(unit) for unit in present]
        writer.row([*row.keys, *figures, *used, row.cost, row.provider_cost])
