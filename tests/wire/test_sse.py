"""Server-sent events are cut as WHATWG says, and as providers write them."""

from __future__ import annotations

import pytest

from taximeter.errors import WireError
from taximeter.event import ProviderError
from taximeter.usage import Usage
from taximeter.wire.idle import IdlePattern
from taximeter.wire.sse import SseFraming
from tests.wire.making import chat_chunk, chat_usage, dump, pieces, read, sse

Cut = tuple[list[tuple[bytes, bytes]], list[bytes]]


def cut(body: bytes, size: int) -> Cut:
    """The events (name, data) and the stray lines of a body that comes in pieces of ``size`` bytes."""
    events: list[tuple[bytes, bytes]] = []
    stray: list[bytes] = []
    framing = SseFraming(lambda name, data, _raw: events.append((name, data)), stray.append, IdlePattern())
    for piece in pieces(body, size):
        framing.feed(piece)
    framing.close()
    return events, stray


def events_of(body: bytes) -> list[tuple[bytes, bytes]]:
    """The events of a body, which are the same however it is cut."""
    events, stray = cut(body, max(len(body), 1))
    assert all(cut(body, size) == (events, stray) for size in range(1, len(body)))
    assert stray == []
    return events


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_line_ends(end: bytes) -> None:
    """Lines end in LF, CRLF or CR."""
    body = b"data: a\n\nevent: x\ndata: b\n\n:c\n\ndata: d\n\n".replace(b"\n", end)
    assert events_of(body) == [(b"", b"a"), (b"x", b"b"), (b"", b"d")]


@pytest.mark.parametrize(
    "body",
    [
        b"data: a\n\ndata: b\r\n\r\ndata: c\r\r",
        b"data: a\r\n\ndata: b\n\r\ndata: c\r\r\n",
        b"data: a\r\n\rdata: b\n\rdata: c\n\n",
        b"data: a\n\n\n\n\r\n\r\rdata: b\n\n\r\ndata: c",
    ],
)
def test_line_ends_that_are_mixed(body: bytes) -> None:
    """A blank line is two line ends of any kind, and blank lines more than that mean nothing."""
    assert events_of(body) == [(b"", b"a"), (b"", b"b"), (b"", b"c")]


def test_crlf_is_one_line_end() -> None:
    """A CRLF that is cut in two is not a blank line."""
    assert events_of(b"data: a\r\ndata: b\r\n\r\n") == [(b"", b"a\nb")]


def test_byte_order_mark() -> None:
    """A mark at the start of the stream is no part of it."""
    assert events_of(b"\xef\xbb\xbfdata: a\n\ndata: b\n\n") == [(b"", b"a"), (b"", b"b")]


def test_comments() -> None:
    """A line that begins with a colon is a comment, alone or within an event."""
    assert events_of(b": ping\n\n:\n:\n\ndata: a\n: note\ndata: b\n\n") == [(b"", b"a\nb")]


def test_several_data_lines() -> None:
    """Data lines are joined by line feeds."""
    assert events_of(b'data: {\ndata:  "a": 1\ndata: }\n\n') == [(b"", b'{\n "a": 1\n}')]


def test_fields_in_any_order() -> None:
    """The name may come after the data; other fields are ignored."""
    assert events_of(b"data: a\nid: 7\nretry: 100\nevent: x\n\n") == [(b"x", b"a")]


def test_space_after_the_colon() -> None:
    """One space after the colon is no part of the value; a second is, and none is needed."""
    assert events_of(b"data:a\n\ndata: b\n\ndata:  c\n\nevent:x\ndata:d\n\n") == [
        (b"", b"a"),
        (b"", b"b"),
        (b"", b" c"),
        (b"x", b"d"),
    ]


def test_event_without_data() -> None:
    """A name without data is no event."""
    assert events_of(b"event: x\n\nid: 1\n\ndata: a\n\n") == [(b"", b"a")]


def test_last_event_without_a_blank_line() -> None:
    """What the rules would drop is delivered: some servers do not end their last event."""
    assert events_of(b"data: a\n\ndata: b\n") == [(b"", b"a"), (b"", b"b")]
    assert events_of(b"data: a\n\ndata: b") == [(b"", b"a"), (b"", b"b")]


def test_error_line() -> None:
    """``error:`` is an event of that name."""
    assert events_of(b'data: a\n\nerror: {"code": 500}\n\n') == [(b"", b"a"), (b"error", b'{"code": 500}')]


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_lines_that_are_no_fields(size: int) -> None:
    """Lines that are no fields are handed on together, at the end."""
    body = b'data: a\n\n{\n  "error": {\n    "code": 503\n  }\n}\n'
    events, stray = cut(body, size)
    assert events == [(b"", b"a")]
    assert stray == [b'{\n  "error": {\n    "code": 503\n  }\n}']


def test_unknown_fields() -> None:
    """Fields of other names are ignored, as the rules say."""
    assert events_of(b"extra: 1\ndata: a\nnote: 2\n\n") == [(b"", b"a")]


@pytest.mark.parametrize("size", [1024, 65_536, 10_000_000])
def test_long_lines(size: int) -> None:
    """A line of 3 MB is read, in small pieces and in one, and so is what follows it."""
    body = b"data: " + b"x" * 3_000_000 + b"\n\ndata: b\n\n"
    events, _ = cut(body, size)
    assert [(name, len(data)) for name, data in events] == [(b"", 3_000_000), (b"", 1)]


@pytest.mark.parametrize("ending", [b"", b"\n\n", b"\r\n\r\ndata: a\n\n"])
@pytest.mark.parametrize("size", [100, 6000])
def test_event_without_end(monkeypatch: pytest.MonkeyPatch, size: int, ending: bytes) -> None:
    """An event larger than the limit is refused, whether it ends or not, and comes at once or in pieces."""
    monkeypatch.setattr("taximeter.wire.framing.MAX_EVENT_BYTES", 1000)
    with pytest.raises(WireError, match="an event of more than 1000 bytes"):
        cut(b"data: " + b"x" * 5000 + ending, size)


def test_event_without_end_leaves_what_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader tells of it, keeps what came before, and takes the rest without a word."""
    monkeypatch.setattr("taximeter.wire.framing.MAX_EVENT_BYTES", 1000)
    good = sse(chat_chunk("Hi", usage=chat_usage(12, 7)))
    reading = read("openai.chat", good + b"data: " + b"x" * 5000 + b"\n\n" + sse(chat_chunk(finish="stop")))
    assert reading.usage == Usage(input_tokens=12, output_tokens=7)
    assert reading.fault == "an event of more than 1000 bytes"
    assert reading.complete is False


def test_long_text_and_then_usage() -> None:
    """Usage behind an event of over a megabyte is found."""
    body = sse(chat_chunk("x" * 1_200_000), chat_chunk(finish="stop", usage=chat_usage(12, 7)), done=True, end=b"\r\n")
    reading = read("openai.chat", body, split=4096)
    assert reading.usage == Usage(input_tokens=12, output_tokens=7)
    assert reading.text_bytes == 1_200_000


def test_an_event_that_is_no_json() -> None:
    """Half an object within a stream is a fault that is told, and the events around it count."""
    body = sse(chat_chunk("Hi"), b'data: {"choices":[\n\n', chat_chunk(finish="stop", usage=chat_usage(12, 7)))
    reading = read("openai.chat", body)
    assert reading.usage == Usage(input_tokens=12, output_tokens=7)
    assert reading.fault is not None
    assert "an event of 12 bytes" in reading.fault


def test_stray_text_is_told() -> None:
    """A proxy's page in the midst of a stream is a fault, not an error of the provider."""
    reading = read("openai.chat", sse(chat_chunk("Hi")) + b"<html>Gateway Timeout</html>\n")
    assert reading.fault is not None
    assert "Gateway Timeout" in reading.fault
    assert reading.error is None


def test_stray_error_is_the_providers() -> None:
    """A bare error object in the midst of a stream is the provider's."""
    reading = read("openai.chat", sse(chat_chunk("Hi")) + b'{"error": {"message": "no", "code": 1}}\n')
    assert reading.error == ProviderError(code="1", message="no")


def test_stream_that_no_header_announces() -> None:
    """Events are events, whatever the content type says."""
    body = sse(chat_chunk("Hi"), chat_chunk(finish="stop", usage=chat_usage(12, 7)))
    for kind in ("text/plain", "application/json", "application/octet-stream"):
        reading = read("openai.chat", body, content_type=kind)
        assert (reading.usage, reading.stream) == (Usage(input_tokens=12, output_tokens=7), True)


def test_whole_body_that_is_announced_as_a_stream() -> None:
    """A JSON body is a JSON body, whatever the content type says."""
    body = dump({"model": "m", "choices": [], "usage": chat_usage(12, 7)})
    reading = read("openai.chat", body, content_type="text/event-stream")
    assert reading.usage == Usage(input_tokens=12, output_tokens=7)
