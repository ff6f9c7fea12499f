"""The providers' own SDKs over httpx and httpx2: they notice nothing, and every call is booked as it was served."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from contextlib import aclosing
from importlib import import_module

import pytest

import taximeter
from taximeter.event import CallEvent
from taximeter.testing import Simulator
from tests.instrument.sdks import MESSAGES, SDKS, Sdk

OPENAI_TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # the SDKs' own
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def _tidy() -> Iterator[None]:
    """What the SDKs leave open is closed here, and not within another test, which would be blamed for it."""
    yield
    gc.collect()


@pytest.fixture(params=SDKS)
def sdk(request: pytest.FixtureRequest, need: Callable[[str], None], provider: Simulator) -> Sdk:
    """Each SDK."""
    name, kind = SDKS[request.param]
    need(name)
    return kind(provider)


@pytest.fixture
def booked(provider: Simulator, events: list[CallEvent]) -> list[CallEvent]:
    """The calls that have ended, everything being hooked, and streams asked for their usage."""
    taximeter.instrument()
    taximeter.endpoint(provider.url("openai"), api="openai.chat", provider="openai")
    return events


def agree(provider: Simulator, booked: list[CallEvent], calls: int) -> None:
    """The books say what the provider says it served."""
    served = provider.wait_served(calls)
    assert len(served) == calls
    assert [dict(event.usage or {}) for event in booked] == [call.usage for call in served]
    assert [(event.outcome, event.usage_source) for event in booked] == [("completed", "reported")] * calls


def test_whole_and_streamed(sdk: Sdk, provider: Simulator, booked: list[CallEvent]) -> None:
    """Each is booked once, with the usage that the provider says it stated."""
    assert sdk.whole(sdk.model)
    assert len(list(sdk.stream(sdk.model))) > 1
    agree(provider, booked, 2)
    assert [event.stream for event in booked] == [False, True]
    assert [event.request_model for event in booked] == [sdk.model] * 2


def test_whole_and_streamed_asynchronously(sdk: Sdk, provider: Simulator, booked: list[CallEvent]) -> None:
    """The same of the asynchronous client, many at once."""

    async def run() -> None:
        await sdk.whole_async(sdk.model)

        async def read(number: int) -> int:
            return len([chunk async for chunk in sdk.stream_async(f"{sdk.model}+seed={number}")])

        assert min(await asyncio.gather(*map(read, range(4)))) > 1

    asyncio.run(run())
    served = [sorted((call.usage or {}).items()) for call in provider.wait_served(5)]
    assert sorted(sorted((event.usage or {}).items()) for event in booked) == sorted(served)
    assert {event.outcome for event in booked} == {"completed"}


@pytest.mark.usefixtures("meter")
def test_the_application_sees_the_same(sdk: Sdk, provider: Simulator) -> None:
    """The very objects, chunk by chunk, that the SDK gives without us."""
    plain = [repr(chunk) for chunk in sdk.stream(sdk.model + "+cached=0")]
    taximeter.instrument()
    taximeter.endpoint(provider.url("openai"), api="openai.chat", provider="openai")
    assert [repr(chunk) for chunk in sdk.stream(sdk.model + "+cached=0")] == plain


def test_a_stream_that_is_left(
    sdk: Sdk, booked: list[CallEvent], eventually: Callable[[Callable[[], bool]], None]
) -> None:
    """Broken off after its first chunk, either way: cancelled, and no figure is made up."""
    chunks = sdk.stream(sdk.model + "+output=400+stall=5")
    next(chunks)
    chunks.close()  # type: ignore[attr-defined] - a generator
    del chunks
    eventually(lambda: len(booked) == 1)

    async def run() -> None:
        chunks = sdk.stream_async(sdk.model + "+output=400+stall=5")
        async with aclosing(chunks):  # type: ignore[type-var] - a generator
            await anext(chunks)
        del chunks
        while len(booked) < 2:
            gc.collect()
            await asyncio.sleep(0.001)

    asyncio.run(asyncio.wait_for(run(), 10))
    assert [event.outcome for event in booked] == ["cancelled", "cancelled"]
    assert {event.usage_source for event in booked} <= {"unknown", "estimated"}


def test_errors_are_the_sdks_own(sdk: Sdk, booked: list[CallEvent]) -> None:
    """The same exception as without us, and a call that failed."""
    kinds: list[type[BaseException]] = []
    for hooked in (True, False):
        if not hooked:
            taximeter.uninstrument()
        with pytest.raises(Exception) as raised:  # noqa: PT011 - each SDK has its own
            sdk.whole(sdk.model + "+400")
        kinds.append(raised.type)
    assert kinds[0] is kinds[1]
    assert [(event.outcome, event.status, event.usage) for event in booked] == [("failed", 400, None)]
    assert booked[0].error is not None


@pytest.mark.needs("openai")
@pytest.mark.needs("anthropic")
@pytest.mark.parametrize("name", ["openai", "anthropic"])
def test_retries_are_calls_of_their_own(name: str, provider: Simulator, booked: list[CallEvent]) -> None:
    """An attempt that failed and one that did not, numbered as the SDK counts them."""
    package = import_module(name)
    if name == "openai":
        client = package.OpenAI(base_url=provider.url(), api_key="k", max_retries=2)
        client.chat.completions.create(model="gpt-4o+500+times=1", messages=MESSAGES)
    else:
        client = package.Anthropic(base_url=provider.url("anthropic"), api_key="k", max_retries=2)
        client.messages.create(model="claude-of-tests+529+times=1", max_tokens=9, messages=MESSAGES)
    assert [(event.outcome, event.attempt) for event in booked] == [("failed", 1), ("completed", 2)]
    assert len(provider.served) == 2


@pytest.mark.needs("openai")
def test_raw_and_streaming_responses(provider: Simulator, booked: list[CallEvent]) -> None:
    """``with_raw_response`` and ``with_streaming_response``: read or not."""
    openai = import_module("openai")
    completions = openai.OpenAI(base_url=provider.url(), api_key="k").chat.completions
    raw = completions.with_raw_response.create(model="gpt-4o", messages=MESSAGES)
    assert raw.parse().usage.prompt_tokens == raw.http_response.json()["usage"]["prompt_tokens"]
    with completions.with_streaming_response.create(model="gpt-4o", messages=MESSAGES) as response:
        assert b"".join(response.iter_bytes()).startswith(b"{")
    with completions.with_streaming_response.create(model="gpt-4o+output=400+stall=5", messages=MESSAGES):
        pass
    assert [event.outcome for event in booked] == ["completed", "completed", "cancelled"]


@pytest.mark.needs("openai")
def test_tools_join_their_turn(provider: Simulator, booked: list[CallEvent]) -> None:
    """The answer with the tool's result belongs to the turn that asked for it, and says how the tool did."""
    openai = import_module("openai")
    completions = openai.OpenAI(base_url=provider.url(), api_key="k").chat.completions
    asked = completions.create(model="gpt-4o+tools=2", messages=MESSAGES, tools=[OPENAI_TOOL]).choices[0].message
    assert len(asked.tool_calls) == 2
    results = [{"role": "tool", "tool_call_id": call.id, "content": "sunny"} for call in asked.tool_calls]
    completions.create(model="gpt-4o", messages=[*MESSAGES, asked, *results], tools=[OPENAI_TOOL])
    first, second = booked
    assert [call.name for call in first.tool_calls] == ["weather", "weather"]
    assert [result.result_bytes for result in second.tool_results] == [5, 5]
    assert (first.scope.turn, first.scope.session) == (second.scope.turn, second.scope.session)


@pytest.mark.needs("openai")
def test_the_scope_is_carried(provider: Simulator, booked: list[CallEvent]) -> None:
    """By tasks that run at once, each with its own."""
    openai = import_module("openai")

    async def run() -> None:
        async with openai.AsyncOpenAI(base_url=provider.url(), api_key="k") as client:

            async def call(user: str) -> None:
                with taximeter.scope(user=user):
                    await client.chat.completions.create(model="gpt-4o", messages=MESSAGES)

            await asyncio.gather(*map(call, ("ann", "bob", "cat")))

    with taximeter.scope(project="shop"), taximeter.turn() as turn:
        asyncio.run(run())
    assert sorted(event.scope.user or "" for event in booked) == ["ann", "bob", "cat"]
    assert {event.scope.project for event in booked} == {"shop"}
    assert (turn.calls, turn.unpriced_calls) == (3, 0)
