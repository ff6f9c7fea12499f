"""``tool``: a tool's own duration and outcome, in the books with the call that carries its result."""

from __future__ import annotations

import asyncio
import inspect
import threading
from typing import Any

import httpx2
import pytest

import taximeter
from taximeter import tool
from taximeter.event import CallEvent, ToolResult
from taximeter.meter import Meter
from taximeter.meter.toolruns import MOST_RUNS, ToolRun, ran, with_runs
from taximeter.simulator import Simulator

WIRE = ToolResult(id="call_1", name="weather", duration_ms=900, failed=None, result_bytes=5)


def ask(provider: Simulator, messages: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """A call that is metered."""
    with httpx2.Client(transport=taximeter.Transport(httpx2.HTTPTransport())) as client:
        body = {"model": "gpt-5-mini", "messages": messages, **more}
        return client.post(f"{provider.url('openai')}/chat/completions", json=body).json()


@pytest.fixture(autouse=True)
def _in_a_turn(meter: Meter) -> Any:
    assert meter.settings.enabled
    with taximeter.scope(session="s"):
        with_runs((), "openai.chat")
        yield


def test_what_a_tool_gives_and_raises_passes() -> None:
    """The very objects, and the function's name and kind."""
    given = object()
    raised = ValueError("no")

    @tool
    def fetch(what: object) -> object:
        """Fetches."""
        return what

    @tool("named")
    async def fail() -> None:
        raise raised

    assert fetch(given) is given
    assert (fetch.__name__, fetch.__doc__) == ("fetch", "Fetches.")
    assert inspect.iscoroutinefunction(fail)
    with pytest.raises(ValueError, match="no") as caught:
        asyncio.run(fail())
    assert caught.value is raised


def test_a_run_is_in_the_next_calls_results(provider: Simulator, events: list[CallEvent]) -> None:
    """Its name, outcome and size are in the event of the next call, once."""

    @tool
    def weather() -> str:
        return "süß"

    with pytest.raises(KeyError), tool("stock"):
        raise KeyError
    weather()
    ask(provider, [{"role": "user", "content": "Hello"}])
    ask(provider, [{"role": "user", "content": "Hello again"}])
    stock, rain = events[0].tool_results
    assert (stock.name, stock.failed, stock.result_bytes) == ("stock", True, 0)
    assert (rain.name, rain.failed, rain.result_bytes) == ("weather", False, 5)
    assert stock.duration_ms is not None
    assert stock.id != rain.id
    assert events[1].tool_results == ()


def test_a_run_takes_the_place_of_what_the_wire_shows(provider: Simulator, events: list[CallEvent]) -> None:
    """An answer asks for tools; what they took by themselves stands in the call that brings their results."""
    asked = {"role": "user", "content": "Please use a tool"}
    functions = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    message = ask(provider, [asked], tools=functions)["choices"][0]["message"]
    (call,) = message["tool_calls"]
    with pytest.raises(KeyError), tool(call["function"]["name"]):
        raise KeyError
    ask(provider, [asked, message, {"role": "tool", "tool_call_id": call["id"], "content": "sorry"}], tools=functions)
    (result,) = events[1].tool_results
    assert (result.id, result.name, result.failed, result.result_bytes) == (call["id"], "weather", True, 5)


def test_the_id_wins_over_the_name() -> None:
    """Of two runs of one tool, the ids tell which is which; what is left over stands alone."""
    ran(ToolRun("weather", 10, failed=True, id="call_2"))
    ran(ToolRun("weather", 20, failed=False, id="call_1"))
    ran(ToolRun("clock", 30, failed=False))
    first, second, alone = with_runs((WIRE, ToolResult(id="call_2")), "openai.chat")
    assert (first.duration_ms, first.failed, first.result_bytes) == (20, False, 5)
    assert (second.name, second.duration_ms, second.failed) == ("weather", 10, True)
    assert (alone.name, alone.duration_ms) == ("clock", 30)
    assert with_runs((WIRE,), "openai.chat") == (WIRE,)


def test_calls_that_carry_no_conversation_take_no_runs() -> None:
    """An embedding between a tool and the answer to the model is not what the tool ran for."""
    ran(ToolRun("weather", 10, failed=False))
    assert with_runs((), "openai.embeddings") == ()
    assert with_runs((WIRE,), "openai.chat")[0].duration_ms == 10


def test_calls_within_a_tool_carry_their_own_tools_only() -> None:
    """A sub-agent's calls do not take what belongs to the call around."""
    ran(ToolRun("weather", 10, failed=False))
    with tool("agent"):
        assert with_runs((), "openai.chat") == ()
        with tool("inner"):
            pass
        assert [result.name for result in with_runs((), "openai.chat")] == ["inner"]
    assert [result.name for result in with_runs((), "openai.chat")] == ["weather", "agent"]


def test_tools_in_tasks_and_threads_belong_to_who_started_them() -> None:
    """Tools that run at once are all kept; conversations that go on at once do not mix."""

    async def one(name: str) -> None:
        async with tool(name):
            await asyncio.sleep(0)

    async def conversation(name: str) -> list[str | None]:
        with_runs((), "openai.chat")
        await asyncio.gather(one(f"{name}1"), one(f"{name}2"))
        thread = threading.Thread(target=taximeter.carry(tool(f"{name}3")(str)))
        thread.start()
        thread.join()
        return [result.name for result in with_runs((), "openai.chat")]

    async def both() -> list[list[str | None]]:
        return list(await asyncio.gather(conversation("a"), conversation("b")))

    assert asyncio.run(both()) == [["a1", "a2", "a3"], ["b1", "b2", "b3"]]


def test_what_nobody_takes_is_bounded() -> None:
    """Runs that no call follows go, the oldest first."""
    for number in range(MOST_RUNS + 5):
        ran(ToolRun(f"tool-{number}", 1, failed=False))
    results = with_runs((), "openai.chat")
    assert len(results) == MOST_RUNS
    assert results[0].name == "tool-5"
