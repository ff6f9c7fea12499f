"""The commands, run as a user runs them, in a process of their own or within the test's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from taximeter.cli import cli
from taximeter.cli.demo import CAPTURES

COMMAND = [sys.executable, "-c", "from taximeter.cli import main; main()"]

CALLS = len(list(CAPTURES.glob("*/*/request.json")))
"""How many captures ship with the package."""

Run = Callable[..., Result]


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    """A store of the test's own, not made yet."""
    return f"sqlite:///{tmp_path / 'store.sqlite3'}"


@pytest.fixture
def run(store_url: str) -> Run:
    """Runs a command in this process; the default store is the test's own."""

    def call(*arguments: str | Path, stdin: str | None = None) -> Result:
        environment = {"TAXIMETER_STORE": store_url, "COLUMNS": "200"}
        words = [str(argument) for argument in arguments]
        return CliRunner(env=environment).invoke(cli, words, input=stdin, prog_name="taximeter")

    return call


@pytest.fixture
def run_process(store_url: str, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command in a process of its own, as the installed command does."""

    def call(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        inherited = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "COLUMNS"}}
        return subprocess.run(
            [*COMMAND, *map(str, arguments)],
            env={**inherited, "TAXIMETER_STORE": store_url, **environment},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    return call


@pytest.fixture
def demo_captures() -> Path:
    """The captures that ship with the package."""
    return CAPTURES


def lines(result: Result) -> Iterator[Any]:
    """The JSON of each line that a command wrote."""
    return (json.loads(line) for line in result.stdout.splitlines())
