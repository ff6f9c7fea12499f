"""``taximeter forget``: what was said in calls is deleted; what they used and cost stays."""

from __future__ import annotations

import click
import msgspec

from taximeter.cli.lines import dump
from taximeter.cli.options import json_option, moment, store_option


class Forgotten(msgspec.Struct, frozen=True):
    """What ``taximeter forget --json`` writes.

    Attributes:
        calls: of how many calls there were contents.
    """

    calls: int


@click.command(
    short_help="Delete what was said in calls; keep their figures.",
    epilog="\b\nExamples:\n  taximeter forget --before 2026-10-01\n  taximeter forget --all --json",
)
@click.option("--before", metavar="ISO", help="Of calls that started before this date or time (UTC).")
@click.option("--all", "everything", is_flag=True, help="Of every call.")
@store_option
@json_option
def forget(*, before: str | None, everything: bool, store_url: str | None, as_json: bool) -> None:
    """Delete the contents that TAXIMETER_CAPTURE had kept: messages, answers, tools' arguments.

    Usage, cost and attribution stay. What is deleted is overwritten in the store's file; copies, backups and journals
    that were set aside are not reached.
    """
    from taximeter.store import open_store

    if (before is None) is not everything:
        msg = "say --before a moment, or --all"
        raise click.UsageError(msg)
    with open_store(store_url, create=False) as store:
        found = Forgotten(store.forget_contents(moment(before, "--before")))
    click.echo(dump(found) if as_json else f"forgotten: what was said in {found.calls:,} calls")
