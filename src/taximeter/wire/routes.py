"""From method, host and path to a wire format and a provider. Tables, and the few lines that read them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import unquote

from taximeter.errors import WireError
from taximeter.wire.anthropic import AnthropicComplete, AnthropicMessages
from taximeter.wire.bedrock import BedrockConverse, BedrockInvoke
from taximeter.wire.cohere import CohereChat, CohereEmbed, Rerank
from taximeter.wire.format import Format, Route
from taximeter.wire.gemini import Gemini, GeminiEmbed, VertexPredict
from taximeter.wire.huggingface import CloudflareRun, HuggingFaceInference
from taximeter.wire.interactions import GeminiInteractions
from taximeter.wire.ollama import Ollama
from taximeter.wire.openai_chat import OpenAIChat, OpenAICompletions
from taximeter.wire.openai_media import MistralOCR, OpenAIEmbeddings, OpenAIImages, OpenAISpeech, OpenAITranscription
from taximeter.wire.openai_responses import OpenAIResponses

APIS: Final[Mapping[str, type[Format]]] = {
    "openai.chat": OpenAIChat,
    "openai.responses": OpenAIResponses,
    "openai.completions": OpenAICompletions,
    "openai.embeddings": OpenAIEmbeddings,
    "openai.images": OpenAIImages,
    "openai.transcriptions": OpenAITranscription,
    "openai.speech": OpenAISpeech,
    "anthropic.messages": AnthropicMessages,
    "anthropic.complete": AnthropicComplete,
    "gemini.generate": Gemini,
    "gemini.embed": GeminiEmbed,
    "gemini.interactions": GeminiInteractions,
    "vertex.predict": VertexPredict,
    "bedrock.converse": BedrockConverse,
    "bedrock.invoke": BedrockInvoke,
    "cohere.chat": CohereChat,
    "cohere.embed": CohereEmbed,
    "rerank": Rerank,
    "mistral.ocr": MistralOCR,
    "ollama": Ollama,
    "huggingface.inference": HuggingFaceInference,
    "cloudflare.run": CloudflareRun,
}
"""Every wire format by name."""


class _Path(NamedTuple):
    """A path that belongs to a format: groups ``model`` and ``stream`` say more where the path does."""

    pattern: re.Pattern[str]
    api: str
    stream: bool | None = None
    common: bool = False
    """Whether other services use such a path too, so that it means nothing at a host that nobody knows."""


def _path(pattern: str, api: str, *, stream: bool | None = None, common: bool = False) -> _Path:
    return _Path(re.compile(pattern + r"/?$"), api, stream, common)


_PATHS: Final = (
    _path(r"/publishers/anthropic/models/(?P<model>[^/:]+):rawPredict", "anthropic.messages", stream=False),
    _path(r"/publishers/anthropic/models/(?P<model>[^/:]+):streamRawPredict", "anthropic.messages", stream=True),
    _path(r"/models/(?P<model>[^/:]+):(raw|streamRaw)Predict", "openai.chat"),
    _path(r"/(models|tunedModels|endpoints)/(?P<model>[^/:]+):generateContent", "gemini.generate", stream=False),
    _path(r"/(models|tunedModels|endpoints)/(?P<model>[^/:]+):streamGenerateContent", "gemini.generate", stream=True),
    _path(r"/models/(?P<model>[^/:]+):(embedContent|batchEmbedContents)", "gemini.embed", stream=False),
    _path(r"/models/(?P<model>[^/:]+):predict", "vertex.predict", stream=False, common=True),
    _path(r"/interactions(?P<id>/[^/]+)?", "gemini.interactions", common=True),
    _path(r"/model/(?P<model>.+)/converse", "bedrock.converse", stream=False),
    _path(r"/model/(?P<model>.+)/converse-stream", "bedrock.converse", stream=True),
    _path(r"/model/(?P<model>.+)/invoke", "bedrock.invoke", stream=False, common=True),
    _path(r"/model/(?P<model>.+)/invoke-with-response-stream", "bedrock.invoke", stream=True, common=True),
    _path(r"/deployments/(?P<model>[^/]+)/chat/completions", "openai.chat"),
    _path(r"/deployments/(?P<model>[^/]+)/completions", "openai.completions"),
    _path(r"/deployments/(?P<model>[^/]+)/embeddings", "openai.embeddings"),
    _path(r"/deployments/(?P<model>[^/]+)/images/(generations|edits)", "openai.images"),
    _path(r"/deployments/(?P<model>[^/]+)/audio/(transcriptions|translations)", "openai.transcriptions"),
    _path(r"/deployments/(?P<model>[^/]+)/audio/speech", "openai.speech"),
    _path(r"/api/(chat|generate|embed|embeddings)", "ollama", common=True),
    _path(r"/(chat|agents|fim)/completions", "openai.chat"),
    _path(r"/serving-endpoints/(?P<model>[^/]+)/invocations", "openai.chat"),
    _path(r"/cortex/inference:complete", "openai.chat"),
    _path(r"/responses/compact", "openai.responses", stream=False, common=True),
    _path(r"/responses(?P<id>/[^/]+)?", "openai.responses", common=True),
    _path(r"/completions", "openai.completions", common=True),
    _path(r"/embeddings", "openai.embeddings", common=True),
    _path(r"/images/(generations|edits|variations)", "openai.images"),
    _path(r"/audio/(transcriptions|translations)", "openai.transcriptions"),
    _path(r"/audio/speech", "openai.speech"),
    _path(r"/messages", "anthropic.messages", common=True),
    _path(r"/complete", "anthropic.complete", common=True),
    _path(r"/rerank(ing)?", "rerank", stream=False, common=True),
    _path(r"/ocr", "mistral.ocr", stream=False, common=True),
    _path(r"/ai/run/(?P<model>.+)", "cloudflare.run", common=True),
    _path(r"/workers-ai/(?P<model>@.+)", "cloudflare.run", common=True),
)

_HOST_PATHS: Final[Mapping[str, tuple[_Path, ...]]] = {
    "cohere": (
        _path(r"/v[12]/chat", "cohere.chat"),
        _path(r"/v[12]/(generate|summarize)", "cohere.chat"),
        _path(r"/v[12]/embed", "cohere.embed", stream=False),
    ),
    "writer": (_path(r"/v1/chat", "openai.chat"),),
    "voyage": (_path(r"/v1/multimodalembeddings", "openai.embeddings", stream=False),),
    "huggingface": (
        _path(r"/models/(?P<model>.+?)/v1/chat/completions", "openai.chat"),
        _path(r"/models/(?P<model>.+?)(/pipeline/[a-z-]+)?", "huggingface.inference"),
        _path(r"^/(generate|generate_stream)?", "huggingface.inference"),
    ),
    "azure": (_path(r"/models/chat/completions", "openai.chat"),),
}
"""Paths that mean a format only at one provider, tried first."""

_HOSTS: Final = tuple(
    (re.compile(rf"(?:^|\.)(?:{pattern})$"), provider)
    for pattern, provider in (
        (r"api\.openai\.com|[a-z]+\.api\.openai\.com", "openai"),
        (r"chatgpt\.com", "chatgpt"),
        (
            r"openai\.azure\.com|services\.ai\.azure\.com|cognitiveservices\.azure\.com|models\.ai\.azure\.com|azure-api\.net",
            "azure",
        ),
        (r"anthropic\.com", "anthropic"),
        (r"generativelanguage\.googleapis\.com", "google"),
        (r"[a-z0-9-]*aiplatform\.googleapis\.com|firebasevertexai\.googleapis\.com|rep\.googleapis\.com", "vertex"),
        (r"bedrock-runtime[a-z0-9-]*\.[^.]+\.amazonaws\.com(\.cn)?|bedrock-mantle\.[^.]+\.api\.aws", "bedrock"),
        (r"groq\.com", "groq"),
        (r"cerebras\.ai", "cerebras"),
        (r"together\.(xyz|ai)", "together"),
        (r"fireworks\.ai", "fireworks"),
        (r"deepseek\.com", "deepseek"),
        (r"mistral\.ai", "mistral"),
        (r"x\.ai", "xai"),
        (r"openrouter\.ai", "openrouter"),
        (r"ai-gateway\.vercel\.sh", "vercel"),
        (r"perplexity\.ai", "perplexity"),
        (r"cohere\.(ai|com)", "cohere"),
        (r"voyageai\.com", "voyage"),
        (r"jina\.ai", "jina"),
        (r"aliyuncs\.com", "alibaba"),
        (r"z\.ai", "zai"),
        (r"bigmodel\.cn", "zhipuai"),
        (r"moonshot\.(ai|cn)", "moonshot"),
        (r"minimaxi?\.(chat|io|com)", "minimax"),
        (r"novita\.ai", "novita"),
        (r"ai21\.com", "ai21"),
        (r"avian\.io", "avian"),
        (r"venice\.ai", "venice"),
        (r"writer\.com", "writer"),
        (r"doubleword\.ai", "doubleword"),
        (r"crusoecloud\.com", "crusoe"),
        (r"baseten\.co", "baseten"),
        (r"githubcopilot\.com", "github_copilot"),
        (r"models\.github\.ai|models\.inference\.ai\.azure\.com", "github"),
        (r"databricks\.(com|net)|azuredatabricks\.net", "databricks"),
        (r"snowflakecomputing\.com", "snowflake"),
        (r"huggingface\.co|huggingface\.cloud", "huggingface"),
        (r"portkey\.ai", "portkey"),
        (r"gateway\.pydantic\.dev", "pydantic_gateway"),
        (r"api\.cloudflare\.com", "cloudflare"),
        (r"ollama\.com", "ollama"),
    )
)

_PROVIDER_SEGMENTS: Final[Mapping[str, str]] = {
    "openai": "openai",
    "anthropic": "anthropic",
    "google": "google",
    "google-ai-studio": "google",
    "google-vertex-ai": "vertex",
    "vertex": "vertex",
    "gemini": "google",
    "azure-openai": "azure",
    "azure": "azure",
    "aws-bedrock": "bedrock",
    "bedrock": "bedrock",
    "groq": "groq",
    "cerebras": "cerebras",
    "cerebras-ai": "cerebras",
    "mistral": "mistral",
    "deepseek": "deepseek",
    "grok": "xai",
    "xai": "xai",
    "openrouter": "openrouter",
    "perplexity": "perplexity",
    "perplexity-ai": "perplexity",
    "cohere": "cohere",
    "together": "together",
    "together-ai": "together",
    "fireworks": "fireworks",
    "fireworks-ai": "fireworks",
    "huggingface": "huggingface",
    "workers-ai": "cloudflare",
    "ollama": "ollama",
    "vllm": "vllm",
}
"""Path segments by which gateways (Cloudflare's, Taximeter's own) mount a provider."""

_PORTS: Final[Mapping[str, str]] = {"11434": "ollama"}
_CLOUDFLARE_GATEWAY = "gateway.ai.cloudflare.com"
_METHODS = frozenset({"POST", "GET"})
_HF_ROUTER = re.compile(r"^/(?P<backend>[a-z0-9-]+)/(?:openai/|inference/|compatibility/)?(?:v1|v3|api)/")


_TAILS: Final = frozenset(
    [
        "completions",
        "responses",
        "embeddings",
        "multimodalembeddings",
        "generations",
        "edits",
        "variations",
        "transcriptions",
        "translations",
        "speech",
        "messages",
        "complete",
        "rerank",
        "reranking",
        "chat",
        "generate",
        "generate_stream",
        "summarize",
        "embed",
        "converse",
        "converse-stream",
        "invoke",
        "invoke-with-response-stream",
        "interactions",
        "invocations",
        "compact",
        "ocr",
    ]
)
"""The last segments of the paths above, except where a model's name comes last."""


def may_be_metered(path: str) -> bool:
    """Whether :func:`recognise` need be asked at all: a quick look that lets no metered call slip.

    Args:
        path: as for :func:`recognise`, the query still on it or not.
    """
    end = path.find("?")
    tail = (path if end < 0 else path[:end]).rstrip("/").rpartition("/")[2]
    return (
        tail in _TAILS
        or not tail
        or ":" in tail
        or "/models/" in path
        or "/ai/run/" in path
        or "/workers-ai/" in path
        or "/responses/" in path
        or "/interactions/" in path
    )


def recognise(method: str, host: str, path: str) -> Route | None:
    """How a call to this place is to be read; ``None`` when it is no metered call (files, model lists, token counts).

    Args:
        method: the HTTP method.
        host: with or without port, in any case.
        path: as sent, percent-encoding kept, without query.
    """
    if method.upper() not in _METHODS:
        return None
    name, _, port = host.lower().rpartition(":")
    if not port.isdigit():  # no port, or the end of an IPv6 address
        name, port = host.lower(), ""
    path = re.sub(r"/{2,}", "/", path)
    provider = _provider(name, port, path)
    for entry in (*_HOST_PATHS.get(provider.partition("_")[0], ()), *_PATHS):
        found = entry.pattern.search(path)
        if found is None:
            continue
        named = found.groupdict()
        by_id = named.get("id") is not None
        if by_id != (method.upper() == "GET"):
            continue  # GET of a background response is metered; POST …/{id}/cancel and GET of a list are not
        vague = entry.common and provider == name
        if vague and by_id:
            return None  # there is no body to bear it out
        model = named.get("model")
        return Route(entry.api, provider, unquote(model) if model else None, entry.stream, vague)
    return None


def _provider(host: str, port: str, path: str) -> str:
    provider = next((provider for pattern, provider in _HOSTS if pattern.search(host)), None)
    if provider == "huggingface":
        backend = _HF_ROUTER.match(path)
        return f"huggingface_{backend['backend']}" if backend else provider
    if provider is None:
        # at Cloudflare the account and the gateway come first, and may be called anything
        segments = path.split("/")[4 if host == _CLOUDFLARE_GATEWAY else 0 : -1]
        mounted = next((_PROVIDER_SEGMENTS[part] for part in segments if part in _PROVIDER_SEGMENTS), None)
        provider = mounted or ("cloudflare" if host == _CLOUDFLARE_GATEWAY else None) or _PORTS.get(port) or host
    return provider


def format_of(route: Route) -> type[Format]:
    """What reads the route's format.

    Raises:
        WireError: for an api that nobody here reads.
    """
    kind = APIS.get(route.api)
    if kind is None:
        msg = f"no wire format is called {route.api!r}; there are {', '.join(APIS)}"
        raise WireError(msg)
    return kind
