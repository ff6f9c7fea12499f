"""The group of all commands, and what their exit codes mean."""

from __future__ import annotations

from typing import IO, Any

import click

from taximeter.cli.chat import chat
from taximeter.cli.completion import completion
from taximeter.cli.demo import demo
from taximeter.cli.doctor import doctor
from taximeter.cli.export import export
from taximeter.cli.forget import forget
from taximeter.cli.key import key
from taximeter.cli.price import price
from taximeter.cli.read import read
from taximeter.cli.report import report
from taximeter.cli.run import run
from taximeter.cli.serve import serve
from taximeter.cli.simulate import simulate
from taximeter.errors import TaximeterError


class Failure(click.ClickException):
    """Something that was asked for could not be done: said in one line, exit code 1."""

    exit_code = 1

    def show(self, file: IO[Any] | None = None) -> None:
        """Writes ``taximeter: what happened, where, what to do``."""
        click.echo(f"taximeter: {self.format_message()}", err=file is None, file=file)


class _Group(click.Group):
    def invoke(self, ctx: click.Context) -> object:
        """Runs the command; an error of ours is a sentence to the user, never a traceback."""
        try:
            return super().invoke(ctx)
        except TaximeterError as error:
            raise Failure(str(error)) from error


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 all is well; 1 something that was asked for could not be done; 2 the command line is wrong.",
)
@click.version_option(package_name="taximeter", message="%(prog)s %(version)s")
def cli() -> None:
    """The meter for LLM calls: exact tokens and exact cost, from the bytes on the wire.

    Settings come from the environment: TAXIMETER_STORE (where events are kept), TAXIMETER_RATE_CARDS (your own prices),
    NO_COLOR (no colours).
    """


for _command in (read, report, export, price, doctor, demo, chat, run, simulate, serve, key, forget, completion):
    cli.add_command(_command)


def main() -> None:
    """The entry point of the installed command."""
    cli(prog_name="taximeter")
