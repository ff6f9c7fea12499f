"""Chat Completions and legacy Completions as OpenAI and Azure speak them."""

from __future__ import annotations

import pytest

from taximeter.event import ProviderError
from taximeter.usage import Usage
from tests.wire.making import Json, chat_body, chat_chunk, chat_usage, counted, dump, kinds, read, sse, usage_chunk

USAGE = chat_usage(12, 7)
COUNTED = Usage(input_tokens=12, output_tokens=7)


def test_whole_body() -> None:
    """A whole body gives usage, model, id, time and finish reason; it is no stream, so it is not asked if it ended."""
    reading = read("openai.chat", chat_body(USAGE))
    assert reading.usage == COUNTED
    assert reading.usage_source == "reported"
    assert reading.raw_usage == dump(USAGE).decode()
    assert (reading.response_model, reading.response_id, reading.created) == ("gpt-5.2", "chatcmpl-1", 1_780_000_000)
    assert (reading.finish_reason, reading.stream, reading.complete) == ("stop", False, None)
    assert reading.contradictions == ()
    assert reading.text_bytes == len(b"Good day.")


def test_cache_is_inside_the_prompt() -> None:
    """prompt_tokens includes what was read from the cache and what was written: 4020 = 4012 written + 8."""
    details = {"cached_tokens": 0, "cache_write_tokens": 4012}
    usage = counted(read("openai.chat", chat_body(chat_usage(4020, 5, prompt_tokens_details=details))))
    assert usage == Usage(input_tokens=4020, cache_read_tokens=0, cache_write_tokens=4012, output_tokens=5)
    assert usage.leaves()["input_tokens"] == 8


def test_reads_and_writes_are_disjoint() -> None:
    """Cached and written tokens of one call are two shares of the prompt: 100 = 60 + 30 + 10."""
    details = {"cached_tokens": 60, "cache_write_tokens": 30}
    usage = read("openai.chat", chat_body(chat_usage(100, 5, prompt_tokens_details=details))).usage
    assert usage is not None
    assert usage.leaves() == {
        "input_tokens": 10,
        "cache_read_tokens": 60,
        "cache_write_tokens": 30,
        "output_tokens": 5,
    }


def test_output_details_are_inside_the_completion() -> None:
    """completion_tokens includes reasoning, audio and predictions, accepted or not; the total shows it."""
    details = {
        "reasoning_tokens": 40,
        "audio_tokens": 25,
        "accepted_prediction_tokens": 3,
        "rejected_prediction_tokens": 9,
    }
    reading = read("openai.chat", chat_body(chat_usage(10, 80, completion_tokens_details=details)))
    assert reading.usage == Usage(input_tokens=10, output_tokens=80, output_reasoning_tokens=40, output_audio_tokens=25)
    assert reading.contradictions == ()


def test_input_details_by_modality() -> None:
    """Audio and image tokens of the prompt are shares of it; text is what they leave."""
    details = {"audio_tokens": 30, "image_tokens": 50, "text_tokens": 20}
    usage = read("openai.chat", chat_body(chat_usage(100, 5, prompt_tokens_details=details))).usage
    assert usage == Usage(input_tokens=100, input_audio_tokens=30, input_image_tokens=50, output_tokens=5)


def test_stream_that_was_not_asked_for_usage() -> None:
    """Without include_usage a whole stream says nothing about tokens: unknown, and not 0."""
    reading = read("openai.chat", sse(chat_chunk("Hi"), chat_chunk(finish="stop"), done=True))
    assert reading.usage is None
    assert reading.usage_source == "unknown"
    assert reading.parts == ()
    assert (reading.stream, reading.complete) == (True, True)


def test_stream_with_usage_in_a_chunk_without_choices() -> None:
    """Every chunk has usage:null, one further chunk without choices has the figures."""
    chunks = [chat_chunk("Hi", usage=None), chat_chunk(finish="stop", usage=None), usage_chunk(USAGE)]
    reading = read("openai.chat", sse(*chunks, done=True))
    assert reading.usage == COUNTED
    assert reading.usage_source == "reported"
    assert reading.complete is True


def test_usage_before_the_last_chunk() -> None:
    """OpenAI's moderation chunk follows the usage chunk with usage:null, and takes nothing back."""
    moderation = usage_chunk(None, moderation={"flagged": False})
    body = sse(chat_chunk("Hi"), chat_chunk(finish="stop"), usage_chunk(USAGE), moderation, done=True)
    assert read("openai.chat", body).usage == COUNTED


def test_usage_on_the_chunk_with_the_finish_reason() -> None:
    """Some send usage on a chunk whose choices are not empty."""
    body = sse(chat_chunk("Hi"), chat_chunk(finish="stop", usage=USAGE), done=True)
    assert read("openai.chat", body).usage == COUNTED


def test_usage_on_a_chunk_with_text() -> None:
    """Usage beside text is found, even where the chunks before it held the same members less the usage."""
    body = sse(*[chat_chunk("word ")] * 5, chat_chunk("word ", usage=USAGE), chat_chunk(finish="stop"), done=True)
    reading = read("openai.chat", body)
    assert reading.usage == COUNTED
    assert reading.text_bytes == 6 * len(b"word ")


def test_usage_is_replaced_field_by_field() -> None:
    """A later usage replaces the members it has; the null ones leave what was there."""
    first = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}
    last = {"prompt_tokens": None, "completion_tokens": 7, "total_tokens": 19}
    body = sse(chat_chunk("Hi", usage=first), chat_chunk(finish="stop"), usage_chunk(last), done=True)
    assert read("openai.chat", body).usage == COUNTED


def test_a_smaller_usage_that_comes_later_wins() -> None:
    """The last figure counts, not the largest and not the sum."""
    body = sse(chat_chunk("Hi", usage=chat_usage(90, 80)), chat_chunk(finish="stop", usage=USAGE), done=True)
    assert read("openai.chat", body).usage == COUNTED


def test_an_explicit_zero_is_kept() -> None:
    """A reported 0 is 0, whatever text was seen; absent classes are absent."""
    body = sse(chat_chunk("Hi there"), chat_chunk(finish="stop"), usage_chunk(chat_usage(12, 0)), done=True)
    reading = read("openai.chat", body)
    assert reading.usage == Usage(input_tokens=12, output_tokens=0)
    assert reading.usage_source == "reported"


def test_obfuscation_is_no_text() -> None:
    """The padding that hides the length of tokens is not counted as text."""
    chunks = [chat_chunk(text, obfuscation="x" * size) for text, size in (("Good", 3), (" day", 9), ("!", 1))]
    reading = read("openai.chat", sse(*chunks, chat_chunk(finish="stop"), usage_chunk(USAGE), done=True))
    assert reading.text_bytes == len(b"Good day!")
    assert reading.usage == COUNTED


@pytest.mark.parametrize("nested", ["provider_metadata", "trace", "metadata", "copilot_usage"])
def test_usage_is_not_searched_for(nested: str) -> None:
    """A ``usage`` somewhere inside the answer is not the answer's usage."""
    inner: Json = {"usage": chat_usage(999, 999), "usageMetadata": {"promptTokenCount": 999}}
    body = sse({**chat_chunk("Hi"), nested: inner}, {**chat_chunk(finish="stop"), nested: inner}, done=True)
    assert read("openai.chat", body).usage is None


def test_the_last_tier_is_the_tier() -> None:
    """The tier that a request asked for is repeated at first, and the one that it got comes later: fast is priority."""
    body = sse(
        chat_chunk("Hi", service_tier="auto"),
        chat_chunk(finish="stop", service_tier="auto"),
        usage_chunk(USAGE, service_tier="priority"),
        done=True,
    )
    reading = read("openai.chat", body)
    assert reading.service_tier == "priority"
    assert reading.price_context == (("service_tier", "priority"),)


def test_the_model_of_the_answer() -> None:
    """The model is the one that the answer names, whatever the path said."""
    reading = read("openai.chat", chat_body(USAGE, model="gpt-5.2-2026-01-01"), model="my-deployment")
    assert reading.response_model == "gpt-5.2-2026-01-01"
    assert [part.model for part in reading.parts] == ["gpt-5.2-2026-01-01"]


def test_several_choices_have_one_usage() -> None:
    """With n = 2 the usage is that of both choices, once."""
    body = sse(
        chat_chunk("Hi"),
        chat_chunk("Hello", index=1),
        chat_chunk(finish="stop"),
        chat_chunk(finish="length", index=1),
        usage_chunk(USAGE),
        done=True,
    )
    reading = read("openai.chat", body)
    assert reading.usage == COUNTED
    assert reading.text_bytes == len(b"HiHello")


def test_error_within_a_stream() -> None:
    """An error event in an HTTP 200 is the provider's error, and the stream is not complete."""
    error = {"error": {"message": "overloaded", "type": "server_error", "code": "busy"}}
    reading = read("openai.chat", sse(chat_chunk("Hi"), error))
    assert reading.error == ProviderError(type="server_error", code="busy", message="overloaded")
    assert reading.complete is False
    assert reading.usage is None


def test_http_error() -> None:
    """An HTTP error carries the provider's words and no usage."""
    body: Json = {"error": {"message": "Slow down", "type": "tokens", "param": None, "code": "rate_limit_exceeded"}}
    reading = read("openai.chat", body, status=429)
    assert reading.error == ProviderError(type="tokens", code="rate_limit_exceeded", message="Slow down")
    assert (reading.usage, reading.usage_source, reading.parts) == (None, "unknown", ())


def test_http_error_without_json() -> None:
    """A proxy's page is kept as the error's message."""
    reading = read("openai.chat", b"<h1>502 Bad Gateway</h1>", status=502, content_type="text/html")
    assert reading.error == ProviderError(message="<h1>502 Bad Gateway</h1>")


def test_http_error_without_a_body() -> None:
    """An HTTP error without a body is an error all the same."""
    reading = read("openai.chat", b"", status=503)
    assert reading.error == ProviderError(code="503")


def test_done_is_no_terminal() -> None:
    """A stream is complete by its finish reason; that ``[DONE]`` is missing does not matter."""
    body = sse(chat_chunk("Hi"), chat_chunk(finish="stop", usage=USAGE))
    reading = read("openai.chat", body)
    assert reading.complete is True
    assert reading.usage_source == "reported"


def test_azure_opens_with_an_empty_chunk() -> None:
    """Azure's first chunk has no model, no id and no choices; annotations without choices follow."""
    opening: Json = {"choices": [], "created": 0, "id": "", "model": "", "prompt_filter_results": [{"prompt_index": 0}]}
    note: Json = {"choices": [], "created": 0, "id": "", "model": "", "content_filter_offsets": {"check_offset": 1}}
    usage = chat_usage(12, 7, latency_checkpoint={"engine_tbt_ms": 9})
    body = sse(opening, chat_chunk("Hi"), note, chat_chunk(finish="stop"), usage_chunk(usage), done=True)
    reading = read("openai.chat", body, provider="azure")
    assert (reading.response_model, reading.response_id) == ("gpt-5.2", "chatcmpl-1")
    assert reading.created == 1_780_000_000
    assert reading.usage == COUNTED


def test_azure_error_within_an_http_200() -> None:
    """Azure's content filter answers 200 with the body of an error."""
    body: Json = {"error": {"message": "filtered", "code": "content_filter", "status": 400, "type": None}}
    reading = read("openai.chat", body, provider="azure")
    assert reading.error == ProviderError(code="content_filter", message="filtered")
    assert reading.usage is None


def test_azure_grok_whose_cache_is_larger_than_its_prompt() -> None:
    """Prompt 10, cached 161, total 223 = 10 + 213: the cached tokens are clamped to the prompt, and that is said."""
    usage = chat_usage(10, 213, prompt_tokens_details={"cached_tokens": 161})
    reading = read("openai.chat", chat_body(usage), provider="azure")
    assert reading.usage == Usage(input_tokens=10, cache_read_tokens=10, output_tokens=213)
    assert kinds(reading) == [("subset_exceeds_total", "cache_read_tokens")]
    assert reading.raw_usage == dump(usage).decode()


def test_a_total_that_is_not_the_sum() -> None:
    """A remainder that nothing explains is named, and priced as nothing."""
    reading = read("openai.chat", chat_body(chat_usage(12, 7, 30)))
    assert reading.usage == COUNTED
    assert kinds(reading) == [("total_disagrees", "total_tokens")]


@pytest.mark.parametrize("value", [b'"12"', b"true", b"-3", b"1.5", b"[12]", b"1e400"])
def test_what_is_no_count_is_named(value: bytes) -> None:
    """A text, a truth value, a fraction, a negative number are no counts: absent, named, and the rest counts."""
    reading = read("openai.chat", b'{"choices":[],"usage":{"prompt_tokens":' + value + b',"completion_tokens":7}}')
    assert reading.usage == Usage(output_tokens=7)
    assert ("not_a_count", "prompt_tokens") in kinds(reading)


def test_whole_numbers_written_with_a_point() -> None:
    """12.0 is a count of 12."""
    reading = read("openai.chat", b'{"choices":[],"usage":{"prompt_tokens":12.0,"completion_tokens":7e0}}')
    assert reading.usage == COUNTED


def test_legacy_completions() -> None:
    """Legacy Completions count as chat does, with their text in the choice."""
    body: Json = {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1_780_000_000,
        "model": "gpt-3.5-turbo-instruct",
        "choices": [{"text": "Good day.", "index": 0, "finish_reason": "length"}],
        "usage": USAGE,
    }
    reading = read("openai.completions", body)
    assert reading.usage == COUNTED
    assert (reading.finish_reason, reading.text_bytes) == ("length", 9)


def test_legacy_completions_without_completion_tokens() -> None:
    """A completion that is empty has no completion_tokens: absent, and the total agrees."""
    usage = {"prompt_tokens": 5, "total_tokens": 5}
    body: Json = {"model": "m", "choices": [{"text": "", "index": 0, "finish_reason": "stop"}], "usage": usage}
    reading = read("openai.completions", body)
    assert reading.usage == Usage(input_tokens=5)
    assert reading.contradictions == ()


def test_legacy_completions_with_a_total_alone() -> None:
    """Where completion_tokens is missing and the total has more, the rest is the completion: 8 - 5 = 3."""
    usage = {"prompt_tokens": 5, "total_tokens": 8}
    body: Json = {"model": "m", "choices": [{"text": "Hi.", "index": 0, "finish_reason": "stop"}], "usage": usage}
    reading = read("openai.completions", body)
    assert reading.usage == Usage(input_tokens=5, output_tokens=3)
    assert reading.contradictions == ()


def test_legacy_completions_stream() -> None:
    """The stream of legacy Completions: text in the choice, usage in a last chunk."""
    chunks: list[Json] = [
        {"id": "c", "model": "m", "choices": [{"text": text, "index": 0, "finish_reason": finish}]}
        for text, finish in (("Good ", None), ("day", None), (".", None), ("", "stop"))
    ]
    reading = read("openai.completions", sse(*chunks, {"model": "m", "choices": [], "usage": USAGE}, done=True))
    assert reading.usage == COUNTED
    assert (reading.text_bytes, reading.complete) == (9, True)
