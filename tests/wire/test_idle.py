"""Passing over events that hold nothing but text changes no answer: only what it costs."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from taximeter.usage import Usage
from taximeter.wire import Reader, Reading, Route
from taximeter.wire.idle import IdlePattern, IdleText
from tests.wire.making import chat_chunk, chat_usage, dump, sse
from tests.wire.streams import COUNTED, NASTY, PASSES_OVER_NOTHING, SHAPES, TAME, Shape


def stream(shape: Shape, texts: Iterable[str]) -> list[bytes]:
    """The events of a stream that says these texts."""
    return [*shape.before, *(shape.event(text, place) for place, text in enumerate(texts)), *shape.after]


def read(shape: Shape, chunks: Iterable[bytes]) -> tuple[Reading, int]:
    """The reading of a stream that comes in these chunks, and how many bytes of text were passed over."""
    route = Route(api=shape.api, provider=shape.provider)
    reader = Reader(route, headers=[("content-type", shape.content_type)])
    for chunk in chunks:
        reader.feed(chunk)
    patterns = [reader._idle, getattr(reader._format, "_idle", None)]
    passed = max(pattern.text_bytes for pattern in patterns if pattern is not None)
    return reader.close(), passed


def read_every_event(shape: Shape, chunks: Iterable[bytes]) -> Reading:
    """The reading by a reader that learns nothing, and so parses every event."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(IdlePattern, "learn", lambda _self, _event, _idle: None)
        reading, passed = read(shape, chunks)
    assert passed == 0
    return reading


def in_chunks(events: list[bytes], how: str) -> list[bytes]:
    """The events as they may arrive."""
    body = b"".join(events)
    match how:
        case "whole":
            return [body]
        case "by event":
            return events
        case "in pairs":
            return [b"".join(events[at : at + 2]) for at in range(0, len(events), 2)]
        case "shifted":  # each chunk is the end of one event and the start of the next
            ends = [sum(map(len, events[:count])) - 9 for count in range(2, len(events))]
            return [body[start:end] for start, end in zip([0, *ends], [*ends, len(body)], strict=True)]
        case _:
            return [body[at : at + 13] for at in range(0, len(body), 13)]


CHUNKINGS = ["whole", "by event", "in pairs", "shifted", "in pieces"]


@pytest.mark.parametrize("how", CHUNKINGS)
@pytest.mark.parametrize("texts", [TAME, NASTY, TAME * 20 + NASTY + TAME], ids=["tame", "nasty", "long"])
@pytest.mark.parametrize("name", SHAPES)
def test_equal_to_reading_every_event(name: str, texts: list[str], how: str) -> None:
    """A stream gives the same answer, to the byte of text, whether its idle events are passed over or parsed."""
    shape = SHAPES[name]
    chunks = in_chunks(stream(shape, texts), how)
    reading, _ = read(shape, chunks)
    assert reading == read_every_event(shape, chunks)
    assert (reading.usage, reading.usage_source, reading.complete) == (shape.usage, "reported", True)
    last = 1 if shape.api == "gemini.generate" else 0  # the last event says "." beside the finish reason
    assert reading.text_bytes == sum(len(text.encode()) for text in texts) + last
    assert reading.fault is None


@pytest.mark.parametrize("how", ["whole", "by event", "in pieces"])
@pytest.mark.parametrize("name", [name for name in SHAPES if name not in PASSES_OVER_NOTHING])
def test_idle_events_are_passed_over(name: str, how: str) -> None:
    """Of many like events most are not parsed: else the tests above would compare a thing with itself."""
    shape = SHAPES[name]
    _, passed = read(shape, in_chunks(stream(shape, TAME * 20), how))
    assert passed * 2 > sum(len(text) for text in TAME * 20)


def with_member(event: bytes, member: bytes, *, first: bool) -> bytes:
    """The event with a further member at the start or the end of its object."""
    start, end = event.index(b"{"), event.rindex(b"}")
    if first:
        return event[: start + 1] + member + b"," + event[start + 1 :]
    return event[:end] + b"," + member + event[end:]


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("place", [2, 5, 8])
def test_usage_in_an_event_with_text(*, place: int, first: bool) -> None:
    """Usage that stands before or behind the text of one event among many like it is found."""
    shape = SHAPES["chat"]
    events = [shape.event(text, 0) for text in TAME]
    events[place] = with_member(events[place], b'"usage":' + dump(chat_usage(33, 5)), first=first)
    events.append(sse(chat_chunk(finish="stop")))
    for how in CHUNKINGS:
        assert read(shape, in_chunks(events, how))[0].usage == Usage(input_tokens=33, output_tokens=5)


@pytest.mark.parametrize("api", ["chat", "anthropic", "responses", "cohere, second version", "converse", "gemini"])
def test_two_events_in_one_chunk(api: str) -> None:
    """The last of the like events and the one with the usage come in one chunk: both are read."""
    shape = SHAPES[api]
    events = stream(shape, TAME)
    at = len(shape.before) + len(TAME) - 1
    chunks = [*events[:at], b"".join(events[at:])]
    reading, passed = read(shape, chunks)
    assert (reading.usage, reading.complete) == (shape.usage, True)
    assert passed > 0


@pytest.mark.parametrize(
    "changed",
    [
        dump(chat_chunk(delta={"content": "x", "tool_calls": [{"index": 0, "id": "c", "function": {"name": "f"}}]})),
        dump(chat_chunk("x", finish="length")),
        dump(chat_chunk("x", service_tier="flex")),
        dump(chat_chunk("x", model="gpt-6")),
        dump(chat_chunk("x")).replace(b'"delta":{', b'"delta":{"refusal":"no",'),
        dump(chat_chunk("x"))[:-1] + b',"error":{"message":"no"}}',
        dump(chat_chunk("x"))[:-1] + b',"choices":[{"delta":{},"finish_reason":"stop"}]}',
        dump(chat_chunk("x")).replace(b'"x"', b'"x","content":"y"'),
        dump(chat_chunk("x")).replace(b'"x"', b'"x" , "role" : "tool"'),
        dump(chat_chunk("x")).replace(b'"x"', b'"x\\u0022,\\u0022usage\\u0022"'),
        b'{"object":"x"}',
        b"[DONE]",
        b"",
        b"{",
    ],
)
def test_an_event_that_differs_somewhere(changed: bytes) -> None:
    """One event among many like it that differs anywhere but in its text is read like any other."""
    shape = SHAPES["chat"]
    like = [shape.event(text, 0) for text in TAME]
    for ending in (shape.after, []):
        events = [*like, b"data: " + changed + b"\n\n", *like, *ending]
        for how in CHUNKINGS:
            chunks = in_chunks(events, how)
            assert read(shape, chunks)[0] == read_every_event(shape, chunks)


def test_a_comment_between_like_events() -> None:
    """Comments and blank lines between like events, in the same chunk or their own, change nothing."""
    shape = SHAPES["chat"]
    events = [event for text in TAME for event in (shape.event(text, 0), b": ping\n\n")] + shape.after
    for how in CHUNKINGS:
        chunks = in_chunks(events, how)
        reading, _ = read(shape, chunks)
        assert reading == read_every_event(shape, chunks)
        assert reading.usage == COUNTED


def test_running_counts_that_are_passed_over_are_not_lost() -> None:
    """Gemini's counts of a stream that was cut within like events are those of the last one seen."""
    shape = SHAPES["gemini"]
    events = [shape.event(text, place) for place, text in enumerate(TAME)]
    for how in CHUNKINGS:
        reading, _ = read(shape, in_chunks(events, how))
        assert reading.usage == Usage(input_tokens=90, output_tokens=len(TAME) - 1)
        assert reading.usage_source == "estimated"


def test_a_pattern_needs_its_strings_once() -> None:
    """Where the key of the text stands twice, nothing is learnt: which of the two differs cannot be known."""
    pattern = IdlePattern()
    pattern.learn(b'{"text":"a","more":{"text":"b"}}\n', IdleText(b"text"))
    assert not pattern.matches(b'{"text":"a","more":{"text":"b"}}\n')
    pattern.learn(b'{"text":"a","n":1}\n', IdleText(b"text"))
    assert pattern.matches(b'{"text":"other","n":1}\n')
    assert not pattern.matches(b'{"text":"other","n":2}\n')
    assert not pattern.matches(b'{"text":"ot\\"her","n":1}\n')
    assert pattern.text_bytes == len(b"other")
    pattern.learn(b'{"text":"a","more":{"text":"b"}}\n', IdleText(b"text"))
    assert not pattern.matches(b'{"text":"other","n":1}\n')
