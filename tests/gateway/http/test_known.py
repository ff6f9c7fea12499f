"""A head that a connection sent before is known by its bytes: it must mean what it would if it were read anew."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.gateway.http.heads import (
    BadMessage,
    Header,
    HeadLimits,
    KnownHead,
    RequestHead,
    check_request,
    known,
    read_request,
)
from tests.gateway.http.stage import OK, Client, Keeper, Upstream, answering, gateway, post, to
from tests.gateway.http.test_refused import CASES

LIMITS = HeadLimits(65536, 16384, 128)
LINES = [b"Host: a", b"Content-Length: 5", b"content-length:\t07 ", b"Accept: */*", b"Connection: close", b"X: y"]
LENGTHS = st.sampled_from(
    [b"0", b"5", b"12", b"007", b"", b" 5", b"5 ", b"+5", b"-5", b"5,5", b"0x5", b"9" * 18, b"9" * 19]
)


class _Heard:
    def __init__(self) -> None:
        self.headers: list[Header] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))


def _read(raw: bytes) -> RequestHead | None:
    """A head, read as if it were the first."""
    heard = _Heard()
    try:
        method, target, old = check_request(raw, LIMITS)
        httptools.HttpRequestParser(heard).feed_data(raw)
        return read_request(method, target, heard.headers, old=old)
    except (BadMessage, httptools.HttpParserError):
        return None


def _raw(lines: list[bytes]) -> bytes:
    return b"POST / HTTP/1.1\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


@given(st.permutations(LINES).map(lambda lines: lines[:5]), LENGTHS, st.binary(max_size=4), st.integers(0, 90))
def test_a_known_head_says_what_it_would_say_anew(lines: list[bytes], length: bytes, after: bytes, cut: int) -> None:
    """With whatever stands for its length: it is told what reading it tells, or nothing."""
    first = _raw(lines)
    head = _read(first)
    if head is None:
        return
    kept = known(first, head, LIMITS)
    assert (kept is None) == (b"content-length" not in head.names)
    if kept is None:
        return
    second = kept.start + length + kept.rest
    found = kept.again(second + after)
    if found is not None:
        assert found == (_read(second), len(second))
    elif length.isdigit() and len(length) < 19:
        assert _read(second) is None
    if cut < len(second):
        assert kept.again(second[:cut]) is None


def test_nothing_else_may_differ() -> None:
    """One other byte, and the head is another."""
    raw = _raw([b"Host: a", b"Content-Length: 5", b"X: y"])
    head = _read(raw)
    assert head is not None
    kept = known(raw, head, LIMITS)
    assert isinstance(kept, KnownHead)
    for at in range(len(raw)):
        if not raw[at : at + 1].isdigit() or at < len(kept.start):
            assert kept.again(raw[:at] + b"~" + raw[at + 1 :]) is None


def test_bodies_of_other_lengths_follow_each_other() -> None:
    """Each is as long as its own head says, in however many pieces it comes, and so is what the gatekeeper is shown."""
    bodies = [b"hello", b"hello", b"", b"x" * 70_000, b"{}", b"hello!"]
    with Upstream(answering(OK)) as upstream:
        keeper = Keeper(to(upstream.port), needs_body=True)
        with gateway(keeper) as made, Client(made) as client:
            for body in bodies:
                request = post(body)
                client.send(request[:60])
                client.send(request[60:])
                assert client.answer()[0].startswith(b"HTTP/1.1 200 ")
        assert [body or b"" for body in keeper.bodies] == bodies
        lengths = [dict(headers)[b"Content-Length"] for _, _, headers, _ in keeper.heads]
        assert lengths == [b"%d" % len(body) for body in bodies]
        assert [request.partition(b"\r\n\r\n")[2] for request in upstream.requests] == bodies


def test_chunks_and_lengths_take_turns() -> None:
    """A body in chunks, one with a length and one in chunks again, over one connection, mean what they say."""
    chunked = (
        b"POST / HTTP/1.1\r\nHost: gateway.test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n"
    )
    with Upstream(answering(OK)) as upstream:
        keeper = Keeper(to(upstream.port), needs_body=True)
        with gateway(keeper) as made, Client(made) as client:
            for request in (chunked, post(b"one"), chunked, post(b"three"), post(b"four")):
                client.send(request)
                assert client.answer()[0].startswith(b"HTTP/1.1 200 ")
        assert keeper.bodies == [b"abcde", b"one", b"abcde", b"three", b"four"]


@pytest.mark.parametrize("name", [name for name, (_, request) in CASES.items() if len(request) < 400])
def test_what_is_refused_is_refused_after_a_good_request_too(name: str) -> None:
    """Knowing a head lets nothing in that would not have been let in."""
    status, request = CASES[name]
    good = b"POST / HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 5\r\n\r\nhello"
    with Upstream(answering(OK)) as upstream:
        keeper = Keeper(to(upstream.port), needs_body=True)
        with gateway(keeper, max_held_bytes=1_000_000) as made, Client(made) as client:
            client.send(good)
            assert client.answer()[0].startswith(b"HTTP/1.1 200 ")
            client.send(request)
            assert client.to_the_end().startswith(b"HTTP/1.1 %d " % status)
        assert len(upstream.requests) == 1


def test_what_follows_a_counted_body_at_once_is_refused() -> None:
    """The first request is answered, the next gets a 400; an empty line is no request."""
    request = post(b"hello")
    with Upstream(answering(OK)) as upstream, gateway(Keeper(to(upstream.port))) as made, Client(made) as client:
        client.send(request + b"\r\n")
        assert client.answer()[0].startswith(b"HTTP/1.1 200 ")
        client.send(request + request)
        assert client.answer()[0].startswith(b"HTTP/1.1 200 ")
        assert client.to_the_end().startswith(b"HTTP/1.1 400 ")
    assert len(upstream.requests) == 2
