"""The providers' own SDKs that stand on httpx or httpx2, each as the tests use it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from importlib import import_module
from typing import Any

from taximeter.testing import Simulator

MESSAGES = [{"role": "user", "content": "Hello, how are you?"}]


class Sdk:
    """An SDK, as the tests use it: whole answers and streams, both ways."""

    provider = "openai"
    model = "gpt-4o"

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.url = simulator.url(self.provider)

    def whole(self, model: str) -> Any:
        """A whole answer."""
        raise NotImplementedError

    def stream(self, model: str) -> Iterator[Any]:
        """A streamed one."""
        raise NotImplementedError

    async def whole_async(self, model: str) -> Any:
        """A whole answer."""
        raise NotImplementedError

    def stream_async(self, model: str) -> AsyncIterator[Any]:
        """A streamed one."""
        raise NotImplementedError


class _OpenAI(Sdk):
    """openai."""

    package = "openai"
    client = "OpenAI"

    def _client(self, kind: str) -> Any:
        return getattr(import_module(self.package), kind + self.client)(base_url=self.url, api_key="k", max_retries=0)

    def whole(self, model: str) -> Any:
        return self._client("").chat.completions.create(model=model, messages=MESSAGES)

    def stream(self, model: str) -> Iterator[Any]:
        yield from self._client("").chat.completions.create(model=model, messages=MESSAGES, stream=True)

    async def whole_async(self, model: str) -> Any:
        return await self._client("Async").chat.completions.create(model=model, messages=MESSAGES)

    async def stream_async(self, model: str) -> AsyncIterator[Any]:
        client = self._client("Async")
        async with await client.chat.completions.create(model=model, messages=MESSAGES, stream=True) as chunks:
            async for chunk in chunks:
                yield chunk


class _Groq(_OpenAI):
    """groq, which is made as openai's is."""

    provider = package = "groq"
    client = "Groq"
    model = "llama-3.3-70b-versatile"


class _Responses(_OpenAI):
    """openai's other interface."""

    def whole(self, model: str) -> Any:
        return self._client("").responses.create(model=model, input="Hello, how are you?")

    def stream(self, model: str) -> Iterator[Any]:
        yield from self._client("").responses.create(model=model, input="Hello, how are you?", stream=True)

    async def whole_async(self, model: str) -> Any:
        return await self._client("Async").responses.create(model=model, input="Hello, how are you?")

    async def stream_async(self, model: str) -> AsyncIterator[Any]:
        client = self._client("Async")
        async with await client.responses.create(model=model, input="Hello, how are you?", stream=True) as chunks:
            async for chunk in chunks:
                yield chunk


class _Anthropic(Sdk):
    """anthropic."""

    provider = "anthropic"
    model = "claude-of-tests"

    def _client(self, kind: str) -> Any:
        made = getattr(import_module("anthropic"), kind + "Anthropic")
        return made(base_url=self.url, api_key="k", max_retries=0)

    def whole(self, model: str) -> Any:
        return self._client("").messages.create(model=model, max_tokens=100, messages=MESSAGES)

    def stream(self, model: str) -> Iterator[Any]:
        with self._client("").messages.stream(model=model, max_tokens=100, messages=MESSAGES) as events:
            yield from events

    async def whole_async(self, model: str) -> Any:
        return await self._client("Async").messages.create(model=model, max_tokens=100, messages=MESSAGES)

    async def stream_async(self, model: str) -> AsyncIterator[Any]:
        client = self._client("Async")
        async with client.messages.stream(model=model, max_tokens=100, messages=MESSAGES) as events:
            async for event in events:
                yield event


class _Google(Sdk):
    """google-genai."""

    provider = "google"
    model = "gemini-of-tests"

    def _client(self) -> Any:
        genai = import_module("google.genai")
        return genai.Client(api_key="k", http_options=genai.types.HttpOptions(base_url=self.url))

    def whole(self, model: str) -> Any:
        client = self._client()
        return client.models.generate_content(model=model, contents="Hello")

    def stream(self, model: str) -> Iterator[Any]:
        client = self._client()
        yield from client.models.generate_content_stream(model=model, contents="Hello")

    async def whole_async(self, model: str) -> Any:
        async with self._client().aio as client:
            return await client.models.generate_content(model=model, contents="Hello")

    async def stream_async(self, model: str) -> AsyncIterator[Any]:
        async with self._client().aio as client:
            chunks = await client.models.generate_content_stream(model=model, contents="Hello")
            async with aclosing(chunks):
                async for chunk in chunks:
                    yield chunk


class _Mistral(Sdk):
    """mistralai."""

    provider = "mistral"
    model = "mistral-of-tests"

    def _client(self) -> Any:
        return import_module("mistralai.client").Mistral(api_key="k", server_url=self.url)

    def whole(self, model: str) -> Any:
        with self._client() as client:
            return client.chat.complete(model=model, messages=MESSAGES)

    def stream(self, model: str) -> Iterator[Any]:
        with self._client() as client, client.chat.stream(model=model, messages=MESSAGES) as chunks:
            yield from chunks

    async def whole_async(self, model: str) -> Any:
        async with self._client() as client:
            return await client.chat.complete_async(model=model, messages=MESSAGES)

    async def stream_async(self, model: str) -> AsyncIterator[Any]:
        async with self._client() as client, await client.chat.stream_async(model=model, messages=MESSAGES) as chunks:
            async for chunk in chunks:
                yield chunk


class _Cohere(Sdk):
    """cohere."""

    provider = "cohere"
    model = "command-of-tests"

    def _client(self, kind: str) -> Any:
        return getattr(import_module("cohere"), kind + "ClientV2")(api_key="k", base_url=self.url)

    def whole(self, model: str) -> Any:
        return self._client("").chat(model=model, messages=MESSAGES, request_options={"max_retries": 0})

    def stream(self, model: str) -> Iterator[Any]:
        yield from self._client("").chat_stream(model=model, messages=MESSAGES, request_options={"max_retries": 0})

    async def whole_async(self, model: str) -> Any:
        return await self._client("Async").chat(model=model, messages=MESSAGES)

    async def stream_async(self, model: str) -> AsyncIterator[Any]:
        async with aclosing(self._client("Async").chat_stream(model=model, messages=MESSAGES)) as events:
            async for event in events:
                yield event


class _Ollama(Sdk):
    """ollama."""

    provider = "ollama"
    model = "llama-of-tests"

    def whole(self, model: str) -> Any:
        return import_module("ollama").Client(host=self.url).chat(model=model, messages=MESSAGES)

    def stream(self, model: str) -> Iterator[Any]:
        yield from import_module("ollama").Client(host=self.url).chat(model=model, messages=MESSAGES, stream=True)

    async def whole_async(self, model: str) -> Any:
        return await import_module("ollama").AsyncClient(host=self.url).chat(model=model, messages=MESSAGES)

    async def stream_async(self, model: str) -> AsyncIterator[Any]:
        client = import_module("ollama").AsyncClient(host=self.url)
        async with aclosing(await client.chat(model=model, messages=MESSAGES, stream=True)) as chunks:
            async for chunk in chunks:
                yield chunk


SDKS: dict[str, tuple[str, type[Sdk]]] = {
    "openai": ("openai", _OpenAI),
    "openai-responses": ("openai", _Responses),
    "anthropic": ("anthropic", _Anthropic),
    "google-genai": ("google-genai", _Google),
    "mistralai": ("mistralai", _Mistral),
    "groq": ("groq", _Groq),
    "cohere": ("cohere", _Cohere),
    "ollama": ("ollama", _Ollama),
}
"""By name: what must be installed, and the SDK."""
