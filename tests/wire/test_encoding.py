"""Content encodings are undone as the bytes arrive: also when they are cut, wrong, chained, or meant to harm."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import Callable, Iterable

import brotli
import pytest
import zstandard

from taximeter.errors import WireError
from taximeter.usage import Usage
from taximeter.wire import Reading, Route
from taximeter.wire.encoding import decoder_for
from tests.wire.making import (
    chat_body,
    chat_usage,
    dump,
    feed,
    message_end,
    message_start,
    pieces,
    sse,
    text_block,
)

BODY = dump(chat_body(chat_usage(12, 7), padding="x" * 3000))
COUNTED = Usage(input_tokens=12, output_tokens=7)

Encode = Callable[[bytes], bytes]


def raw_deflate(data: bytes) -> bytes:
    """Deflate without the zlib wrapper, as some servers send it."""
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


ENCODINGS: dict[str, tuple[str, Encode]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "case": ("GZip", gzip.compress),
    "zlib": ("deflate", zlib.compress),
    "raw": ("deflate", raw_deflate),
    "br": ("br", brotli.compress),
    "zstd": ("zstd", zstandard.compress),
    "raw within gzip": ("deflate, gzip", lambda data: gzip.compress(raw_deflate(data))),
    "chain": ("gzip, br", lambda data: brotli.compress(gzip.compress(data))),
    "chain of three": ("zstd,deflate, gzip", lambda data: gzip.compress(zlib.compress(zstandard.compress(data)))),
    "identity": ("identity", lambda data: data),
    "identity and gzip": ("identity, gzip", gzip.compress),
}


def read(data: bytes, encoding: str | None, size: int, *, kind: str = "application/json", cut: bool = False) -> Reading:
    """Reads a chat answer that comes encoded, in pieces."""
    headers = [("content-type", kind), *([("content-encoding", encoding)] if encoding else [])]
    return feed(Route(api="openai.chat", provider="openai"), pieces(data, size), headers=headers, cut=cut)


@pytest.mark.parametrize("size", [1, 3, 7, 1000, 100_000])
@pytest.mark.parametrize("name", ENCODINGS)
def test_encodings(name: str, size: int) -> None:
    """Every encoding is undone, in pieces of any size."""
    encoding, encode = ENCODINGS[name]
    reading = read(encode(BODY), encoding, size)
    assert (reading.usage, reading.fault, reading.complete) == (COUNTED, None, None)


@pytest.mark.parametrize("size", [1, 1000])
def test_gzip_of_several_members(size: int) -> None:
    """Members of gzip, and frames of zstd, that follow one another are one body; padding after them is none of it."""
    parts = pieces(BODY, 500)
    assert read(b"".join(map(gzip.compress, parts)), "gzip", size).usage == COUNTED
    assert read(b"".join(map(gzip.compress, parts)) + bytes(20), "gzip", size).usage == COUNTED
    assert read(b"".join(map(zstandard.compress, parts)), "zstd", size).usage == COUNTED


# ---- headers and bytes that do not fit


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, br"])
def test_header_says_so_and_the_body_is_plain(encoding: str) -> None:
    """A recorder or proxy undid the encoding and left the header."""
    assert read(BODY, encoding, 5).usage == COUNTED
    stream = sse({"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": chat_usage(12, 7)})
    assert read(stream, encoding, 5, kind="text/event-stream").usage == COUNTED
    assert read(b"\r\n\r\n  " + BODY, encoding, 5).usage == COUNTED


@pytest.mark.parametrize("encode", [gzip.compress, zstandard.compress])
def test_body_is_encoded_and_no_header_says_so(encode: Encode) -> None:
    """The first bytes of gzip and zstd leave no doubt."""
    assert read(encode(BODY), None, 1).usage == COUNTED
    assert read(encode(BODY), "identity", 7).usage == COUNTED


def test_unknown_encoding() -> None:
    """An encoding that nobody here can undo is a fault."""
    reading = read(b"\x00\x01\x02\x03\x04\x05\x06\x07\x08", "sdch", 3)
    assert (reading.usage, reading.complete) == (None, False)
    assert reading.fault == "content-encoding 'sdch' is not one of gzip, deflate, br, zstd"
    with pytest.raises(WireError, match="sdch"):
        decoder_for("gzip, sdch", b"\x00\x01\x02\x03")


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd", "deflate"])
@pytest.mark.parametrize("size", [1, 1000])
def test_bytes_that_are_not_of_the_encoding(encoding: str, size: int) -> None:
    """Bytes that cannot be decoded are a fault, and nothing worse."""
    reading = read(b"\x91\x92\x93" + bytes(range(200)), encoding, size)
    assert (reading.usage, reading.complete) == (None, False)
    assert reading.fault is not None
    assert "cannot be decoded" in reading.fault


def test_damage_within() -> None:
    """Damage in the midst of a body that is encoded is a fault."""
    data = bytearray(gzip.compress(bytes(i * i % 251 for i in range(5000)) + BODY))
    data[len(data) // 2] ^= 0xFF
    assert read(bytes(data), "gzip", 1000).fault is not None


# ---- streams that were cut


def flushed(encoding: str, events: Iterable[bytes]) -> list[bytes]:
    """Each event encoded and flushed, as a server that streams does; the end of the encoding comes last."""
    match encoding:
        case "br":
            packer = brotli.Compressor()
            return [*[packer.process(event) + packer.flush() for event in events], packer.finish()]
        case "zstd":
            sender = zstandard.ZstdCompressor().compressobj()
            block = zstandard.COMPRESSOBJ_FLUSH_BLOCK
            return [*[sender.compress(event) + sender.flush(block) for event in events], sender.flush()]
        case _:
            deflate = zlib.compressobj(wbits=31 if encoding == "gzip" else 15)
            sync = zlib.Z_SYNC_FLUSH
            return [*[deflate.compress(event) + deflate.flush(sync) for event in events], deflate.flush()]


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_cut_stream(encoding: str) -> None:
    """What was seen before the cut counts: the input exactly, the output by its text; a whole stream is complete."""
    start = message_start({"input_tokens": 10, "output_tokens": 1})
    events = [start, *text_block("Forty bytes of text are ten tokens here."), *message_end({"output_tokens": 9})]
    parts = flushed(encoding, [sse(event, named=True) for event in events])
    route = Route(api="anthropic.messages", provider="anthropic")
    headers = [("content-type", "text/event-stream"), ("content-encoding", encoding)]
    whole = feed(route, parts, headers=headers)
    assert (whole.usage, whole.usage_source, whole.complete) == (
        Usage(input_tokens=10, output_tokens=9),
        "reported",
        True,
    )
    cut = feed(route, parts[:3], headers=headers, cut=True)
    assert (cut.usage, cut.usage_source, cut.complete) == (
        Usage(input_tokens=10, output_tokens=10),
        "estimated",
        False,
    )


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_stream_without_the_end_of_its_encoding(encoding: str) -> None:
    """Every event came and the encoding's own end did not: all is counted, and the stream is not complete."""
    events = [{"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": chat_usage(12, 7)}]
    parts = flushed(encoding, [sse(event) for event in events])
    reading = read(b"".join(parts[:-1]), encoding, 1000, kind="text/event-stream")
    assert (reading.usage, reading.usage_source, reading.complete) == (COUNTED, "reported", False)


def test_whole_body_without_the_end_of_its_encoding() -> None:
    """A body in gzip that lacks its last bytes is not whole."""
    reading = read(gzip.compress(BODY)[:-9], "gzip", 100)
    assert reading.complete is False


# ---- bombs


BOMB_BYTES = 10 * 1024 * 1024


@pytest.mark.parametrize("name", ["gzip", "raw", "br", "zstd", "chain"])
def test_bomb(name: str) -> None:
    """Ten megabytes of zeros in a few kilobytes come out in pieces, and all of them, without being held."""
    encoding, encode = ENCODINGS[name]
    data = encode(bytes(BOMB_BYTES))
    assert len(data) < 20_000
    tracemalloc.start()
    decoder = decoder_for(encoding, data[:8])
    assert decoder is not None
    size = sum(len(piece) for piece in decoder.feed(data))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size == BOMB_BYTES
    assert decoder.finished()
    assert peak < 6 * 1024 * 1024


def test_bomb_of_events() -> None:
    """Ten megabytes of a stream in some kilobytes take no more memory than one piece of it, and are read to the end."""
    event = sse({"model": "m", "choices": [{"index": 0, "delta": {"content": "word " * 20}}]})
    last = sse({"model": "m", "choices": [{"delta": {}, "finish_reason": "stop"}], "usage": chat_usage(12, 7)})
    data = gzip.compress(event * (BOMB_BYTES // len(event)) + last)
    assert len(data) < 60_000
    tracemalloc.start()
    reading = read(data, "gzip", len(data), kind="text/event-stream")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (reading.usage, reading.complete) == (COUNTED, True)
    assert reading.text_bytes == BOMB_BYTES // len(event) * 100
    assert peak < 6 * 1024 * 1024


def test_bomb_of_sound() -> None:
    """A body that is not read is not held either."""
    data = gzip.compress(b"\xff\xfb" + bytes(BOMB_BYTES))
    tracemalloc.start()
    reading = read(data, "gzip", 1000, kind="audio/mpeg")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert reading.fault is None
    assert peak < 4 * 1024 * 1024


def test_body_larger_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole body that grows past its limit is let go, with a fault."""
    monkeypatch.setattr("taximeter.wire.reader.MAX_BODY_BYTES", 100_000)
    reading = read(gzip.compress(b'{"a":"' + b"x" * 200_000 + b'"}'), "gzip", 100)
    assert reading.fault == "a body of more than 100000 bytes"
    assert (reading.usage, reading.complete) == (None, False)
