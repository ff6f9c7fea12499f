"""``taximeter export``: every event, streamed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TextIO

import click

from taximeter.cli.csvtext import Cell, CsvText
from taximeter.cli.lines import EventLine, dump, units
from taximeter.cli.options import moment, store_option
from taximeter.event import CallEvent
from taximeter.units import UNITS

_EXAMPLES = """\b
Examples:
  taximeter export --format jsonl > events.jsonl
  taximeter export --format csv --since 2026-11-01 --output november.csv
"""

_EVENT_COLUMNS = (
    "id", "started_at", "provider", "api", "request_model", "response_model", "response_id", "service_tier", "stream",
    "outcome", "status", "error_type", "error_code", "error_message", "finish_reason", "project", "session", "turn",
    "user", "operation", "tags", "usage_source", "cost_usd", "provider_cost_usd", "first_token_ms", "duration_ms",
    "attempt", "tool_calls", "contradictions",
)  # fmt: skip


@click.command(short_help="Write every event as CSV or JSON Lines.", epilog=_EXAMPLES)
@click.option("--format", "kind", type=click.Choice(["csv", "jsonl"]), required=True, help="What to write.")
@click.option(
    "--output", type=click.File("w", lazy=True), default="-", metavar="FILE", help="Default: standard output."
)
@click.option("--since", metavar="ISO", help="Calls that started at this date or time (UTC), or later.")
@click.option("--until", metavar="ISO", help="Calls that started before this date or time (UTC).")
@click.option("--as-of", metavar="ISO", help="As it was known at this date or time (UTC).")
@store_option
def export(
    kind: str, output: TextIO, since: str | None, until: str | None, as_of: str | None, store_url: str | None
) -> None:
    """Export every event in full, with the latest corrections in place, in the order in which they were recorded.

    Written as it is read, in constant memory. Money is exact decimal text. In CSV, text that a spreadsheet would run as
    a formula is preceded by an apostrophe; parts and line items are in JSON Lines only.
    """
    from taximeter.store import Query, open_store

    query = Query(since=moment(since, "--since"), until=moment(until, "--until"), as_of=moment(as_of, "--as-of"))
    with open_store(store_url, create=False) as store:
        events = store.events(query)
        if kind == "jsonl":
            output.writelines(dump(EventLine.of(event)) + "\n" for event in events)
        else:
            _write_csv(events, output)


def _write_csv(events: Iterable[CallEvent], output: TextIO) -> None:
    writer = CsvText(output)
    writer.row([*_EVENT_COLUMNS, *UNITS])
    for event in events:
        usage = units(event.usage)
        writer.row([*_event_cells(event), *(usage.get(unit) for unit in UNITS)])


def _event_cells(event: CallEvent) -> Sequence[Cell]:
    """The cells of _EVENT_COLUMNS."""
    scope, error = event.scope, event.error
    return [
        event.id,
        event.started_at,
        event.provider,
        event.api,
        event.request_model,
        event.response_model,
        event.response_id,
        event.service_tier,
        None if event.stream is None else str(event.stream).lower(),
        event.outcome,
        event.status,
        error and error.type,
        error and error.code,
        error and error.message,
        event.finish_reason,
        scope.project,
        scope.session,
        scope.turn,
        scope.user,
        scope.operation,
        dump(dict(scope.tags)) if scope.tags else None,
        event.usage_source,
        event.cost,
        event.provider_cost,
        event.first_token_ms,
        event.duration_ms,
        event.attempt,
        " ".join(call.name for call in event.tool_calls) or None,
        "; ".join(found.detail for found in event.contradictions) or None,
    ]
