"""OpenAI's Responses, and those who speak them."""

from __future__ import annotations

import pytest

from taximeter.event import ProviderError, ToolCall
from taximeter.money import Money
from taximeter.usage import Usage
from tests.wire.making import Json, counted, kinds, read, response, response_event, sse

USAGE: Json = {
    "input_tokens": 100,
    "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30},
    "output_tokens": 50,
    "output_tokens_details": {"reasoning_tokens": 40},
    "total_tokens": 150,
}
COUNTED = Usage(
    input_tokens=100,
    cache_read_tokens=60,
    cache_write_tokens=30,
    output_tokens=50,
    output_reasoning_tokens=40,
)


def stream(last: Json, *between: Json, done: bool = False) -> bytes:
    """A stream that opens as all do, says something, and ends with ``last``."""
    opening = response(status="in_progress", service_tier="auto")
    created = [response_event(f"response.{kind}", response=opening) for kind in ("created", "in_progress")]
    deltas = [
        response_event("response.output_text.delta", item_id="msg_1", delta=text, obfuscation="xx")
        for text in ("Good", " day")
    ]
    return sse(*created, *deltas, *between, last, named=True, done=done)


def test_whole_body() -> None:
    """Input includes the cache, output includes reasoning."""
    reading = read("openai.responses", response(USAGE))
    assert reading.usage == COUNTED
    assert counted(reading).leaves()["input_tokens"] == 10
    assert (reading.response_model, reading.response_id, reading.created) == ("gpt-5.2", "resp_1", 1_780_000_000)
    assert (reading.finish_reason, reading.stream, reading.complete) == ("completed", False, None)


def test_completed() -> None:
    """Usage comes in response.completed, which ends the stream; its tier corrects the one of response.created."""
    last = response_event("response.completed", response=response(USAGE, service_tier="default"))
    reading = read("openai.responses", stream(last))
    assert reading.usage == COUNTED
    assert (reading.usage_source, reading.complete) == ("reported", True)
    assert reading.service_tier == "default"
    assert reading.price_context == (("service_tier", "default"),)
    assert reading.text_bytes == len(b"Good day")


def test_incomplete() -> None:
    """response.incomplete carries usage as well, and its reason is the finish reason."""
    body = response(USAGE, status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    reading = read("openai.responses", stream(response_event("response.incomplete", response=body)))
    assert reading.usage == COUNTED
    assert (reading.finish_reason, reading.complete) == ("max_output_tokens", True)


def test_failed() -> None:
    """response.failed has usage null: unknown; its error is the provider's; the stream is at its end."""
    body = response(None, status="failed", error={"code": "server_error", "message": "Sorry"})
    reading = read("openai.responses", stream(response_event("response.failed", response=body)))
    assert (reading.usage, reading.usage_source) == (None, "unknown")
    assert reading.error == ProviderError(code="server_error", message="Sorry")
    assert (reading.finish_reason, reading.complete) == ("failed", True)


def test_error_event_before_failed() -> None:
    """An error event comes first, and is the one that is kept."""
    error = response_event("error", code="rate_limit_exceeded", message="Slow down", param=None)
    body = response(None, status="failed", error={"code": "server_error", "message": "Sorry"})
    reading = read("openai.responses", stream(response_event("response.failed", response=body), error))
    assert reading.error == ProviderError(code="rate_limit_exceeded", message="Slow down")


def test_error_event_alone() -> None:
    """A stream that ends with an error event is not complete."""
    error = response_event("error", error={"type": "server_error", "code": None, "message": "Sorry"})
    reading = read("openai.responses", stream(error))
    assert reading.error == ProviderError(type="server_error", message="Sorry")
    assert (reading.complete, reading.usage) == (False, None)


def test_keepalive() -> None:
    """Keep-alive events change nothing."""
    last = response_event("response.completed", response=response(USAGE))
    assert read("openai.responses", stream(last, response_event("keepalive"))).usage == COUNTED


def test_done_may_follow() -> None:
    """OpenRouter ends the stream with ``[DONE]``, others do not; neither matters."""
    last = response_event("response.completed", response=response(USAGE))
    with_done = read("openai.responses", stream(last, done=True), provider="openrouter")
    assert with_done == read("openai.responses", stream(last), provider="openrouter")
    assert with_done.complete is True


def test_data_before_event() -> None:
    """Amazon's Mantle writes ``data:`` before ``event:`` within each event."""
    last = response_event("response.completed", response=response(USAGE))
    lines = stream(last).split(b"\n\n")
    turned = b"\n\n".join(b"\n".join(reversed(event.split(b"\n"))) for event in lines)
    assert turned.startswith(b'data: {"type":"response.created"')
    reading = read("openai.responses", turned, provider="bedrock")
    assert (reading.usage, reading.complete, reading.text_bytes) == (COUNTED, True, len(b"Good day"))


def test_queued_in_the_background() -> None:
    """A call in the background answers at once, without usage: unknown, until it is fetched."""
    reading = read("openai.responses", response(None, status="queued", background=True))
    assert (reading.usage, reading.usage_source, reading.finish_reason) == (None, "unknown", "queued")
    assert read("openai.responses", response(USAGE, background=True)).usage == COUNTED


# ---- tools


def function(name: str, call: str, arguments: str) -> Json:
    """An output item that calls a function."""
    return {"type": "function_call", "id": f"fc_{call}", "call_id": call, "name": name, "arguments": arguments}


def test_function_calls_of_a_stream() -> None:
    """Names come when an item is added, arguments in deltas; each call is told once although it is repeated."""
    items = [function("weather", "call_1", '{"city":"Rome"}'), function("now", "call_2", "{}")]
    events: list[Json] = []
    for index, item in enumerate(items):
        where: Json = {"output_index": index, "item_id": item["id"]}
        events += [
            response_event("response.output_item.added", item={**item, "arguments": ""}, **where),
            response_event("response.function_call_arguments.delta", delta=item["arguments"], **where),
            response_event("response.function_call_arguments.done", arguments=item["arguments"], **where),
            response_event("response.output_item.done", item=item, **where),
        ]
    expected = (
        ToolCall(id="call_1", name="weather", argument_bytes=15),
        ToolCall(id="call_2", name="now", argument_bytes=2),
    )
    last = response_event("response.completed", response=response(USAGE, output=items))
    reading = read("openai.responses", stream(last, *events))
    assert reading.tool_calls == expected
    assert reading.text_bytes == len(b"Good day") + 15 + 2
    # the backend of Codex leaves the final output empty
    last = response_event("response.completed", response=response(USAGE, output=[]))
    assert read("openai.responses", stream(last, *events), provider="chatgpt").tool_calls == expected


def test_calls_of_a_whole_body() -> None:
    """Functions and custom tools are the caller's tools; what OpenAI runs is not."""
    output = [
        {"type": "reasoning", "id": "rs_1", "summary": []},
        function("weather", "call_1", '{"city":"Rome"}'),
        {"type": "custom_tool_call", "id": "ct", "call_id": "call_2", "name": "sql", "input": "SELECT 1"},
        {"type": "mcp_call", "id": "mcp_1", "name": "look", "arguments": "{}"},
        {"type": "code_interpreter_call", "id": "ci_1", "code": "1+1", "container_id": "c"},
    ]
    assert read("openai.responses", response(USAGE, output=output)).tool_calls == (
        ToolCall(id="call_1", name="weather", argument_bytes=15),
        ToolCall(id="call_2", name="sql", argument_bytes=8),
    )


def search(number: int, action: str) -> Json:
    """An output item of the web search."""
    return {"type": "web_search_call", "id": f"ws_{number}", "status": "completed", "action": {"type": action}}


SEARCHES = [search(1, "search"), search(2, "open_page"), search(3, "find_in_page"), search(4, "search")]


def test_web_searches_are_counted_from_the_output() -> None:
    """Only searches are charged: opening a page and finding in it are not."""
    reading = read("openai.responses", response(USAGE, output=SEARCHES))
    assert reading.usage == COUNTED + Usage(web_searches=2)


def test_web_searches_that_the_answer_counts() -> None:
    """tool_usage says how many searches are billed; it wins over the items, also when it says none."""
    used = response(USAGE, output=SEARCHES, tool_usage={"web_search": {"num_requests": 3}})
    assert read("openai.responses", used).usage == COUNTED + Usage(web_searches=3)
    none = response(USAGE, output=SEARCHES[1:3], tool_usage={"web_search": {"num_requests": 0}})
    assert read("openai.responses", none).usage == COUNTED


def test_web_searches_of_a_stream_are_counted_once() -> None:
    """An item that is told when it is done and again at the end is one search."""
    done = response_event("response.output_item.done", output_index=0, item=search(1, "search"))
    last = response_event("response.completed", response=response(USAGE, output=[search(1, "search")]))
    assert read("openai.responses", stream(last, done)).usage == COUNTED + Usage(web_searches=1)


def test_file_searches() -> None:
    """Searches in stored files are charged per call."""
    output = [{"type": "file_search_call", "id": f"fs_{n}", "queries": ["a", "b"]} for n in (1, 2)]
    assert read("openai.responses", response(USAGE, output=output)).usage == COUNTED + Usage(storage_searches=2)


def test_image_tool() -> None:
    """Pictures drawn on the way are tokens of another model, billed beside the usage."""
    made = {
        "input_tokens": 40,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": 40},
        "output_tokens": 1056,
        "output_tokens_details": {"image_tokens": 1056, "text_tokens": 0},
        "total_tokens": 1096,
    }
    tools = [{"type": "image_generation", "model": "gpt-image-2"}]
    body = response(USAGE, tools=tools, tool_usage={"image_gen": made, "web_search": {"num_requests": 0}})
    reading = read("openai.responses", body)
    first, drawn = reading.parts
    assert (first.usage, first.model) == (COUNTED, "gpt-5.2")
    assert (drawn.model, drawn.kind, drawn.billed) == ("gpt-image-2", "image_generation", True)
    assert drawn.usage == Usage(input_tokens=40, input_image_tokens=0, output_tokens=1056, output_image_tokens=1056)
    assert reading.usage is not None
    # 100 + 40 and 50 + 1,056
    assert (reading.usage.input_tokens, reading.usage.output_tokens) == (140, 1106)


def test_image_tool_that_was_not_used() -> None:
    """A count of no tokens is no part."""
    made = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    reading = read("openai.responses", response(USAGE, tool_usage={"image_gen": made}))
    assert len(reading.parts) == 1


# ---- others


def test_xai_includes_reasoning_here() -> None:
    """At xAI's Responses the output includes reasoning, unlike at its chat; its cost is in ticks of 1e-10 USD."""
    usage = {**USAGE, "cost_in_usd_ticks": 50_125_000, "num_sources_used": 4}
    reading = read("openai.responses", response(usage, model="grok-4.3"), provider="xai")
    assert reading.usage == COUNTED
    assert reading.provider_cost == Money.usd("0.0050125")


def test_tier_that_only_the_answer_knows() -> None:
    """The ultrafast tier is handed on to pricing."""
    assert read("openai.responses", response(USAGE, service_tier="ultrafast")).price_context == (
        ("service_tier", "ultrafast"),
    )


@pytest.mark.parametrize("total", [149, 151])
def test_a_total_that_is_not_the_sum(total: int) -> None:
    """A total that disagrees is named."""
    reading = read("openai.responses", response({**USAGE, "total_tokens": total}))
    assert reading.usage == COUNTED
    assert kinds(reading) == [("total_disagrees", "total_tokens")]


def test_http_error() -> None:
    """An HTTP error carries no usage."""
    body: Json = {"error": {"message": "No such model", "type": "invalid_request_error", "code": "model_not_found"}}
    reading = read("openai.responses", body, status=404)
    assert reading.error == ProviderError(type="invalid_request_error", code="model_not_found", message="No such model")
    assert reading.usage is None
