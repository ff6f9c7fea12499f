"""Hosts of one's own: told which wire format they speak, and whose provider they are."""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import urlsplit

from taximeter.errors import ConfigError

_PORTS: Final = {"http": 80, "https": 443}


class _Word(NamedTuple):
    """What was said of a place: below this path, streams are to be asked for their usage, or not."""

    prefix: str
    asks_usage: bool


_said: dict[str, list[_Word]] = {}


def endpoint(url: str, *, api: str, provider: str, asks_usage: bool | None = None) -> None:
    """Declares a host, so that calls to it are metered.

    >>> endpoint("https://llm.internal/v1", api="openai.chat", provider="vllm")

    Args:
        url: where it is: calls to this host, on this path and below, are meant.
        api: the wire format where the path does not tell (:data:`taximeter.wire.APIS`).
        provider: who is called, as price books know it.
        asks_usage: whether a stream that does not ask for its usage is made to
            (``stream_options.include_usage``). By default where the provider is known to need and to accept it.

    Raises:
        ConfigError: for a URL or an api that cannot be used.
    """
    from taximeter.meter.runtime import the_meter  # noqa: PLC0415 - heavy; loaded when there is something to meter
    from taximeter.wire import APIS  # noqa: PLC0415 - as above
    from taximeter.wire.injection import needs_asking  # noqa: PLC0415 - as above

    hosts, prefix = _place(url)
    if api not in APIS:
        msg = f"endpoint {url}: no wire format is called {api!r}; there are {', '.join(APIS)}"
        raise ConfigError(msg)
    if not provider or provider != provider.strip():
        msg = f"endpoint {url}: the provider needs a name, not {provider!r}"
        raise ConfigError(msg)
    meter = the_meter()
    asks = needs_asking(provider) if asks_usage is None else asks_usage
    for host in hosts:
        meter.declare(host, prefix, api, provider)
        _said.setdefault(host, []).insert(0, _Word(prefix, asks))


def asks_usage(host: str, path: str) -> bool | None:
    """What was said of a place; ``None`` when nothing was.

    Args:
        host: with its port, unless that is its scheme's own.
        path: without query.
    """
    if not _said:
        return None
    words = _said.get(host.lower(), ())
    return next((word.asks_usage for word in words if f"{path}/".startswith(f"{word.prefix}/")), None)


def _place(url: str) -> tuple[list[str], str]:
    """The host as clients write it, with its port and without where it may be left out, and the path."""
    problem = "it is no URL"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        problem, parts, port = str(error), urlsplit(""), None
    if parts.scheme not in _PORTS or not parts.hostname:
        msg = f"endpoint {url!r}: give a URL such as https://llm.internal/v1 ({problem})"
        raise ConfigError(msg)
    if parts.query or parts.fragment or parts.username is not None:
        msg = f"endpoint {parts.hostname}: give a URL without a query, a fragment or a user"
        raise ConfigError(msg)
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    hosts = [f"{name}:{port or _PORTS[parts.scheme]}"]
    if port is None or port == _PORTS[parts.scheme]:
        hosts.append(name)
    return hosts, parts.path.rstrip("/")
