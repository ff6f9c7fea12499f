"""A cost is put into the usage that an answer states, and every other byte stays as it was."""

from __future__ import annotations

import gzip
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.wire.costing import CostAdder, states_cost, whole_with_cost

COST = b'"cost_usd":"0.0012"'


def sse(*data: str) -> bytes:
    """Events without names."""
    return "".join(f"data: {each}\n\n" for each in data).encode()


CHAT = sse(
    '{"id":"1","choices":[{"index":0,"delta":{"content":"\\"usage\\": {}"},"finish_reason":null}],"usage":null}',
    '{"id":"1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}',
    '{"id":"1","choices":[],"usage":{"prompt_tokens":3,"prompt_tokens_details":{"cached_tokens":0}}}',
    "[DONE]",
)
CHAT_PRICED = CHAT.replace(b'"cached_tokens":0}}', b'"cached_tokens":0},' + COST + b"}")
RESPONSES = (
    b'event: response.created\ndata: {"type":"response.created","response":{"id":"r","usage":null}}\n\n'
    b'event: response.completed\ndata: {"type":"response.completed",'
    b'"response":{"id":"r","usage":{"input_tokens":3}}}\n\n'
)
RESPONSES_PRICED = RESPONSES.replace(b'{"input_tokens":3}', b'{"input_tokens":3,' + COST + b"}")
ANTHROPIC = (
    b'event: message_start\ndata: {"type":"message_start","message":{"usage":{"input_tokens":3}}}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","delta":{},"usage":{"output_tokens":5 } }\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)
ANTHROPIC_PRICED = ANTHROPIC.replace(b'"output_tokens":5 }', b'"output_tokens":5,' + COST + b" }")
GEMINI = (
    b'data: {"candidates":[{"content":{}}],"usageMetadata":{"promptTokenCount":3}}\r\n\r\n'
    b'data: {"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":4}}\r\n\r\n'
)
GEMINI_PRICED = GEMINI.replace(b'"promptTokenCount":4}', b'"promptTokenCount":4,' + COST + b"}")
STREAMS = {
    "openai.chat": (CHAT, CHAT_PRICED),
    "openai.responses": (RESPONSES, RESPONSES_PRICED),
    "anthropic.messages": (ANTHROPIC, ANTHROPIC_PRICED),
    "gemini.generate": (GEMINI, GEMINI_PRICED),
}


def edited(adder: CostAdder, stream: bytes, cuts: list[int]) -> bytes:
    """A stream, handed over in pieces."""
    edges = [0, *sorted(cuts), len(stream)]
    pieces = [stream[start:end] for start, end in pairwise(edges)]
    return b"".join(map(adder.feed, pieces)) + adder.close()


@pytest.mark.parametrize("api", STREAMS)
def test_a_stream_cut_at_each_position_states_the_cost_once(api: str) -> None:
    """Wherever the stream is cut in two, the member stands in the event that states the usage, and nowhere else."""
    stream, priced = STREAMS[api]
    assert priced != stream
    for cut in range(len(stream)):
        assert edited(CostAdder(api, lambda: COST), stream, [cut]) == priced


@given(st.sampled_from(sorted(STREAMS)), st.lists(st.integers(0, 300), max_size=12))
def test_a_stream_cut_anywhere(api: str, cuts: list[int]) -> None:
    """Any number of pieces gives the same bytes."""
    stream, priced = STREAMS[api]
    assert edited(CostAdder(api, lambda: COST), stream, [min(cut, len(stream)) for cut in cuts]) == priced


@pytest.mark.parametrize("api", STREAMS)
def test_without_a_cost_every_byte_stays(api: str) -> None:
    """A call that has no price is handed on as it is."""
    stream, _ = STREAMS[api]
    assert edited(CostAdder(api, lambda: b""), stream, [7, 90]) == stream


def test_an_event_that_is_quiet_is_handed_on_as_the_same_object() -> None:
    """What holds no usage is neither copied nor looked into."""
    chunk = sse('{"choices":[{"index":0,"delta":{"content":"word"}}]}')
    assert CostAdder("openai.chat", lambda: COST).feed(chunk) is chunk


def test_an_encoded_stream_is_decoded() -> None:
    """What comes encoded all the same is handed on without its encoding."""
    adder = CostAdder("openai.chat", lambda: COST, "gzip")
    assert edited(adder, gzip.compress(CHAT), [3, 20]) == CHAT_PRICED


@pytest.mark.parametrize(
    ("api", "body", "priced"),
    [
        ("openai.chat", b'{"usage": {"a":1} , "id":"x"}', b'{"usage": {"a":1,%s} , "id":"x"}'),
        ("openai.chat", b'{"id":"x","usage":{}}', b'{"id":"x","usage":{%s}}'),
        ("openai.chat", b'{\n "usage": {\n  "a": 1\n }\n}', b'{\n "usage": {\n  "a": 1,%s\n }\n}'),
        ("anthropic.messages", b'{"usage":{"a":{"b":2}}}', b'{"usage":{"a":{"b":2},%s}}'),
        ("gemini.generate", b'{"usageMetadata":{"a":1},"x":[]}', b'{"usageMetadata":{"a":1,%s},"x":[]}'),
        # the same words deeper inside, before and after
        (
            "openai.chat",
            b'{"m":{"usage":{"a":1}},"usage":{"a":1},"n":{"usage":{"a":1}}}',
            b'{"m":{"usage":{"a":1}},"usage":{"a":1,%s},"n":{"usage":{"a":1}}}',
        ),
    ],
)
def test_a_whole_body_states_the_cost(api: str, body: bytes, priced: bytes) -> None:
    """The member stands last in the usage at the top, whatever else the body holds and however it is laid out."""
    made = whole_with_cost(api, body, COST)
    assert made is not None
    assert made == priced % COST
    assert msgspec.json.decode(made)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"usage":null}', b'{"usage":3}', b'{"choices":[{"usage":{}}]}'])
def test_a_body_without_usage_has_no_place_for_it(body: bytes) -> None:
    """Nothing is made up."""
    assert whole_with_cost("openai.chat", body, COST) is None


def test_formats_that_have_no_place() -> None:
    """A binary stream, or one without a usage object, is never edited."""
    assert states_cost("openai.chat")
    assert not states_cost("bedrock.converse")
    assert not states_cost("ollama")
    assert whole_with_cost("bedrock.converse", b'{"usage":{}}', COST) is None
