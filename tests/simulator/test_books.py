"""What was served: the books, in the process and over HTTP, and the simulator's own life."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from taximeter.errors import ConfigError, TaximeterError
from taximeter.simulator import MOUNTS, Served, Simulator
from taximeter.testing import running_simulator
from taximeter.wire import recognise
from tests.simulator.asking import ask, send


def test_books_over_http(simulator: Simulator) -> None:
    """`GET /_simulator/served` is what `served` is; `after` pages; DELETE forgets."""
    for name in ("openai chat", "anthropic", "converse"):
        ask(simulator, name)
    told = json.loads(send(simulator, "/_simulator/served", None, method="GET").body)
    assert [call["api"] for call in told] == [call.api for call in simulator.served]
    assert [call["usage"] for call in told] == [call.usage for call in simulator.served]
    assert [call["number"] for call in told] == [1, 2, 3]
    later = json.loads(send(simulator, "/_simulator/served?after=2", None, method="GET").body)
    assert later == told[2:]
    totals = json.loads(send(simulator, "/_simulator/totals", None, method="GET").body)
    assert totals["calls"] == 3
    assert totals["usage"]["input_tokens"] == sum(call["usage"]["input_tokens"] for call in told)
    assert send(simulator, "/_simulator/served", None, method="DELETE").status == 200
    assert (simulator.served, simulator.totals().calls) == ((), 0)
    assert send(simulator, "/_simulator/nothing", None, method="GET").status == 404


def test_books_are_bounded_and_sums_are_not() -> None:
    """Only the latest calls are kept; the totals count all."""
    with Simulator(keep=2) as simulator:
        for _ in range(3):
            ask(simulator, "openai chat")
        assert [call.number for call in simulator.served] == [2, 3]
        assert simulator.totals().usage["input_tokens"] == 3 * 7


def test_each_call_is_told() -> None:
    """`on_served` hears of each call, before its client has the end of the answer."""
    heard: list[Served] = []
    with Simulator(on_served=heard.append) as simulator:
        ask(simulator, "openai chat")
        assert tuple(heard) == simulator.served


def test_waiting_ends(simulator: Simulator) -> None:
    """Waiting for calls that do not come is bounded, and says what came."""
    with pytest.raises(TaximeterError, match=r"0 calls have ended within 0\.01 s, not 1"):
        simulator.wait_served(1, timeout=0.01)


@pytest.mark.parametrize("name", MOUNTS)
def test_urls(name: str) -> None:
    """Each base URL names its provider to whoever reads the path."""
    simulator = Simulator(port=1)
    path = {
        "anthropic": "/v1/messages",
        "google": "/v1beta/models/g:generateContent",
        "vertex": "/v1/models/g:generateContent",
    }
    path |= {
        "bedrock": "/model/m/converse",
        "cohere": "/v2/chat",
        "ollama": "/api/chat",
        "groq": "/openai/v1/chat/completions",
    }
    path |= {"mistral": "/v1/chat/completions", "huggingface": "/models/m/v1/chat/completions", "cloudflare": "/@cf/m"}
    rest = simulator.url(name).removeprefix("http://127.0.0.1:1") + path.get(name, "/chat/completions")
    route = recognise("POST", "127.0.0.1:1", rest)
    assert route is not None
    assert route.provider == name


def test_urls_by_format() -> None:
    """A wire format's name will do, and a name that is none is refused."""
    simulator = Simulator(port=1)
    assert simulator.url("anthropic.messages") == simulator.url("anthropic")
    assert simulator.url("gemini.generate") == simulator.url("google")
    with pytest.raises(ConfigError, match="'nobody'"):
        simulator.url("nobody")


def test_two_at_once(simulator: Simulator) -> None:
    """Each has a port, books and a cache of its own."""
    with running_simulator() as other:
        assert other.port != simulator.port
        ask(other, "openai chat")
        assert (len(other.served), len(simulator.served)) == (1, 0)


def test_a_taken_port(simulator: Simulator) -> None:
    """A port that is in use is named in the error, and nothing is left behind."""
    before = threading.active_count()
    with pytest.raises(ConfigError, match=str(simulator.port)):
        Simulator(port=simulator.port).start()
    assert threading.active_count() == before


def test_stop_ends_open_calls() -> None:
    """Stopping closes what is still open; the thread ends, the port is free, and stopping again does nothing."""
    simulator = Simulator().start()
    with socket.create_connection(("127.0.0.1", simulator.port), timeout=5) as connection:
        body = b'{"model": "m+hang=1", "messages": [], "stream": true}'
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
        connection.sendall(head % len(body) + body)
        assert connection.recv(10)
        simulator.stop()
        simulator.stop()
        assert [call.outcome for call in simulator.served] == ["cut"]
    assert not [thread for thread in threading.enumerate() if thread.name == "taximeter-simulator"]
    with pytest.raises(ConfigError, match="started already"):
        simulator.start()


def test_the_fixture_in_a_users_own_tests(tmp_path: Path) -> None:
    """`from taximeter.testing import simulator` in a conftest.py is all that it takes."""
    (tmp_path / "conftest.py").write_text("from taximeter.testing import simulator\n")
    (tmp_path / "test_it.py").write_text(
        "import json, urllib.request\n"
        "def test_it(simulator):\n"
        "    body = json.dumps({'model': 'm', 'messages': [{'role': 'user', 'content': 'Hello'}]}).encode()\n"
        "    urllib.request.urlopen(simulator.url('openai') + '/chat/completions', body).read()\n"
        "    assert simulator.served[0].usage['input_tokens'] == 5\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
