"""What ``taximeter chat`` says to a provider and hears from it: the text of an answer, piece by piece.

Only what is shown is read here. What is counted is read by the meter, which is around the client.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import httpx2

import taximeter
from taximeter.errors import ConfigError, TaximeterError, WireError
from taximeter.instrument import Transport, endpoint
from taximeter.wire.format import find_error
from taximeter.wire.loose import JsonObject, arr, obj, parse

PLACES: Final[Mapping[str, str]] = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com",
    "cerebras": "https://api.cerebras.ai/v1",
    "deepseek": "https://api.deepseek.com",
    "fireworks": "https://api.fireworks.ai/inference/v1",
    "google": "https://generativelanguage.googleapis.com/v1beta/openai",
    "groq": "https://api.groq.com/openai/v1",
    "mistral": "https://api.mistral.ai/v1",
    "ollama": "http://localhost:11434/v1",
    "openrouter": "https://openrouter.ai/api/v1",
    "together": "https://api.together.xyz/v1",
    "xai": "https://api.x.ai/v1",
}
"""Where the providers are that need no ``--base-url``."""

_MODELS: Final = {"openai": "gpt-5-mini", "anthropic": "claude-haiku-4-5"}
_KEYS: Final = {"google": "GEMINI_API_KEY"}
_MOST_TOKENS: Final = 4096  # Anthropic wants a bound to be named
_TIMEOUT: Final = httpx2.Timeout(10, read=600)
_HTTP_ERROR: Final = 400
_REFUSED: Final = (400, 422)


class Message(NamedTuple):
    """One message of a conversation, by ``user`` or ``assistant``."""

    role: str
    content: str


class RefusedError(TaximeterError):
    """The provider answered with an error, or did not answer."""


class Peer:
    """Whom a chat is with.

    Attributes:
        provider: as price books know it.
        model: the model asked for.
        url: where the calls go.
        key_name: the environment variable that its key is read from.
    """

    def __init__(self, *, provider: str | None, base_url: str | None, model: str | None, streaming: bool) -> None:
        """Raises ConfigError where something is missing that nobody can guess."""
        base = base_url or PLACES.get(provider or "")
        if base is None:
            msg = f"nothing is known of the provider {provider}: give its --base-url, or one of {', '.join(PLACES)}"
            raise ConfigError(msg)
        self.provider = provider or _provider_at(base)
        self._anthropic = self.provider == "anthropic"
        chosen = model or _MODELS.get(self.provider)
        if chosen is None:
            msg = f"name a model of {self.provider} with --model"
            raise ConfigError(msg)
        self.model = chosen
        self.url = _place(base, anthropic=self._anthropic)
        self.key_name = _KEYS.get(self.provider, re.sub(r"\W", "_", f"{self.provider.upper()}_API_KEY"))
        self._streaming = streaming
        self._asks_usage = streaming and not self._anthropic
        self._client = httpx2.Client(
            transport=Transport(httpx2.HTTPTransport()), headers=self._headers(), timeout=_TIMEOUT
        )
        if provider is not None:
            endpoint(self.url, api=self.api, provider=provider, asks_usage=False)

    @property
    def api(self) -> str:
        """The wire format."""
        return "anthropic.messages" if self._anthropic else "openai.chat"

    def close(self) -> None:
        """Closes the connection."""
        self._client.close()

    def ask(self, messages: Iterable[Message]) -> Generator[str]:
        """Asks, and gives the pieces of the answer's text as they come.

        Raises:
            RefusedError: when there is no answer, or none but an error.
        """
        body = self._body(messages)
        try:
            try:
                yield from self._answer(body)
            except _NoStreamOptions:
                self._asks_usage = False
                body.pop("stream_options")
                yield from self._answer(body)
        except httpx2.HTTPError as error:
            msg = f"{self.url}: {error or type(error).__name__}"
            raise RefusedError(msg) from error

    def _headers(self) -> dict[str, str]:
        key = os.environ.get(self.key_name, "")
        if self._anthropic:
            return {"anthropic-version": "2023-06-01"} | ({"x-api-key": key} if key else {})
        return {"authorization": f"Bearer {key}"} if key else {}

    def _body(self, messages: Iterable[Message]) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [message._asdict() for message in messages],
            "stream": self._streaming,
        }
        if self._anthropic:
            body["max_tokens"] = _MOST_TOKENS
        if self._asks_usage:
            body["stream_options"] = {"include_usage": True}
        return body

    def _answer(self, body: Mapping[str, Any]) -> Generator[str]:
        with self._client.stream("POST", self.url, json=body) as response:
            if response.status_code >= _HTTP_ERROR:
                self._refused(response.status_code, response.read(), body)
            if not self._streaming:
                yield from _text(_document(response.read()))
                return
            for line in response.iter_lines():
                if line.startswith("data:"):
                    yield from _text(_document(line[5:].encode()))

    def _refused(self, status: int, said: bytes, body: Mapping[str, Any]) -> None:
        if status in _REFUSED and b"stream_options" in said and "stream_options" in body:
            raise _NoStreamOptions
        error = _error(_document(said)) or said[:200].decode("utf-8", "replace")
        hint = "" if status != 401 or os.environ.get(self.key_name) else f"; set {self.key_name}"  # noqa: PLR2004 - HTTP
        msg = f"{self.url} answered {status}: {error}{hint}"
        raise RefusedError(msg)


class _NoStreamOptions(Exception):  # noqa: N818 - a turn in the road, no error
    """The provider does not take ``stream_options``."""


def _provider_at(base: str) -> str:
    """Who is called at a base URL, as its host and path tell."""
    parts = urlsplit(base)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        msg = f"--base-url {base!r} is no URL; write http://localhost:8000/v1"
        raise ConfigError(msg)
    route = taximeter.recognise("POST", parts.netloc.rpartition("@")[2], f"{parts.path.rstrip('/')}/chat/completions")
    return route.provider if route is not None else parts.hostname


def _place(base: str, *, anthropic: bool) -> str:
    base = base.rstrip("/")
    if not anthropic:
        return f"{base}/chat/completions"
    return f"{base}/messages" if base.endswith("/v1") else f"{base}/v1/messages"


def _document(data: bytes) -> JsonObject:
    with suppress(WireError):
        return obj(parse(data))
    return {}


def _error(document: JsonObject) -> str | None:
    found = find_error(document)
    return None if found is None else found.message or found.type or "an error without a word"


def _text(document: JsonObject) -> Generator[str]:
    """The text that a document holds: a whole answer's, or one event's, in either format.

    Raises:
        RefusedError: when it is an error.
    """
    failed = _error(document)
    if failed is not None:
        raise RefusedError(failed)
    messages = (
        obj(choice.get("message")) or obj(choice.get("delta")) for choice in map(obj, arr(document.get("choices")))
    )
    blocks = (*map(obj, arr(document.get("content"))), obj(document.get("delta")))
    said = (*(message.get("content") for message in messages), *(block.get("text") for block in blocks))
    yield from (piece for piece in said if isinstance(piece, str))
