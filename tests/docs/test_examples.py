"""Every example in the documentation runs."""

from __future__ import annotations

import doctest
import importlib
import os
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

import taximeter
from taximeter.cli.demo import CAPTURES

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "src").rglob("*.md"))
)
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(taximeter.__path__, "taximeter.")
    if ".migrations" not in module.name and not module.name.endswith("__main__")
)


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES)
def test_python_examples_of_a_page(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session (`>>>`) prints what it says that it prints; any other Python block runs.

    What a block may take for granted: bytes that came (``chunks``), events to record (``events``), the time (``now``).
    """
    monkeypatch.chdir(tmp_path)  # an example may write a file where it runs
    granted = {"chunks": [b"data: [DONE]\n\n"], "events": [], "now": datetime(2026, 11, 1, tzinfo=UTC)}
    for number, block in enumerate(blocks(page, "python")):
        if ">>>" in block:
            examples = doctest.DocTestParser().get_doctest(block, {}, f"{page}[{number}]", page, 0)
            said: list[str] = []
            runner = doctest.DocTestRunner()
            runner.run(examples, out=said.append)
            assert not runner.failures, "".join(said)
        else:
            exec(compile(block, f"{page}[{number}]", "exec"), dict(granted))  # noqa: S102 - our own documentation
    taximeter.uninstrument()


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_of_a_module(name: str) -> None:
    """The examples in a module's docstrings print what they say."""
    result = doctest.testmod(importlib.import_module(name), report=True)
    assert result.failed == 0


def test_commands_of_the_readme(tmp_path: Path) -> None:
    """The README's commands do what they are shown for, in the order in which they stand there."""
    (block,) = (block for block in blocks("README.md", "sh") if block.startswith("taximeter "))
    shutil.copytree(CAPTURES / "openai_chat", tmp_path / "recordings")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "TAXIMETER_STORE": str(tmp_path / "store.sqlite3")}
    for line in block.splitlines():
        assert shlex.split(line)[0] == "taximeter"
        done = subprocess.run(
            ["bash", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        assert done.stdout.strip(), line


def test_links_between_pages_lead_somewhere() -> None:
    """A relative link names a file that exists."""
    dead = [
        f"{page}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", (ROOT / page).read_text())
        if "://" not in target and not (ROOT / page).parent.joinpath(target).exists()
    ]
    assert dead == []


def test_every_setting_is_in_the_readme() -> None:
    """Each environment variable that the package reads is documented."""
    read = {
        name for path in (ROOT / "src").rglob("*.py") for name in re.findall(r"\bTAXIMETER_[A-Z_]+\b", path.read_text())
    }
    assert (
        read - set(re.findall(r"\bTAXIMETER_[A-Z_]+\b", (ROOT / "README.md").read_text()))
        == {"TAXIMETER_COMPLETE"} & read
    )
