"""``taximeter read``: recorded calls, turned into usage and cost."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from taximeter.cli.lines import dump
from taximeter.cli.options import STORE_HELP, json_option, moment

if TYPE_CHECKING:
    from taximeter.cli.captures import Done

_DEFAULT_STORE = "default"

_EXAMPLES = """\b
Examples:
  taximeter read recordings/*
  taximeter read recordings/monday --json
  taximeter read --manifest nightly.txt --store
  find . -name response.body -printf '%h\\n' | taximeter read --manifest - --json
"""


class _OptionalValue(click.Command):
    """A command whose ``--store`` stands alone, or before a URL, or as ``--store=FILE``; it never takes a capture."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Gives a ``--store`` that stands alone its value."""
        options = args[: args.index("--")] if "--" in args else args
        alone = [
            place
            for place, argument in enumerate(options)
            if argument == "--store" and "://" not in (options[place + 1] if place + 1 < len(options) else "")
        ]
        given = [f"--store={_DEFAULT_STORE}" if place in alone else argument for place, argument in enumerate(args)]
        return super().parse_args(ctx, given)


@click.command(cls=_OptionalValue, short_help="Turn recorded calls into usage and cost.", epilog=_EXAMPLES)
@click.argument("captures", nargs=-1, metavar="CAPTURE...")
@click.option("--manifest", type=click.File(), help="A file that lists captures, one a line; - is standard input.")
@click.option("--at", metavar="ISO", help="Price as of this date or time, not the call's own.")
@click.option("--store", "store_url", metavar="[URL]", help=f"Keep what was read. {STORE_HELP}")
@json_option
def read(
    captures: tuple[str, ...], manifest: TextIO | None, at: str | None, store_url: str | None, *, as_json: bool
) -> None:
    """Read recorded calls: exact usage and exact cost from the bytes on the wire.

    A CAPTURE is a folder with request.json, response.headers.json and response.body. Lines of a manifest are folders
    too, relative to the manifest's own; with --json each capture is one line of JSON.

    A capture has no clock: it is priced as of --at, else of its Date header, else of the time in its body, else of
    today, and the output says which. Reading it again with --store adds nothing.
    """
    folders = [(name, Path(name)) for name in captures]
    if manifest is not None:
        folders += _listed(manifest)
    if not folders:
        msg = "name at least one CAPTURE, or a --manifest that lists some"
        raise click.UsageError(msg)
    if _read(folders, moment(at, "--at"), store_url, as_json=as_json):
        sys.exit(1)


def _listed(manifest: TextIO) -> Iterator[tuple[str, Path]]:
    """The captures that a manifest lists: blank lines and lines that begin with ``#`` mean nothing."""
    base = Path() if manifest.name in {"-", "<stdin>"} else Path(manifest.name).parent
    for line in manifest:
        name = line.strip()
        if name and not name.startswith("#"):
            yield name, base / name


def _read(folders: list[tuple[str, Path]], at: datetime | None, store_url: str | None, *, as_json: bool) -> int:
    """Reads, shows and keeps; returns how many folders were no captures."""
    from taximeter.cli.captures import Keeper, Refused, read_all
    from taximeter.cli.terminal import track
    from taximeter.pricing import PriceBook
    from taximeter.store import open_store

    refused = 0
    done: list[Done] = []
    with ExitStack() as stack:
        keeper: Keeper | None = None
        if store_url is not None:
            keeper = Keeper(stack.enter_context(open_store(None if store_url == _DEFAULT_STORE else store_url)))
        for outcome in read_all(track(folders, "Reading"), PriceBook.load(), at):
            if isinstance(outcome, Refused):
                refused += 1
                click.echo(f"taximeter: {outcome.why}", err=True)
                continue
            if keeper is not None:
                keeper.add(outcome.event)
            if as_json:
                _tell_json(outcome)
            else:
                done.append(outcome)
        if keeper is not None:
            keeper.flush()
    if done:
        _tell(done)
    if keeper is not None:
        click.echo(keeper.summary(), err=True)
    return refused


def _tell_json(done: Done) -> None:
    from taximeter.cli.terminal import plain

    click.echo(dump(done.line))
    if done.fault:
        click.echo(f"taximeter: {plain(done.name)}: {plain(done.fault)}", err=True)


def _tell(done: list[Done]) -> None:
    from taximeter.cli.captures import calls_table, remarks
    from taximeter.cli.terminal import console

    screen = console()
    title, shown = _shortened(done)
    screen.print(calls_table(title, shown, screen.width))
    for remark in remarks(shown):
        click.echo(f"  {remark}")


def _shortened(done: list[Done]) -> tuple[str, list[Done]]:
    """A title, and the captures under names without the folder that all of them are in, which the title then names."""
    if len(done) == 1:
        return "1 call", done
    parents = [os.path.dirname(each.name) for each in done]  # noqa: PTH120 - names are texts, kept as they were given
    try:
        folder = os.path.commonpath(parents)
    except ValueError:  # absolute and relative names, or different drives
        folder = ""
    if not folder:
        return f"{len(done)} calls", done
    return f"{len(done)} calls in {folder}", [each._replace(name=os.path.relpath(each.name, folder)) for each in done]
