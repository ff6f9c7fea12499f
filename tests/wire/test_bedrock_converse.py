"""Bedrock's Converse and ConverseStream."""

from __future__ import annotations

import pytest

from taximeter.event import ProviderError, ToolCall
from taximeter.usage import Usage
from tests.wire.making import Json, kinds, message, read

EVENTS = "application/vnd.amazon.eventstream"


def usage(given: int, output: int, read: int = 0, written: int = 0, **members: object) -> Json:
    """Converse's usage: the total is the sum of all four."""
    return {
        "inputTokens": given,
        "outputTokens": output,
        "totalTokens": given + output + read + written,
        "cacheReadInputTokens": read,
        "cacheWriteInputTokens": written,
        **members,
    }


def body(counted: object, **members: object) -> Json:
    """A whole answer."""
    output: Json = {"message": {"role": "assistant", "content": [{"text": "Good day."}]}}
    return {"output": output, "stopReason": "end_turn", "usage": counted, "metrics": {"latencyMs": 9}, **members}


def delta(text: str, padding: str = "abc") -> bytes:
    """A piece of text."""
    return message("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": text}, "p": padding})


def stream(*ending: bytes) -> bytes:
    """A stream that says "Good day." and ends with the given messages."""
    start = message("messageStart", {"role": "assistant", "p": "a"})
    text = [delta("Good"), delta(" da", "abcdefg"), delta("y.", "a")]
    return b"".join([start, *text, message("contentBlockStop", {"contentBlockIndex": 0}), *ending])


STOP = message("messageStop", {"stopReason": "end_turn", "p": "ab"})


def test_whole_body() -> None:
    """The count inputTokens excludes the cache: 10 + 60 + 300 = 370; no answer names a model."""
    reading = read("bedrock.converse", body(usage(10, 7, 60, 300)), provider="bedrock", model="anthropic.claude-x")
    assert reading.usage == Usage(input_tokens=370, cache_read_tokens=60, cache_write_tokens=300, output_tokens=7)
    assert reading.contradictions == ()
    assert (reading.response_model, reading.finish_reason, reading.text_bytes) == (None, "end_turn", 9)


def test_duplicates_with_another_name() -> None:
    """The undocumented …TokenCount members repeat the counts and are not added."""
    again = {"cacheReadInputTokenCount": 60, "cacheWriteInputTokenCount": 300}
    whole = read("bedrock.converse", body({**usage(10, 7, 60, 300), **again}), provider="bedrock")
    alone = {"inputTokens": 10, "outputTokens": 7, "totalTokens": 377, **again}
    assert whole.usage == read("bedrock.converse", body(alone), provider="bedrock").usage
    assert whole.usage == Usage(input_tokens=370, cache_read_tokens=60, cache_write_tokens=300, output_tokens=7)


def test_cache_by_time_to_live() -> None:
    """The cacheDetails split what was written by how long it lives."""
    details = [{"ttl": "5m", "inputTokens": 200}, {"ttl": "1h", "inputTokens": 100}]
    reading = read("bedrock.converse", body(usage(10, 7, 0, 300, cacheDetails=details)), provider="bedrock")
    assert reading.usage == Usage(
        input_tokens=310,
        cache_read_tokens=0,
        cache_write_tokens=300,
        cache_write_5m_tokens=200,
        cache_write_1h_tokens=100,
        output_tokens=7,
    )


def test_a_total_that_is_not_the_sum() -> None:
    """A total that disagrees is named."""
    reading = read("bedrock.converse", body({"inputTokens": 10, "outputTokens": 7, "totalTokens": 20}))
    assert reading.usage == Usage(input_tokens=10, output_tokens=7)
    assert kinds(reading) == [("total_disagrees", "total_tokens")]


def test_stream() -> None:
    """A messageStop says why it ended, the metadata after it what was counted."""
    end = message("metadata", {"usage": usage(10, 7, 60), "metrics": {"latencyMs": 9}, "p": "abcd"})
    reading = read("bedrock.converse", stream(STOP, end), provider="bedrock", content_type=EVENTS)
    assert reading.usage == Usage(input_tokens=70, cache_read_tokens=60, cache_write_tokens=0, output_tokens=7)
    assert (reading.usage_source, reading.stream, reading.complete) == ("reported", True, True)
    assert (reading.finish_reason, reading.text_bytes) == ("end_turn", len(b"Good day."))


def test_stream_without_metadata() -> None:
    """A messageStop alone is not the end: the usage is unknown and the stream not complete."""
    reading = read("bedrock.converse", stream(STOP), provider="bedrock", content_type=EVENTS)
    assert (reading.usage, reading.usage_source) == (None, "unknown")
    assert (reading.finish_reason, reading.complete) == ("end_turn", False)


def test_gpt_56_counts_its_cache_twice_in_streams() -> None:
    """4,995 in, 4,993 of them written, 19 out, and a total of 10,007 that counts the cache twice: input is 4,995."""
    counted = usage(4995, 19, 0, 4993)
    assert counted["totalTokens"] == 10_007
    end = message("metadata", {"usage": counted})
    model = "openai.gpt-5.6-sol"
    reading = read("bedrock.converse", stream(STOP, end), provider="bedrock", model=model, content_type=EVENTS)
    assert reading.usage == Usage(input_tokens=4995, cache_read_tokens=0, cache_write_tokens=4993, output_tokens=19)
    assert kinds(reading) == [("sources_disagree", "input_tokens")]
    whole = read("bedrock.converse", body(usage(2, 19, 0, 4993)), provider="bedrock", model=model)
    assert whole.usage == reading.usage
    assert whole.contradictions == ()


def test_other_models_exclude_the_cache_in_streams() -> None:
    """For every other model the same figures mean what they say."""
    end = message("metadata", {"usage": usage(4995, 19, 0, 4993)})
    reading = read("bedrock.converse", stream(STOP, end), model="amazon.nova-pro-v1:0", content_type=EVENTS)
    assert reading.usage is not None
    assert reading.usage.input_tokens == 9988
    assert reading.contradictions == ()


def test_guardrail() -> None:
    """What a guardrail's trace counts is not the call's usage."""
    trace: Json = {"guardrail": {"inputAssessment": {"g": {"invocationMetrics": {"usage": {"topicPolicyUnits": 1}}}}}}
    blocked = body(usage(0, 0), stopReason="guardrail_intervened", trace=trace)
    reading = read("bedrock.converse", blocked, provider="bedrock")
    assert reading.finish_reason == "guardrail_intervened"
    assert reading.usage == Usage(input_tokens=0, cache_read_tokens=0, cache_write_tokens=0, output_tokens=0)


def test_prompt_router() -> None:
    """A router's trace names the model that served."""
    served = "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-haiku-4-5"
    trace: Json = {"promptRouter": {"invokedModelId": served}}
    assert read("bedrock.converse", body(usage(1, 1), trace=trace)).response_model == "anthropic.claude-haiku-4-5"


@pytest.mark.parametrize(
    ("tier", "context"),
    [("default", ()), ("priority", (("service_tier", "priority"),)), ("flex", (("service_tier", "flex"),))],
)
def test_service_tier(tier: str, context: tuple[tuple[str, str], ...]) -> None:
    """The tier is an object with a type."""
    reading = read("bedrock.converse", body(usage(1, 1), serviceTier={"type": tier}))
    assert (reading.service_tier, reading.price_context) == (tier, context)


def test_tools() -> None:
    """Tool calls of a stream: name and id at the block's start, arguments in deltas; the server's are not ours."""
    tool: Json = {"toolUse": {"toolUseId": "t1", "name": "weather"}}
    server: Json = {"toolUse": {"toolUseId": "t2", "name": "nova_grounding", "type": "server_tool_use"}}
    events = b"".join(
        [
            message("contentBlockStart", {"contentBlockIndex": 1, "start": tool}),
            *[
                message("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"toolUse": {"input": piece}}})
                for piece in ('{"city":', '"Rome"}')
            ],
            message("contentBlockStart", {"contentBlockIndex": 2, "start": server}),
        ]
    )
    end = message("metadata", {"usage": usage(10, 7)})
    reading = read("bedrock.converse", stream(events, STOP, end), content_type=EVENTS)
    assert reading.tool_calls == (ToolCall(id="t1", name="weather", argument_bytes=15),)
    content = [{"toolUse": {"toolUseId": "t1", "name": "weather", "input": {"city": "Rome"}}}]
    whole = body(usage(1, 1), output={"message": {"content": content}})
    assert read("bedrock.converse", whole).tool_calls == reading.tool_calls


@pytest.mark.parametrize(
    "name",
    ["modelStreamErrorException", "throttlingException", "internalServerException", "serviceUnavailableException"],
)
def test_exception_in_a_stream(name: str) -> None:
    """An exception message is the provider's error, named by its type."""
    failed = message(name, {"message": "Sorry"}, kind="exception")
    reading = read("bedrock.converse", stream(failed), content_type=EVENTS)
    assert reading.error == ProviderError(type=name, message="Sorry")
    assert (reading.complete, reading.usage) == (False, None)


def test_http_error() -> None:
    """An HTTP error's message has no envelope."""
    reading = read("bedrock.converse", {"message": "Too many tokens"}, status=429, provider="bedrock")
    assert reading.error == ProviderError(message="Too many tokens")
    assert reading.usage is None


def test_request_id() -> None:
    """The id of the answer is in a header."""
    reading = read("bedrock.converse", body(usage(1, 1)), headers=[("x-amzn-RequestId", "req-1")])
    assert reading.response_id == "req-1"
