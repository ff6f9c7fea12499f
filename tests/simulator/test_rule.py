"""The token rule, the cache, thinking and tools: what decides the figures, with the arithmetic written out."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.simulator import Simulator
from taximeter.simulator.tokens import passage, tokens
from tests.simulator.asking import FUNCTION, Json, ask, reading, send

CHAT = "/openai/v1/chat/completions"
CLAUDE = "/anthropic/v1/messages"


@pytest.mark.parametrize(
    ("text", "count"),
    [("", 0), ("a", 1), ("four", 1), ("fives", 2), ("naïve", 2), ("🌲", 1), ("🌲🌲.", 3), ("\ud83c", 1)],
)
def test_a_token_is_four_bytes(text: str, count: int) -> None:
    """Four bytes of UTF-8, rounded up; half an emoji is three bytes."""
    assert tokens(text) == count


@given(st.binary(min_size=1, max_size=32), st.integers(0, 400))
def test_a_passage_has_just_the_tokens_that_were_asked_for(seed: bytes, size: int) -> None:
    """Its pieces make a text of exactly so many tokens, whatever the words; none of them is empty."""
    pieces = passage(seed, size)
    assert tokens("".join(pieces)) == size
    assert all(pieces)
    assert pieces == passage(seed, size)


def usage(simulator: Simulator, path: str, body: Json, knobs: str = "") -> dict[str, int]:
    """What the books say of a call."""
    got = send(simulator, path, body, knobs=knobs)
    assert got.status == 200, got.body
    stated = simulator.served[-1].usage
    assert stated is not None
    return dict(stated)


def test_messages_tools_and_pictures_are_counted(simulator: Simulator) -> None:
    """Each message costs its text and 3; a picture 85; a tool its name and its schema."""
    system = {"role": "system", "content": "Be brief."}  # 9 bytes: 3 + 3
    parts = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": "x" * 999}}]  # 2 + 85 + 3
    messages = [system, {"role": "user", "content": parts}]
    schema = len(json.dumps(FUNCTION["parameters"], separators=(",", ":")))
    assert usage(simulator, CHAT, {"model": "m", "messages": messages})["input_tokens"] == 6 + 90
    body = {"model": "m", "messages": messages, "tools": [{"type": "function", "function": FUNCTION}]}
    assert usage(simulator, CHAT, body)["input_tokens"] == 6 + 90 + 2 + -(-schema // 4)


def test_output_is_bounded(simulator: Simulator) -> None:
    """`max_tokens` is never passed, thinking included; what is cut says so."""
    found = reading(simulator, "openai chat", max_completion_tokens=5)
    assert found.usage is not None
    assert (found.usage.output_tokens, found.finish_reason) == (5, "length")
    found = reading(simulator, "openai chat", max_completion_tokens=40, knobs="reasoning=100, output=100")
    assert found.usage is not None
    assert (found.usage.output_tokens, found.usage.output_reasoning_tokens) == (40, 20)
    found = reading(simulator, "openai chat", knobs="output=1000")
    assert found.usage is not None
    assert (found.usage.output_tokens, found.finish_reason) == (1_000, "stop")


@pytest.mark.parametrize(
    ("members", "thought"),
    [
        ({}, 0),
        ({"model": "my-reasoner"}, 48),
        ({"reasoning_effort": "low"}, 16),
        ({"reasoning_effort": "high"}, 128),
        ({"reasoning_effort": "none", "model": "my-reasoner"}, 0),
        ({"model": "gpt-5-mini+reasoning=77"}, 77),
    ],
)
def test_thinking(simulator: Simulator, members: Json, thought: int) -> None:
    """A model that is called a reasoner thinks, and so does any that is asked to."""
    found = reading(simulator, "openai chat", **members)
    assert found.usage is not None
    assert found.usage.output_reasoning_tokens == thought


def test_a_prefix_seen_before_is_cached(simulator: Simulator) -> None:
    """The longest prefix of at least 128 tokens is read from the cache; another model has a cache of its own."""
    long = {"role": "system", "content": "x" * 800}  # 200 + 3
    first = {"role": "user", "content": "Hi"}  # 1 + 3
    body = {"model": "m", "messages": [long, first]}
    assert usage(simulator, CHAT, body)["cache_read_tokens"] == 0
    assert usage(simulator, CHAT, body)["cache_read_tokens"] == 207
    other = {"model": "m", "messages": [long, {"role": "user", "content": "Bye"}]}
    assert usage(simulator, CHAT, other)["cache_read_tokens"] == 203
    assert usage(simulator, CHAT, {**other, "model": "n"})["cache_read_tokens"] == 0
    short = {"model": "m", "messages": [first]}
    assert [usage(simulator, CHAT, short)["cache_read_tokens"] for _ in range(2)] == [0, 0]


def test_anthropic_caches_what_is_marked(simulator: Simulator) -> None:
    """Up to the last mark: written at first, for as long as the mark says, then read, and what is new is written."""
    mark = {"type": "ephemeral", "ttl": "1h"}
    system = [{"type": "text", "text": "x" * 800, "cache_control": mark}]  # 203
    body: Json = {
        "model": "c",
        "max_tokens": 99,
        "system": system,
        "messages": [{"role": "user", "content": "Hi"}],
    }  # + 4
    first = usage(simulator, CLAUDE, body)
    assert (first["input_tokens"], first["cache_write_1h_tokens"], first["cache_read_tokens"]) == (207, 203, 0)
    again = usage(simulator, CLAUDE, body)
    assert (again["input_tokens"], again["cache_write_tokens"], again["cache_read_tokens"]) == (207, 0, 203)
    marked = [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}]
    more = usage(simulator, CLAUDE, {**body, "messages": [{"role": "user", "content": marked}]})
    assert (more["cache_read_tokens"], more["cache_write_5m_tokens"], more["cache_write_1h_tokens"]) == (203, 4, 0)
    plain = {**body, "system": "x" * 800}
    assert [usage(simulator, CLAUDE, plain)["cache_read_tokens"] for _ in range(2)] == [0, 0]


def test_bedrock_caches_to_the_cache_point(simulator: Simulator) -> None:
    """Converse's cachePoint is such a mark."""
    system = [{"text": "x" * 800}, {"cachePoint": {"type": "default"}}]
    body = {"system": system, "messages": [{"role": "user", "content": [{"text": "Hi"}]}]}
    path = "/bedrock/model/amazon.nova-lite-v1%3A0/converse"
    written = usage(simulator, path, body)
    assert (written["cache_write_tokens"], written["cache_write_5m_tokens"], written["input_tokens"]) == (203, 203, 207)
    assert usage(simulator, path, body)["cache_read_tokens"] == 203


def test_cached_by_knob(simulator: Simulator) -> None:
    """`cached=N` needs no history, and is never more than the input."""
    found = reading(simulator, "openai chat", knobs="cached=5").usage
    assert found is not None
    assert (found.input_tokens, found.cache_read_tokens) == (7, 5)
    found = reading(simulator, "openai chat", knobs="cached=500").usage
    assert found is not None
    assert found.cache_read_tokens == 7


def tooled(content: str, **members: object) -> Json:
    """A request with two tools."""
    tools = [{"type": "function", "function": {**FUNCTION, "name": name}} for name in ("one", "two")]
    return {"messages": [{"role": "user", "content": content}], "tools": tools, **members}


@pytest.mark.parametrize(
    ("body", "knobs", "called"),
    [
        (tooled("Hello"), "", []),
        (tooled("Please use a tool."), "", ["one"]),
        (tooled("Now use tools!"), "", ["one", "two"]),
        (tooled("use tools", parallel_tool_calls=False), "", ["one"]),
        (tooled("use tools", tool_choice="none"), "", []),
        (tooled("Hello", tool_choice="required"), "", ["one"]),
        (tooled("Hello", tool_choice={"type": "function", "function": {"name": "two"}}), "", ["two"]),
        (tooled("Hello"), "tools=3", ["one", "two", "one"]),
        (tooled("use tools", max_completion_tokens=15), "", ["one"]),
        (tooled("use tools", max_completion_tokens=2), "", []),
    ],
)
def test_when_tools_are_called(simulator: Simulator, body: Json, knobs: str, called: list[str]) -> None:
    """The user's words, the request's choice or a knob ask for tools; what max_tokens has no room for is not asked."""
    found = reading(simulator, "openai chat", knobs=knobs, **body)
    assert [call.name for call in found.tool_calls] == called
    assert len({call.id for call in found.tool_calls}) == len(called)


def test_after_the_tools_comes_the_answer(simulator: Simulator) -> None:
    """A request that ends with a tool's result is answered in words."""
    body = tooled("use tools")
    message = json.loads(ask(simulator, "openai chat", **body).body)["choices"][0]["message"]
    arguments = json.loads(message["tool_calls"][0]["function"]["arguments"])
    assert isinstance(arguments["place"], str)
    assert isinstance(arguments["days"], int)
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "Sun"} for call in message["tool_calls"]]
    again: Json = {**body, "messages": [*body["messages"], message, *results]}
    found = reading(simulator, "openai chat", **again)
    assert (found.tool_calls, found.finish_reason) == ((), "stop")
    assert found.text_bytes > 0


def test_another_seed_is_another_answer(simulator: Simulator) -> None:
    """`seed=N` changes text and ids, and nothing else that is counted of the input."""
    first, second = reading(simulator, "openai chat"), reading(simulator, "openai chat", knobs="seed=1")
    assert first.response_id != second.response_id
    assert first.usage is not None
    assert second.usage is not None
    assert first.usage.input_tokens == second.usage.input_tokens


def test_asking_for_usage_changes_no_answer(simulator: Simulator) -> None:
    """Whoever adds `stream_options` to a request finds the same id and the same text."""
    asked = reading(simulator, "openai chat", stream=True)
    plain = reading(simulator, "unasked chat", stream=True)
    assert (asked.response_id, asked.text_bytes) == (plain.response_id, plain.text_bytes)


def test_background_responses(simulator: Simulator) -> None:
    """A background response is queued without usage; polls find it in progress, then done with its usage."""
    path = "/openai/v1/responses"
    body = {"model": "gpt-5-mini", "input": "Hi", "background": True}
    queued = json.loads(send(simulator, path, body, knobs="pending=1").body)
    assert (queued["status"], queued["usage"]) == ("queued", None)
    polls = [json.loads(send(simulator, f"{path}/{queued['id']}", None, method="GET").body) for _ in range(2)]
    assert [poll["status"] for poll in polls] == ["in_progress", "completed"]
    assert polls[1]["usage"]["input_tokens"] == 4
    served = simulator.served
    assert [call.usage is not None for call in served] == [False, False, True]
    assert {call.response_id for call in served} == {queued["id"]}
    assert {call.model for call in served} == {"gpt-5-mini"}
    assert send(simulator, f"{path}/resp_none", None, method="GET").status == 404


def test_a_conversation_goes_on(simulator: Simulator) -> None:
    """`previous_response_id` brings the earlier turns along, and they are counted."""
    path = "/openai/v1/responses"
    first = json.loads(send(simulator, path, {"model": "m", "input": "Hello"}).body)
    answer = first["output"][0]["content"][0]["text"]
    usage(simulator, path, {"model": "m", "input": "Hello", "previous_response_id": first["id"]})
    stated = simulator.served[-1].usage
    assert stated is not None
    assert stated["input_tokens"] == 5 + (3 + tokens(answer)) + 5


def test_token_counts_and_models(simulator: Simulator) -> None:
    """What counts tokens beforehand counts as the call does; neither it nor the list of models is booked."""
    claude = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
    counted = json.loads(send(simulator, "/anthropic/v1/messages/count_tokens", claude).body)
    assert counted == {"input_tokens": 5}
    gemini = {"contents": [{"parts": [{"text": "Hello"}]}]}
    counted = json.loads(send(simulator, "/google/v1beta/models/g:countTokens", gemini).body)
    assert counted == {"totalTokens": 5}
    listed = json.loads(send(simulator, "/v1/models", None, method="GET").body)
    assert listed["data"][0]["object"] == "model"
    assert send(simulator, "/v1/files", None, method="GET").status == 404
    assert simulator.served == ()
