"""How the demo calls its provider: with the provider's own SDK where that is installed, else by HTTP, as the SDK does.

Either way the same is asked, so that the figures do not depend on what is installed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from functools import partial
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from operator import attrgetter
from typing import Any, Final, NamedTuple, Protocol

import httpx2
import msgspec

from taximeter.errors import ConfigError
from taximeter.instrument import endpoint
from taximeter.simulator import Simulator

Json = dict[str, Any]
AskAsync = Callable[[str, Json], Awaitable[Json]]

_KEY: Final = "demo"
_SECONDS: Final = 30
_RETRIES: Final = 2
_RETRIED: Final = (429, 500, 502, 503, 529)


class Caller(Protocol):
    """Somebody who calls one provider.

    ``what`` is the path below the provider's base URL, or the model where that is what the path names.
    ``knobs`` are the simulator's: what it is to do beside answering.
    """

    def ask(self, what: str, body: Json, knobs: str = "") -> Json:
        """A whole answer."""
        ...

    def stream(self, what: str, body: Json, knobs: str = "") -> Generator[Json]:
        """A streamed answer, piece by piece. Who closes this before its end cancels the answer."""
        ...

    def close(self) -> None:
        """Closes the connections."""
        ...


class ConcurrentCaller(Caller, Protocol):
    """One who can also call asynchronously."""

    def asynchronous(self) -> AbstractAsyncContextManager[AskAsync]:
        """An ``ask`` to be awaited, for as long as the block lasts."""
        ...


class _Place(NamedTuple):
    """How a provider is called over HTTP.

    Attributes:
        api: the wire format, where the path does not tell.
        path: below the base URL, of a whole answer.
        streamed: of a stream; ``None``: the same, and the body says that a stream is wanted.
        headers: what its SDK sends.
    """

    api: str
    path: str
    streamed: str | None
    headers: Mapping[str, str]


_BEARER: Final = {"authorization": f"Bearer {_KEY}"}
_SIGNED: Final = {
    "authorization": f"AWS4-HMAC-SHA256 Credential={_KEY}/20261122/eu-central-1/bedrock/aws4_request",
    "x-amz-date": "20261122T090000Z",
}
_PLACES: Final[Mapping[str, _Place]] = {
    "openai": _Place("openai.chat", "{}", None, _BEARER),
    "anthropic": _Place("anthropic.messages", "v1/{}", None, {"x-api-key": _KEY, "anthropic-version": "2023-06-01"}),
    "google": _Place(
        "gemini.generate",
        "v1/models/{}:generateContent",
        "v1/models/{}:streamGenerateContent?alt=sse",
        {"x-goog-api-key": _KEY},
    ),
    "bedrock": _Place("bedrock.converse", "model/{}/converse", "model/{}/converse-stream", _SIGNED),
    "cohere": _Place("cohere.chat", "v2/{}", None, _BEARER),
    "groq": _Place("openai.chat", "openai/v1/{}", None, _BEARER),
    "openrouter": _Place("openai.chat", "{}", None, _BEARER),
    "ollama": _Place("ollama", "api/{}", None, {}),
}


class Callers(NamedTuple):
    """Who calls whom, and with which SDKs (``openai 3.54.0`` …)."""

    sdks: tuple[str, ...]
    openai: ConcurrentCaller
    anthropic: Caller
    google: Caller
    bedrock: Caller
    cohere: Caller
    groq: Caller
    openrouter: Caller
    ollama: Caller


def callers(simulator: Simulator, stack: ExitStack, *, use_sdks: bool) -> Callers:
    """Somebody for each provider; closed with ``stack``. Each place is declared, so that calls to it are metered.

    Args:
        simulator: the provider of all of them.
        stack: closes them.
        use_sdks: whether to use the SDKs that are installed.
    """
    for name, place in _PLACES.items():
        endpoint(simulator.url(name), api=place.api, provider=name)
    plain = {name: Plain(simulator.url(name), place) for name, place in _PLACES.items()}
    for caller in plain.values():
        stack.callback(caller.close)
    found: dict[str, Any] = {}
    sdks: list[str] = []
    for name, sdk in _SDKS.items() if use_sdks else ():
        installed = _version(sdk)
        if installed is not None:
            found[name] = _made(sdk, simulator.url(name))
            stack.callback(found[name].close)
            sdks.append(f"{sdk.distribution} {installed}")
    return Callers(sdks=tuple(sdks), **(plain | found))


def network_errors() -> tuple[type[Exception], ...]:
    """What is raised when the provider goes away in the midst of an answer: SDKs hand it on as it comes."""
    return tuple(sys.modules[name].HTTPError for name in ("httpx", "httpx2") if name in sys.modules)


class Plain:
    """Calls over HTTP, with paths, headers and bodies as the provider's SDK sends them."""

    def __init__(self, url: str, place: _Place) -> None:
        self._url = url
        self._place = place
        self._client = httpx2.Client(headers=place.headers, timeout=_SECONDS, trust_env=False)

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def ask(self, what: str, body: Json, knobs: str = "") -> Json:
        """A whole answer. What may succeed later is tried again when the provider says so, as SDKs do."""
        return self._ask(what, body, knobs, 0)

    def _ask(self, what: str, body: Json, knobs: str, retries: int) -> Json:
        headers = _turned(knobs) | ({"x-stainless-retry-count": str(retries)} if retries else {})
        response = self._client.post(self._path(what), json=body, headers=headers)
        if response.status_code in _RETRIED and retries < _RETRIES:
            time.sleep(int(response.headers.get("retry-after", 0)))
            return self._ask(what, body, knobs, retries + 1)
        response.raise_for_status()
        return msgspec.json.decode(response.content)

    def stream(self, what: str, body: Json, knobs: str = "") -> Generator[Json]:
        """The documents of a stream of events or lines; of a binary one an empty one for each piece."""
        path = self._path(what, streamed=True)
        with self._client.stream("POST", path, json=body, headers=_turned(knobs)) as response:
            response.raise_for_status()
            if response.headers["content-type"].endswith("eventstream"):
                yield from ({} for _ in response.iter_bytes())
                return
            for line in response.iter_lines():
                data = line.removeprefix("data:").strip()
                if data.startswith("{"):
                    yield msgspec.json.decode(data)

    @asynccontextmanager
    async def asynchronous(self) -> AsyncGenerator[AskAsync]:
        """An ``ask`` to be awaited."""
        async with httpx2.AsyncClient(headers=self._place.headers, timeout=_SECONDS, trust_env=False) as client:

            async def ask(what: str, body: Json) -> Json:
                response = await client.post(self._path(what), json=body)
                response.raise_for_status()
                return msgspec.json.decode(response.content)

            yield ask

    def _path(self, what: str, *, streamed: bool = False) -> str:
        path = (self._place.streamed if streamed else None) or self._place.path
        return f"{self._url}/{path.format(what)}"


class Stainless:
    """OpenAI's or Anthropic's own SDK, which are made alike.

    Args:
        package: its name.
        client: its client's name.
        url: the base URL.
    """

    def __init__(self, package: str, client: str, url: str) -> None:
        self._sdk: Any = import_module(package)
        self._name = client
        self._url = url
        self._client = self._made("")

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def ask(self, what: str, body: Json, knobs: str = "") -> Json:
        """A whole answer."""
        answer = self._resource(self._client, what).create(**body, extra_headers=_turned(knobs))
        return answer.to_dict(warnings=False)

    def stream(self, what: str, body: Json, knobs: str = "") -> Generator[Json]:
        """A streamed answer."""
        with self._resource(self._client, what).create(**body, extra_headers=_turned(knobs)) as chunks:
            for chunk in chunks:
                yield chunk.to_dict(warnings=False)

    @asynccontextmanager
    async def asynchronous(self) -> AsyncGenerator[AskAsync]:
        """An ``ask`` to be awaited."""
        async with self._made("Async") as client:

            async def ask(what: str, body: Json) -> Json:
                answer = await self._resource(client, what).create(**body)
                return answer.to_dict(warnings=False)

            yield ask

    def _made(self, prefix: str) -> Any:  # noqa: ANN401 - of a package that need not be there
        http = getattr(self._sdk, f"Default{prefix}HttpxClient")
        make = getattr(self._sdk, prefix + self._name)
        # no proxy between us and ourselves, whatever the environment says
        return make(base_url=self._url, api_key=_KEY, max_retries=0, http_client=http(trust_env=False))

    @staticmethod
    def _resource(client: Any, what: str) -> Any:  # noqa: ANN401 - as above
        """What stands for a path: ``client.chat.completions`` for ``chat/completions``."""
        return attrgetter(what.replace("/", "."))(client)


class GoogleGenai:
    """Google's own SDK."""

    def __init__(self, url: str) -> None:
        genai: Any = import_module("google.genai")
        options = {"base_url": url, "client_args": {"trust_env": False}}
        self._client = genai.Client(api_key=_KEY, vertexai=False, http_options=options)

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def ask(self, what: str, body: Json, knobs: str = "") -> Json:
        """A whole answer of the model ``what``."""
        answer = self._client.models.generate_content(model=what, **_arguments(body, knobs))
        return answer.model_dump(mode="json", by_alias=True, exclude_none=True)

    def stream(self, what: str, body: Json, knobs: str = "") -> Generator[Json]:
        """A streamed answer of the model ``what``."""
        for chunk in self._client.models.generate_content_stream(model=what, **_arguments(body, knobs)):
            yield chunk.model_dump(mode="json", by_alias=True, exclude_none=True)


class _Sdk(NamedTuple):
    """An SDK that may be installed.

    Attributes:
        package: what is imported.
        distribution: what is installed.
        make: makes a caller of it, from a base URL.
    """

    package: str
    distribution: str
    make: Callable[[str], Caller]


_SDKS: Final[Mapping[str, _Sdk]] = {
    "openai": _Sdk("openai", "openai", partial(Stainless, "openai", "OpenAI")),
    "anthropic": _Sdk("anthropic", "anthropic", partial(Stainless, "anthropic", "Anthropic")),
    "google": _Sdk("google.genai", "google-genai", GoogleGenai),
}
"""By provider."""


def _version(sdk: _Sdk) -> str | None:
    """Which version of it is installed, if any."""
    try:
        return version(sdk.distribution) if find_spec(sdk.package) is not None else None
    except ModuleNotFoundError:  # nor the package around it
        return None


def _made(sdk: _Sdk, url: str) -> Caller:
    try:
        return sdk.make(url)
    except Exception as error:  # an installation that is broken, or too old, may raise anything
        msg = f"the SDK {sdk.distribution} that is installed cannot be used ({error!r}); --no-sdks calls without it"
        raise ConfigError(msg) from error


def _arguments(body: Json, knobs: str) -> Json:
    """A body of generateContent, as Google's SDK takes it."""
    config = {**body.get("generationConfig", {}), "httpOptions": {"headers": _turned(knobs)}}
    return {"contents": body["contents"], "config": config}


def _turned(knobs: str) -> dict[str, str]:
    return {"x-simulate": knobs} if knobs else {}
