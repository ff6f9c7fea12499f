"""Streams that were cut: what is exact, what is estimated, what is unknown."""

from __future__ import annotations

import base64

import pytest

from taximeter.usage import Usage
from taximeter.wire.format import ESTIMATE_BYTES_PER_TOKEN
from tests.wire.making import (
    Json,
    chat_body,
    chat_chunk,
    chat_usage,
    claude,
    dump,
    gemini_chunk,
    message,
    message_end,
    message_start,
    read,
    response,
    response_event,
    sse,
    text_block,
    tokens,
    usage_chunk,
)

START: Json = {"input_tokens": 10, "cache_read_input_tokens": 60, "output_tokens": 1}
TEXT = "Forty bytes of text are ten tokens here."
EVENTS = "application/vnd.amazon.eventstream"


def test_forty_bytes_are_ten_tokens() -> None:
    """The rule that the tests below count by: four bytes of UTF-8 are taken for a token, rounded up."""
    assert ESTIMATE_BYTES_PER_TOKEN == 4
    assert len(TEXT.encode()) == 40


def test_anthropic_after_some_text() -> None:
    """message_start gives the exact input; the output is what the text comes to: 40 / 4 = 10."""
    body = sse(message_start(START), *text_block(TEXT), named=True)
    reading = read("anthropic.messages", body, cut=True)
    assert reading.usage == Usage(input_tokens=70, cache_read_tokens=60, output_tokens=10)
    assert (reading.usage_source, reading.complete) == ("estimated", False)


def test_anthropic_rounds_up() -> None:
    """41 bytes are 11 tokens; tool arguments count as text."""
    block: Json = {"type": "tool_use", "id": "t", "name": "n", "input": {}}
    delta: Json = {"type": "input_json_delta", "partial_json": "{"}
    body = sse(
        message_start(START),
        *text_block(TEXT),
        {"type": "content_block_start", "index": 1, "content_block": block},
        {"type": "content_block_delta", "index": 1, "delta": delta},
        named=True,
    )
    usage = read("anthropic.messages", body, cut=True).usage
    assert usage is not None
    assert usage.output_tokens == 11


def test_anthropic_before_any_text() -> None:
    """With no text yet the output is what message_start counted."""
    reading = read("anthropic.messages", sse(message_start(START), named=True), cut=True)
    assert reading.usage == Usage(input_tokens=70, cache_read_tokens=60, output_tokens=1)
    assert reading.usage_source == "estimated"


def test_anthropic_within_an_event() -> None:
    """The half event at the end is passed over, and what came before it counts."""
    whole = sse(message_start(START), *text_block(TEXT, "more"), named=True)
    body = whole[: whole.index(b"more")]
    reading = read("anthropic.messages", body, cut=True)
    assert reading.usage is not None
    assert (reading.usage.input_tokens, reading.usage.output_tokens) == (70, 10)
    assert (reading.usage_source, reading.complete) == ("estimated", False)


def test_anthropic_after_the_final_usage() -> None:
    """A stream that lacks only message_stop has its figures reported, and is not complete."""
    whole = claude(START, {"output_tokens": 7})
    reading = read("anthropic.messages", whole[: whole.index(b"event: message_stop")], cut=True)
    assert reading.usage == Usage(input_tokens=70, cache_read_tokens=60, output_tokens=7)
    assert (reading.usage_source, reading.complete) == ("reported", False)


def test_anthropic_before_message_start() -> None:
    """Nothing seen is nothing known."""
    reading = read("anthropic.messages", b"event: message_start\ndata: {", cut=True)
    assert (reading.usage, reading.usage_source, reading.complete) == (None, "unknown", False)


def test_a_reported_zero_is_never_replaced() -> None:
    """message_delta says 0 although text was seen: 0 it is."""
    body = sse(message_start(START), *text_block(TEXT), *message_end({"output_tokens": 0}), named=True)
    for ending in (body, body[: body.index(b"event: message_stop")]):
        reading = read("anthropic.messages", ending)
        assert reading.usage is not None
        assert (reading.usage.output_tokens, reading.usage_source) == (0, "reported")


def test_chat_without_usage() -> None:
    """A chat that was cut before its usage leaves too little: unknown, not an estimate of the input as well."""
    reading = read("openai.chat", sse(chat_chunk("Good"), chat_chunk(" day")), cut=True)
    assert (reading.usage, reading.usage_source, reading.complete) == (None, "unknown", False)
    assert reading.parts == ()
    assert reading.text_bytes == len(b"Good day")


def test_chat_with_running_usage() -> None:
    """A running usage is the figure so far: estimated."""
    body = sse(*[chat_chunk("word ", usage=chat_usage(12, n)) for n in (1, 2, 3)])
    reading = read("openai.chat", body, provider="xai", cut=True)
    assert reading.usage == Usage(input_tokens=12, output_tokens=3)
    assert (reading.usage_source, reading.complete) == ("estimated", False)


def test_chat_after_its_usage() -> None:
    """A stream that lacks only ``[DONE]`` has its figures reported; the broken connection shows in complete."""
    body = sse(chat_chunk("Hi"), chat_chunk(finish="stop"), usage_chunk(chat_usage(12, 7)))
    reading = read("openai.chat", body, cut=True)
    assert reading.usage == Usage(input_tokens=12, output_tokens=7)
    assert (reading.usage_source, reading.complete) == ("reported", False)


def test_gemini() -> None:
    """Gemini's usage runs along: before the finish reason it is an estimate."""
    body = sse(
        gemini_chunk("Good", usage=tokens(12, 1)),
        gemini_chunk(" day", usage=tokens(12, 2)),
        gemini_chunk(" again", usage=tokens(12, 3)),
    )
    reading = read("gemini.generate", body, cut=True)
    assert reading.usage == Usage(input_tokens=12, output_tokens=3)
    assert (reading.usage_source, reading.complete) == ("estimated", False)


def test_gemini_array() -> None:
    """An array without its end is not complete; the elements that came count."""
    body = b"[" + dump(gemini_chunk("Good", usage=tokens(12, 1))) + b",\n" + dump(gemini_chunk(" day"))[:20]
    reading = read("gemini.generate", body, content_type="application/json", cut=True)
    assert reading.usage == Usage(input_tokens=12, output_tokens=1)
    assert (reading.usage_source, reading.complete) == ("estimated", False)


def test_responses() -> None:
    """A response that was cut has not said anything about tokens."""
    body = sse(
        response_event("response.created", response=response(status="in_progress")),
        response_event("response.output_text.delta", delta="Hi"),
        named=True,
    )
    reading = read("openai.responses", body, cut=True)
    assert (reading.usage, reading.usage_source, reading.complete) == (None, "unknown", False)


def test_converse() -> None:
    """So has a Converse stream, also when it was cut within a message."""
    body = message("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hi"}})
    for seen in (body, body + body[:30]):
        reading = read("bedrock.converse", seen, content_type=EVENTS, cut=True)
        assert (reading.usage, reading.usage_source, reading.complete) == (None, "unknown", False)
        assert (reading.text_bytes, reading.stream) == (2, True)


@pytest.mark.parametrize("cut", [False, True])
def test_llama_on_bedrock(*, cut: bool) -> None:
    """Llama's counts grow from event to event: those of a stream without its end are an estimate."""
    events: list[Json] = [
        {"generation": "Hi", "prompt_token_count": 12, "generation_token_count": 1, "stop_reason": None},
        {"generation": " you", "prompt_token_count": None, "generation_token_count": 2, "stop_reason": None},
    ]
    body = b"".join(message("chunk", {"bytes": base64.b64encode(dump(event)).decode()}) for event in events)
    reading = read("bedrock.invoke", body, model="meta.llama3", content_type=EVENTS, cut=cut)
    assert reading.usage == Usage(input_tokens=12, output_tokens=2)
    assert (reading.usage_source, reading.complete) == ("estimated", False)


def test_whole_body() -> None:
    """Half a JSON body is a fault, and its usage unknown, even where the figures had come."""
    body = dump(chat_body(chat_usage(12, 7)))[:-1]
    reading = read("openai.chat", body, content_type="application/json", cut=True)
    assert (reading.usage, reading.usage_source, reading.complete) == (None, "unknown", False)
    assert reading.fault is not None


def test_whole_body_that_arrived() -> None:
    """A body that is whole although the connection broke after it is read."""
    reading = read("openai.chat", chat_body(chat_usage(12, 7)), cut=True)
    assert reading.usage == Usage(input_tokens=12, output_tokens=7)
    assert (reading.usage_source, reading.complete) == ("reported", False)


def test_nothing() -> None:
    """No byte at all."""
    reading = read("openai.chat", b"", cut=True)
    assert (reading.usage, reading.usage_source, reading.complete, reading.error) == (None, "unknown", False, None)
