"""``taximeter demo``: the whole way, from bytes to a report, on captures that come with the package."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import click

from taximeter.cli.options import STORE_HELP

CAPTURES = Path(__file__).resolve().parent.parent / "demo_captures"
"""Calls of our own making, in every wire format; nobody paid for them."""

_FILE = "demo.sqlite3"


@click.command(
    short_help="Read, price, keep and report made-up calls in every format.", epilog="\b\nExample:\n  taximeter demo"
)
@click.option(
    "--store",
    "store_url",
    metavar="URL",
    help=f"{STORE_HELP.split('.')[0]}. Default: one of the demo's own, made anew.",
)
def demo(store_url: str | None) -> None:
    """Read made-up calls in every wire format, price them, keep them, and report on them."""
    from taximeter.cli.captures import Done, Keeper, calls_table, read_all, remarks
    from taximeter.cli.report import show
    from taximeter.cli.terminal import console
    from taximeter.pricing import PriceBook
    from taximeter.store import Query, open_store

    folders = sorted(path.parent for path in CAPTURES.glob("*/*/request.json"))
    named = [(str(folder.relative_to(CAPTURES)), folder) for folder in folders]
    done = [outcome for outcome in read_all(named, PriceBook.load(), None) if isinstance(outcome, Done)]
    screen = console()
    screen.print(calls_table(f"{len(done)} calls, read from the bytes on the wire", done, screen.width))
    click.echo("What the figures do not show:")
    for remark in remarks(done):
        click.echo(f"  {remark}")
    click.echo()
    with open_store(store_url or str(_fresh_file())) as store:
        keeper = Keeper(store)
        for each in done:
            keeper.add(each.event)
        keeper.flush()
        click.echo("The report over the store:")
        query = Query()
        show(("provider",), store.report(("provider",), query), store.report((), query)[0], query)
        click.echo()
        click.echo(keeper.summary())
        command = "taximeter" if shutil.which("taximeter") else sys.argv[0]
        click.echo(f"Ask it yourself:  {command} report --by model --by outcome --store {store.url}")


def _fresh_file() -> Path:
    """The demo's own store, in the user's data folder where that can be written, without what an earlier demo left."""
    from taximeter.store import data_folder

    folder = data_folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for ending in ("", "-wal", "-shm"):
            (folder / f"{_FILE}{ending}").unlink(missing_ok=True)
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="taximeter-"))
    return folder / _FILE
