"""LiteLLM, whose asynchronous calls go over aiohttp and whose synchronous ones over httpx: each is booked once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest

import taximeter
from taximeter.event import CallEvent
from taximeter.meter import Meter
from taximeter.testing import Simulator
from tests.instrument.asks import WHOLE, agree

pytestmark = [pytest.mark.needs("litellm"), pytest.mark.filterwarnings("ignore")]  # LiteLLM warns of itself

Wait = Callable[[Callable[[], bool]], None]


@pytest.fixture
def litellm(meter: Meter, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package, with everything hooked, and looking for nothing on the network."""
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    package: Any = import_module("litellm")

    package.suppress_debug_info = True
    taximeter.instrument()
    assert not meter.failures
    return package


def options(provider: Simulator, model: str = "openai/gpt-4o", **more: Any) -> dict[str, Any]:
    """What LiteLLM is called with."""
    base = provider.url("anthropic") + "/v1/messages" if model.startswith("anthropic") else provider.url("openai")
    return {"model": model, "api_base": base, "api_key": "key", "messages": WHOLE["messages"], **more}


@pytest.mark.parametrize("model", ["openai/gpt-4o", "anthropic/claude-sonnet-4-5"])
def test_whole_and_streamed(
    litellm: Any, provider: Simulator, events: list[CallEvent], model: str, eventually: Wait
) -> None:
    """Over each transport, whole and streamed, the books agree with the provider's, call by call."""
    asked = {"stream_options": {"include_usage": True}}

    async def main() -> None:
        answer = await litellm.acompletion(**options(provider, model))
        assert answer.usage.prompt_tokens == (events[0].usage or {}).get("input_tokens")
        async for _ in await litellm.acompletion(stream=True, **asked, **options(provider, model)):
            pass

    asyncio.run(main())
    litellm.completion(**options(provider, model))
    for _ in litellm.completion(stream=True, **asked, **options(provider, model)):
        pass
    eventually(lambda: len(events) == 4)  # LiteLLM does not read behind the last event of a stream; it lets go of it
    assert [(event.outcome, event.stream) for event in events] == [("completed", False), ("completed", True)] * 2
    assert [agree(event, call) for event, call in zip(events, provider.wait_served(4), strict=True)] == [True] * 4


def test_a_stream_that_did_not_ask(litellm: Any, provider: Simulator, events: list[CallEvent]) -> None:
    """Where streams are made to state their usage, LiteLLM's are too, and it sees nothing of that."""
    taximeter.endpoint(provider.url("openai"), api="openai.chat", provider="openai", asks_usage=True)

    async def main() -> list[Any]:
        stream = await litellm.acompletion(stream=True, **options(provider))
        return [chunk async for chunk in stream]

    chunks = asyncio.run(main())
    assert len(chunks) > 1
    assert all(getattr(chunk, "usage", None) is None for chunk in chunks)
    assert [(event.outcome, event.usage_source) for event in events] == [("completed", "reported")]


def test_errors_and_retries(litellm: Any, provider: Simulator, events: list[CallEvent]) -> None:
    """LiteLLM's own retries are calls; its exceptions are its own."""
    slow_down = {"x-simulate": "429, retry-after=0, times=1"}

    async def main() -> None:
        answer = await litellm.acompletion(num_retries=2, extra_headers=slow_down, **options(provider))
        assert answer.choices[0].message.content
        with pytest.raises(litellm.InternalServerError):
            await litellm.acompletion(max_retries=0, extra_headers={"x-simulate": "500"}, **options(provider))

    asyncio.run(main())
    assert [(event.outcome, event.status) for event in events] == [
        ("failed", 429),
        ("completed", 200),
        ("failed", 500),
    ]


def test_break_out_of_a_stream(litellm: Any, provider: Simulator, events: list[CallEvent], eventually: Wait) -> None:
    """A stream that is broken off was cancelled."""

    async def main() -> None:
        stream = await litellm.acompletion(stream=True, extra_headers={"x-simulate": "stall=50"}, **options(provider))
        async for _ in stream:
            break

    asyncio.run(main())
    eventually(lambda: bool(events))
    assert [event.outcome for event in events] == ["cancelled"]
