"""Amazon's binary event stream (``application/vnd.amazon.eventstream``), its checksums verified.

A message is: total length, headers' length, CRC-32 of those two; headers; payload; CRC-32 of all before it.
https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html describes the same framing.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

from taximeter.errors import WireError
from taximeter.wire.framing import Framing, OnEvent, OnFault, raise_it
from taximeter.wire.idle import IdlePattern

MAX_MESSAGE_BYTES: Final = 24 * 1024 * 1024
"""The largest message that is held; AWS documents 16 MB of payload."""

_PRELUDE = struct.Struct(">III")
_CRC = struct.Struct(">I")
_SMALLEST = 16
_FIRST, _LAST = slice(4), slice(-4, None)  # 32 bits: the total length, and the checksum
_BEFORE_LAST, _AFTER_PRELUDE = slice(-4), slice(12, -4)
_FIXED_SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
_SIZED_TYPES = (6, 7)
_STRING_TYPE = 7
_MAX_KNOWN = 64


class EventStreamFraming(Framing):
    """Cuts a byte stream into messages.

    Args:
        on_event: called with the message's name, its payload, and its headers and payload together. The name is the
            event type, or ``exception:`` or ``error:`` and the type of the failure.
        idle: messages that it matches are not delivered.
        on_fault: told of a checksum that does not match or lengths that cannot be.
    """

    def __init__(self, on_event: OnEvent, idle: IdlePattern, on_fault: OnFault = raise_it) -> None:
        super().__init__(on_event, idle, on_fault)
        self._names: dict[bytes, bytes] = {}
        self._offset = 0

    def feed(self, chunk: bytes) -> None:
        size = len(chunk)
        if (
            not self._held
            and size >= _SMALLEST
            # one message, whole: its own checksum covers its prelude's
            and chunk[_FIRST] == _CRC.pack(size)
            and chunk[_LAST] == _CRC.pack(zlib.crc32(chunk[_BEFORE_LAST]))
            and self._idle.matches(chunk[_AFTER_PRELUDE])
        ):
            self._offset += size
        else:
            self.take(chunk)

    def cut(self, chunk: bytes) -> None:
        if self._held:
            checked = len(self._held) >= _PRELUDE.size  # its length can be believed
            self._held += chunk
            if checked and len(self._held) < int.from_bytes(self._held[:4], "big"):
                return
            chunk = bytes(self._held)
            self._held.clear()
        start = 0
        while len(chunk) - start >= _PRELUDE.size:
            total, headers, prelude_crc = _PRELUDE.unpack_from(chunk, start)
            if zlib.crc32(chunk[start : start + 8]) != prelude_crc:
                self._fail("the checksum of a message's prelude does not match", start)
            if not 16 + headers <= total <= MAX_MESSAGE_BYTES:
                self._fail(f"a message of {total} bytes with {headers} bytes of headers", start)
            end = start + total
            if len(chunk) < end:
                break
            if zlib.crc32(chunk[start : end - 4]) != _CRC.unpack_from(chunk, end - 4)[0]:
                self._fail("the checksum of a message does not match", start)
            raw = chunk[start + 12 : end - 4]
            if not self._idle.matches(raw):
                self._on_event(self._name(raw[:headers]), raw[headers:], raw)
            start = end
        self._held += chunk[start:]
        self._offset += start

    def close(self) -> bool:
        """Whether the stream ended between two messages."""
        return not self._held

    def _fail(self, what: str, start: int) -> None:
        offset = self._offset + start
        msg = f"event stream: {what}, at byte {offset}"
        raise WireError(msg, offset=offset)

    def _name(self, block: bytes) -> bytes:
        name = self._names.get(block)
        if name is None:
            headers = dict(_headers(block))
            kind = headers.get(b":message-type", b"event")
            if kind == b"event":
                name = headers.get(b":event-type", b"")
            else:
                name = kind + b":" + headers.get(b":exception-type", headers.get(b":error-code", b""))
            if len(self._names) < _MAX_KNOWN:
                self._names[block] = name
        return name


def _headers(block: bytes) -> list[tuple[bytes, bytes]]:
    """Header names with their values; only the text values matter here."""
    found: list[tuple[bytes, bytes]] = []
    at = 0
    try:
        while at < len(block):
            length = block[at]
            name = block[at + 1 : at + 1 + length]
            at += 1 + length
            kind = block[at]
            at += 1
            if kind in _SIZED_TYPES:
                size = int.from_bytes(block[at : at + 2], "big")
                at += 2
            else:
                size = _FIXED_SIZES[kind]
            if kind == _STRING_TYPE:
                found.append((name, block[at : at + size]))
            at += size
    except (IndexError, KeyError) as error:
        msg = "event stream: the headers of a message cannot be read"
        raise WireError(msg) from error
    return found


def encode_message(headers: dict[str, str], payload: bytes) -> bytes:
    """One message, as AWS would send it: for tests, the simulator and the demonstration."""
    block = b"".join(
        bytes([len(name)]) + name.encode() + bytes([_STRING_TYPE]) + len(value).to_bytes(2, "big") + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack(">II", 16 + len(block) + len(payload), len(block))
    message = prelude + _CRC.pack(zlib.crc32(prelude)) + block + payload
    return message + _CRC.pack(zlib.crc32(message))
