"""``taximeter serve``: the gateway, until it is stopped."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click
import msgspec

from taximeter.cli.lines import dump
from taximeter.cli.options import json_option, store_option

if TYPE_CHECKING:
    import socket

    from taximeter.gateway.config import Config
    from taximeter.gateway.opening import GateMaker
    from taximeter.gateway.upstreams import Upstreams

_EXAMPLES = """\b
Examples:
  taximeter key create me && OPENAI_API_KEY=sk-… taximeter serve
  taximeter serve --no-auth --port 9000
  taximeter serve --config /etc/taximeter.toml --host 0.0.0.0 --workers 4
"""


class Serving(msgspec.Struct, frozen=True, kw_only=True):
    """What ``taximeter serve --json`` writes when it serves.

    Attributes:
        url: where it listens.
        workers: how many processes serve.
        auth: ``keys``, ``passthrough`` or ``none``.
        keys: how many virtual keys are taken; ``None`` where none are asked for.
        upstreams: those that can be called.
        inactive: why the other known ones cannot.
        base_urls: what to give to each API's SDK.
    """

    url: str
    workers: int
    auth: str
    keys: int | None
    upstreams: Sequence[str]
    inactive: Mapping[str, str]
    base_urls: Mapping[str, str]


@click.command(short_help="Run the gateway: one endpoint for every provider, metered.", epilog=_EXAMPLES)
@click.option("--config", "config_path", metavar="FILE", help="Default: TAXIMETER_CONFIG, else taximeter.toml here.")
@click.option("--host", help="The address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65_535), help="The port; 0 takes a free one.  [default: 8080]")
@click.option("--workers", type=click.IntRange(1, 1024), help="Processes that serve.  [default: one per core]")
@click.option("--no-auth", is_flag=True, help="Ask for no key. On loopback only.")
@store_option
@json_option
def serve(
    config_path: str | None,
    host: str | None,
    port: int | None,
    workers: int | None,
    store_url: str | None,
    *,
    no_auth: bool,
    as_json: bool,
) -> None:
    """Run the gateway, until Ctrl-C or SIGTERM, which let calls under way end. SIGHUP reads the configuration anew.

    It serves the providers whose keys are in the environment, or that the configuration names. Clients send a virtual
    key (`taximeter key create`) in place of the provider's.
    """
    from taximeter.gateway.config import load
    from taximeter.gateway.hosts import require_loopback
    from taximeter.gateway.opening import GateMaker, read_upstreams

    try:
        from taximeter.gateway.worker import listening
    except ModuleNotFoundError as error:
        if error.name != "httptools":
            raise
        msg = "the gateway needs httptools, which is not installed: pip install 'taximeter[gateway]'"
        raise click.ClickException(msg) from error

    said: dict[str, Any] = {"host": host, "port": port, "workers": workers, "auth": "none" if no_auth else None}
    config = load(config_path, **said)
    require_loopback(config)
    upstreams = read_upstreams(config)
    keys = _keys(config, store_url)
    count = config.gateway.workers or _cores()
    try:
        sock = listening(config.gateway.host, config.gateway.port)
    except OSError as error:
        msg = f"cannot listen on {config.gateway.host}, port {config.gateway.port}: {error.strerror}"
        raise click.ClickException(msg) from error
    bound: int = sock.getsockname()[1]
    started = _started(config, upstreams, keys, count, bound)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")

    def tell() -> None:
        click.echo(dump(started) if as_json else "\n".join(_greeting(started)))

    # at a reload the address is the one that is listened on, whatever the file then says
    maker = GateMaker(config.path, store_url, {**said, "host": config.gateway.host, "port": bound})
    with sock:
        status = _run(maker, sock, config, store_url, count, tell)
    sys.exit(status)


def _keys(config: Config, store_url: str | None) -> int | None:
    """How many keys are taken. Asked before there are workers, so that what is wrong with the store is told at once."""
    if config.gateway.auth != "keys":
        return None
    from taximeter.gateway.opening import open_ring
    from taximeter.gateway.secrets import Variables

    ring = open_ring(store_url, Variables(file=config.gateway.secrets_file))
    ring.close()
    return len(ring)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _run(
    maker: GateMaker,
    sock: socket.socket,
    config: Config,
    store_url: str | None,
    count: int,
    tell: Callable[[], None],
) -> int:
    """Serves until it is told to end; the exit status."""
    from taximeter.gateway.calls import CallAnswers
    from taximeter.gateway.models import ModelLists
    from taximeter.gateway.readiness import Readiness
    from taximeter.gateway.telling import GatewayMeter
    from taximeter.gateway.worker import serve as work
    from taximeter.meter import Settings

    settings = Settings.from_environment(None, **({} if store_url is None else {"store": store_url}))
    forks = hasattr(os, "fork")

    def serve_here(ready: Callable[[], None]) -> None:
        meter = GatewayMeter(settings, alone=count == 1 or not forks)
        calls = CallAnswers(meter.recent, settings.store)
        readiness = Readiness(meter.journal_folder if settings.enabled else None)
        gates = partial(maker, {b"/readyz": readiness.answer}, calls.answer, ModelLists(meter.book))
        words = meter.told.words
        work(gates, [sock], config.gateway, meter, words=words, ready=ready, drains=readiness.drain)
        calls.close()

    if not forks:  # Windows: one process serves, and nobody watches it
        serve_here(tell)
        return 0
    from taximeter.gateway.supervisor import Supervisor

    return Supervisor(serve_here, count, drain_s=config.gateway.drain_s, ready=tell, ends=sock.close).run()


def _started(config: Config, upstreams: Upstreams, keys: int | None, count: int, port: int) -> Serving:
    host = config.gateway.host
    near = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - where clients here find it
    url = f"http://{f'[{near}]' if ':' in near else near}:{port}"
    return Serving(
        url=url,
        workers=count,
        auth=config.gateway.auth,
        keys=keys,
        upstreams=sorted(upstreams.active),
        inactive=dict(sorted(upstreams.inactive.items())),
        base_urls={"openai": f"{url}/v1", "anthropic": url, "gemini": url}
        | {name: f"{url}/{name}" for name in sorted(upstreams.active) if name not in {"openai", "anthropic", "gemini"}},
    )


def _greeting(started: Serving) -> list[str]:
    lines = [f"Taximeter serves at {started.url} ({started.workers} workers)"]
    lines.append(f"Upstreams: {', '.join(started.upstreams) or 'none'}")
    lines += [f"  without: {name}: {why}" for name, why in started.inactive.items()]
    lines += [
        "Base URLs, as SDKs take them:",
        f"  OPENAI_BASE_URL={started.base_urls['openai']}",
        f"  ANTHROPIC_BASE_URL={started.base_urls['anthropic']}",
        f"  GOOGLE_GEMINI_BASE_URL={started.base_urls['gemini']}",
        f"  any upstream, with its own paths: {started.url}/NAME",
    ]
    lines.append(_about_keys(started))
    lines.append("Ctrl-C ends it.")
    return lines


def _about_keys(started: Serving) -> str:
    if started.auth == "none":
        return "No key is asked for: whoever is on this machine may spend."
    if started.auth == "passthrough":
        return "Clients send their own provider keys, which are forwarded."
    if not started.keys:
        return "There is no key yet: taximeter key create NAME"
    return f"Clients send one of {started.keys} virtual keys."
