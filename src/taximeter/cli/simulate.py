"""``taximeter simulate``: a provider on this machine, to try things against."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from queue import SimpleQueue
from typing import TYPE_CHECKING

import click
import msgspec

from taximeter.cli.lines import dump
from taximeter.cli.options import json_option

if TYPE_CHECKING:
    from taximeter.simulator import Served


class Started(msgspec.Struct, frozen=True):
    """What ``taximeter simulate --json`` writes first.

    Attributes:
        url: where it listens.
        ca_file: the certificate to trust, with TLS.
        urls: the base URL to give to each provider's SDK.
    """

    url: str
    ca_file: str | None
    urls: Mapping[str, str]


_EXAMPLES = """
\b
Examples:
  taximeter simulate
  taximeter simulate --port 0 --json
  curl localhost:8089/openai/v1/chat/completions -d '{"model": "gpt-5-mini", "messages": [
    {"role": "user", "content": "Hello"}]}'
  curl localhost:8089/openai/v1/chat/completions -H 'x-simulate: drop=3, gzip' -d '{"stream": true, …}'
"""


class _Command(click.Command):
    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The knobs as a table, then the examples."""
        from taximeter.simulator import WORDS

        with formatter.section("Knobs, in the header x-simulate or behind the model (gpt-5-mini+drop=3+gzip)"):
            formatter.write_dl([(word.name, word.meaning) for word in WORDS])
        super().format_epilog(ctx, formatter)


@click.command(cls=_Command, short_help="Run a provider that speaks every wire format, with faults.", epilog=_EXAMPLES)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=8089, show_default=True, help="The port; 0 takes a free one."
)
@click.option("--tls", is_flag=True, help="Speak TLS, with a certificate made for the occasion.")
@json_option
def simulate(host: str, port: int, *, tls: bool, as_json: bool) -> None:
    """Run a provider that speaks every wire format, until Ctrl-C. It needs no key and costs nothing.

    The same request has the same answer. What was served is told call by call, and by GET /_simulator/served.
    """
    from taximeter.simulator import MOUNTS, Simulator

    served: SimpleQueue[Served] = SimpleQueue()
    before = signal.signal(signal.SIGTERM, _interrupt)  # it ends as by Ctrl-C
    try:
        with Simulator(host=host, port=port, tls=tls, on_served=served.put) as running:
            ca_file = None if running.ca_file is None else str(running.ca_file)
            started = Started(running.base_url, ca_file, {name: running.url(name) for name in MOUNTS})
            click.echo(dump(started) if as_json else _greeting(started))
            try:
                while True:
                    call = served.get()
                    click.echo(dump(call) if as_json else _line(call))
            except KeyboardInterrupt:
                if not as_json:
                    click.echo(f"{running.totals().calls} calls served")
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _greeting(started: Started) -> str:
    lines = ["Base URLs, as each provider's SDK takes them (the key may be anything):"]
    lines += [f"  {name:<12}{url}" for name, url in started.urls.items()]
    if started.ca_file is not None:
        lines.append(f"Trust the certificate: SSL_CERT_FILE={started.ca_file}")
    return "\n".join([*lines, "Ctrl-C ends it."])


def _line(call: Served) -> str:
    usage = "no usage" if call.usage is None else ", ".join(f"{name} {count}" for name, count in call.usage.items())
    return f"{call.number:>6}  {call.status}  {call.api:<22} {call.model:<28} {call.outcome:<11} {usage}"
