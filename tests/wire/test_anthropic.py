"""Anthropic's Messages, by whomever they are served, and the legacy Complete."""

from __future__ import annotations

import pytest

from taximeter.event import ProviderError, ToolCall
from taximeter.money import Money
from taximeter.usage import Usage
from tests.wire.making import (
    EXACT,
    Json,
    claude,
    counted,
    dump,
    kinds,
    message_end,
    message_start,
    read,
    sse,
    text_block,
)

START: Json = {
    "input_tokens": 10,
    "cache_creation_input_tokens": 300,
    "cache_read_input_tokens": 60,
    "cache_creation": {"ephemeral_5m_input_tokens": 200, "ephemeral_1h_input_tokens": 100},
    "output_tokens": 1,
    "service_tier": "standard",
}


def whole(usage: object, **members: object) -> Json:
    """A message that is no stream."""
    content: list[object] = [{"type": "text", "text": "Good day."}]
    body: Json = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-opus-4-8"}
    return {**body, "content": content, "stop_reason": "end_turn", "usage": usage, **members}


def test_whole_body() -> None:
    """input_tokens excludes the cache: the whole input is 10 + 300 + 60 = 370."""
    reading = read("anthropic.messages", whole({**START, "output_tokens": 7}), provider="anthropic")
    assert reading.usage == Usage(
        input_tokens=370,
        cache_read_tokens=60,
        cache_write_tokens=300,
        cache_write_5m_tokens=200,
        cache_write_1h_tokens=100,
        output_tokens=7,
    )
    assert counted(reading).leaves()["input_tokens"] == 10
    assert (reading.response_model, reading.response_id, reading.finish_reason) == (
        "claude-opus-4-8",
        "msg_1",
        "end_turn",
    )
    assert (reading.stream, reading.complete, reading.contradictions) == (False, None, ())


def test_old_deltas_have_output_only() -> None:
    """Older streams end with output_tokens alone: cumulative, it replaces the start's and is not added to it."""
    reading = read("anthropic.messages", claude(START, {"output_tokens": 50}), provider="anthropic")
    assert reading.usage is not None
    assert (reading.usage.input_tokens, reading.usage.output_tokens) == (370, 50)
    assert (reading.usage_source, reading.complete) == ("reported", True)


def test_deltas_replace_every_figure_that_they_repeat() -> None:
    """With server tools the input grows while it runs, from 2,068 at first to 22,397 in the end; so does the cache."""
    start = {"input_tokens": 2068, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 2}
    end = {
        "input_tokens": 22_397,
        "cache_creation_input_tokens": 500,
        "cache_read_input_tokens": 4000,
        "output_tokens": 900,
        "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 1},
    }
    reading = read("anthropic.messages", claude(start, end), provider="anthropic")
    # 22,397 + 500 + 4,000 = 26,897; fetches are free
    assert reading.usage == Usage(
        input_tokens=26_897,
        cache_read_tokens=4000,
        cache_write_tokens=500,
        output_tokens=900,
        web_searches=2,
    )


def test_deltas_leave_what_they_do_not_mention() -> None:
    """Null and absent members of message_delta take nothing back."""
    end = {"output_tokens": 50, "input_tokens": None, "cache_read_input_tokens": None}
    reading = read("anthropic.messages", claude(START, end), provider="anthropic")
    assert reading.usage is not None
    assert (reading.usage.input_tokens, reading.usage.cache_read_tokens, reading.usage.output_tokens) == (370, 60, 50)


def test_several_deltas() -> None:
    """Of several message_delta events the last counts."""
    first: Json = {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 20}}
    body = sse(message_start(START), first, *text_block("Hi"), *message_end({"output_tokens": 50}), named=True)
    usage = read("anthropic.messages", body, provider="anthropic").usage
    assert usage is not None
    assert usage.output_tokens == 50


@pytest.mark.parametrize("streamed", [False, True])
def test_a_split_that_does_not_cover_the_writes(*, streamed: bool) -> None:
    """cache_creation comes only at the start, more is written after it: 1000 = 600 for 5 minutes + 400 unsplit."""
    split = {"ephemeral_5m_input_tokens": 600, "ephemeral_1h_input_tokens": 0}
    start = {"input_tokens": 10, "cache_creation_input_tokens": 600, "cache_creation": split, "output_tokens": 1}
    end = {"cache_creation_input_tokens": 1000, "output_tokens": 5}
    body = claude(start, end) if streamed else whole({**start, **end})
    reading = read("anthropic.messages", body, provider="anthropic")
    assert reading.usage == Usage(
        input_tokens=1010,
        cache_write_tokens=1000,
        cache_write_5m_tokens=600,
        cache_write_1h_tokens=0,
        output_tokens=5,
    )
    assert counted(reading).leaves()["cache_write_tokens"] == 400
    assert kinds(reading) == [("details_incomplete", "cache_write_tokens")]


def test_thinking_is_inside_the_output() -> None:
    """thinking_tokens is a share of output_tokens."""
    usage = {"input_tokens": 10, "output_tokens": 80, "output_tokens_details": {"thinking_tokens": 60}}
    reading = read("anthropic.messages", whole(usage), provider="anthropic")
    assert reading.usage == Usage(input_tokens=10, output_tokens=80, output_reasoning_tokens=60)


def test_thoughts_are_text() -> None:
    """Thinking deltas count as text, their signatures do not."""
    delta: Json = {"type": "content_block_delta", "index": 0}
    body = sse(
        message_start(START),
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
        {**delta, "delta": {"type": "thinking_delta", "thinking": "hmm"}},
        {**delta, "delta": {"type": "thinking_delta", "thinking": " aha"}},
        {**delta, "delta": {"type": "signature_delta", "signature": "x" * 100}},
        *message_end({"output_tokens": 9}),
        named=True,
    )
    assert read("anthropic.messages", body, provider="anthropic").text_bytes == len(b"hmm aha")


# ---- what is billed beside the top-level usage


def test_advisor() -> None:
    """An advisor's tokens are not in the top-level usage and are billed at its own model."""
    iterations = [
        {"type": "message", "input_tokens": 100, "output_tokens": 20},
        {"type": "advisor_message", "model": "claude-opus-4-9", "input_tokens": 300, "output_tokens": 40},
        {"type": "message", "input_tokens": 150, "output_tokens": 30},
    ]
    start = {"input_tokens": 100, "output_tokens": 1}
    end = {"input_tokens": 250, "output_tokens": 50, "iterations": iterations}
    reading = read("anthropic.messages", claude(start, end, model="claude-haiku-4-8"), provider="anthropic")
    first, advisor = reading.parts
    assert (first.model, first.usage, first.billed, first.kind) == (
        "claude-haiku-4-8",
        Usage(input_tokens=250, output_tokens=50),
        True,
        "message",
    )
    assert (advisor.model, advisor.usage) == ("claude-opus-4-9", Usage(input_tokens=300, output_tokens=40))
    assert (advisor.billed, advisor.kind) == (True, "advisor_message")
    # 250 + 300 and 50 + 40
    assert reading.usage == Usage(input_tokens=550, output_tokens=90)
    assert reading.response_model == "claude-haiku-4-8"


def test_compaction() -> None:
    """A compaction's tokens are beside the top-level usage too, at the message's own model."""
    iterations = [
        {"type": "compaction", "input_tokens": 9000, "output_tokens": 400},
        {"type": "message", "input_tokens": 500, "output_tokens": 30},
    ]
    usage = {"input_tokens": 500, "output_tokens": 30, "iterations": iterations}
    reading = read("anthropic.messages", whole(usage), provider="anthropic")
    _, compaction = reading.parts
    assert (compaction.model, compaction.kind, compaction.billed) == ("claude-opus-4-8", "compaction", True)
    assert compaction.usage == Usage(input_tokens=9000, output_tokens=400)
    assert reading.usage == Usage(input_tokens=9500, output_tokens=430)


def test_messages_alone_are_the_top_level() -> None:
    """Iterations of type message are what the top-level usage sums: nothing is billed beside it."""
    iterations = [{"type": "message", "input_tokens": 100, "output_tokens": 20}] * 2
    reading = read("anthropic.messages", whole({"input_tokens": 200, "output_tokens": 40, "iterations": iterations}))
    assert len(reading.parts) == 1
    assert reading.usage == Usage(input_tokens=200, output_tokens=40)


def test_fallback_after_a_refusal_without_output() -> None:
    """The fallback's model is the one to price; the hop that declined without output is listed and not billed."""
    iterations = [
        {"type": "message", "model": "claude-fable-5", "input_tokens": 100, "output_tokens": 0},
        {"type": "fallback_message", "model": "claude-opus-4-8", "input_tokens": 110, "output_tokens": 30},
    ]
    start = {"input_tokens": 100, "output_tokens": 0}
    end = {"input_tokens": 110, "output_tokens": 30, "iterations": iterations}
    reading = read("anthropic.messages", claude(start, end, model="claude-fable-5"), provider="anthropic")
    assert reading.response_model == "claude-opus-4-8"
    served, declined = reading.parts
    assert (served.model, served.usage, served.billed) == (
        "claude-opus-4-8",
        Usage(input_tokens=110, output_tokens=30),
        True,
    )
    assert (declined.model, declined.usage, declined.billed) == (
        "claude-fable-5",
        Usage(input_tokens=100, output_tokens=0),
        False,
    )
    assert reading.usage == Usage(input_tokens=110, output_tokens=30)


def test_fallback_after_a_hop_with_output() -> None:
    """A hop that gave output before it was declined is billed at its own model, which the start names."""
    iterations = [
        {"type": "message", "input_tokens": 100, "output_tokens": 8},
        {"type": "fallback_message", "model": "claude-opus-4-8", "input_tokens": 110, "output_tokens": 30},
    ]
    start = {"input_tokens": 100, "output_tokens": 0}
    end = {"input_tokens": 110, "output_tokens": 30, "iterations": iterations}
    reading = read("anthropic.messages", claude(start, end, model="claude-fable-5"), provider="anthropic")
    _, declined = reading.parts
    assert (declined.model, declined.billed) == ("claude-fable-5", True)
    assert reading.usage == Usage(input_tokens=210, output_tokens=38)


# ---- what changes the price


@pytest.mark.parametrize(
    ("members", "context"),
    [
        ({"service_tier": "standard"}, ()),
        ({"service_tier": "priority"}, (("service_tier", "priority"),)),
        ({"service_tier": "batch"}, (("processing", "batch"),)),
        ({"speed": "fast"}, (("speed", "fast"),)),
        ({"inference_geo": "us"}, (("inference_geo", "us"),)),
        ({"service_tier": "priority", "inference_geo": "us"}, (("inference_geo", "us"), ("service_tier", "priority"))),
    ],
)
def test_price_context(members: Json, context: tuple[tuple[str, str], ...]) -> None:
    """Tier, speed and place of the inference are handed on to pricing."""
    usage = {"input_tokens": 10, "output_tokens": 5, **members}
    assert read("anthropic.messages", whole(usage), provider="anthropic").price_context == context
    start = {**usage, "output_tokens": 1}
    assert read("anthropic.messages", claude(start, {"output_tokens": 5})).price_context == context


# ---- tools, errors, pings


def test_tools_of_the_caller_and_of_the_server() -> None:
    """tool_use is the caller's; server_tool_use and mcp_tool_use run at Anthropic and are no calls of ours."""
    delta: Json = {"type": "content_block_delta"}
    body = sse(
        message_start(START),
        {"type": "content_block_start", "index": 0, "content_block": {"type": "server_tool_use", "name": "web_search"}},
        {**delta, "index": 0, "delta": {"type": "input_json_delta", "partial_json": '{"query":"x"}'}},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "mcp_tool_use", "name": "look"}},
        {
            "type": "content_block_start",
            "index": 2,
            "content_block": {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}},
        },
        {**delta, "index": 2, "delta": {"type": "input_json_delta", "partial_json": '{"city": '}},
        {**delta, "index": 2, "delta": {"type": "input_json_delta", "partial_json": '"Zürich"}'}},
        *message_end({"output_tokens": 9}, reason="tool_use"),
        named=True,
    )
    reading = read("anthropic.messages", body, provider="anthropic")
    # {"city": "Zürich"} has 18 characters, one of them of two bytes
    assert reading.tool_calls == (ToolCall(id="toolu_1", name="weather", argument_bytes=19),)
    assert reading.finish_reason == "tool_use"


def test_tools_of_a_whole_body() -> None:
    """The arguments of a whole body are an object: their length is that of compact JSON."""
    content = [
        {"type": "server_tool_use", "id": "srv", "name": "web_search", "input": {"query": "x"}},
        {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Rome"}},
        {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}},
    ]
    reading = read("anthropic.messages", whole(START, content=content), provider="anthropic")
    assert reading.tool_calls == (
        ToolCall(id="toolu_1", name="weather", argument_bytes=len('{"city":"Rome"}')),
        ToolCall(id="toolu_2", name="now"),
    )


def test_ping() -> None:
    """Pings in a stream change nothing."""
    ping: Json = {"type": "ping"}
    body = sse(message_start(START), ping, *text_block("Hi"), ping, *message_end({"output_tokens": 9}), named=True)
    reading = read("anthropic.messages", body, provider="anthropic")
    assert reading.usage is not None
    assert (reading.usage.output_tokens, reading.complete, reading.fault) == (9, True, None)


def test_error_event() -> None:
    """An error in the midst of a stream is the provider's error; the stream is not complete."""
    error: Json = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    reading = read("anthropic.messages", sse(message_start(START), *text_block("Hi"), error, named=True))
    assert reading.error == ProviderError(type="overloaded_error", message="Overloaded")
    assert reading.complete is False


def test_http_error() -> None:
    """An HTTP error names its type and carries no usage."""
    body: Json = {"type": "error", "error": {"type": "rate_limit_error", "message": "Slow down"}, "request_id": "r"}
    reading = read("anthropic.messages", body, status=429, provider="anthropic")
    assert reading.error == ProviderError(type="rate_limit_error", message="Slow down")
    assert reading.usage is None


def test_openrouter_opens_with_zeros_and_nulls() -> None:
    """OpenRouter's message_start has zeros and nulls; message_delta has everything, the cost too."""
    start = {"input_tokens": 0, "output_tokens": 0, "cache_read_input_tokens": None, "cache_creation": None}
    end = {
        "input_tokens": 40,
        "output_tokens": 9,
        "cache_read_input_tokens": 60,
        "cache_creation_input_tokens": 0,
        "cost": EXACT("0.000345"),
    }
    reading = read("anthropic.messages", claude(start, end), provider="openrouter")
    assert reading.usage == Usage(input_tokens=100, cache_read_tokens=60, cache_write_tokens=0, output_tokens=9)
    assert reading.provider_cost == Money.usd("0.000345")


def test_input_that_is_not_counted() -> None:
    """Output without any input is named."""
    reading = read("anthropic.messages", whole({"output_tokens": 9}))
    assert reading.usage == Usage(output_tokens=9)
    assert kinds(reading) == [("count_absent", "input_tokens")]


def test_raw_usage_is_what_was_said_last() -> None:
    """The raw usage of a stream has every member with its last value."""
    reading = read("anthropic.messages", claude({"input_tokens": 5, "output_tokens": 1}, {"output_tokens": 9}))
    assert reading.raw_usage == dump({"input_tokens": 5, "output_tokens": 9}).decode()


def test_complete_states_no_usage() -> None:
    """The legacy Complete says nothing about tokens."""
    body: Json = {"type": "completion", "id": "c1", "completion": " Hi", "stop_reason": "stop_sequence", "model": "c-2"}
    reading = read("anthropic.complete", body, provider="anthropic")
    assert (reading.usage, reading.usage_source, reading.finish_reason) == (None, "unknown", "stop_sequence")
    pieces = [{**body, "completion": " Good", "stop_reason": None}, {**body, "completion": " day"}]
    reading = read("anthropic.complete", sse(*pieces, named=True), provider="anthropic")
    assert (reading.usage, reading.complete, reading.text_bytes) == (None, True, len(b" Good day"))
