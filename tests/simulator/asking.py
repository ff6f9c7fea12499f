"""A request in every format, and the one way to send it: over a socket, read back by the meter's own readers."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from taximeter.simulator import Simulator
from taximeter.wire import Reader, Reading, recognise

Json = dict[str, Any]

QUESTION = "Where do we go?"
"""15 bytes: 4 tokens, and 3 for the message."""
USER = {"role": "user", "content": QUESTION}
SCHEMA = {"type": "object", "properties": {"place": {"type": "string"}, "days": {"type": "integer"}}}
FUNCTION = {"name": "look_up", "description": "Looks up.", "parameters": SCHEMA}

FORM = (
    b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\n%s\r\n'
    b'--b\r\ncontent-disposition: form-data; name="stream"\r\n\r\n%s\r\n'
    b'--b\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    + b"\x00\xff" * 600
    + b"\r\n--b--\r\n"
)
"""A form with 1,200 bytes of sound."""


class Asked(NamedTuple):
    """A request.

    Attributes:
        stream_path: the path where a stream is to be had; the same path with ``stream`` in the body if it is ``None``.
    """

    api: str
    path: str
    body: Json | bytes
    streams: bool = True
    stream_path: str | None = None


CHAT = {"model": "gpt-5-mini", "messages": [USER]}
CLAUDE = {"model": "claude-haiku-4-5", "max_tokens": 200, "messages": [USER]}
CONTENTS = {"contents": [{"role": "user", "parts": [{"text": QUESTION}]}]}
CONVERSE = {"messages": [{"role": "user", "content": [{"text": QUESTION}]}]}
GEMINI = "/google/v1beta/models/gemini-2.5-flash"
NOVA = "/bedrock/model/amazon.nova-lite-v1%3A0"
SONNET = "/bedrock/model/eu.anthropic.claude-sonnet-4-5-20250929-v1%3A0"
LLAMA = "/bedrock/model/meta.llama3-3-70b-instruct-v1%3A0"
INVOKE = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 200, "messages": [USER]}
STREAMED = "invoke-with-response-stream"
SSE = ":streamGenerateContent?alt=sse"
VERTEX = "/vertex/v1/projects/p/locations/global/publishers"
HF = "/huggingface/models/bigcode/star"

REQUESTS: Mapping[str, Asked] = {
    "openai chat": Asked(
        "openai.chat", "/openai/v1/chat/completions", CHAT | {"stream_options": {"include_usage": True}}
    ),
    "bare chat": Asked("openai.chat", "/v1/chat/completions", CHAT | {"stream_options": {"include_usage": True}}),
    "azure chat": Asked(
        "openai.chat",
        "/azure/openai/deployments/gpt-5/chat/completions",
        CHAT | {"stream_options": {"include_usage": True}},
    ),
    "mistral chat": Asked("openai.chat", "/mistral/v1/chat/completions", CHAT),
    "groq chat": Asked("openai.chat", "/groq/openai/v1/chat/completions", CHAT),
    "deepseek chat": Asked("openai.chat", "/deepseek/chat/completions", CHAT),
    "xai chat": Asked("openai.chat", "/xai/v1/chat/completions", CHAT | {"reasoning_effort": "low"}),
    "perplexity chat": Asked("openai.chat", "/perplexity/chat/completions", CHAT | {"reasoning_effort": "low"}),
    "openrouter chat": Asked("openai.chat", "/openrouter/api/v1/chat/completions", CHAT),
    "responses": Asked(
        "openai.responses",
        "/openai/v1/responses",
        {"model": "o4-mini", "input": QUESTION, "reasoning": {"effort": "low"}},
    ),
    "completions": Asked(
        "openai.completions",
        "/vllm/v1/completions",
        {"model": "own", "prompt": QUESTION, "stream_options": {"include_usage": True}},
    ),
    "embeddings": Asked(
        "openai.embeddings",
        "/openai/v1/embeddings",
        {"model": "text-embedding-3-small", "input": [QUESTION, "b"]},
        streams=False,
    ),
    "mistral embeddings": Asked(
        "openai.embeddings", "/mistral/v1/embeddings", {"model": "mistral-embed", "input": [QUESTION]}, streams=False
    ),
    "images": Asked("openai.images", "/openai/v1/images/generations", {"model": "gpt-image-1", "prompt": QUESTION}),
    "transcription": Asked("openai.transcriptions", "/openai/v1/audio/transcriptions", FORM),
    "speech events": Asked(
        "openai.speech",
        "/openai/v1/audio/speech",
        {"model": "gpt-4o-mini-tts", "input": QUESTION, "stream_format": "sse"},
    ),
    "anthropic": Asked(
        "anthropic.messages", "/anthropic/v1/messages", CLAUDE | {"thinking": {"type": "enabled", "budget_tokens": 64}}
    ),
    "anthropic on vertex": Asked(
        "anthropic.messages",
        f"{VERTEX}/anthropic/models/claude-haiku-4-5:rawPredict",
        CLAUDE,
        stream_path=f"{VERTEX}/anthropic/models/claude-haiku-4-5:streamRawPredict",
    ),
    "gemini": Asked(
        "gemini.generate",
        f"{GEMINI}:generateContent",
        CONTENTS | {"generationConfig": {"thinkingConfig": {"thinkingBudget": 99}}},
        stream_path=GEMINI + SSE,
    ),
    "gemini array": Asked(
        "gemini.generate", f"{GEMINI}:generateContent", CONTENTS, stream_path=f"{GEMINI}:streamGenerateContent"
    ),
    "gemini embed": Asked(
        "gemini.embed",
        "/google/v1beta/models/gemini-embedding-001:embedContent",
        {"content": {"parts": [{"text": QUESTION}]}},
        streams=False,
    ),
    "interactions": Asked(
        "gemini.interactions",
        "/google/v1beta/interactions",
        {"model": "gemini-3-flash", "input": QUESTION, "generation_config": {"thinking_level": "low"}},
    ),
    "vertex predict": Asked(
        "vertex.predict",
        f"{VERTEX}/google/models/text-embedding-005:predict",
        {"instances": [{"content": QUESTION}]},
        streams=False,
    ),
    "converse": Asked("bedrock.converse", f"{NOVA}/converse", CONVERSE, stream_path=f"{NOVA}/converse-stream"),
    "invoke claude": Asked("bedrock.invoke", f"{SONNET}/invoke", INVOKE, stream_path=f"{SONNET}/{STREAMED}"),
    "invoke nova": Asked("bedrock.invoke", f"{NOVA}/invoke", CONVERSE, stream_path=f"{NOVA}/{STREAMED}"),
    "invoke llama": Asked("bedrock.invoke", f"{LLAMA}/invoke", {"prompt": QUESTION}, stream_path=f"{LLAMA}/{STREAMED}"),
    "cohere v2": Asked("cohere.chat", "/cohere/v2/chat", {"model": "command-a-03-2025", "messages": [USER]}),
    "cohere v1": Asked("cohere.chat", "/cohere/v1/chat", {"model": "command-r", "message": QUESTION}),
    "cohere embed": Asked(
        "cohere.embed",
        "/cohere/v2/embed",
        {"model": "embed-v4.0", "texts": [QUESTION], "input_type": "search_query"},
        streams=False,
    ),
    "rerank": Asked(
        "rerank",
        "/cohere/v2/rerank",
        {"model": "rerank-v3.5", "query": QUESTION, "documents": ["a"] * 101},
        streams=False,
    ),
    "ollama chat": Asked("ollama", "/ollama/api/chat", {"model": "qwen3:8b", "messages": [USER], "think": True}),
    "ollama generate": Asked("ollama", "/ollama/api/generate", {"model": "qwen3:8b", "prompt": QUESTION}),
    "ollama embed": Asked("ollama", "/ollama/api/embed", {"model": "nomic", "input": [QUESTION]}, streams=False),
    "ocr": Asked(
        "mistral.ocr",
        "/mistral/v1/ocr",
        {"model": "mistral-ocr-latest", "document": {"document_url": "x"}},
        streams=False,
    ),
    "huggingface": Asked("huggingface.inference", HF, {"inputs": QUESTION, "parameters": {"details": True}}),
    "cloudflare": Asked("cloudflare.run", "/workers-ai/@cf/meta/llama-3.3-70b", {"messages": [USER]}),
}
"""Requests whose answers state their usage."""

SILENT: Mapping[str, Asked] = {
    "unasked chat": Asked("openai.chat", "/openai/v1/chat/completions", CHAT),
    "speech": Asked("openai.speech", "/openai/v1/audio/speech", {"model": "tts-1", "input": QUESTION}),
    "anthropic complete": Asked(
        "anthropic.complete", "/anthropic/v1/complete", {"model": "claude-2.1", "prompt": QUESTION}
    ),
}
"""Requests whose stream states none."""


class Got(NamedTuple):
    """An answer as it came.

    Attributes:
        cut: whether the connection ended before the body did.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    cut: bool


def body_of(asked: Asked, *, stream: bool) -> tuple[str, bytes, str]:
    """Path, body and content type."""
    path = asked.stream_path if stream and asked.stream_path else asked.path
    if isinstance(asked.body, bytes):
        return (
            path,
            asked.body % (b"gpt-4o-transcribe", b"true" if stream else b"false"),
            "multipart/form-data; boundary=b",
        )
    said = asked.body if asked.stream_path else {**asked.body, "stream": stream}
    return path, json.dumps(said).encode(), "application/json"


def send(  # noqa: PLR0913 - everything that a request has
    simulator: Simulator,
    path: str,
    body: bytes | Json | None,
    *,
    method: str = "POST",
    kind: str = "application/json",
    knobs: str = "",
    connection: http.client.HTTPConnection | None = None,
) -> Got:
    """Sends a request and takes whatever comes."""
    own = connection or http.client.HTTPConnection("127.0.0.1", simulator.port, timeout=10)
    headers = {"content-type": kind} | ({"x-simulate": knobs} if knobs else {})
    try:
        own.request(method, path, json.dumps(body) if isinstance(body, dict) else body, headers)
        answer = own.getresponse()
        cut, data = False, b""
        try:
            data = answer.read()
        except http.client.IncompleteRead as error:
            cut, data = True, error.partial
        return Got(answer.status, answer.getheaders(), data, cut)
    finally:
        if connection is None:
            own.close()


def ask(simulator: Simulator, name: str, *, stream: bool = False, knobs: str = "", **members: object) -> Got:
    """Sends one of the requests above, with further members in its body."""
    asked = REQUESTS.get(name) or SILENT[name]
    if members and isinstance(asked.body, dict):
        asked = asked._replace(body={**asked.body, **members})
    path, body, kind = body_of(asked, stream=stream)
    return send(simulator, path, body, kind=kind, knobs=knobs)


def read(got: Got, asked: Asked, *, stream: bool) -> Reading:
    """What the meter's reader makes of it."""
    path = asked.stream_path if stream and asked.stream_path else asked.path
    route = recognise("POST", "127.0.0.1:1", path.partition("?")[0])
    assert route is not None
    assert route.api == asked.api
    reader = Reader(route, status=got.status, headers=got.headers)
    reader.feed(got.body)
    return reader.close(cut=got.cut)


def reading(simulator: Simulator, name: str, *, stream: bool = False, knobs: str = "", **members: object) -> Reading:
    """Sends one of the requests above and reads the answer."""
    asked = REQUESTS.get(name) or SILENT[name]
    return read(ask(simulator, name, stream=stream, knobs=knobs, **members), asked, stream=stream)
