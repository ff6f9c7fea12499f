"""A reply, with the faults done to it that the caller asked for: what is to be sent, and how it is to end."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from typing import Final, Literal, Protocol, cast

import msgspec

from taximeter.simulator.books import Outcome
from taximeter.simulator.knobs import FOREVER, Encoding, Knobs
from taximeter.simulator.reply import Reply

_PIECE_BYTES: Final = 64
"""What counts as a chunk of a body that is no stream."""


class Play(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the server does for one call.

    Attributes:
        headers: with the content type.
        chunks: the body, as it goes out.
        length: the content-length to announce; ``None`` sends the body chunked.
        honest: whether ``length`` is what it says.
        ending: ``end``: as HTTP ends a body; ``cut``: the connection is closed; ``hang``: nothing more ever comes.
        outcome: what it is, when all of this has been sent.
        usage: what the chunks state once that at ``usage_at`` has been sent.
        planned: what the reply would have stated without faults.
        slow_ms: to wait before the head.
        pace_ms: to wait before each chunk after the first.
        bytewise: whether each byte is written by itself.
        no_head: whether the connection is closed in place of an answer.
    """

    status: int
    headers: list[tuple[str, str]]
    chunks: list[bytes]
    length: int | None = None
    honest: bool = True
    ending: Literal["end", "cut", "hang"] = "end"
    outcome: Outcome = "completed"
    usage: dict[str, int] | None = None
    planned: dict[str, int] | None = None
    usage_at: int = 0
    response_id: str | None = None
    model: str | None = None
    tool_calls: int = 0
    slow_ms: int = 0
    pace_ms: int = 0
    bytewise: bool = False
    no_head: bool = False


def play(reply: Reply, knobs: Knobs, key: bytes) -> Play:
    """Does to a reply what the knobs say.

    Args:
        reply: what would be answered.
        knobs: what the caller turned.
        key: what garbage is made from.
    """
    if not reply.stream and knobs.counts_chunks:
        body = b"".join(reply.chunks)
        pieces = [body[at : at + _PIECE_BYTES] for at in range(0, len(body), _PIECE_BYTES)]
        reply = msgspec.structs.replace(reply, chunks=pieces, usage_at=len(pieces) - 1)
    chunks, usage, outcome = _spoilt(reply, knobs, key)
    if knobs.encoding is not None:
        chunks = list(_encoded(chunks, knobs.encoding))
    length = None if reply.stream else sum(map(len, chunks))
    ending: Literal["end", "cut", "hang"] = "end"
    hang = 1 if knobs.stall == FOREVER else knobs.hang
    if hang is not None and hang < len(chunks):
        chunks, ending, outcome = chunks[:hang], "hang", "left"
    if knobs.drop is not None and knobs.drop < len(chunks):
        chunks, ending, outcome = chunks[: knobs.drop], "cut", "cut"
    if knobs.wrong_length is not None:
        length = max(sum(map(len, chunks)) + knobs.wrong_length, 0)
        ending, outcome = ("hang", "left") if ending == "hang" else ("cut", "cut")
    headers = [("content-type", reply.kind), *reply.headers]
    headers += [("content-encoding", knobs.encoding)] if knobs.encoding else []
    return Play(
        status=reply.status,
        headers=headers,
        chunks=chunks,
        length=length,
        honest=knobs.wrong_length is None,
        ending=ending,
        outcome="cut" if knobs.no_head else outcome,
        usage=usage,
        planned=reply.usage,
        usage_at=reply.usage_at,
        response_id=reply.response_id,
        model=reply.model,
        tool_calls=reply.tool_calls,
        slow_ms=knobs.slow,
        pace_ms=max(knobs.stall, 0),
        bytewise=knobs.bytewise,
        no_head=knobs.no_head,
    )


def _spoilt(reply: Reply, knobs: Knobs, key: bytes) -> tuple[list[bytes], dict[str, int] | None, Outcome]:
    """The chunks up to where an error or garbage takes their place, and whether the usage still comes."""
    for kept, instead, outcome in _spoilers(reply, knobs, key):
        usage = reply.usage if reply.usage_at < kept else None
        return [*reply.chunks[:kept], instead], usage, outcome
    return reply.chunks, reply.usage, "failed" if reply.status >= 400 else "completed"  # noqa: PLR2004 - HTTP's own border


def _spoilers(reply: Reply, knobs: Knobs, key: bytes) -> Iterator[tuple[int, bytes, Outcome]]:
    if knobs.garbage is not None and knobs.garbage < len(reply.chunks):
        noise = b"".join(hashlib.sha512(key + bytes([index])).digest() for index in range(4))
        yield knobs.garbage, noise, "garbage"
    if knobs.error_event is not None and reply.stream and reply.broken and knobs.error_event < len(reply.chunks):
        yield knobs.error_event, reply.broken, "error_event"


class _Compressor(Protocol):
    def take(self, data: bytes) -> bytes:
        """The bytes for this much, flushed, so that they can be decoded at once."""
        ...

    def end(self) -> bytes:
        """What ends the body."""
        ...


class _Zlib:
    def __init__(self, window: int) -> None:
        self._zlib = zlib.compressobj(wbits=window)

    def take(self, data: bytes) -> bytes:
        return self._zlib.compress(data) + self._zlib.flush(zlib.Z_SYNC_FLUSH)

    def end(self) -> bytes:
        return self._zlib.flush()


class _BrotliStream(Protocol):
    """The part of ``brotli.Compressor`` that is used; the package has no types."""

    def process(self, data: bytes) -> bytes: ...
    def flush(self) -> bytes: ...
    def finish(self) -> bytes: ...


class _Brotli:
    def __init__(self) -> None:
        import brotli  # pyright: ignore[reportMissingTypeStubs]  # noqa: PLC0415 - loaded by the first that needs it

        compressor = brotli.Compressor(quality=4)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        self._brotli = cast("_BrotliStream", compressor)

    def take(self, data: bytes) -> bytes:
        return self._brotli.process(data) + self._brotli.flush()

    def end(self) -> bytes:
        return self._brotli.finish()


class _Zstd:
    def __init__(self) -> None:
        import zstandard  # noqa: PLC0415 - as above

        self._zstd = zstandard.ZstdCompressor().compressobj()
        self._flush_block = zstandard.COMPRESSOBJ_FLUSH_BLOCK

    def take(self, data: bytes) -> bytes:
        return self._zstd.compress(data) + self._zstd.flush(self._flush_block)

    def end(self) -> bytes:
        return self._zstd.flush()


_GZIP_WINDOW: Final = 31


def _encoded(chunks: list[bytes], encoding: Encoding) -> Iterator[bytes]:
    compressor: _Compressor
    match encoding:
        case "gzip":
            compressor = _Zlib(_GZIP_WINDOW)
        case "deflate":
            compressor = _Zlib(zlib.MAX_WBITS)
        case "br":
            compressor = _Brotli()
        case "zstd":
            compressor = _Zstd()
    for index, chunk in enumerate(chunks):
        ended = index == len(chunks) - 1
        yield compressor.take(chunk) + (compressor.end() if ended else b"")
