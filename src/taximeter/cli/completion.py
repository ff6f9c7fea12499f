"""``taximeter completion``: the script that makes a shell complete our commands."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command(
    short_help="Print the completion script of a shell.", epilog='Example:  eval "$(taximeter completion bash)"'
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that completes commands and options in SHELL."""
    kind = get_completion_class(shell)
    if kind is None:
        raise click.BadParameter(shell, param_hint="SHELL")
    click.echo(kind(ctx.find_root().command, {}, "taximeter", "_TAXIMETER_COMPLETE").source())
