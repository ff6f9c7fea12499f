"""Calls to the providers that have formats of their own."""

from __future__ import annotations

from collections.abc import Iterator

from bodies import (
    ADVICE,
    BINARY,
    DONE,
    LINES,
    SSE,
    WORDS,
    Demo,
    Json,
    compact,
    events,
    lines,
    messages,
    pretty,
    typed_events,
    wrapped,
)

QUESTION: list[Json] = [{"role": "user", "content": "How should I plan a weekend in the hills?"}]


def message_events(model: str, start: Json, end: Json) -> list[Json]:
    """Anthropic's stream: counts of the input at its start, the final counts at its end."""
    message: Json = {
        "id": "msg_demo",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "usage": start,
    }
    return [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}} for word in WORDS),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": end},
        {"type": "message_stop"},
    ]


def anthropic() -> Iterator[Demo]:
    """Messages: a cached prompt, a cut stream, a second model that advised, a call through a gateway's prefix."""
    url = "api.anthropic.com/v1/messages"
    start: Json = {
        "input_tokens": 21,
        "cache_read_input_tokens": 18_000,
        "cache_creation_input_tokens": 2_500,
        "cache_creation": {"ephemeral_5m_input_tokens": 2_000, "ephemeral_1h_input_tokens": 500},
        "output_tokens": 3,
        "service_tier": "standard",
    }
    end = {"input_tokens": 21, "cache_read_input_tokens": 18_000, "cache_creation_input_tokens": 2_500}
    stream = message_events("claude-sonnet-4-5-20250929", start, {**end, "output_tokens": 412})
    asked = {"model": "claude-sonnet-4-5", "max_tokens": 1_024, "messages": QUESTION, "stream": True}
    yield Demo("anthropic_messages/stream_cache", url, asked, typed_events(stream), SSE)

    # The network broke before the final counts: the input is known, the output must be estimated.
    stream = message_events(
        "claude-haiku-4-5-20251001", {"input_tokens": 640, "output_tokens": 1}, {"output_tokens": 90}
    )
    asked = {**asked, "model": "claude-haiku-4-5"}
    yield Demo("anthropic_messages/cut_stream", url, asked, typed_events(stream[:-3]), SSE)

    hops = [
        {"type": "message", "input_tokens": 900, "output_tokens": 150},
        {"type": "advisor_message", "model": "claude-opus-4-7", "input_tokens": 1_100, "output_tokens": 260},
    ]
    tool = {"type": "tool_use", "id": "toolu_demo", "name": "book_hut", "input": {"nights": 2}}
    answer = {
        "id": "msg_demo",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-6",
        "content": [{"type": "text", "text": ADVICE}, tool],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 900, "output_tokens": 150, "iterations": hops},
    }
    asked = {"model": "claude-sonnet-4-6", "max_tokens": 1_024, "messages": QUESTION}
    yield Demo("anthropic_messages/advisor", url, asked, pretty(answer))

    answer = {**answer, "stop_reason": "end_turn", "content": [{"type": "text", "text": ADVICE}]}
    answer["usage"] = {"input_tokens": 350, "output_tokens": 70}
    gateway = "gateway.ai.cloudflare.com/v1/account/gateway/anthropic/v1/messages"
    yield Demo("anthropic_messages/behind_a_gateway", gateway, asked, compact(answer))

    old = {"type": "completion", "completion": ADVICE, "stop_reason": "stop_sequence", "model": "claude-2.1"}
    asked = {"model": "claude-2.1", "prompt": "\n\nHuman: A weekend?\n\nAssistant:", "max_tokens_to_sample": 100}
    yield Demo("anthropic_complete/without_usage", "api.anthropic.com/v1/complete", asked, compact(old))


def gemini() -> Iterator[Demo]:
    """Gemini: counts on every chunk of a stream, thoughts beside the answer, modalities, the newer Interactions."""
    host = "generativelanguage.googleapis.com/v1beta/models"
    asked = {"contents": [{"role": "user", "parts": [{"text": "How should I plan a weekend in the hills?"}]}]}
    flash = {"modelVersion": "gemini-2.5-flash", "responseId": "demo"}

    def chunk(text: str, answered: int, thought: int, **extra: object) -> Json:
        counted = {"promptTokenCount": 240, "candidatesTokenCount": answered, "thoughtsTokenCount": thought}
        total = {"totalTokenCount": 240 + answered + thought, "cachedContentTokenCount": 128}
        content = {"role": "model", "parts": [{"text": text}]}
        return {
            "candidates": [{"index": 0, "content": content, **extra}],
            "usageMetadata": {**counted, **total},
            **flash,
        }

    answered = [chunk(word, 4 * index, 96) for index, word in enumerate(WORDS)]
    answered.append(chunk("", 60, 96, finishReason="STOP"))
    url = f"{host}/gemini-2.5-flash:streamGenerateContent"
    yield Demo("gemini_stream/sse", url, asked, events(answered, newline=b"\r\n"), SSE)
    array = b"[" + b",\r\n".join(pretty(each).strip() for each in answered) + b"\r\n]"
    yield Demo("gemini_stream/array", url, asked, array)

    counted = {
        "promptTokenCount": 1_290,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 40}, {"modality": "AUDIO", "tokenCount": 1_250}],
        "candidatesTokenCount": 85,
        "totalTokenCount": 1_375,
    }
    called = {"functionCall": {"name": "check_weather", "args": {"place": "Andermatt"}}}
    candidate = {"content": {"role": "model", "parts": [called]}, "finishReason": "STOP"}
    answer = {"candidates": [candidate], "usageMetadata": counted, **flash}
    yield Demo("gemini_generate/audio_and_tool", f"{host}/gemini-2.5-flash:generateContent", asked, pretty(answer))

    embedded = {"embedding": {"values": [0.5, -0.25]}, "usageMetadata": {"promptTokenCount": 310}}
    asked_embed = {"content": {"parts": [{"text": "hills"}]}}
    yield Demo("gemini_embed/whole", f"{host}/gemini-embedding-001:embedContent", asked_embed, pretty(embedded))

    counted = {
        "total_tokens": 830,
        "total_input_tokens": 300,
        "total_cached_tokens": 0,
        "total_output_tokens": 410,
        "total_tool_use_tokens": 0,
        "total_thought_tokens": 120,
    }
    done = {"id": "v1_demo", "model": "gemini-3.5-flash", "status": "completed", "usage": counted}
    asked = {"model": "gemini-3.5-flash", "input": "A weekend?"}
    url = "generativelanguage.googleapis.com/v1beta/interactions"
    yield Demo("gemini_interactions/whole", url, asked, pretty(done))

    vectors = [{"embeddings": {"values": [0.5], "statistics": {"token_count": 44, "truncated": False}}}]
    place = "aiplatform.googleapis.com/v1/projects/demo/locations/global"
    url = f"{place}/publishers/google/models/gemini-embedding-001:predict"
    yield Demo("vertex_predict/embedding", url, {"instances": [{"content": "hills"}]}, pretty({"predictions": vectors}))


def bedrock() -> Iterator[Demo]:
    """Bedrock: its own Converse, and other vendors' bodies by Invoke, each whole and streamed."""
    host = "bedrock-runtime.eu-central-1.amazonaws.com/model"
    asked: Json = {"messages": [{"role": "user", "content": [{"text": "How should I plan a weekend in the hills?"}]}]}
    counted = {"inputTokens": 350, "outputTokens": 120, "totalTokens": 470}
    said = {"message": {"role": "assistant", "content": [{"text": ADVICE}]}}
    answer = {"output": said, "stopReason": "end_turn", "usage": counted, "metrics": {"latencyMs": 640}}
    yield Demo("bedrock_converse/whole", f"{host}/amazon.nova-lite-v1%3A0/converse", asked, compact(answer))

    counted = {"inputTokens": 12, "outputTokens": 200, "totalTokens": 3_412}
    counted |= {"cacheReadInputTokens": 3_200, "cacheWriteInputTokens": 0}
    stream: list[tuple[str, Json]] = [
        ("messageStart", {"role": "assistant", "p": "abcd"}),
        *(("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": word}, "p": "abc"}) for word in WORDS),
        ("contentBlockStop", {"contentBlockIndex": 0, "p": "ab"}),
        ("messageStop", {"stopReason": "end_turn", "p": "abcdef"}),
        ("metadata", {"metrics": {"latencyMs": 900}, "usage": counted, "p": "a"}),
    ]
    url = f"{host}/eu.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse-stream"
    yield Demo("bedrock_converse_stream/cache", url, asked, messages(stream), BINARY)

    llama = {"generation": ADVICE, "prompt_token_count": 40, "generation_token_count": 14, "stop_reason": "stop"}
    headers = (("x-amzn-bedrock-input-token-count", "40"), ("x-amzn-bedrock-output-token-count", "14"))
    url = f"{host}/meta.llama3-3-70b-instruct-v1%3A0/invoke"
    yield Demo("bedrock_invoke/llama", url, {"prompt": "A weekend?"}, compact(llama), headers=headers)

    claude = message_events(
        "claude-haiku-4-5-20251001", {"input_tokens": 77, "output_tokens": 1}, {"output_tokens": 52}
    )
    figures = {"inputTokenCount": 77, "outputTokenCount": 52, "invocationLatency": 700, "firstByteLatency": 300}
    claude[-1] = {**claude[-1], "amazon-bedrock-invocationMetrics": figures}
    url = f"{host}/eu.anthropic.claude-haiku-4-5-20251001-v1%3A0/invoke-with-response-stream"
    asked = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 200, "messages": QUESTION}
    yield Demo("bedrock_invoke_stream/claude", url, asked, wrapped(claude), BINARY)


def others() -> Iterator[Demo]:
    """Cohere, Ollama, Hugging Face, Cloudflare's own models, and Mistral's reading of documents."""
    billed = {"input_tokens": 60, "output_tokens": 25}
    counted = {"billed_units": billed, "tokens": {"input_tokens": 1_410, "output_tokens": 31}}
    delta = [{"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": word}}}} for word in WORDS]
    stream: list[Json] = [
        {"type": "message-start", "id": "demo", "delta": {"message": {"role": "assistant"}}},
        *delta,
        {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": counted}},
    ]
    asked: Json = {"model": "command-a-03-2025", "messages": QUESTION, "stream": True}
    yield Demo("cohere_chat_v2/stream", "api.cohere.com/v2/chat", asked, typed_events(stream) + DONE, SSE)

    answer = {"response_id": "demo", "generation_id": "demo", "text": ADVICE, "finish_reason": "COMPLETE"}
    last = {"event_type": "stream-end", "is_finished": True, "finish_reason": "COMPLETE"}
    stream = [
        {"event_type": "stream-start", "is_finished": False, "generation_id": "demo"},
        *({"event_type": "text-generation", "is_finished": False, "text": word} for word in WORDS),
        {**last, "response": {**answer, "meta": {"api_version": {"version": "1"}, **counted}}},
    ]
    asked = {"model": "command-r-plus", "message": "A weekend?", "stream": True}
    yield Demo("cohere_chat_v1/lines", "api.cohere.com/v1/chat", asked, lines(stream), "application/stream+json")

    answer = {"id": "demo", "embeddings": {"float": [[0.5, -0.5]]}, "texts": ["hills"]}
    embedded = {**answer, "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 140}}}
    asked = {"model": "embed-v4.0", "texts": ["hills"], "input_type": "search_query"}
    yield Demo("cohere_embed/whole", "api.cohere.com/v2/embed", asked, compact(embedded))

    ranked = {"id": "demo", "results": [{"index": 1, "relevance_score": 0.75}, {"index": 0, "relevance_score": 0.25}]}
    ranked = {**ranked, "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}}
    asked = {"model": "rerank-v3.5", "query": "hills", "documents": ["sea", "mountains"]}
    yield Demo("rerank/cohere", "api.cohere.com/v2/rerank", asked, compact(ranked))

    local = {"model": "qwen3:8b", "created_at": "2026-11-02T09:00:00.000Z"}
    final = {
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": 33,
        "eval_count": 19,
        "total_duration": 900_000_000,
    }
    stream = [
        *({**local, "message": {"role": "assistant", "content": word}, "done": False} for word in WORDS),
        {**local, "message": {"role": "assistant", "content": ""}, **final},
    ]
    asked = {"model": "qwen3:8b", "messages": QUESTION}
    yield Demo("ollama_chat/lines", "localhost:11434/api/chat", asked, lines(stream), LINES)

    vector = compact([[0.5, -0.25, 0.125]])
    url = "router.huggingface.co/hf-inference/models/BAAI/bge-small-en-v1.5/pipeline/feature-extraction"
    yield Demo("hf_inference/embedding", url, {"inputs": "hills"}, vector)

    result = {"response": ADVICE, "usage": {"prompt_tokens": 26, "completion_tokens": 14, "total_tokens": 40}}
    ran = {"result": result, "success": True, "errors": [], "messages": []}
    url = "api.cloudflare.com/client/v4/accounts/demo/ai/run/@cf/meta/llama-3.3-70b-instruct-fp8-fast"
    yield Demo("cloudflare_run/whole", url, {"messages": QUESTION}, compact(ran))

    pages = [{"index": 0, "markdown": "# Huts of the Alps"}, {"index": 1, "markdown": "Open from June."}]
    scanned = {
        "pages": pages,
        "model": "mistral-ocr-2512",
        "usage_info": {"pages_processed": 2, "doc_size_bytes": 4_096},
    }
    yield Demo("mistral_ocr/pages", "api.mistral.ai/v1/ocr", {"model": "mistral-ocr-latest"}, compact(scanned))
