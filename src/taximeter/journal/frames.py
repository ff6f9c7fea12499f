"""Records in a file that may end anywhere and be damaged anywhere: how they are framed, and how they are found again.

A frame is ``marker | length | CRC-32 | kind and payload``. The marker starts with a byte that no UTF-8 text contains,
so nothing that a provider or a user wrote can pass for the start of a frame. After damage the next frame is found by
its marker and believed for its checksum.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

MARKER: Final = b"\xffTX1"
"""Starts every frame; its last character is the version of the framing."""

MAX_BYTES: Final = 16 * 2**20
"""The longest record. A length beyond it is damage."""

_HEAD: Final = struct.Struct(">4sII")
_BLOCK: Final = 2**18

PAYLOAD_AT: Final = _HEAD.size + 1
"""Where in a frame the payload begins, behind the head and the kind."""

HEADER: Final = b"H"
OPENED: Final = b"O"
CLOSED: Final = b"C"
DROPPED: Final = b"D"


class Record(NamedTuple):
    """A record that was found whole.

    Attributes:
        kind: one byte that says what it is; a kind that is not known is to be passed over.
        payload: its contents.
        end: the offset in the file at which its frame ends.
    """

    kind: bytes
    payload: bytes
    end: int


class Damage(NamedTuple):
    """Bytes in which no record could be found, from ``start`` to ``end`` (offsets in the file)."""

    start: int
    end: int


def frame(kind: bytes, payload: bytes) -> bytes:
    """A record as it stands in the file."""
    body = kind + payload
    return _HEAD.pack(MARKER, len(body), zlib.crc32(body)) + body


def scan(descriptor: int, start: int, stop: int) -> Iterator[Record | Damage]:
    """The records of a file between two offsets, in order, and the damage between them. Reads a block at a time.

    Raises:
        OSError: when the file cannot be read.
    """
    window = _Window(descriptor, start, stop)
    damaged_from: int | None = None
    while window.at < stop:
        record = _record(window)
        if record is None:
            damaged_from = window.at if damaged_from is None else damaged_from
            window.skip_to_marker()
            continue
        if damaged_from is not None:
            yield Damage(damaged_from, window.at)
            damaged_from = None
        yield record
        window.at = record.end
    if damaged_from is not None:
        yield Damage(damaged_from, stop)


def _record(window: _Window) -> Record | None:
    head = window.take(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    marker, length, checksum = _HEAD.unpack(head)
    end = window.at + _HEAD.size + length
    if marker != MARKER or not 0 < length <= MAX_BYTES or end > window.stop:
        return None
    body = window.take(_HEAD.size + length)[_HEAD.size :]
    if len(body) < length or zlib.crc32(body) != checksum:
        return None
    return Record(body[:1], body[1:], end)


class _Window:
    """A block of the file, moved forward as it is read.

    Attributes:
        at: the offset that is looked at.
        stop: the offset that ends it all.
    """

    def __init__(self, descriptor: int, at: int, stop: int) -> None:
        self.at, self.stop = at, stop
        self._descriptor = descriptor
        self._block, self._base = b"", at

    def take(self, size: int) -> bytes:
        """``size`` bytes from ``at`` on, fewer where the file ends."""
        size = min(size, self.stop - self.at)
        if self.at + size > self._base + len(self._block):
            self._block, self._base = self._read(max(size, min(_BLOCK, self.stop - self.at))), self.at
        offset = self.at - self._base
        return self._block[offset : offset + size]

    def skip_to_marker(self) -> None:
        """Moves ``at`` forward to the next place at which a frame could start, or to the end."""
        self.at += 1
        while self.at < self.stop:
            ahead = self.take(_BLOCK)
            found = ahead.find(MARKER)
            if found >= 0:
                self.at += found
                return
            # A marker may lie across the border of two blocks.
            self.at += max(1, len(ahead) - len(MARKER) + 1)
        self.at = self.stop

    def _read(self, size: int) -> bytes:
        pieces: list[bytes] = []
        at = self.at
        while size > 0:
            piece = os.pread(self._descriptor, size, at)
            if not piece:
                break
            pieces.append(piece)
            size -= len(piece)
            at += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
