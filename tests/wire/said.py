"""Answers of every format, whole and streamed, and what is said in each."""

from __future__ import annotations

from typing import NamedTuple

from tests.wire.making import (
    Json,
    chat_body,
    chat_chunk,
    chat_usage,
    dump,
    gemini_chunk,
    lines,
    message,
    message_end,
    message_start,
    response,
    response_event,
    sse,
    text_block,
    tokens,
    usage_chunk,
)
from tests.wire.streams import EVENTS, LINES, METRICS, SSE, TAME, invoked

JSON = "application/json"


class Said(NamedTuple):
    """An answer and what is said in it."""

    api: str
    body: bytes
    answer: str | None
    arguments: tuple[str, ...] = ()
    content_type: str = JSON


ARGUMENTS = '{"city": "Zürich", "days": 2}'
CALL: Json = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": ARGUMENTS}}
OTHER: Json = {"id": "c2", "type": "function", "function": {"name": "now", "arguments": "{}"}}
OBJECT: Json = {"city": "Zürich", "days": 2}
PLAIN_CALL: Json = {"function": {"name": "weather", "arguments": OBJECT}}
AS_JSON = '{"city":"Zürich","days":2}'


def chat(*messages: Json, finish: str = "stop") -> bytes:
    """A whole chat answer with a choice for each message."""
    choices = [{"index": place, "message": said, "finish_reason": finish} for place, said in enumerate(messages)]
    return dump(chat_body(chat_usage(12, 7), choices=choices))


def called(arguments: str, **members: object) -> Json:
    """A chunk with a piece of a tool call."""
    return chat_chunk(
        delta={"tool_calls": [{"index": 0, "function": {"name": "weather", "arguments": arguments}, **members}]}
    )


PARTS: list[Json] = [
    {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
    {"type": "text", "text": "Good day."},
]
MESSAGE: Json = {
    "type": "message",
    "model": "claude-opus-4-8",
    "content": [
        {"type": "thinking", "thinking": "Hm."},
        {"type": "text", "text": "Good "},
        {"type": "text", "text": "day."},
        {"type": "tool_use", "id": "c1", "name": "weather", "input": OBJECT},
    ],
    "stop_reason": "tool_use",
    "usage": {"input_tokens": 12, "output_tokens": 7},
}
ITEMS: list[Json] = [
    {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]},
    {"type": "message", "id": "msg_1", "content": [{"type": "output_text", "text": "Good day."}]},
    {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "weather", "arguments": ARGUMENTS},
    {"type": "message", "id": "msg_2", "content": [{"type": "refusal", "refusal": "No."}]},
]
FINISHED = response({"input_tokens": 12, "output_tokens": 7}, output=ITEMS)
GEMINI: Json = {
    "candidates": [
        {
            "content": {
                "parts": [
                    {"text": "Hm.", "thought": True},
                    {"text": "Good day."},
                    {"functionCall": {"name": "weather", "args": OBJECT}},
                ]
            },
            "finishReason": "STOP",
            "index": 0,
        }
    ],
    "usageMetadata": tokens(12, 7),
}
BLOCKS: list[Json] = [
    {"reasoningContent": {"reasoningText": {"text": "Hm."}}},
    {"text": "Good day."},
    {"toolUse": {"toolUseId": "c1", "name": "weather", "input": OBJECT}},
]
CONVERSE: Json = {
    "output": {"message": {"role": "assistant", "content": BLOCKS}},
    "stopReason": "tool_use",
    "usage": {"inputTokens": 12, "outputTokens": 7, "totalTokens": 19},
}
COHERE: Json = {
    "id": "c",
    "message": {
        "content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Good day."}],
        "tool_calls": [CALL],
    },
    "finish_reason": "TOOL_CALL",
}
STEPS: list[Json] = [
    {"type": "thought", "text": "Hm."},
    {"type": "model_output", "content": [{"type": "text", "text": "Good day."}]},
    {"type": "function_call", "id": "c1", "name": "weather", "arguments": OBJECT},
]
COMPLETED = {"event_type": "interaction.completed", "interaction": {"usage": {"total_input_tokens": 12}}}

WHOLE: dict[str, Said] = {
    "chat": Said("openai.chat", chat({"content": "Good day.", "reasoning_content": "Hm."}), "Good day."),
    "chat, several choices": Said(
        "openai.chat", chat({"content": "Good day."}, {"content": "Hi."}), "Good day.\n\nHi."
    ),
    "chat, tools": Said("openai.chat", chat({"content": None, "tool_calls": [CALL, OTHER]}), None, (ARGUMENTS, "{}")),
    "chat, arguments as an object": Said(
        "openai.chat",
        chat({"content": "", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": OBJECT}}]}),
        None,
        (AS_JSON,),
    ),
    "chat, refusal": Said("openai.chat", chat({"content": None, "refusal": "No."}), "No."),
    "chat, parts": Said("openai.chat", chat({"content": PARTS}), "Good day."),
    "completions": Said("openai.completions", dump({"choices": [{"text": "Good day.", "index": 0}]}), "Good day."),
    "responses": Said("openai.responses", dump(FINISHED), "Good day.\n\nNo.", (ARGUMENTS,)),
    "anthropic": Said("anthropic.messages", dump(MESSAGE), "Good day.", (AS_JSON,)),
    "anthropic, complete": Said("anthropic.complete", dump({"completion": " Good day.", "model": "m"}), " Good day."),
    "gemini": Said("gemini.generate", dump(GEMINI), "Good day.", (AS_JSON,)),
    "converse": Said("bedrock.converse", dump(CONVERSE), "Good day.", (AS_JSON,)),
    "invoke, claude": Said("bedrock.invoke", dump(MESSAGE), "Good day.", (AS_JSON,)),
    "invoke, titan": Said("bedrock.invoke", dump({"results": [{"outputText": "Good day."}]}), "Good day."),
    "cohere": Said("cohere.chat", dump(COHERE), "Good day.", (ARGUMENTS,)),
    "cohere, first version": Said("cohere.chat", dump({"text": "Good day.", "generation_id": "g"}), "Good day."),
    "ollama": Said(
        "ollama",
        dump(
            {
                "model": "m",
                "message": {"content": "Good day.", "thinking": "Hm.", "tool_calls": [PLAIN_CALL]},
                "done": True,
            }
        ),
        "Good day.",
        (AS_JSON,),
    ),
    "ollama, in OpenAI's shape": Said(
        "ollama", chat({"content": "Good day.", "tool_calls": [CALL]}), "Good day.", (ARGUMENTS,)
    ),
    "interactions": Said("gemini.interactions", dump({"steps": STEPS}), "Good day.", (AS_JSON,)),
    "hugging face": Said("huggingface.inference", dump([{"generated_text": "Good day."}]), "Good day."),
    "cloudflare": Said("cloudflare.run", dump({"result": {"response": "Good day."}, "success": True}), "Good day."),
    "transcription": Said("openai.transcriptions", dump({"text": "Good day.", "usage": {"seconds": 3}}), "Good day."),
    "embeddings": Said("openai.embeddings", dump({"data": [], "model": "m", "usage": chat_usage(3, 0)}), None),
}

STREAMED: dict[str, Said] = {
    "chat": Said(
        "openai.chat",
        sse(
            chat_chunk(delta={"role": "assistant", "content": ""}),
            chat_chunk(delta={"reasoning_content": "Hm."}),
            *map(chat_chunk, TAME),
            called(ARGUMENTS[:9], id="c1"),
            called(ARGUMENTS[9:]),
            chat_chunk(finish="tool_calls"),
            usage_chunk(chat_usage(12, 7)),
            done=True,
        ),
        "".join(TAME),
        (ARGUMENTS,),
    ),
    "chat, several choices": Said(
        "openai.chat",
        sse(
            *[chat_chunk(text, index=place) for text in ("Good", " day") for place in (0, 1)], chat_chunk(finish="stop")
        ),
        "Good day\n\nGood day",
    ),
    "chat, half an emoji in each chunk": Said(
        "openai.chat",
        b'data: {"choices":[{"delta":{"content":"So: \\ud83d"}}]}\n\n'
        b'data: {"choices":[{"delta":{"content":"\\ude42, or \\ud83d"}}]}\n\n' + sse(chat_chunk(finish="stop")),
        "So: 🙂, or \N{REPLACEMENT CHARACTER}",
    ),
    "completions": Said(
        "openai.completions",
        sse(*[{"model": "m", "choices": [{"text": text, "index": 0}]} for text in TAME], done=True),
        "".join(TAME),
    ),
    "responses": Said(
        "openai.responses",
        sse(
            response_event("response.reasoning_summary_text.delta", delta="Hm."),
            *[response_event("response.output_text.delta", output_index=1, delta=text) for text in TAME],
            response_event("response.output_text.delta", output_index=3, delta="No."),
            response_event("response.function_call_arguments.delta", output_index=2, delta=ARGUMENTS),
            response_event("response.output_item.done", output_index=2, item=ITEMS[2]),
            response_event("response.completed", response=FINISHED),
            named=True,
        ),
        "".join(TAME) + "\n\nNo.",
        (ARGUMENTS,),
    ),
    "responses, the end alone": Said(
        "openai.responses",
        sse(response_event("response.completed", response=FINISHED), named=True),
        "Good day.\n\nNo.",
        (ARGUMENTS,),
    ),
    "anthropic": Said(
        "anthropic.messages",
        sse(
            message_start({"input_tokens": 12, "output_tokens": 1}),
            {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm."}},
            *text_block(*TAME, index=1),
            {
                "type": "content_block_start",
                "index": 2,
                "content_block": {"type": "tool_use", "id": "c1", "name": "f", "input": {}},
            },
            *[
                {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": part}}
                for part in ("", ARGUMENTS[:7], ARGUMENTS[7:])
            ],
            *message_end({"output_tokens": 7}),
            named=True,
        ),
        "".join(TAME),
        (ARGUMENTS,),
    ),
    "gemini": Said(
        "gemini.generate",
        sse(*[gemini_chunk(text, usage=tokens(12, 1)) for text in TAME], GEMINI, end=b"\r\n"),
        "".join(TAME) + "Good day.",
        (AS_JSON,),
    ),
    "converse": Said(
        "bedrock.converse",
        b"".join(
            [
                message("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "Hm."}}}),
                *[message("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"text": text}}) for text in TAME],
                message(
                    "contentBlockStart", {"contentBlockIndex": 2, "start": {"toolUse": {"toolUseId": "c", "name": "f"}}}
                ),
                message("contentBlockDelta", {"contentBlockIndex": 2, "delta": {"toolUse": {"input": ARGUMENTS}}}),
                message("messageStop", {"stopReason": "tool_use"}),
            ]
        ),
        "".join(TAME),
        (ARGUMENTS,),
        EVENTS,
    ),
    "invoke, claude": Said(
        "bedrock.invoke",
        b"".join(
            [
                invoked(message_start({"input_tokens": 12, "output_tokens": 1})),
                *map(invoked, text_block(*TAME)),
                invoked({"type": "message_stop", **METRICS}),
            ]
        ),
        "".join(TAME),
        (),
        EVENTS,
    ),
    "cohere": Said(
        "cohere.chat",
        sse(
            {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "Hm."}}},
            *[{"type": "content-delta", "delta": {"message": {"content": {"text": text}}}} for text in TAME],
            {
                "type": "tool-call-start",
                "index": 0,
                "delta": {"message": {"tool_calls": {"id": "c", "function": {"name": "f", "arguments": ""}}}},
            },
            {
                "type": "tool-call-delta",
                "index": 0,
                "delta": {"message": {"tool_calls": {"function": {"arguments": ARGUMENTS}}}},
            },
            {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}},
            named=True,
        ),
        "".join(TAME),
        (ARGUMENTS,),
    ),
    "ollama": Said(
        "ollama",
        lines(
            *[{"model": "m", "message": {"content": text}, "done": False} for text in TAME],
            {"model": "m", "done": True},
        ),
        "".join(TAME),
        (),
        LINES,
    ),
    "interactions": Said(
        "gemini.interactions",
        sse(
            {
                "event_type": "step.start",
                "index": 0,
                "step": {"type": "function_call", "id": "c", "name": "f", "arguments": {}},
            },
            {"event_type": "step.delta", "index": 0, "delta": {"type": "arguments_delta", "arguments": ARGUMENTS}},
            {"event_type": "step.delta", "index": 1, "delta": {"type": "thought_summary", "text": "Hm."}},
            *[{"event_type": "step.delta", "index": 2, "delta": {"type": "text", "text": text}} for text in TAME],
            COMPLETED,
        ),
        "".join(TAME),
        (ARGUMENTS,),
    ),
    "hugging face": Said(
        "huggingface.inference",
        sse(
            *[{"token": {"text": text, "special": False}} for text in TAME],
            {"token": {"text": "</s>", "special": True}, "generated_text": "".join(TAME)},
        ),
        "".join(TAME),
    ),
    "transcription": Said(
        "openai.transcriptions",
        sse(
            *[{"type": "transcript.text.delta", "delta": text} for text in TAME],
            {"type": "transcript.text.done", "text": "".join(TAME)},
        ),
        "".join(TAME),
    ),
}


def as_sent(said: Said) -> Said:
    """A stream, announced as one."""
    return said._replace(content_type=SSE) if said.content_type == JSON else said
