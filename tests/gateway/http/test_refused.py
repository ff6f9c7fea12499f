"""What a client must not send: each is sent by a raw socket, answered with 4xx, and gets to no upstream."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taximeter.gateway.worker import Gateway
from tests.gateway.http.stage import GET, OK, Client, Keeper, Upstream, answering, gateway, post, to

H = b"Host: gateway.test\r\n"
P = b"POST / HTTP/1.1\r\n" + H

CASES: dict[str, tuple[int, bytes]] = {
    "length and chunks": (400, P + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "chunks and length": (400, P + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
    "two lengths": (400, P + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
    "two equal lengths": (400, P + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
    "a list of lengths": (400, P + b"Content-Length: 5, 5\r\n\r\nhello"),
    "a length with a sign": (400, P + b"Content-Length: +5\r\n\r\nhello"),
    "a negative length": (400, P + b"Content-Length: -5\r\n\r\nhello"),
    "a length with a space in it": (400, P + b"Content-Length: 5 5\r\n\r\nhello"),
    "a hexadecimal length": (400, P + b"Content-Length: 0x5\r\n\r\nhello"),
    "an empty length": (400, P + b"Content-Length: \r\n\r\n"),
    "a length beyond all numbers": (400, P + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n"),
    "a space before the colon": (400, P + b"Content-Length : 5\r\n\r\nhello"),
    "gzip, chunked": (400, P + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "chunked, identity": (400, P + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    "xchunked": (400, P + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    "chunked with a vertical tab": (400, P + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    "chunked twice": (400, P + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "chunked by HTTP/1.0": (400, b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "a chunk size that is none": (400, P + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n"),
    "a chunk size with a sign": (400, P + b"Transfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n"),
    "a chunk size in 0x": (400, P + b"Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n"),
    "a chunk size beyond all numbers": (400, P + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 32 + b"\r\n"),
    "a chunk longer than it says": (400, P + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n"),
    "a chunk that ends in LF": (400, P + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n"),
    "a chunk size that ends in LF": (400, P + b"Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n"),
    "a chunk extension without end": (
        400,
        P + b"Transfer-Encoding: chunked\r\n\r\n5;a=" + b"x" * 40_000 + b"\r\nhello\r\n",
    ),
    "trailers without end": (400, P + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"a: b\r\n" * 6_000),
    "bare LF": (400, b"GET / HTTP/1.1\nHost: gateway.test\n\n"),
    "bare LF in one line": (400, b"GET / HTTP/1.1\r\nHost: gateway.test\nA: b\r\n\r\n"),
    "bare CR": (400, b"GET / HTTP/1.1\r\nHost: gateway.test\rA: b\r\n\r\n"),
    "a folded line": (400, b"GET / HTTP/1.1\r\n" + H + b"A: b\r\n c\r\n\r\n"),
    "a line folded by a tab": (400, b"GET / HTTP/1.1\r\n" + H + b"A: b\r\n\tc\r\n\r\n"),
    "NUL in a value": (400, b"GET / HTTP/1.1\r\n" + H + b"A: b\0c\r\n\r\n"),
    "NUL in a name": (400, b"GET / HTTP/1.1\r\n" + H + b"A\0: b\r\n\r\n"),
    "a control character": (400, b"GET / HTTP/1.1\r\n" + H + b"A: b\x01\r\n\r\n"),
    "a name with a space": (400, b"GET / HTTP/1.1\r\n" + H + b"A B: c\r\n\r\n"),
    "a name with brackets": (400, b"GET / HTTP/1.1\r\n" + H + b"A(B): c\r\n\r\n"),
    "no name": (400, b"GET / HTTP/1.1\r\n" + H + b": c\r\n\r\n"),
    "no colon": (400, b"GET / HTTP/1.1\r\n" + H + b"nonsense\r\n\r\n"),
    "a first line that begins with a space": (400, b"GET / HTTP/1.1\r\n A: b\r\n" + H + b"\r\n"),
    "a long request line": (414, b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n" + H + b"\r\n"),
    "a request line without end": (414, b"GET /" + b"a" * 20_000),
    "a long header": (431, b"GET / HTTP/1.1\r\n" + H + b"A: " + b"b" * 70_000 + b"\r\n\r\n"),
    "a header without end": (431, b"GET / HTTP/1.1\r\n" + H + b"A: " + b"b" * 70_000),
    "many headers": (431, b"GET / HTTP/1.1\r\n" + H + b"A: b\r\n" * 200 + b"\r\n"),
    "an absolute target": (400, b"GET http://other.test/ HTTP/1.1\r\n" + H + b"\r\n"),
    "a target that is an authority": (400, b"GET other.test:443 HTTP/1.1\r\n" + H + b"\r\n"),
    "an asterisk": (400, b"OPTIONS * HTTP/1.1\r\n" + H + b"\r\n"),
    "a space in the target": (400, b"GET /a b HTTP/1.1\r\n" + H + b"\r\n"),
    "a target beyond ASCII": (400, b"GET /\xc3\xa4 HTTP/1.1\r\n" + H + b"\r\n"),
    "no Host": (400, b"GET / HTTP/1.1\r\n\r\n"),
    "two Hosts": (400, b"GET / HTTP/1.1\r\n" + H + H + b"\r\n"),
    "two Hosts in one": (400, b"GET / HTTP/1.1\r\nHost: a.test, b.test@c\r\n\r\n"),
    "a Host with a path": (400, b"GET / HTTP/1.1\r\nHost: a.test/b\r\n\r\n"),
    "an empty Host": (400, b"GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    "HTTP/0.9": (400, b"GET /\r\n"),
    "HTTP/2": (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "HTTP/1.2": (400, b"GET / HTTP/1.2\r\n" + H + b"\r\n"),
    "HTTP/3": (400, b"GET / HTTP/3.0\r\n" + H + b"\r\n"),
    "TLS": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\r\n\r\n"),
    "an upgrade": (400, b"GET / HTTP/1.1\r\n" + H + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"),
    "h2c": (400, b"GET / HTTP/1.1\r\n" + H + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n"),
    "CONNECT": (405, b"CONNECT / HTTP/1.1\r\n" + H + b"\r\n"),
    "TRACE": (405, b"TRACE / HTTP/1.1\r\n" + H + b"\r\n"),
    "a method that there is not": (405, b"BREW / HTTP/1.1\r\n" + H + b"\r\n"),
    "a method in small letters": (400, b"get / HTTP/1.1\r\n" + H + b"\r\n"),
    "an unknown expectation": (417, P + b"Content-Length: 5\r\nExpect: the-unexpected\r\n\r\nhello"),
    "a body that is too large": (413, P + b"Content-Length: 2000000\r\n\r\n"),
    "chunks that are too much": (
        413,
        P + b"Transfer-Encoding: chunked\r\n\r\n" + (b"10000\r\n" + b"x" * 65536 + b"\r\n") * 20 + b"0\r\n\r\n",
    ),
}


@pytest.fixture(scope="module")
def stage() -> Iterator[tuple[Gateway, Upstream, Keeper]]:
    """A gateway that holds bodies up to a megabyte."""
    with Upstream(answering(OK)) as upstream:
        keeper = Keeper(to(upstream.port), needs_body=True)
        with gateway(keeper, max_held_bytes=1_000_000) as made:
            yield made, upstream, keeper


@pytest.mark.parametrize("name", CASES)
def test_refused(name: str, stage: tuple[Gateway, Upstream, Keeper]) -> None:
    """It is answered with the status it deserves, the connection is closed, and the upstream has heard nothing."""
    made, upstream, _ = stage
    status, request = CASES[name]
    with Client(made) as client:
        try:
            client.send(request)
        except OSError:
            assert len(request) > 65536  # it was refused before all of it was sent
        answer = client.to_the_end()
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert b"connection: close\r\n" in answer
    assert b'"family"' in answer
    assert answer.count(b"content-length: ") == 1
    assert upstream.requests == []


@pytest.mark.parametrize("name", [name for name, (_, request) in CASES.items() if len(request) < 400])
def test_refused_byte_by_byte(name: str, stage: tuple[Gateway, Upstream, Keeper]) -> None:
    """The same when it comes a byte at a time, however early the gateway can tell."""
    made, upstream, _ = stage
    status, request = CASES[name]
    with Client(made) as client:
        client.socket.setsockopt(6, 1, 1)
        for byte in request:
            try:
                client.send(bytes([byte]))
            except OSError:
                break
        answer = client.to_the_end()
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert upstream.requests == []


def test_a_pipelined_request_is_refused() -> None:
    """The first is answered, the second gets a 400, and nothing of it has been passed on."""
    with Upstream(answering(OK)) as upstream, gateway(Keeper(to(upstream.port))) as made, Client(made) as client:
        client.send(post(b"one") + post(b"two"))
        answer = client.to_the_end()
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"ok" in answer
    assert b"HTTP/1.1 400 Bad Request\r\n" in answer
    assert len(upstream.requests) == 1


def test_slow_heads_and_bodies_time_out() -> None:
    """Who never comes to the end of a head or of a body gets 408."""
    with (
        Upstream(answering(OK)) as upstream,
        gateway(Keeper(to(upstream.port), needs_body=True), head_s=0.3, body_s=0.3) as made,
        Client(made) as head,
        Client(made) as body,
        Client(made) as silent,
    ):
        head.send(b"GET / HTTP/1.1\r\nHost: a")
        body.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
        assert head.to_the_end().startswith(b"HTTP/1.1 408 ")
        assert body.to_the_end().startswith(b"HTTP/1.1 408 ")
        assert silent.to_the_end() == b""
    assert upstream.requests == []


def test_an_idle_connection_is_closed() -> None:
    """A connection that is kept open without a call is closed in time, without a word."""
    with (
        Upstream(answering(OK)) as upstream,
        gateway(Keeper(to(upstream.port)), keep_alive_s=0.3) as made,
        Client(made) as client,
    ):
        client.send(GET)
        assert client.answer()[1] == b"ok"
        assert client.to_the_end() == b""


def test_more_connections_than_allowed_are_turned_away() -> None:
    """Beyond the limit a connection is closed at once; below it the next one is served."""
    with (
        Upstream(answering(OK)) as upstream,
        gateway(Keeper(to(upstream.port)), max_connections=1) as made,
        Client(made) as first,
    ):
        first.send(GET)
        assert first.answer()[1] == b"ok"
        with Client(made) as second:
            assert second.to_the_end() == b""
        first.send(GET)
        assert first.answer()[1] == b"ok"
