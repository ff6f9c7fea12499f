"""The check: what the provider's own books say that it served, against what is in the store, token by token."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from taximeter.event import CallEvent
from taximeter.money import ZERO, Money
from taximeter.simulator import Served
from taximeter.store import ReportRow
from taximeter.usage import Count, Usage


class Side(msgspec.Struct, frozen=True):
    """One of two books.

    Attributes:
        calls: how many calls are in it.
        stated_calls: how many of them have figures that the provider stated.
        usage: the sum of those, by unit.
    """

    calls: int
    stated_calls: int
    usage: Mapping[str, Count]


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """What came of holding the two books against each other.

    Attributes:
        equal: whether all that follows is as it should be.
        served: the provider's books.
        stored: ours.
        only_served: calls that the provider has, and the store has not, or not so; in words.
        only_stored: the other way round.
        estimated: counts in the store that no provider stated, and that are therefore not in ``stored``.
        adds_up: whether the store's totals are the sums of its calls.
        told_cost_usd: the sum of the costs that were told while the calls ran.
        stored_cost_usd: the store's total.
    """

    equal: bool
    served: Side
    stored: Side
    only_served: tuple[str, ...]
    only_stored: tuple[str, ...]
    estimated: Mapping[str, Count]
    adds_up: bool
    told_cost_usd: str
    stored_cost_usd: str


class _Entry(NamedTuple):
    """A call, as either book has it."""

    api: str
    model: str | None
    status: int | None
    usage: Usage | None

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {unit}" for unit, count in (self.usage or Usage()).items() if count)
        return f"{self.api} {self.model} {self.status}: {counts or 'no figures'}"


def audit(served: Iterable[Served], stored: Sequence[CallEvent], total: ReportRow, told: Money) -> Audit:
    """Holds the provider's books against ours, call by call and unit by unit.

    Args:
        served: what the provider says that it served; ``usage`` is what it really stated.
        stored: the events of those calls.
        total: the store's totals over them.
        told: the sum of the costs that were told while they ran.
    """
    theirs = Counter(_Entry(call.api, call.model, call.status, _usage(call.usage)) for call in served)
    ours = Counter(_Entry(event.api, event.request_model, event.status, _stated(event)) for event in stored)
    only_served, only_stored = theirs - ours, ours - theirs
    cost = total.cost or ZERO
    adds_up = total.usage == Usage.total(event.usage for event in stored if event.usage is not None) and (
        cost == sum((event.cost for event in stored if event.cost is not None), start=ZERO)
    )
    estimated = Usage.total(event.usage for event in stored if event.usage is not None and _stated(event) is None)
    return Audit(
        equal=not only_served and not only_stored and adds_up and told == cost,
        served=_side(theirs),
        stored=_side(ours),
        only_served=tuple(map(str, only_served.elements())),
        only_stored=tuple(map(str, only_stored.elements())),
        estimated={unit: count for unit, count in estimated.items() if count},
        adds_up=adds_up,
        told_cost_usd=str(told),
        stored_cost_usd=str(cost),
    )


def _usage(stated: Mapping[str, int] | None) -> Usage | None:
    return None if stated is None else Usage(**stated)


def _stated(event: CallEvent) -> Usage | None:
    """The usage of a call, where it is the provider's own."""
    return event.usage if event.usage_source == "reported" else None


def _side(entries: Counter[_Entry]) -> Side:
    stated = [entry.usage for entry in entries.elements() if entry.usage is not None]
    return Side(entries.total(), len(stated), Usage.total(stated).counts)
