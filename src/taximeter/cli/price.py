"""``taximeter price``: what so much usage costs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import click
import msgspec

from taximeter.cli.lines import CardLine, ItemLine, amount, dump
from taximeter.cli.options import json_option, moment, pairs
from taximeter.event import Cost, LineItem
from taximeter.units import DURATION_UNITS, UNITS
from taximeter.usage import Count, Usage

_EXAMPLES = """\b
Examples:
  taximeter price gpt-5-mini --input 120000 --output 3000
  taximeter price claude-sonnet-4-5 --provider anthropic --input 50000 --cache-read 40000 --output 800
  taximeter price gpt-4o-transcribe --input 400 --input-audio 400 --output 60 --json
\b
Every unit is an option, with or without `-tokens`:
  --cache-write-5m --cache-write-1h --input-image --output-audio --web-searches --audio-seconds ...
"""

_SHOWN = {
    "input_tokens": "Tokens that go in, cached ones and every modality included.",
    "output_tokens": "Tokens that come out, reasoning included.",
    "cache_read_tokens": "Of the input: read from a cache.",
    "cache_write_tokens": "Of the input: written to a cache.",
    "output_reasoning_tokens": "Of the output: reasoning.",
    "web_searches": "Web searches by the provider's own tool.",
}

_MAKER = "gateway"
"""Stands for no provider in particular: the price is the list price of the model's maker."""


class QuoteLine(msgspec.Struct, frozen=True):
    """What ``taximeter price --json`` writes."""

    model: str
    provider: str | None
    at: str
    usage: Mapping[str, Count]
    cost_usd: str | None
    line_items: Sequence[ItemLine]
    rate_card: CardLine | None
    unpriced: Sequence[str]
    reason: str | None
    price_data: str
    price_data_date: str | None


def _count(_: click.Context, param: click.Parameter, value: str | None) -> Count | None:
    """Reads a count: whole, or for durations a decimal; underscores and commas between digits pass."""
    if value is None:
        return None
    text = value.replace(",", "").replace("_", "")
    durations = param.name in DURATION_UNITS
    try:
        return Decimal(text) if durations else int(text)
    except (InvalidOperation, ValueError) as error:
        msg = f"{value!r} is no {'number' if durations else 'whole number'}"
        raise click.BadParameter(msg) from error


def _unit_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """An option for each unit, the usual ones with help, the others hidden."""
    usual = [unit for unit in UNITS if unit in _SHOWN]
    for unit in reversed([*usual, *(unit for unit in UNITS if unit not in _SHOWN)]):
        names = dict.fromkeys((unit.removesuffix("_tokens"), unit))
        flags = [f"--{name.replace('_', '-')}" for name in names]
        option = click.option(
            *flags, unit, metavar="N", callback=_count, help=_SHOWN.get(unit), hidden=unit not in _SHOWN
        )
        command = option(command)
    return command


@click.command(short_help="Quote what a usage of a model costs.", epilog=_EXAMPLES)
@click.argument("model")
@_unit_options
@click.option("--provider", help="Who is called. Default: the model's maker, at list price.")
@click.option("--at", metavar="ISO", help="As of this date or time. Default: now.")
@click.option("--context", multiple=True, metavar="NAME=VALUE", help="What a price varies with: service_tier=priority.")
@json_option
def price(
    model: str, provider: str | None, at: str | None, context: tuple[str, ...], *, as_json: bool, **counts: Count | None
) -> None:
    """Quote what a usage of MODEL costs, line by line, and by which rate card.

    Exit code 1 when the price is not known; near names are then suggested.
    """
    from taximeter.pricing import PriceBook

    usage = Usage(**counts)
    if not usage:
        msg = "say how much: --input N, --output N, or any other unit"
        raise click.UsageError(msg)
    when = moment(at, "--at") or datetime.now(UTC)
    book = PriceBook.load()
    chosen = pairs(context, "--context")
    cost = book.price(usage, provider=provider or _MAKER, model=model, at=when, context=chosen)
    if as_json:
        dated = None if book.data_date is None else book.data_date.isoformat()
        items = [ItemLine.of(item) for item in cost.items]
        line = QuoteLine(
            model, provider, when.isoformat(), usage.counts, amount(cost.total), items, CardLine.of(cost.card),
            cost.unpriced, _reason(cost, model, provider), book.version, dated,
        )  # fmt: skip
        click.echo(dump(line))
    else:
        _show(cost, model, provider, when)
    if cost.total is None:
        sys.exit(1)


def _show(cost: Cost, model: str, provider: str | None, when: datetime) -> None:
    from taximeter.cli.terminal import console, table, usd

    if cost.card is not None and cost.items:
        numbers = ("count", "USD", "per", "amount USD")
        made = table("", ["unit", *numbers, "priced as"], numbers)
        for item in cost.items:
            made.add_row(*_item_cells(item))
        made.add_section()
        made.add_row("total", "", "", "", usd(cost.total), "", style="bold")
        console().print(made)
    elif cost.total is not None:
        click.echo(f"total: {cost.total} USD")
    if cost.card is not None:
        card = cost.card
        since = f", in force since {card.since}" if card.since else ""
        varied = "".join(f", {name} {value}" for name, value in card.context)
        named = f"{card.provider}/{card.model}{varied}{since}"
        click.echo(f"  Rate card: {named} ({card.source} {card.version}); as of {when:%Y-%m-%d}.")
    if cost.total is None:
        click.echo(f"taximeter: {_reason(cost, model, provider)}", err=True)


def _item_cells(item: LineItem) -> list[str]:
    shown = "" if item.rate_unit == item.unit else item.rate_unit
    return [item.unit, f"{item.count:,}", f"{item.rate.usd:f}", f"{item.rate.per:,}", str(item.amount), shown]


def _reason(cost: Cost, model: str, provider: str | None) -> str | None:
    if cost.reason is None or provider is not None or cost.card is not None:
        return cost.reason
    return cost.reason.replace(f"{model} of {_MAKER}", model)
