"""OpenAI's SDK: what it gives through the gateway is what it gives without, and it tells what a call cost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.gateway.clients.stage import ASK_FOR_TOOL, HELLO, PARAMETERS, Booth, agree, without_ours

pytestmark = pytest.mark.needs("openai")

MODEL = "gpt-4o"
TOOL: Any = {"type": "function", "function": {"name": "look", "parameters": PARAMETERS}}
SLOW = {"x-simulate": "stall=20, output=200"}


@pytest.fixture
def both(place: Booth) -> Iterator[tuple[Any, Any]]:
    """A client of the provider, and one of the gateway."""
    import openai  # noqa: PLC0415 - may be missing

    with (
        openai.OpenAI(base_url=place.direct("openai"), api_key="k", max_retries=0) as direct,
        openai.OpenAI(base_url=place.through("openai"), api_key="k", max_retries=2) as through,
    ):
        yield direct, through


def test_whole(place: Booth, both: tuple[Any, Any]) -> None:
    """The answer, and in its usage and its headers the cost and the call."""
    direct, raw = (client.chat.completions.with_raw_response.create(model=MODEL, messages=HELLO) for client in both)
    answer, event = raw.parse(), place.event()
    assert without_ours(answer.model_dump()) == direct.parse().model_dump()
    assert raw.headers["x-taximeter-call-id"] == event.id
    assert raw.headers["x-taximeter-cost-usd"] == answer.usage.cost_usd == str(event.cost)
    assert agree(event, place.provider.served[-1])


@pytest.mark.parametrize("asks", [True, False])
def test_streamed(place: Booth, both: tuple[Any, Any], asks: bool) -> None:  # noqa: FBT001 - a parameter
    """Chunk by chunk; the cost is in the usage that was asked for, and nowhere where none was."""
    more: Any = {"stream_options": {"include_usage": True}} if asks else {}
    direct, through = (
        [
            chunk.model_dump()
            for chunk in client.chat.completions.create(model=MODEL, messages=HELLO, stream=True, **more)
        ]
        for client in both
    )
    event = place.event()
    assert without_ours(through) == direct
    assert (through[-1]["usage"] or {}).get("cost_usd") == (str(event.cost) if asks else None)
    assert (event.outcome, event.usage_source) == ("completed", "reported")
    assert agree(event, place.provider.served[-1])


def test_at_once(place: Booth, both: tuple[Any, Any]) -> None:
    """Many streams of an asynchronous client, each with its own answer."""
    import openai  # noqa: PLC0415 - may be missing

    async def ask(url: str) -> list[Any]:
        async with openai.AsyncOpenAI(base_url=url, api_key="k") as client:

            async def one(number: int) -> list[Any]:
                said: Any = [{"role": "user", "content": f"Hello {number}"}]
                stream = await client.chat.completions.create(model=MODEL, messages=said, stream=True)
                return [chunk.model_dump() async for chunk in stream]

            return await asyncio.gather(*(one(number) for number in range(20)))

    del both
    direct, through = (asyncio.run(ask(url)) for url in (place.direct("openai"), place.through("openai")))
    assert through == direct
    assert {event.outcome for event in place.events(20)} == {"completed"}


def test_tools(place: Booth, both: tuple[Any, Any]) -> None:
    """The call that asks for a tool and the one that has its result are one turn, whose cost is told."""

    def round_trip(client: Any) -> tuple[Any, Any]:
        first = client.chat.completions.create(model=MODEL, messages=ASK_FOR_TOOL, tools=[TOOL])
        message = first.choices[0].message
        results = [{"role": "tool", "tool_call_id": each.id, "content": "42"} for each in message.tool_calls]
        said = [*ASK_FOR_TOOL, without_ours(message.model_dump(exclude_none=True)), *results]
        return first, client.chat.completions.create(model=MODEL, messages=said, tools=[TOOL])

    direct, through = map(round_trip, both)
    assert [without_ours(each.model_dump()) for each in through] == [each.model_dump() for each in direct]
    first, second = place.events(2)
    assert first.scope.turn == second.scope.turn is not None
    assert [call.name for call in first.tool_calls] == ["look"]
    assert first.cost is not None
    assert second.cost is not None
    assert through[1].usage.turn_cost_usd == str(first.cost + second.cost)


def test_a_retry_is_a_call_of_its_own(place: Booth, both: tuple[Any, Any]) -> None:
    """The SDK tries again after a 429: two calls are booked, the second as the second attempt."""
    headers = {"x-simulate": "status=429, retry-after=0, times=1"}
    got = both[1].chat.completions.create(model=MODEL, messages=HELLO, extra_headers=headers)
    first, second = place.events(2)
    assert [(event.outcome, event.status, event.attempt) for event in (first, second)] == [
        ("failed", 429, 1),
        ("completed", 200, 2),
    ]
    assert got.usage.cost_usd == str(second.cost)


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500])
def test_an_error_is_the_providers(place: Booth, both: tuple[Any, Any], status: int) -> None:
    """Of the same class, with the same words."""
    raised = [_error(client.with_options(max_retries=0), status) for client in both]
    assert (type(raised[1]), str(raised[1]), raised[1].body) == (type(raised[0]), str(raised[0]), raised[0].body)
    assert raised[1].response.headers["x-taximeter-call-id"] == place.event().id
    assert place.event().outcome == "failed"


def _error(client: Any, status: int) -> Any:
    import openai  # noqa: PLC0415 - may be missing

    headers = {"x-simulate": f"status={status}"}
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model=MODEL, messages=HELLO, extra_headers=headers)
    return caught.value


@pytest.mark.parametrize("asks", [True, False])
def test_a_stream_that_is_left(place: Booth, both: tuple[Any, Any], asks: bool) -> None:  # noqa: FBT001 - a parameter
    """It is booked as cancelled, and the provider is left as well."""
    more: Any = {"stream_options": {"include_usage": True}} if asks else {}
    stream = both[1].chat.completions.create(model=MODEL, messages=HELLO, stream=True, extra_headers=SLOW, **more)
    for _ in range(3):
        next(stream)
    stream.close()
    assert place.event().outcome == "cancelled"
    assert [call.outcome for call in place.provider.wait_served(1)] == ["left"]


def test_embeddings(place: Booth, both: tuple[Any, Any]) -> None:
    """The vectors, and the cost beside the usage."""
    direct, through = (
        client.embeddings.create(model="text-embedding-3-small", input=["a river", "a bridge"]) for client in both
    )
    assert without_ours(through.model_dump()) == direct.model_dump()
    assert through.usage.cost_usd == str(place.event().cost)


@pytest.mark.parametrize("streamed", [False, True])
def test_responses(place: Booth, both: tuple[Any, Any], streamed: bool) -> None:  # noqa: FBT001 - a parameter
    """Whole, and event by event."""

    def ask(client: Any) -> list[Any]:
        got = client.responses.create(model=MODEL, input="Hello you", stream=streamed)
        return [event.model_dump() for event in got] if streamed else [{"response": got.model_dump()}]

    direct, through = map(ask, both)
    assert without_ours(through) == direct
    event = place.event()
    assert event.api == "openai.responses"
    assert through[-1]["response"]["usage"]["cost_usd"] == str(event.cost)


def test_a_responses_tool(place: Booth, both: tuple[Any, Any]) -> None:
    """Its result belongs to the turn of the call that asked for it."""
    tool: Any = {"type": "function", "name": "look", "parameters": PARAMETERS}

    def round_trip(client: Any) -> Any:
        first = client.responses.create(model=MODEL, input=ASK_FOR_TOOL, tools=[tool])
        calls = [item for item in first.output if item.type == "function_call"]
        results = [{"type": "function_call_output", "call_id": each.call_id, "output": "42"} for each in calls]
        said = [*ASK_FOR_TOOL, *(each.model_dump(exclude_none=True) for each in calls), *results]
        return client.responses.create(model=MODEL, input=said, tools=[tool])

    direct, through = map(round_trip, both)
    assert without_ours(through.model_dump()) == direct.model_dump()
    first, second = place.events(2)
    assert first.scope.turn == second.scope.turn is not None
    assert first.cost is not None
    assert second.cost is not None
    assert through.usage.turn_cost_usd == str(first.cost + second.cost)
