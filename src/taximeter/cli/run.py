"""``taximeter run -- python app.py``: meters a program that knows nothing of it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import click

START_UP = Path(__file__).resolve().parent.parent / "instrument" / "startup"
"""The folder whose ``sitecustomize.py`` every Python runs that has it on its path."""

NOT_FOUND = 127
"""The exit code for a program that there is not, as ``env`` and the shells have it."""

_NOT_RUNNABLE = 126

_EXAMPLES = """\b
Examples:
  taximeter run -- python app.py --fast
  taximeter run app.py
  taximeter run -- gunicorn -w 4 app:app
"""


@click.command(
    short_help="Meter a program without changing it.",
    epilog=_EXAMPLES,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="[--] COMMAND...")
def run(command: tuple[str, ...]) -> None:
    """Run a program, and meter every LLM call that it makes, and the Python programs that it starts.

    COMMAND is a program and its arguments, or a Python file. The program takes this one's place: signals, exit code,
    input and output are its own. Its Python needs taximeter installed; started with -I, -E or -S it is not metered.

    Exit codes beside the program's own: 127 there is no such program; 126 it cannot be run.
    """
    program = shutil.which(command[0])
    arguments = list(command)
    if command[0].endswith(".py") and Path(command[0]).is_file():
        program, arguments = sys.executable, [sys.executable, *command]
    if program is None:
        click.echo(f"taximeter: there is no program {command[0]!r} on the PATH", err=True)
        sys.exit(NOT_FOUND)
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        _become(program, arguments, metered(os.environ))
    except OSError as error:
        click.echo(f"taximeter: {program} cannot be run: {error.strerror}", err=True)
        sys.exit(_NOT_RUNNABLE)


def metered(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment in which every Python that starts meters itself."""
    path = [str(START_UP), *(entry for entry in environment.get("PYTHONPATH", "").split(os.pathsep) if entry)]
    return {**environment, "PYTHONPATH": os.pathsep.join(dict.fromkeys(path))}


def _become(program: str, arguments: list[str], environment: dict[str, str]) -> None:
    """Lets the program take the place of this one; on Windows, where none can, waits for it.

    Raises:
        OSError: when it cannot be run.
    """
    if os.name == "posix":
        os.execve(program, arguments, environment)  # noqa: S606 - running what the user names is what it is for
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is the program's to handle
    try:
        done = subprocess.run([program, *arguments[1:]], env=environment, check=False)  # noqa: S603 - as above
    finally:
        signal.signal(signal.SIGINT, before)
    sys.exit(done.returncode)
