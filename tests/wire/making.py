"""Small answers of our own making for the tests of the wire readers, and the one way to read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

import msgspec

from taximeter.usage import Usage
from taximeter.wire import Reader, Reading, Route
from taximeter.wire.eventstream import encode_message

Json = dict[str, object]

_encoder = msgspec.json.Encoder(decimal_format="number")
_HTTP_TYPES = {True: "text/event-stream", False: "application/json"}
_SSE_STARTS = (b"data:", b"event:", b":")


def dump(value: object) -> bytes:
    """Compact JSON; a Decimal is written as a number, so that no test needs a float."""
    return _encoder.encode(value)


def sse(*events: object, named: bool = False, done: bool = False, end: bytes = b"\n") -> bytes:
    """A stream of server-sent events.

    Args:
        events: JSON values; bytes are taken as they are.
        named: whether each has an ``event:`` line with its ``type`` before the data.
        done: whether ``[DONE]`` follows.
        end: how lines end.
    """
    whole: list[bytes] = []
    for event in events:
        if isinstance(event, bytes):
            whole.append(event)
            continue
        if named and isinstance(event, dict):
            whole.append(b"event: " + str(event["type"]).encode() + end)
        whole.append(b"data: " + dump(event) + end + end)
    if done:
        whole.append(b"data: [DONE]" + end + end)
    return b"".join(whole)


def lines(*values: object) -> bytes:
    """One JSON value a line."""
    return b"".join(dump(value) + b"\n" for value in values)


def message(name: str, payload: object, *, kind: str = "event") -> bytes:
    """One message of Amazon's event stream: an event, or an ``exception`` of that name."""
    headers = {f":{kind}-type": name, ":content-type": "application/json", ":message-type": kind}
    return encode_message(headers, payload if isinstance(payload, bytes) else dump(payload))


def pieces(body: bytes, size: int) -> list[bytes]:
    """The body in chunks of ``size`` bytes."""
    return [body[at : at + size] for at in range(0, len(body), size)]


def read(  # noqa: PLR0913 - everything that an answer has
    api: str,
    body: bytes | Json | list[object],
    *,
    provider: str = "openai",
    model: str | None = None,
    status: int = 200,
    content_type: str | None = None,
    headers: Iterable[tuple[str, str]] = (),
    split: int | None = 7,
    cut: bool = False,
) -> Reading:
    """Reads an answer in one piece, and again in pieces of ``split`` bytes: both must say the same.

    Args:
        api: the wire format.
        body: bytes, or a value that is sent as JSON.
        provider: who is called.
        model: the model that the path names.
        status: the HTTP status.
        content_type: of the answer; if not given, JSON or an event stream as the body's first bytes show.
        headers: further headers.
        split: the size of the pieces; ``None`` where reading twice is not worth it.
        cut: whether the connection broke.
    """
    raw = body if isinstance(body, bytes) else dump(body)
    kind = content_type or _HTTP_TYPES[raw.startswith(_SSE_STARTS)]
    route = Route(api=api, provider=provider, model=model)
    all_headers = [("Content-Type", kind), *headers]
    reading = feed(route, [raw], status=status, headers=all_headers, cut=cut)
    if split is not None:
        again = feed(route, pieces(raw, split), status=status, headers=all_headers, cut=cut)
        assert again == reading
    return reading


def feed(
    route: Route,
    chunks: Iterable[bytes],
    *,
    status: int = 200,
    headers: Sequence[tuple[str, str]] = (),
    cut: bool = False,
) -> Reading:
    """Reads an answer in just these chunks."""
    reader = Reader(route, status=status, headers=headers)
    for chunk in chunks:
        reader.feed(chunk)
    return reader.close(cut=cut)


def counted(reading: Reading) -> Usage:
    """The usage, which must be known."""
    assert reading.usage is not None
    return reading.usage


def kinds(reading: Reading) -> list[tuple[str, str]]:
    """Kind and unit of each contradiction, in order."""
    return [(each.kind, each.unit) for each in reading.contradictions]


# ---- OpenAI's Chat Completions


def chat_chunk(
    text: str | None = None,
    *,
    delta: Json | None = None,
    finish: str | None = None,
    model: str = "gpt-5.2",
    index: int = 0,
    **members: object,
) -> Json:
    """A chunk of a chat stream with one choice; ``members`` stand beside ``choices``."""
    content: Json = delta or ({} if text is None else {"content": text})
    choice: Json = {"index": index, "delta": content, "finish_reason": finish}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_780_000_000,
        "model": model,
        "choices": [choice],
        **members,
    }


def usage_chunk(usage: object, *, model: str = "gpt-5.2", **members: object) -> Json:
    """The chunk without choices that carries the usage."""
    chunk: Json = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_780_000_000, "model": model}
    return {**chunk, "choices": [], "usage": usage, **members}


def chat_body(usage: object = None, *, finish: str = "stop", model: str = "gpt-5.2", **members: object) -> Json:
    """A whole chat answer."""
    answer: Json = {"role": "assistant", "content": "Good day."}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_780_000_000,
        "model": model,
        "choices": [{"index": 0, "message": answer, "finish_reason": finish}],
        "usage": usage,
        **members,
    }


def chat_usage(prompt: int, completion: int, total: int | None = None, **members: object) -> Json:
    """A usage object of Chat Completions; the total is the sum unless it is given."""
    stated = prompt + completion if total is None else total
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": stated, **members}


# ---- Anthropic's Messages


def message_start(usage: object, *, model: str = "claude-opus-4-8") -> Json:
    """The first event of a message."""
    body: Json = {"id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": [], "usage": usage}
    return {"type": "message_start", "message": body}


def text_block(*texts: str, index: int = 0) -> list[Json]:
    """The events of a block of text."""
    start: Json = {"type": "content_block_start", "index": index, "content_block": {"type": "text", "text": ""}}
    deltas: list[Json] = [
        {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": text}} for text in texts
    ]
    return [start, *deltas, {"type": "content_block_stop", "index": index}]


def message_end(usage: object, *, reason: str = "end_turn") -> list[Json]:
    """The last two events of a message."""
    delta: Json = {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}
    return [delta, {"type": "message_stop"}]


def claude(start: object, end: object, *between: object, model: str = "claude-opus-4-8") -> bytes:
    """A whole stream of a message with the usage that opens it and the one that ends it."""
    return sse(message_start(start, model=model), *(between or text_block("Good day.")), *message_end(end), named=True)


# ---- Gemini


def gemini_chunk(text: str | None = None, *, finish: object = None, usage: object = None, **members: object) -> Json:
    """A chunk of Gemini's stream, or its whole answer."""
    candidate: Json = {"content": {"parts": [] if text is None else [{"text": text}], "role": "model"}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    chunk: Json = {"candidates": [candidate]}
    if usage is not None:
        chunk["usageMetadata"] = usage
    return {**chunk, "modelVersion": "gemini-3-flash", "responseId": "r1", **members}


def tokens(prompt: int, candidates: int, total: int | None = None, **members: object) -> Json:
    """A usageMetadata; the total is the sum unless it is given."""
    stated = prompt + candidates if total is None else total
    return {"promptTokenCount": prompt, "candidatesTokenCount": candidates, "totalTokenCount": stated, **members}


# ---- OpenAI's Responses


def response(usage: object = None, *, status: str = "completed", **members: object) -> Json:
    """A response object."""
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_780_000_000,
        "model": "gpt-5.2",
        "status": status,
        "output": [],
        "usage": usage,
        **members,
    }


def response_event(kind: str, **members: object) -> Json:
    """An event of a response's stream."""
    return {"type": kind, "sequence_number": 1, **members}


EXACT = Decimal
"""For costs in bodies: ``EXACT("0.005")`` is written as the number 0.005."""
