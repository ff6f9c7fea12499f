"""What reading an answer costs, by wire format: a chunk that carries nothing for us, a whole body, and all the rest.

Each format gets a stream of 20,000 chunks of about 250 bytes that hold only output text, then its end with the usage.
In alternated rounds, on the same chunks: the reader; ``json.loads`` of every event (its payload cut out beforehand, so
that only the parsing is counted); and one search through the bytes. CPU time, the minimum of the rounds.

What a call costs besides such chunks is measured too, from making the reader to its reading: for a whole body of about
1.5 KB, and for a stream of two chunks and its end, the fixed part of every stream.

Run ``python benchmarks/wire.py``, with ``--json`` for one JSON object as the last line.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import NamedTuple

from taximeter.wire import Reader, Route
from taximeter.wire.eventstream import encode_message

CHUNKS = 20_000
ROUNDS = 7
CALLS = 20
CALL_RUNS = 200
TEXT = " forty-two"


class Stream(NamedTuple):
    """A stream to read: its chunks, the JSON in each, and how it is announced."""

    api: str
    content_type: str
    chunks: list[bytes]
    payloads: list[bytes]
    ending: bytes
    output_tokens: int


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _sse(value: object, event: str = "", end: str = "\n\n") -> bytes:
    head = f"event: {event}\ndata: ".encode() if event else b"data: "
    return head + _json(value) + end.encode()


def _padding(index: int) -> str:
    return "aZ3kQ9xYb0"[: index % 10]


def chat(index: int) -> tuple[bytes, bytes]:
    """A chunk of OpenAI's Chat Completions, with the padding that OpenAI adds by default."""
    value = {
        "id": "chatcmpl-B1c2D3e4F5g6H7i8J9k0L1m2N3o4P",
        "object": "chat.completion.chunk",
        "created": 1_770_764_857,
        "model": "gpt-5.1-2025-11-13",
        "system_fingerprint": None,
        "choices": [{"index": 0, "delta": {"content": TEXT}, "finish_reason": None}],
        "usage": None,
        "obfuscation": _padding(index),
    }
    return _sse(value), _json(value)


def chat_plain(index: int) -> tuple[bytes, bytes]:
    """A chunk of Chat Completions as most others send it."""
    value = {
        "id": f"chatcmpl-{'a74ad02f-fb60-461d-8042-24ab0b962b51'}",
        "object": "chat.completion.chunk",
        "created": 1_770_764_857,
        "model": "moonshotai/kimi-k2-instruct-0905",
        "system_fingerprint": "fp_05df423bab",
        "choices": [
            {"index": 0, "delta": {"content": TEXT + " "[: index % 2]}, "logprobs": None, "finish_reason": None}
        ],
    }
    return _sse(value), _json(value)


def responses(index: int) -> tuple[bytes, bytes]:
    """An event of OpenAI's Responses."""
    value = {
        "type": "response.output_text.delta",
        "content_index": 0,
        "delta": TEXT,
        "item_id": "msg_0f6b1e2d3c4b5a69788796a5b4c3d2e1f0",
        "logprobs": [],
        "obfuscation": _padding(index),
        "output_index": 0,
        "sequence_number": index,
    }
    return _sse(value, "response.output_text.delta"), _json(value)


def messages(index: int) -> tuple[bytes, bytes]:
    """An event of Anthropic's Messages."""
    text = TEXT * 12 + str(index)
    value = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
    return _sse(value, "content_block_delta"), _json(value)


def gemini(index: int) -> tuple[bytes, bytes]:
    """An event of Gemini's: it carries a running usage, of which only the last counts."""
    value = {
        "candidates": [{"content": {"parts": [{"text": TEXT}], "role": "model"}, "index": 0}],
        "usageMetadata": {"promptTokenCount": 11, "candidatesTokenCount": index, "totalTokenCount": 11 + index},
        "modelVersion": "gemini-2.5-flash",
        "responseId": "Umslat3kHa-uDREZrjqtsPorPyyAE",
    }
    return _sse(value, end="\r\n\r\n"), _json(value)


def converse(index: int) -> tuple[bytes, bytes]:
    """A message of Bedrock's ConverseStream, with its padding."""
    payload = _json({"contentBlockIndex": 0, "delta": {"text": TEXT * 7}, "p": _padding(index)})
    headers = {":event-type": "contentBlockDelta", ":content-type": "application/json", ":message-type": "event"}
    return encode_message(headers, payload), payload


def ollama(index: int) -> tuple[bytes, bytes]:
    """A line of Ollama's chat."""
    value = {
        "model": "llama3.2",
        "created_at": f"2026-11-22T06:50:{index % 60:02d}.{index:06d}Z",
        "message": {"role": "assistant", "content": TEXT * 13},
        "done": False,
    }
    return _json(value) + b"\n", _json(value)


_METADATA = {":event-type": "metadata", ":content-type": "application/json", ":message-type": "event"}
_CHAT_END = (
    _sse({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    + _sse({"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": CHUNKS, "total_tokens": 11 + CHUNKS}})
    + b"data: [DONE]\n\n"
)
_RESPONSES_END = _sse(
    {
        "type": "response.completed",
        "response": {"status": "completed", "usage": {"input_tokens": 11, "output_tokens": CHUNKS}},
    },
    "response.completed",
)
_MESSAGES_END = _sse(
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn"},
        "usage": {"input_tokens": 11, "output_tokens": CHUNKS},
    }
) + _sse({"type": "message_stop"})
_GEMINI_END = _sse({"candidates": [{"finishReason": "STOP"}]}, end="\r\n\r\n")
_CONVERSE_END = encode_message(_METADATA, _json({"usage": {"inputTokens": 11, "outputTokens": CHUNKS}}))
_OLLAMA_END = _json({"model": "llama3.2", "done": True, "prompt_eval_count": 11, "eval_count": CHUNKS}) + b"\n"

_PROSE = (TEXT * 90).strip()
_CHAT_USAGE = {
    "prompt_tokens": 1117,
    "completion_tokens": 246,
    "total_tokens": 1363,
    "prompt_tokens_details": {"cached_tokens": 1024, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 128, "audio_tokens": 0, "accepted_prediction_tokens": 0},
}
_CHAT_WHOLE = {
    "id": "chatcmpl-B1c2D3e4F5g6H7i8J9k0L1m2N3o4P",
    "object": "chat.completion",
    "created": 1_770_764_857,
    "model": "gpt-5.1-2025-11-13",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": _PROSE}, "finish_reason": "stop"}],
    "usage": _CHAT_USAGE,
    "service_tier": "default",
}
_RESPONSES_WHOLE = {
    "id": "resp_0f6b1e2d3c4b5a69788796a5b4c3d2e1f0",
    "object": "response",
    "created_at": 1_770_764_857,
    "status": "completed",
    "error": None,
    "incomplete_details": None,
    "model": "gpt-5.1-2025-11-13",
    "output": [
        {"id": "msg_1", "type": "message", "role": "assistant", "content": [{"type": "output_text", "text": _PROSE}]}
    ],
    "tools": [],
    "usage": {
        "input_tokens": 1117,
        "input_tokens_details": {"cached_tokens": 1024},
        "output_tokens": 246,
        "output_tokens_details": {"reasoning_tokens": 128},
        "total_tokens": 1363,
    },
    "service_tier": "default",
}
_MESSAGES_WHOLE = {
    "id": "msg_01Aq9w938a90dw8q",
    "type": "message",
    "role": "assistant",
    "model": "claude-opus-4-8",
    "content": [{"type": "text", "text": _PROSE}],
    "stop_reason": "end_turn",
    "usage": {
        "input_tokens": 93,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 1024,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": 246,
        "service_tier": "standard",
    },
}
_GEMINI_WHOLE = {
    "candidates": [{"content": {"parts": [{"text": _PROSE}], "role": "model"}, "finishReason": "STOP", "index": 0}],
    "usageMetadata": {
        "promptTokenCount": 1117,
        "candidatesTokenCount": 118,
        "thoughtsTokenCount": 128,
        "totalTokenCount": 1363,
        "cachedContentTokenCount": 1024,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 1117}],
    },
    "modelVersion": "gemini-2.5-flash",
    "responseId": "Umslat3kHa-uDREZrjqtsPorPyyAE",
}
_CONVERSE_WHOLE = {
    "output": {"message": {"role": "assistant", "content": [{"text": _PROSE}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 1117, "outputTokens": 246, "totalTokens": 1363},
}
_OLLAMA_WHOLE = {
    "model": "llama3.2",
    "created_at": "2026-11-22T06:50:00.123456Z",
    "message": {"role": "assistant", "content": _PROSE},
    "done": True,
    "prompt_eval_count": 1117,
    "eval_count": 246,
}
_WHOLE: dict[str, object] = {
    "openai.chat": _CHAT_WHOLE,
    "openai.chat (others)": {**_CHAT_WHOLE, "usage": {**_CHAT_USAGE, "prompt_cache_hit_tokens": 1024}},
    "openai.responses": _RESPONSES_WHOLE,
    "anthropic.messages": _MESSAGES_WHOLE,
    "gemini.generate": _GEMINI_WHOLE,
    "bedrock.converse": _CONVERSE_WHOLE,
    "ollama": _OLLAMA_WHOLE,
}
_HEADERS = [
    ("date", "Sun, 22 Nov 2026 08:19:00 GMT"),
    ("connection", "keep-alive"),
    ("x-request-id", "req_0123456789"),
    ("x-ratelimit-limit-requests", "10000"),
    ("x-ratelimit-remaining-requests", "9999"),
]

_SSE_TYPE = "text/event-stream"
_FORMATS: dict[str, tuple[str, str, Callable[[int], tuple[bytes, bytes]], bytes]] = {
    "openai.chat": ("openai.chat", _SSE_TYPE, chat, _CHAT_END),
    "openai.chat (others)": ("openai.chat", _SSE_TYPE, chat_plain, _CHAT_END),
    "openai.responses": ("openai.responses", _SSE_TYPE, responses, _RESPONSES_END),
    "anthropic.messages": ("anthropic.messages", _SSE_TYPE, messages, _MESSAGES_END),
    "gemini.generate": ("gemini.generate", _SSE_TYPE, gemini, _GEMINI_END),
    "bedrock.converse": ("bedrock.converse", "application/vnd.amazon.eventstream", converse, _CONVERSE_END),
    "ollama": ("ollama", "application/x-ndjson", ollama, _OLLAMA_END),
}


def _stream(name: str) -> Stream:
    api, content_type, make, ending = _FORMATS[name]
    pairs = [make(index) for index in range(1, CHUNKS + 1)]
    return Stream(api, content_type, [pair[0] for pair in pairs], [pair[1] for pair in pairs], ending, CHUNKS)


def _read(stream: Stream) -> int:
    reader = Reader(Route(stream.api, "bench"), headers=[("content-type", stream.content_type)])
    started = time.process_time_ns()
    for chunk in stream.chunks:
        reader.feed(chunk)
    taken = time.process_time_ns() - started
    reader.feed(stream.ending)
    reading = reader.close()
    assert reading.usage is not None, reading
    assert reading.usage.output_tokens == stream.output_tokens, reading
    assert reading.complete, reading
    return taken


def _parse(stream: Stream) -> int:
    loads = json.loads
    started = time.process_time_ns()
    for payload in stream.payloads:
        loads(payload)
    return time.process_time_ns() - started


def _pass(stream: Stream) -> int:
    started = time.process_time_ns()
    for chunk in stream.chunks:
        chunk.find(b"\x00")
    return time.process_time_ns() - started


def _call(api: str, content_type: str, chunks: list[bytes]) -> float:
    """Microseconds for the whole life of a reader: the minimum over short runs, so that few are disturbed."""
    route, headers = Route(api, "bench"), [*_HEADERS, ("content-type", content_type)]
    best = float("inf")
    for _ in range(CALL_RUNS):
        started = time.process_time_ns()
        for _ in range(CALLS):
            reader = Reader(route, headers=headers)
            for chunk in chunks:
                reader.feed(chunk)
            assert reader.close().usage is not None
        best = min(best, (time.process_time_ns() - started) / CALLS / 1000)
    return best


def measure_call(name: str) -> dict[str, float]:
    """What a call costs besides the chunks that hold only text."""
    api, content_type, make, ending = _FORMATS[name]
    body = _json(_WHOLE[name])
    ends = b"\r\n\r\n" if b"\r\n\r\n" in ending else b"\n\n"
    last = [part + ends for part in ending.split(ends) if part] if content_type == _SSE_TYPE else [ending]
    return {
        "us_whole_body": round(_call(api, "application/json", [body]), 1),
        "whole_body_bytes": len(body),
        "us_stream_fixed": round(_call(api, content_type, [make(1)[0], make(2)[0], *last]), 1),
    }


def measure(name: str) -> dict[str, float]:
    """One format, all three ways, in alternated rounds."""
    stream = _stream(name)
    rounds = [(_read(stream), _parse(stream), _pass(stream)) for _ in range(ROUNDS)]
    read, parse, scan = (min(column) / CHUNKS / 1000 for column in zip(*rounds, strict=True))
    size = sum(len(chunk) for chunk in stream.chunks) / CHUNKS
    return {
        "us_per_idle_chunk": round(read, 3),
        "ratio_to_json_loads": round(parse / read, 2),
        "us_json_loads": round(parse, 3),
        "us_plain_pass": round(scan, 3),
        "mb_per_s": round(size / read, 1),
        "bytes_per_chunk": round(size, 1),
    }


def main() -> None:
    """Measures every format and prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    options = parser.parse_args()
    print(f"{'format':<22}{'bytes':>7}{'µs/chunk':>10}{'json.loads':>12}{'one pass':>10}{'MB/s':>8}{'ratio':>7}")
    results: dict[str, dict[str, float]] = {}
    for name in _FORMATS:
        found = results[name] = measure(name)
        print(
            f"{name:<22}{found['bytes_per_chunk']:>7.0f}{found['us_per_idle_chunk']:>10.2f}{found['us_json_loads']:>12.2f}"
            f"{found['us_plain_pass']:>10.2f}{found['mb_per_s']:>8.0f}{found['ratio_to_json_loads']:>7.1f}"
        )
    print(f"\n{'format':<22}{'bytes':>7}{'µs/whole body':>15}{'µs/stream, fixed part':>23}")
    for name in _FORMATS:
        found = measure_call(name)
        results[name] |= found
        print(
            f"{name:<22}{found['whole_body_bytes']:>7.0f}{found['us_whole_body']:>15.1f}{found['us_stream_fixed']:>23.1f}"
        )
    if options.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
