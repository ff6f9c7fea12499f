"""HTTP itself: connections that are kept, many at once, old clients, broken ones, and TLS."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPSConnection

import pytest

from taximeter.errors import ConfigError
from taximeter.simulator import Simulator
from taximeter.testing import running_simulator
from taximeter.usage import Usage
from tests.simulator.asking import CHAT, REQUESTS, ask, body_of, read, send

BODY = json.dumps(CHAT).encode()
PATH = "/openai/v1/chat/completions"


def _post(body: bytes, *headers: str, version: str = "1.1") -> bytes:
    lines = [f"POST {PATH} HTTP/{version}", "host: x", f"content-length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _exchange(simulator: Simulator, data: bytes, *, end: bool = True) -> bytes:
    """Sends bytes, and takes what comes until the connection closes."""
    with socket.create_connection(("127.0.0.1", simulator.port), timeout=5) as connection:
        connection.sendall(data)
        if end:
            connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


def test_a_connection_is_kept(simulator: Simulator) -> None:
    """Whole and streamed answers follow each other on one connection, errors too."""
    connection = HTTPConnection("127.0.0.1", simulator.port, timeout=5)
    connection.connect()
    first = connection.sock
    for name, stream, knobs in (("openai chat", True, ""), ("anthropic", False, "429"), ("converse", True, "gzip")):
        path, body, kind = body_of(REQUESTS[name], stream=stream)
        got = send(simulator, path, body, kind=kind, knobs=knobs, connection=connection)
        assert got.status in (200, 429)
        assert connection.sock is first
    connection.close()
    assert [call.outcome for call in simulator.served] == ["completed", "failed", "completed"]


def test_requests_sent_ahead(simulator: Simulator) -> None:
    """Two requests in one packet have two answers, in order."""
    last = _post(BODY, "x-simulate: 500", "connection: close")
    data = _exchange(simulator, _post(BODY) + last, end=False)
    assert data.count(b"HTTP/1.1 200 OK") == 1
    assert data.index(b"HTTP/1.1 200 OK") < data.index(b"HTTP/1.1 500 Internal Server Error")


def test_an_old_client(simulator: Simulator) -> None:
    """HTTP/1.0 gets a stream that is ended by closing the connection."""
    body = json.dumps({**CHAT, "stream": True}).encode()
    data = _exchange(simulator, _post(body, version="1.0"), end=False)
    assert b"transfer-encoding" not in data.lower()
    assert data.endswith(b"data: [DONE]\n\n")


def test_a_client_that_waits_to_continue(simulator: Simulator) -> None:
    """Who expects a 100 before the body gets it."""
    head = _post(b"", "expect: 100-continue", "connection: close").replace(b"length: 0", b"length: %d" % len(BODY))
    with socket.create_connection(("127.0.0.1", simulator.port), timeout=5) as connection:
        connection.sendall(head)
        assert connection.recv(1_000).startswith(b"HTTP/1.1 100 ")
        connection.sendall(BODY)
        assert b"HTTP/1.1 200 OK" in b"".join(iter(lambda: connection.recv(65_536), b""))


@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01 not http\r\n\r\n", b"GET / HTTP/1.1\r\nhost\r\n\r\n", b"POST / HTTP/9\r\n\r\n"]
)
def test_what_is_no_http(simulator: Simulator, data: bytes) -> None:
    """It is refused, and the simulator lives on."""
    assert _exchange(simulator, data).startswith(b"HTTP/1.1 400 ")
    assert ask(simulator, "openai chat").status == 200


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b"[" * 100_000, b""])
def test_bodies_that_are_no_request(simulator: Simulator, body: bytes) -> None:
    """What is no JSON is a 400; an empty body asks an empty question."""
    assert send(simulator, PATH, body).status == (400 if body else 200)


@pytest.mark.parametrize(
    "body",
    [
        {"messages": 7},
        {"messages": [None, 3, {"content": {"x": [1]}}], "tools": "x", "n": -1, "model": 3},
        {"stream_options": [], "stream": True, "max_tokens": "x"},
    ],
)
@pytest.mark.parametrize("name", REQUESTS)
def test_bodies_of_the_wrong_shape(simulator: Simulator, name: str, body: dict[str, object]) -> None:
    """Members of any type are taken for what they can be: the simulator does not fall over."""
    asked = REQUESTS[name]
    odd = {
        key: body.get("messages")
        for key in (
            "contents",
            "input",
            "prompt",
            "system",
            "texts",
            "documents",
            "instances",
            "generationConfig",
            "toolConfig",
            "thinking",
            "inferenceConfig",
        )
    }
    assert send(simulator, asked.path, {**odd, **body}).status in (200, 400)


def test_many_streams_at_once(simulator: Simulator) -> None:
    """Two hundred streams in step: each is read whole, and the sums of both sides agree."""
    together = threading.Barrier(25)

    def stream(number: int) -> Usage:
        together.wait(10)
        found = Usage()
        for turn in range(8):
            knobs = f"stall=1, seed={number * 8 + turn}"
            got = ask(simulator, "openai chat", stream=True, knobs=knobs)
            usage = read(got, REQUESTS["openai chat"], stream=True).usage
            assert usage is not None
            found += usage
        return found

    with ThreadPoolExecutor(25) as pool:
        total = Usage.total(pool.map(stream, range(25)))
    totals = simulator.totals()
    assert (totals.calls, totals.outcomes) == (200, {"completed": 200})
    assert total == Usage(**totals.usage)
    assert totals.by_model == {"openai.chat gpt-5-mini": totals.usage}


def test_tls() -> None:
    """With TLS a client that trusts the simulator's certificate gets its answer."""
    with running_simulator(tls=True) as simulator:
        assert simulator.base_url.startswith("https://")
        assert simulator.ca_file is not None
        context = ssl.create_default_context(cafile=str(simulator.ca_file))
        connection = HTTPSConnection("127.0.0.1", simulator.port, context=context, timeout=5)
        path, body, kind = body_of(REQUESTS["converse"], stream=True)
        got = send(simulator, path, body, kind=kind, connection=connection)
        connection.close()
        stated = simulator.served[0].usage
        assert stated
        assert read(got, REQUESTS["converse"], stream=True).usage == Usage(**stated)
        folder = simulator.ca_file.parent
    assert not folder.exists()


def test_tls_without_means(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is nothing to make a certificate with, what is missing is named."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("taximeter.simulator.tls.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="trustme, or the program openssl"):
        Simulator(tls=True).start()
