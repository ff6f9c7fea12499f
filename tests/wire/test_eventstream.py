"""Amazon's binary event stream: messages cut out of bytes, checksums verified."""

from __future__ import annotations

import struct
import zlib

import pytest

from taximeter.errors import WireError
from taximeter.wire.eventstream import MAX_MESSAGE_BYTES, EventStreamFraming, encode_message
from taximeter.wire.idle import IdlePattern
from tests.wire.making import Json, message, pieces, read

EVENTS = "application/vnd.amazon.eventstream"


def cut(body: bytes, size: int) -> tuple[list[tuple[bytes, bytes]], bool]:
    """The messages (name, payload) of a body that comes in pieces, and whether it ended between two."""
    found: list[tuple[bytes, bytes]] = []
    framing = EventStreamFraming(lambda name, payload, _raw: found.append((name, payload)), IdlePattern())
    for piece in pieces(body, size):
        framing.feed(piece)
    return found, framing.close()


def framed(headers: bytes, payload: bytes) -> bytes:
    """A message with headers that are given as bytes, its checksums right."""
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    whole = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return whole + struct.pack(">I", zlib.crc32(whole))


def test_a_message_byte_by_byte() -> None:
    """The layout, written out: lengths, checksum, one header, payload, checksum."""
    headers = b"\x0b:event-type" + b"\x07" + b"\x00\x01" + b"x"
    prelude = b"\x00\x00\x00" + bytes([12 + 16 + 2 + 4]) + b"\x00\x00\x00\x10"
    whole = prelude + zlib.crc32(prelude).to_bytes(4, "big") + headers + b"{}"
    expected = whole + zlib.crc32(whole).to_bytes(4, "big")
    assert encode_message({":event-type": "x"}, b"{}") == expected
    assert cut(expected, 1000) == ([(b"x", b"{}")], True)


def test_messages_in_pieces() -> None:
    """Messages are the same wherever the bytes are cut."""
    body = message("a", {"n": 1}) + message("b", b"") + message("c", {"n": 3})
    expected = [(b"a", b'{"n":1}'), (b"b", b""), (b"c", b'{"n":3}')]
    for size in range(1, len(body) + 1):
        assert cut(body, size) == (expected, True)


@pytest.mark.parametrize("size", [1, 10, 1000])
def test_a_message_that_was_cut(size: int) -> None:
    """A stream that ends within a message says so; the messages before it are delivered."""
    whole = message("a", {"n": 1})
    for rest in (1, 11, 12, len(whole) - 1):
        assert cut(whole + whole[:rest], size) == ([(b"a", b'{"n":1}')], False)


def test_exceptions_and_errors() -> None:
    """The name of a failure says which kind it is."""
    exception = message("throttlingException", {"message": "x"}, kind="exception")
    error = encode_message({":message-type": "error", ":error-code": "Internal"}, b"")
    found, _ = cut(exception + error, 1000)
    assert [name for name, _ in found] == [b"exception:throttlingException", b"error:Internal"]


def test_headers_of_every_type() -> None:
    """Headers of other types are stepped over: truth values, integers, bytes, a timestamp, a UUID."""
    sizes = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
    others = b"".join(b"\x01h" + bytes([kind]) + bytes(size) for kind, size in sizes.items())
    others += b"\x01b\x06\x00\x03abc"
    name = b"\x0b:event-type\x07\x00\x05chunk"
    for headers in (others + name, name + others):
        assert cut(framed(headers, b"{}"), 1000) == ([(b"chunk", b"{}")], True)


@pytest.mark.parametrize("headers", [b"\x01h\x63", b"\x01h", b"\x05h"])
def test_headers_that_cannot_be_read(headers: bytes) -> None:
    """A header of an unknown type, or one that ends too soon, cannot be read."""
    with pytest.raises(WireError, match="headers"):
        cut(framed(headers, b"{}"), 1000)


@pytest.mark.parametrize("at", [0, 3, 5, 9])
@pytest.mark.parametrize("size", [1, 1000])
def test_a_prelude_that_was_damaged(at: int, size: int) -> None:
    """A flipped bit in the lengths or their checksum is found before a length is believed."""
    good = message("a", {"n": 1})
    bad = bytearray(good)
    bad[at] ^= 1
    with pytest.raises(WireError, match="prelude") as caught:
        cut(good + bytes(bad), size)
    assert caught.value.offset == len(good)


@pytest.mark.parametrize("at", [12, 40, -5, -1])
def test_a_message_that_was_damaged(at: int) -> None:
    """A flipped bit in headers, payload or the last checksum is found."""
    bad = bytearray(message("contentBlockDelta", {"text": "some text"}))
    bad[at] ^= 0x10
    with pytest.raises(WireError, match="the checksum of a message does not match"):
        cut(bytes(bad), 1000)


@pytest.mark.parametrize(("total", "headers"), [(15, 0), (20, 100), (MAX_MESSAGE_BYTES + 1, 0)])
def test_lengths_that_cannot_be(total: int, headers: int) -> None:
    """Lengths that contradict each other or exceed the limit are refused, their checksum being right."""
    prelude = struct.pack(">II", total, headers)
    body = prelude + struct.pack(">I", zlib.crc32(prelude)) + bytes(100)
    with pytest.raises(WireError, match=f"a message of {total} bytes"):
        cut(body, 1000)


def test_damage_leaves_what_was_read() -> None:
    """The reader tells of the damage; what came before it counts, what comes after it does not."""
    usage: Json = {"inputTokens": 10, "outputTokens": 7, "totalTokens": 17}
    text = message("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hi"}})
    bad = bytearray(text)
    bad[20] ^= 1
    reading = read("bedrock.converse", text + bytes(bad) + message("metadata", {"usage": usage}), content_type=EVENTS)
    assert (reading.text_bytes, reading.usage, reading.complete) == (2, None, False)
    assert reading.fault is not None
    assert "checksum" in reading.fault
