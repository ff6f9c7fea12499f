"""Lists of models, with what each takes and costs put in: members of ours, and not another byte."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Final, NamedTuple

import msgspec

from taximeter.errors import PricingError
from taximeter.meter.making import Prices
from taximeter.money import Money
from taximeter.pricing import PriceBook
from taximeter.pricing.card import RateCard

_OK: Final = 200
_MOST: Final = 10_000
_MILLION: Final = 1_000_000
_LISTS: Final = ("data", "models")
"""Where APIs have their models: OpenAI's and Anthropic's, and Gemini's."""


class _Listed(msgspec.Struct):
    data: msgspec.Raw = msgspec.Raw()
    models: msgspec.Raw = msgspec.Raw()


class _Entry(msgspec.Struct):
    id: str | None = None
    name: str | None = None
    context_window: msgspec.Raw = msgspec.Raw()
    taximeter: msgspec.Raw = msgspec.Raw()


class _Known(NamedTuple):
    """What is put into the entry of a model, as JSON members."""

    window: bytes
    rates: bytes


_decode_listed: Final = msgspec.json.Decoder(_Listed).decode
_decode_entries: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_entry: Final = msgspec.json.Decoder(_Entry).decode
_UNDECODED: Final = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)


def is_list_of_models(path: bytes) -> bool:
    """Whether a path is that of the models that there are."""
    return path.endswith((b"/models", b"/models/"))


class ModelLists:
    """Puts ``context_window`` and ``taximeter.usd_per_million`` into the entries of a list of models.

    The rates are those in force today, without surcharges for long inputs. What is not known is left out.

    Args:
        book: gives the price book.
        today: gives the day.
    """

    def __init__(
        self, book: Callable[[], Prices], today: Callable[[], date] = lambda: datetime.now(UTC).date()
    ) -> None:
        self._book = book
        self._today = today
        self._day: date | None = None
        self._known: dict[tuple[str, str], _Known] = {}

    def editor(self, provider: str) -> Callable[[int, bytes], bytes | None]:
        """What edits the answer of a provider: given its status and its body, the body to send; ``None``: as it is."""
        return lambda status, body: self.edited(provider, body) if status == _OK else None

    def edited(self, provider: str, body: bytes) -> bytes | None:
        """A list of models with what is known of them; ``None`` where it is none, or nothing is known.

        Args:
            provider: whose it is.
            body: the whole of it.
        """
        changed = body
        for name in _LISTS:
            try:
                changed = self._with_known(provider, name, changed)
            except _UNDECODED:
                return None
        return None if changed is body else changed

    def _with_known(self, provider: str, name: str, body: bytes) -> bytes:
        array = bytes(getattr(_decode_listed(body), name))
        if not array.startswith(b"["):
            return body
        out: list[bytes] = []
        start = 0
        for raw in map(bytes, _decode_entries(array)):
            at = array.index(raw, start)  # between two entries stand a comma and blanks
            members = self._members(provider, raw) if raw.startswith(b"{") else b""
            end = at + len(raw)
            if members:
                inside = raw[:-1].rstrip()
                out += (array[start:at], inside, b"" if inside == b"{" else b",", members, b"}")
            else:
                out.append(array[start:end])
            start = end
        made = b"".join((*out, array[start:]))
        return body if made == array else _put(body, name, array, made)

    def _members(self, provider: str, raw: bytes) -> bytes:
        entry = _decode_entry(raw)
        name = entry.id or (entry.name or "").removeprefix("models/")
        known = self._of(provider, name) if name else _Known(b"", b"")
        window = b"" if entry.context_window else known.window
        rates = b"" if entry.taximeter else known.rates
        return b",".join(filter(None, (window, rates)))

    def _of(self, provider: str, model: str) -> _Known:
        today = self._today()
        if today != self._day or len(self._known) >= _MOST:
            self._day = today
            self._known.clear()
        known = self._known.get((provider, model))
        if known is None:
            known = self._known[provider, model] = _known(self._book(), provider, model)
        return known


def _known(book: Prices, provider: str, model: str) -> _Known:
    if not isinstance(book, PriceBook):
        return _Known(b"", b"")
    try:
        window = book.context_window(provider, model)
        card = book.card(provider, model, datetime.now(UTC))
    except PricingError:
        return _Known(b"", b"")
    rates = {} if card is None else _rates(card)
    return _Known(
        b"" if window is None else b'"context_window":%d' % window,
        b'"taximeter":' + msgspec.json.encode({"usd_per_million": rates}) if rates else b"",
    )


def _rates(card: RateCard) -> dict[str, str]:
    """What a million of each token costs, as decimals; a rate that is none is left out."""
    found: dict[str, str] = {}
    for unit, rate in card.rates.items():
        pico = rate.base.pico_per_unit * _MILLION
        if unit.endswith("_tokens") and pico.denominator == 1:
            found[unit] = str(Money(pico.numerator))
    return found


def _put(body: bytes, name: str, array: bytes, made: bytes) -> bytes:
    """The body with another array as its member; the same words may stand deeper inside too."""
    for member in re.finditer(rb'"%b"\s*:\s*' % name.encode(), body):
        if body.startswith(array, member.end()):
            changed = body[: member.end()] + made + body[member.end() + len(array) :]
            if bytes(getattr(_decode_listed(changed), name)) == made:
                return changed
    return body
