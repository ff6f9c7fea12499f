"""JSON as it really comes: parsed without floats, looked into without trust.

Nothing that a peer sends may raise anything but :class:`~taximeter.errors.WireError` here, or surprise by its type.
"""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, cast

import msgspec

from taximeter.errors import WireError
from taximeter.money import PICO_PER_USD, Money, nearest_usd

JsonObject = dict[str, Any]
"""A JSON object from the wire: the values may be anything."""

MAX_COUNT = 10**15
"""A count above this is no count: no provider bills a quadrillion tokens, and sums must stay in 64 bits."""

_MAX_COST_PICO = 10**9 * PICO_PER_USD  # no call costs a billion dollars
_YEAR_2001 = 978_307_200
_YEAR_2100 = 4_102_444_800
_LONGEST_TIME = 40

UNDECODED: Final = (msgspec.DecodeError, RecursionError, ValueError, ArithmeticError)
"""What a decoder raises for bytes that it cannot make into what it was asked for."""

_decoder = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")


def parse(data: bytes | bytearray) -> Any:  # noqa: ANN401 - the wire's edge: the value may be anything
    """The value of a JSON text; numbers with a fraction become Decimal.

    Raises:
        WireError: when it is not JSON.
    """
    try:
        return _decoder.decode(data)
    except UNDECODED:
        return _parse_tolerantly(bytes(data))


def _parse_tolerantly(data: bytes) -> object:
    # Lone surrogates (an emoji split over two chunks), bytes that are no UTF-8, NaN: refused above, seen on the wire.
    try:
        text = data.decode("utf-8", "replace")
        return json.loads(text, parse_float=Decimal, parse_int=_bounded_int, parse_constant=_no_constant)
    except (ValueError, RecursionError, ArithmeticError) as error:
        msg = f"not JSON: {error}"
        raise WireError(msg) from None


def _bounded_int(digits: str) -> int | None:
    """A number of thousands of digits is no count, and Python refuses to read it: absent."""
    return int(digits) if len(digits) < _LONGEST_TIME else None


def _no_constant(name: str) -> None:
    """NaN and the infinities are read as absent."""


def dump(value: object) -> str:
    """JSON text of a value that :func:`parse` gave, its decimals as it had them."""
    try:
        return _encoder.encode(value).decode()
    except UnicodeEncodeError:  # half an emoji
        return _encoder.encode(_encodable(value)).decode()


def _encodable(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {str(_encodable(key)): _encodable(item) for key, item in cast("JsonObject", value).items()}
    if isinstance(value, list):
        return [_encodable(item) for item in cast("list[object]", value)]
    return value


def obj(value: object) -> JsonObject:
    """The value if it is an object, else an empty one."""
    found: Any = value
    return found if isinstance(value, dict) else {}


def maybe_obj(value: object) -> JsonObject | None:
    """The value if it is an object."""
    found: Any = value
    return found if isinstance(value, dict) else None


def arr(value: object) -> list[Any]:
    """The value if it is an array, else an empty one."""
    found: Any = value
    return found if isinstance(value, list) else []


def text(value: object) -> str | None:
    """The value if it is text that is not empty; half an emoji in it is shown as a question mark."""
    if not value or not isinstance(value, str):
        return None
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def word(value: object) -> str | None:
    """The value as a word: text, or a number (an enum or a code) written out."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < MAX_COUNT:
        return str(value)
    return text(value)


def count(value: object) -> int | None:
    """The value if it is a count: a whole number that is not negative. ``12.0`` is 12."""
    if type(value) is int:  # not True, which is an int too
        return value if 0 <= value <= MAX_COUNT else None
    if value is None:
        return None
    if isinstance(value, Decimal) and 0 <= value <= MAX_COUNT and value == (whole := int(value)):
        return whole
    return None


def first_count(body: JsonObject, *keys: str) -> int | None:
    """The count under the first of the keys that holds one."""
    for key in keys:
        if key in body and (found := count(body[key])) is not None:
            return found
    return None


def seconds(value: object) -> int | Decimal | None:
    """The value if it is a duration in seconds, exactly as written."""
    if (
        isinstance(value, Decimal)
        and value.is_finite()
        and 0 <= value <= MAX_COUNT
        and len(value.as_tuple().digits) <= 30
    ):
        return value
    return count(value)


def moment(value: object) -> int | None:
    """The value as seconds since 1970: a number of seconds or milliseconds, or an ISO 8601 text with its zone."""
    if value is None:
        return None
    number = count(value)
    if number is not None:
        number = number // 1000 if number >= _YEAR_2100 else number
        return number if _YEAR_2001 <= number < _YEAR_2100 else None
    if not isinstance(value, str) or len(value) > _LONGEST_TIME:
        return None
    try:
        time = datetime.fromisoformat(value)
        return int(time.timestamp()) if time.tzinfo is not None and time.year > 2000 else None
    except (ValueError, OverflowError):
        return None


def usd(value: object) -> Money | None:
    """The value if it is an amount of US dollars: a number or a text, rounded half-even to 1e-12."""
    if isinstance(value, bool) or not isinstance(value, (int, Decimal, str)):
        return None
    amount = nearest_usd(str(value))
    return amount if amount is not None and abs(amount.pico) < _MAX_COST_PICO else None


def utf8_len(value: str) -> int:
    """How many bytes of UTF-8 a text takes, lone surrogates included."""
    return len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))
