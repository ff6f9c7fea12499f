"""Every format, whole and streamed, is read back by the meter with just the usage that the simulator says it stated."""

from __future__ import annotations

import pytest

from taximeter.money import Money
from taximeter.simulator import Simulator
from taximeter.simulator.formats import SPEAKERS
from taximeter.usage import Usage
from taximeter.wire import APIS
from tests.simulator.asking import REQUESTS, SILENT, Json, ask, read, reading

BOTH = [(name, stream) for name, asked in REQUESTS.items() for stream in ((False, True) if asked.streams else (False,))]


def test_every_format_is_spoken() -> None:
    """What the meter reads, the simulator speaks, and the tests ask for."""
    assert set(SPEAKERS) == set(APIS)
    assert {asked.api for asked in (*REQUESTS.values(), *SILENT.values())} == set(APIS)


@pytest.mark.parametrize(("name", "stream"), BOTH)
def test_usage_is_read_as_it_was_stated(simulator: Simulator, name: str, *, stream: bool) -> None:
    """Counts, model, id and tool calls of an answer are those that the simulator booked, and nothing contradicts."""
    got = ask(simulator, name, stream=stream)
    (served,) = simulator.served
    found = read(got, REQUESTS[name], stream=stream)
    assert served.usage
    assert found.usage == Usage(**served.usage)
    assert found.usage_source == "reported"
    assert (found.fault, found.error, found.contradictions) == (None, None, ())
    assert found.stream is (stream or name == "speech events")
    assert found.complete is (True if found.stream else None)
    assert served.outcome == "completed"
    assert served.status == got.status == 200
    assert served.usage == served.planned
    assert served.body_bytes == len(got.body)
    assert found.response_model in (None, served.model)
    assert found.response_id in (None, served.response_id) or not served.response_id
    assert served.api == REQUESTS[name].api


@pytest.mark.parametrize(("name", "stream"), BOTH)
def test_cache_and_thinking_are_read_as_they_were_stated(simulator: Simulator, name: str, *, stream: bool) -> None:
    """Where a format tells cached tokens or thoughts apart, they are told as booked, and the totals hold them."""
    found = reading(simulator, name, stream=stream, knobs="cached=5, reasoning=8, output=8")
    stated = simulator.served[0].usage
    assert stated
    assert found.usage == Usage(**stated)
    assert found.contradictions == ()
    assert stated.get("cache_read_tokens", 5) == 5
    assert stated.get("output_reasoning_tokens", 8) == 8


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("ttl", ["5m", "1h"])
@pytest.mark.parametrize("name", ["anthropic", "converse", "invoke claude", "invoke nova"])
def test_cache_writes_are_read_as_they_were_stated(simulator: Simulator, name: str, ttl: str, *, stream: bool) -> None:
    """What is marked is written, then read; each time the reader finds the figures of the books."""
    claude = [{"type": "text", "text": "x" * 800, "cache_control": {"type": "ephemeral", "ttl": ttl}}]
    amazon = [{"text": "x" * 800}, {"cachePoint": {"type": "default", "ttl": ttl}}]
    system = claude if name in ("anthropic", "invoke claude") else amazon
    for unit in (f"cache_write_{ttl}_tokens", "cache_read_tokens"):
        found = reading(simulator, name, stream=stream, system=system)
        stated = simulator.served[-1].usage
        assert stated
        assert stated[unit] == 203
        assert found.usage == Usage(**stated)
        assert found.contradictions == ()


@pytest.mark.parametrize("name", [name for name, asked in REQUESTS.items() if asked.streams])
def test_whole_and_stream_say_the_same(simulator: Simulator, name: str) -> None:
    """The same question has the same answer and the same usage, streamed or not."""
    whole, stream = reading(simulator, name), reading(simulator, name, stream=True)
    assert whole.usage == stream.usage
    assert whole.response_id == stream.response_id
    assert whole.finish_reason == stream.finish_reason or name == "transcription"


@pytest.mark.parametrize("name", SILENT)
def test_formats_that_state_no_usage(simulator: Simulator, name: str) -> None:
    """Where a provider states nothing, neither does the simulator."""
    assert reading(simulator, name, stream=True).usage is None
    assert simulator.served[0].usage is None


@pytest.mark.parametrize(("name", "stream"), BOTH)
def test_the_same_request_has_the_same_bytes(name: str, *, stream: bool) -> None:
    """A simulator that was started anew answers byte for byte as the one before."""
    answers: set[bytes] = set()
    for _ in range(2):
        with Simulator() as fresh:
            answers.add(ask(fresh, name, stream=stream).body)
    assert len(answers) == 1


TOOLS: dict[str, Json] = {
    "openai chat": {
        "messages": [{"role": "user", "content": "use tools"}],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "look_up",
                    "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
                },
            }
        ],
    },
    "responses": {
        "input": "use tools",
        "tools": [
            {
                "type": "function",
                "name": "look_up",
                "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
            }
        ],
    },
    "anthropic": {
        "max_tokens": 2_000,
        "messages": [{"role": "user", "content": "use tools"}],
        "tools": [{"name": "look_up", "input_schema": {"type": "object", "properties": {"place": {"type": "string"}}}}],
    },
    "gemini": {
        "contents": [{"role": "user", "parts": [{"text": "use tools"}]}],
        "tools": [
            {
                "functionDeclarations": [
                    {"name": "look_up", "parameters": {"type": "OBJECT", "properties": {"place": {"type": "STRING"}}}}
                ]
            }
        ],
    },
    "interactions": {
        "input": "use tools",
        "tools": [
            {
                "type": "function",
                "name": "look_up",
                "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
            }
        ],
    },
    "converse": {
        "messages": [{"role": "user", "content": [{"text": "use tools"}]}],
        "toolConfig": {
            "tools": [
                {
                    "toolSpec": {
                        "name": "look_up",
                        "inputSchema": {"json": {"type": "object", "properties": {"place": {"type": "string"}}}},
                    }
                }
            ]
        },
    },
    "cohere v2": {
        "messages": [{"role": "user", "content": "use tools"}],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "look_up",
                    "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
                },
            }
        ],
    },
    "cohere v1": {
        "message": "use tools",
        "tools": [{"name": "look_up", "parameter_definitions": {"place": {"type": "str"}}}],
    },
    "ollama chat": {
        "messages": [{"role": "user", "content": "use tools"}],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "look_up",
                    "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
                },
            }
        ],
    },
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", TOOLS)
def test_tools_are_asked_for(simulator: Simulator, name: str, *, stream: bool) -> None:
    """A user who says so gets two parallel calls of the declared tool, each with arguments that its schema allows."""
    found = reading(simulator, name, stream=stream, **TOOLS[name])
    (served,) = simulator.served
    assert [call.name for call in found.tool_calls] == ["look_up", "look_up"]
    assert all(call.argument_bytes > len('{"place":""}') for call in found.tool_calls)
    assert served.tool_calls == 2
    assert served.usage
    assert found.usage == Usage(**served.usage)
    assert found.complete is not False


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "name", [name for name, asked in REQUESTS.items() if asked.streams and asked.api != "openai.speech"]
)
def test_no_usage(simulator: Simulator, name: str, *, stream: bool) -> None:
    """`no-usage` leaves every figure out, and the books say so."""
    found = reading(simulator, name, stream=stream, knobs="no-usage")
    assert found.usage is None or not found.usage
    assert simulator.served[0].usage is None
    assert found.complete is not False


def test_usage_on_every_chunk(simulator: Simulator) -> None:
    """`usage=every` states a running figure on each chunk, the last of which is the whole."""
    got = ask(simulator, "openai chat", stream=True, knobs="usage=every")
    events = [line for line in got.body.split(b"\n\n") if line.startswith(b"data: {")]
    assert all(b'"prompt_tokens":7' in event for event in events)
    found = read(got, REQUESTS["openai chat"], stream=True)
    assert simulator.served[0].usage
    assert found.usage == Usage(**simulator.served[0].usage)


def test_usage_only_for_those_who_ask(simulator: Simulator) -> None:
    """OpenAI's other chunks carry a null for those who asked; `usage=always` tells those too who did not."""
    asked = ask(simulator, "openai chat", stream=True).body
    assert asked.count(b'"usage":null') == asked.count(b'"choices":[{')
    assert b'"usage"' not in ask(simulator, "unasked chat", stream=True).body
    assert ask(simulator, "unasked chat", stream=True, knobs="usage=always").body.count(b'"usage"') == 1


def test_padding(simulator: Simulator) -> None:
    """OpenAI pads its chunks, unless the request forbids it; others do not."""
    assert b'"obfuscation"' in ask(simulator, "openai chat", stream=True).body
    plain = {"include_usage": True, "include_obfuscation": False}
    assert b'"obfuscation"' not in ask(simulator, "openai chat", stream=True, stream_options=plain).body
    assert b'"obfuscation"' not in ask(simulator, "mistral chat", stream=True).body


def test_several_choices(simulator: Simulator) -> None:
    """`n` answers differ, and one usage counts them all."""
    found = reading(simulator, "openai chat", n=3, max_tokens=10)
    assert found.usage is not None
    assert found.usage.output_tokens == 3 * 10
    assert reading(simulator, "openai chat", stream=True, n=3, max_tokens=10).usage == found.usage


def test_one_of_each_dialect(simulator: Simulator) -> None:
    """Reasoning stands outside `completion_tokens` at xAI and Perplexity; the cache is split in two at DeepSeek."""
    xai = reading(simulator, "xai chat", knobs="output=10, reasoning=30")
    assert xai.raw_usage is not None
    assert '"completion_tokens":10' in xai.raw_usage
    assert '"total_tokens":47' in xai.raw_usage
    assert xai.usage == Usage(
        input_tokens=7,
        cache_read_tokens=0,
        input_audio_tokens=0,
        output_tokens=40,
        output_reasoning_tokens=30,
        output_audio_tokens=0,
    )
    deepseek = reading(simulator, "deepseek chat", knobs="cached=3").raw_usage or ""
    assert '"prompt_cache_hit_tokens":3' in deepseek
    assert '"prompt_cache_miss_tokens":4' in deepseek
    assert b'"x_groq"' in ask(simulator, "groq chat", stream=True).body
    assert b"[DONE]" not in ask(simulator, "perplexity chat", stream=True).body


@pytest.mark.parametrize("stream", [False, True])
def test_openrouter_states_its_charge(simulator: Simulator, *, stream: bool) -> None:
    """A millionth of a dollar for each token, beside the counts; nobody else states one."""
    charged = reading(simulator, "openrouter chat", stream=stream)
    assert charged.usage is not None
    tokens = (charged.usage.input_tokens or 0) + (charged.usage.output_tokens or 0)
    assert charged.provider_cost == Money(tokens * 10**6)
    assert reading(simulator, "openai chat", stream=stream).provider_cost is None
