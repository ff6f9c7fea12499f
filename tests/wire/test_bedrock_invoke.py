"""Bedrock's InvokeModel: the body of whoever made the model, and Amazon's counts beside it."""

from __future__ import annotations

import base64

import pytest

from taximeter.event import ProviderError, ToolCall
from taximeter.usage import Usage
from taximeter.wire import Reading
from tests.wire.making import (
    Json,
    chat_body,
    chat_usage,
    dump,
    kinds,
    message,
    message_end,
    message_start,
    read,
    text_block,
)

EVENTS = "application/vnd.amazon.eventstream"


def headers(given: int, output: int, cached: int | None = None, written: int | None = None) -> list[tuple[str, str]]:
    """Amazon's counts of a whole answer."""
    named = {"input": given, "output": output, "cache-read-input": cached, "cache-write-input": written}
    return [(f"X-Amzn-Bedrock-{name}-Token-Count", str(n)) for name, n in named.items() if n is not None]


def whole(model: str, body: Json, given: int, output: int) -> Reading:
    """Reads a whole answer with Amazon's counts beside it."""
    return read("bedrock.invoke", body, provider="bedrock", model=model, headers=headers(given, output))


def chunks(*events: Json) -> bytes:
    """A stream of the maker's events, each in base64 with some padding."""
    return b"".join(
        message("chunk", {"bytes": base64.b64encode(dump(event)).decode(), "p": "abc"[: number % 3]})
        for number, event in enumerate(events)
    )


def streamed(model: str, *events: Json) -> Reading:
    """Reads a stream."""
    return read("bedrock.invoke", chunks(*events), provider="bedrock", model=model, content_type=EVENTS)


def metrics(given: int, output: int, **members: object) -> Json:
    """Amazon's counts on the last event of a stream."""
    counted = {"inputTokenCount": given, "outputTokenCount": output, "invocationLatency": 9, **members}
    return {"amazon-bedrock-invocationMetrics": counted}


CLAUDE: Json = {
    "type": "message",
    "id": "msg_1",
    "model": "claude-opus-4-8",
    "content": [{"type": "text", "text": "Good day."}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 10, "cache_read_input_tokens": 60, "output_tokens": 7},
}


def test_claude() -> None:
    """Anthropic's body is read as Anthropic's; Amazon's headers agree with it, the cache apart in both."""
    beside = headers(10, 7, 60, 0)
    reading = read("bedrock.invoke", CLAUDE, provider="bedrock", model="anthropic.claude-opus-4-8", headers=beside)
    assert reading.usage == Usage(input_tokens=70, cache_read_tokens=60, output_tokens=7)
    assert (reading.response_model, reading.response_id) == ("claude-opus-4-8", "msg_1")
    assert reading.contradictions == ()


def test_claude_in_a_stream() -> None:
    """The stream's last event carries Amazon's counts; the body's own are the same and win."""
    events = [
        message_start({"input_tokens": 10, "output_tokens": 1}),
        *text_block("Good", " da", "y."),
        *message_end({"output_tokens": 7}),
    ]
    events[-1] |= metrics(10, 7)
    reading = streamed("anthropic.claude-opus-4-8", *events)
    assert reading.usage == Usage(input_tokens=10, output_tokens=7)
    assert (reading.usage_source, reading.complete) == ("reported", True)
    assert (reading.text_bytes, reading.contradictions) == (len(b"Good day."), ())


def test_counts_that_disagree() -> None:
    """The metrics' output disagrees with message_delta at times (97 and 133): the body's is taken, and that is said."""
    events = [message_start({"input_tokens": 10, "output_tokens": 1}), *message_end({"output_tokens": 133})]
    events[-1] |= metrics(10, 97)
    reading = streamed("anthropic.claude-opus-4-8", *events)
    assert reading.usage == Usage(input_tokens=10, output_tokens=133)
    assert kinds(reading) == [("sources_disagree", "output_tokens")]


def test_headers_that_disagree() -> None:
    """The same for a whole body and its headers."""
    reading = read("bedrock.invoke", CLAUDE, headers=headers(10, 9, 60))
    assert reading.usage == Usage(input_tokens=70, cache_read_tokens=60, output_tokens=7)
    assert kinds(reading) == [("sources_disagree", "output_tokens")]


def test_older_claude() -> None:
    """The old completion body counts nothing: the headers are the only source."""
    body: Json = {"type": "completion", "completion": " Hi", "stop_reason": "stop_sequence", "stop": "\n\nHuman:"}
    reading = whole("anthropic.claude-v2", body, 12, 3)
    assert reading.usage == Usage(input_tokens=12, output_tokens=3)
    assert (reading.finish_reason, reading.usage_source) == ("stop_sequence", "reported")


@pytest.mark.parametrize(
    ("model", "body", "reason"),
    [
        (
            "cohere.command-text-v14",
            {"generations": [{"finish_reason": "COMPLETE", "id": "1", "text": "Hi"}], "id": "1", "prompt": "x"},
            "COMPLETE",
        ),
        ("mistral.mistral-7b-instruct-v0:2", {"outputs": [{"text": "Hi", "stop_reason": "stop"}]}, "stop"),
        ("cohere.command-r-v1:0", {"text": "Hi", "finish_reason": "COMPLETE", "generation_id": "1"}, "COMPLETE"),
    ],
)
def test_bodies_that_count_nothing(model: str, body: Json, reason: str) -> None:
    """Cohere's and Mistral's bodies have no counts: Amazon's headers are the only source."""
    reading = whole(model, body, 12, 3)
    assert reading.usage == Usage(input_tokens=12, output_tokens=3)
    assert (reading.finish_reason, reading.text_bytes) == (reason, 2)


def test_ai21() -> None:
    """AI21's body is OpenAI-shaped; the headers agree."""
    body = chat_body(chat_usage(12, 3), model="jamba")
    reading = whole("ai21.jamba-1-5-large-v1:0", body, 12, 3)
    assert reading.usage == Usage(input_tokens=12, output_tokens=3)
    assert (reading.response_model, reading.finish_reason) == ("jamba", "stop")


def test_titan() -> None:
    """Titan counts the input at the top and the output in its result."""
    body: Json = {
        "inputTextTokenCount": 12,
        "results": [{"tokenCount": 3, "outputText": "Hi", "completionReason": "FINISH"}],
    }
    reading = whole("amazon.titan-text-express-v1", body, 12, 3)
    assert reading.usage == Usage(input_tokens=12, output_tokens=3)
    assert (reading.finish_reason, reading.contradictions) == ("FINISH", ())


def test_titan_in_a_stream() -> None:
    """Titan's pieces state the whole at the end."""
    piece: Json = {"outputText": "Hi", "index": 0, "totalOutputTextTokenCount": None, "inputTextTokenCount": 12}
    last: Json = {**piece, "totalOutputTextTokenCount": 6, "completionReason": "FINISH", **metrics(12, 6)}
    reading = streamed("amazon.titan-text-express-v1", piece, last)
    assert reading.usage == Usage(input_tokens=12, output_tokens=6)
    assert reading.complete is True


def test_titan_embedding() -> None:
    """An embedding has input alone."""
    body: Json = {"embedding": [1, 2], "inputTextTokenCount": 12}
    reading = read(
        "bedrock.invoke",
        body,
        model="amazon.titan-embed-text-v2:0",
        headers=[("x-amzn-bedrock-input-token-count", "12")],
    )
    assert reading.usage == Usage(input_tokens=12)
    assert reading.usage_source == "reported"


def test_llama() -> None:
    """Llama counts prompt and generation in the body."""
    body: Json = {"generation": "Hi", "prompt_token_count": 12, "generation_token_count": 3, "stop_reason": "stop"}
    reading = whole("meta.llama3-8b-instruct-v1:0", body, 12, 3)
    assert reading.usage == Usage(input_tokens=12, output_tokens=3)
    assert reading.finish_reason == "stop"


def test_llama_in_a_stream() -> None:
    """Llama's counts grow from event to event: the last one counts, and the input is told once."""
    events: list[Json] = [
        {"generation": "Hi", "prompt_token_count": 12, "generation_token_count": 1, "stop_reason": None},
        {"generation": " you", "prompt_token_count": None, "generation_token_count": 2, "stop_reason": None},
        {"generation": "", "prompt_token_count": None, "generation_token_count": 3, "stop_reason": "stop"},
    ]
    events[-1] |= metrics(12, 3)
    reading = streamed("meta.llama3-8b-instruct-v1:0", *events)
    assert reading.usage == Usage(input_tokens=12, output_tokens=3)
    assert (reading.finish_reason, reading.contradictions) == ("stop", ())


def test_nova() -> None:
    """Nova's body is Converse's, its cache apart."""
    body: Json = {
        "output": {"message": {"content": [{"text": "Hi"}], "role": "assistant"}},
        "stopReason": "end_turn",
        "usage": {
            "inputTokens": 10,
            "outputTokens": 3,
            "totalTokens": 73,
            "cacheReadInputTokenCount": 60,
            "cacheWriteInputTokenCount": 0,
        },
    }
    beside = headers(10, 3, 60, 0)
    reading = read("bedrock.invoke", body, provider="bedrock", model="amazon.nova-lite-v1:0", headers=beside)
    assert reading.usage == Usage(input_tokens=70, cache_read_tokens=60, cache_write_tokens=0, output_tokens=3)
    assert reading.contradictions == ()


def test_nova_in_a_stream() -> None:
    """Nova's events are Converse's, wrapped by their names."""
    tool: Json = {"toolUse": {"toolUseId": "t1", "name": "weather"}}
    events: list[Json] = [
        {"messageStart": {"role": "assistant"}},
        {"contentBlockDelta": {"delta": {"text": "Hi"}, "contentBlockIndex": 0}},
        {"contentBlockStart": {"start": tool, "contentBlockIndex": 1}},
        {"contentBlockDelta": {"delta": {"toolUse": {"input": "{}"}}, "contentBlockIndex": 1}},
        {"messageStop": {"stopReason": "tool_use"}},
        {"metadata": {"usage": {"inputTokens": 10, "outputTokens": 3}}, **metrics(10, 3)},
    ]
    reading = streamed("amazon.nova-lite-v1:0", *events)
    assert reading.usage == Usage(input_tokens=10, output_tokens=3)
    assert reading.tool_calls == (ToolCall(id="t1", name="weather", argument_bytes=2),)
    assert (reading.finish_reason, reading.complete) == ("tool_use", True)


def test_body_without_the_output() -> None:
    """A guardrail's mask may leave the body without its output count, while the header has it."""
    body: Json = {
        "output": {"message": {"content": [{"text": "****"}]}},
        "stopReason": "guardrail_intervened",
        "usage": {"inputTokens": 10},
        "amazon-bedrock-guardrailAction": "INTERVENED",
    }
    reading = whole("amazon.nova-lite-v1:0", body, 10, 3)
    assert reading.usage == Usage(input_tokens=10, output_tokens=3)
    assert kinds(reading) == [("count_absent", "output_tokens")]


def test_cut_stream() -> None:
    """Without the metrics the stream is not complete."""
    events = [message_start({"input_tokens": 10, "output_tokens": 1}), *text_block("Good day")]
    reading = streamed("anthropic.claude-opus-4-8", *events)
    assert reading.complete is False
    assert reading.usage_source == "estimated"


def test_exception() -> None:
    """An exception in the midst of a stream is the provider's error."""
    start = chunks(message_start({"input_tokens": 10, "output_tokens": 1}))
    body = start + message("throttlingException", {"message": "Slow down"}, kind="exception")
    reading = read("bedrock.invoke", body, provider="bedrock", content_type=EVENTS)
    assert reading.error == ProviderError(type="throttlingException", message="Slow down")
    assert reading.complete is False


def test_metrics_are_the_last_word_where_the_body_has_none() -> None:
    """A message whose closing figures never came is counted by Amazon's metrics, not by its opening ones."""
    events: list[Json] = [message_start({"input_tokens": 10, "output_tokens": 1}), *text_block("Hi")]
    events.append({"type": "message_stop", **metrics(10, 6, cacheReadInputTokenCount=60)})
    reading = streamed("anthropic.claude-opus-4-8", *events)
    assert reading.usage == Usage(input_tokens=70, cache_read_tokens=60, output_tokens=6)
    assert (reading.usage_source, reading.complete) == ("reported", True)


def test_guardrail_in_the_models_stead() -> None:
    """A stream that a guardrail wrote, without metrics, invoked no model: its figures are no usage."""
    opening = message_start({"input_tokens": 0, "output_tokens": 0})
    opening["amazon-bedrock-guardrailAction"] = "INTERVENED"
    reading = streamed("anthropic.claude-opus-4-8", opening, *text_block("No."), *message_end({"output_tokens": 0}))
    assert (reading.usage, reading.usage_source) == (None, "unknown")


@pytest.mark.parametrize("encoded", ["%", "abc", "AAAA"])
def test_no_base64(encoded: str) -> None:
    """A chunk that is no base64, or no JSON in it, is a fault; what came before it counts."""
    start = chunks(message_start({"input_tokens": 10, "output_tokens": 1}))
    reading = read("bedrock.invoke", start + message("chunk", {"bytes": encoded}), content_type=EVENTS)
    assert reading.fault is not None
    assert reading.usage is not None
    assert reading.usage.input_tokens == 10


def test_messages_of_other_names() -> None:
    """Messages that are no chunks are passed over."""
    body = message("initial-response", {}) + chunks(message_start({"input_tokens": 10, "output_tokens": 1}))
    reading = read("bedrock.invoke", body + message("chunk", {"p": "abc"}), content_type=EVENTS)
    assert reading.usage is not None
    assert (reading.usage.input_tokens, reading.fault) == (10, None)
