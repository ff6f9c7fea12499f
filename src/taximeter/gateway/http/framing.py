"""Where the body of an answer ends: after so many bytes, after the last chunk, or with the connection.

A framing takes what has come and says what of it is payload. Nothing is copied that lies in one chunk or has no chunks.
"""

from __future__ import annotations

import re
from typing import Final

from taximeter.gateway.http.heads import BadMessage
from taximeter.gateway.http.replies import AnswerHead

_MAX_SIZE_LINE: Final = 256
"""A chunk's size with its extensions: nobody has a use for more."""
_MAX_TRAILER_BYTES: Final = 16 * 1024
_SIZE_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n\x00]*)?")
_MOST_SIZES: Final = 4096
_SIZES: dict[bytes, int] = {}
"""Size lines that were read before: a stream's chunks are mostly of the same few sizes."""


class Framing:
    """The body of one answer.

    Attributes:
        done: whether its end has come.
        excess: how many bytes came after the end.
        aligned: whether what was taken so far ends where a chunk does, so that bytes of our own may follow.
        tail: the last chunk with its trailers, once they have come; empty where there are no chunks.
    """

    __slots__ = ("aligned", "done", "excess", "tail")

    def __init__(self) -> None:
        self.done = False
        self.excess = 0
        self.aligned = True
        self.tail = b""

    def take(self, data: bytes) -> bytes:
        """The payload of the next bytes.

        Raises:
            BadMessage: when they are not what was announced.
        """
        raise NotImplementedError

    def ended(self) -> bool:
        """The connection is at its end; whether the body is too."""
        return self.done


class Nothing(Framing):
    """No body."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__()
        self.done = True

    def take(self, data: bytes) -> bytes:
        """Nothing of it is payload."""
        self.excess = len(data)
        return b""


class Counted(Framing):
    """A body of so many bytes."""

    __slots__ = ("_left",)

    def __init__(self, length: int) -> None:
        super().__init__()
        self._left = length
        self.done = not length

    def take(self, data: bytes) -> bytes:
        """All of it, up to the length."""
        left = self._left = self._left - len(data)
        if left > 0:
            return data
        self.done = True
        if left == 0:
            return data
        self.excess = -left
        self._left = 0
        return data[:left]


class UntilClose(Framing):
    """A body that ends with its connection."""

    __slots__ = ()

    def take(self, data: bytes) -> bytes:
        """All of it."""
        return data

    def ended(self) -> bool:
        """It cannot be told apart from a connection that broke."""
        self.done = True
        return True


class Chunked(Framing):
    """A body in chunks."""

    __slots__ = ("_ending", "_held", "_left", "_trailing")

    def __init__(self) -> None:
        super().__init__()
        self._left = 0  # of the chunk that is open, with the line end after it
        self._held = b""  # a size line or trailers of which the end has not come
        self._trailing = False
        self._ending = 0

    def take(self, data: bytes) -> bytes:  # noqa: C901 - in pieces, each chunk would cost calls
        """What lies in the chunks, without their frames."""
        if self._trailing:
            self._trailers(data)
            return b""
        payload: list[bytes] = []
        at = 0
        if self._left:
            at = self._go_on(data, payload)
        elif self._held:
            data = self._held + data
            self._held = b""
        length = len(data)
        while at < length:
            line_end = data.find(b"\r\n", at, at + _MAX_SIZE_LINE)
            if line_end < 0:
                self._hold(data[at:])
                break
            line = data[at:line_end]
            size = _SIZES.get(line)
            if size is None:
                size = _size_of(line)
            if size == 0:
                self._trailing = True
                self._trailers(data[at:])
                break
            start = line_end + 2
            at = start + size + 2
            if at > length:
                self._left = at - length
                payload.append(data[start : start + size])
                if self._left < 2 and data[-1] != 0x0D:
                    raise BadMessage("a chunk does not end where it should")
                break
            if data[at - 2 : at] != b"\r\n":
                raise BadMessage("a chunk does not end where it should")
            payload.append(data[start : at - 2])
        self.aligned = not self._left and not self._held and (self.done or not self._trailing)
        return payload[0] if len(payload) == 1 else b"".join(payload)

    def _go_on(self, data: bytes, payload: list[bytes]) -> int:
        """Goes on with the chunk that is open; where the next one begins."""
        left = self._left
        length = len(data)
        ending = b"\r\n"[2 - left :] if left < 2 else b"\r\n"
        inside = left - len(ending)
        payload.append(data[:inside])
        if not ending.startswith(data[inside:left]):
            raise BadMessage("a chunk does not end where it should")
        self._left = max(0, left - length)
        return left

    def _hold(self, start: bytes) -> None:
        """Keeps the start of a size line."""
        if len(start) >= _MAX_SIZE_LINE:
            raise BadMessage("a chunk's size line is too long")
        if not _SIZE_LINE.fullmatch(start.removesuffix(b"\r")):
            raise BadMessage("a chunk's size is malformed")
        self._held = start

    def _trailers(self, data: bytes) -> None:
        """Looks for the blank line; ``data`` begins with the last chunk's size the first time."""
        self._held += data
        end = self._held.find(b"\r\n\r\n")
        if end < 0:
            if len(self._held) > _MAX_TRAILER_BYTES:
                raise BadMessage("the trailers are too large")
            self.aligned = False
            return
        self.tail = self._held[: end + 4]
        if self.tail.count(b"\n") != self.tail.count(b"\r\n"):
            raise BadMessage("a trailer is malformed")
        self.excess = len(self._held) - end - 4
        self._held = b""
        self.done = self.aligned = True


def _size_of(line: bytes) -> int:
    found = _SIZE_LINE.fullmatch(line)
    if found is None:
        raise BadMessage("a chunk's size is malformed")
    size = int(found[1], 16)
    if len(_SIZES) < _MOST_SIZES and len(line) < 16:
        _SIZES[line] = size
    return size


def framing_of(head: AnswerHead, *, body: bool) -> Framing:
    """How the body of an answer ends.

    Args:
        head: of the answer.
        body: whether it has a body at all.
    """
    if not body:
        return Nothing()
    if head.chunked:
        return Chunked()
    return UntilClose() if head.length is None else Counted(head.length)
