"""From method, host and path to a wire format, a provider and a model."""

from __future__ import annotations

import pytest

from taximeter.errors import WireError
from taximeter.wire import APIS, Reader, Route, recognise
from taximeter.wire.routes import may_be_metered

OPENAI = "api.openai.com"
AZURE = "my-resource.openai.azure.com"
VERTEX = "us-central1-aiplatform.googleapis.com"
GOOGLE = "generativelanguage.googleapis.com"
BEDROCK = "bedrock-runtime.us-east-1.amazonaws.com"
CLOUDFLARE = "gateway.ai.cloudflare.com"
HUGGINGFACE = "router.huggingface.co"
PUBLISHERS = "/v1/projects/p/locations/global/publishers"

ROUTES: list[tuple[str, str, str, str, str | None, bool | None]] = [
    # host, path, api, provider, model, stream
    (OPENAI, "/v1/chat/completions", "openai.chat", "openai", None, None),
    (OPENAI, "/v1/responses", "openai.responses", "openai", None, None),
    (OPENAI, "/v1/completions", "openai.completions", "openai", None, None),
    (OPENAI, "/v1/embeddings", "openai.embeddings", "openai", None, None),
    (OPENAI, "/v1/images/generations", "openai.images", "openai", None, None),
    (OPENAI, "/v1/images/edits", "openai.images", "openai", None, None),
    (OPENAI, "/v1/audio/transcriptions", "openai.transcriptions", "openai", None, None),
    (OPENAI, "/v1/audio/translations", "openai.transcriptions", "openai", None, None),
    (OPENAI, "/v1/audio/speech", "openai.speech", "openai", None, None),
    ("eu.api.openai.com", "/v1/responses", "openai.responses", "openai", None, None),
    ("chatgpt.com", "/backend-api/codex/responses", "openai.responses", "chatgpt", None, None),
    # Azure: the deployment stands in the path, or the model in the body
    (AZURE, "/openai/deployments/my-gpt/chat/completions", "openai.chat", "azure", "my-gpt", None),
    (AZURE, "/openai/deployments/my-gpt/completions", "openai.completions", "azure", "my-gpt", None),
    (AZURE, "/openai/deployments/my-ada/embeddings", "openai.embeddings", "azure", "my-ada", None),
    (AZURE, "/openai/deployments/my-img/images/generations", "openai.images", "azure", "my-img", None),
    (AZURE, "/openai/deployments/w/audio/transcriptions", "openai.transcriptions", "azure", "w", None),
    (AZURE, "/openai/deployments/t/audio/speech", "openai.speech", "azure", "t", None),
    (AZURE, "/openai/v1/responses", "openai.responses", "azure", None, None),
    ("x.services.ai.azure.com", "/models/chat/completions", "openai.chat", "azure", None, None),
    ("x.services.ai.azure.com", "/anthropic/v1/messages", "anthropic.messages", "azure", None, None),
    # Anthropic
    ("api.anthropic.com", "/v1/messages", "anthropic.messages", "anthropic", None, None),
    ("api.anthropic.com", "/v1/complete", "anthropic.complete", "anthropic", None, None),
    # Google
    (GOOGLE, "/v1beta/models/gemini-3-flash:generateContent", "gemini.generate", "google", "gemini-3-flash", False),
    (GOOGLE, "/v1beta/models/gemini-3:streamGenerateContent", "gemini.generate", "google", "gemini-3", True),
    (GOOGLE, "/v1beta/tunedModels/mine:generateContent", "gemini.generate", "google", "mine", False),
    (GOOGLE, "/v1beta/models/emb-1:embedContent", "gemini.embed", "google", "emb-1", False),
    (GOOGLE, "/v1beta/models/emb-1:batchEmbedContents", "gemini.embed", "google", "emb-1", False),
    (GOOGLE, "/v1beta/interactions", "gemini.interactions", "google", None, None),
    (GOOGLE, "/v1beta/openai/chat/completions", "openai.chat", "google", None, None),
    (VERTEX, PUBLISHERS + "/google/models/g3:streamGenerateContent", "gemini.generate", "vertex", "g3", True),
    (VERTEX, PUBLISHERS + "/google/models/emb:predict", "vertex.predict", "vertex", "emb", False),
    (VERTEX, PUBLISHERS + "/anthropic/models/claude-x:rawPredict", "anthropic.messages", "vertex", "claude-x", False),
    (VERTEX, PUBLISHERS + "/anthropic/models/c:streamRawPredict", "anthropic.messages", "vertex", "c", True),
    (VERTEX, PUBLISHERS + "/mistralai/models/m:rawPredict", "openai.chat", "vertex", "m", None),
    (VERTEX, "/v1/projects/p/locations/l/endpoints/openapi/chat/completions", "openai.chat", "vertex", None, None),
    (
        "aiplatform.googleapis.com",
        PUBLISHERS + "/google/models/g:generateContent",
        "gemini.generate",
        "vertex",
        "g",
        False,
    ),
    # Bedrock: ids with a colon come percent-encoded, ARNs with their slash
    (BEDROCK, "/model/anthropic.claude-v2%3A1/converse", "bedrock.converse", "bedrock", "anthropic.claude-v2:1", False),
    (BEDROCK, "/model/us.amazon.nova-v1:0/converse-stream", "bedrock.converse", "bedrock", "us.amazon.nova-v1:0", True),
    (BEDROCK, "/model/a.b/invoke", "bedrock.invoke", "bedrock", "a.b", False),
    (BEDROCK, "/model/a.b/invoke-with-response-stream", "bedrock.invoke", "bedrock", "a.b", True),
    (
        BEDROCK,
        "/model/arn%3Aaws%3Abedrock%3Aeu-west-1%3A1%3Ainference-profile%2Feu.x/converse",
        "bedrock.converse",
        "bedrock",
        "arn:aws:bedrock:eu-west-1:1:inference-profile/eu.x",
        False,
    ),
    (BEDROCK, "/openai/v1/chat/completions", "openai.chat", "bedrock", None, None),
    ("bedrock-mantle.us-east-1.api.aws", "/v1/responses", "openai.responses", "bedrock", None, None),
    # those who speak OpenAI's formats
    ("api.groq.com", "/openai/v1/chat/completions", "openai.chat", "groq", None, None),
    ("api.cerebras.ai", "/v1/chat/completions", "openai.chat", "cerebras", None, None),
    ("api.together.xyz", "/v1/chat/completions", "openai.chat", "together", None, None),
    ("api.fireworks.ai", "/inference/v1/chat/completions", "openai.chat", "fireworks", None, None),
    ("api.deepseek.com", "/chat/completions", "openai.chat", "deepseek", None, None),
    ("api.deepseek.com", "/anthropic/v1/messages", "anthropic.messages", "deepseek", None, None),
    ("api.mistral.ai", "/v1/chat/completions", "openai.chat", "mistral", None, None),
    ("api.mistral.ai", "/v1/fim/completions", "openai.chat", "mistral", None, None),
    ("api.mistral.ai", "/v1/agents/completions", "openai.chat", "mistral", None, None),
    ("api.mistral.ai", "/v1/ocr", "mistral.ocr", "mistral", None, False),
    ("api.x.ai", "/v1/chat/completions", "openai.chat", "xai", None, None),
    ("openrouter.ai", "/api/v1/chat/completions", "openai.chat", "openrouter", None, None),
    ("openrouter.ai", "/api/v1/messages", "anthropic.messages", "openrouter", None, None),
    ("ai-gateway.vercel.sh", "/v1/chat/completions", "openai.chat", "vercel", None, None),
    ("api.perplexity.ai", "/chat/completions", "openai.chat", "perplexity", None, None),
    ("api.moonshot.cn", "/v1/chat/completions", "openai.chat", "moonshot", None, None),
    ("api.githubcopilot.com", "/chat/completions", "openai.chat", "github_copilot", None, None),
    ("x.cloud.databricks.com", "/serving-endpoints/dbrx/invocations", "openai.chat", "databricks", "dbrx", None),
    ("a.snowflakecomputing.com", "/api/v2/cortex/inference:complete", "openai.chat", "snowflake", None, None),
    ("api.writer.com", "/v1/chat", "openai.chat", "writer", None, None),
    # Cohere and reranking
    ("api.cohere.com", "/v2/chat", "cohere.chat", "cohere", None, None),
    ("api.cohere.ai", "/v1/chat", "cohere.chat", "cohere", None, None),
    ("api.cohere.com", "/v2/embed", "cohere.embed", "cohere", None, False),
    ("api.cohere.com", "/v2/rerank", "rerank", "cohere", None, False),
    ("api.cohere.ai", "/compatibility/v1/chat/completions", "openai.chat", "cohere", None, None),
    ("api.jina.ai", "/v1/rerank", "rerank", "jina", None, False),
    ("api.voyageai.com", "/v1/multimodalembeddings", "openai.embeddings", "voyage", None, False),
    # Ollama and engines that people run themselves: the provider is the host
    ("localhost:11434", "/api/chat", "ollama", "ollama", None, None),
    ("localhost:11434", "/api/generate", "ollama", "ollama", None, None),
    ("localhost:11434", "/api/embed", "ollama", "ollama", None, None),
    ("localhost:11434", "/v1/chat/completions", "openai.chat", "ollama", None, None),
    ("localhost:8000", "/v1/chat/completions", "openai.chat", "localhost", None, None),
    ("10.0.0.7", "/v1/rerank", "rerank", "10.0.0.7", None, False),
    ("[::1]:8080", "/v1/chat/completions", "openai.chat", "[::1]", None, None),
    ("[fe80::1]", "/v1/chat/completions", "openai.chat", "[fe80::1]", None, None),
    ("localhost:4000", "/groq/v1/chat/completions", "openai.chat", "groq", None, None),
    ("localhost:11434", "/api/embeddings", "ollama", "ollama", None, None),
    # Cloudflare's gateway: account, gateway and provider before the provider's own path
    (CLOUDFLARE, "/v1/acc/gw/openai/chat/completions", "openai.chat", "openai", None, None),
    (CLOUDFLARE, "/v1/acc/gw/anthropic/v1/messages", "anthropic.messages", "anthropic", None, None),
    (CLOUDFLARE, "/v1/acc/openai/anthropic/v1/messages", "anthropic.messages", "anthropic", None, None),
    (CLOUDFLARE, "/v1/acc/gw/google-ai-studio/v1/models/g3:generateContent", "gemini.generate", "google", "g3", False),
    (
        CLOUDFLARE,
        "/v1/acc/gw/aws-bedrock/bedrock-runtime/us-east-1/model/a.b%3A0/converse-stream",
        "bedrock.converse",
        "bedrock",
        "a.b:0",
        True,
    ),
    (CLOUDFLARE, "/v1/acc/gw/azure-openai/res/my-gpt/chat/completions", "openai.chat", "azure", None, None),
    (CLOUDFLARE, "/v1/acc/gw/cohere/v1/chat", "cohere.chat", "cohere", None, None),
    (CLOUDFLARE, "/v1/acc/gw/grok/v1/chat/completions", "openai.chat", "xai", None, None),
    (CLOUDFLARE, "/v1/acc/gw/workers-ai/@cf/meta/llama-3", "cloudflare.run", "cloudflare", "@cf/meta/llama-3", None),
    (CLOUDFLARE, "/v1/acc/gw/workers-ai/v1/chat/completions", "openai.chat", "cloudflare", None, None),
    (CLOUDFLARE, "/v1/acc/gw/compat/chat/completions", "openai.chat", "cloudflare", None, None),
    ("api.cloudflare.com", "/client/v4/accounts/a/ai/run/@cf/m", "cloudflare.run", "cloudflare", "@cf/m", None),
    # Hugging Face's router names its backend in the path
    (HUGGINGFACE, "/v1/chat/completions", "openai.chat", "huggingface", None, None),
    (HUGGINGFACE, "/together/v1/chat/completions", "openai.chat", "huggingface_together", None, None),
    (HUGGINGFACE, "/groq/openai/v1/chat/completions", "openai.chat", "huggingface_groq", None, None),
    (HUGGINGFACE, "/novita/v3/openai/chat/completions", "openai.chat", "huggingface_novita", None, None),
    (HUGGINGFACE, "/hf-inference/models/org/m/v1/chat/completions", "openai.chat", "huggingface", "org/m", None),
    ("api-inference.huggingface.co", "/models/org/m", "huggingface.inference", "huggingface", "org/m", None),
    (
        HUGGINGFACE,
        "/hf-inference/models/org/m/pipeline/feature-extraction",
        "huggingface.inference",
        "huggingface",
        "org/m",
        None,
    ),
    # case, port, doubled and trailing slashes do not matter
    ("API.OpenAI.com:443", "//v1//chat/completions/", "openai.chat", "openai", None, None),
    # a name that only looks like a provider's is somebody else's
    ("evil-openai.com", "/v1/chat/completions", "openai.chat", "evil-openai.com", None, None),
    ("api.openai.com.evil.net", "/v1/chat/completions", "openai.chat", "api.openai.com.evil.net", None, None),
]


@pytest.mark.parametrize(("host", "path", "api", "provider", "model", "stream"), ROUTES)
def test_routes(  # noqa: PLR0913, PLR0917 - the columns of the table
    host: str,
    path: str,
    api: str,
    provider: str,
    model: str | None,
    stream: bool | None,  # noqa: FBT001
) -> None:
    """Host and path say how a call is read, who is called, and where they can the model and whether it streams."""
    route = recognise("POST", host, path)
    assert route is not None
    assert route == Route(api, provider, model, stream, route.vague)


@pytest.mark.parametrize(
    ("method", "host", "path"),
    [
        ("POST", "api.anthropic.com", "/v1/messages/count_tokens"),
        ("POST", "api.anthropic.com", "/v1/messages/batches"),
        ("POST", GOOGLE, "/v1beta/models/gemini-3-flash:countTokens"),
        ("POST", BEDROCK, "/model/a.b/count-tokens"),
        ("POST", OPENAI, "/v1/files"),
        ("POST", OPENAI, "/v1/batches"),
        ("POST", OPENAI, "/v1/moderations"),
        ("GET", OPENAI, "/v1/models"),
        ("GET", OPENAI, "/v1/chat/completions"),
        ("GET", OPENAI, "/v1/chat/completions/chatcmpl_1"),
        ("GET", OPENAI, "/v1/responses"),
        ("GET", OPENAI, "/v1/responses/resp_1/input_items"),
        ("POST", OPENAI, "/v1/responses/resp_1/cancel"),
        ("DELETE", OPENAI, "/v1/responses/resp_1"),
        ("PUT", OPENAI, "/v1/chat/completions"),
        ("OPTIONS", OPENAI, "/v1/chat/completions"),
        ("POST", "localhost:11434", "/api/pull"),
        ("GET", "localhost:11434", "/api/tags"),
        ("POST", "example.com", "/"),
        ("POST", "example.com", ""),
    ],
)
def test_what_is_no_metered_call(method: str, host: str, path: str) -> None:
    """Token counts, files, lists, batches and what is none of ours are not metered."""
    assert recognise(method, host, path) is None


@pytest.mark.parametrize("path", [path for _, path, *_ in ROUTES])
def test_the_quick_look_lets_nothing_slip(path: str) -> None:
    """Whatever is metered passes the quick look as well, with its query or without."""
    assert may_be_metered(path)
    assert may_be_metered(path + "?api-version=2026-01-01&key=a:b/c")


def test_the_quick_look_turns_most_away() -> None:
    """Pages and files of other kinds need no further look."""
    assert not any(map(may_be_metered, ["/v1/files", "/index.html", "/v1/models", "/api/tags?x=/v1/completions"]))


def test_fetching_what_ran_in_the_background() -> None:
    """The GET of a response or an interaction by its id is metered: it carries the usage that the POST had not."""
    assert recognise("GET", OPENAI, "/v1/responses/resp_1") == Route(api="openai.responses", provider="openai")
    assert recognise("get", GOOGLE, "/v1beta/interactions/int_1") == Route(api="gemini.interactions", provider="google")


def test_every_format_has_a_route() -> None:
    """No format is out of reach."""
    assert {api for _, _, api, *_ in ROUTES} == set(APIS)


def test_a_format_that_nobody_reads() -> None:
    """A declared format that does not exist is refused, with the list of those that do."""
    with pytest.raises(WireError, match=r"no wire format is called 'openai\.telepathy'; there are openai\.chat"):
        Reader(Route(api="openai.telepathy", provider="openai"))


@pytest.mark.parametrize(
    ("host", "path", "vague"),
    [
        ("api.anthropic.com", "/v1/messages", False),
        ("gateway.internal", "/anthropic/v1/messages", False),  # mounted under a provider's name
        ("discord.com", "/api/v9/channels/1/messages", True),
        ("localhost:8000", "/v1/messages", True),
        ("localhost:8000", "/v1/responses", True),
        ("localhost:8501", "/v1/models/half_plus_two:predict", True),  # TensorFlow Serving
        ("shop.example", "/api/chat", True),
        ("localhost:11434", "/api/chat", False),
        ("localhost:8000", "/v1/chat/completions", False),
        ("localhost:8000", "/v1beta/models/gemini-2.5-flash:generateContent", False),
    ],
)
def test_what_other_services_have_too(host: str, path: str, vague: bool) -> None:  # noqa: FBT001 - a table
    """At a host that nobody knows, a path that others use as well does not make a call to a model by itself."""
    route = recognise("POST", host, path)
    assert route is not None
    assert route.vague is vague


def test_a_stored_object_of_an_unknown_host() -> None:
    """A GET has no body that could bear out what it is."""
    assert recognise("GET", "survey.example", "/v1/responses/17") is None
    assert recognise("GET", "api.openai.com", "/v1/responses/resp_17") is not None
