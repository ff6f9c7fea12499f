"""`taximeter simulate`, as a user starts it: in a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager

import pytest
from click.testing import CliRunner

from taximeter.cli import cli
from taximeter.simulator import WORDS

COMMAND = [sys.executable, "-u", "-c", "from taximeter.cli import main; main()", "simulate", "--port", "0"]
BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hello"}]}).encode()


@contextmanager
def _running(*options: str) -> Generator[subprocess.Popen[str]]:
    with subprocess.Popen([*COMMAND, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _ask(url: str) -> None:
    urllib.request.urlopen(url + "/chat/completions", BODY).read()  # noqa: S310 - the URL is that of our child


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_json(by: signal.Signals) -> None:
    """The first line says where it listens, each further one is a call; a signal ends it well."""
    with _running("--json") as process:
        started = json.loads(_line(process))
        _ask(started["urls"]["openai"])
        call = json.loads(_line(process))
        assert (call["api"], call["usage"]["input_tokens"], call["outcome"]) == ("openai.chat", 5, "completed")
        process.send_signal(by)
        _, errors = process.communicate(timeout=20)
        assert (process.returncode, errors) == (0, "")


def test_for_people() -> None:
    """Without --json there are base URLs to copy, a line a call, and a count at the end."""
    with _running() as process:
        _line(process)
        name, url = _line(process).split()
        assert name == "openai"
        while "Ctrl-C" not in _line(process):
            pass
        _ask(url)
        assert "openai.chat" in _line(process)
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=20)
        assert (out, errors, process.returncode) == ("1 calls served\n", "", 0)


def test_help_lists_every_knob() -> None:
    """`--help` has each word with its meaning."""
    shown = CliRunner(env={"COLUMNS": "200"}).invoke(cli, ["simulate", "--help"], prog_name="taximeter").stdout
    assert [word.name for word in WORDS if word.name not in shown] == []


def test_a_taken_port_is_a_sentence(simulator: object) -> None:
    """What cannot be listened on is said in one line, exit code 1."""
    port = str(getattr(simulator, "port", 0))
    done = CliRunner().invoke(cli, ["simulate", "--port", port], prog_name="taximeter")
    assert done.exit_code == 1
    assert f"taximeter: cannot listen on 127.0.0.1:{port}" in done.output
