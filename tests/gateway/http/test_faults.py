"""What goes wrong at an upstream or with a client, each by causing it, and what the other side then sees."""

from __future__ import annotations

import socket
import struct
import threading

import msgspec
import pytest

from taximeter.gateway.plan import Family, Origin
from tests.gateway.http.stage import GET, OK, Client, Keeper, Peer, Upstream, answering, ask, gateway, post, to

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKS = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"

NO_ANSWERS = {
    "no HTTP": b"220 mail.test ESMTP\r\n\r\n",
    "HTTP/2": b"HTTP/2 200\r\n\r\n",
    "a status of two digits": b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
    "both lengths": HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "a length with a sign": HEAD + b"Content-Length: +2\r\n\r\nok",
    "gzip, chunked": HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked by HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": HEAD + b"Content-Length : 2\r\n\r\nok",
    "a folded line": HEAD + b"A: b\r\n c\r\nContent-Length: 2\r\n\r\nok",
    "a line that ends in LF": HEAD + b"A: b\nContent-Length: 2\r\n\r\nok",
    "no name": HEAD + b": b\r\nContent-Length: 2\r\n\r\nok",
    "a large head": HEAD + b"A: " + b"b" * 70_000 + b"\r\nContent-Length: 2\r\n\r\nok",
    "a head without end": HEAD + b"A: " + b"b" * 70_000,
    "a chunk size that is none": CHUNKS + b"xyz\r\n",
    "a chunk that is too long": CHUNKS + b"1\r\nab\r\n0\r\n\r\n",
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    "interim answers without end": b"HTTP/1.1 102 Processing\r\n\r\n" * 100,
}


@pytest.mark.parametrize("name", NO_ANSWERS)
def test_what_is_no_answer_is_a_502(name: str) -> None:
    """In the caller's own format, and the connection is not used again."""
    bad = [NO_ANSWERS[name]]

    def script(peer: Peer) -> None:
        while peer.read_request():
            peer.send(bad.pop() if bad else OK)

    keeper = Keeper(to(0))
    keeper.family = "anthropic"
    with Upstream(script) as upstream:
        keeper.destination = to(upstream.port)
        with gateway(keeper) as made, Client(made) as client:
            client.send(post(b"x"))
            head, body = client.answer()
            while head.startswith(b"HTTP/1.1 1"):
                head, body = client.answer()
            assert head.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
            assert msgspec.json.decode(body)["family"] == "anthropic"
            client.send(post(b"x"))
            assert client.answer()[1] == b"ok"
    assert upstream.connections == 2


def test_bytes_after_an_answer_are_nobodys() -> None:
    """What an upstream sends beyond its answer, at once or later, is never taken for the next one."""
    forged = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"
    later = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_request()
        if upstream.connections == 1:
            peer.send(OK + forged)
        elif upstream.connections == 2:
            peer.send(OK)
            assert later.wait(5)
            peer.send(forged)
        else:
            peer.send(OK)
        peer.gone()

    with Upstream(script) as upstream, gateway(Keeper(to(upstream.port))) as made:
        for _ in range(2):
            assert ask(made, GET)[1] == b"ok"
        later.set()
        while upstream._threads[1].is_alive():
            upstream._threads[1].join(5)
        assert ask(made, GET)[1] == b"ok"
    assert upstream.connections == 3


def test_no_connection_is_a_502() -> None:
    """Nobody listens there."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with gateway(Keeper(to(port))) as made:
        head, body = ask(made, post(b"x"))
    assert head.startswith(b"HTTP/1.1 502 ")
    assert msgspec.json.decode(body)["code"] == "upstream_unreachable"


def test_a_name_that_there_is_not_is_a_502() -> None:
    """The message names the upstream, and not the host."""
    origin = Origin("name.invalid", 80, tls=False, server_name=None)
    with gateway(Keeper(to(1, origin=origin))) as made:
        head, body = ask(made, post(b"x"))
    assert head.startswith(b"HTTP/1.1 502 ")
    assert b"invalid" not in body


def test_a_connection_that_is_not_accepted_in_time_is_a_504() -> None:
    """A server whose queue is full does not answer at all."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.settimeout(0)
            each.connect_ex(("127.0.0.1", port))
        with gateway(Keeper(to(port)), connect_s=0.3) as made:
            head, body = ask(made, post(b"x"))
        for each in waiting:
            each.close()
    assert head.startswith(b"HTTP/1.1 504 ")
    assert msgspec.json.decode(body)["code"] == "upstream_timeout"


def test_a_pool_that_is_full_makes_wait_and_then_refuses() -> None:
    """Who gets a connection in time is served by it; who does not gets 504."""
    go = threading.Event()

    def script(peer: Peer) -> None:
        while peer.read_request():
            assert go.wait(5)
            peer.send(OK)

    with (
        Upstream(script) as upstream,
        gateway(Keeper(to(upstream.port)), max_upstream_connections=1, connect_s=1) as made,
        Client(made) as first,
        Client(made) as second,
        Client(made) as third,
    ):
        first.send(GET)
        second.send(GET)
        head, body = second.answer()
        assert head.startswith(b"HTTP/1.1 504 ")
        assert msgspec.json.decode(body)["code"] == "upstream_busy"
        third.send(GET)
        go.set()
        assert first.answer()[1] == b"ok"
        assert third.answer()[1] == b"ok"
    assert upstream.connections == 1


@pytest.mark.parametrize("sent", [b"", HEAD, b"HTTP/1.1 200 OK\r\nContent-Le"])
def test_an_upstream_that_goes_before_its_head_is_a_502(sent: bytes) -> None:
    """Nothing is retried: the call may have been made."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(sent)

    with Upstream(script) as upstream, gateway(Keeper(to(upstream.port))) as made, Client(made) as client:
        client.send(post(b"x"))
        head, body = client.answer()
    assert head.startswith(b"HTTP/1.1 502 ")
    assert msgspec.json.decode(body)["code"] == "upstream_disconnected"
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        HEAD + b"Content-Length: 10\r\n\r\nhello",
        CHUNKS + b"5\r\nhello\r\n",
        CHUNKS + b"a\r\nhello",
        CHUNKS + b"5\r\nhello\r\n0\r\n",
    ],
)
@pytest.mark.parametrize("reset", [False, True])
def test_an_answer_that_breaks_off_breaks_off(answer: bytes, reset: bool) -> None:  # noqa: FBT001 - a parameter of pytest
    """The client sees what has come, and a connection that ends before the answer does."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(answer)
        if reset:
            assert seen.wait(5)
            peer.reset()

    seen = threading.Event()
    with Upstream(script) as upstream, gateway(Keeper(to(upstream.port))) as made, Client(made) as client:
        client.send(GET)
        got = client.until(b"hello")
        seen.set()
        assert got + client.to_the_end() == answer


def test_a_body_without_length_that_breaks_off_is_reset() -> None:
    """Its end is that of the connection, so only a reset tells that it was not the end."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(HEAD + b"\r\nhello")
        assert seen.wait(5)
        peer.reset()

    seen = threading.Event()
    with Upstream(script) as upstream, gateway(Keeper(to(upstream.port))) as made, Client(made) as client:
        client.send(GET)
        client.until(b"hello")
        seen.set()
        with pytest.raises(ConnectionResetError):
            client.socket.recv(1)


@pytest.mark.parametrize(("family", "event"), [("openai", b"\n\ndata: "), ("anthropic", b"\n\nevent: error\ndata: ")])
def test_a_stream_that_breaks_off_may_say_so(family: Family, event: bytes) -> None:
    """With ``on_break = "event"`` a last event says what happened; the end is still none that HTTP knows."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(HEAD + b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: a\n\n\r\n")

    with Upstream(script) as upstream:
        keeper = Keeper(to(upstream.port))
        keeper.family = family
        with gateway(keeper, on_break="event") as made, Client(made) as client:
            client.send(GET)
            answer = client.to_the_end()
    assert b"data: a\n\n\r\n" in answer
    assert event in answer
    assert b"upstream_disconnected" in answer
    assert not answer.endswith(b"0\r\n\r\n")


def test_an_upstream_that_says_nothing_is_a_504() -> None:
    """Its connection is closed."""
    closed: list[bool] = []

    def script(peer: Peer) -> None:
        peer.read_request()
        closed.append(peer.gone())

    with Upstream(script) as upstream, gateway(Keeper(to(upstream.port)), first_byte_s=0.3) as made:
        head, body = ask(made, post(b"x"))
    assert head.startswith(b"HTTP/1.1 504 ")
    assert msgspec.json.decode(body)["code"] == "upstream_timeout"
    assert closed == [True]


def test_a_stream_that_falls_silent_is_broken_off() -> None:
    """After ``idle_s`` both connections end."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(CHUNKS + b"5\r\nhello\r\n")
        peer.gone()

    with Upstream(script) as upstream, gateway(Keeper(to(upstream.port)), idle_s=0.3) as made, Client(made) as client:
        client.send(GET)
        assert client.to_the_end() == CHUNKS + b"5\r\nhello\r\n"


def test_a_client_that_leaves_takes_its_upstream_with_it() -> None:
    """Before the head and in the midst of a stream; and the next call has a connection of its own."""
    gone: list[bool] = []
    told = threading.Semaphore(0)

    def script(peer: Peer) -> None:
        request = peer.read_request()
        if b"/stream" in request:
            peer.send(CHUNKS + b"5\r\nhello\r\n")
        told.release()
        gone.append(peer.gone())
        told.release()

    with Upstream(script) as upstream, gateway(Keeper(to(upstream.port))) as made:
        for target in (b"/silent", b"/stream"):
            with Client(made) as client:
                client.send(GET.replace(b"/v1/models", target))
                assert told.acquire(timeout=5)
                if target == b"/stream":
                    client.until(b"hello\r\n")
            assert told.acquire(timeout=5)
    assert gone == [True, True]


def test_an_idle_connection_that_the_upstream_closes_is_not_used() -> None:
    """The next call opens another."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(OK)

    with Upstream(script) as upstream, gateway(Keeper(to(upstream.port))) as made:
        for count in range(1, 4):
            assert ask(made, GET)[1] == b"ok"
            upstream._threads[count - 1].join(5)
    assert upstream.connections == 3


def test_idle_upstream_connections_are_closed_in_time() -> None:
    """After ``upstream_keep_alive_s``."""
    gone: list[bool] = []

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(OK)
        gone.append(peer.gone())

    with Upstream(script) as upstream, gateway(Keeper(to(upstream.port)), upstream_keep_alive_s=0.3) as made:
        assert ask(made, GET)[1] == b"ok"
        upstream._threads[0].join(5)
        assert gone == [True]


def test_keys_in_errors_are_masked() -> None:
    """Whatever the framing, the length is right afterwards; an error without a key passes as it is."""
    body = b'{"error": {"message": "Incorrect API key provided: sk-secret"}}'
    whole = b"HTTP/1.1 401 Unauthorized\r\nA: b\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    chunked = b"HTTP/1.1 401 Unauthorized\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (
        len(body),
        body,
    )
    for answer in (whole, chunked):
        with Upstream(answering(answer)) as upstream, gateway(Keeper(to(upstream.port))) as made:
            head, masked = ask(made, GET)
        assert masked == body.replace(b"sk-secret", b"***")
        assert b"chunked" not in head
    plain = whole.replace(b"sk-secret", b"different")
    with Upstream(answering(plain)) as upstream, gateway(Keeper(to(upstream.port))) as made:
        assert b"".join(ask(made, GET)) == plain


def test_a_client_that_resets_in_its_upload() -> None:
    """The upstream's connection ends with it, and the gateway serves on."""
    closed: list[bool] = []

    def script(peer: Peer) -> None:
        if b"POST" not in peer.read_head():
            peer.send(OK)
        closed.append(peer.gone())

    with Upstream(script) as upstream, gateway(Keeper(to(upstream.port))) as made:
        with Client(made) as client:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc")
            while not upstream._threads:
                pass
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        upstream._threads[0].join(5)
        assert closed == [True]
        assert ask(made, GET)[1] == b"ok"
