"""How those who speak Chat Completions count differently; see also ``test_gateways.py``."""

from __future__ import annotations

from decimal import Decimal

import pytest

from taximeter.event import ProviderError, ToolCall
from taximeter.money import Money
from taximeter.usage import Usage
from tests.wire.making import EXACT, Json, chat_body, chat_chunk, chat_usage, kinds, read, sse, usage_chunk

USAGE = chat_usage(12, 7)
COUNTED = Usage(input_tokens=12, output_tokens=7)


# ---- Mistral


def test_mistral_states_usage_with_the_finish_reason() -> None:
    """Mistral sends usage unasked on the finish chunk; the cached tokens are inside the prompt."""
    usage = chat_usage(100, 7, prompt_tokens_details={"cached_tokens": 64}, service_tier="standard")
    body = sse(chat_chunk("Hi"), chat_chunk(finish="stop", usage=usage), done=True)
    reading = read("openai.chat", body, provider="mistral")
    assert reading.usage == Usage(input_tokens=100, cache_read_tokens=64, output_tokens=7)
    assert reading.service_tier == "standard"


def test_mistral_num_cached_tokens() -> None:
    """Older answers have num_cached_tokens beside the prompt, counted inside it."""
    reading = read("openai.chat", chat_body(chat_usage(100, 7, num_cached_tokens=64)), provider="mistral")
    assert reading.usage == Usage(input_tokens=100, cache_read_tokens=64, output_tokens=7)


def test_mistral_num_cached_tokens_above_the_prompt() -> None:
    """Older answers may count more cached tokens than the prompt has: clamped and named."""
    reading = read("openai.chat", chat_body(chat_usage(13, 7, num_cached_tokens=64)), provider="mistral")
    assert reading.usage == Usage(input_tokens=13, cache_read_tokens=13, output_tokens=7)
    assert kinds(reading) == [("subset_exceeds_total", "cache_read_tokens")]


def test_voxtral_counts_audio_outside_the_prompt() -> None:
    """9 + 375 + 248 = 632: prompt_tokens excludes the audio, whose seconds are told too."""
    usage = chat_usage(9, 248, 632, prompt_tokens_details={"audio_tokens": 375}, prompt_audio_seconds=EXACT("30.5"))
    reading = read("openai.chat", chat_body(usage), provider="mistral")
    assert reading.usage == Usage(
        input_tokens=384, input_audio_tokens=375, output_tokens=248, input_audio_seconds=Decimal("30.5")
    )
    assert reading.contradictions == ()


def test_voxtral_counts_audio_at_the_top() -> None:
    """The same where audio_tokens stands beside prompt_tokens."""
    usage = chat_usage(9, 248, 632, audio_tokens=375)
    reading = read("openai.chat", chat_body(usage), provider="mistral")
    assert reading.usage == Usage(input_tokens=384, input_audio_tokens=375, output_tokens=248)


# ---- Groq


def test_groq_usage_in_x_groq() -> None:
    """Groq's stream has its usage in x_groq of the last chunk."""
    usage = chat_usage(12, 7, queue_time=EXACT("0.01"), total_time=EXACT("0.2"))
    last = chat_chunk(finish="stop", x_groq={"id": "req_1", "usage": usage}, service_tier="on_demand")
    body = sse(chat_chunk("Hi", x_groq={"id": "req_1"}), last, done=True)
    reading = read("openai.chat", body, provider="groq")
    assert reading.usage == COUNTED
    assert reading.service_tier == "on_demand"


@pytest.mark.parametrize("copies", [1, 2, 3])
def test_groq_repeats_its_usage(copies: int) -> None:
    """Copies of the usage, in x_groq, at the top and in a chunk of its own, are one usage."""
    chunks = [
        chat_chunk("Hi"),
        chat_chunk(finish="stop", x_groq={"usage": USAGE}),
        usage_chunk(USAGE, x_groq={"usage": USAGE}),
        usage_chunk(USAGE),
    ]
    assert read("openai.chat", sse(*chunks[: 1 + copies], done=True), provider="groq").usage == COUNTED


def test_groq_compound_is_billed_by_model() -> None:
    """A compound system's usage is the sum over the models that it called, each billed at its own price."""
    breakdown: Json = {
        "models": [
            {"model": "llama-4-scout", "usage": chat_usage(100, 20)},
            {"model": "gpt-oss-120b", "usage": chat_usage(50, 30, completion_tokens_details={"reasoning_tokens": 10})},
        ]
    }
    body = chat_body(chat_usage(150, 50), model="groq/compound", usage_breakdown=breakdown)
    reading = read("openai.chat", body, provider="groq")
    whole, scout, oss = reading.parts
    assert (whole.model, whole.usage, whole.billed) == (
        "groq/compound",
        Usage(input_tokens=150, output_tokens=50),
        False,
    )
    assert (scout.model, scout.usage, scout.billed) == (
        "llama-4-scout",
        Usage(input_tokens=100, output_tokens=20),
        True,
    )
    assert (oss.model, oss.billed) == ("gpt-oss-120b", True)
    assert oss.usage == Usage(input_tokens=50, output_tokens=30, output_reasoning_tokens=10)
    assert reading.usage == Usage(input_tokens=150, output_tokens=50, output_reasoning_tokens=10)
    assert reading.contradictions == ()


def test_groq_compound_whose_sum_disagrees() -> None:
    """Where the models' usage does not sum to the call's, the call's is billed and the difference named."""
    breakdown: Json = {"models": [{"model": "llama-4-scout", "usage": chat_usage(100, 20)}]}
    body = chat_body(chat_usage(150, 50), model="groq/compound", usage_breakdown=breakdown)
    reading = read("openai.chat", body, provider="groq")
    assert reading.usage == Usage(input_tokens=150, output_tokens=50)
    assert [part.billed for part in reading.parts] == [True]
    assert kinds(reading) == [("sources_disagree", "input_tokens")]


def test_groq_error_event() -> None:
    """Groq ends a stream that fails with ``event: error`` and no ``[DONE]``."""
    body = sse(chat_chunk("Hi")) + b'event: error\ndata: {"error":{"message":"tool failed","type":"invalid"}}\n\n'
    reading = read("openai.chat", body, provider="groq")
    assert reading.error == ProviderError(type="invalid", message="tool failed")
    assert (reading.complete, reading.usage) == (False, None)


# ---- xAI


def test_xai_reasoning_is_outside() -> None:
    """The total is prompt + completion + reasoning: 10 + 5 + 200 = 215, so reasoning is output beside completion."""
    usage = chat_usage(
        10,
        5,
        215,
        completion_tokens_details={"reasoning_tokens": 200},
        prompt_tokens_details={"cached_tokens": 4, "text_tokens": 10},
        num_sources_used=3,
        cost_in_usd_ticks=11_862_500,
    )
    reading = read("openai.chat", chat_body(usage, model="grok-4.3"), provider="xai")
    assert reading.usage == Usage(input_tokens=10, cache_read_tokens=4, output_tokens=205, output_reasoning_tokens=200)
    assert reading.contradictions == ()
    # 11,862,500 ticks of 1e-10 USD
    assert reading.provider_cost == Money.usd("0.00118625")


def test_xai_running_usage() -> None:
    """Usage on every chunk is a running figure: the last one counts."""
    body = sse(
        *[
            chat_chunk(
                "word ", usage=chat_usage(10, n, 10 + n + 50, completion_tokens_details={"reasoning_tokens": 50})
            )
            for n in (1, 2, 3)
        ],
        chat_chunk(finish="stop", usage=chat_usage(10, 4, 64, completion_tokens_details={"reasoning_tokens": 50})),
        done=True,
    )
    reading = read("openai.chat", body, provider="xai")
    assert reading.usage == Usage(input_tokens=10, output_tokens=54, output_reasoning_tokens=50)
    assert reading.usage_source == "reported"
    assert reading.text_bytes == 3 * len(b"word ")


def test_xai_server_tools() -> None:
    """Searches that xAI ran are counted by kind."""
    usage = chat_usage(10, 5, server_side_tool_usage_details={"web_search_calls": 2, "x_search_calls": 1})
    reading = read("openai.chat", chat_body(usage), provider="xai")
    assert reading.usage == Usage(input_tokens=10, output_tokens=5, web_searches=2, social_searches=1)


# ---- DeepSeek, Cerebras, Together, Fireworks, Moonshot, Perplexity


def test_deepseek_hit_and_miss() -> None:
    """Cache hits and misses sum to the prompt: 100 = 64 + 36; reasoning is inside the completion."""
    usage = chat_usage(
        100,
        30,
        prompt_cache_hit_tokens=64,
        prompt_cache_miss_tokens=36,
        prompt_tokens_details={"cached_tokens": 64},
        completion_tokens_details={"reasoning_tokens": 20},
    )
    body = sse(chat_chunk("Hi"), chat_chunk(finish="stop", usage=usage), done=True)
    reading = read("openai.chat", body, provider="deepseek")
    assert reading.usage == Usage(input_tokens=100, cache_read_tokens=64, output_tokens=30, output_reasoning_tokens=20)


def test_deepseek_hits_alone() -> None:
    """prompt_cache_hit_tokens without details is the count of cached tokens."""
    usage = chat_usage(100, 30, prompt_cache_hit_tokens=64, prompt_cache_miss_tokens=36)
    reading = read("openai.chat", chat_body(usage), provider="deepseek")
    assert reading.usage == Usage(input_tokens=100, cache_read_tokens=64, output_tokens=30)


def test_deepseek_keeps_the_connection_alive() -> None:
    """While the model waits, a whole answer begins with blank lines and a stream with comments: neither matters."""
    whole = (
        b"\n\n\n\n\n\n\n\n\n\n\n\n" + b'{"model":"m","choices":[],"usage":{"prompt_tokens":12,"completion_tokens":7}}'
    )
    assert read("openai.chat", whole, provider="deepseek", content_type="application/json").usage == COUNTED
    stream = b": keep-alive\n\n: keep-alive\n\n" + sse(chat_chunk("Hi"), chat_chunk(finish="stop", usage=USAGE))
    reading = read("openai.chat", stream, provider="deepseek")
    assert (reading.usage, reading.stream) == (COUNTED, True)


def test_cerebras() -> None:
    """Cerebras sends usage unasked on the finish chunk, cache and reasoning included, timings beside it."""
    usage = chat_usage(
        100,
        30,
        prompt_tokens_details={"cached_tokens": 50},
        completion_tokens_details={"reasoning_tokens": 20},
    )
    last = chat_chunk(finish="stop", usage=usage, time_info={"queue_time": EXACT("0.1")})
    reading = read("openai.chat", sse(chat_chunk("Hi"), last, done=True), provider="cerebras")
    assert reading.usage == Usage(input_tokens=100, cache_read_tokens=50, output_tokens=30, output_reasoning_tokens=20)


@pytest.mark.parametrize("provider", ["together", "moonshot", "huggingface_together"])
def test_cached_tokens_at_the_top(provider: str) -> None:
    """usage.cached_tokens, beside the prompt, is inside it."""
    body = sse(chat_chunk("Hi"), chat_chunk(finish="stop", usage=chat_usage(100, 7, cached_tokens=64)), done=True)
    reading = read("openai.chat", body, provider=provider)
    assert reading.usage == Usage(input_tokens=100, cache_read_tokens=64, output_tokens=7)


def test_fireworks() -> None:
    """Fireworks puts usage on the last chunk, cached tokens in its details."""
    usage = chat_usage(100, 7, prompt_tokens_details={"cached_tokens": 64})
    last = chat_chunk(finish="stop", usage=usage, perf_metrics={"prompt-tokens": 100})
    reading = read("openai.chat", sse(chat_chunk("Hi"), last, done=True), provider="fireworks")
    assert reading.usage == Usage(input_tokens=100, cache_read_tokens=64, output_tokens=7)


def test_moonshot_usage_in_the_choice() -> None:
    """Moonshot's older API has the usage inside the choice."""
    chunk = chat_chunk(finish="stop")
    choice: Json = {"index": 0, "delta": {}, "finish_reason": "stop", "usage": USAGE}
    reading = read("openai.chat", sse(chat_chunk("Hi"), {**chunk, "choices": [choice]}, done=True), provider="moonshot")
    assert reading.usage == COUNTED
    assert reading.usage_source == "reported"


def test_perplexity_running_usage() -> None:
    """Usage on every chunk, cost in the last, CRLF, comments for pings and no ``[DONE]``."""
    cost: Json = {"input_tokens_cost": EXACT("0.000012"), "request_cost": EXACT("0.006"), "total_cost": EXACT("0.0061")}
    body = (
        sse(chat_chunk("Good", usage=chat_usage(12, 1)), end=b"\r\n")
        + b": ping - 2026-11-22 07:00:00.000000+00:00\r\n\r\n"
        + sse(chat_chunk(" day", usage=chat_usage(12, 2)), end=b"\r\n")
        + sse(chat_chunk(finish="stop", usage=chat_usage(12, 7, search_context_size="low", cost=cost)), end=b"\r\n")
    )
    reading = read("openai.chat", body, provider="perplexity")
    assert reading.usage == COUNTED
    assert (reading.usage_source, reading.complete) == ("reported", True)
    assert reading.provider_cost == Money.usd("0.0061")


def test_perplexity_deep_research() -> None:
    """Reasoning and citation tokens stand beside the completion and have prices of their own; so do searches."""
    usage = chat_usage(33, 7163, 7196, citation_tokens=20_028, num_search_queries=18, reasoning_tokens=73_997)
    reading = read("openai.chat", chat_body(usage), provider="perplexity")
    # 7,163 + 20,028 + 73,997 = 101,188
    assert reading.usage == Usage(
        input_tokens=33,
        output_tokens=101_188,
        output_reasoning_tokens=73_997,
        output_citation_tokens=20_028,
        web_searches=18,
    )
    assert reading.contradictions == ()


# ---- engines that people run themselves


def test_vllm_continuous_usage() -> None:
    """With continuous_usage_stats every chunk repeats a cumulative usage; the last counts."""
    body = sse(
        *[chat_chunk("word ", model="own/model", usage=chat_usage(10, n)) for n in range(1, 6)],
        chat_chunk(finish="stop", model="own/model", usage=chat_usage(10, 6)),
        usage_chunk(chat_usage(10, 6), model="own/model"),
        done=True,
    )
    reading = read("openai.chat", body, provider="vllm")
    assert reading.usage == Usage(input_tokens=10, output_tokens=6)
    assert reading.text_bytes == 5 * len(b"word ")


def test_llama_cpp_error_line() -> None:
    """llama.cpp's server tells an error in the midst of a stream by a line that begins with ``error:``."""
    body = sse(chat_chunk("Hi", model="/models/x.gguf")) + b'error: {"code":500,"message":"context is full"}\n\n'
    reading = read("openai.chat", body, provider="localhost")
    assert reading.error is not None
    assert reading.error.message == "context is full"
    assert reading.error.code == "500"
    assert (reading.complete, reading.response_model) == (False, "/models/x.gguf")


def test_databricks_null_counts_on_running_chunks() -> None:
    """Running chunks have completion_tokens null; the last has the figure."""
    running = {"prompt_tokens": 12, "completion_tokens": None, "total_tokens": None}
    body = sse(*[chat_chunk("Hi", usage=running)] * 3, chat_chunk(finish="stop", usage=USAGE), done=True)
    reading = read("openai.chat", body, provider="databricks")
    assert reading.usage == COUNTED
    assert (reading.usage_source, reading.contradictions) == ("reported", ())


def test_snowflake_has_no_finish_reason() -> None:
    """A stream without any finish reason is complete by ``[DONE]``, and its usage is the last word."""
    chunk: Json = {"id": "1", "model": "claude", "choices": [{"delta": {"content": "Hi"}}], "usage": {}}
    last: Json = {"id": "1", "model": "claude", "choices": [{"delta": {}}], "usage": USAGE}
    reading = read("openai.chat", sse(chunk, last, done=True), provider="snowflake")
    assert reading.usage == COUNTED
    assert (reading.usage_source, reading.finish_reason, reading.complete) == ("reported", None, True)


def test_writer_has_no_done() -> None:
    """Writer's stream ends without ``[DONE]``."""
    body = sse(chat_chunk("Hi"), chat_chunk(finish="stop"), usage_chunk(USAGE))
    reading = read("openai.chat", body, provider="writer")
    assert (reading.usage, reading.complete, reading.usage_source) == (COUNTED, True, "reported")


# ---- Gemini behind OpenAI's interface


@pytest.mark.parametrize("provider", ["google", "vertex"])
def test_gemini_hides_its_thoughts_in_the_total(provider: str) -> None:
    """Thoughts are only what the total has more: 154 - 12 - 7 = 135; usage is on every chunk."""
    body = sse(
        chat_chunk("Good", usage=chat_usage(12, 1, 120)),
        chat_chunk(" day", finish="stop", usage=chat_usage(12, 7, 154)),
        done=True,
    )
    reading = read("openai.chat", body, provider=provider)
    assert reading.usage == Usage(input_tokens=12, output_tokens=142, output_reasoning_tokens=135)
    assert reading.contradictions == ()


def test_gemini_tool_calls_without_id() -> None:
    """Each tool call comes whole in one chunk, without id, and all with the same index."""
    calls = [
        chat_chunk(
            delta={"tool_calls": [{"index": 0, "id": "", "function": {"name": name, "arguments": arguments}}]},
        )
        for name, arguments in (("weather", '{"city":"Rome"}'), ("time", "{}"))
    ]
    reading = read("openai.chat", sse(*calls, chat_chunk(finish="tool_calls"), done=True), provider="google")
    assert reading.tool_calls == (
        ToolCall(id=None, name="weather", argument_bytes=15),
        ToolCall(id=None, name="time", argument_bytes=2),
    )


def test_ollama_without_usage() -> None:
    """Older Ollama ignored include_usage at its OpenAI endpoint: unknown, and not 0."""
    reading = read("openai.chat", sse(chat_chunk("Hi"), chat_chunk(finish="stop"), done=True), provider="ollama")
    assert (reading.usage, reading.usage_source) == (None, "unknown")
