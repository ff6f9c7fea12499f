"""What all commands have in common, and the small ones."""

from __future__ import annotations

import json
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from taximeter.cli import cli
from tests.cli.conftest import CALLS, COMMAND, Run


def test_version_is_the_projects(run: Run, repository: Path) -> None:
    """`--version` says what pyproject.toml says."""
    version = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["version"]
    assert run("--version").stdout == f"taximeter {version}\n"


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_each_command_has_help_with_examples(run: Run, name: str) -> None:
    """`--help` describes the command and shows how it is called."""
    text = run(name, "--help").stdout
    assert "Example" in text
    assert f"taximeter {name}" in text


def test_help_is_light(run_process: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """Help needs no database, no price data and no tables, so it comes at once."""
    done = run_process("--help", PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "click" in loaded
    assert not loaded & {"sqlalchemy", "rich", "genai_prices", "alembic", "pydantic", "asyncio"}


def test_a_reader_that_goes_away_is_no_error(demo_captures: Path) -> None:
    """`taximeter … | head -1` ends quietly."""
    folders = " ".join(f"'{path}'" for path in sorted(demo_captures.glob("*/*")) * 20)
    command = f"'{COMMAND[0]}' -c '{COMMAND[2]}' read --json {folders} | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


def test_doctor_before_there_is_a_store(run: Run, tmp_path: Path) -> None:
    """Looking makes nothing: a store that is not there yet is said to be so, and is no failure."""
    result = run("doctor", "--json")
    found = json.loads(result.stdout)
    assert result.exit_code == 0
    assert found["store"]["state"] == "none yet"
    assert list(tmp_path.iterdir()) == []
    assert found["prices"]["version"].startswith("genai-prices ")
    assert found["packages"]["taximeter"]


def test_doctor_counts_what_is_not_known(run: Run, demo_captures: Path) -> None:
    """Events, size, and the calls about which something is missing."""
    run("read", "--store", *demo_captures.glob("*/*"))
    store = json.loads(run("doctor", "--json").stdout)["store"]
    assert store["state"] == "ready"
    assert store["events"] == CALLS
    assert store["size_bytes"] > 10_000
    assert store["counters"] == {"unpriced_calls": 8, "estimated_calls": 1, "unknown_usage_calls": 5}
    assert f"{CALLS} events" in run("doctor").stdout


def test_doctor_finds_a_broken_store(run: Run, tmp_path: Path) -> None:
    """A file that is no store is a problem: exit code 1, and a sentence."""
    broken = tmp_path / "broken.sqlite3"
    broken.write_bytes(b"no database at all" * 100)
    result = run("doctor", "--json", "--store", broken)
    assert result.exit_code == 1
    assert json.loads(result.stdout)["store"]["state"] == "broken"
    assert str(broken) in json.loads(result.stdout)["store"]["problem"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script(run: Run, shell: str) -> None:
    """Each shell gets a script that asks `taximeter` itself."""
    script = run("completion", shell).stdout
    assert "_TAXIMETER_COMPLETE" in script
