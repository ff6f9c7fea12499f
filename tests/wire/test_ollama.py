"""Ollama's own API."""

from __future__ import annotations

import pytest

from taximeter.event import ProviderError, ToolCall
from taximeter.usage import Usage
from tests.wire.making import Json, chat_body, chat_usage, dump, kinds, lines, read

LINES = "application/x-ndjson"
DONE: Json = {
    "model": "llama3.2",
    "created_at": "2026-11-22T07:00:09.5Z",
    "message": {"role": "assistant", "content": ""},
    "done": True,
    "done_reason": "stop",
    "total_duration": 9_000_000,
    "prompt_eval_count": 26,
    "prompt_eval_duration": 4_000_000,
    "eval_count": 9,
    "eval_duration": 5_000_000,
}
COUNTED = Usage(input_tokens=26, output_tokens=9)


def piece(text: str, second: int = 1, **message: object) -> Json:
    """A line of a chat."""
    content: Json = {"role": "assistant", "content": text, **message}
    return {"model": "llama3.2", "created_at": f"2026-11-22T07:00:0{second}.25Z", "message": content, "done": False}


def test_chat() -> None:
    """The line with done has the counts."""
    body = lines(piece("Good", 1), piece(" da", 2), piece("y.", 3), DONE)
    reading = read("ollama", body, provider="ollama", content_type=LINES)
    assert reading.usage == COUNTED
    assert (reading.usage_source, reading.stream, reading.complete) == ("reported", True, True)
    assert (reading.response_model, reading.finish_reason) == ("llama3.2", "stop")
    assert reading.text_bytes == len(b"Good day.")
    assert reading.created == 1_795_330_801


def test_lines_that_no_header_announces() -> None:
    """Lines are lines, whatever the content type says."""
    body = lines(piece("Good", 1), piece(" day.", 2), DONE)
    reading = read("ollama", body, provider="ollama", content_type="application/json")
    assert (reading.usage, reading.stream, reading.complete) == (COUNTED, True, True)


def test_whole_body() -> None:
    """With stream off the answer is that one line."""
    whole = {**DONE, "message": {"role": "assistant", "content": "Good day."}}
    reading = read("ollama", dump(whole), provider="ollama", content_type="application/json")
    assert reading.usage == COUNTED
    assert (reading.stream, reading.complete) == (False, None)


def test_generate() -> None:
    """The generate endpoint has its text in ``response``."""
    pieces = [{"model": "m", "created_at": "x", "response": text, "done": False} for text in ("Good", " da", "y.")]
    last = {"model": "m", "response": "", "done": True, "context": [1, 2], "prompt_eval_count": 26, "eval_count": 9}
    reading = read("ollama", lines(*pieces, last), provider="ollama", content_type=LINES)
    assert (reading.usage, reading.text_bytes) == (COUNTED, len(b"Good day."))


def test_thinking_is_counted_as_output() -> None:
    """eval_count includes thinking, which is not told apart."""
    body = lines(piece("", thinking="Hm"), piece("", thinking="m."), piece("Hi"), DONE)
    reading = read("ollama", body, provider="ollama", content_type=LINES)
    assert (reading.usage, reading.text_bytes) == (COUNTED, len(b"Hmm.Hi"))


def test_prompt_in_the_cache() -> None:
    """Older servers leave prompt_eval_count out when the whole prompt was in the cache: absent and named, not 0."""
    last = {key: value for key, value in DONE.items() if key != "prompt_eval_count"}
    reading = read("ollama", lines(piece("Hi"), last), provider="ollama", content_type=LINES)
    assert reading.usage == Usage(output_tokens=9)
    assert kinds(reading) == [("count_absent", "input_tokens")]


def test_cached_count() -> None:
    """Newer servers say how much of the prompt was cached."""
    last = {**DONE, "prompt_eval_cached_count": 20}
    reading = read("ollama", lines(piece("Hi"), last), provider="ollama", content_type=LINES)
    assert reading.usage == Usage(input_tokens=26, cache_read_tokens=20, output_tokens=9)


def test_tools() -> None:
    """Tool calls come whole, in one line or several."""
    calls: list[Json] = [
        {"function": {"index": 0, "name": "weather", "arguments": {"city": "Rome"}}},
        {"id": "call_2", "function": {"name": "now", "arguments": {}}},
    ]
    body = lines(piece("", tool_calls=calls[:1]), piece("", tool_calls=calls[1:]), DONE)
    assert read("ollama", body, provider="ollama", content_type=LINES).tool_calls == (
        ToolCall(id=None, name="weather", argument_bytes=15),
        ToolCall(id="call_2", name="now", argument_bytes=2),
    )


def test_openai_shaped_body() -> None:
    """A server that answers the native path in OpenAI's shape is read in that shape."""
    reading = read("ollama", chat_body(chat_usage(12, 7), model="m"), provider="ollama")
    assert reading.usage == Usage(input_tokens=12, output_tokens=7)
    assert (reading.response_model, reading.finish_reason) == ("m", "stop")


def test_embedding() -> None:
    """An embedding counts its prompt."""
    body: Json = {"model": "nomic", "embeddings": [[1]], "total_duration": 9, "prompt_eval_count": 4}
    reading = read("ollama", body, provider="ollama")
    assert (reading.usage, reading.contradictions) == (Usage(input_tokens=4), ())


@pytest.mark.parametrize("status", [200, 404])
def test_error(status: int) -> None:
    """An error is a text, by itself or in the midst of a stream."""
    reading = read("ollama", {"error": "model not found"}, provider="ollama", status=status)
    assert reading.error == ProviderError(message="model not found")
    assert reading.usage is None
    streamed = read("ollama", lines(piece("Hi"), {"error": "model not found"}), content_type=LINES)
    assert streamed.error == ProviderError(message="model not found")
    assert streamed.complete is False


def test_cut_stream() -> None:
    """Without the last line nothing is known; half a line is a fault."""
    body = lines(piece("Hi"), piece(" there"), DONE)
    reading = read("ollama", body[:-40], provider="ollama", content_type=LINES, cut=True)
    assert (reading.usage, reading.usage_source, reading.complete) == (None, "unknown", False)
    assert reading.fault is not None
