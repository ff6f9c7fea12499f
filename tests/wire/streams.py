"""Streams of every format, event by event, and texts to put into them: tame ones, and ones that look like the wire."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import NamedTuple

from taximeter.usage import Usage
from tests.wire.making import (
    Json,
    chat_chunk,
    chat_usage,
    dump,
    gemini_chunk,
    message,
    message_end,
    message_start,
    response,
    response_event,
    sse,
    tokens,
    usage_chunk,
)

EVENTS = "application/vnd.amazon.eventstream"
LINES = "application/x-ndjson"
SSE = "text/event-stream"
ARRAY = "application/json"

TAME = ["Good", " day", " to", " you", " all", ".", " How", " are", " you?"]
"""Texts that make one event like another."""

NASTY = [
    "a",
    'a "quote"',
    "b",
    "c",
    "back\\slash",
    "\\",
    '\\"',
    '"',
    "d",
    "e",
    "line\nfeed",
    "\r\n\r\n",
    "\n\ndata: {}\n\n",
    "f",
    "ünïcödé 🙂 \u2028",
    "g",
    "",
    "h",
    '","usage":{"prompt_tokens":999}',
    '"}}]}\n\ndata: {"usage":{"prompt_tokens":999,"completion_tokens":999}}\n\n',
    '{"usage":{"prompt_tokens":999}}',
    "i",
    "]}{[",
    "},{",
    "j",
    "1234567890",
    "\x7f\x00",
    "k" * 5000,
    "l",
]
"""Texts that look like the wire around them, with tame ones between, so that there is a pattern to be fooled."""


class Shape(NamedTuple):
    """A stream of one format, event by event.

    Attributes:
        api: the wire format.
        content_type: of the answer.
        event: an event that holds a text, given the text and its place in the stream.
        before: the events before the texts.
        after: the events after them.
        usage: what the whole stream counts.
        provider: who is called.
    """

    api: str
    content_type: str
    event: Callable[[str, int], bytes]
    before: list[bytes]
    after: list[bytes]
    usage: Usage
    provider: str = "openai"


def named(event: Json) -> bytes:
    """An event with its name."""
    return sse(event, named=True)


def invoked(event: Json, place: int = 0) -> bytes:
    """An event of InvokeModel's stream."""
    return message("chunk", {"bytes": base64.b64encode(dump(event)).decode(), "p": "abcdefgh"[: place % 8]})


def piece(kind: str, text: str) -> Json:
    """A piece of a text or a thought of Anthropic's."""
    key = {"text_delta": "text", "thinking_delta": "thinking"}[kind]
    return {"type": "content_block_delta", "index": 0, "delta": {"type": kind, key: text}}


def spread(event: Json, end: bytes = b"\n") -> bytes:
    """An event whose JSON stands on several data lines."""
    text = dump(event).replace(b',"', b',\n"').replace(b"\n", end + b"data: ")
    return b"data: " + text + end + end


COUNTED = Usage(input_tokens=12, output_tokens=7)
CLAUDE: tuple[Json, list[Json]] = (
    message_start({"input_tokens": 12, "output_tokens": 1}),
    message_end({"output_tokens": 7}),
)
FINISHED = [sse(chat_chunk(finish="stop")), sse(usage_chunk(chat_usage(12, 7))), b"data: [DONE]\n\n"]
FINISHED_RESPONSE = response({"input_tokens": 12, "output_tokens": 7, "total_tokens": 19})
COMPLETED = named(response_event("response.completed", response=FINISHED_RESPONSE))
CONVERSED = [
    message("messageStop", {"stopReason": "end_turn"}),
    message("metadata", {"usage": {"inputTokens": 12, "outputTokens": 7, "totalTokens": 19}}),
]
GENERATED = gemini_chunk(".", finish="STOP", usage=tokens(12, 7))
OLLAMA_END: Json = {"model": "m", "done": True, "prompt_eval_count": 12, "eval_count": 7}
BILLED: Json = {"billed_units": {"input_tokens": 12, "output_tokens": 7}}
METRICS: Json = {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 12, "outputTokenCount": 7}}

SHAPES: dict[str, Shape] = {
    "chat": Shape("openai.chat", SSE, lambda text, _: sse(chat_chunk(text)), [], FINISHED, COUNTED),
    "chat, crlf": Shape("openai.chat", SSE, lambda text, _: sse(chat_chunk(text), end=b"\r\n"), [], FINISHED, COUNTED),
    "chat, padded": Shape(
        "openai.chat", SSE, lambda text, n: sse(chat_chunk(text, obfuscation="x" * (n % 5))), [], FINISHED, COUNTED
    ),
    "chat, reasoning": Shape(
        "openai.chat",
        SSE,
        lambda text, n: sse(chat_chunk(delta={"reasoning_content" if n < 5 else "content": text})),
        [],
        FINISHED,
        COUNTED,
    ),
    "chat, two choices": Shape(
        "openai.chat", SSE, lambda text, n: sse(chat_chunk(text, index=n % 2)), [], FINISHED, COUNTED
    ),
    "chat, running usage": Shape(
        "openai.chat",
        SSE,
        lambda text, n: sse(chat_chunk(text, usage=chat_usage(12, n))),
        [],
        [sse(chat_chunk(finish="stop", usage=chat_usage(12, 7)))],
        COUNTED,
        "xai",
    ),
    "completions": Shape(
        "openai.completions",
        SSE,
        lambda text, _: sse({"model": "m", "choices": [{"text": text, "index": 0, "finish_reason": None}]}),
        [],
        FINISHED,
        COUNTED,
    ),
    "responses": Shape(
        "openai.responses",
        SSE,
        lambda text, n: named(
            response_event("response.output_text.delta", delta=text, logprobs=[], obfuscation="x" * (n % 5))
        ),
        [named(response_event("response.created", response=response(status="in_progress")))],
        [COMPLETED],
        COUNTED,
    ),
    "responses, data before event": Shape(
        "openai.responses",
        SSE,
        lambda text, n: (
            b"data: " + dump({"type": "response.output_text.delta", "delta": text, "n": n}) + b"\nevent: x\n\n"
        ),
        [],
        [COMPLETED],
        COUNTED,
    ),
    "anthropic": Shape(
        "anthropic.messages",
        SSE,
        lambda text, _: named(piece("text_delta", text)),
        [named(CLAUDE[0])],
        [named(event) for event in CLAUDE[1]],
        COUNTED,
    ),
    "anthropic, thinking": Shape(
        "anthropic.messages",
        SSE,
        lambda text, n: named(piece("thinking_delta" if n < 5 else "text_delta", text)),
        [named(CLAUDE[0])],
        [named(event) for event in CLAUDE[1]],
        COUNTED,
    ),
    "gemini": Shape(
        "gemini.generate",
        SSE,
        lambda text, n: sse(gemini_chunk(text, usage=tokens(90, n)), end=b"\r\n"),
        [],
        [sse(GENERATED, end=b"\r\n")],
        COUNTED,
    ),
    "gemini, several data lines": Shape(
        "gemini.generate",
        SSE,
        lambda text, n: spread(gemini_chunk(text, usage=tokens(90, n))),
        [],
        [spread(GENERATED)],
        COUNTED,
    ),
    "gemini, array": Shape(
        "gemini.generate",
        ARRAY,
        lambda text, n: dump(gemini_chunk(text, usage=tokens(90, n))) + b"\n,\r\n",
        [b"["],
        [dump(GENERATED) + b"]"],
        COUNTED,
    ),
    "interactions": Shape(
        "gemini.interactions",
        SSE,
        lambda text, _: sse({"event_type": "step.delta", "index": 0, "delta": {"type": "text", "text": text}}),
        [],
        [
            sse(
                {
                    "event_type": "interaction.completed",
                    "interaction": {"usage": {"total_input_tokens": 12, "total_output_tokens": 7}},
                }
            )
        ],
        COUNTED,
    ),
    "converse": Shape(
        "bedrock.converse",
        EVENTS,
        lambda text, n: message(
            "contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": text}, "p": "abcdefgh"[: n % 8]}
        ),
        [message("messageStart", {"role": "assistant"})],
        CONVERSED,
        COUNTED,
    ),
    "invoke, claude": Shape(
        "bedrock.invoke",
        EVENTS,
        lambda text, n: invoked(piece("text_delta", text), n),
        [invoked(CLAUDE[0])],
        [invoked(CLAUDE[1][0]), invoked({**CLAUDE[1][1], **METRICS})],
        COUNTED,
    ),
    "invoke, nova": Shape(
        "bedrock.invoke",
        EVENTS,
        lambda text, n: invoked({"contentBlockDelta": {"delta": {"text": text}, "contentBlockIndex": 0}}, n),
        [],
        [invoked({"metadata": {"usage": {"inputTokens": 12, "outputTokens": 7}}, **METRICS})],
        COUNTED,
    ),
    "cohere, second version": Shape(
        "cohere.chat",
        SSE,
        lambda text, _: named({"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": text}}}}),
        [],
        [named({"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": BILLED}})],
        COUNTED,
    ),
    "cohere, first version": Shape(
        "cohere.chat",
        LINES,
        lambda text, _: dump({"event_type": "text-generation", "text": text}) + b"\n",
        [],
        [dump({"event_type": "stream-end", "response": {"meta": BILLED}}) + b"\n"],
        COUNTED,
    ),
    "ollama, chat": Shape(
        "ollama",
        LINES,
        lambda text, n: (
            dump({"model": "m", "created_at": f"t{n}", "message": {"content": text}, "done": False}) + b"\n"
        ),
        [],
        [dump(OLLAMA_END) + b"\n"],
        COUNTED,
    ),
    "ollama, generate": Shape(
        "ollama",
        LINES,
        lambda text, n: dump({"model": "m", "created_at": f"t{n}", "response": text, "done": False}) + b"\r\n",
        [],
        [dump(OLLAMA_END) + b"\n"],
        COUNTED,
    ),
}

PASSES_OVER_NOTHING = {
    "chat, running usage",
    "chat, two choices",
    "responses, data before event",
    "gemini, several data lines",
}
"""Shapes whose events the reader must look at one by one."""
