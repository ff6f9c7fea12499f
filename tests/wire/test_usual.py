"""What is read at once, because nothing in it is unusual, is read as it would be by the general way."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.wire import APIS, Reading, Route
from taximeter.wire.idle import UNUSUAL
from tests.wire.altering import altered, json_of
from tests.wire.making import (
    Json,
    chat_body,
    chat_chunk,
    chat_usage,
    dump,
    feed,
    gemini_chunk,
    message_end,
    message_start,
    response,
    response_event,
    sse,
    text_block,
    tokens,
    usage_chunk,
)
from tests.wire.recordings import names, recording
from tests.wire.streams import NASTY, SHAPES, TAME

QUICK = ("openai.chat", "openai.responses", "anthropic.messages", "gemini.generate")


@contextmanager
def the_general_way() -> Generator[None]:
    """Within it nothing is read at once."""
    with pytest.MonkeyPatch.context() as patch:
        for api in QUICK:
            patch.setattr(APIS[api], "usual", staticmethod(lambda _route, _body: None))
            patch.setattr(APIS[api], "usual_event", lambda _self, _name, _data: UNUSUAL)
        yield


# ---- whole bodies

CALL: Json = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Zürich"}'}}
DETAILS: dict[str, Any] = {
    "prompt_tokens_details": {"cached_tokens": 9},
    "completion_tokens_details": {"reasoning_tokens": 5},
}
ITEMS: list[Json] = [
    {"type": "reasoning", "id": "rs_1", "summary": []},
    {"type": "message", "id": "msg_1", "role": "assistant", "content": [{"type": "output_text", "text": "Hi."}]},
    {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "weather", "arguments": "{}"},
]
ANTHROPIC: Json = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-opus-4-8",
    "content": [
        {"type": "thinking", "thinking": "Hm.", "signature": "x"},
        {"type": "text", "text": "Grüezi."},
        {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Bern", "days": 2}},
    ],
    "stop_reason": "tool_use",
    "usage": {
        "input_tokens": 12,
        "cache_read_input_tokens": 40,
        "cache_creation_input_tokens": 5,
        "cache_creation": {"ephemeral_5m_input_tokens": 5, "ephemeral_1h_input_tokens": 0},
        "output_tokens": 7,
        "server_tool_use": None,
        "service_tier": "standard",
        "inference_geo": "not_available",
    },
}
GEMINI = gemini_chunk(
    "Grüezi.",
    finish="STOP",
    usage=tokens(
        12,
        7,
        24,
        thoughtsTokenCount=5,
        cachedContentTokenCount=4,
        promptTokensDetails=[{"modality": "TEXT", "tokenCount": 9}, {"modality": "AUDIO", "tokenCount": 3}],
        trafficType="ON_DEMAND_PRIORITY",
    ),
    createTime="2026-11-22T08:19:00.123456Z",
)
GEMINI_CALL: Json = {
    **gemini_chunk(finish="STOP", usage=tokens(12, 7)),
    "candidates": [
        {"content": {"parts": [{"functionCall": {"name": "f", "args": {"x": [1, 2]}}}]}, "finishReason": "STOP"}
    ],
}
CALLED: Json = {"index": 0, "message": {"content": None, "tool_calls": [CALL]}, "finish_reason": "tool_calls"}
BODIES: list[tuple[str, Json]] = [
    ("openai.chat", chat_body(chat_usage(12, 7, **DETAILS), service_tier="default", system_fingerprint=None)),
    ("openai.chat", chat_body(chat_usage(12, 7), choices=[CALLED])),
    ("openai.chat", chat_body(chat_usage(12, 7, prompt_cache_hit_tokens=9, prompt_cache_miss_tokens=3))),
    ("openai.responses", response({"input_tokens": 12, "output_tokens": 7, "total_tokens": 19}, output=ITEMS)),
    ("openai.responses", response({"input_tokens": 1, "output_tokens": 0}, error=None, tools=[{"type": "function"}])),
    ("anthropic.messages", ANTHROPIC),
    ("gemini.generate", GEMINI),
    ("gemini.generate", GEMINI_CALL),
]


def _read(api: str, chunks: Sequence[bytes], kind: str = "application/json", provider: str = "openai") -> Reading:
    return feed(Route(api, provider), chunks, headers=[("content-type", kind)])


@pytest.mark.parametrize(("api", "body"), BODIES)
def test_a_body_in_which_nothing_is_unusual(api: str, body: Json) -> None:
    """The bodies that most answers are, are read at once, and as the general way reads them."""
    raw = dump(body)
    at_once = APIS[api].usual(Route(api, "openai"), raw)
    assert at_once is not None
    with the_general_way():
        assert at_once == _read(api, [raw])
    assert at_once == _read(api, [raw])
    assert at_once.usage is not None


@given(
    body=st.sampled_from(BODIES), dice=st.randoms(use_true_random=False), provider=st.sampled_from(["xai", "vercel"])
)
def test_a_body_in_which_something_may_be_unusual(body: tuple[str, Json], dice: random.Random, provider: str) -> None:
    """A body with something changed anywhere in it is read as the general way reads it."""
    api, document = body
    raw = json_of(altered(document, dice))
    reading = _read(api, [raw], provider=provider)
    with the_general_way():
        assert reading == _read(api, [raw], provider=provider)


# ---- streams


def _chat_events() -> list[Any]:
    chunks = [chat_chunk(delta={"role": "assistant", "content": ""}), chat_chunk("Good"), chat_chunk(" day")]
    return [*chunks, chat_chunk(finish="stop"), usage_chunk(chat_usage(12, 7, **DETAILS))]


def _response_events() -> list[Any]:
    final = response({"input_tokens": 12, "output_tokens": 7}, output=ITEMS[:2], tools=[], tool_usage=None)
    return [
        response_event("response.created", response=response(status="in_progress")),
        response_event("response.output_item.added", output_index=0, item={"type": "message", "id": "msg_1"}),
        response_event("response.output_text.delta", output_index=0, delta="Good"),
        response_event("response.output_text.delta", output_index=0, delta=" day"),
        response_event("response.function_call_arguments.delta", output_index=1, delta="{}"),
        response_event("response.output_item.done", output_index=0, item=ITEMS[1]),
        response_event("response.output_item.done", output_index=1, item=ITEMS[2]),
        response_event("response.completed", response=final),
    ]


def _anthropic_events() -> list[Any]:
    use: Json = {"type": "tool_use", "id": "c1", "name": "weather", "input": {}}
    piece: Json = {"type": "input_json_delta", "partial_json": "{}"}
    return [
        message_start({"input_tokens": 12, "output_tokens": 1, "service_tier": "standard"}),
        {"type": "ping"},
        *text_block("Good", " day"),
        {"type": "content_block_start", "index": 1, "content_block": use},
        {"type": "content_block_delta", "index": 1, "delta": piece},
        {"type": "content_block_stop", "index": 1},
        *message_end({"output_tokens": 7}),
    ]


def _gemini_events() -> list[Any]:
    return [gemini_chunk("Good", usage=tokens(12, 1)), gemini_chunk(" day", usage=tokens(12, 2)), GEMINI_CALL, GEMINI]


STREAMS: dict[str, tuple[Callable[[], list[Any]], bool]] = {
    "openai.chat": (_chat_events, False),
    "openai.responses": (_response_events, True),
    "anthropic.messages": (_anthropic_events, True),
    "gemini.generate": (_gemini_events, False),
}


def _streamed(api: str, events: Sequence[Any]) -> bytes:
    _, named = STREAMS[api]
    return b"".join(
        (
            b"event: %b\n" % str(each["type"]).encode("utf-8", "replace")
            if named and isinstance(each.get("type"), str)
            else b""
        )
        + b"data: %b\n\n" % json_of(each)
        for each in events
        if isinstance(each, dict)
    )


@given(api=st.sampled_from(QUICK), dice=st.randoms(use_true_random=False))
def test_events_in_which_something_may_be_unusual(api: str, dice: random.Random) -> None:
    """A stream with something changed anywhere in it, whole or cut, is read as the general way reads it."""
    raw = _streamed(api, altered(STREAMS[api][0](), dice))
    cut = dice.randrange(len(raw) + 1)
    for chunks in ([raw], [raw[:cut], raw[cut:]], [raw[:cut]]):
        reading = _read(api, chunks, "text/event-stream")
        with the_general_way():
            assert reading == _read(api, chunks, "text/event-stream")


@pytest.mark.parametrize("api", QUICK)
def test_events_in_which_nothing_is_unusual(api: str) -> None:
    """Most events of a stream are read at once: else the test above would compare the general way with itself."""
    form = APIS[api](Route(api, "openai"), {})
    at_once = [form.usual_event(b"", dump(event)) is not UNUSUAL for event in STREAMS[api][0]()]
    assert sum(at_once) >= len(at_once) / 2


@pytest.mark.parametrize("name", SHAPES)
def test_streams_of_every_shape(name: str) -> None:
    """Streams of every shape, with texts that look like the wire, are read as the general way reads them."""
    shape = SHAPES[name]
    texts = [*TAME, *NASTY, *TAME]
    events = [*shape.before, *(shape.event(text, place) for place, text in enumerate(texts)), *shape.after]
    reading = _read(shape.api, events, shape.content_type, shape.provider)
    with the_general_way():
        assert reading == _read(shape.api, events, shape.content_type, shape.provider)


@pytest.mark.needs("captures")
def test_recordings() -> None:
    """Every recorded answer is read as the general way reads it, and many of them at once."""
    readings = {name: recording(name).read() for name in names()}
    with the_general_way():
        for name, reading in readings.items():
            assert recording(name).read() == reading, name
    captures = [recording(name).capture for name in names()]
    at_once = [APIS[each.route.api].usual(each.route, each.body) is not None for each in captures if each.status < 300]
    assert sum(at_once) > 60


def test_silent_events_are_not_looked_into() -> None:
    """An event that by its type tells nothing is passed over, and the pattern of the events around it stays."""
    delta = response_event("response.output_text.delta", delta="Hi")
    silent = response_event("response.content_part.added", part={"type": "output_text", "text": "not counted"})
    done = response_event("response.completed", response=response({"input_tokens": 12, "output_tokens": 7}))
    reading = _read("openai.responses", [sse(delta, silent, delta, done, named=True)], "text/event-stream")
    assert (reading.text_bytes, reading.complete, reading.fault) == (4, True, None)


def test_an_event_that_claims_to_be_silent_and_is_not() -> None:
    """Only the type at the start of its data makes an event silent, not its name; and a broken one is told."""
    done = dump(response_event("response.completed", response=response({"input_tokens": 12, "output_tokens": 7})))
    body = b"event: response.content_part.added\ndata: " + done + b"\n\n"
    reading = _read("openai.responses", [body], "text/event-stream")
    assert reading.usage is not None
    broken = b'event: ping\ndata: {"type":"ping"\n\n'
    assert "not JSON" in (_read("anthropic.messages", [broken], "text/event-stream").fault or "")
