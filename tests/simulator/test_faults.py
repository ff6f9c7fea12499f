"""Every fault that can be asked for, alone and together, and what the books say of it."""

from __future__ import annotations

import json
import socket
import time
from http.client import BadStatusLine, HTTPConnection, RemoteDisconnected
from pathlib import Path

import pytest

from taximeter.simulator import WORDS, Simulator
from taximeter.usage import Usage
from tests.simulator.asking import CHAT, REQUESTS, ask, body_of, read, reading, send

STREAMS = [name for name, asked in REQUESTS.items() if asked.streams]
PATH = "/openai/v1/chat/completions"


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503, 529])
@pytest.mark.parametrize(
    "name", ["openai chat", "anthropic", "gemini", "converse", "cohere v2", "ollama chat", "cloudflare", "huggingface"]
)
def test_status(simulator: Simulator, name: str, status: int) -> None:
    """An HTTP status comes with an error in the format's own shape, and no usage."""
    got = ask(simulator, name, stream=True, knobs=f"status={status}")
    found = read(got, REQUESTS[name], stream=True)
    assert got.status == status
    assert found.error is not None
    assert found.error.message is not None
    assert f"the simulator was asked for a {status}" in found.error.message
    assert found.usage is None
    (served,) = simulator.served
    assert (served.status, served.outcome, served.usage, served.planned) == (status, "failed", None, None)


def test_retry_after(simulator: Simulator) -> None:
    """Who is to come back later is told when."""
    assert ("retry-after", "1") in ask(simulator, "openai chat", knobs="429").headers
    assert ("retry-after", "30") in ask(simulator, "openai chat", knobs="503, retry-after=30").headers
    assert "retry-after" not in dict(ask(simulator, "openai chat", knobs="500").headers)


def test_fail_then_succeed(simulator: Simulator) -> None:
    """`times=2` fails twice, then answers; another request has attempts of its own."""
    assert [ask(simulator, "openai chat", knobs="429, times=2").status for _ in range(4)] == [429, 429, 200, 200]
    assert ask(simulator, "anthropic", knobs="429, times=2").status == 429
    assert [ask(simulator, "openai chat", stream=True, knobs="drop=2, times=1").cut for _ in range(2)] == [True, False]


@pytest.mark.parametrize("name", STREAMS)
def test_drop(simulator: Simulator, name: str) -> None:
    """The connection closes after so many chunks: nothing is complete, and no final usage was stated."""
    got = ask(simulator, name, stream=True, knobs="drop=1")
    found = read(got, REQUESTS[name], stream=True)
    assert got.cut
    assert found.complete is False
    assert found.usage_source in ("unknown", "estimated")
    (served,) = simulator.served
    assert (served.outcome, served.chunks, served.usage) == ("cut", 1, None)
    assert served.body_bytes == len(got.body)
    assert served.planned


def test_drop_of_a_whole_body(simulator: Simulator) -> None:
    """Of a body that is no stream 64 bytes count as a chunk."""
    got = ask(simulator, "openai chat", knobs="drop=2")
    assert (got.cut, len(got.body)) == (True, 128)
    assert simulator.served[0].usage is None


def test_drop_after_the_usage(simulator: Simulator) -> None:
    """A stream that is cut behind its usage has stated it; the books and the reader agree."""
    chunks = ask(simulator, "openai chat", stream=True).body.count(b"data: ")
    found = reading(simulator, "openai chat", stream=True, knobs=f"drop={chunks - 1}")
    stated = simulator.served[1].usage
    assert stated
    assert found.usage == Usage(**stated)
    assert (found.usage_source, found.complete, simulator.served[1].outcome) == ("reported", False, "cut")


@pytest.mark.parametrize("name", STREAMS)
def test_error_event(simulator: Simulator, name: str) -> None:
    """The error comes within an HTTP 200, in a shape that the format's reader knows."""
    found = reading(simulator, name, stream=True, knobs="error-event=1")
    assert found.error is not None
    assert found.error.message == "the simulator was asked to fail here"
    assert found.usage_source != "reported" or found.usage is None
    (served,) = simulator.served
    assert (served.status, served.outcome, served.usage) == (200, "error_event", None)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ["openai chat", "anthropic", "gemini", "gemini array", "converse", "ollama chat"])
def test_garbage(simulator: Simulator, name: str, *, stream: bool) -> None:
    """Bytes that mean nothing break no reader, and nothing was stated."""
    got = ask(simulator, name, stream=stream, knobs="garbage=2")
    found = read(got, REQUESTS[name], stream=stream)
    assert found.usage_source != "reported"
    assert not got.cut
    assert simulator.served[0].outcome == "garbage"
    assert simulator.served[0].usage is None


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
@pytest.mark.parametrize("stream", [False, True])
def test_encodings(simulator: Simulator, encoding: str, *, stream: bool) -> None:
    """An encoded body says so, is read all the same, and each chunk of a stream can be decoded when it comes."""
    got = ask(simulator, "openai chat", stream=stream, knobs=encoding)
    assert ("content-encoding", encoding) in got.headers
    assert b"gpt-5-mini" not in got.body
    plain = reading(simulator, "openai chat", stream=stream)
    assert read(got, REQUESTS["openai chat"], stream=stream) == plain
    if stream:
        cut = ask(simulator, "openai chat", stream=True, knobs=f"{encoding}, drop=4")
        found = read(cut, REQUESTS["openai chat"], stream=True)
        assert 0 < found.text_bytes < plain.text_bytes


@pytest.mark.parametrize("name", ["openai chat", "anthropic", "gemini array", "converse"])
def test_bytewise(simulator: Simulator, name: str) -> None:
    """Written byte by byte, an answer is the same answer."""
    found = ask(simulator, name, stream=True, knobs="bytewise, output=12, reasoning=0")
    assert found.body == ask(simulator, name, stream=True, knobs="output=12, reasoning=0").body
    assert [call.outcome for call in simulator.served] == ["completed", "completed"]


def test_bytewise_is_one_byte_a_chunk(simulator: Simulator) -> None:
    """Each byte is an HTTP chunk of its own."""
    raw = _raw(simulator, {**CHAT, "stream": True}, "x-simulate: bytewise, output=3\r\n")
    body = raw.partition(b"\r\n\r\n")[2]
    assert set(body.split(b"\r\n")[0:200:2]) == {b"1"}


def test_slow_and_stalled(simulator: Simulator) -> None:
    """`slow` waits before the head, `stall` before each further chunk."""
    begun = time.monotonic()
    ask(simulator, "openai chat", knobs="slow=60")
    assert time.monotonic() - begun >= 0.06
    begun = time.monotonic()
    chunks = ask(simulator, "openai chat", stream=True, knobs="stall=15, output=4").body.count(b"data: ")
    assert time.monotonic() - begun >= 0.015 * (chunks - 1)


@pytest.mark.parametrize(("knobs", "chunks"), [("stall=forever", 1), ("hang=3", 3)])
def test_a_client_that_tires_of_waiting(simulator: Simulator, knobs: str, chunks: int) -> None:
    """Nothing more ever comes; when the client leaves, the call is booked as left, without usage."""
    path, body, kind = body_of(REQUESTS["openai chat"], stream=True)
    connection = HTTPConnection("127.0.0.1", simulator.port, timeout=0.3)
    connection.request("POST", path, body, {"content-type": kind, "x-simulate": knobs})
    answer = connection.getresponse()
    with pytest.raises(TimeoutError):
        answer.read()
    assert simulator.served == ()
    answer.close()
    connection.close()
    (served,) = simulator.wait_served(1)
    assert (served.outcome, served.chunks, served.usage) == ("left", chunks, None)


def test_a_client_that_leaves_early(simulator: Simulator) -> None:
    """A stream whose reader goes away ends there, and the books say how far it came."""
    path, body, kind = body_of(REQUESTS["anthropic"], stream=True)
    connection = HTTPConnection("127.0.0.1", simulator.port, timeout=5)
    connection.request("POST", path, body, {"content-type": kind, "x-simulate": "stall=20"})
    answer = connection.getresponse()
    answer.read(400)
    answer.close()
    connection.close()
    (served,) = simulator.wait_served(1)
    assert (served.outcome, served.usage) == ("left", None)
    assert served.planned


def test_no_head(simulator: Simulator) -> None:
    """The connection closes before a word of the answer."""
    with pytest.raises((RemoteDisconnected, ConnectionResetError, BadStatusLine)):
        ask(simulator, "openai chat", knobs="no-head")
    (served,) = simulator.served
    assert (served.status, served.outcome, served.usage, served.body_bytes) == (0, "cut", None, 0)


def test_wrong_length(simulator: Simulator) -> None:
    """Too long a content-length leaves the client waiting, too short a one cuts the body."""
    honest = ask(simulator, "openai chat").body
    long = ask(simulator, "openai chat", knobs="wrong-length=5")
    assert (long.cut, long.body) == (True, honest)
    short = ask(simulator, "openai chat", knobs="wrong-length=-5")
    assert (short.cut, short.body) == (False, honest[:-5])
    assert [call.outcome for call in simulator.served] == ["completed", "cut", "cut"]


def test_refused_stream_options(simulator: Simulator) -> None:
    """422 to those who send stream_options, an answer to the others."""
    assert ask(simulator, "openai chat", stream=True, knobs="refuse-stream-options").status == 422
    assert ask(simulator, "unasked chat", stream=True, knobs="refuse-stream-options").status == 200


def test_faults_together(simulator: Simulator) -> None:
    """Slow, encoded, byte by byte, and then an error event: all at once."""
    knobs = "slow=20, gzip, bytewise, error-event=3, output=8"
    got = ask(simulator, "anthropic", stream=True, knobs=knobs)
    found = read(got, REQUESTS["anthropic"], stream=True)
    assert found.error is not None
    assert found.error.type == "overloaded_error"
    assert simulator.served[0].knobs == knobs


@pytest.mark.parametrize(
    ("name", "member"), [("openai chat", "gpt-5-mini+429"), ("anthropic", "claude-haiku-4-5+500+retry-after=2")]
)
def test_behind_the_model(simulator: Simulator, name: str, member: str) -> None:
    """Knobs may stand behind the model's name, which is booked without them."""
    assert ask(simulator, name, model=member).status in (429, 500)
    assert simulator.served[0].model == member.partition("+")[0]
    assert simulator.served[0].knobs == member.partition("+")[2]


def test_behind_the_model_in_a_path(simulator: Simulator) -> None:
    """The same where the path names the model, its signs escaped or not."""
    body = {"contents": [{"parts": [{"text": "Hi"}]}]}
    for name in ("gemini-2.5-flash+429", "gemini-2.5-flash%2B429"):
        assert send(simulator, f"/google/v1beta/models/{name}:generateContent", body).status == 429
    assert {call.model for call in simulator.served} == {"gemini-2.5-flash"}


def test_a_plus_may_belong_to_the_name(simulator: Simulator) -> None:
    """What is made of no known words is the model's own name."""
    for model in ("command-r+", "own+flavour"):
        assert json.loads(ask(simulator, "openai chat", model=model).body)["model"] == model


@pytest.mark.parametrize("knobs", ["dorp=3", "drop", "drop=-1", "status=200", "usage=never", "gzip=1", "stall=soon"])
def test_words_that_mean_nothing(simulator: Simulator, knobs: str) -> None:
    """A word that the simulator does not know is a 400 that lists those there are, never a fault that does not come."""
    got = ask(simulator, "openai chat", knobs=knobs)
    assert got.status == 400
    assert "x-simulate" in json.loads(got.body)["error"]["message"]


def test_every_word_is_documented(repository: Path) -> None:
    """Each word is in the README of the simulator."""
    readme = (repository / "src" / "taximeter" / "simulator" / "README.md").read_text()
    assert [word.name for word in WORDS if f"`{word.name}`" not in readme] == []


def _raw(simulator: Simulator, body: object, headers: str) -> bytes:
    """Sends a request by hand; everything that comes until the connection closes."""
    data = json.dumps(body).encode()
    head = f"POST {PATH} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len(data)}\r\n{headers}\r\n"
    with socket.create_connection(("127.0.0.1", simulator.port), timeout=5) as connection:
        connection.sendall(head.encode() + data)
        return b"".join(iter(lambda: connection.recv(65_536), b""))
