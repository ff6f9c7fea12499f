"""Captures read, priced and kept: what ``read`` and ``demo`` have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from taximeter.cli.lines import CaptureLine
from taximeter.cli.terminal import counts, table, usd
from taximeter.errors import TaximeterError
from taximeter.event import CallEvent

if TYPE_CHECKING:
    from rich.table import Table

    from taximeter.pricing import PriceBook
    from taximeter.store import Added, Store

SHOWN = ("input_tokens", "cache_read_tokens", "output_tokens", "output_reasoning_tokens")
SHOWN_AS = ("input", "cached", "output", "reasoning")
_BATCH = 500


class Done(NamedTuple):
    """A capture that was read.

    Attributes:
        name: the capture, as given.
        event: what it became.
        line: the same as JSON.
        fault: what could not be read in it; what was read beside that counts.
    """

    name: str
    event: CallEvent
    line: CaptureLine
    fault: str | None


class Refused(NamedTuple):
    """A folder that is no capture.

    Attributes:
        name: the capture, as given.
        why: a sentence.
    """

    name: str
    why: str


def read_all(folders: Iterable[tuple[str, Path]], book: PriceBook, at: datetime | None) -> Iterator[Done | Refused]:
    """Reads and prices captures one by one: each its name as given, and where it is."""
    from taximeter.importers.captures import load, meter_capture

    for name, folder in folders:
        try:
            metered = meter_capture(load(folder), book, at)
        except TaximeterError as error:
            yield Refused(name, str(error))
            continue
        line = CaptureLine.of(
            metered.event,
            capture=name,
            complete=metered.reading.complete,
            price_date=metered.price_date,
            price_date_source=metered.price_date_source,
        )
        yield Done(name, metered.event, line, metered.reading.fault)


class Keeper:
    """Puts events into a store in batches, and adds up what became of them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: list[CallEvent] = []
        self.new = 0
        self.known = 0
        self.different: list[str] = []

    def add(self, event: CallEvent) -> None:
        """Takes an event; it is stored when a batch is full, or at :meth:`flush`."""
        self._waiting.append(event)
        if len(self._waiting) >= _BATCH:
            self.flush()

    def flush(self) -> None:
        """Stores what waits."""
        added: Added = self._store.add(self._waiting, recorded_at=datetime.now(UTC))
        self._waiting.clear()
        self.new += added.new
        self.known += added.known
        self.different += added.different

    def summary(self) -> str:
        """One sentence: how many were new, and where they are."""
        said = f"Stored {self.new} new in {self._store.url}"
        if self.known:
            said += f"; {self.known} were there already"
        if self.different:
            said += f", {len(self.different)} of them with other contents, which were left as they were"
        return said + "."


def calls_table(title: str, done: Sequence[Done]) -> Table:
    """Usage and cost, a row for each call; with the amount that the provider itself states, if any does."""
    own = any(each.event.provider_cost is not None for each in done)
    columns = ["capture", "provider", "model", *SHOWN_AS, "usage is", "cost USD", *(["provider says"] if own else [])]
    made = table(title, columns, numbers=[*SHOWN_AS, "cost USD", "provider says"])
    for name, event, line, _ in done:
        source = event.usage_source + (" !" if event.contradictions else "")
        cells = [name, event.provider, event.model or "–", *counts(event.usage, SHOWN), source, usd(event.cost)]
        made.add_row(*cells, *([usd(event.provider_cost)] if own else []))
        for part, told in zip(event.parts[1:], line.parts[1:], strict=True):
            cost = usd(part.cost.total if part.cost else None) if part.billed else "not billed"
            made.add_row("", "", f"  of it {told.model or '–'}", *counts(part.usage, SHOWN), part.kind, cost)
    return made


def remarks(done: Iterable[Done]) -> Iterator[str]:
    """What must not go unsaid: faults, errors, contradictions, and why there is no cost."""
    for name, event, line, fault in done:
        if fault:
            yield f"{name}: {fault}"
        if event.error is not None:
            yield f"{name}: the provider said no: {event.error.message or event.error.type or event.status}"
        elif line.complete is False:
            yield f"{name}: the answer was cut off; its usage is {event.usage_source}"
        elif event.usage is None:
            yield f"{name}: the answer states no usage, so there is no cost"
        yield from (f"{name}: {found.detail}" for found in event.contradictions)
        reasons = (part.cost.reason for part in event.parts if part.billed and part.cost and part.cost.reason)
        yield from (f"{name}: no cost: {reason}" for reason in reasons)
