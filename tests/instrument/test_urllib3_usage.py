"""urllib3 and requests: a stream is made to state its usage, and whoever reads it sees nothing of that."""

from __future__ import annotations

import gc
import io
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from taximeter.event import CallEvent
from taximeter.instrument import endpoint
from taximeter.instrument import urllib3 as hook
from taximeter.meter import Meter, configure
from taximeter.testing import Simulator
from tests.instrument.asks import ASKING, STREAM, WHOLE, agree, packed, simulate, steady

pytestmark = pytest.mark.needs("urllib3")

Wait = Callable[[Callable[[], bool]], None]


@pytest.fixture
def requests(urllib3: Any, need: Callable[[str], None]) -> Any:
    """The package, hooked."""
    need("requests")
    package: Any = import_module("requests")

    assert urllib3
    return package


@pytest.fixture
def url(provider: Simulator, meter: Meter) -> str:
    """Where Chat Completions are, and may be asked for usage."""
    assert meter
    endpoint(provider.url("openai"), api="openai.chat", provider="openai", asks_usage=True)
    return provider.url("openai") + "/chat/completions"


def post(pool: Any, url: str, body: object = None, knobs: str = "", **options: Any) -> Any:
    """Asks for a stream, with no retries unless told otherwise."""
    sent = body if isinstance(body, str | bytes) else packed(STREAM if body is None else body)  # pyright: ignore[reportArgumentType]
    return pool.request("POST", url, body=sent, headers=simulate(knobs), **{"retries": False, **options})


def state(answer: Any) -> list[object]:
    """What an application can see of an answer besides its body."""
    return [
        (answer.status, answer.version_string, repr(type(answer))),
        (answer.closed, answer.tell(), answer.length_remaining, answer.connection),
    ]


def same(urllib3: Any, provider: Simulator, events: list[CallEvent], ask: Callable[[], list[object]]) -> list[object]:
    """Asserts that the application sees the same with the hook and without, and what it sees of it."""
    provider.forget()
    events.clear()
    hook.uninstall(urllib3)
    without = ask()
    assert b'"usage"' not in repr(without).encode()
    hook.install(urllib3)
    assert ask() == without
    assert len(events) == 1
    plain, asked = provider.wait_served(2)
    assert plain.usage is None
    assert agree(events[0], asked)
    return without


def told(events: list[CallEvent]) -> list[tuple[str, str]]:
    """How calls ended, and where their usage is from."""
    return [(event.outcome, event.usage_source) for event in events]


# ---- urllib3, however it is read


def buffered(answer: Any) -> list[bytes]:
    """Through a buffer of the application's."""
    answer.auto_close = False  # as urllib3 wants it for this
    return list(io.BufferedReader(answer, 256))


WAYS: dict[str, Callable[[Any], list[bytes]]] = {
    "stream": lambda answer: list(answer.stream()),
    "stream(7)": lambda answer: list(answer.stream(7)),
    "stream(decode_content=False)": lambda answer: list(answer.stream(decode_content=False)),
    "read_chunked": lambda answer: list(answer.read_chunked()),
    "read_chunked(100)": lambda answer: list(answer.read_chunked(100)),
    "read": lambda answer: [answer.read()],
    "read(100)": lambda answer: list(iter(lambda: answer.read(100), b"")),
    "read1": lambda answer: [b"".join(iter(answer.read1, b""))],  # how much is there at once is the network's affair
    "read1(100)": lambda answer: [b"".join(iter(lambda: answer.read1(100), b""))],
    "readinto": buffered,
    "lines": list,
    "data": lambda answer: [answer.data],
    "first, then all": lambda answer: [answer.read(50), answer.read()],
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_read(urllib3: Any, url: str, provider: Simulator, events: list[CallEvent], way: str) -> None:
    """The very pieces that come unasked come asked as well, with the same state of the answer after them."""

    def ask() -> list[object]:
        with urllib3.PoolManager() as pool:
            answer = post(pool, url, preload_content=False)
            pieces = WAYS[way](answer)
            return [steady(answer.headers.items()), *state(answer), pieces]

    pieces = same(urllib3, provider, events, ask)[-1]
    assert isinstance(pieces, list)
    assert b"".join(pieces).endswith(b"data: [DONE]\n\n")
    assert told(events) == [("completed", "reported")]


@pytest.mark.parametrize(
    "knobs", ["bytewise", "429", "500", "no-usage", "drop=1", "drop=3", "garbage=2", "error-event=2", "usage=every"]
)
@pytest.mark.parametrize("preload", [True, False])
def test_every_answer(  # noqa: PLR0913, PLR0917 - what differs, each by itself
    urllib3: Any, url: str, provider: Simulator, events: list[CallEvent], knobs: str, preload: bool,  # noqa: FBT001 - a parameter of the test
) -> None:  # fmt: skip
    """Errors, streams that break off, and what is no event: the same head, bytes and exception as unasked."""

    def ask() -> list[object]:
        with urllib3.PoolManager() as pool:
            try:
                answer = post(pool, url, None, knobs, preload_content=preload)
                pieces = [answer.data] if preload else list(answer.stream())
            except urllib3.exceptions.HTTPError as error:
                return [type(error), str(error), type(error.__cause__)]
            return [steady(answer.headers.items()), *state(answer), b"".join(pieces)]

    if knobs == "usage=every":  # the application gets what it would have got: its own usage events are none of ours
        ask()
        assert events[0].usage_source == "reported"
    else:
        same(urllib3, provider, events, ask)


@pytest.mark.parametrize("knobs", ["gzip", "br", "deflate", "zstd", "gzip, bytewise", "wrong-length=0"])
def test_what_comes_encoded_or_with_a_length(
    urllib3: Any, url: str, provider: Simulator, events: list[CallEvent], knobs: str
) -> None:
    """Encoded although we asked for nothing of the kind, it is decoded; the headers that said so go with it."""

    def ask(knobs: str, *, decode: bool = True) -> tuple[bytes, dict[str, str]]:
        with urllib3.PoolManager() as pool:
            answer = post(pool, url, None, knobs, preload_content=False)
            heads = dict(steady(answer.headers.items()))
            heads.pop("transfer-encoding", None)  # one of them has a length
            return b"".join(answer.stream(decode_content=decode)), heads

    hook.uninstall(urllib3)
    body, headers = ask("")
    hook.install(urllib3)
    for decode in (True, False):
        found, heads = ask(knobs, decode=decode)
        assert found == body
        assert heads == headers
        assert agree(events[-1], provider.wait_served(len(events) + 1)[-1])
    assert told(events) == [("completed", "reported")] * 2


# ---- how calls end


@pytest.fixture
def pool(urllib3: Any) -> Iterator[Any]:
    """A pool of connections."""
    with urllib3.PoolManager() as made:
        yield made
    gc.collect()  # a response that was left on purpose closes its socket here


def test_break_out_of_a_stream(pool: Any, url: str, events: list[CallEvent]) -> None:
    """What comes is handed on at once, and who breaks off has cancelled the call."""
    for chunk in post(pool, url, None, "stall=20", preload_content=False).stream():
        assert chunk.startswith(b"data: ")
        assert chunk.endswith(b"\n\n")
        break
    assert [event.outcome for event in events] == ["cancelled"]


def test_closed_and_drained(pool: Any, url: str, events: list[CallEvent]) -> None:
    """Closed unread it was cancelled; drained unread it was answered, and the connection serves again."""
    post(pool, url, preload_content=False).close()
    for _ in range(2):
        post(pool, url, preload_content=False).drain_conn()
    assert told(events) == [("cancelled", "unknown"), ("completed", "reported"), ("completed", "reported")]
    assert pool.connection_from_url(url).num_connections == 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # urllib3's own, of the open socket
def test_let_go_unread(pool: Any, url: str, events: list[CallEvent], eventually: Wait) -> None:
    """An answer that nobody holds any more was cancelled, whoever collects it."""
    cycle: list[Any] = [post(pool, url, preload_content=False)]
    cycle.append(cycle)
    del cycle
    eventually(lambda: bool(events))
    assert [event.outcome for event in events] == ["cancelled"]


def test_a_peer_that_falls_silent(urllib3: Any, url: str, events: list[CallEvent]) -> None:
    """A time-out within the body is the same error after the same bytes."""

    def ask() -> list[object]:
        pieces: list[bytes] = []
        with urllib3.PoolManager() as pool, pytest.raises(urllib3.exceptions.ReadTimeoutError) as raised:
            pieces.extend(post(pool, url, None, "hang=2", timeout=0.2, preload_content=False).stream())
        return [str(raised.value).partition(" at 0x")[0], pieces]

    hook.uninstall(urllib3)
    without = ask()
    hook.install(urllib3)
    assert ask() == without
    assert [event.error and (event.outcome, event.error.type) for event in events] == [
        ("interrupted", "ReadTimeoutError")
    ]


# ---- what leaves


class Other(BaseHTTPRequestHandler):
    """Notes what it was sent, and sends the client on to where the server says."""

    def do_POST(self) -> None:
        """Whatever is asked."""
        server: Any = self.server
        body = self.rfile.read(int(self.headers["content-length"]))
        server.seen.append((body, dict(self.headers.items())))
        self.send_response(307)
        self.send_header("Location", server.target)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - so it is called
        """Nothing."""


@pytest.fixture
def elsewhere(url: str) -> Iterator[Any]:
    """A server of somebody else's that sends on to the provider."""
    with HTTPServer(("127.0.0.1", 0), Other) as server:
        made: Any = server
        made.seen, made.target = [], url
        made.url = f"http://127.0.0.1:{server.server_port}/v1/chat/completions"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("declared", [True, False])
def test_redirects_are_decided_anew(pool: Any, elsewhere: Any, events: list[CallEvent], declared: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Each place is asked as it may be, with the body that the application made, and its answer is taken out of."""
    endpoint(elsewhere.url, api="openai.chat", provider="openai", asks_usage=declared)
    assert b'"usage"' not in post(pool, elsewhere.url, retries=3).data
    ((body, _),) = elsewhere.seen
    assert (b"include_usage" in body) is declared
    assert [(event.status, event.usage_source) for event in events] == [(307, "unknown"), (200, "reported")]


def test_retries_are_decided_anew(urllib3: Any, pool: Any, url: str, events: list[CallEvent]) -> None:
    """A second try leaves with the very body and headers of the first."""
    retries = urllib3.Retry(2, status_forcelist=[503], allowed_methods=None, backoff_factor=0)
    assert b'"usage"' not in post(pool, url, None, "503, retry-after=0, times=1", retries=retries).data
    assert [(event.status, event.attempt) for event in events] == [(503, 1), (200, 2)]
    assert events[1].usage_source == "reported"


@pytest.mark.parametrize("named", [{}, {"Accept-Encoding": "gzip"}, {"accept-encoding": "gzip, br"}])
def test_what_leaves(urllib3: Any, pool: Any, elsewhere: Any, named: dict[str, str]) -> None:
    """The new body's length, and `identity` for whatever was accepted; the headers of the caller stay as they are."""
    endpoint(elsewhere.url, api="openai.chat", provider="openai", asks_usage=True)
    body = packed(STREAM)
    for kind, lengths in product((dict, urllib3.HTTPHeaderDict), ({}, {"content-length": str(len(body))})):
        elsewhere.seen.clear()
        headers = kind({"x-mine": "1", **named, **lengths})
        for switch in (hook.uninstall, hook.install):
            switch(urllib3)
            pool.request("POST", elsewhere.url, body=body, headers=headers, redirect=False)
        (plain, before), (changed, after) = elsewhere.seen
        assert dict(headers) == {"x-mine": "1", **named, **lengths}
        assert plain == body
        assert changed == body.replace(b"{", b'{"stream_options":{"include_usage":true},', 1)
        expected = {"Accept-Encoding": "identity", "Content-Length": str(len(changed))}
        known = {name.lower(): value for name, value in expected.items()}
        assert after == {name: known.get(name.lower(), value) for name, value in before.items()}


def test_bodies_that_are_no_bytes_object(pool: Any, url: str, events: list[CallEvent]) -> None:
    """Text, byte arrays and views ask too; a body that is read once is not touched."""
    whole = packed(STREAM)
    for body in (whole.decode(), bytearray(whole), memoryview(whole), io.BytesIO(whole), iter([whole])):
        sent: Any = body
        answer = pool.request("POST", url, body=sent, headers=simulate(""), retries=False)
        assert b'"usage"' not in answer.data
    assert [event.usage_source for event in events] == ["reported"] * 3 + ["unknown"] * 2


def test_what_the_application_asked_for_stays(pool: Any, url: str, events: list[CallEvent]) -> None:
    """A stream that asks for its usage, one that says that it wants none, and a whole answer are left as they are."""
    assert b'"prompt_tokens"' in post(pool, url, ASKING).data
    assert b'"usage"' not in post(pool, url, STREAM | {"stream_options": {"include_usage": False}}).data
    assert b'"prompt_tokens"' in post(pool, url, WHOLE).data
    assert [event.usage_source for event in events] == ["reported", "unknown", "reported"]


def test_signed_bodies_are_not_changed(pool: Any, url: str, events: list[CallEvent]) -> None:
    """A body that headers sign leaves as it was signed."""
    pool.request("POST", url, body=packed(STREAM), headers=simulate("") | {"x-amz-content-sha256": "0" * 64})
    assert told(events) == [("completed", "unknown")]


def test_never(pool: Any, url: str, provider: Simulator, tmp_path: Path) -> None:
    """`inject_usage = never`."""
    other = configure(store=str(tmp_path / "other.sqlite3"), inject_usage="never")
    heard: list[CallEvent] = []
    other.listeners.on("call_closed", heard.append)
    assert post(pool, url, None, "refuse-stream-options").status == 200
    assert told(heard) == [("completed", "unknown")]
    assert provider.wait_served(1)[0].usage is None


def test_undeclared_hosts_are_not_asked(pool: Any, provider: Simulator, events: list[CallEvent]) -> None:
    """Where nobody said that it may be asked, the request leaves as it is."""
    assert post(pool, provider.url("openai") + "/chat/completions", None, "refuse-stream-options").status == 200
    assert told(events) == [("completed", "unknown")]


def test_who_refuses_to_be_asked(pool: Any, url: str, events: list[CallEvent]) -> None:
    """A place that was declared as one to be asked, and is none, refuses: nothing is tried a second time for us."""
    assert post(pool, url, None, "refuse-stream-options").status == 422
    assert [(event.outcome, event.status) for event in events] == [("failed", 422)]


# ---- requests

REQUESTS: dict[str, Callable[[Any], list[Any]]] = {
    "content": lambda answer: [answer.content, answer.text],
    "iter_content(None)": lambda answer: list(answer.iter_content(None)),
    "iter_content(1)": lambda answer: list(answer.iter_content(1)),
    "iter_content(64)": lambda answer: list(answer.iter_content(64)),
    "iter_lines": lambda answer: list(answer.iter_lines()),
    "iter_lines(1)": lambda answer: list(answer.iter_lines(chunk_size=1)),
    "raw.read": lambda answer: [answer.raw.read()],
    "raw.stream": lambda answer: list(answer.raw.stream(33, decode_content=True)),
    "raw": lambda answer: list(answer.raw),
}


@pytest.mark.parametrize("way", REQUESTS)
def test_requests(  # noqa: PLR0913, PLR0917 - fixtures
    requests: Any, urllib3: Any, url: str, provider: Simulator, events: list[CallEvent], way: str
) -> None:
    """Head, pieces and what is left of the answer are the same as unasked, however it is read."""

    def ask() -> list[object]:
        with requests.post(url, json=STREAM, stream=True) as answer:
            pieces = REQUESTS[way](answer)
            return [answer.status_code, steady(answer.headers.items()), answer.ok, pieces, answer.raw.tell()]

    same(urllib3, provider, events, ask)
    assert told(events) == [("completed", "reported")]


@pytest.mark.parametrize("knobs", ["gzip", "bytewise", "gzip, bytewise", "429", "drop=2"])
def test_requests_and_what_may_come(  # noqa: PLR0913, PLR0917 - fixtures
    requests: Any, urllib3: Any, url: str, provider: Simulator, events: list[CallEvent], knobs: str
) -> None:
    """The same text or the same exception, encoded or in single bytes."""

    def ask() -> list[object]:
        try:
            answer = requests.post(url, json=STREAM, headers=simulate(knobs))
        except requests.RequestException as error:
            return [type(error), str(error)]
        return [answer.status_code, answer.text]

    same(urllib3, provider, events, ask)


def test_requests_break(requests: Any, url: str, events: list[CallEvent]) -> None:
    """Who leaves a stream after its first line has cancelled the call."""
    with requests.post(url, json=STREAM, headers=simulate("stall=20"), stream=True) as answer:
        for line in answer.iter_lines():
            assert line.startswith(b"data: ")
            break
    assert [event.outcome for event in events] == ["cancelled"]


def test_requests_prepared_once(requests: Any, url: str, events: list[CallEvent]) -> None:
    """A prepared request stays as it was made, and can be sent again."""
    with requests.Session() as session:
        made = session.prepare_request(requests.Request("POST", url, json=STREAM))
        before = (made.body, dict(made.headers))
        texts = {session.send(made).text for _ in range(2)}
        assert (made.body, dict(made.headers)) == before
    assert '"usage"' not in texts.pop()
    assert not texts
    assert told(events) == [("completed", "reported")] * 2
