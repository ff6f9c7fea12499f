"""A simulator that runs in a thread of this process."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Self

from taximeter.errors import ConfigError, TaximeterError
from taximeter.simulator.books import Books, Served, Totals
from taximeter.simulator.provider import Provider
from taximeter.simulator.server import Server
from taximeter.simulator.tls import server_context

_SECONDS: Final = 10
"""How long starting and stopping may take."""

MOUNTS: Final[Mapping[str, str]] = {
    "openai": "/openai/v1",
    "anthropic": "/anthropic",
    "google": "/google",
    "vertex": "/vertex",
    "bedrock": "/bedrock",
    "cohere": "/cohere",
    "ollama": "/ollama",
    "mistral": "/mistral",
    "groq": "/groq",
    "xai": "/xai/v1",
    "deepseek": "/deepseek",
    "openrouter": "/openrouter/api/v1",
    "perplexity": "/perplexity",
    "cerebras": "/cerebras",
    "together": "/together/v1",
    "fireworks": "/fireworks/inference/v1",
    "azure": "/azure",
    "vllm": "/vllm/v1",
    "huggingface": "/huggingface",
    "cloudflare": "/workers-ai",
}
"""What to put behind the address for each provider's own SDK. The first part of it names the provider to a meter."""

_PROVIDERS_OF: Final[Mapping[str, str]] = {
    "openai": "openai",
    "anthropic": "anthropic",
    "gemini": "google",
    "vertex": "vertex",
    "bedrock": "bedrock",
    "cohere": "cohere",
    "rerank": "cohere",
    "mistral": "mistral",
    "ollama": "ollama",
    "huggingface": "huggingface",
    "cloudflare": "cloudflare",
}


class Simulator:
    """A provider that speaks every wire format, on a socket of this machine.

    >>> with Simulator() as provider:
    ...     provider.url("openai").endswith("/openai/v1"), len(provider.served)
    (True, 0)

    Args:
        host: to listen on.
        port: to listen on; 0 takes a free one.
        tls: whether to speak TLS, with a certificate made for the occasion (:attr:`ca_file`).
        cache_from_tokens: the shortest prefix of messages that the simulated cache keeps.
        keep: how many calls :attr:`served` keeps; :meth:`totals` counts all.
        on_served: told of each call when it has ended, in the simulator's thread.
    """

    def __init__(  # noqa: PLR0913 - each is one setting, given by name
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: bool = False,
        cache_from_tokens: int = 128,
        keep: int = 100_000,
        on_served: Callable[[Served], None] | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.ca_file: Path | None = None
        """The certificate that clients are to trust, while it runs with TLS."""
        self._tls = tls
        self._books = Books(keep)
        self._server = Server(Provider(self._books, cache_from_tokens), self._books, on_served)
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._ready = threading.Event()
        self._problem: OSError | None = None

    def start(self) -> Self:
        """Listens, and answers from now on.

        Raises:
            ConfigError: when the address cannot be listened on, or there is nothing to make a certificate with.
        """
        if self._thread is not None:
            msg = "this simulator was started already"
            raise ConfigError(msg)
        context = self._context() if self._tls else None
        self._thread = threading.Thread(target=self._run, args=(context,), name="taximeter-simulator", daemon=True)
        self._thread.start()
        if not self._ready.wait(_SECONDS) or self._problem is not None:
            problem = self._problem
            self._thread.join(_SECONDS)
            self._clean()
            msg = f"cannot listen on {self.host}:{self.port}: {problem or 'it takes too long'}"
            raise ConfigError(msg) from problem
        return self

    def stop(self) -> None:
        """Closes every connection and ends. Stopping twice does nothing.

        Raises:
            TaximeterError: when the simulator failed at something that no knob asked for, or does not end in time.
        """
        if self._thread is None or self._loop is None or self._stopping is None:
            return
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(_SECONDS)
        hangs = self._thread.is_alive()
        self._stopping = None
        self._clean()
        if hangs or self._server.failure is not None:
            msg = f"the simulator {'does not end' if hangs else 'failed'}: {self._server.failure!r}"
            raise TaximeterError(msg) from self._server.failure

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def base_url(self) -> str:
        """Where it listens: ``http://127.0.0.1:54321``."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self._tls else 'http'}://{name}:{self.port}"

    def url(self, api: str = "openai") -> str:
        """The base URL to give to an SDK.

        Args:
            api: a provider (``openai``, ``groq`` …: :data:`MOUNTS`) or a wire format (``anthropic.messages``).

        Raises:
            ConfigError: for a name that is neither.
        """
        provider = api if api in MOUNTS else _PROVIDERS_OF.get(api.partition(".")[0])
        if provider is None:
            msg = f"no provider or wire format is called {api!r}; there are {', '.join(MOUNTS)}"
            raise ConfigError(msg)
        return self.base_url + MOUNTS[provider]

    @property
    def served(self) -> tuple[Served, ...]:
        """Every call that has ended, in order. Whoever has read an answer to its end finds it here."""
        return self._books.calls()

    def totals(self) -> Totals:
        """Sums over every call that has ended."""
        return self._books.totals()

    def wait_served(self, calls: int, timeout: float = 5) -> tuple[Served, ...]:
        """Waits until so many calls have ended: an answer that its client did not read to the end ends some time later.

        Raises:
            TaximeterError: when ``timeout`` seconds were not enough.
        """
        if not self._books.wait(calls, timeout):
            msg = f"{self._books.totals().calls} calls have ended within {timeout} s, not {calls}"
            raise TaximeterError(msg)
        return self._books.calls()

    def forget(self) -> None:
        """Empties the books, not the cache."""
        self._books.forget()

    def _context(self) -> ssl.SSLContext:
        self._folder = tempfile.TemporaryDirectory(prefix="taximeter-simulator-")
        try:
            context, self.ca_file = server_context(Path(self._folder.name))
        except ConfigError:
            self._clean()
            raise
        return context

    def _clean(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _run(self, context: ssl.SSLContext | None) -> None:
        asyncio.run(self._serve(context))

    async def _serve(self, context: ssl.SSLContext | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = stopping = asyncio.Event()
        try:
            self.port = await self._server.start(self.host, self.port, context)
        except OSError as error:
            self._problem = error
            return
        finally:
            self._ready.set()
        await stopping.wait()
        await self._server.stop()
