"""An answer on the screen while it comes, with what it costs so far."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from taximeter.money import Money
from taximeter.usage import Usage
from taximeter.wire.format import estimated_tokens

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from taximeter.cli.talk import Message, Peer
    from taximeter.meter.making import Prices

_PER_SECOND = 8
_ROOM = 4  # lines of the screen that the answer leaves free while it grows
_LABEL = "Assistant: "


def readable(text: str) -> str:
    """A model's text with what would steer a terminal made visible."""
    return "".join(sign if sign.isprintable() or sign in "\n\t" else "·" for sign in text)


class Estimate:
    """What an answer comes to while it is made: an estimate, four bytes of text to a token, until the provider says."""

    def __init__(self, peer: Peer, messages: Sequence[Message], book: Prices) -> None:
        self._peer = peer
        self._book = book
        self._input_tokens = estimated_tokens(sum(len(message.content.encode()) for message in messages))

    def line(self, pieces: Sequence[str]) -> str:
        """Tokens and cost so far, marked as what they are."""
        tokens = estimated_tokens(len("".join(pieces).encode("utf-8", "replace")))
        cost = self._cost(tokens)
        return f"≈ {tokens} tokens" + ("" if cost is None else f", ≈ {cost} USD")

    def _cost(self, output_tokens: int) -> Money | None:
        usage = Usage(input_tokens=self._input_tokens, output_tokens=output_tokens)
        return self._book.price(usage, provider=self._peer.provider, model=self._peer.model, at=datetime.now(UTC)).total


@contextmanager
def shown(
    peer: Peer, messages: Sequence[Message], pieces: Sequence[str], book: Prices
) -> Generator[Callable[[str], object]]:
    """Shows each piece that it is given; on a terminal with the cost, ticking.

    Args:
        peer: who answers.
        messages: what is asked.
        pieces: all that has come so far.
        book: prices it.
    """
    if not sys.stdout.isatty():
        click.echo(_LABEL, nl=False)
        yield lambda piece: click.echo(readable(piece), nl=False)
        click.echo()
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False, markup=False, emoji=False)
    estimate = Estimate(peer, messages, book)
    live = Live(
        console=console,
        refresh_per_second=_PER_SECOND,
        transient=True,
        get_renderable=lambda: _growing(console, list(pieces), estimate),
    )
    try:
        with live:
            yield lambda _: None
    finally:
        click.echo(_LABEL + readable("".join(pieces)))


def _growing(console: Console, pieces: Sequence[str], estimate: Estimate) -> RenderableType:
    """The end of the answer, as much as fits, over the line that ticks."""
    from rich.console import Group
    from rich.text import Text

    text = Text(_LABEL + readable("".join(pieces)))
    lines = text.wrap(console, console.width)
    return Group(*lines[-max(console.height - _ROOM, 1) :], Text(estimate.line(pieces), style="dim"))
