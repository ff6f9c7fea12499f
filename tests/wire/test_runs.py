"""Idle events that come in one block are passed over together: what is found and edited is as if each came alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from taximeter.wire import Reader, Route
from taximeter.wire.costing import CostAdder
from taximeter.wire.editing import EventEditor
from taximeter.wire.injection import UsageRemover

ROUTE = Route("openai.chat", "openai")
HEADERS = [("content-type", "text/event-stream")]


def _event(text: bytes, index: int = 0, end: bytes = b'],"usage":null}\n\n') -> bytes:
    head = b'data: {"id":"c1","object":"chat.completion.chunk","model":"gpt-4o","choices":[{"index":%d,' % index
    return head + b'"delta":{"content":"%b"},"finish_reason":null}' % text + end


USAGE = b'data: {"id":"c1","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":3,"total_tokens":8}}\n\n'
ODD = [
    _event(b"other", 1),
    _event(b"bare", end=b"]}\n\n"),
    _event(rb"a \"quoted\" word"),
    _event(rb"a line\nbreak"),
    _event(b'"},"x":{"content":"'),
    _event(b"a\nb"),
    _event(b"x" * 40_000),
    b": comment\n\n",
    b"\n",
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}\n\n',
    b'data: {"choices":[{"index":0,"delta":{"content":"a"}}],"usage":null}\r\n\r\n',
    USAGE,
    _event(b"", end=b'],"usage":{"prompt_tokens":5,"completion_tokens":4,"total_tokens":9}}\n\n'),
]
TEXTS = st.sampled_from([b"", b"a", b" word", b"null", "é".encode(), b"{}", b"x" * 300]).map(_event)
STREAMS = st.lists(
    st.one_of(st.lists(TEXTS, min_size=1, max_size=40), st.lists(st.sampled_from(ODD), min_size=1, max_size=2)),
    max_size=6,
).map(lambda runs: [event for run in runs for event in run])


@given(STREAMS)
def test_a_block_says_what_its_events_say(events: list[bytes]) -> None:
    """The same reading, however the stream is cut."""
    whole, apart = Reader(ROUTE, headers=HEADERS), Reader(ROUTE, headers=HEADERS)
    whole.feed(b"".join([*events, USAGE, b"data: [DONE]\n\n"]))
    for event in [*events, USAGE, b"data: [DONE]\n\n"]:
        apart.feed(event)
    assert whole.close() == apart.close()


def _edited(editor: EventEditor, pieces: list[bytes]) -> bytes:
    return b"".join([*map(editor.feed, pieces), editor.close()])


@given(STREAMS)
def test_a_block_is_edited_as_its_events_are(events: list[bytes]) -> None:
    """The same bytes, whether usage is taken out or a cost put in."""
    assert _edited(UsageRemover(), [b"".join(events)]) == _edited(UsageRemover(), events)
    adders = [CostAdder("openai.chat", lambda: b'"cost_usd":"1"') for _ in range(3)]
    together = _edited(adders[0], [b"".join(events)])
    assert together == _edited(adders[1], events)
    assert together == _edited(adders[2], [bytes([byte]) for byte in b"".join(events)])
