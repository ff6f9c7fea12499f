"""The catalogue: every list price that is known, as plain frozen records.

The same records hold what ``genai-prices`` publishes and what a user's own rate card file says. Names are lower case.
"""

from __future__ import annotations

import re
from datetime import date, time
from decimal import Decimal
from functools import lru_cache

import msgspec

FORMAT = 1
"""Raised whenever the records below change: a cache file of another format is not read."""


class StartsWith(msgspec.Struct, frozen=True, array_like=True, tag="starts"):
    """The name starts with ``text``."""

    text: str

    def matches(self, name: str) -> bool:
        """Whether ``name``, in lower case, is meant."""
        return name.startswith(self.text)


class EndsWith(msgspec.Struct, frozen=True, array_like=True, tag="ends"):
    """The name ends with ``text``."""

    text: str

    def matches(self, name: str) -> bool:
        """Whether ``name``, in lower case, is meant."""
        return name.endswith(self.text)


class Contains(msgspec.Struct, frozen=True, array_like=True, tag="contains"):
    """``text`` occurs in the name."""

    text: str

    def matches(self, name: str) -> bool:
        """Whether ``name``, in lower case, is meant."""
        return self.text in name


class Equals(msgspec.Struct, frozen=True, array_like=True, tag="equals"):
    """The name is ``text``."""

    text: str

    def matches(self, name: str) -> bool:
        """Whether ``name``, in lower case, is meant."""
        return name == self.text


class Pattern(msgspec.Struct, frozen=True, array_like=True, tag="regex"):
    """The regular expression ``text`` is found in the name."""

    text: str

    def matches(self, name: str) -> bool:
        """Whether ``name``, in lower case, is meant."""
        return _compiled(self.text).search(name) is not None


class AnyOf(msgspec.Struct, frozen=True, array_like=True, tag="any"):
    """At least one clause holds."""

    clauses: tuple[Clause, ...]

    def matches(self, name: str) -> bool:
        """Whether ``name``, in lower case, is meant."""
        return any(clause.matches(name) for clause in self.clauses)


class AllOf(msgspec.Struct, frozen=True, array_like=True, tag="all"):
    """Every clause holds."""

    clauses: tuple[Clause, ...]

    def matches(self, name: str) -> bool:
        """Whether ``name``, in lower case, is meant."""
        return all(clause.matches(name) for clause in self.clauses)


Clause = StartsWith | EndsWith | Contains | Equals | Pattern | AnyOf | AllOf
"""Which names are meant."""


@lru_cache(maxsize=1024)
def _compiled(text: str) -> re.Pattern[str]:
    return re.compile(text)


class Tier(msgspec.Struct, frozen=True, array_like=True):
    """The price of *all* of a call's units once its input is longer than ``above`` tokens."""

    above: int
    usd: Decimal


class Price(msgspec.Struct, frozen=True, array_like=True):
    """US dollars for as many of a unit as :attr:`taximeter.units.Unit.per` says; tiers by rising threshold."""

    usd: Decimal
    tiers: tuple[Tier, ...] = ()


class Days(msgspec.Struct, frozen=True, array_like=True, tag="days"):
    """UTC days: from ``since`` (``None``: ever) until before ``until`` (``None``: on)."""

    since: date | None
    until: date | None = None

    def holds(self, day: date, _clock: time) -> bool:
        """Whether it applies then (UTC)."""
        return (self.since is None or day >= self.since) and (self.until is None or day < self.until)


class Hours(msgspec.Struct, frozen=True, array_like=True, tag="hours"):
    """Hours of every UTC day, from ``start`` until before ``end``; over midnight when ``end`` is the earlier one."""

    start: time
    end: time

    def holds(self, _day: date, clock: time) -> bool:
        """Whether it applies then (UTC)."""
        if self.end < self.start:
            return clock >= self.start or clock < self.end
        return self.start <= clock < self.end


Term = Days | Hours
"""When a price applies."""


class DatedPrices(msgspec.Struct, frozen=True, array_like=True):
    """Prices by unit name, and when they apply (``None``: always)."""

    prices: dict[str, Price]
    term: Term | None = None


class Variant(msgspec.Struct, frozen=True, array_like=True):
    """Prices that replace the standard ones, unit by unit, in calls whose price context has all of ``when``."""

    when: tuple[tuple[str, str], ...]
    prices: dict[str, Price]
    term: Term | None = None


class Model(msgspec.Struct, frozen=True, array_like=True):
    """One model of one provider.

    Attributes:
        id: its id in the catalogue.
        names: which names mean it.
        prices: the last entry that applies wins.
        variants: for each unit, the first that applies wins.
        free: the entry says in words that the model costs nothing; without it, no price means an unknown price.
        lapses: outside the terms of all ``prices`` there is no price. Otherwise the first of them stands in.
        least_seconds: audio shorter than this is billed as this long.
        context_window: how many input tokens it takes.
        deprecated: whether the provider is about to retire it.
    """

    id: str
    names: Clause
    prices: tuple[DatedPrices, ...]
    variants: tuple[Variant, ...] = ()
    free: bool = False
    lapses: bool = False
    least_seconds: int | None = None
    context_window: int | None = None
    deprecated: bool = False


class Provider(msgspec.Struct, frozen=True, array_like=True):
    """One provider and its models, in the order in which they are tried.

    Attributes:
        id: its id in the catalogue.
        models: the first whose names match is meant.
        own_models: model names that betray the provider, where no provider is named.
        fallback: providers whose models (and standard prices) it serves beside its own.
    """

    id: str
    models: tuple[Model, ...]
    own_models: Clause | None = None
    fallback: tuple[str, ...] = ()


class Catalogue(msgspec.Struct, frozen=True, array_like=True):
    """All providers.

    Attributes:
        format: :data:`FORMAT` of whoever wrote it.
        version: the version of the data.
        checked: the latest day on which the data says that one of its prices was checked.
        providers: by id, in the data's order.
    """

    format: int
    version: str
    checked: date | None
    providers: tuple[Provider, ...]
