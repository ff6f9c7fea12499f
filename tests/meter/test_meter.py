"""The join of wire and pricing: parts at their own model, nulls where a price or a count is missing."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from taximeter.event import CallEvent, Outcome
from taximeter.meter import CallFacts, make_event
from taximeter.money import Money
from taximeter.pricing import PriceBook
from taximeter.usage import Usage
from taximeter.wire import Reader, Route

AT = datetime(2026, 6, 1, tzinfo=UTC)


def event_of(  # noqa: PLR0913 - what a call can be
    body: bytes,
    route: Route,
    *,
    content_type: str = "application/json",
    status: int | None = 200,
    model: str | None = None,
    cut: bool = False,
    outcome: Outcome | None = None,
) -> CallEvent:
    """The event of an answer."""
    reader = Reader(route, status=status or 200, headers=[("content-type", content_type)])
    reader.feed(body)
    facts = CallFacts(id="one", started_at=AT, route=route, status=status, request_model=model)
    return make_event(facts, reader.close(cut=cut), PriceBook.load(), outcome)


def test_the_price_is_the_response_models() -> None:
    """Asked for an alias, served by a snapshot: 1000 × 2.50 + 100 × 10.00 per million."""
    body = b'{"model":"gpt-4o-2024-08-06","choices":[],"usage":{"prompt_tokens":1000,"completion_tokens":100}}'
    event = event_of(body, Route("openai.chat", "openai"), model="some-alias")
    assert event.cost == Money.usd("0.0025") + Money.usd("0.001")
    assert [item.amount for item in event.parts[0].cost.items] == [Money.usd("0.0025"), Money.usd("0.001")]  # type: ignore[union-attr]


def test_the_asked_models_price_when_the_answer_names_none() -> None:
    """Bedrock's Converse names no model; the path does."""
    body = b'{"usage":{"inputTokens":1000,"outputTokens":0,"totalTokens":1000}}'
    event = event_of(body, Route("bedrock.converse", "bedrock", model="amazon.nova-lite-v1:0"))
    assert event.response_model is None
    assert event.parts[0].model == "amazon.nova-lite-v1:0"
    assert event.cost == Money.usd("0.00006")


def test_invoke_model_is_priced_where_it_was_served() -> None:
    """InvokeModel answers with the maker's name of the model; a region's own endpoint is dearer: 3.30 per million."""
    body = b'{"type":"message","model":"claude-sonnet-4-5-20250929","usage":{"input_tokens":1000,"output_tokens":0}}'
    model = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
    event = event_of(body, Route("bedrock.invoke", "bedrock", model=model))
    assert event.response_model == "claude-sonnet-4-5-20250929"
    assert event.parts[0].model == model
    assert event.cost == Money.usd("0.0033")


def test_an_advisor_is_billed_at_its_own_model() -> None:
    """1000 in at Sonnet's 3 per million, and beside it 1000 in and 100 out at Opus' 5 and 25."""
    body = (
        b'{"type":"message","model":"claude-sonnet-4-6","stop_reason":"end_turn","content":[],"usage":{'
        b'"input_tokens":1000,"output_tokens":0,"iterations":[{"type":"message","input_tokens":1000,"output_tokens":0},'
        b'{"type":"advisor_message","model":"claude-opus-4-7","input_tokens":1000,"output_tokens":100}]}}'
    )
    event = event_of(body, Route("anthropic.messages", "anthropic"))
    assert [(part.model, part.kind) for part in event.parts] == [
        ("claude-sonnet-4-6", "message"),
        ("claude-opus-4-7", "advisor_message"),
    ]
    assert event.cost == Money.usd("0.003") + Money.usd("0.005") + Money.usd("0.0025")
    assert event.usage == Usage(input_tokens=2000, output_tokens=100)


def test_an_unknown_model_has_no_price() -> None:
    """The cost is None, never 0, and near names are suggested."""
    body = b'{"model":"gpt-4o-mimi","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}'
    event = event_of(body, Route("openai.chat", "openai"))
    assert event.cost is None
    cost = event.parts[0].cost
    assert cost is not None
    assert "gpt-4o-mini" in (cost.reason or "")


def test_a_count_that_is_missing_has_no_price() -> None:
    """What was put in is not stated: the known items are kept, the total is not known."""
    body = (
        b'{"candidates":[{"finishReason":"STOP"}],"modelVersion":"gemini-2.5-flash",'
        b'"usageMetadata":{"candidatesTokenCount":1000}}'
    )
    event = event_of(body, Route("gemini.generate", "google"))
    assert event.cost is None
    cost = event.parts[0].cost
    assert cost is not None
    assert cost.reason == "the provider did not state input_tokens"
    assert [(item.unit, item.amount) for item in cost.items] == [("output_tokens", Money.usd("0.0025"))]


def test_no_usage_is_no_cost() -> None:
    """A stream that was never asked for usage is unknown, not free."""
    body = (
        b'data: {"model":"gpt-4o","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\n'
        b"data: [DONE]\n\n"
    )
    event = event_of(body, Route("openai.chat", "openai"), content_type="text/event-stream")
    assert (event.usage, event.usage_source, event.cost, event.outcome) == (None, "unknown", None, "completed")


def test_a_cut_stream_is_estimated_and_says_so() -> None:
    """Anthropic states the input first: it is exact; 40 bytes of text are taken for 10 tokens: 900 × 3 + 10 × 15."""
    body = (
        b'data: {"type":"message_start","message":{"model":"claude-sonnet-4-6",'
        b'"usage":{"input_tokens":900,"output_tokens":1}}}\n\n'
        b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"'
        + b"abcdefghij" * 4
        + b'"}}\n\n'
    )
    event = event_of(body, Route("anthropic.messages", "anthropic"), content_type="text/event-stream", cut=True)
    assert event.usage == Usage(input_tokens=900, output_tokens=10)
    assert (event.usage_source, event.outcome) == ("estimated", "interrupted")
    assert event.cost == Money.usd("0.0027") + Money.usd("0.00015")


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (200, b'{"model":"m","choices":[]}', "completed"),
        (429, b'{"error":{"message":"slow down","type":"rate_limit"}}', "failed"),
        (200, b'{"error":{"message":"filtered","code":"content_filter"}}', "failed"),
        (200, b'{"model":"m","choices":[', "interrupted"),
        (None, b"", "interrupted"),
    ],
)
def test_outcomes(status: int | None, body: bytes, outcome: Outcome) -> None:
    """How a call ended, by its answer; an error can come with a 200."""
    assert event_of(body, Route("openai.chat", "openai"), status=status).outcome == outcome


def test_the_caller_knows_better() -> None:
    """A cancellation is the caller's word."""
    assert event_of(b"", Route("openai.chat", "openai"), outcome="cancelled").outcome == "cancelled"
