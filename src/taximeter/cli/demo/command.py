"""The command: plays the scenes, shows them, asks the store, and checks it against the provider's books."""

from __future__ import annotations

import os
import sys
import tempfile
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from taximeter.cli.options import STORE_HELP, json_option

CAPTURES: Final = Path(__file__).resolve().parents[2] / "demo_captures"
"""Recorded calls of our own making, in every wire format: something to try ``taximeter read`` on."""

_FILE: Final = "demo.sqlite3"
_USUAL_WIDTH: Final = 80

_EXAMPLES: Final = """\b
Examples:
  taximeter demo
  taximeter demo --store demo.sqlite3
  taximeter demo --json
"""


@click.command(short_help="Meter a made-up application, live, and check the books.", epilog=_EXAMPLES)
@click.option(
    "--store",
    "store_url",
    metavar="URL",
    help=f"{STORE_HELP.split('.')[0]}. Default: a new one in the folder for temporary files.",
)
@click.option(
    "--sdks/--no-sdks",
    "use_sdks",
    default=True,
    show_default=True,
    help="Make calls with the SDKs that are installed (openai, anthropic, google-genai); without, all by plain HTTP.",
)
@json_option
def demo(store_url: str | None, *, use_sdks: bool, as_json: bool) -> None:
    """Play the calls of a made-up application, meter them live, report on them, and check the books.

    The calls are real ones over HTTP, to a provider that is simulated on this machine: no key, no network, no bill.
    What it says that it served is held against what is in the store; the exit code is 1 if that is not the same, token
    by token.
    """
    from taximeter.cli.demo.audit import audit
    from taximeter.cli.demo.feed import Feed
    from taximeter.cli.demo.figures import TAG, DemoLine, Figures
    from taximeter.cli.demo.showing import Ending
    from taximeter.cli.demo.stage import play
    from taximeter.cli.lines import dump
    from taximeter.cli.terminal import console
    from taximeter.store import Query, open_store

    screen = console()
    width = screen.width if sys.stdout.isatty() or "COLUMNS" in os.environ else _USUAL_WIDTH
    run = uuid.uuid4().hex
    began = datetime.now(UTC)
    with open_store(store_url or _temporary()) as store:
        feed = Feed(None if as_json else screen, width)
        played = play(feed, store.url, {TAG: run}, use_sdks=use_sdks)
        figures = Figures(store, run, Query(since=began))
        checked = audit(played.served, figures.events(), figures.total(), feed.cost)
        if as_json:
            click.echo(dump(DemoLine(store.url, played.sdks, figures.lines(), checked)))
        else:
            ending = Ending(screen, width)
            ending.reports(figures)
            ending.check(checked)
            ending.next(store.url, CAPTURES, temporary=store_url is None)
    if not checked.equal:
        sys.exit(1)


def _temporary() -> str:
    """A new file in the folder for temporary files. It stays, for the commands that are named in the end."""
    return str(Path(tempfile.mkdtemp(prefix="taximeter-demo-")) / _FILE)
