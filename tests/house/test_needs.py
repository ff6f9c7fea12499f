"""What a machine lacks is skipped with a reason, and fails where it is demanded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TEST = '''
import pytest

@pytest.mark.needs("captures")
def test_by_mark():
    """By mark."""

@pytest.mark.needs("captures")
@pytest.mark.parametrize("case", [])
def test_without_cases(case):
    """No cases."""

def test_by_fixture(captures_root):
    """By fixture."""
'''


def _run(repository: Path, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs TEST under a copy of our conftest that lies where no captures are."""
    home = folder / "project" / "tests"
    home.mkdir(parents=True)
    (home / "conftest.py").write_text((repository / "tests" / "conftest.py").read_text())
    (home / "test_case.py").write_text(TEST)
    (home.parent / "pytest.ini").write_text("[pytest]\nmarkers = needs\n")
    command = [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider", str(home)]
    environment = {**os.environ, "TAXIMETER_REQUIRE": "", **environment}
    return subprocess.run(command, cwd=home.parent, env=environment, capture_output=True, text=True, check=False)


def test_absent_is_skipped_with_its_reason(repository: Path, tmp_path: Path) -> None:
    """Where nothing is demanded the tests are skipped, and the end of the run says why."""
    run = _run(repository, tmp_path)
    assert run.returncode == 0, run.stdout
    assert "3 skipped" in run.stdout
    assert "needs captures: the folder shared/captures does not lie beside the repository" in run.stdout


def test_demanded_and_absent_fails(repository: Path, tmp_path: Path) -> None:
    """TAXIMETER_REQUIRE turns each such skip into a failure, also where a list of cases came out empty."""
    run = _run(repository, tmp_path, TAXIMETER_REQUIRE="captures")
    assert run.returncode == 1, run.stdout
    assert "skipped" not in run.stdout
    assert run.stdout.count("needs captures, which TAXIMETER_REQUIRE demands") >= 3


def test_an_unknown_demand_is_an_error(repository: Path, tmp_path: Path) -> None:
    """A misspelt name must not pass as something that the machine has."""
    run = _run(repository, tmp_path, TAXIMETER_REQUIRE="capturse")
    assert run.returncode == pytest.ExitCode.USAGE_ERROR
    assert "TAXIMETER_REQUIRE names capturse; known are: " in run.stderr
