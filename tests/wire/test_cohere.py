"""Cohere's chat, embeddings and reranking, and the other shapes that reranking comes in."""

from __future__ import annotations

import pytest

from taximeter.event import ProviderError, ToolCall
from taximeter.money import Money
from taximeter.usage import Usage
from tests.wire.making import EXACT, Json, lines, read, sse

COUNTED: Json = {
    "billed_units": {"input_tokens": 46, "output_tokens": 9},
    "tokens": {"input_tokens": 1445, "output_tokens": 12},
    "cached_tokens": 1400,
}
BILLED = Usage(input_tokens=46, output_tokens=9)
LINES = "application/stream+json"


def event(kind: str, **delta: object) -> Json:
    """An event of the second version's stream."""
    return {"type": kind, "index": 0, "delta": delta}


def text(value: str) -> Json:
    """A piece of text of the second version."""
    return event("content-delta", message={"content": {"text": value}})


def test_second_version() -> None:
    """What is billed counts (46), not what the template made of it (1,445); cached tokens relate to the latter."""
    message: Json = {"role": "assistant", "content": [{"type": "text", "text": "Good day."}]}
    body: Json = {"id": "c1", "finish_reason": "COMPLETE", "message": message, "usage": COUNTED}
    reading = read("cohere.chat", body, provider="cohere")
    assert reading.usage == BILLED
    assert (reading.response_id, reading.finish_reason, reading.response_model) == ("c1", "COMPLETE", None)
    assert reading.text_bytes == len(b"Good day.")


def test_first_version() -> None:
    """The first version has the same in meta."""
    body: Json = {"text": "Hi", "generation_id": "g1", "finish_reason": "COMPLETE", "meta": COUNTED}
    reading = read("cohere.chat", body, provider="cohere")
    assert (reading.usage, reading.response_id) == (BILLED, "g1")


def test_oldest_version() -> None:
    """The oldest bodies count in token_count: 46 billed, 9 of them output, 37 input."""
    counted = {"prompt_tokens": 1436, "response_tokens": 9, "total_tokens": 1445, "billed_tokens": 46}
    reading = read("cohere.chat", {"text": "Hi", "token_count": counted}, provider="cohere")
    assert reading.usage == Usage(input_tokens=37, output_tokens=9)


@pytest.mark.parametrize("done", [False, True])
def test_second_versions_stream(*, done: bool) -> None:
    """message-end carries the usage; ``[DONE]`` follows or not."""
    body = sse(
        {"type": "message-start", "id": "c1", "delta": {"message": {"role": "assistant"}}},
        *[text(piece) for piece in ("Good", " da", "y.")],
        event("message-end", finish_reason="COMPLETE", usage=COUNTED),
        named=True,
        done=done,
    )
    reading = read("cohere.chat", body, provider="cohere")
    assert reading.usage == BILLED
    assert (reading.usage_source, reading.complete, reading.finish_reason) == ("reported", True, "COMPLETE")
    assert (reading.response_id, reading.text_bytes) == ("c1", len(b"Good day."))


def test_first_versions_stream() -> None:
    """The first version streams lines; stream-end carries the whole answer."""
    answer: Json = {"text": "Good day.", "generation_id": "g1", "meta": COUNTED}
    body = lines(
        {"event_type": "stream-start", "generation_id": "g1", "is_finished": False},
        *[{"event_type": "text-generation", "text": piece, "is_finished": False} for piece in ("Good", " da", "y.")],
        {"event_type": "stream-end", "is_finished": True, "finish_reason": "COMPLETE", "response": answer},
    )
    reading = read("cohere.chat", body, provider="cohere", content_type=LINES)
    assert reading.usage == BILLED
    assert (reading.stream, reading.complete, reading.finish_reason) == (True, True, "COMPLETE")
    assert reading.text_bytes == len(b"Good day.")


def test_error_in_the_last_event() -> None:
    """A stream that fails says so in message-end, with finish reason ERROR."""
    body = sse(text("Hi"), event("message-end", finish_reason="ERROR", error="out of luck"), named=True)
    reading = read("cohere.chat", body, provider="cohere")
    assert reading.error == ProviderError(message="out of luck")
    assert (reading.finish_reason, reading.complete, reading.usage) == ("ERROR", True, None)


def test_cut_stream() -> None:
    """Without message-end nothing is known."""
    reading = read("cohere.chat", sse(text("Hi"), text(" there"), named=True), provider="cohere")
    assert (reading.usage, reading.usage_source, reading.complete) == (None, "unknown", False)


def test_tools_of_the_second_version() -> None:
    """A tool call's name comes first, its arguments in pieces; the plan before it is text."""

    def call(kind: str, index: int, **function: object) -> Json:
        calls: Json = {"function": function}
        if kind == "tool-call-start":
            calls["id"] = f"t{index}"
        return {"type": kind, "index": index, "delta": {"message": {"tool_calls": calls}}}

    body = sse(
        event("tool-plan-delta", message={"tool_plan": "I look."}),
        call("tool-call-start", 0, name="weather", arguments=""),
        call("tool-call-delta", 0, arguments='{"city":'),
        call("tool-call-delta", 0, arguments='"Rome"}'),
        {"type": "tool-call-end", "index": 0},
        call("tool-call-start", 1, name="now", arguments="{}"),
        event("message-end", finish_reason="TOOL_CALL", usage=COUNTED),
        named=True,
    )
    reading = read("cohere.chat", body, provider="cohere")
    assert reading.tool_calls == (
        ToolCall(id="t0", name="weather", argument_bytes=15),
        ToolCall(id="t1", name="now", argument_bytes=2),
    )
    assert (reading.finish_reason, reading.text_bytes) == ("TOOL_CALL", len(b"I look.") + 15 + 2)


def test_tools_of_the_first_version() -> None:
    """Calls come whole, without id, their parameters as an object."""
    calls = [{"name": "weather", "parameters": {"city": "Rome"}}]
    expected = (ToolCall(id=None, name="weather", argument_bytes=15),)
    assert read("cohere.chat", {"text": "", "tool_calls": calls, "meta": COUNTED}).tool_calls == expected
    body = lines(
        {"event_type": "tool-calls-generation", "tool_calls": calls},
        {"event_type": "stream-end", "finish_reason": "COMPLETE", "response": {"meta": COUNTED, "tool_calls": calls}},
    )
    assert read("cohere.chat", body, content_type=LINES).tool_calls == expected


def test_http_error() -> None:
    """An HTTP error is a message."""
    reading = read("cohere.chat", {"message": "too many tokens", "id": "e1"}, status=400, provider="cohere")
    assert reading.error == ProviderError(message="too many tokens")
    assert reading.usage is None


# ---- embeddings and reranking


def test_embedding() -> None:
    """An embedding is billed by its input, pictures beside the text."""
    meta: Json = {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 12}}
    assert read("cohere.embed", {"id": "e1", "embeddings": [], "meta": meta}).usage == Usage(input_tokens=12)
    meta = {"billed_units": {"images": 1, "image_tokens": 258, "input_tokens": 12}}
    # 12 + 258 = 270
    assert read("cohere.embed", {"meta": meta}).usage == Usage(input_tokens=270, input_image_tokens=258)


def test_rerank() -> None:
    """Reranking is billed by search units."""
    body: Json = {"id": "r1", "results": [], "meta": {"billed_units": {"search_units": 2}}}
    assert read("rerank", body, provider="cohere").usage == Usage(rerank_searches=2)


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        ({"total_tokens": 38}, Usage(input_tokens=38)),
        ({"total_tokens": 38, "prompt_tokens": 38}, Usage(input_tokens=38)),
        ({"search_units": 1, "cost": EXACT("0.001")}, Usage(rerank_searches=1)),
    ],
)
def test_reranking_of_others(usage: Json, counted: Usage) -> None:
    """Voyage states a total, Jina and llama.cpp prompt and total, OpenRouter units and what they cost."""
    reading = read("rerank", {"model": "rerank-x", "results": [], "usage": usage}, provider="jina")
    assert reading.usage == counted
    assert (reading.response_model, reading.contradictions) == ("rerank-x", ())
    assert reading.provider_cost == (Money.usd("0.001") if "cost" in usage else None)


def test_reranking_without_usage() -> None:
    """A server that states nothing leaves it unknown."""
    reading = read("rerank", {"results": [{"index": 0}]}, provider="localhost")
    assert (reading.usage, reading.usage_source) == (None, "unknown")
