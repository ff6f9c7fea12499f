"""No bytes make a reader raise, hang, or hold more than it must."""

from __future__ import annotations

import random
import tracemalloc
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import taximeter
from taximeter.importers.captures import load
from taximeter.wire import APIS, Reader, Reading, Route
from taximeter.wire.eventstream import encode_message
from tests.wire.making import sse

SAMPLES = sorted(path.parent for path in Path(taximeter.__file__).parent.glob("demo_captures/*/*/request.json"))
TYPES = (
    "",
    "application/json",
    "text/event-stream",
    "application/x-ndjson",
    "application/vnd.amazon.eventstream",
    "audio/mpeg",
)
ENCODINGS = ("", "gzip", "deflate", "br", "zstd", "gzip, br", "compress")
STATUSES = (200, 400, 500)

routes = st.builds(
    Route, api=st.sampled_from(sorted(APIS)), provider=st.sampled_from(["openai", "google", "xai", "vercel"])
)
headers = st.tuples(st.sampled_from(TYPES), st.sampled_from(ENCODINGS)).map(
    lambda pair: [("Content-Type", pair[0]), ("Content-Encoding", pair[1])]
)
words = st.sampled_from(
    [
        b"data: ", b"event: ", b"\n\n", b"\r\n", b"\r", b"{", b"}", b"[", b"]", b'"', b":", b",", b"\\", b"null", b"1",
        b"-1", b"1e999", b"NaN", b'"usage"', b'"choices"', b'"delta"', b'"content"', b'"type"', b'"message_delta"',
        b'"usageMetadata"', b'"prompt_tokens"', b'"input_tokens"', b'"output_tokens"', b"[DONE]", b"\xff",
        b"\xed\xa0\x80",
    ]
)  # fmt: skip
nonsense = st.one_of(st.binary(max_size=300), st.lists(words, max_size=60).map(b"".join))


def _read(route: Route, status: int, with_headers: list[tuple[str, str]], body: bytes, cuts: list[int]) -> Reading:
    reader = Reader(route, status=status, headers=with_headers)
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    for start, end in pairwise(edges):
        reader.feed(body[start:end])
    return reader.close()


def _makes_sense(reading: Reading) -> None:
    assert (reading.usage is None) == (reading.usage_source == "unknown")
    assert not reading.stream or reading.complete is not None
    if reading.usage is not None:
        reading.usage.leaves()


@given(
    route=routes,
    status=st.sampled_from(STATUSES),
    with_headers=headers,
    body=nonsense,
    cuts=st.lists(st.integers(0, 999), max_size=4),
)
def test_nonsense(route: Route, status: int, with_headers: list[tuple[str, str]], body: bytes, cuts: list[int]) -> None:
    """Random bytes, and random pieces of the formats, are read to the same end however they are cut."""
    whole = _read(route, status, with_headers, body, [])
    _makes_sense(whole)
    assert _read(route, status, with_headers, body, cuts) == whole


@pytest.mark.parametrize("folder", SAMPLES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_damaged(folder: Path) -> None:
    """A real answer that was truncated, garbled or repeated is read as far as it goes."""
    capture = load(folder)
    dice = random.Random(capture.id)
    for _ in range(120):
        body = bytearray(capture.body)
        match dice.randrange(4):
            case 0:
                del body[dice.randrange(len(body) + 1) :]
            case 1:
                for _ in range(dice.randrange(1, 9)):
                    body[dice.randrange(len(body))] = dice.randrange(256)
            case 2:
                start = dice.randrange(len(body))
                del body[start : start + dice.randrange(40)]
            case _:
                start = dice.randrange(len(body))
                body[start:start] = body[start : start + dice.randrange(200)]
        cuts = [dice.randrange(len(body) + 1) for _ in range(3)]
        whole = _read(capture.route, capture.status, list(capture.headers), bytes(body), [])
        _makes_sense(whole)
        if whole.fault and "cannot be decoded" in whole.fault:
            continue  # how much a decoder gives before it meets the damage depends on what it was fed at once
        assert _read(capture.route, capture.status, list(capture.headers), bytes(body), cuts) == whole


@pytest.mark.parametrize("api", sorted(APIS))
@pytest.mark.parametrize(
    "deep", [b"[" * 100_000, b'{"a":' * 100_000, b'{"usage":' + b"[" * 50_000 + b"]" * 50_000 + b"}"]
)
def test_deep_nesting(api: str, deep: bytes) -> None:
    """Nesting without end is not JSON that anybody means, and no end of ours."""
    _makes_sense(_read(Route(api, "openai"), 200, [("content-type", "application/json")], deep, [17]))
    _makes_sense(
        _read(Route(api, "openai"), 200, [("content-type", "text/event-stream")], b"data: " + deep + b"\n\n", [17])
    )


@pytest.mark.parametrize("number", ["1e999999999", "-1", "1.5", "9" * 5000, "true", '"12"', "1e400", "[]", "NaN"])
def test_counts_that_are_none(number: str) -> None:
    """What stands where a count belongs and is none is passed over, and the rest counts."""
    body = f'{{"model":"m","usage":{{"prompt_tokens":{number},"completion_tokens":7}}}}'.encode()
    reading = _read(Route("openai.chat", "openai"), 200, [("content-type", "application/json")], body, [])
    assert reading.usage is not None
    assert dict(reading.usage) == {"output_tokens": 7}


_F = {"function": {"name": "f"}}
_PLACED = {
    "anthropic.messages": {"type": "content_block_start", "content_block": {"type": "tool_use", "name": "f"}},
    "bedrock.converse": {"contentBlockStart": {"contentBlockIndex": {}, "start": {"toolUse": {"name": "f"}}}},
    "cohere.chat": {"type": "tool-call-start", "delta": {"message": {"tool_calls": _F}}},
    "gemini.interactions": {"event_type": "step.start", "step": {"type": "function_call", "name": "f"}},
    "openai.chat": {"choices": [{"index": [], "delta": {"tool_calls": [{"index": {}, **_F}]}}]},
    "openai.responses": {"type": "response.output_item.done", "item": {"type": "function_call", "name": "f"}},
}


@pytest.mark.parametrize("api", _PLACED)
def test_an_index_that_is_none(api: str) -> None:
    """Where an index belongs stands an array or an object: the tool call is one all the same."""
    body = sse({"index": [], "output_index": {}, **_PLACED[api]})
    reading = _read(Route(api, "openai"), 200, [("content-type", "text/event-stream")], body, [])
    assert [call.name for call in reading.tool_calls] == ["f"]


def test_memory_of_a_long_stream_is_flat() -> None:
    """A stream of 40 MB in text holds no more than its largest event."""
    reader = Reader(Route("openai.chat", "openai"), headers=[("content-type", "text/event-stream")])
    chunk = b'data: {"model":"m","choices":[{"index":0,"delta":{"content":"' + b"word " * 200 + b'"}}]}\n\n'
    tracemalloc.start()
    for _ in range(40_000):
        reader.feed(chunk)
    reader.close()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200_000


def test_memory_of_a_large_event_is_a_small_multiple() -> None:
    """One event of 4 MB in small chunks takes at most a few times its size, and not the square of it in time."""
    reader = Reader(Route("openai.images", "openai"), headers=[("content-type", "text/event-stream")])
    tracemalloc.start()
    reader.feed(b'data: {"type":"image_generation.completed","b64_json":"')
    for _ in range(4_000):
        reader.feed(b"A" * 1_000)
    reader.feed(b'","usage":{"input_tokens":3,"output_tokens":5,"total_tokens":8}}\n\n')
    reading = reader.close()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert reading.usage is not None
    assert reading.usage.output_tokens == 5
    assert peak < 6 * 4_000_000


def test_an_endless_event_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event that never ends is given up at a bound, and what was read before it counts."""
    monkeypatch.setattr("taximeter.wire.framing.MAX_EVENT_BYTES", 10_000)
    reader = Reader(Route("anthropic.messages", "anthropic"), headers=[("content-type", "text/event-stream")])
    reader.feed(
        b'data: {"type":"message_start","message":{"model":"m","usage":{"input_tokens":9,"output_tokens":1}}}\n\n'
    )
    for _ in range(30):
        reader.feed(b"data: " + b"x" * 1_000)
    reading = reader.close()
    assert reading.fault == "an event of more than 10000 bytes"
    assert reading.complete is False
    assert reading.usage is not None
    assert reading.usage.input_tokens == 9


def test_a_wrong_length_is_refused() -> None:
    """A message of the event stream that claims gigabytes is not waited for."""
    huge = bytearray(encode_message({":event-type": "chunk", ":message-type": "event"}, b"{}"))
    huge[0:4] = (2**31).to_bytes(4, "big")
    reader = Reader(
        Route("bedrock.invoke", "bedrock"), headers=[("content-type", "application/vnd.amazon.eventstream")]
    )
    reader.feed(bytes(huge))
    assert "checksum" in (reader.close().fault or "")
