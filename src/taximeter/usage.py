"""Usage: what was counted in a call, by unit; what includes what; and contradictions, named.

Units and containment are :mod:`taximeter.units`. Totals are inclusive: ``input_tokens`` contains everything that went
in, cached or not, of every modality; ``output_tokens`` contains reasoning. A unit that the provider did not mention is
absent, which is not 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Context, Decimal, Inexact
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import msgspec

from taximeter.errors import UsageError
from taximeter.units import DURATION_UNITS, ORDER, PARENTS, UNITS, join

Count = int | Decimal
"""A count of one unit. Whole, except seconds, which may be a Decimal."""


# Our own context: the ambient one may round.
_EXACT = Context(prec=4096, traps=[Inexact])


def plus(one: Count, other: Count) -> Count:
    """The exact sum of two counts."""
    if isinstance(one, int) and isinstance(other, int):
        return one + other
    return _EXACT.add(Decimal(one), Decimal(other))


def minus(one: Count, other: Count) -> Count:
    """The exact difference of two counts."""
    if isinstance(one, int) and isinstance(other, int):
        return one - other
    return _EXACT.subtract(Decimal(one), Decimal(other))


class Usage(Mapping[str, Count]):
    """Counts by unit: immutable, addable, absent is not 0.

    >>> usage = Usage(input_tokens=100, cache_read_tokens=60, output_tokens=7)
    >>> usage.cache_read_tokens, usage.cache_write_tokens
    (60, None)
    >>> usage.leaves()
    {'input_tokens': 40, 'output_tokens': 7, 'cache_read_tokens': 60}

    A unit given as ``None`` is absent. Reading a unit as an attribute gives its count or ``None``; as a mapping it
    holds only the units that are present, in the registry's order.

    Raises:
        UsageError: for a unit that is not registered, a negative count, a float, a bool.
    """

    __slots__ = ("counts", "units")

    counts: Mapping[str, Count]
    """The counts as a plain mapping, in the registry's order."""
    units: tuple[str, ...]
    """The units that are present, in the registry's order."""

    if TYPE_CHECKING:
        input_tokens: int | None
        output_tokens: int | None
        cache_read_tokens: int | None
        cache_write_tokens: int | None
        cache_write_5m_tokens: int | None
        cache_write_1h_tokens: int | None
        output_reasoning_tokens: int | None

        def __getattr__(self, unit: str) -> Count | None: ...

    def __init__(self, **counts: Count | None) -> None:
        units = _in_order(tuple([unit for unit, count in counts.items() if count is not None]))
        ordered: dict[str, Count] = {}
        for unit in units:
            count = counts[unit]
            ordered[unit] = count if type(count) is int and count >= 0 else _checked(unit, count)
        _set_counts(self, ordered)
        _set_units(self, units)

    def __setattr__(self, name: str, value: object) -> None:
        msg = f"a Usage cannot be changed: {name}"
        raise AttributeError(msg)

    def __getitem__(self, unit: str) -> Count:
        return self.counts[unit]

    def __iter__(self) -> Iterator[str]:
        return iter(self.counts)

    def __len__(self) -> int:
        return len(self.counts)

    def __hash__(self) -> int:
        return hash(tuple(self.counts.items()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Usage) and self.counts == other.counts

    def __repr__(self) -> str:
        return f"Usage({', '.join(f'{unit}={count}' for unit, count in self.counts.items())})"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (dict(self.counts),)

    def __add__(self, other: Usage) -> Usage:
        """Unit by unit; a unit absent on one side keeps the other's count, absent on both stays absent."""
        total = dict(self.counts)
        for unit, count in other.counts.items():
            total[unit] = plus(total.get(unit, 0), count)
        return Usage(**total)

    @classmethod
    def total(cls, usages: Iterable[Usage]) -> Usage:
        """The sum of any number of usages."""
        first, *others = (*usages,) or (Usage(),)
        for usage in others:
            first += usage
        return first

    def leaves(self) -> dict[str, Count]:
        """The disjoint counts behind the inclusive ones: each unit less the present units that it includes.

        Every token is in exactly one leaf, so that the leaves of one direction sum to its total.

        Raises:
            UsageError: when parts exceed their whole; :func:`consistent` never builds such a usage.
        """
        leaves = _leaves(self.counts)
        for unit, count in leaves.items():
            if count < 0:
                parts = ", ".join(f"{part} ({self.counts[part]})" for part in _parts(unit, self.counts))
                msg = f"{parts} cannot be in {unit} ({self.counts[unit]})"
                raise UsageError(msg)
        return leaves


def _reader(unit: str) -> property:
    return property(lambda usage: usage.counts.get(unit), doc=f"The count of ``{unit}``, or ``None`` when absent.")


# what makes a Usage goes past its `__setattr__`, and past looking the slots up
_set_counts: Callable[[Usage, dict[str, Count]], None] = Usage.__dict__["counts"].__set__
_set_units: Callable[[Usage, tuple[str, ...]], None] = Usage.__dict__["units"].__set__

for _name in UNITS:
    setattr(Usage, _name, _reader(_name))


def _rebuild(counts: dict[str, Count]) -> Usage:
    return Usage(**counts)


@lru_cache(maxsize=1024)
def _in_order(units: tuple[str, ...]) -> tuple[str, ...]:
    """The units in the registry's order: calls count the same few sets of them over and over."""
    for unit in units:
        if unit not in UNITS:
            msg = f"no unit is called {unit!r}; the units are listed in taximeter.units.UNITS"
            raise UsageError(msg)
    return tuple(sorted(units, key=ORDER.__getitem__))


def _checked(unit: str, count: object) -> Count:
    if isinstance(count, bool) or not isinstance(count, (int, Decimal)):
        msg = f"{unit} is counted in whole numbers, not in {type(count).__name__}: {count!r}"
        raise UsageError(msg)
    if isinstance(count, Decimal) and (unit not in DURATION_UNITS or not count.is_finite()):
        msg = f"only seconds may have a fraction, and be finite: {unit}={count}"
        raise UsageError(msg)
    if count < 0:
        msg = f"{unit} cannot be negative: {count}"
        raise UsageError(msg)
    return count


def _parts(unit: str, present: Iterable[str]) -> list[str]:
    return [other for other in present if unit in PARENTS[other]]


@lru_cache(maxsize=1024)
def _leaf_order(units: tuple[str, ...]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The units that include others, the finest first, each with those that it includes."""
    finest_first = sorted(units, key=lambda name: -len(UNITS[name].dimensions))
    with_parts = ((unit, tuple(_parts(unit, finest_first))) for unit in finest_first)
    return tuple((unit, parts) for unit, parts in with_parts if parts)


def _leaves(counts: Mapping[str, Count]) -> dict[str, Count]:
    leaves = dict(counts)
    for unit, parts in _leaf_order(tuple(counts)):
        for part in parts:
            leaves[unit] = minus(leaves[unit], leaves[part])
    return leaves


def _fits(counts: Mapping[str, Count]) -> bool:
    """Whether no parts exceed their whole."""
    leaves = dict(counts)
    for unit, parts in _leaf_order(tuple(counts)):
        leaf = leaves[unit]
        for part in parts:
            inside = leaves[part]
            # plain integers without a call: what nearly all counts are
            leaf = leaf - inside if type(leaf) is int and type(inside) is int else minus(leaf, inside)
        if leaf < 0:
            return False
        leaves[unit] = leaf
    return True


class Contradiction(msgspec.Struct, frozen=True):
    """Something in a provider's figures that does not fit together. The raw usage is kept beside it.

    Attributes:
        kind: ``subset_exceeds_total``: a part is larger than its whole, and was clamped to it.
            ``subsets_exceed_total``: parts that exclude each other sum to more than their whole; the last was clamped.
            ``details_incomplete``: a split does not cover the count that it splits; the rest is left unsplit.
            ``total_disagrees``: the provider's own total is not the sum of what it counted.
            ``count_absent``: a count that belongs to the format is missing.
            ``sources_disagree``: two places of one response give different counts.
            ``not_a_count``: where a count belongs stands something else.
        unit: the unit concerned.
        detail: a sentence with both figures.
    """

    kind: Literal[
        "subset_exceeds_total",
        "subsets_exceed_total",
        "details_incomplete",
        "total_disagrees",
        "count_absent",
        "sources_disagree",
        "not_a_count",
    ]
    unit: str
    detail: str


_MAX_REPAIRS = 64


def consistent(counts: Mapping[str, Count | None]) -> tuple[Usage, tuple[Contradiction, ...]]:
    """A usage in which no part exceeds its whole, and what had to be clamped for that.

    Where two overlapping parts (cached tokens and image tokens) sum to more than their whole, at least the excess was
    counted in both: that much is put in the unit that counts both, which contradicts nothing. What no overlap explains
    is clamped, from the last part of the registry's order backwards, and named.

    Raises:
        UsageError: as :class:`Usage`.
    """
    given = Usage(**counts)
    if _fits(given.counts):
        return given, ()
    fitting = dict(given.counts)
    for _ in range(_MAX_REPAIRS):
        whole, excess = _first_excess(fitting)
        if whole is None:
            break
        if not _overlap(fitting, whole, excess):
            part = _last_part(fitting, whole)
            fitting[part] = minus(fitting[part], min(excess, fitting[part]))
    parts = [unit for unit in fitting if any(parent in fitting for parent in PARENTS[unit])]
    for part in sorted(parts, key=lambda unit: -len(UNITS[unit].dimensions)):
        if _first_excess(fitting)[0] is None:
            break
        fitting[part] = 0  # beyond repair: the finest figures go first, until what is left fits
    usage = Usage(**fitting)
    named = [_clamped(unit, given, usage) for unit in given if usage[unit] != given[unit]]
    return usage, tuple(named)


def _first_excess(fitting: Mapping[str, Count]) -> tuple[str | None, Count]:
    """The widest unit whose parts exceed it, and by how much; ``None`` when none does."""
    leaves = sorted(_leaves(fitting).items(), key=lambda item: len(UNITS[item[0]].dimensions))
    return next(((unit, minus(0, leaf)) for unit, leaf in leaves if leaf < 0), (None, 0))


def _overlap(fitting: dict[str, Count], whole: str, excess: Count) -> bool:
    """Explains ``excess`` by tokens that two parts of ``whole`` both count, if their joint unit is not reported."""
    leaves = _leaves(fitting)
    parts = [part for part in _parts(whole, fitting) if leaves[part] > 0]
    for index, first in enumerate(parts):
        for second in parts[index + 1 :]:
            both = join(UNITS[first], UNITS[second])
            if both is not None and both not in (first, second) and both not in fitting:
                fitting[both] = min(excess, leaves[first], leaves[second])
                return True
    return False


def _last_part(fitting: Mapping[str, Count], whole: str) -> str:
    """The direct part of ``whole`` that gives way: too large on its own, or else the last that is not 0."""
    parts = sorted((part for part in _parts(whole, fitting) if fitting[part]), key=ORDER.__getitem__)
    candidates = [part for part in parts if fitting[part] > fitting[whole]] or parts
    direct = [part for part in candidates if not any(parent in candidates for parent in PARENTS[part])]
    return direct[-1]


def _clamped(unit: str, given: Usage, usage: Usage) -> Contradiction:
    wholes = [parent for parent in PARENTS[unit] if parent in given]
    whole = next((parent for parent in wholes if given[unit] > given[parent]), None)
    if whole is not None:
        detail = f"{unit} ({given[unit]}) exceeds {whole} ({given[whole]}); clamped to {usage[unit]}"
        return Contradiction(kind="subset_exceeds_total", unit=unit, detail=detail)
    whole = wholes[0]
    sums = " + ".join(f"{part} ({given[part]})" for part in _parts(whole, given) if given[part])
    detail = f"{sums} exceed {whole} ({given[whole]}); {unit} clamped to {usage[unit]}"
    return Contradiction(kind="subsets_exceed_total", unit=unit, detail=detail)
