"""``taximeter chat``: an interactive chat that shows what each turn takes and costs."""

from __future__ import annotations

import sys
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from taximeter.cli.options import STORE_HELP

if TYPE_CHECKING:
    from taximeter.cli.talk import Message, Peer
    from taximeter.event import CallEvent
    from taximeter.meter import Session, Turn

_FILE = "chat.sqlite3"

_COMMANDS = "/stats, /new, /export FILE, /exit"

_EXAMPLES = """\b
Examples:
  taximeter chat
  taximeter chat --provider anthropic -m claude-haiku-4-5
  taximeter chat --base-url http://localhost:11434/v1 -m llama3.2
"""


class Exchange(NamedTuple):
    """One turn of a chat, as it is exported.

    Attributes:
        began: when the user had asked.
        asked, answered: what was said.
        turn: what it took.
        calls: the calls that it made.
    """

    began: datetime
    asked: str
    answered: str
    turn: Turn
    calls: tuple[CallEvent, ...]


@click.command(short_help="Chat, and see what each turn costs.", epilog=_EXAMPLES)
@click.option("-m", "--model", help="The model. Default: a small one of the provider's.")
@click.option("--streaming/--no-streaming", default=True, show_default=True, help="Show the answer while it is made.")
@click.option("--base-url", metavar="URL", help="An OpenAI-compatible API, or Anthropic's, as SDKs take it.")
@click.option("--provider", metavar="NAME", help="Who is called: openai, anthropic, groq …; prices are theirs.")
@click.option("--store", "store_url", metavar="URL", help=STORE_HELP)
def chat(
    model: str | None, base_url: str | None, provider: str | None, store_url: str | None, *, streaming: bool
) -> None:
    """Chat with a model, and see tokens and cost after each turn, and while the answer comes.

    With neither --base-url nor --provider it talks to a simulated provider: no key, no network, no bill; what it shows
    is what the model would have cost, and is kept in a file of its own. Otherwise the key is read from the provider's
    environment variable: OPENAI_API_KEY, ANTHROPIC_API_KEY, GROQ_API_KEY …

    Ctrl-C during an answer cancels it, and books what it used.
    """
    from taximeter.cli.talk import Peer
    from taximeter.meter import configure

    with ExitStack() as stack:
        simulated = base_url is None and provider is None
        if simulated:
            from taximeter.simulator import Simulator
            from taximeter.store import data_folder

            anthropic = (model or "").startswith("claude")
            provider = "anthropic" if anthropic else "openai"
            base_url = stack.enter_context(Simulator()).url(provider)
            store_url = store_url or str(data_folder() / _FILE)
        if store_url is not None:
            configure(store=store_url)
        peer = Peer(provider=provider, base_url=base_url, model=model, streaming=streaming)
        stack.callback(peer.close)
        _greet(peer, streaming=streaming, simulated=simulated)
        Chat(peer).run()


def _greet(peer: Peer, *, streaming: bool, simulated: bool) -> None:
    from taximeter.cli.terminal import plain

    click.echo(f"Model:     {plain(peer.model)} of {plain(peer.provider)}")
    click.echo(f"Streaming: {'yes' if streaming else 'no'}")
    if simulated:
        click.echo("Simulated: nothing leaves this machine and nobody is billed; costs are what the model would cost.")
    click.echo(f"Commands:  {_COMMANDS}; Ctrl-C during an answer cancels it")


class Chat:
    """A chat that is under way."""

    def __init__(self, peer: Peer) -> None:
        from taximeter.meter import the_meter

        self._peer = peer
        self._meter = the_meter()
        self._calls: list[CallEvent] = []
        self._begin()

    def _begin(self) -> None:
        from taximeter.meter import session

        with session() as begun:
            self._session: Session = begun
        self._messages: list[Message] = []
        self._exchanges: list[Exchange] = []

    def run(self) -> None:
        """Reads and answers until the user has enough."""
        stop_listening = self._meter.listeners.on("call_closed", self._calls.append)
        try:
            while (said := _read()) is not None:
                if said in ("exit", "/exit"):
                    break
                if said.startswith("/"):
                    self._command(said)
                elif said:
                    self._turn(said)
        finally:
            stop_listening()
            if not self._meter.flush():
                click.echo("taximeter: not everything is in the store yet; the next start completes it", err=True)

    def _command(self, said: str) -> None:
        from taximeter.cli.accounts import export, stats

        name, _, rest = said.partition(" ")
        if name == "/stats":
            click.echo(stats(self._session))
        elif name == "/new":
            self._begin()
            click.echo(f"A new session: {self._session.id}")
        elif name == "/export" and rest.strip():
            path = Path(rest.strip()).expanduser()
            try:
                export(path, self._session, self._exchanges)
            except OSError as error:
                click.echo(f"taximeter: {path} cannot be written: {error.strerror}", err=True)
            else:
                click.echo(f"{len(self._exchanges)} turns written to {path}")
        else:
            click.echo(f"There is no command {said!r}; there are {_COMMANDS}")

    def _turn(self, said: str) -> None:
        from taximeter.cli.accounts import turn_line
        from taximeter.cli.talk import Message, RefusedError
        from taximeter.cli.ticking import Estimate
        from taximeter.meter import scope, session, turn

        began = datetime.now(UTC)
        self._calls.clear()
        asked = Message("user", said)
        pieces: list[str] = []
        with session(self._session), scope(operation="chat"), turn() as exchange:
            try:
                self._answer([*self._messages, asked], pieces)
            except KeyboardInterrupt:
                click.echo("\n(cancelled)")
            except RefusedError as error:
                click.echo(f"\ntaximeter: {error}", err=True)
        answered = "".join(pieces)
        if answered:
            self._messages += [asked, Message("assistant", answered)]
        self._exchanges.append(Exchange(began, said, answered, exchange, tuple(self._calls)))
        click.echo(f"\nTurn {exchange.number}: {turn_line(exchange, self._calls)}")
        if pieces and exchange.unknown_usage_calls:
            estimate = Estimate(self._peer, [*self._messages[:-1]], self._meter.book())
            click.echo(f"   The provider had not said yet what it takes: {estimate.line(pieces)}")

    def _answer(self, messages: list[Message], pieces: list[str]) -> None:
        """Asks, and shows the answer while it comes; ``pieces`` has what came, however it ends."""
        from taximeter.cli.ticking import shown

        answer = self._peer.ask(messages)
        try:
            with shown(self._peer, messages, pieces, self._meter.book()) as show:
                for piece in answer:
                    pieces.append(piece)
                    show(piece)
        finally:
            answer.close()


def _read() -> str | None:
    """What the user says next; ``None`` when there is no more."""
    try:
        if sys.stdin.isatty():
            with suppress(ImportError):
                import_module("readline")  # arrow keys and history, where Python was built with them
            return input("\nYou: ").strip()
        line = sys.stdin.readline()
    except (EOFError, KeyboardInterrupt):
        click.echo()
        return None
    return line.strip() if line else None
