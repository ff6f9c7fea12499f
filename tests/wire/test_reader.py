"""A reader from its first byte to its end, whoever holds it how."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from taximeter.usage import Usage
from taximeter.wire import Reader, Route
from tests.wire.making import chat_body, chat_chunk, chat_usage, dump, sse
from tests.wire.streams import SHAPES, TAME

CHAT = Route("openai.chat", "openai")
STREAM = [("content-type", "text/event-stream")]
EVENTS = [
    *[sse(chat_chunk(text)) for text in TAME],
    sse(chat_chunk(finish="stop", usage=chat_usage(12, 7))),
]


@pytest.fixture
def collected_by_hand() -> Iterator[None]:
    """The garbage collector runs only when the test says so."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_a_method_that_was_taken_early() -> None:
    """Who took ``feed`` before the first byte may go on calling it."""
    reader = Reader(CHAT, headers=STREAM)
    feed = reader.feed
    for event in EVENTS:
        feed(event)
    reading = reader.close()
    assert (reading.usage, reading.text_bytes) == (Usage(input_tokens=12, output_tokens=7), len("".join(TAME)))


def test_closed_twice() -> None:
    """Closing again says the same, and bytes that come after the end are passed over."""
    for chunks, headers in ((EVENTS, STREAM), ([dump(chat_body(chat_usage(12, 7)))], ())):
        reader = Reader(CHAT, headers=headers)
        for chunk in chunks:
            reader.feed(chunk)
        reading = reader.close()
        reader.feed(chunks[0])
        assert reader.close() is reading
        assert reading.usage == Usage(input_tokens=12, output_tokens=7)


def test_bytes_after_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """After bytes that cannot be read nothing counts any more, for those too who took ``feed`` before."""
    monkeypatch.setattr("taximeter.wire.framing.MAX_EVENT_BYTES", 1000)
    reader = Reader(CHAT, headers=STREAM)
    for event in EVENTS[:3]:
        reader.feed(event)
    feed = reader.feed
    feed(b"data: " + b"x" * 2000)
    for event in EVENTS[3:]:
        feed(event)
        reader.feed(event)
    reading = reader.close()
    assert (reading.usage, reading.complete) == (None, False)
    assert reading.fault == "an event of more than 1000 bytes"
    assert reading.text_bytes == len("".join(TAME[:3]))


@pytest.mark.parametrize(
    "headers",
    [
        [("Content-Type", "text/plain"), ("content-type", "application/json"), ("X-A", "1")],
        (
            ("content-type", "text/plain"),
            ("CONTENT-TYPE", "text/html"),
            ("content-type", "application/json"),
            ("x-a", "1"),
        ),
        iter([("content-type", "application/json"), ("x-a", "0"), ("X-A", "1")]),
    ],
)
def test_headers(headers: Iterator[tuple[str, str]]) -> None:
    """Of each header the last value counts, whatever the case of its name."""
    assert Reader(CHAT, headers=headers).headers == {"content-type": "application/json", "x-a": "1"}


@pytest.mark.usefixtures("collected_by_hand")
@pytest.mark.parametrize("name", SHAPES)
def test_nothing_is_left_to_the_garbage_collector(name: str) -> None:
    """A reader that was closed refers to nothing that refers to it: it is freed when it is let go."""
    shape = SHAPES[name]
    for keep in ("none", "full"):
        reader = Reader(Route(shape.api, "openai"), headers=[("content-type", shape.content_type)], keep=keep)
        for event in [*shape.before, *[shape.event(text, place) for place, text in enumerate(TAME)], *shape.after]:
            reader.feed(event)
        reader.close()
        gc.collect()
        del reader
        assert gc.collect() == 0


def test_an_event_shorter_than_what_is_around_the_texts() -> None:
    """Where the text and its closing quotation mark are missing, the ends of the event overlap: it is no JSON."""
    short = EVENTS[0].replace(b'"Good"}', b'"}')
    assert short.endswith(b'"content":"},"finish_reason":null}]}\n\n')
    reader = Reader(CHAT, headers=STREAM)
    for event in [*EVENTS[:-1], short, EVENTS[-1]]:
        reader.feed(event)
    reading = reader.close()
    assert "is not JSON" in (reading.fault or "")
    assert reading.usage == Usage(input_tokens=12, output_tokens=7)
