"""Where bodies end, by every way to cut them; and that another parser reads what is let in in the same way."""

from __future__ import annotations

import h11
import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.gateway.http.framing import Chunked, Counted
from taximeter.gateway.http.heads import BadMessage, HeadLimits, check_request, read_request
from taximeter.gateway.http.replies import read_answer

LIMITS = HeadLimits(65536, 16384, 128)


@st.composite
def cuts(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """The data, cut anywhere."""
    places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


@given(st.data(), st.lists(st.binary(min_size=1, max_size=300), max_size=6), st.sampled_from([b"", b";x", b';a="b"']))
def test_chunks_however_they_are_cut(data: st.DataObject, pieces: list[bytes], extension: bytes) -> None:
    """The payload is what was put in; the end is seen at once, and what comes after it is counted."""
    wire = b"".join(b"%x%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces)
    wire += b"0\r\nX-T: t\r\n\r\n"
    after = data.draw(st.binary(max_size=5))
    framing = Chunked()
    got: list[bytes] = []
    for piece in data.draw(cuts(wire)):
        assert not framing.done or not piece
        if piece:
            got.append(framing.take(piece))
    assert b"".join(got) == b"".join(pieces)
    assert framing.done
    assert framing.aligned
    assert framing.tail.endswith(b"0\r\nX-T: t\r\n\r\n")
    whole = Chunked()
    assert whole.take(wire + after) == b"".join(pieces)
    assert (whole.done, whole.excess) == (True, len(after))


@given(st.data(), st.binary(max_size=300), st.binary(max_size=5))
def test_a_length_however_it_is_cut(data: st.DataObject, body: bytes, after: bytes) -> None:
    """It ends where it says."""
    framing = Counted(len(body))
    got = b"".join(framing.take(piece) for piece in data.draw(cuts(body)))
    assert got == body
    assert framing.done
    framing = Counted(len(body))
    assert framing.take(body + after) == body
    assert framing.excess == len(after)


@pytest.mark.parametrize(
    "wire",
    [
        b"\r\n",
        b"-1\r\n",
        b"+1\r\na\r\n",
        b"0x1\r\na\r\n",
        b"1_0\r\n",
        b" 1\r\na\r\n",
        b"g\r\n",
        b"1\na\r\n",
        b"1\r\nab\r\n",
        b"1\r\na\n0\r\n",
        b"1\r\na\rx",
        b"1;" + b"x" * 300,
        b"f" * 16 + b"\r\n",
        b"0\r\n" + b"a: b\r\n" * 5000,
        b"0\r\na: b\nc: d\r\n\r\n",
    ],
)
def test_bad_chunks(wire: bytes) -> None:
    """They are refused, whole and a byte at a time."""
    with pytest.raises(BadMessage):
        Chunked().take(wire)
    framing = Chunked()
    with pytest.raises(BadMessage):
        b"".join(framing.take(bytes([byte])) for byte in wire)


class _Heard:
    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.complete = True


_TOKENS = st.text("aZ09-_! :\t\r\n\0\x7f", min_size=1, max_size=6).map(str.encode)
_LINES = st.one_of(
    st.builds(lambda name, value: name + b": " + value, _TOKENS, _TOKENS),
    st.sampled_from(
        [b"Content-Length: 3", b"Content-Length: 03", b"Transfer-Encoding: chunked", b"Host: b", b"Connection: close"]
    ),
    _TOKENS,
)


@given(st.lists(_LINES, max_size=4), st.sampled_from([b"\r\n", b"\n", b"\r\n "]))
def test_heads_that_are_let_in_mean_the_same_to_another_parser(lines: list[bytes], end: bytes) -> None:
    """Whatever passes our checks and llhttp, h11 reads with the same headers and the same end of the body."""
    head = b"POST / HTTP/1.1\r\nHost: a\r\n" + b"".join(line + end for line in lines) + b"\r\n"
    head = head[: head.find(b"\r\n\r\n") + 4]
    heard = _Heard()
    try:
        method, target, old = check_request(head, LIMITS)
        httptools.HttpRequestParser(heard).feed_data(head)
        read = read_request(method, target, heard.headers, old=old)
    except (BadMessage, httptools.HttpParserError):
        return
    other = h11.Connection(h11.SERVER)
    other.receive_data(head)
    event = other.next_event()
    assert isinstance(event, h11.Request)
    assert [(name.lower(), value.strip(b" \t")) for name, value in read.headers] == list(event.headers)
    lengths = [int(value) for name, value in event.headers if name == b"content-length"]
    chunked = any(name == b"transfer-encoding" for name, _ in event.headers)
    assert read.length == (None if chunked else lengths[0] if lengths else 0)


@given(st.lists(_LINES, max_size=4), st.sampled_from([b"\r\n", b"\n", b"\r\n "]))
def test_answers_heads_mean_the_same_to_another_parser(lines: list[bytes], end: bytes) -> None:
    """The same for what upstreams send."""
    head = b"HTTP/1.1 200 OK\r\n" + b"".join(line + end for line in lines) + b"\r\n"
    head = head[: head.find(b"\r\n\r\n") + 4]
    try:
        read = read_answer(head)
    except BadMessage:
        return
    other = h11.Connection(h11.CLIENT)
    other.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    other.send(h11.EndOfMessage())
    other.receive_data(head)
    event = other.next_event()
    assert isinstance(event, h11.Response)
    assert [(name.lower(), value.strip(" \t")) for name, value in read.pairs] == [
        (name.decode(), value.decode("latin-1")) for name, value in event.headers
    ]
