"""The figures of a chat: a turn's, a session's, and all of them in a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from taximeter.cli.csvtext import Cell, CsvText
from taximeter.cli.lines import dump
from taximeter.usage import Count, Usage

if TYPE_CHECKING:
    from taximeter.cli.chat import Exchange
    from taximeter.event import CallEvent
    from taximeter.meter import Session, Tally

_CLASSES: Final = (
    ("cache read", "cache_read_tokens"),
    ("cache write", "cache_write_tokens"),
    ("reasoning", "output_reasoning_tokens"),
)
_COLUMNS: Final = (
    "turn", "began_at", "model", "outcome", "input_tokens", "output_tokens", "total_tokens", "cache_read_tokens",
    "cache_write_tokens", "output_reasoning_tokens", "usage_source", "cost_usd", "turn_id", "user_message", "answer",
)  # fmt: skip


def turn_line(tally: Tally, calls: Sequence[CallEvent]) -> str:
    """``Prompt: 15, Completion: 25, Total: 40``, the classes that there are, and the cost."""
    usage = tally.usage
    figures = [
        f"Prompt: {_shown(usage.input_tokens)}",
        f"Completion: {_shown(usage.output_tokens)}",
        f"Total: {_shown(_total(usage))}",
        *(f"{label}: {usage[unit]:,}" for label, unit in _CLASSES if usage.get(unit)),
        f"Cost: {_usd(tally)}",
    ]
    estimated = any(call.usage_source == "estimated" for call in calls)
    return ", ".join(figures) + (" (tokens estimated: the answer was cut)" if estimated else "")


def stats(session: Session) -> str:
    """The session's turns, totals, averages and cost."""
    usage = session.usage
    total = _total(usage)
    lines = ["Session token usage:", f"   Total Turns: {session.turns}"]
    for name, count in (("Prompt", usage.input_tokens), ("Completion", usage.output_tokens), ("", total)):
        lines.append(f"   Total {name} Tokens: {_shown(count)}".replace("  Tokens", " Tokens"))
    lines += [f"   {label.capitalize()} Tokens: {usage[unit]:,}" for label, unit in _CLASSES if usage.get(unit)]
    for name, count in (("Prompt", usage.input_tokens), ("Completion", usage.output_tokens), ("Total", total)):
        lines.append(f"   Average {name} Tokens per Turn: {_average(count, session.turns)}")
    lines.append(f"   Total Cost: {_usd(session)}")
    average = session.average_cost_usd
    lines.append(f"   Average Cost per Turn: {'–' if average is None else f'{average:.9f} USD'}")
    if session.unknown_usage_calls:
        lines.append(f"   Calls without usage: {session.unknown_usage_calls}")
    return "\n".join(lines)


def export(path: Path, session: Session, exchanges: Sequence[Exchange]) -> None:
    """Writes every turn: CSV where the file is called so, else JSON.

    Raises:
        OSError: when the file cannot be written.
    """
    rows = [_row(exchange) for exchange in exchanges]
    with path.open("w", encoding="utf-8", newline="") as file:
        if path.suffix.lower() == ".csv":
            table = CsvText(file)
            table.row(_COLUMNS)
            for row in rows:
                table.row([row[column] for column in _COLUMNS])
        else:
            whole = {
                "session": session.id,
                "turns": rows,
                "usage": dict(session.usage.counts),
                "cost_usd": _decimal(session),
            }
            file.write(dump(whole) + "\n")


def _row(exchange: Exchange) -> dict[str, Cell]:
    usage, calls = exchange.turn.usage, exchange.calls
    figures: dict[str, Any] = {unit: usage.get(unit) for unit in _COLUMNS if unit.endswith("_tokens")}
    return figures | {
        "turn": exchange.turn.number,
        "began_at": exchange.began.isoformat(),
        "model": _last(call.model for call in calls),
        "outcome": _last(call.outcome for call in calls),
        "total_tokens": _total(usage),
        "usage_source": _last(call.usage_source for call in calls),
        "cost_usd": _decimal(exchange.turn),
        "turn_id": exchange.turn.id,
        "user_message": exchange.asked,
        "answer": exchange.answered,
    }


def _last(values: Iterator[str | None]) -> str | None:
    found = None
    for found in values:  # noqa: B007 - the last one is what is wanted
        pass
    return found


def _total(usage: Usage) -> Count | None:
    present = [count for count in (usage.input_tokens, usage.output_tokens) if count is not None]
    return sum(present) if present else None


def _shown(count: Count | None) -> str:
    return "–" if count is None else f"{count:,}"


def _average(count: Count | None, turns: int) -> str:
    return "–" if count is None or not turns else f"{Decimal(count) / turns:,.1f}"


def _decimal(tally: Tally) -> str | None:
    return None if not tally.calls or tally.cost_usd is None else str(tally.known_cost)


def _usd(tally: Tally) -> str:
    """The exact cost; what is known of it, where a call has no price."""
    cost = _decimal(tally)
    if cost is not None:
        return f"{cost} USD"
    return (
        f"{tally.known_cost} USD and what {tally.unpriced_calls} calls without a price cost"
        if (tally.known_cost.pico)
        else "–"
    )
