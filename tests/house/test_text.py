"""What may stand in the repository's files, and what must stand in all of them."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

Files = Callable[[], Iterator[Path]]

# Written in two halves, so that this file does not itself hold what it looks for.
HOSTS = [f"{name}.{end}".encode() for name, end in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"))]
OUTSIDE = [b"../" + b"shared", b"/work" + b"/"]


def test_no_file_names_a_registry(own_files: Files) -> None:
    """Whoever installs uses the registry of their own choice: no file of ours names one."""
    named = [(path, host) for path in own_files() for host in HOSTS if host in path.read_bytes()]
    assert named == []


def test_no_file_reaches_outside(own_files: Files) -> None:
    """Only tests may look at what lies beside the repository."""
    outside = [
        path for path in own_files() if "tests" not in path.parts and any(it in path.read_bytes() for it in OUTSIDE)
    ]
    assert outside == []


def test_pins_are_hashed_and_name_no_url(repository: Path) -> None:
    """Every pinned requirement has a hash, and no pin says where it is to be had."""
    for path in sorted((repository / "requirements").glob("*.txt")):
        text = path.read_text()
        assert "://" not in text
        pins = re.findall(r"^\S+==\S+(?:[^\n\\]*\\\n\s+--hash=sha256:[0-9a-f]{64})+", text, re.MULTILINE)
        assert len(pins) == len(re.findall(r"^[a-z]", text, re.MULTILINE)) > 0


def test_readme_gives_a_reason_for_each_dependency(repository: Path) -> None:
    """The README's table of dependencies is pyproject.toml's list, each with one reason."""
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    declared = [re.split(r"[^A-Za-z0-9-]", requirement)[0] for requirement in project["dependencies"]]
    readme = (repository / "README.md").read_text()
    section = readme.split("## Dependencies")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| (.+) \|$", section, re.MULTILINE)
    assert [name for name, _ in rows] == declared
    assert all(reason.strip() for _, reason in rows)


def test_readme_lists_every_extra(repository: Path) -> None:
    """Each extra of pyproject.toml is in the README, and none that is not there."""
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    section = (repository / "README.md").read_text().split("## Dependencies")[1].split("\n## ")[0]
    assert set(re.findall(r"`\[([\w-]+)\]`", section)) == set(project["optional-dependencies"])


def test_ci_runs_the_readme(repository: Path, tmp_path: Path) -> None:
    """`.ci/run` runs the README's test line word for word, and hands on its exit code."""
    (line,) = re.findall(r"<!-- the test line -->\n```sh\n(.+)\n```", (repository / "README.md").read_text())
    stand_in = tmp_path / "python3"  # the first word of the line, so that nothing is installed here
    stand_in.write_text("#!/bin/sh\nexit 7\n")
    stand_in.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", str(repository / ".ci" / "run")]
    run = subprocess.run(
        command, env={"PATH": path}, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert run.stdout == f"+ {line}\n"
    assert run.returncode == 7
    assert line == "python3 scripts/setup test && .venv/bin/pytest"


def test_every_test_says_what_it_asserts(repository: Path) -> None:
    """Each test has a docstring: the sentence that it holds true."""
    silent = [
        f"{path.relative_to(repository)}: {node.name}"
        for path in sorted((repository / "tests").rglob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and not ast.get_docstring(node)
    ]
    assert silent == []


def test_the_map_shows_every_room(repository: Path) -> None:
    """docs/ARCHITECTURE.md names each package and module at the top of the tree."""
    page = (repository / "docs" / "ARCHITECTURE.md").read_text()
    rooms = [path for path in (repository / "src" / "taximeter").iterdir() if not path.name.startswith(("_", "."))]
    names = [f"{path.name}/" if path.is_dir() else path.name for path in rooms if path.suffix != ".typed"]
    assert [name for name in sorted(names) if name not in page] == []


def test_a_wheel_holds_every_file_of_the_package(repository: Path, tmp_path: Path) -> None:
    """Migrations, demo captures, READMEs and py.typed are installed along with the modules."""
    build = f"import uv_build; print(uv_build.build_wheel({str(tmp_path)!r}))"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # where the build backend's program is
    environment = {**os.environ, "PATH": path}
    subprocess.run([sys.executable, "-c", build], cwd=repository, env=environment, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("taximeter/")}
    source = repository / "src"
    there = {
        str(path.relative_to(source))
        for path in (source / "taximeter").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert "taximeter/py.typed" in held
    assert there - held == set()


def test_the_layers_hold(repository: Path) -> None:
    """Arrows point down only, and the core opens nothing: the contracts in pyproject.toml are kept."""
    check = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    run = subprocess.run([sys.executable, "-c", check], cwd=repository, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
