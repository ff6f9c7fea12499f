"""An event as bytes, and back: what the journal writes, and whatever else hands events from one process to another.

The first byte says how the rest is written. Fields go by their names, so that a reader passes over those that it does
not know, and gives those that are absent their defaults: an older and a newer version read each other's events.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final, cast

import msgspec

from taximeter.errors import JournalError, TaximeterError
from taximeter.event import CallEvent
from taximeter.usage import Count, Usage

_MSGPACK: Final = b"\x01"
_JSON: Final = b"\x02"  # for integers beyond 64 bits, which MessagePack has not: amounts above nine million dollars

# What msgspec raises for bytes that are not what they should be, and our own types for what they cannot hold.
_UNREADABLE: Final = (
    msgspec.MsgspecError,
    TaximeterError,
    ArithmeticError,
    RecursionError,
    TypeError,
    UnicodeDecodeError,
)


def _lower(value: object) -> Mapping[str, Count]:
    if isinstance(value, Usage):
        return dict(value.counts)
    msg = f"events hold no {type(value).__name__}"
    raise NotImplementedError(msg)


def _lift(kind: type, value: object) -> object:
    if kind is not Usage or not isinstance(value, dict):
        msg = f"no {kind.__name__} is written as {type(value).__name__}"
        raise TypeError(msg)
    counts = cast("dict[str, int | str]", value)
    return Usage(**{unit: Decimal(count) if isinstance(count, str) else count for unit, count in counts.items()})


_to_msgpack = msgspec.msgpack.Encoder(enc_hook=_lower).encode
_to_json = msgspec.json.Encoder(enc_hook=_lower).encode


class Unpacker(msgspec.Struct):
    """Reads one type of record from what :func:`pack` made of it."""

    msgpack: msgspec.msgpack.Decoder[object]
    json: msgspec.json.Decoder[object]


def unpacker(kind: type[object]) -> Unpacker:
    """The reader for one type of record; made once, used often."""
    return Unpacker(msgspec.msgpack.Decoder(kind, dec_hook=_lift), msgspec.json.Decoder(kind, dec_hook=_lift))


def pack(record: msgspec.Struct) -> bytes:
    """A record as bytes.

    Half a surrogate pair is no text and cannot be written; a replacement character takes its place.
    """
    try:
        return _MSGPACK + _to_msgpack(record)
    except OverflowError:
        return _JSON + _mended(record)
    except UnicodeEncodeError:
        return _JSON + _mended(record)


def in_usual_form(data: bytes) -> bool:
    """Whether :func:`pack` wrote a record, of which this is the beginning, just as it was given: nothing was mended."""
    return data[:1] == _MSGPACK


def unpack(data: bytes, reader: Unpacker) -> object:
    """The record that :func:`pack` made these bytes of.

    Raises:
        JournalError: when they are not such a record, or one that only a newer version understands.
    """
    form, body = data[:1], data[1:]
    try:
        if form == _MSGPACK:
            return reader.msgpack.decode(body)
        if form == _JSON:
            return reader.json.decode(body)
    except _UNREADABLE as error:
        msg = f"a record of {len(data)} bytes cannot be read: {error}"
        raise JournalError(msg) from error
    msg = f"a record in form {form.hex() or 'nothing'}, which this version does not know"
    raise JournalError(msg)


_events = unpacker(CallEvent)


def pack_event(event: CallEvent) -> bytes:
    """An event as bytes that :func:`unpack_event` makes an equal event of, whatever its fields hold.

    Times keep their moment, to the microsecond, and come back in UTC. Text is as :func:`pack` says.
    """
    return pack(event)


def unpack_event(data: bytes) -> CallEvent:
    """The event that :func:`pack_event` made these bytes of.

    Raises:
        JournalError: as :func:`unpack`.
    """
    return cast("CallEvent", unpack(data, _events))


def _mended(record: msgspec.Struct) -> bytes:
    try:
        return _to_json(record)
    except UnicodeEncodeError:
        return _to_json(_whole(msgspec.to_builtins(record, enc_hook=_lower, builtin_types=(Decimal,))))


def _whole(value: object) -> object:
    """The same with every text such that UTF-8 can hold it."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_whole(key): _whole(item) for key, item in cast("dict[object, object]", value).items()}
    if isinstance(value, list | tuple):
        return [_whole(item) for item in cast("list[object]", value)]
    return value
