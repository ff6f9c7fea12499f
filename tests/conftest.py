"""What every test shares: what a machine may lack, how random cases are drawn, and a home of the tests' own.

A test that needs something a machine may lack says so, with ``@pytest.mark.needs("captures")``, with the fixture
``need`` in its midst, or through a fixture such as ``captures_root``. Where it is absent the test is skipped, with the
reason, which pytest lists at the end. ``TAXIMETER_REQUIRE=captures,…`` turns those skips into failures.
"""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent
CAPTURES = ROOT.parent / "shared" / "captures"


def _captures() -> str | None:
    return None if CAPTURES.is_dir() else "the folder shared/captures does not lie beside the repository"


_LIBRARIES = {
    "aiohttp": "aiohttp",
    "anthropic": "anthropic",
    "boto3": "boto3",
    "cohere": "cohere",
    "google-genai": "google.genai",
    "groq": "groq",
    "gunicorn": "gunicorn",
    "httpx": "httpx",
    "langchain": "langchain_openai",
    "litellm": "litellm",
    "mistralai": "mistralai",
    "ollama": "ollama",
    "openai": "openai",
    "requests": "requests",
    "urllib3": "urllib3",
    "xdist": "xdist",
}
"""Libraries that calls are made with, or from, by name, and what is imported of them."""


def _importable(name: str) -> str | None:
    try:
        found = find_spec(_LIBRARIES[name]) is not None
    except ModuleNotFoundError:  # of the package around it
        found = False
    return None if found else f"{name} is not installed"


def _node_sdks() -> str | None:
    there = shutil.which("node") and (ROOT / ".venv-node" / "node_modules").is_dir()
    return None if there else "they are not installed (make node)"


def _program(name: str) -> str | None:
    return None if shutil.which(name) else f"{name} is not installed"


NEEDS: dict[str, Callable[[], str | None]] = {
    "captures": _captures,
    "curl": partial(_program, "curl"),
    "node-sdks": _node_sdks,
    **{name: partial(_importable, name) for name in _LIBRARIES},
}
"""What a machine may lack: by name, a function that says why it is absent, or ``None`` when it is there."""


def _required() -> frozenset[str]:
    names = os.environ.get("TAXIMETER_REQUIRE", "").replace(",", " ").split()
    unknown = sorted(set(names) - NEEDS.keys())
    if unknown:
        msg = f"TAXIMETER_REQUIRE names {', '.join(unknown)}; known are: {', '.join(sorted(NEEDS))}"
        raise pytest.UsageError(msg)
    return frozenset(names)


def _need(name: str) -> None:
    if name not in NEEDS:
        pytest.fail(f"no need is called {name!r}; tests/conftest.py lists them")
    absent = NEEDS[name]()
    if absent is None:
        return
    if name in _required():
        pytest.fail(f"needs {name}, which TAXIMETER_REQUIRE demands: {absent}", pytrace=False)
    _skip(f"needs {name}: {absent}")


def _skip(reason: str) -> NoReturn:
    pytest.skip(reason)


@pytest.fixture(autouse=True, scope="module")
def what_was_there_is_not_collected() -> Iterator[None]:
    """The SDKs that other modules loaded are gigabytes of objects: each full collection would look at all of them."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def need() -> Callable[[str], None]:
    """Skips the test, or fails it where TAXIMETER_REQUIRE says so, unless the machine has what is named."""
    return _need


@pytest.fixture(scope="session")
def captures_root() -> Path:
    """The folder of recorded provider traffic that may lie beside the repository."""
    _need("captures")
    return CAPTURES


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Honours the mark ``needs``, before pytest's own skips: an empty list of parameters must not hide a demand."""
    for mark in item.iter_markers("needs"):
        _need(str(mark.args[0]))


settings.register_profile("ci", derandomize=True, database=None, deadline=None)
settings.register_profile(
    "deep",
    max_examples=2_000,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)


def pytest_configure(config: pytest.Config) -> None:
    """Checks TAXIMETER_REQUIRE, chooses the Hypothesis profile, and turns away from the user's own files."""
    _required()
    settings.load_profile(os.environ.get("TAXIMETER_HYPOTHESIS", "ci"))
    home = tempfile.TemporaryDirectory(prefix="taximeter-tests-")
    config.add_cleanup(home.cleanup)
    for name in ("TAXIMETER_STORE", "TAXIMETER_CACHE", "TAXIMETER_RATE_CARDS"):
        os.environ.pop(name, None)
    for kind in ("DATA", "CACHE", "CONFIG", "STATE"):
        os.environ[f"XDG_{kind}_HOME"] = str(Path(home.name, kind.lower()))


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the working copy that the tests lie in."""
    return ROOT


@pytest.fixture(scope="session")
def own_files() -> Callable[[], Iterator[Path]]:
    """Every file of the repository, less what a build, a run or an editor leaves behind."""
    left_behind = {
        ".git",
        "venv",
        "build",
        "dist",
        ".hypothesis",
        "htmlcov",
        "__pycache__",
        ".idea",
        ".vscode",
    }

    def walk() -> Iterator[Path]:
        for folder, folders, names in os.walk(ROOT):
            kept = (name for name in folders if name not in left_behind and not name.endswith("_cache"))
            folders[:] = [name for name in kept if not name.startswith(".venv")]
            yield from (Path(folder, name) for name in names if name != "uv.lock")

    return walk
