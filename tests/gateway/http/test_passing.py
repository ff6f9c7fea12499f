"""What passes: requests and answers as they were sent, to the byte, less what belongs to a connection."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from taximeter.gateway.plan import Destination, Local, Refusal
from tests.gateway.http.stage import GET, OK, Client, Keeper, Peer, Upstream, answering, ask, gateway, post, to

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
EVENTS = CHUNKED + b"Content-Type: text/event-stream\r\n\r\n"


def passed(answer: bytes, request: bytes = GET, **settings: Any) -> bytes:
    """What a client reads, all of it, when an upstream gives this answer and closes."""

    def script(peer: Peer) -> None:
        if peer.read_request():
            peer.send(answer)

    with Upstream(script) as upstream, gateway(Keeper(to(upstream.port)), **settings) as made, Client(made) as client:
        client.send(request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
        return client.to_the_end()


def test_a_request_arrives_as_it_was_sent() -> None:
    """Order, case and spelling of headers stay; what belongs to the connection, and what must not travel, does not."""
    request = post(
        b'{"model": "m"}',
        b"X-First:  one ",
        b"x-SECOND: zw\xc3\xb6lf",
        b"Authorization: Bearer client",
        b"X-Secret: never",
        b"Keep-Alive: timeout=5",
        b"TE: trailers",
        b"Proxy-Authorization: Basic eA==",
        b"Connection: keep-alive, X-Hop",
        b"X-Hop: mine",
        b"X-First: two",
        target=b"/v1/%2e/a?b=c%20d&e",
    )
    with Upstream(answering(OK)) as upstream, gateway(Keeper(to(upstream.port))) as made:
        ask(made, request)
    assert upstream.requests == [
        (
            b"POST /v1/%2e/a?b=c%20d&e HTTP/1.1\r\n"
            b"host: upstream.test\r\n"
            b"X-First: one \r\n"
            b"x-SECOND: zw\xc3\xb6lf\r\n"
            b"X-First: two\r\n"
            b"authorization: Bearer upstream\r\n"
            b"content-length: 14\r\n"
            b"\r\n"
            b'{"model": "m"}'
        )
    ]


def test_connection_cannot_take_the_credentials_out() -> None:
    """A client that declares our own header to belong to the connection does not get rid of it."""
    with Upstream(answering(OK)) as upstream, gateway(Keeper(to(upstream.port))) as made:
        ask(made, post(b"x", b"Connection: Authorization, Content-Length, Host"))
    assert b"authorization: Bearer upstream\r\ncontent-length: 1\r\n\r\nx" in upstream.requests[0]


def test_an_answer_arrives_as_it_was_sent() -> None:
    """The reason, the order, case and spelling of headers, and the body."""
    answer = (
        b"HTTP/1.1 200 Quite All Right\r\nX-B:  two \r\nx-a:one\r\nX-B: zw\xc3\xb6lf\r\n"
        b"Set-Cookie: a=b\r\nContent-Length: 5\r\n\r\n\x00\xff\r\n\x80"
    )
    with Upstream(answering(answer)) as upstream, gateway(Keeper(to(upstream.port))) as made:
        head, body = ask(made, GET)
    assert head + body == answer


def test_what_belongs_to_the_upstreams_connection_stays_there() -> None:
    """``Connection``, what it names, ``Keep-Alive`` and ``Upgrade`` are not the client's."""
    answer = (
        b"HTTP/1.1 200 OK\r\nA: b\r\nConnection: close, X-Hop\r\nX-Hop: mine\r\nKeep-Alive: timeout=5\r\n"
        b"Upgrade: h2\r\nContent-Length: 2\r\n\r\nok"
    )
    with Upstream(answering(answer)) as upstream, gateway(Keeper(to(upstream.port))) as made:
        head, body = ask(made, GET)
        assert head + body == b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 2\r\n\r\nok"
        ask(made, GET)
    assert upstream.connections == 2


def test_chunks_pass_in_their_own_frames() -> None:
    """Sizes, extensions, trailers: the very bytes."""
    body = b"5\r\nhello\r\n006;a=b\r\n world\r\n1\r\n!\r\n0\r\nX-Trailer: t\r\n\r\n"
    with (
        Upstream(answering(CHUNKED + b"\r\n" + body)) as upstream,
        gateway(Keeper(to(upstream.port))) as made,
        Client(made) as client,
    ):
        for _ in range(2):
            client.send(GET)
            assert client.until(b"\r\n\r\n") == CHUNKED + b"\r\n"
            assert client.until(b"\r\n\r\n") == body
    assert upstream.connections == 1


def test_an_answer_to_head_has_no_body() -> None:
    """Its length is passed on, and the connection goes on after it."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
    with Upstream(answering(head)) as upstream, gateway(Keeper(to(upstream.port))) as made, Client(made) as client:
        for _ in range(2):
            client.send(GET.replace(b"GET", b"HEAD"))
            assert client.until(b"\r\n\r\n") == head
    assert upstream.connections == 1


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_answers_without_body(status: bytes) -> None:
    """They end with their head, and the connection goes on."""
    head = b"HTTP/1.1 " + status + b"\r\nETag: a\r\n\r\n"
    with Upstream(answering(head)) as upstream, gateway(Keeper(to(upstream.port))) as made, Client(made) as client:
        for _ in range(2):
            client.send(GET)
            assert client.until(b"\r\n\r\n") == head
    assert upstream.connections == 1


def test_interim_answers_pass() -> None:
    """103 and 102 go on to the client before the answer; a 100 that nobody asked for does not."""
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
    assert passed(b"HTTP/1.1 100 Continue\r\n\r\n" + hints + OK).startswith(hints + b"HTTP/1.1 200 OK\r\n")


def test_a_body_that_ends_with_its_connection() -> None:
    """The client's ends with its connection too."""
    answer = passed(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n" + b"x" * 300_000)
    assert answer == b"HTTP/1.1 200 OK\r\nA: b\r\nconnection: close\r\n\r\n" + b"x" * 300_000


def test_an_upstream_of_http_1_0() -> None:
    """Its answers pass, in our version."""
    with Upstream(answering(OK.replace(b"1.1", b"1.0"))) as upstream, gateway(Keeper(to(upstream.port))) as made:
        assert ask(made, GET) == (OK[:-2], b"ok")
        ask(made, GET)
    assert upstream.connections == 2


def test_a_client_of_http_1_0() -> None:
    """It gets a body without chunks, and the end of its connection."""
    body = b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    with (
        Upstream(answering(CHUNKED + b"A: b\r\n\r\n" + body)) as upstream,
        gateway(Keeper(to(upstream.port))) as made,
        Client(made) as client,
    ):
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert client.to_the_end() == b"HTTP/1.1 200 OK\r\nA: b\r\nconnection: close\r\n\r\nabcde"


def test_connections_are_used_again() -> None:
    """Many calls of one client, one connection to the upstream; empty lines between requests do no harm."""
    with Upstream(answering(OK)) as upstream, gateway(Keeper(to(upstream.port))) as made, Client(made) as client:
        for _ in range(20):
            client.send(b"\r\n" + post(b"x" * 5000))
            assert client.answer() == (OK[:-2], b"ok")
    assert upstream.connections == 1
    assert len(upstream.requests) == 20


def test_a_request_a_byte_at_a_time() -> None:
    """However it is cut, it arrives the same."""
    with (
        Upstream(answering(OK)) as upstream,
        gateway(Keeper(to(upstream.port), needs_body=True)) as made,
        Client(made) as client,
    ):
        client.socket.setsockopt(6, 1, 1)
        for byte in post(b"hello"):
            client.send(bytes([byte]))
        assert client.answer()[1] == b"ok"
    assert upstream.requests[0].endswith(b"\r\ncontent-length: 5\r\n\r\nhello")


def test_an_answer_a_byte_at_a_time() -> None:
    """However it is cut, it arrives the same."""
    answer = EVENTS + b"b\r\ndata: one\n\n\r\n00b;x\r\ndata: two\n\n\r\n0\r\nX-T: t\r\n\r\n"

    def script(peer: Peer) -> None:
        peer.socket.setsockopt(6, 1, 1)
        while peer.read_request():
            for byte in answer:
                peer.send(bytes([byte]))

    with Upstream(script) as upstream, gateway(Keeper(to(upstream.port))) as made, Client(made) as client:
        for _ in range(2):
            client.send(GET)
            assert client.until(b"X-T: t\r\n\r\n") == answer
    assert upstream.connections == 1


def test_events_leave_as_they_come() -> None:
    """The client has read each event before the upstream sends the next."""
    turn = threading.Semaphore(0)
    sent = [b"%x\r\n%b\r\n" % (len(event), event) for event in (b"data: %d\n\n" % number for number in range(50))]

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(EVENTS)
        for each in sent:
            assert turn.acquire(timeout=5)
            peer.send(each)
        peer.send(b"0\r\n\r\n")

    with Upstream(script) as upstream, gateway(Keeper(to(upstream.port))) as made, Client(made) as client:
        client.send(GET)
        assert client.until(b"\r\n\r\n") == EVENTS
        for each in sent:
            turn.release()
            assert client.until(b"\n\n\r\n") == each
        assert client.until(b"0\r\n\r\n") == b"0\r\n\r\n"


def test_chunked_uploads_pass_as_they_come() -> None:
    """Each piece arrives before the next is sent; the trailers that may travel do."""
    arrived = threading.Semaphore(0)
    heads: list[bytes] = []
    trailers: list[bytes] = []

    def script(peer: Peer) -> None:
        heads.append(peer.read_head())
        for _ in range(3):
            assert peer.read_until(b"hello\r\n") == b"5\r\nhello\r\n"
            arrived.release()
        trailers.append(peer.read_until(b"\r\n\r\n"))
        peer.send(OK)

    with Upstream(script) as upstream, gateway(Keeper(to(upstream.port))) as made, Client(made) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(3):
            client.send(b"5;x=y\r\nhello\r\n")
            assert arrived.acquire(timeout=5)
        client.send(b"0\r\nX-Sum: 1\r\nAuthorization: me\r\n\r\n")
        assert client.answer()[1] == b"ok"
    assert heads[0].endswith(b"\r\ntransfer-encoding: chunked\r\n\r\n")
    assert trailers == [b"0\r\nX-Sum: 1\r\n\r\n"]


def test_a_held_body_arrives_with_its_length() -> None:
    """A body that came in chunks and was held leaves as one."""
    with Upstream(answering(OK)) as upstream, gateway(Keeper(to(upstream.port), needs_body=True)) as made:
        ask(made, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    assert upstream.requests[0].endswith(b"\r\ncontent-length: 5\r\n\r\nabcde")


@pytest.mark.parametrize("held", [True, False])
def test_100_continue(held: bool) -> None:  # noqa: FBT001 - a parameter of pytest
    """Who waits for it is told to go on once the head was admitted, and the upstream is not asked."""
    with (
        Upstream(answering(OK)) as upstream,
        gateway(Keeper(to(upstream.port), needs_body=held)) as made,
        Client(made) as client,
    ):
        client.send(post(b"", b"Expect: 100-continue").replace(b"Length: 0", b"Length: 5"))
        assert client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"hello")
        assert client.answer() == (OK[:-2], b"ok")
    assert b"xpect" not in upstream.requests[0]


def test_who_is_refused_is_not_told_to_go_on() -> None:
    """The refusal takes the place of ``100 Continue``."""
    keeper = Keeper(to(1))
    keeper.refusal = Refusal(401, "anthropic", "invalid_api_key", "no", ((b"www-authenticate", b"Bearer"),))
    with gateway(keeper) as made, Client(made) as client:
        client.send(post(b"", b"Expect: 100-continue").replace(b"Length: 0", b"Length: 5"))
        answer = client.to_the_end()
    assert answer.startswith(
        b"HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\nwww-authenticate: Bearer\r\n"
    )
    assert answer.endswith(b'{"family":"anthropic","code":"invalid_api_key","message":"no"}')


def test_a_refusal_keeps_the_connection() -> None:
    """When the request was whole, the next one is heard."""
    keeper = Keeper(to(1))
    keeper.refusal = Refusal(403, "openai", "not_allowed", "no")
    with gateway(keeper) as made, Client(made) as client:
        for _ in range(2):
            client.send(post(b"hello"))
            assert client.answer()[0].startswith(b"HTTP/1.1 403 ")
            client.send(GET.replace(b"GET", b"HEAD"))
            assert client.until(b"\r\n\r\n").startswith(b"HTTP/1.1 403 ")


def test_answers_of_the_gateways_own() -> None:
    """They are made at once, or when they are ready; one that fails is a 500 without a word of why."""
    keeper = Keeper(to(1))

    async def later() -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        return 200, [(b"x-a", b"b")], b"later"

    async def never() -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        raise ValueError

    with gateway(keeper) as made, Client(made) as client:
        for answer, status, body in (
            (lambda: (200, [(b"x-a", b"b")], b"now"), b"200 OK\r\nx-a: b", b"now"),
            (later, b"200 OK\r\nx-a: b", b"later"),
            (never, b"500 Internal Server Error", b"the gateway failed at this"),
        ):
            keeper.local = Local(answer)
            client.send(GET.replace(b"/v1/models", b"/local"))
            head, found = client.answer()
            assert head.startswith(b"HTTP/1.1 " + status)
            assert body in found


def test_a_large_upload_waits_for_a_slow_upstream() -> None:
    """The gateway keeps little of a body that the upstream does not take, and loses none of it."""
    go = threading.Event()
    size = 64 * 1024 * 1024
    got: list[int] = []

    def script(peer: Peer) -> None:
        peer.read_head()
        assert go.wait(5)
        count = len(peer._rest)
        while count < size:
            count += len(peer.socket.recv(1 << 20))
        got.append(count)
        peer.send(OK)

    with Upstream(script) as upstream, gateway(Keeper(to(upstream.port))) as made, Client(made) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        sent = 0
        piece = b"x" * (1 << 20)
        client.socket.settimeout(0.5)
        try:
            while sent < size:
                sent += client.socket.send(piece[: size - sent])
        except TimeoutError:
            pass
        assert sent < size // 2  # what the kernel and two buffers hold, and no more
        go.set()
        client.socket.settimeout(5)
        while sent < size:
            sent += client.socket.send(piece[: size - sent])
        assert client.answer()[1] == b"ok"
    assert got == [size]


def test_a_large_answer_waits_for_a_slow_client() -> None:
    """The same the other way round."""
    size = 64 * 1024 * 1024
    sent: list[int] = []
    stuck = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        count = 0
        peer.socket.settimeout(0.5)
        piece = b"x" * (1 << 20)
        try:
            while count < size:
                count += peer.socket.send(piece[: size - count])
        except TimeoutError:
            sent.append(count)
            stuck.set()
        peer.socket.settimeout(5)
        while count < size:
            count += peer.socket.send(piece[: size - count])

    with Upstream(script) as upstream, gateway(Keeper(to(upstream.port))) as made, Client(made) as client:
        client.send(GET)
        assert stuck.wait(5)
        assert sent[0] < size // 2
        assert len(client.answer()[1]) == size


def test_an_answer_before_the_request_is_whole() -> None:
    """It is passed on, and both connections end: nobody knows what the rest of the request would be taken for."""

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        peer.gone()

    with Upstream(script) as upstream, gateway(Keeper(to(upstream.port))) as made, Client(made) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc")
        assert client.to_the_end() == b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nconnection: close\r\n\r\nno"


def test_bodies_that_are_signed_are_held() -> None:
    """Who signs is given what is about to leave, and what he answers leaves."""
    seen: list[tuple[bytes, bytes, bytes]] = []

    def sign(
        method: bytes, target: bytes, headers: list[tuple[bytes, bytes]], body: bytes
    ) -> list[tuple[bytes, bytes]]:
        seen.append((method, target, body))
        return [*headers, (b"x-signature", b"%d" % len(body))]

    with Upstream(answering(OK)) as upstream:
        destination: Destination = to(upstream.port, sign=sign)
        with gateway(Keeper(destination)) as made:
            ask(made, post(b"hello"))
    assert seen == [(b"POST", b"/v1/chat/completions", b"hello")]
    assert upstream.requests[0].endswith(b"\r\ncontent-length: 5\r\nx-signature: 5\r\n\r\nhello")
