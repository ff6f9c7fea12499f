"""``track`` around real SDKs that no hook is put on: their objects tell what the wire told."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest

from taximeter import track
from taximeter.event import CallEvent
from taximeter.simulator import Simulator
from taximeter.units import UNITS

MESSAGES: Any = [{"role": "user", "content": "Tell me a tale of a tree"}]


def sdk(name: str) -> Any:
    """An SDK that the machine may lack."""
    return import_module(name)


def openai(provider: Simulator, *, stream: bool) -> Any:
    """Chat Completions."""
    client = sdk("openai").OpenAI(base_url=provider.url("openai"), api_key="any")
    if stream:
        return client.chat.completions.create(
            model="gpt-5-mini", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
    return client.chat.completions.create(model="gpt-5-mini", messages=MESSAGES)


def openai_responses(provider: Simulator, *, stream: bool) -> Any:
    """Responses."""
    client = sdk("openai").OpenAI(base_url=provider.url("openai"), api_key="any")
    return client.responses.create(model="gpt-5-mini", input="Tell me a tale", stream=stream)


def anthropic(provider: Simulator, *, stream: bool) -> Any:
    """Messages."""
    client = sdk("anthropic").Anthropic(base_url=provider.url("anthropic"), api_key="any")
    return client.messages.create(model="claude-haiku-4-5", max_tokens=200, messages=MESSAGES, stream=stream)


def google(provider: Simulator, *, stream: bool) -> Any:
    """The call generateContent."""
    client = sdk("google.genai").Client(api_key="any", http_options={"base_url": provider.url("google")})
    ask = client.models.generate_content_stream if stream else client.models.generate_content
    # the stream is a generator that needs its client to live on
    return _with(client, ask(model="gemini-2.5-flash", contents="Tell me a tale"))


def _with(client: object, given: Any) -> Any:
    if not isinstance(given, Iterator):
        return given

    def chunks() -> Iterator[object]:
        yield from given
        assert client

    return chunks()


def groq(provider: Simulator, *, stream: bool) -> Any:
    """Chat Completions by Groq."""
    client = sdk("groq").Groq(base_url=provider.url("groq"), api_key="any")
    return client.chat.completions.create(model="llama-3.3-70b-versatile", messages=MESSAGES, stream=stream)


def ollama(provider: Simulator, *, stream: bool) -> Any:
    """Ollama's own API."""
    return sdk("ollama").Client(host=provider.url("ollama")).chat(model="llama3.2", messages=MESSAGES, stream=stream)


def cohere(provider: Simulator, *, stream: bool) -> Any:
    """Cohere's second API."""
    client = sdk("cohere").ClientV2(api_key="any", base_url=provider.url("cohere"))
    ask: Any = client.chat_stream if stream else client.chat
    return ask(model="command-r-plus-08-2024", messages=MESSAGES)


def mistral(provider: Simulator, *, stream: bool) -> Any:
    """Chat by Mistral."""
    client = sdk("mistralai.client").Mistral(api_key="any", server_url=provider.url("mistral"))
    ask: Any = client.chat.stream if stream else client.chat.complete
    return ask(model="mistral-small-latest", messages=MESSAGES)


SDKS = {
    "openai": (openai, "openai", "openai"),
    "openai-responses": (openai_responses, "openai", "openai"),
    "anthropic": (anthropic, "anthropic", "anthropic"),
    "google-genai": (google, "google-genai", "google"),
    "groq": (groq, "groq", "groq"),
    "ollama": (ollama, "ollama", "ollama"),
    "cohere": (cohere, "cohere", "cohere"),
    "mistralai": (mistral, "mistralai", "mistral"),
}


def cases() -> Iterator[Any]:
    """Every SDK, whole and streamed."""
    for name, (ask, package, provider) in SDKS.items():
        for stream in (False, True):
            marks = pytest.mark.needs(package)
            yield pytest.param(ask, provider, stream, id=f"{name}-{'stream' if stream else 'whole'}", marks=marks)


@pytest.mark.parametrize(("ask", "name", "stream"), list(cases()))
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_the_objects_tell_what_was_served(
    *, ask: Callable[..., Any], name: str, stream: bool, provider: Simulator, events: list[CallEvent]
) -> None:
    """Usage, provider and model are those that the provider has in its own books."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        given = track("tale")(lambda: ask(provider, stream=stream))()
        items = list(given) if stream else []
    (event,) = events
    (served,) = provider.served
    assert served.usage is not None
    counted = {unit: count for unit, count in served.usage.items() if unit in UNITS}
    assert event.usage is not None
    assert {unit: event.usage.get(unit) for unit in counted if counted[unit]} == {
        unit: count for unit, count in counted.items() if count
    }
    assert (event.provider, event.outcome, event.usage_source) == (name, "completed", "reported")
    assert event.stream is stream
    assert bool(items) is stream


@pytest.mark.needs("openai")
def test_an_async_stream(provider: Simulator, events: list[CallEvent]) -> None:
    """The asynchronous client's stream is the SDK's own object, and watched."""
    openai = sdk("openai")

    async def read() -> None:
        client = openai.AsyncOpenAI(base_url=provider.url("openai"), api_key="any")
        create = track("tale")(client.chat.completions.create)
        stream = await create(
            model="gpt-5-mini", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
        assert isinstance(stream, openai.AsyncStream)
        async for _ in stream:
            pass
        await client.close()

    asyncio.run(read())
    (event,) = events
    assert (event.request_model, event.outcome, event.stream) == ("gpt-5-mini", "completed", True)
    assert event.usage is not None
    assert provider.served[0].usage is not None
    assert event.usage.output_tokens == provider.served[0].usage["output_tokens"]
