"""Answers of every shape that HTTP has, edited: who reads them over urllib3 sees what it would have seen unasked."""

from __future__ import annotations

import gzip
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest

from taximeter.event import CallEvent
from taximeter.instrument import endpoint
from taximeter.instrument import urllib3 as hook
from taximeter.meter import Meter
from taximeter.usage import Usage
from tests.instrument.asks import JSON, STREAM, packed

pytestmark = pytest.mark.needs("urllib3")

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
USAGE = b'{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}'
STATED = Usage(input_tokens=7, output_tokens=3)

Answer = Callable[[Sequence[bytes]], list[bytes]]


def stream(*, asked: bool, texts: int = 3) -> list[bytes]:
    """The events of a stream, as a provider sends them when it is asked for usage, and when not."""
    null = b',"usage":null' if asked else b""
    events = [b'data: {"choices":[{"delta":{"content":"%d"}}]%b}\n\n' % (n, null) for n in range(texts)]
    if asked:
        events.append(b'data: {"choices":[],"usage":%b}\n\n' % USAGE)
    return [*events, b"data: [DONE]\n\n"]


def chunk(data: bytes) -> bytes:
    """A chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Speaker:
    """Answers each connection with the bytes that it is told, whatever HTTP says of them, and closes it.

    Attributes:
        url: to ask.
        answer: makes of a stream's events what is sent, piece by piece.
        texts: how many texts a stream has.
        turn: is waited for before each piece but the first two.
    """

    def __init__(self, listener: socket.socket) -> None:
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1/chat/completions"
        self.answer: Answer = list
        self.texts = 3
        self.turn: threading.Semaphore | None = None
        self._listener = listener

    def run(self) -> None:
        """Until the listener is closed."""
        while True:
            try:
                connection = self._listener.accept()[0]
            except OSError:
                return
            with connection, suppress(OSError):  # a client that has gone, or is slow on a busy machine
                self._serve(connection)

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(5)
        asked = b""
        while not asked.endswith(b"}"):
            asked += connection.recv(65_536)
        pieces = self.answer(stream(asked=b"include_usage" in asked, texts=self.texts))
        for number, piece in enumerate(pieces):
            if self.turn is not None and number > 1:
                self.turn.acquire(timeout=5)
            connection.sendall(piece)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65_536):
            pass


@pytest.fixture
def speaker(meter: Meter) -> Iterator[Speaker]:
    """One, on loopback, which may be asked for usage."""
    assert meter
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = Speaker(listener)
        endpoint(made.url, api="openai.chat", provider="openai", asks_usage=True)
        thread = threading.Thread(target=made.run)
        thread.start()
        yield made
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


WAYS: dict[str, Callable[[Any], Iterator[bytes]]] = {
    "stream": lambda answer: answer.stream(),
    "stream(decode)": lambda answer: answer.stream(decode_content=True),
    "stream(9)": lambda answer: answer.stream(9),
    "read": lambda answer: iter([answer.read()]),
    "read(50)": lambda answer: iter(lambda: answer.read(50), b""),
    "read1": lambda answer: iter(answer.read1, b""),
}


def seen(urllib3: Any, url: str, way: str) -> tuple[list[bytes], list[object]]:
    """The body, piece by piece, and how it ended."""
    pieces: list[bytes] = []
    with urllib3.PoolManager() as pool:
        options = {"preload_content": False, "retries": False, "timeout": 20}
        answer = pool.request("POST", url, body=packed(STREAM), headers=JSON, **options)
        try:
            pieces.extend(WAYS[way](answer))
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            return pieces, [type(error), str(error)]
        return pieces, [answer.closed, answer.tell(), answer.connection]


def both(urllib3: Any, speaker: Speaker, way: str) -> list[tuple[list[bytes], list[object]]]:
    """What is seen without the hook, and with it."""
    hook.uninstall(urllib3)
    without = seen(urllib3, speaker.url, way)
    hook.install(urllib3)
    return [without, seen(urllib3, speaker.url, way)]


def chunks(events: Sequence[bytes]) -> list[bytes]:
    """Each event a chunk."""
    return [CHUNKED, *map(chunk, events), b"0\r\n\r\n"]


def extended(events: Sequence[bytes]) -> list[bytes]:
    """With extensions and trailers."""
    return [CHUNKED, *(b'%x;a="b"\r\n%b\r\n' % (len(event), event) for event in events), b"0\r\nX-Sum: 1\r\n\r\n"]


def in_two_writes(events: Sequence[bytes]) -> list[bytes]:
    """Cut in the midst of chunks and of their lines."""
    whole = b"".join(chunks(events)[1:])
    return [CHUNKED, *(whole[at : at + 11] for at in range(0, len(whole), 11))]


def all_in_one(events: Sequence[bytes]) -> list[bytes]:
    """Each event whole, all in one chunk."""
    return [CHUNKED, chunk(b"".join(events)), b"0\r\n\r\n"]


def across(events: Sequence[bytes]) -> list[bytes]:
    """Events that go on in the next chunk."""
    whole = b"".join(events)
    return [CHUNKED, *(chunk(whole[at : at + 33]) for at in range(0, len(whole), 33)), b"0\r\n\r\n"]


def without_end(events: Sequence[bytes]) -> list[bytes]:
    """The last event lacks its blank line."""
    return chunks([*events[:-1], events[-1].rstrip()])


def to_the_end(events: Sequence[bytes]) -> list[bytes]:
    """Until the connection is closed, as HTTP/1.0 does it."""
    return [HEAD.replace(b"1.1", b"1.0") + b"\r\n", *events]


def to_the_end_without_end(events: Sequence[bytes]) -> list[bytes]:
    """The same, and the last event lacks its blank line."""
    return to_the_end([*events[:-1], events[-1].rstrip()])


WHOLE = [chunks, extended, in_two_writes, all_in_one, across, without_end, to_the_end, to_the_end_without_end]


@pytest.mark.parametrize("answer", WHOLE)
def test_every_shape(urllib3: Any, speaker: Speaker, events: list[CallEvent], answer: Answer) -> None:
    """However it is read: the same bytes, in the same chunks where an event has one of its own, and the same end."""
    speaker.answer = answer
    for way in WAYS:
        without, found = both(urllib3, speaker, way)
        assert b"".join(found[0]) == b"".join(without[0]), way
        assert found[1] == without[1], way
        if answer in {chunks, extended} and way.startswith("stream"):
            assert found[0] == without[0], way
        event = events.pop()
        assert (event.outcome, event.usage, events) == ("completed", STATED, []), way


def test_more_than_one_piece(urllib3: Any, speaker: Speaker, events: list[CallEvent]) -> None:
    """A chunk of many events is taken in bounded pieces; none of its bytes is lost between two of them."""
    speaker.answer, speaker.texts = all_in_one, 5_000
    for way in WAYS:
        without, found = both(urllib3, speaker, way)
        assert len(b"".join(without[0])) > 200_000
        assert b"".join(found[0]) == b"".join(without[0]), way
        assert found[1] == without[1], way
    assert [event.usage for event in events] == [STATED] * len(WAYS)


CUT: dict[str, Answer] = {
    "before a chunk": lambda events: [CHUNKED, *map(chunk, events)],
    "in a chunk": lambda events: [CHUNKED, *map(chunk, events[:-1]), b"e\r\ndata: ["],
    "in a chunk of many": lambda events: [CHUNKED, chunk(events[0]), chunk(b"".join(events[1:]))[:-7]],
    "after a size": lambda events: [CHUNKED, *map(chunk, events[:-1]), b"e\r\n"],
    "in a size": lambda events: [CHUNKED, *map(chunk, events[:-1]), b"e"],
    "before a line's end": lambda events: [CHUNKED, *map(chunk, events[:-1]), chunk(events[-1])[:-2]],
    "no size": lambda events: [CHUNKED, *map(chunk, events), b"what?\r\n\r\n"],
    "a size below nothing": lambda events: [CHUNKED, *map(chunk, events), b"-4\r\n\r\n"],
    "a line without end": lambda events: [CHUNKED, *map(chunk, events), b"0" * 70_000],
    "an event that goes on": lambda events: [CHUNKED, *map(chunk, events), chunk(b"data: {"), b"7\r\nno"],
}


@pytest.mark.parametrize("where", CUT)
def test_what_is_cut(urllib3: Any, speaker: Speaker, events: list[CallEvent], where: str) -> None:
    """However it is read: the same bytes come before the same error, and the usage that had come is known."""
    speaker.answer = CUT[where]
    for way in WAYS:
        without, found = both(urllib3, speaker, way)
        if way.startswith("stream"):
            assert found == without, way
        assert b"".join(found[0]) == b"".join(without[0]), way
        assert found[1][0] == without[1][0], way
    assert [event.usage for event in events] == [STATED] * len(WAYS)


def with_length(events: Sequence[bytes], missing: int = 0) -> list[bytes]:
    """A stream that says how long it is, or would be."""
    body = b"".join(events)
    return [HEAD + b"Content-Length: %d\r\n\r\n" % (len(body) + missing), body]


@pytest.mark.parametrize("missing", [0, 20])
def test_with_a_length(urllib3: Any, speaker: Speaker, events: list[CallEvent], missing: int) -> None:
    """The same bytes; a body that ends before the end that was announced is the same error."""
    speaker.answer = lambda events: with_length(events, missing)
    for way in WAYS:
        without, found = both(urllib3, speaker, way)
        if not missing or way.startswith("stream"):
            assert b"".join(found[0]) == b"".join(without[0]), way
        if missing:
            assert found[1][0] is urllib3.exceptions.ProtocolError, way
            assert "20 more expected" in str(found[1][1]), way
    assert [event.usage for event in events] == [STATED] * len(WAYS)


def test_a_short_body_that_is_not_checked(urllib3: Any, speaker: Speaker, events: list[CallEvent]) -> None:
    """An application that takes what comes gets it; the stream was whole, and the length was not."""
    speaker.answer = lambda events: with_length(events[:-1], missing=20)
    with urllib3.PoolManager() as pool:
        options = {"preload_content": False, "enforce_content_length": False, "retries": False}
        answer = pool.request("POST", speaker.url, body=packed(STREAM), headers=JSON, **options)
        assert b"".join(answer.stream()) == b"".join(stream(asked=False)[:-1])
    assert [event.outcome for event in events] == ["interrupted"]


def test_what_is_not_the_encoding_that_it_claims(urllib3: Any, speaker: Speaker, events: list[CallEvent]) -> None:
    """Whether it never was or stops to be: the library's own error, as unasked, after what could be read."""
    head = CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")
    garbage = chunk(b"\x07" * 100)
    answers: list[Answer] = [
        lambda _: [head, garbage, b"0\r\n\r\n"],
        lambda events: [head, chunk(gzip.compress(b"".join(events))[:-4]), garbage, b"0\r\n\r\n"],
    ]
    for answer in answers:
        speaker.answer = answer
        without, found = both(urllib3, speaker, "stream(decode)")
        assert b"".join(found[0]) == b"".join(without[0])
        assert found[1][0] is without[1][0] is urllib3.exceptions.DecodeError
    assert [event.outcome for event in events] == ["interrupted"] * 2


@pytest.mark.parametrize("way", ["stream", "stream(9)", "read1"])
def test_nothing_waits_for_what_is_behind(urllib3: Any, speaker: Speaker, events: list[CallEvent], way: str) -> None:
    """An event is handed on when it is whole: the next one is not sent before."""
    speaker.answer, speaker.turn = chunks, threading.Semaphore(0)
    with urllib3.PoolManager() as pool:
        answer = pool.request("POST", speaker.url, body=packed(STREAM), headers=JSON, preload_content=False, timeout=4)
        assert answer.fileno() > 0
        got = b""
        for piece in WAYS[way](answer):
            got += piece
            if got.endswith(b"\n\n"):
                speaker.turn.release(1 + got.endswith(b'"2"}}]}\n\n'))  # the usage is behind it, and is not seen
        assert got == b"".join(stream(asked=False))
    assert [event.usage_source for event in events] == ["reported"]
