"""Captures read, priced, shown and kept: what ``taximeter read`` does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from taximeter.cli.lines import CaptureLine
from taximeter.cli.terminal import counts, plain, table, usd
from taximeter.errors import TaximeterError
from taximeter.event import CallEvent
from taximeter.money import Money
from taximeter.usage import Usage

if TYPE_CHECKING:
    from rich.table import Table

    from taximeter.pricing import PriceBook
    from taximeter.store import Added, Store

SHOWN = ("input_tokens", "cache_read_tokens", "output_tokens", "output_reasoning_tokens")
SHOWN_AS = ("input", "cached", "output", "reasoning")
_WIDE = 150
_WIDE_ONLY = ("provider", "reasoning", "provider says")
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
        why: a sentence that names it.
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
            why = str(error)
            yield Refused(name, why if str(folder) in why else f"{name}: {why}")
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


def calls_table(title: str, done: Sequence[Done], width: int) -> Table:
    """Usage and cost, a row for each call and for each part at another model.

    Args:
        title: stands above.
        done: the calls.
        width: of the terminal, in signs; a narrow one gets fewer columns.
    """
    own = any(each.event.provider_cost is not None for each in done)
    hidden = {*(() if own else ("provider says",)), *(_WIDE_ONLY if width < _WIDE else ())}
    numbers = (*SHOWN_AS, "cost USD", "provider says")
    columns = [
        name for name in ("capture", "provider", "model", *SHOWN_AS, "usage is", *numbers[-2:]) if name not in hidden
    ]
    made = table(title, columns, numbers)
    for each in done:
        event = each.event
        source = _source(event)
        cells = _cells(each.name, event.provider, event.model, event.usage, source, event.cost)
        cells["provider says"] = usd(event.provider_cost)
        made.add_row(*(cells[name] for name in columns))
        for part in event.parts[1:]:
            cost = part.cost.total if part.cost else None
            cells = _cells("", "", part.model, part.usage, part.kind, cost)
            cells |= {"capture": "  of which", "provider": "", "provider says": ""}
            cells |= {} if part.billed else {"cost USD": "not billed"}
            made.add_row(*(cells[name] for name in columns))
    return made


def _source(event: CallEvent) -> str:
    """Whose figures these are, whether any contradict each other, and what is counted in no column."""
    said = event.usage_source + (" !" if event.contradictions else "")
    usage = event.usage or Usage()
    if any(unit in usage for unit in SHOWN):
        return said
    return ", ".join([said, *(f"{count} {unit}" for unit, count in usage.items() if count)])


def _cells(
    name: str, provider: str, model: str | None, usage: Usage | None, source: str, cost: Money | None
) -> dict[str, str]:
    """The cells of a row, by column."""
    texts = {"capture": plain(name), "provider": plain(provider), "model": plain(model), "usage is": source}
    return {**texts, **dict(zip(SHOWN_AS, counts(usage, SHOWN), strict=True)), "cost USD": usd(cost)}


def remarks(done: Iterable[Done]) -> Iterator[str]:
    """What must not go unsaid: faults, errors, contradictions, and why there is no cost."""
    for each in done:
        yield from (f"{plain(each.name)}: {plain(remark)}" for remark in _remarks(each))


def _remarks(done: Done) -> Iterator[str]:
    event = done.event
    if done.fault:
        yield done.fault
    if event.error is not None:
        yield f"the provider said no: {event.error.message or event.error.type or event.status}"
    elif done.line.complete is False:
        yield f"the answer was cut off; its usage is {event.usage_source}"
    elif event.usage is None:
        yield "the answer states no usage, so there is no cost"
    yield from (found.detail for found in event.contradictions)
    costs = (part.cost for part in event.parts if part.billed and part.cost is not None)
    yield from (f"no cost: {cost.reason}" for cost in costs if cost.reason is not None)
