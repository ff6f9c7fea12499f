"""Undoing ``content-encoding`` as the bytes arrive: gzip, deflate, br, zstd, and chains of them.

Recorders and proxies often store a body decoded but keep the header, or the other way round; the first bytes decide
where they leave no doubt.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Protocol, cast

from taximeter.errors import WireError

_PIECE = 1024 * 1024
"""No more than about this much is decoded at once, whatever a compressed byte claims to hold."""

_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_SLICE = 64  # a zstd block of 4 bytes can stand for 128 KiB
_TEXT_STARTS = (b"{", b"[", b"data:", b"event:", b": ", b"\n", b"\r\n")


class Decoder(Protocol):
    """Undoes one encoding."""

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The decoded bytes that ``chunk`` completes, in pieces of bounded size.

        Raises:
            WireError: when the bytes are not of this encoding.
        """
        ...

    def finished(self) -> bool:
        """Whether the encoded data reached its own end."""
        ...


class _Zlib:
    """gzip (with several members), zlib-wrapped deflate, and bare deflate."""

    def __init__(self, *, bare: bool = False) -> None:
        self._bare = bare
        self._inflate = zlib.decompressobj(-15 if bare else 47)
        self._fresh = True
        self._held = b""

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        data, self._held = self._held + chunk, b""
        more = False
        while data or more:
            if len(data) == 1 and (self._fresh or self._inflate.eof):
                self._held = data  # only two bytes tell what begins here
                return
            if self._inflate.eof:
                if not data.startswith(_GZIP_MAGIC):
                    return  # padding after the end
                self._inflate = zlib.decompressobj(47)
            try:
                piece = self._inflate.decompress(data, _PIECE)
            except zlib.error as error:
                if self._fresh and not self._bare and not data.startswith(_GZIP_MAGIC):
                    # "deflate" without the zlib wrapper: wrong by RFC 9110, and common
                    self._bare = True
                    self._inflate = zlib.decompressobj(-15)
                    continue
                msg = f"gzip or deflate data cannot be decoded: {error}"
                raise WireError(msg) from error
            self._fresh = False
            data = self._inflate.unconsumed_tail or self._inflate.unused_data
            more = len(piece) == _PIECE  # there may be output whose input is all taken
            if piece:
                yield piece

    def finished(self) -> bool:
        return self._inflate.eof


class _BrotliStream(Protocol):
    """The part of ``brotli.Decompressor`` that is used; the package has no types."""

    def process(self, data: bytes, *, output_buffer_limit: int) -> bytes: ...
    def is_finished(self) -> bool: ...


class _Brotli:
    def __init__(self) -> None:
        import brotli  # pyright: ignore[reportMissingTypeStubs]  # noqa: PLC0415 - loaded by the first that needs it

        self._stream = cast("_BrotliStream", brotli.Decompressor())  # pyright: ignore[reportUnknownMemberType]
        self._error = cast("type[Exception]", brotli.error)  # pyright: ignore[reportUnknownMemberType]

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        data = chunk
        try:
            while True:
                piece = self._stream.process(data, output_buffer_limit=_PIECE)
                if piece:
                    yield piece
                data = b""
                if not piece or self._stream.is_finished():
                    return
        except self._error as error:
            msg = f"br data cannot be decoded: {error}"
            raise WireError(msg) from error

    def finished(self) -> bool:
        return self._stream.is_finished()


class _Zstd:
    def __init__(self) -> None:
        import zstandard  # noqa: PLC0415 - loaded by the first answer that needs it

        self._new = zstandard.ZstdDecompressor(max_window_size=128 * 1024 * 1024).decompressobj
        self._stream = self._new()
        self._error = zstandard.ZstdError

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        for start in range(0, len(chunk), _ZSTD_SLICE):
            data = chunk[start : start + _ZSTD_SLICE]
            while data:
                if self._stream.eof:
                    self._stream = self._new()
                try:
                    piece = self._stream.decompress(data)
                except self._error as error:
                    msg = f"zstd data cannot be decoded: {error}"
                    raise WireError(msg) from error
                data = self._stream.unused_data if self._stream.eof else b""
                if piece:
                    yield piece

    def finished(self) -> bool:
        return self._stream.eof


class _Chain:
    def __init__(self, decoders: list[Decoder]) -> None:
        self._decoders = decoders

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        return self._through(0, chunk)

    def _through(self, index: int, chunk: bytes) -> Iterator[bytes]:
        if index == len(self._decoders):
            yield chunk
            return
        for piece in self._decoders[index].feed(chunk):
            yield from self._through(index + 1, piece)

    def finished(self) -> bool:
        return all(decoder.finished() for decoder in self._decoders)


def decoder_for(content_encoding: str | None, first: bytes) -> Decoder | None:
    """The decoder of an answer, or ``None`` when its bytes are to be taken as they are.

    Args:
        content_encoding: the header's value.
        first: the first bytes of the body, at least four unless it is shorter.

    Raises:
        WireError: for an encoding that nobody here can undo.
    """
    if first.startswith(_GZIP_MAGIC):
        return _chain(content_encoding) or _Zlib()
    if first.startswith(_ZSTD_MAGIC):
        return _chain(content_encoding) or _Zstd()
    if first.startswith(_TEXT_STARTS):
        return None  # says that it is encoded, and is not
    return _chain(content_encoding)


def _chain(content_encoding: str | None) -> Decoder | None:
    names = [name.strip().lower() for name in (content_encoding or "").split(",")]
    decoders = [_named(name) for name in reversed(names) if name not in ("", "identity", "none", "utf-8")]
    if len(decoders) > 1:
        return _Chain(decoders)
    return decoders[0] if decoders else None


def _named(name: str) -> Decoder:
    match name:
        case "gzip" | "x-gzip" | "deflate":
            return _Zlib()
        case "br":
            return _Brotli()
        case "zstd":
            return _Zstd()
        case _:
            msg = f"content-encoding {name[:40]!r} is not one of gzip, deflate, br, zstd"
            raise WireError(msg)
