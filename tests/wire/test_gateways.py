"""Chat Completions as gateways and routers hand them on: what they add, and how they count."""

from __future__ import annotations

from taximeter.event import ProviderError
from taximeter.money import Money
from taximeter.usage import Usage
from tests.wire.making import EXACT, Json, chat_body, chat_chunk, chat_usage, kinds, read, sse, usage_chunk

USAGE = chat_usage(12, 7)
COUNTED = Usage(input_tokens=12, output_tokens=7)


# ---- OpenRouter


def test_openrouter_comments_and_cost() -> None:
    """Comments keep the connection open; the usage states what the call cost, credits being dollars."""
    usage = chat_usage(12, 7, cost=EXACT("0.0000765"), cost_details={"upstream_inference_cost": EXACT("0.00007")})
    body = (
        b": OPENROUTER PROCESSING\n\n: OPENROUTER PROCESSING\n\n"
        + sse(chat_chunk("Hi"))
        + b": OPENROUTER PROCESSING\n\n"
        + sse(chat_chunk(finish="stop"), usage_chunk(usage), done=True)
    )
    reading = read("openai.chat", body, provider="openrouter")
    assert reading.usage == COUNTED
    assert reading.provider_cost == Money.usd("0.0000765")
    assert reading.complete is True


def test_openrouter_reasoning_above_the_completion() -> None:
    """Reasoning can exceed the completion, which is what is charged: clamped and named."""
    usage = chat_usage(12, 100, completion_tokens_details={"reasoning_tokens": 130})
    reading = read("openai.chat", chat_body(usage), provider="openrouter")
    assert reading.usage == Usage(input_tokens=12, output_tokens=100, output_reasoning_tokens=100)
    assert kinds(reading) == [("subset_exceeds_total", "output_reasoning_tokens")]


def test_openrouter_prompt_includes_read_and_written() -> None:
    """For Anthropic's models the prompt includes both cache counts: 1000 = 600 + 300 + 100."""
    details = {"cached_tokens": 600, "cache_write_tokens": 300}
    reading = read("openai.chat", chat_body(chat_usage(1000, 7, prompt_tokens_details=details)), provider="openrouter")
    assert reading.usage == Usage(input_tokens=1000, cache_read_tokens=600, cache_write_tokens=300, output_tokens=7)


def test_openrouter_reads_and_writes_the_same_tokens() -> None:
    """Gemini's explicit cache: 2,161 written and read at once, of a prompt of 2,168. They are not 4,322."""
    details = {"cached_tokens": 2161, "cache_write_tokens": 2161}
    reading = read("openai.chat", chat_body(chat_usage(2168, 7, prompt_tokens_details=details)), provider="openrouter")
    usage = reading.usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens) == (2168, 7, 2161)
    assert sum(count for unit, count in usage.leaves().items() if not unit.startswith("output")) == 2168
    assert kinds(reading) == [("subsets_exceed_total", "cache_write_tokens")]


def test_openrouter_error_chunk_with_usage_after_it() -> None:
    """A chunk with an error and the finish reason error is followed by usage, which is charged."""
    failed = chat_chunk("", finish="error", error={"code": 502, "message": "Provider disconnected"})
    body = sse(chat_chunk("Hi"), failed, usage_chunk(chat_usage(12, 7, cost=EXACT("0.0001"))), done=True)
    reading = read("openai.chat", body, provider="openrouter")
    assert reading.error == ProviderError(code="502", message="Provider disconnected")
    assert reading.usage == COUNTED
    assert reading.usage_source == "reported"
    assert reading.provider_cost == Money.usd("0.0001")


def test_openrouter_error_chunk_names_the_finish_reason() -> None:
    """The finish reason of a chunk that carries an error is read like any other."""
    failed = chat_chunk("", finish="error", error={"code": 502, "message": "Provider disconnected"})
    reading = read("openai.chat", sse(chat_chunk("Hi"), failed, done=True), provider="openrouter")
    assert reading.finish_reason == "error"


def test_openrouter_server_tools() -> None:
    """Web searches are counted beside the tokens."""
    usage = chat_usage(12, 7, server_tool_use={"web_search_requests": 3}, cost=EXACT("0.03"))
    reading = read("openai.chat", chat_body(usage), provider="openrouter")
    assert reading.usage == Usage(input_tokens=12, output_tokens=7, web_searches=3)


# ---- Vercel AI Gateway


def test_vercel_reasoning_is_outside_even_of_the_total() -> None:
    """Neither completion nor total includes reasoning: 12 + 7 = 19, and 30 more were charged."""
    usage = chat_usage(12, 7, completion_tokens_details={"reasoning_tokens": 30}, cost=EXACT("0.00055"))
    reading = read("openai.chat", chat_body(usage), provider="vercel")
    assert reading.usage == Usage(input_tokens=12, output_tokens=37, output_reasoning_tokens=30)
    assert reading.contradictions == ()
    assert reading.provider_cost == Money.usd("0.00055")


def test_vercel_provider_metadata_is_not_usage() -> None:
    """The provider's raw figures inside provider_metadata are left alone."""
    raw: Json = {"google": {"usageMetadata": {"promptTokenCount": 900}}, "gateway": {"usage": chat_usage(900, 900)}}
    last = chat_chunk(delta={"provider_metadata": raw}, finish="stop", provider_metadata=raw, usage=USAGE)
    assert read("openai.chat", sse(chat_chunk("Hi"), last, done=True), provider="vercel").usage == COUNTED


# ---- others


def test_copilot_units_beside_the_usage() -> None:
    """Copilot's own units and details stand beside the usage and change nothing in it."""
    own: Json = {"total_nano_aiu": 5_000, "token_details": [{"token_type": "input", "token_count": 900}]}
    body = sse(chat_chunk("Hi"), chat_chunk(finish="stop", usage=USAGE, copilot_usage=own), done=True)
    assert read("openai.chat", body, provider="github_copilot").usage == COUNTED


def test_huggingface_router_hands_on_its_backends_shape() -> None:
    """The router's answers count as the backend counts: Groq's x_groq, another's cached_tokens at the top."""
    groq = sse(chat_chunk("Hi"), chat_chunk(finish="stop", x_groq={"usage": USAGE}), done=True)
    assert read("openai.chat", groq, provider="huggingface_groq").usage == COUNTED
    other = chat_body(chat_usage(12, 7, cached_tokens=4), model="llama3.1-8b")
    reading = read("openai.chat", other, provider="huggingface_novita")
    assert reading.usage == Usage(input_tokens=12, cache_read_tokens=4, output_tokens=7)
    assert reading.response_model == "llama3.1-8b"


def test_cloudflare_json_mode() -> None:
    """In JSON mode the content is an object and there is no usage: read without complaint, unknown."""
    message: Json = {"role": "assistant", "content": {"city": "Rome"}}
    body: Json = {"model": "@cf/m", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    reading = read("openai.chat", body, provider="cloudflare")
    assert (reading.usage, reading.usage_source, reading.fault) == (None, "unknown", None)
    assert reading.finish_reason == "stop"


def test_a_stated_cost_of_zero() -> None:
    """A cost that is reported as 0 is 0, which is not the same as none."""
    reading = read("openai.chat", chat_body(chat_usage(12, 7, cost=0)), provider="openrouter")
    assert reading.provider_cost == Money.usd(0)


def test_a_cost_computed_with_floats_is_rounded_once() -> None:
    """A cost with digits below 1e-12 USD is rounded half-even, not refused."""
    body = b'{"choices":[],"usage":{"prompt_tokens":12,"completion_tokens":7,"cost":0.0076509169000000005}}'
    assert read("openai.chat", body, provider="openrouter").provider_cost == Money.usd("0.0076509169")
