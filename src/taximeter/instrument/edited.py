"""The body of an answer over ``http.client``, as it would have come had nobody asked for its usage.

Whatever stands on ``http.client`` takes a body from the file ``HTTPResponse.fp``: by its methods or, as urllib3 does,
chunk by chunk itself. An edited body is put in the place of that file. It has the same chunks, with what is left of
their data, so all that is above it reads, counts, ends and fails as it does with any other answer.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from http.client import HTTPResponse
from typing import TYPE_CHECKING, Final

from taximeter.errors import WireError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from taximeter.wire.injection import UsageRemover

_LINE_BYTES: Final = 65_537
_PIECE_BYTES: Final = 65_536


class Edit:
    """What becomes of the bytes of a body.

    Args:
        feed: is told them as they come off the wire.
        remover: makes of them what is handed on.
        spoilt: the exception to raise when they are not of the encoding that they claim to be.
        short: is told how many bytes came and how many were announced beside them, when a body with a length ends
            before its end; may raise.
    """

    __slots__ = ("_remover", "_spoilt", "feed", "short")

    def __init__(
        self,
        feed: Callable[[bytes], None],
        remover: UsageRemover,
        spoilt: Callable[[WireError], Exception],
        short: Callable[[int, int], None],
    ) -> None:
        self.feed = feed
        self.short = short
        self._remover = remover
        self._spoilt = spoilt

    def __call__(self, data: bytes) -> bytes:
        """What is to be handed on now."""
        try:
            return self._remover.feed(data)
        except WireError as error:
            raise self._spoilt(error) from error

    def last(self, data: bytes) -> bytes:
        """What is to be handed on of bytes that nothing follows, though more was announced."""
        try:
            return self._remover.feed(data) + self._remover.close()
        except WireError:
            return b""  # that they broke off is what the reader is about to be told

    def rest(self) -> bytes:
        """What was held back of an event that may have become whole, once no more bytes come."""
        try:
            return self._remover.close()
        except WireError:
            return b""  # whoever reads has been told


def put_under(response: HTTPResponse, edit: Edit) -> None:
    """Has a response that nobody has read from take its body edited. How long that is, it does not know any more."""
    source: io.BufferedReader = response.fp
    pieces = _chunks(source, edit) if response.chunked else _bytes(source, response.length, edit)
    response.fp = io.BufferedReader(_Edited(source, pieces))
    response.length = None


class _Edited(io.RawIOBase):
    """A file with an edited body in it."""

    def __init__(self, source: io.BufferedReader, pieces: Iterator[bytes]) -> None:
        super().__init__()
        self._source = source
        self._pieces = pieces
        self._left: bytes | memoryview = b""

    def readable(self) -> bool:
        """It is."""
        return True

    def fileno(self) -> int:
        """Of the connection."""
        return self._source.fileno()

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Waits for the next piece only when all of the last one was taken."""
        piece = self._left
        while not piece:
            found = next(self._pieces, None)
            if found is None:
                return 0
            piece = found
        into = memoryview(buffer)
        count = len(piece)
        if count <= len(into):
            self._left = b""
            into[:count] = piece
            return count
        count = len(into)
        into[:] = piece[:count]
        self._left = memoryview(piece)[count:]
        return count

    def close(self) -> None:
        """Nobody reads any further."""
        try:
            self._source.close()
        finally:
            super().close()


def _bytes(source: io.BufferedReader, length: int | None, edit: Edit) -> Iterator[bytes]:
    """A body that ends where its length says, or with the connection."""
    came = 0
    try:
        while length is None or came < length:
            data = source.read1(_PIECE_BYTES if length is None else min(length - came, _PIECE_BYTES))
            if not data:
                break
            came += len(data)
            edit.feed(data)
            yield edit(data)
    except OSError:
        yield edit.rest()
        raise
    yield edit.rest()
    if length is not None and came < length:
        edit.short(came, length - came)


def _chunks(source: io.BufferedReader, edit: Edit) -> Iterator[bytes]:
    """A chunked body, chunk by chunk, with the lines around them; what is no chunk any more is handed on as it is."""
    readline, feed = source.readline, edit.feed
    try:
        line = readline(_LINE_BYTES)
        while (left := _size(line)) > 0:
            while left > 0:
                wanted = min(left, _PIECE_BYTES)
                data = _take(source, wanted, feed)
                if len(data) < wanted:  # for the reader to notice, as it does: the chunk is not whole
                    yield _framed(edit.rest())
                    last = edit.last(data)
                    yield b"%x\r\n%b" % (left - len(data) + len(last), last)
                    return
                left -= wanted
                end = b"\r\n" if left else source.read(2)
                yield _framed(edit(data), end)
            line = readline(_LINE_BYTES)
    except OSError:
        yield _framed(edit.rest())
        raise
    yield _framed(edit.rest())
    while line:
        yield line
        line = readline(_LINE_BYTES)


def _take(source: io.BufferedReader, wanted: int, feed: Callable[[bytes], None]) -> bytes:
    """So many bytes, or fewer at the end of the connection; what came before an error was fed."""
    data = source.read1(wanted)
    feed(data)
    came = len(data)
    if came == wanted:
        return data
    pieces: list[bytes] = []
    while data:
        pieces.append(data)
        data = source.read1(wanted - came)  # nothing when nothing is wanted any more
        feed(data)
        came += len(data)
    return b"".join(pieces)


def _framed(data: bytes, end: bytes = b"\r\n") -> bytes:
    """A chunk; nothing when there is nothing in it, as an empty chunk is the last one."""
    return b"%x\r\n%b%b" % (len(data), data, end) if data else b""


def _size(line: bytes) -> int:
    """Of the chunk that a line announces; 0 when it announces none."""
    try:
        return int(line.partition(b";")[0], 16)
    except ValueError:
        return 0
