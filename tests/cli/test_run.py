"""``taximeter run``: a program that knows nothing of it is metered, and is otherwise left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from taximeter.cli.run import START_UP
from taximeter.store import open_store
from taximeter.testing import Simulator, running_simulator
from tests.cli.conftest import COMMAND

Start = Callable[..., "subprocess.Popen[str]"]

APP = """
import sys
import httpx2
asked = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "Hello"}], "stream": True,
         "stream_options": {"include_usage": True}}
with httpx2.stream("POST", sys.argv[1] + "/chat/completions", json=asked) as response:
    print(len(response.read()), sys.argv[2:])
"""


@pytest.fixture
def provider() -> Iterator[Simulator]:
    """A provider for the program to call."""
    with running_simulator() as running:
        yield running


@pytest.fixture
def start(store_url: str, tmp_path: Path) -> Start:
    """Starts ``taximeter run`` in a process of its own."""

    def run(*arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*COMMAND, "run", *arguments],
            env={**os.environ, "TAXIMETER_STORE": store_url, **environment},
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return run


@pytest.fixture
def app(tmp_path: Path) -> str:
    """A program that makes one call."""
    (tmp_path / "app.py").write_text(APP)
    return "app.py"


def finished(running: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, output, errors."""
    with running:
        said, complained = running.communicate(timeout=60)
    return running.returncode, said, complained


@pytest.mark.parametrize("how", ["python", "file"])
def test_an_unmodified_program_is_metered(
    how: str, start: Start, app: str, provider: Simulator, store_url: str
) -> None:
    """Its call is in the store when it has ended, and equals what the provider has in its books."""
    before = ["--", sys.executable, app] if how == "python" else [app]
    code, said, complained = finished(start(*before, provider.url("openai"), "--help", "-x"))
    assert (code, complained) == (0, "")
    assert said.endswith("['--help', '-x']\n")
    with open_store(store_url) as store:
        (event,) = store.events()
    (served,) = provider.served
    assert served.usage is not None
    assert event.usage is not None
    assert (event.outcome, event.stream, event.provider) == ("completed", True, "openai")
    assert event.usage.output_tokens == served.usage["output_tokens"]


def test_programs_that_it_starts_are_metered(start: Start, app: str, provider: Simulator, store_url: str) -> None:
    """A Python that the program starts is metered too."""
    code = f"import subprocess, sys; subprocess.run([sys.executable, {app!r}, {provider.url('openai')!r}], check=True)"
    assert finished(start("--", sys.executable, "-c", code))[0] == 0
    with open_store(store_url) as store:
        assert len(list(store.events())) == 1


@pytest.mark.parametrize("code", [0, 1, 77])
def test_the_exit_code_is_the_programs(code: int, start: Start) -> None:
    """It passes through, and so does what the program writes."""
    done = finished(start("--", sys.executable, "-c", f"print('out'); raise SystemExit({code})"))
    assert done == (code, "out\n", "")


def test_signals_reach_the_program(start: Start) -> None:
    """What is sent to the command is sent to the program, which may handle it, or die of it."""
    handled = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(42))\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)"
    )
    for code, number, expected in ((handled, signal.SIGTERM, 42), (handled, signal.SIGKILL, -signal.SIGKILL)):
        running = start("--", sys.executable, "-c", code)
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        running.send_signal(number)
        assert finished(running)[0] == expected


def test_a_sitecustomize_of_the_users_own_runs(start: Start, tmp_path: Path) -> None:
    """Ours steps aside for the next on the path, and leaves no folder of its own there."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "sitecustomize.py").write_text("MARK = 'own'\n")
    code = "import sys, sitecustomize, taximeter; print(sitecustomize.MARK, [p for p in sys.path if 'startup' in p])"
    own = os.pathsep.join(filter(None, [str(tmp_path / "own"), os.environ.get("PYTHONPATH")]))
    done = finished(start("--", sys.executable, "-c", code, PYTHONPATH=own))
    assert done == (0, "own []\n", "")


def test_a_failure_of_the_users_own_is_shown_as_ever(start: Start, tmp_path: Path) -> None:
    """What a `sitecustomize` of the user's raises is reported as Python does it, and the program runs."""
    (tmp_path / "sitecustomize.py").write_text("import no_such_thing\n")
    own = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    code, said, complained = finished(start("--", sys.executable, "-c", "print('on')", PYTHONPATH=own))
    assert (code, said) == (0, "on\n")
    assert "no_such_thing" in complained


def test_a_python_without_taximeter_says_so(tmp_path: Path) -> None:
    """It is not metered, which is said in a line, and runs as it would have."""
    command = [sys.executable, "-S", "-c", "import sitecustomize; print('on')"]
    environment = {**os.environ, "PYTHONPATH": str(START_UP)}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "on\n")
    assert "is not metered: No module named 'taximeter'" in done.stderr


@pytest.mark.parametrize(("program", "code"), [("no-such-program", 127), ("./plain.txt", 126)])
def test_what_cannot_be_run(program: str, code: int, start: Start, tmp_path: Path) -> None:
    """A sentence, and the exit codes that shells have for it."""
    (tmp_path / "plain.txt").write_text("no program")
    (tmp_path / "plain.txt").chmod(0o755)
    found, _, complained = finished(start("--", program))
    assert found == code
    assert complained.startswith("taximeter: ")
    assert "Traceback" not in complained
