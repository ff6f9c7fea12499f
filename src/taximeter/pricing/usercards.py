"""The user's own rate cards: a TOML file, checked strictly, that wins over the catalogue. The format: ``README.md``."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from taximeter.errors import ConfigError
from taximeter.pricing.catalogue import Clause, DatedPrices, Days, Equals, Model, Pattern, Price, Tier, Variant
from taximeter.units import UNITS

if TYPE_CHECKING:
    from typing_extensions import TypeIs

ANY_PROVIDER: Final = "*"
_CARD_KEYS: Final = ("model", "provider", "since", "until", "context_window", "rates", "variant")
_VARIANT_KEYS: Final = ("when", "rates")
_TIERED_KEYS: Final = ("usd", "tiers")
_TIER_KEYS: Final = ("above", "usd")
_RATE: Final = re.compile(r"\d{1,12}(\.\d{0,20})?|\.\d{1,20}")
_RATE_WORDS: Final = 'an amount of US dollars, such as "0.25" or 0.25'


class UserEntry(NamedTuple):
    """The cards of one model name, over time.

    Attributes:
        provider: who must have been called; ``*`` for anyone.
        model: the cards; its id is the name as the file gives it.
    """

    provider: str
    model: Model


class UserCards(NamedTuple):
    """All of a file's cards.

    Attributes:
        entries: those that say most come first: a named provider before any, a whole name before a pattern.
        version: a digest of the file.
    """

    entries: tuple[UserEntry, ...]
    version: str

    def find(self, providers: Iterable[str | None], model: str) -> list[UserEntry]:
        """The entries for a model of a provider that goes by these names, the first to be asked first."""
        names = {ANY_PROVIDER, *(name.strip().lower() for name in providers if name)}
        model = model.strip().lower()
        return [entry for entry in self.entries if entry.provider in names and entry.model.names.matches(model)]

    def names(self, providers: Iterable[str | None]) -> list[str]:
        """The model names that the file has for a provider."""
        names = {ANY_PROVIDER, *(name.strip().lower() for name in providers if name)}
        return [entry.model.id for entry in self.entries if entry.provider in names]


def parse_rate_cards(content: bytes, file: str) -> UserCards:
    """The rate cards in the content of a TOML file that is called ``file``.

    Raises:
        ConfigError: when any of it cannot be used, naming every fault; then none of it is used.
    """
    import tomllib  # noqa: PLC0415 - few have cards of their own, and everybody would wait for it

    try:
        document = tomllib.loads(content.decode(), parse_float=Decimal)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        msg = f"{file}: not a TOML file: {error}"
        raise ConfigError(msg) from error
    reader = _Reader()
    cards = reader.cards(document)
    if reader.faults:
        msg = "\n".join(f"{file}: {fault}" for fault in reader.faults)
        raise ConfigError(msg)
    return UserCards(_entries(cards), hashlib.sha256(content).hexdigest()[:12])


class _Card(NamedTuple):
    model: str
    provider: str
    term: Days
    context_window: int | None
    prices: dict[str, Price]
    variants: tuple[Variant, ...]
    where: str


class _Reader:
    """Reads the tables of a file, and collects what is wrong with them."""

    def __init__(self) -> None:
        self.faults: list[str] = []

    def cards(self, document: Mapping[str, object]) -> list[_Card]:
        self._only(document, ("card",), "the file")
        cards = [self._card(table, where) for where, table in self._tables(document.get("card", []), "card")]
        if not cards and not self.faults:
            self._fault("the file", "has no [[card]]")
        self._overlaps(cards)
        return cards

    def _card(self, table: Mapping[str, object], where: str) -> _Card:
        self._only(table, _CARD_KEYS, where)
        model = self._text(table, "model", where)
        provider = self._text(table, "provider", where) if "provider" in table else ANY_PROVIDER
        window = table.get("context_window")
        if window is not None and (not _is_int(window) or window < 1):
            self._fault(f"{where}.context_window", f"is a number of tokens, such as 131072, not {window!r}")
        term = Days(self._day(table, "since", where), self._day(table, "until", where))
        if term.since and term.until and term.since >= term.until:
            self._fault(f"{where}.until", f"is the first day without the card: later than since ({term.since})")
        tables = self._tables(table.get("variant", []), f"{where}.variant")
        variants = tuple(self._variant(variant, name, term) for name, variant in tables)
        prices = self._rates(table, where)
        return _Card(model, provider, term, window if _is_int(window) else None, prices, variants, where)

    def _variant(self, table: Mapping[str, object], where: str, term: Days) -> Variant:
        self._only(table, _VARIANT_KEYS, where)
        when = table.get("when")
        pairs = list(when.items()) if _is_table(when) else []
        if not pairs or not all(isinstance(value, str) for _, value in pairs):
            self._fault(f"{where}.when", f'is a table of words, such as {{ service_tier = "priority" }}, not {when!r}')
        return Variant(tuple((key, str(value)) for key, value in pairs), self._rates(table, where), term)

    def _rates(self, table: Mapping[str, object], where: str) -> dict[str, Price]:
        rates = table.get("rates")
        if not _is_table(rates) or not rates:
            self._fault(f"{where}.rates", 'is a table with at least one rate, such as { input_tokens = "0.25" }')
            return {}
        known = {unit: rate for unit, rate in rates.items() if unit in UNITS}
        for unit in (unit for unit in rates if unit not in UNITS):
            self._fault(f"{where}.rates.{unit}", f"is no unit; the units are {', '.join(UNITS)}")
        return {unit: self._rate(rate, f"{where}.rates.{unit}") for unit, rate in known.items()}

    def _rate(self, rate: object, where: str) -> Price:
        if not _is_table(rate):
            return Price(self._usd(rate, where))
        self._only(rate, _TIERED_KEYS, where)
        tiers = [self._tier(tier, name) for name, tier in self._tables(rate.get("tiers", []), f"{where}.tiers")]
        if any(first.above >= second.above for first, second in pairwise(tiers)):
            self._fault(f"{where}.tiers", "must have rising values of above")
        return Price(self._usd(rate.get("usd"), f"{where}.usd"), tuple(tiers))

    def _tier(self, table: Mapping[str, object], where: str) -> Tier:
        self._only(table, _TIER_KEYS, where)
        above = table.get("above")
        if not _is_int(above) or above < 0:
            self._fault(f"{where}.above", f"is a number of input tokens, such as 200000, not {above!r}")
            above = 0
        return Tier(above, self._usd(table.get("usd"), f"{where}.usd"))

    def _usd(self, amount: object, where: str) -> Decimal:
        written = isinstance(amount, (str, Decimal)) or _is_int(amount)
        plain = format(amount, "f") if isinstance(amount, Decimal) else str(amount)
        if written and _RATE.fullmatch(plain):
            return Decimal(plain)
        self._fault(where, f"is {_RATE_WORDS}, not {amount!r}" if amount is not None else f"is missing: {_RATE_WORDS}")
        return Decimal(0)

    def _day(self, table: Mapping[str, object], key: str, where: str) -> date | None:
        day = table.get(key)
        if day is None or (isinstance(day, date) and not isinstance(day, datetime)):
            return day
        self._fault(f"{where}.{key}", f"is a day without quotes, such as 2026-01-31, not {day!r}")
        return None

    def _text(self, table: Mapping[str, object], key: str, where: str) -> str:
        text = table.get(key)
        if isinstance(text, str) and text.strip():
            return text.strip().lower()
        self._fault(f"{where}.{key}", f"is a name in quotes, not {text!r}" if key in table else "is missing: a name")
        return ""

    def _tables(self, tables: object, where: str) -> list[tuple[str, Mapping[str, object]]]:
        if not isinstance(tables, list):
            self._fault(where, "is a list of tables: write [[card]] with two brackets")
            return []
        named = [(f"{where}[{number}]", table) for number, table in enumerate(cast("list[object]", tables), 1)]
        for name, table in named:
            if not _is_table(table):
                self._fault(name, f"is a table, not {table!r}")
        return [(name, table) for name, table in named if _is_table(table)]

    def _only(self, table: Mapping[str, object], keys: Sequence[str], where: str) -> None:
        for key in (key for key in table if key not in keys):
            self._fault(f"{where}.{key}", f"is not known here; known are {', '.join(keys)}")

    def _overlaps(self, cards: Sequence[_Card]) -> None:
        for index, first in enumerate(cards):
            for second in cards[index + 1 :]:
                same = (first.provider, first.model) == (second.provider, second.model)
                if same and _overlap(first.term, second.term):
                    self._fault(second.where, f"is for the same model and days as {first.where}: end one with until")

    def _fault(self, where: str, what: str) -> None:
        self.faults.append(f"{where}: {what}")


def _is_int(value: object) -> TypeIs[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_table(value: object) -> TypeIs[dict[str, object]]:
    return isinstance(value, dict)  # TOML has no other keys than text


def _overlap(first: Days, second: Days) -> bool:
    begins_before = first.since is None or second.until is None or first.since < second.until
    ends_after = first.until is None or second.since is None or second.since < first.until
    return begins_before and ends_after


def _entries(cards: Sequence[_Card]) -> tuple[UserEntry, ...]:
    groups: dict[tuple[str, str], list[_Card]] = defaultdict(list)
    for card in cards:
        groups[card.provider, card.model].append(card)
    ordered = sorted(groups, key=lambda key: (key[0] == ANY_PROVIDER, "*" in key[1], -len(key[1])))
    return tuple(UserEntry(provider, _model(model, groups[provider, model])) for provider, model in ordered)


def _model(name: str, cards: Sequence[_Card]) -> Model:
    return Model(
        id=name,
        names=_clause(name),
        prices=tuple(DatedPrices(card.prices, card.term) for card in cards),
        variants=tuple(variant for card in cards for variant in card.variants),
        lapses=True,
        context_window=next((card.context_window for card in reversed(cards) if card.context_window), None),
    )


def _clause(name: str) -> Clause:
    if "*" not in name:
        return Equals(name)
    return Pattern(r"\A" + ".*".join(re.escape(piece) for piece in name.split("*")) + r"\Z")
