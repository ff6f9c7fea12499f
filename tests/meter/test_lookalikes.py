"""What looks like a call to a model, what may be kept of its path, and what must be taken out of a text."""

from __future__ import annotations

import pytest

from taximeter.meter.lookalikes import looks_like_a_call, prefix_of, shape_of
from taximeter.meter.masking import masked
from taximeter.wire import APIS

LOOKS = [
    ("/v1/chat/completions", "openai.chat"),
    ("/team/openai/v1//chat/completions/?api-version=1", "openai.chat"),
    ("/v1/agents/completions", "openai.chat"),
    ("/v1/completions", "openai.completions"),
    ("/v1/responses", "openai.responses"),
    ("/backend/codex/responses", "openai.responses"),
    ("/v1/responses/compact", "openai.responses"),
    ("/v1/embeddings", "openai.embeddings"),
    ("/v1/multimodalembeddings", "openai.embeddings"),
    ("/v1/images/generations", "openai.images"),
    ("/v1/audio/transcriptions", "openai.transcriptions"),
    ("/v1/audio/speech", "openai.speech"),
    ("/v1/messages", "anthropic.messages"),
    ("/proxy/anthropic/messages", "anthropic.messages"),
    ("/v1/complete", "anthropic.complete"),
    ("/v1/publishers/anthropic/models/claude:rawPredict", "anthropic.messages"),
    ("/v1/publishers/mistralai/models/m:streamRawPredict", "openai.chat"),
    ("/v1internal:streamGenerateContent", "gemini.generate"),
    ("/v1beta/models/gemini-3:generateContent", "gemini.generate"),
    ("/v1beta/models/e:batchEmbedContents", "gemini.embed"),
    ("/v1/projects/p/locations/l/endpoints/123:predict", "vertex.predict"),
    ("/v1beta/interactions", "gemini.interactions"),
    ("/model/us.amazon.nova-v1%3A0/converse", "bedrock.converse"),
    ("/model/a.b/converse-stream", "bedrock.converse"),
    ("/model/a.b/invoke-with-response-stream", "bedrock.invoke"),
    ("/v2/chat", "cohere.chat"),
    ("/v1/embed", "cohere.embed"),
    ("/v1/rerank", "rerank"),
    ("/rerank", "rerank"),
    ("/v1/ocr", "mistral.ocr"),
    ("/api/chat", "ollama"),
    ("/api/generate", "ollama"),
    ("/api/embeddings", "ollama"),
    ("/endpoints/my-llama/invocations", "openai.chat"),
    ("/api/v2/cortex/inference:complete", "openai.chat"),
    ("/client/v4/accounts/a/ai/run/@cf/m", "cloudflare.run"),
    ("/v1/a/g/workers-ai/@cf/m", "cloudflare.run"),
    ("/models/org/m/pipeline/feature-extraction", "huggingface.inference"),
    ("/generate", "huggingface.inference"),
    ("/generate_stream", "huggingface.inference"),
]


@pytest.mark.parametrize(("path", "api"), LOOKS)
def test_looks_like_a_call(path: str, api: str) -> None:
    """By the end of the path, wherever the server is mounted; a GET of the same is none."""
    assert looks_like_a_call("POST", path) == api
    assert looks_like_a_call("post", path) == api
    assert looks_like_a_call("GET", path) is None


def test_every_format_can_be_looked_like() -> None:
    """None was forgotten, and none is named that there is not."""
    assert {api for _, api in LOOKS} == set(APIS)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "",
        "/v1/models",
        "/v1/files",
        "/v1/batches",
        "/v1/moderations",
        "/v1/messages/count_tokens",
        "/v1/messages/batches",
        "/v1beta/models/gemini-3:countTokens",
        "/v1/responses/resp_1/cancel",
        "/v1/threads/t_1/messages",
        "/channels/1/messages",
        "/forms/1/responses",
        "/model/a.b/count-tokens",
        "/chat",
        "/chat/messages",
        "/orders/complete",
        "/reports/generate",
        "/lambda/invoke",
        "/api/pull",
        "/index.html?x=/v1/chat/completions",
    ],
)
def test_looks_like_no_call(path: str) -> None:
    """Lists, files, counts and batches are none; nor is what other services say with the same words."""
    assert looks_like_a_call("POST", path) is None


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/v1/chat/completions?user=me", "/v1/chat/completions"),
        ("//v1///chat/", "/v1/chat"),
        ("/llm-gateway/v1/chat", "/llm-gateway/v1/chat"),
        ("/tenants/acme/v1/chat", "/tenants/*/v1/chat"),
        ("/u/alice/v1/chat", "/u/*/v1/chat"),
        ("/8f14e45f-ceea-4672-b3a2-1f2d3c4b5a69/v1/chat", "/*/v1/chat"),
        ("/sk-abcdefghijkl/v1/chat", "/*/v1/chat"),
        ("/a@b.example/v1/chat", "/*/v1/chat"),
        ("/model/arn%3Aaws%3A1/converse", "/model/*/converse"),
        ("/v1beta/models/gemini-3:generateContent", "/v1beta/models/*:generateContent"),
        ("/v1internal:generateContent", "/v1internal:generateContent"),
        ("/team:secret/v1/chat", "/*/v1/chat"),
        ("/" + "word/" * 60 + "v1/chat", "/" + "word/" * 23 + "*"),
    ],
)
def test_what_is_kept_of_a_path(path: str, shape: str) -> None:
    """Plain words and versions: nothing that is, or may be, an id, a name, a key or a query."""
    assert shape_of(path) == shape


@pytest.mark.parametrize(
    ("shape", "prefix"),
    [
        ("/v1/chat", "/v1/chat"),
        ("/openai/deployments/*/chat/completions", "/openai/deployments"),
        ("/v1beta/models/*:generateContent", "/v1beta/models"),
        ("/*", ""),
    ],
)
def test_what_can_be_declared(shape: str, prefix: str) -> None:
    """The part of a path that is known for certain."""
    assert prefix_of(shape) == prefix


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Incorrect API key provided: sk-proj-4f3c9a_Zz8x1.", "Incorrect API key provided: ***."),
        ("gsk_a1B2c3D4e5F6 hf_abcdefghijk xai-0123456789", "*** *** ***"),
        ("AIzaSyD-1234567890abcdefgh AKIAIOSFODNN7EXAMPLE", "*** ***"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "***"),
        ("header Bearer abc123.def-456=", "header Bearer ***"),
        ("Authorization: Basic dXNlcjpwYXNz, next", "Authorization: ***, next"),
        ("{'x-api-key': 'short', 'a': 1}", "{'x-api-key': ***, 'a': 1}"),
        ('{"password": "with a space"}', '{"password": ***}'),
        ("(b'authorization', b'Bearer x')", "(b'authorization', ***)"),
        ("token=abc&next=1 api_key = zz", "token=***&next=1 api_key = ***"),
        ("GET https://h/v1?key=1&b=2 failed", "GET https://h/v1?*** failed"),
        ("postgresql://me:word@db/x", "postgresql://***@db/x"),
        ("id " + "a1B2" * 12, "id ***"),
    ],
)
def test_keys_are_taken_out(text: str, left: str) -> None:
    """By how keys begin, by what they are called, by where they stand, and by their looks."""
    assert masked(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "JournalError: journal /home/me/taximeter/store.journal: cannot write: the disk is full; free space",
        "cannot read 01795341353348025516-1234567-0f9a4f67.journal of 0192f3a4-7b1c-7def-8a90-123456789abc",
        "KeyError: 'usage'",
        "OperationalError: database is locked",
    ],
)
def test_what_explains_stays(text: str) -> None:
    """Paths, the names of our own files, ids of calls and plain words are what a person needs."""
    assert masked(text) == text


def test_texts_are_cut() -> None:
    """At some three hundred characters, and never in the midst of a key before it was taken out."""
    assert masked("a " * 400) == ("a " * 400)[:300] + " …"
    assert "sk-" not in masked("a " * 995 + "b sk-abcdefghijklmnop" * 3)
    assert masked("y" * 5_000) == " …"
