"""Asking for usage, and taking out of the answer what only that put there."""

from __future__ import annotations

import gzip
import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.errors import WireError
from taximeter.wire import Route
from taximeter.wire.editing import MAX_EVENT_BYTES
from taximeter.wire.injection import (
    UsageRemover,
    ask_for_usage,
    can_ask,
    is_signed,
    needs_asking,
    splice,
)

OPENAI = Route("openai.chat", "openai")
HOST = "api.openai.com"
PATH = "/v1/chat/completions"

HEAD = b'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"gpt-4o","choices":'
TEXT = b'[{"index":0,"delta":{"content":"Hi, \\"usage\\":null"},"finish_reason":null}]'
STOP = b'[{"index":0,"delta":{},"finish_reason":"stop"}]'
USAGE = b'{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}'
DONE = b"data: [DONE]\n\n"

ASKED = b"".join(
    (
        HEAD + b'[],"prompt_filter_results":[],"usage":null}\n\n',
        HEAD + TEXT + b',"usage":null,"obfuscation":"ab}c"}\n\n',
        b": a comment\n\n",
        HEAD + TEXT + b',"x":{"usage":null},"usage":null}\n\n',
        HEAD + STOP + b',"usage":null}\n\n',
        HEAD + b'[],"usage":' + USAGE + b"}\n\n",
        HEAD + b'[],"moderation":{},"usage":null}\n\n',
        DONE,
    )
)
UNASKED = b"".join(
    (
        HEAD + b'[],"prompt_filter_results":[]}\n\n',
        HEAD + TEXT + b',"obfuscation":"ab}c"}\n\n',
        b": a comment\n\n",
        HEAD + TEXT + b',"x":{"usage":null}}\n\n',
        HEAD + STOP + b"}\n\n",
        HEAD + b'[],"moderation":{}}\n\n',
        DONE,
    )
)


def removed(*chunks: bytes, encoding: str | None = None) -> bytes:
    """What is handed on of an answer that comes in these chunks."""
    remover = UsageRemover(encoding)
    return b"".join([*map(remover.feed, chunks), remover.close()])


# ---- the request


@pytest.mark.parametrize(
    ("body", "asked"),
    [
        (
            b'{"model": "m", "stream": true}',
            b'{"stream_options":{"include_usage":true},"model": "m", "stream": true}',
        ),
        (
            b' {"stream":true,"stream_options":{"include_obfuscation":false}}',
            b' {"stream":true,"stream_options":{"include_usage":true,"include_obfuscation":false}}',
        ),
        (
            b'{"stream":true,"stream_options" : {  } , "n":1}',
            b'{"stream":true,"stream_options" : {"include_usage":true  } , "n":1}',
        ),
        (
            b'{"stream":true,"stream_options": null}',
            b'{"stream":true,"stream_options": {"include_usage":true}}',
        ),
        (  # the same words deeper inside, before and after
            b'{"tools":[{"stream_options":{}}],"stream_options":{},"stream":true,"metadata":{"stream_options":{}}}',
            (
                b'{"tools":[{"stream_options":{}}],"stream_options":{"include_usage":true},"stream":true,'
                b'"metadata":{"stream_options":{}}}'
            ),
        ),
    ],
)
def test_the_request_asks_and_is_otherwise_the_same(body: bytes, asked: bytes) -> None:
    """Where stream_options is absent, empty, null or about something else, only the one member is added."""
    assert splice(body) == asked
    assert json.loads(asked)["stream_options"]["include_usage"] is True


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m"}',
        b'{"stream":false}',
        b'{"stream":null}',
        b'{"messages":[{"stream":true}]}',
        b'{"stream":true,"stream_options":{"include_usage":true}}',
        b'{"stream":true,"stream_options":{"include_usage":false}}',
        b'{"stream":true,"stream_options":{"include_usage":null}}',
        b'{"stream":true,"stream_options":[]}',
        b'{"stream":true,"data_sources":[{"type":"azure_search"}]}',
        b'{"stream":true',
        b'["stream"]',
        b'--boundary\r\ncontent-disposition: form-data; name="stream"\r\n\r\ntrue',
        b"",
    ],
)
def test_a_request_that_need_not_ask_is_left(body: bytes) -> None:
    """No stream, its own word on usage, data of one's own, or nothing that can be read."""
    assert splice(body) is None


@pytest.mark.parametrize(
    ("provider", "host", "target", "asks"),
    [
        ("openai", "api.openai.com", "/v1/chat/completions", True),
        ("openai", "eu.api.openai.com:443", "/v1/chat/completions", True),
        ("openai", "gateway.example.com", "/openai/v1/chat/completions", False),
        ("openai", "api.openai.com.example.com", "/v1/chat/completions", False),
        ("azure", "me.openai.azure.com", "/openai/deployments/d/chat/completions?api-version=2024-06-01", False),
        ("azure", "me.openai.azure.com", "/openai/deployments/d/chat/completions?api-version=2024-10-21", True),
        ("azure", "me.openai.azure.com", "/openai/deployments/d/chat/completions?api-version=2024-09-01-preview", True),
        ("azure", "me.openai.azure.com", "/openai/v1/chat/completions", True),
        ("azure", "me.services.ai.azure.com", "/models/chat/completions?api-version=2025-01-01", False),
        ("ollama", "localhost:11434", "/v1/chat/completions", True),
        ("mistral", "api.mistral.ai", "/v1/chat/completions", False),
        ("groq", "api.groq.com", "/openai/v1/chat/completions", False),
        ("vllm", "10.0.0.1:8000", "/vllm/v1/chat/completions", False),
    ],
)
def test_only_who_needs_it_is_asked(provider: str, host: str, target: str, *, asks: bool) -> None:
    """A provider's own hosts, where the table says that it is needed and accepted; never a host that is not known."""
    assert can_ask(Route("openai.chat", provider), host, target) is asks


def test_a_declared_host_is_asked_as_it_was_declared() -> None:
    """What the user says of a host overrules the table; formats without the option are never asked."""
    vllm = Route("openai.chat", "vllm")
    assert can_ask(vllm, "llm.internal", PATH, declared=True)
    assert not can_ask(vllm, "llm.internal", PATH, declared=None)
    assert not can_ask(OPENAI, HOST, PATH, declared=False)
    assert not can_ask(Route("anthropic.messages", "vllm"), "llm.internal", "/v1/messages", declared=True)
    assert not can_ask(Route("openai.chat", "azure"), "apim.internal", PATH + "?api-version=2023-05-15", declared=True)
    assert (needs_asking("vllm"), needs_asking("deepseek")) == (True, False)


def test_asking_is_splicing_where_it_can_be_asked() -> None:
    """The two questions together."""
    body = b'{"stream":true}'
    assert ask_for_usage(OPENAI, body, host=HOST, target=PATH) == splice(body)
    assert ask_for_usage(OPENAI, body, host="llm.internal", target=PATH) is None


@pytest.mark.parametrize(
    ("name", "value", "signed"),
    [
        (b"Authorization", b"Bearer sk-1", False),
        (b"authorization", b"AWS4-HMAC-SHA256 Credential=x", True),
        (b"X-Amz-Content-Sha256", b"0", True),
        (b"Content-Digest", b"sha-256=:x:", True),
        (b"content-type", b"application/json", False),
    ],
)
def test_signed_bodies_are_known(name: bytes, value: bytes, *, signed: bool) -> None:
    """By the headers that signatures and digests come in."""
    assert is_signed([(b"host", b"x"), (name, value)]) is signed


# ---- the answer


def test_every_split_gives_the_same() -> None:
    """Whole, byte by byte, in two at every byte."""
    assert removed(ASKED) == UNASKED
    assert removed(*(bytes([byte]) for byte in ASKED)) == UNASKED
    for at in range(len(ASKED)):
        assert removed(ASKED[:at], ASKED[at:]) == UNASKED, at


@pytest.mark.parametrize("end", [b"\r\n", b"\r"])
def test_every_line_end_gives_the_same(end: bytes) -> None:
    """CRLF and CR as LF, at every split."""
    asked, unasked = (each.replace(b"\n", end) for each in (ASKED, UNASKED))
    for at in range(len(asked)):
        assert removed(asked[:at], asked[at:]) == unasked, at


@given(st.data())
def test_random_splits_give_the_same(data: st.DataObject) -> None:
    """In any number of pieces."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(ASKED)), max_size=12)))
    edges = [0, *cuts, len(ASKED)]
    assert removed(*(ASKED[a:b] for a, b in itertools.pairwise(edges))) == UNASKED


def test_events_come_as_soon_as_they_are_whole() -> None:
    """A whole event is handed on at once, the start of one is held back, and a whole one before it is not."""
    remover = UsageRemover()
    one, two = (HEAD + TEXT + b"}\n\n" for _ in range(2))
    assert remover.feed(one) == one
    assert remover.feed(two[:50]) == b""
    assert remover.feed(two[50:] + one[:10]) == two
    assert remover.close() == one[:10]


@given(st.lists(st.text(max_size=8), max_size=8), st.booleans())
def test_texts_of_every_kind(texts: list[str], padded: bool) -> None:  # noqa: FBT001 - drawn
    """Events that differ in nothing but their texts are edited alike, whatever the texts hold."""

    def event(text: str, middle: bytes) -> bytes:
        padding = b',"obfuscation":"%d"' % len(text) if padded else b""
        return HEAD + b'[{"delta":{"content":' + json.dumps(text).encode() + b"}}]" + middle + padding + b"}\n\n"

    remover = UsageRemover()
    for text in texts:
        assert remover.feed(event(text, b',"usage":null')) == event(text, b"")
    assert remover.feed(event(",", b',"usage":{}')) == event(",", b',"usage":{}')


@pytest.mark.parametrize(
    ("event", "left"),
    [
        (b'data: {"usage": null, "choices": []}\n\n', b'data: {"choices": []}\n\n'),
        (b'data: { "usage":null }\n\n', b"data: {  }\n\n"),
        (b'data: {"choices": [], "usage": null}\n\n', b'data: {"choices": []}\n\n'),
        (
            b'data:{"a":{"usage":null},"usage":null,"b":{"usage":null}}\n\n',
            b'data:{"a":{"usage":null},"b":{"usage":null}}\n\n',
        ),
        (b'id: 3\ndata: {"choices":[],"usage":null}\n\n', b'id: 3\ndata: {"choices":[]}\n\n'),
        (b'data: {"choices":[ ],"usage":{"total_tokens":1}}\n\n', b""),
    ],
)
def test_what_is_taken_out(event: bytes, left: bytes) -> None:
    """The member with its comma, wherever it stands at the top; the whole event of the usage."""
    assert removed(event) == left


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"choices":[{"delta":{}}],"usage":{"total_tokens":1}}\n\n',
        b'data: {"choices":[{"usage":null}]}\n\n',
        b'data: {"choices":[{"delta":{"content":",\\"usage\\":null}"}}]}\n\n',
        b'data: {"usage":{"total_tokens":1}}\n\n',
        b'data: {"choices":[],"usage":7}\n\n',
        b'data: {"error":{"message":"no \\"usage\\":null"}}\n\n',
        b'data: {"choices":[],"usage":null\n\n',
        b'{"choices":[],"usage":',
        b"\xef\xbb\xbfdata: [DONE]\n\n",
    ],
)
def test_what_is_left_alone(event: bytes) -> None:
    """Usage beside choices, deeper inside, in a text, of another kind; what is not JSON or not whole."""
    assert removed(event) == event


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=20),
            st.sampled_from([b"\n\n", b"\r\n", b"\r", b'"usage":null', b'data: {"usage"', b"}", b"[]", b"data: "]),
        )
    )
)
def test_garbage_loses_no_byte(pieces: list[bytes]) -> None:
    """Whatever comes is handed on, but for a member that a JSON object really has at its top."""
    whole = b"".join(pieces)
    left = removed(*pieces)
    assert left == removed(whole)
    if b"{" not in whole:
        assert left == whole


def test_an_event_that_is_too_long_is_handed_on_as_it_comes() -> None:
    """Memory is bounded, no byte is lost, and the events after it are edited again."""
    long = b'data: {"choices":[{"delta":{"content":"' + b"x" * MAX_EVENT_BYTES
    remover = UsageRemover()
    assert remover.feed(long[:100]) == b""
    assert remover.feed(long[100:]) == long
    assert remover.feed(b"yyy") == b"yyy"
    end = b'"}}],"usage":null}\n\n'
    assert remover.feed(end + HEAD + b'[],"usage":' + USAGE + b"}\n\n" + DONE) == end + DONE


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_an_encoded_answer_is_decoded(size: int) -> None:
    """What is handed on is not encoded, however the encoded bytes are cut."""
    packed = gzip.compress(ASKED)
    assert removed(*(packed[at : at + size] for at in range(0, len(packed), size)), encoding="gzip") == UNASKED
    assert removed(ASKED, encoding="gzip") == UNASKED  # says so, and is not


def test_what_cannot_be_decoded_says_so() -> None:
    """An encoding that nobody knows at once, one that is damaged when it comes."""
    with pytest.raises(WireError, match="content-encoding"):
        UsageRemover("compress")
    damaged = bytearray(gzip.compress(ASKED))
    damaged[20] ^= 0xFF
    with pytest.raises(WireError, match="cannot be decoded"):
        removed(bytes(damaged), encoding="gzip")
