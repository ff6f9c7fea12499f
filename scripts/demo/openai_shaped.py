"""Calls to OpenAI and to those who speak its formats."""

from __future__ import annotations

from collections.abc import Iterator

from bodies import ADVICE, DONE, SSE, WORDS, Demo, Json, compact, deflated, events, pretty, typed_events

QUESTION: list[Json] = [{"role": "user", "content": "How should I plan a weekend in the hills?"}]


def chunks(model: str, usage: Json | None, *, on_finish: bool = False, **extra: object) -> Iterator[Json]:
    """A chat stream; its usage on the finishing chunk, or in a chunk of its own with no choices."""
    head = {"id": "chatcmpl-demo", "object": "chat.completion.chunk", "created": 1793610000, "model": model}
    for index, word in enumerate(WORDS):
        delta = {"role": "assistant", "content": word} if index == 0 else {"content": word}
        yield {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    finish: Json = {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], **extra}
    yield {**finish, "usage": usage} if on_finish else finish
    if usage is not None and not on_finish:
        yield {**head, "choices": [], "usage": usage}


def whole(model: str, usage: Json, **message: object) -> Json:
    """A chat answer in one document."""
    said = {"role": "assistant", "content": ADVICE, **message}
    finish = "tool_calls" if "tool_calls" in message else "stop"
    choices = [{"index": 0, "message": said, "finish_reason": finish}]
    head = {"id": "chatcmpl-demo", "object": "chat.completion", "created": 1793610000, "model": model}
    return {**head, "choices": choices, "usage": usage}


def usage(prompt: int, completion: int, cached: int = 0, reasoning: int = 0, **extra: object) -> Json:
    """A usage object of Chat Completions, with the details that OpenAI gives."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": reasoning, "audio_tokens": 0},
        **extra,
    }


def chat() -> Iterator[Demo]:
    """Chat Completions: whole, streamed, cut, refused, and by providers with ways of their own."""
    url = "api.openai.com/v1/chat/completions"
    asked = {"model": "gpt-5-mini", "messages": QUESTION, "stream": True, "stream_options": {"include_usage": True}}
    body = events(chunks("gpt-5-mini-2025-08-07", usage(1_840, 310, 1_024, 192)), end=DONE)
    yield Demo("openai_chat/stream", url, asked, body, SSE)

    call = {
        "id": "call_demo_1",
        "type": "function",
        "function": {"name": "find_trains", "arguments": '{"to":"Lucerne"}'},
    }
    answer = whole("gpt-4.1-2025-04-14", usage(412, 27), content=None, tool_calls=[call])
    yield Demo("openai_chat/tool_call", url, {"model": "gpt-4.1", "messages": QUESTION}, pretty(answer))

    answer = whole("gpt-5.4-2026-03-05", {**usage(9_200, 640, 8_192, 512)})
    tier = {**answer, "service_tier": "priority"}
    headers = (("content-encoding", "deflate"),)
    asked = {"model": "gpt-5.4", "service_tier": "priority", "messages": QUESTION}
    yield Demo("openai_chat/priority_tier_deflate", url, asked, deflated(compact(tier)), headers=headers)

    # The client hung up: no usage ever came.
    body = events(chunks("gpt-5-mini-2025-08-07", None))[:700]
    yield Demo("openai_chat/cut_stream", url, {"model": "gpt-5-mini", "messages": QUESTION, "stream": True}, body, SSE)

    error = {
        "error": {"message": "Rate limit reached.", "type": "requests", "param": None, "code": "rate_limit_exceeded"}
    }
    yield Demo(
        "openai_chat/rate_limited", url, {"model": "gpt-5-mini", "messages": QUESTION}, pretty(error), status=429
    )

    spent = usage(530, 88, cost="COST", cost_details={"upstream_inference_cost": None})
    body = events(chunks("anthropic/claude-haiku-4.5", spent), end=DONE).replace(b'"COST"', b"0.00097")
    body = b": OPENROUTER PROCESSING\n\n" + body
    asked = {"model": "anthropic/claude-haiku-4.5", "messages": QUESTION, "stream": True}
    yield Demo("openai_chat/openrouter_own_cost", "openrouter.ai/api/v1/chat/completions", asked, body, SSE)

    # xAI counts reasoning beside the completion, and states its charge in units of 1e-10 USD.
    reasoned = {**usage(700, 120, 0, 400), "total_tokens": 1_220, "cost_in_usd_ticks": 21_750_000}
    body = events(chunks("grok-4.3", reasoned), end=DONE)
    asked = {"model": "grok-4.3", "messages": QUESTION, "stream": True}
    yield Demo("openai_chat/xai_reasoning", "api.x.ai/v1/chat/completions", asked, body, SSE)

    counted = {"prompt_tokens": 96, "completion_tokens": 41, "total_tokens": 137, "total_time": 0.11}
    body = events(chunks("openai/gpt-oss-120b", None, x_groq={"id": "req_demo", "usage": counted}), end=DONE)
    asked = {"model": "openai/gpt-oss-120b", "messages": QUESTION, "stream": True}
    yield Demo("openai_chat/groq_stream", "api.groq.com/openai/v1/chat/completions", asked, body, SSE)

    counted = {"prompt_tokens": 1_500, "completion_tokens": 75, "total_tokens": 1_575}
    split = {"prompt_cache_hit_tokens": 1_280, "prompt_cache_miss_tokens": 220}
    body = b": keep-alive\n\n" + events(chunks("deepseek-v4-flash", {**counted, **split}, on_finish=True), end=DONE)
    asked = {"model": "deepseek-v4-flash", "messages": QUESTION, "stream": True}
    yield Demo("openai_chat/deepseek_stream", "api.deepseek.com/chat/completions", asked, body, SSE)

    # One cached token more than the whole prompt: both cannot be true.
    answer = whole("mistral-small-2603", {**usage(64, 30), "prompt_tokens_details": {"cached_tokens": 65}})
    asked = {"model": "mistral-small-latest", "messages": QUESTION}
    yield Demo("openai_chat/mistral_contradiction", "api.mistral.ai/v1/chat/completions", asked, compact(answer))


def responses() -> Iterator[Demo]:
    """The Responses API: a stream that searched the web."""
    head = {"id": "resp_demo", "object": "response", "created_at": 1793610000, "model": "gpt-5.4-2026-03-05"}
    counted = {
        "input_tokens": 4_600,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 520,
        "output_tokens_details": {"reasoning_tokens": 320},
        "total_tokens": 5_120,
    }
    search = {"id": "ws_demo", "type": "web_search_call", "status": "completed", "action": {"type": "search"}}
    said = {"id": "msg_demo", "type": "message", "content": [{"type": "output_text", "text": ADVICE}]}
    done = {**head, "status": "completed", "service_tier": "default", "output": [search, said], "usage": counted}
    stream: list[Json] = [
        {
            "type": "response.created",
            "response": {**head, "status": "in_progress", "service_tier": "auto", "usage": None},
        },
        {"type": "response.output_item.done", "output_index": 0, "item": search},
        *(
            {"type": "response.output_text.delta", "item_id": "msg_demo", "output_index": 1, "delta": word}
            for word in WORDS
        ),
        {"type": "response.output_item.done", "output_index": 1, "item": said},
        {"type": "response.completed", "response": done},
    ]
    asked = {"model": "gpt-5.4", "input": "Plan a weekend.", "tools": [{"type": "web_search"}], "stream": True}
    yield Demo("openai_responses/web_search", "api.openai.com/v1/responses", asked, typed_events(stream), SSE)


def others() -> Iterator[Demo]:
    """OpenAI's other endpoints: legacy completions, embeddings, images, audio."""
    host = "api.openai.com/v1"
    answer: Json = {
        "id": "cmpl-demo",
        "object": "text_completion",
        "model": "Qwen/Qwen3.8-27B",
        "choices": [{"index": 0, "text": ADVICE, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 12, "completion_tokens": 14, "total_tokens": 26},
    }
    # An engine of one's own: counted, and unpriced until a rate card says otherwise.
    asked: Json = {"model": "Qwen/Qwen3.8-27B", "prompt": "A weekend in the hills:"}
    yield Demo("openai_completions/own_engine", "engine.example:8000/v1/completions", asked, compact(answer))

    answer = {
        "object": "list",
        "model": "text-embedding-3-small",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -0.5, 0.125]}],
        "usage": {"prompt_tokens": 2_300, "total_tokens": 2_300},
    }
    asked = {"model": "text-embedding-3-small", "input": "hills"}
    yield Demo("openai_embeddings/whole", f"{host}/embeddings", asked, pretty(answer))

    counted = {
        "input_tokens": 58,
        "input_tokens_details": {"text_tokens": 58, "image_tokens": 0},
        "output_tokens": 1_056,
        "total_tokens": 1_114,
    }
    answer = {"created": 1793610000, "data": [{"b64_json": "aGlsbHM="}], "usage": counted}
    yield Demo("openai_images/whole", f"{host}/images/generations", {"model": "gpt-image-1"}, compact(answer))

    split = {"text_tokens": 10, "audio_tokens": 400}
    counted = {
        "type": "tokens",
        "input_tokens": 410,
        "input_token_details": split,
        "output_tokens": 32,
        "total_tokens": 442,
    }
    stream: list[Json] = [
        *({"type": "transcript.text.delta", "delta": word} for word in WORDS),
        {"type": "transcript.text.done", "text": ADVICE, "usage": counted},
    ]
    body = events(stream, newline=b"\r\n", end=b"data: [DONE]\r\n\r\n")
    asked = {"model": "gpt-4o-transcribe", "stream": True}
    yield Demo("openai_transcription/stream", f"{host}/audio/transcriptions", asked, body, SSE)

    # Sound, and nothing that could be counted.
    asked = {"model": "tts-1", "input": ADVICE, "voice": "alloy"}
    yield Demo("openai_speech/sound", f"{host}/audio/speech", asked, bytes(range(256)), "audio/mpeg")
