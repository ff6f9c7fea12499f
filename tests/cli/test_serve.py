"""``taximeter serve``: it starts, says what it serves, meters, reloads, and ends."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner

from taximeter.cli.serve import serve
from taximeter.errors import ConfigError
from taximeter.simulator import Simulator
from taximeter.store import open_store

if sys.platform == "win32":
    pytest.skip("workers are forked", allow_module_level=True)

PROVIDER_KEY = "sk-real-provider-key-1"


def _command(words: list[str], code: str, **environment: str) -> tuple[list[str], dict[str, str]]:
    inherited = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    return [sys.executable, "-c", code, *words], {**inherited, **environment}


@contextmanager
def serving(folder: Path, config: str, *words: str) -> Generator[tuple[Any, subprocess.Popen[str]]]:
    """The command in a process of its own; what it says when it serves."""
    file = folder / "taximeter.toml"
    file.write_text(config)
    command, environment = _command(
        ["--config", str(file), "--port", "0", "--workers", "1", "--json", *words],
        "from taximeter.cli.serve import serve; serve()",
        TAXIMETER_STORE=str(folder / "store.sqlite3"),
        OPENAI_API_KEY=PROVIDER_KEY,
    )
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, process.stderr.read() if process.stderr else ""
            yield json.loads(line), process
        finally:
            process.terminate()
            process.communicate(timeout=20)


def ask(url: str, path: str, key: str | None, body: Any = None) -> tuple[int, dict[str, str], Any]:
    """One call; its status, headers and JSON."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    headers = {"content-type": "application/json"} | ({} if key is None else {"authorization": f"Bearer {key}"})
    try:
        connection.request("GET" if body is None else "POST", path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, json.loads(answer.read())
    finally:
        connection.close()


def _make_key(folder: Path) -> str:
    command, environment = _command(
        ["create", "a", "--project", "shop"],
        "from taximeter.cli.key import key; key()",
        TAXIMETER_STORE=str(folder / "store.sqlite3"),
    )
    made = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=True)
    return made.stdout.strip()


CALL = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hi"}]}


def test_a_call_is_metered_from_key_to_store(tmp_path: Path) -> None:
    """A virtual key opens it, the answer tells its cost, a reload and a stop lose nothing, the store has it all."""
    key = _make_key(tmp_path)
    with Simulator() as provider:
        config = f'[upstreams.openai]\nbase_url = "{provider.url("openai")}"\n'
        with serving(tmp_path, config) as (started, process):
            url = started["url"]
            assert started["base_urls"]["openai"] == f"{url}/v1"
            assert (started["auth"], started["keys"], started["workers"]) == ("keys", 1, 1)
            assert "openai" in started["upstreams"]
            assert started["inactive"]["groq"] == "no key: set GROQ_API_KEY"
            assert ask(url, "/healthz", None)[2] == {"status": "ok"}
            assert ask(url, "/v1/chat/completions", "sk-mine", CALL)[0] == 401
            status, headers, body = ask(url, "/v1/chat/completions", key, CALL)
            assert status == 200
            assert body["usage"]["cost_usd"] == headers["x-taximeter-cost-usd"]
            process.send_signal(signal.SIGHUP)
            assert ask(url, "/v1/chat/completions", key, CALL)[0] == 200
        assert process.returncode == 0
    with open_store(str(tmp_path / "store.sqlite3")) as store:
        events = list(store.events())
    assert [event.scope.project for event in events] == ["shop", "shop"]
    assert headers["x-taximeter-call-id"] in {event.id for event in events}


def test_no_key_is_asked_for_on_loopback_alone(tmp_path: Path) -> None:
    """``--no-auth`` serves whoever is on this machine, and is refused elsewhere before anything listens."""
    with Simulator() as provider:
        config = f'[upstreams.openai]\nbase_url = "{provider.url("openai")}"\n'
        with serving(tmp_path, config, "--no-auth") as (started, _):
            assert (started["auth"], started["keys"]) == ("none", None)
            assert ask(started["url"], "/v1/chat/completions", None, CALL)[0] == 200
    refused = CliRunner().invoke(serve, ["--no-auth", "--host", "0.0.0.0"])  # noqa: S104 - what is refused
    assert isinstance(refused.exception, ConfigError)
    assert "lets whoever reaches 0.0.0.0 spend" in str(refused.exception)


def test_a_person_is_told_where_to_point_an_sdk(tmp_path: Path) -> None:
    """In words: the address, the upstreams, what others lack, that there is no key yet; but no provider's key."""
    command, environment = _command(
        ["--port", "0", "--workers", "1"],
        "from taximeter.cli.serve import serve; serve()",
        TAXIMETER_STORE=str(tmp_path / "store.sqlite3"),
        OPENAI_API_KEY=PROVIDER_KEY,
    )
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    ) as process:
        assert process.stdout is not None
        said = ""
        while "Ctrl-C" not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        process.terminate()
        rest = "".join(process.communicate(timeout=20))
    assert process.returncode == 0
    assert "OPENAI_BASE_URL=http://127.0.0.1:" in said
    assert "without: groq: no key: set GROQ_API_KEY" in said
    assert "There is no key yet: taximeter key create NAME" in said
    assert PROVIDER_KEY not in said + rest


def test_an_address_in_use_is_told(tmp_path: Path) -> None:
    """Exit code 1, and where it could not listen."""
    with Simulator() as taken:
        port = urlsplit(taken.base_url).port
        environment = {"TAXIMETER_STORE": str(tmp_path / "store.sqlite3")}
        result = CliRunner(env=environment).invoke(serve, ["--port", str(port)])
    assert result.exit_code == 1
    assert f"cannot listen on 127.0.0.1, port {port}: Address already in use" in result.stderr


def test_without_its_libraries(tmp_path: Path) -> None:
    """Who installed no extra is told which one it takes, in a sentence."""
    lines = "import sys; sys.modules['httptools'] = None; sys.argv = ['taximeter', 'serve', '--no-auth']"
    command = [sys.executable, "-c", f"{lines}; from taximeter.cli import main; main()"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "pip install 'taximeter[gateway]'" in done.stderr
    assert "Traceback" not in done.stderr
