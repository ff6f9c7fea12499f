"""Where paths and models lead, and that no path leads out of its mount."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import example, given

from taximeter.gateway.config import Defaults, UpstreamSettings
from taximeter.gateway.paths import has_stray_slash, needed, why_unsafe
from taximeter.gateway.plan import Refusal
from taximeter.gateway.routing import Place, Router
from tests.gateway.policy.helpers import config, refused, upstreams

ROUTER = Router(upstreams(), Defaults())


def place(path: str, method: str = "POST", *, anthropic: bool = False, router: Router = ROUTER) -> Place:
    """The place behind a path; fails where it is refused."""
    found = router.place(method.encode(), path.encode(), anthropic=anthropic)
    assert isinstance(found, Place), found
    return found


@pytest.mark.parametrize(
    ("line", "upstream", "own", "api", "family"),
    [
        ("POST /openai/v1/chat/completions", "openai", "/v1/chat/completions", "openai.chat", "openai"),
        ("POST /v1/chat/completions", "openai", "/v1/chat/completions", "openai.chat", "openai"),
        ("POST /v1/responses", "openai", "/v1/responses", "openai.responses", "openai"),
        ("POST /v1/embeddings", "openai", "/v1/embeddings", "openai.embeddings", "openai"),
        ("GET /v1/models", "openai", "/v1/models", None, "openai"),
        ("POST /v1/messages", "anthropic", "/v1/messages", "anthropic.messages", "anthropic"),
        ("POST /v1/messages/count_tokens", "anthropic", "/v1/messages/count_tokens", None, "anthropic"),
        ("POST /anthropic/v1/messages", "anthropic", "/v1/messages", "anthropic.messages", "anthropic"),
        ("POST /v1beta/models/g:generateContent", "gemini", None, "gemini.generate", "gemini"),
        ("POST /v1/models/g:generateContent", "gemini", None, "gemini.generate", "gemini"),
        ("POST /v1beta/openai/chat/completions", "gemini", None, "openai.chat", "openai"),
        ("POST /groq/openai/v1/chat/completions", "groq", "/openai/v1/chat/completions", "openai.chat", "openai"),
        ("POST /bedrock/model/m/converse", "bedrock", "/model/m/converse", "bedrock.converse", "bedrock"),
        ("POST /cohere/v2/chat", "cohere", "/v2/chat", "cohere.chat", "openai"),
        ("POST /ollama/api/chat", "ollama", "/api/chat", "ollama", "openai"),
        ("GET /ollama", "ollama", "/", None, "openai"),
        ("POST /azure/openai/deployments/d/embeddings", "azure", None, "openai.embeddings", "openai"),
    ],
)
def test_a_path_leads_to_its_upstream(line: str, upstream: str, own: str | None, api: str | None, family: str) -> None:
    """Mounts keep the provider's own paths (``None``: what follows); paths without one go to their API's default."""
    method, path = line.split(" ")
    found = place(path, method)
    route = found.route
    assert (found.upstream.name, route and route.api, found.family) == (upstream, api, family)
    assert found.path.decode() == (path.removeprefix(f"/{upstream}") if own is None else own)
    assert route is None or route.provider == found.upstream.provider


def test_paths_of_two_apis_follow_the_callers_word() -> None:
    """``/v1/models`` is OpenAI's, and Anthropic's where the caller says that it speaks that."""
    assert place("/v1/models", "GET", anthropic=True).upstream.name == "anthropic"


@pytest.mark.parametrize(
    "path", ["/", "/v3/x", "/nobody/v1/chat/completions", "/OpenAI/v1/models", "/v1", "/healthz/x"]
)
def test_what_is_mounted_nowhere_is_not_found(path: str) -> None:
    """Nothing of a target makes an upstream."""
    assert refused(ROUTER.place(b"GET", path.encode())) == (404, "not_found")


def test_a_default_may_be_any_upstream_that_speaks_the_api() -> None:
    """OpenAI's ``/v1`` is put where that upstream has it, behind the prefix of its own."""
    told = config({"llm": UpstreamSettings(base_url="http://gpu:8000/a/v1", provider="vllm")})
    for name, own in (
        ("groq", "/openai/v1/chat/completions"),
        ("perplexity", "/chat/completions"),
        ("llm", "/v1/chat/completions"),
    ):
        found = place("/v1/chat/completions", router=Router(upstreams(told), Defaults(openai=name)))
        assert (found.upstream.name, found.path.decode()) == (name, own)
        assert found.route is not None
        assert found.route.api == "openai.chat"


@pytest.mark.parametrize(
    ("model", "upstream", "own_path", "own_model"),
    [
        ("gpt-5-mini", "openai", "/v1/chat/completions", None),
        ("groq/llama-3.3-70b", "groq", "/openai/v1/chat/completions", "llama-3.3-70b"),
        ("anthropic/claude-sonnet-4-5", "anthropic", "/v1/chat/completions", "claude-sonnet-4-5"),
        ("gemini/gemini-3-pro", "gemini", "/v1beta/openai/chat/completions", "gemini-3-pro"),
        ("openrouter/anthropic/claude", "openrouter", "/api/v1/chat/completions", "anthropic/claude"),
        ("openrouter/auto", "openrouter", "/api/v1/chat/completions", None),
        ("openai/gpt-5", "openai", "/v1/chat/completions", "gpt-5"),
        ("meta-llama/Llama-4", "openai", "/v1/chat/completions", None),
        ("groq/", "openai", "/v1/chat/completions", None),
        ("/x", "openai", "/v1/chat/completions", None),
    ],
)
def test_a_model_may_choose_the_upstream(model: str, upstream: str, own_path: str, own_model: str | None) -> None:
    """``provider/model`` on a path without a mount goes there, under the model's own name."""
    chosen = ROUTER.choose(place("/v1/chat/completions"), model)
    assert not isinstance(chosen, Refusal)
    assert (chosen.place.upstream.name, chosen.place.path.decode(), chosen.model) == (upstream, own_path, own_model)


def test_a_mount_is_not_left_by_a_model() -> None:
    """On a mount, and where the default's own models are called ``a/b``, a model chooses nothing."""
    for router, path in (
        (ROUTER, "/openrouter/api/v1/chat/completions"),
        (Router(upstreams(), Defaults(openai="openrouter")), "/v1/chat/completions"),
    ):
        chosen = router.choose(place(path, router=router), "anthropic/claude-sonnet-4-5")
        assert not isinstance(chosen, Refusal)
        assert (chosen.place.upstream.name, chosen.model) == ("openrouter", None)


def test_an_upstream_without_a_key_says_so() -> None:
    """It is not called, and the call does not go to another one instead."""
    assert refused(ROUTER.choose(place("/v1/chat/completions"), "vertex/gemini-3")) == (404, "upstream_unavailable")
    assert refused(ROUTER.place(b"POST", b"/vertex/v1/x")) == (404, "upstream_unavailable")


# ---- safety

UNSAFE = [
    "", "x", "//", "/a//b", "/..", "/.", "/a/../b", "/a/./b", "/a/..;/b", "/a/.;x/b", "/a/%2e%2e/b", "/a/%2E./b",
    "/a\\b", "/a%5cb", "/a%00", "/a%0d%0ab", "/a%7f", "/a b", "/a\r\nb", "/a\x00", "/a\x7f", "/é", "/a#b", "/a%",
    "/a%2", "/a%zz", "/a%252e%252e/b", "/a[b]", '/a"b', "http://evil.example/v1/models", "*",
]  # fmt: skip


@pytest.mark.parametrize("path", UNSAFE)
def test_an_unsafe_path_is_refused(path: str) -> None:
    """Whatever is mounted there, on a mount and without one."""
    assert why_unsafe(path.encode()) is not None
    assert refused(ROUTER.place(b"POST", path.encode())) == (400, "invalid_path")
    if path:
        assert refused(ROUTER.place(b"POST", b"/openai" + path.encode()))[0] in {400, 404}


def test_an_escaped_slash_is_refused_but_in_a_model_of_bedrock() -> None:
    """An ARN has slashes, which AWS's SDKs escape; nothing else may hide one."""
    assert refused(ROUTER.place(b"POST", b"/openai/v1%2fchat")) == (400, "invalid_path")
    assert refused(ROUTER.place(b"POST", b"/openai%2fv1/chat"))[0] == 404
    arn = "arn%3Aaws%3Abedrock%3Aeu-west-1%3A1%3Ainference-profile%2Feu.anthropic.claude"
    found = place(f"/bedrock/model/{arn}/converse")
    assert found.route is not None
    assert found.route.model == "arn:aws:bedrock:eu-west-1:1:inference-profile/eu.anthropic.claude"
    for odd in (
        f"/model/{arn}%2F/converse",
        "/model/a%2F..%2Fb/converse",
        f"/model/{arn}/other",
        "/x%2Fy",
        "/model/a%2F%2Fb/converse",
    ):
        assert has_stray_slash(odd.encode(), bedrock=True), odd


_PIECES = st.lists(
    st.sampled_from([
        "/", "/", "openai", "anthropic", "groq", "bedrock", "v1", "v1beta", "chat/completions", "messages", "..", ".",
        "%2e", "%2f", "%2F", "%5c", "\\", "//", "@", ":", "evil.example", "http://", "?", "#", ";", "%00", "%0d%0a",
        "\r\n", " ", "\x00", "é", "model/a", "converse", "%252f", "[", "]",
    ]),
    max_size=12,
)  # fmt: skip


@given(st.one_of(_PIECES.map("".join), st.text(max_size=40)))
@example("/openai/v1/../../anthropic/v1/messages")
@example("/openai@evil.example/v1/models")
@example("/openai/@evil.example/v1")
def test_no_target_leaves_its_mount(text: str) -> None:
    """Whatever a path holds, the origin is the one of the upstream whose name it begins with, or of its API's default.

    The path that goes there is the rest of the path, byte for byte; no segment of dots, no escape of a slash is in it.
    """
    path = text.encode("utf-8", "surrogatepass")
    found = ROUTER.place(b"POST", path)
    if isinstance(found, Refusal):
        assert found.status in {400, 404}
        return
    known = upstreams().active
    mount = path[1:].split(b"/")[0].decode()
    upstream = found.upstream
    assert upstream.origin == known[upstream.name].origin
    if mount in known:
        assert upstream.name == mount
        assert found.path == path.removeprefix(b"/" + mount.encode()) or (
            found.path == b"/" and path == b"/" + mount.encode()
        )
    else:
        assert path.startswith((b"/v1/", b"/v1beta/", b"/v1alpha/", b"/upload/v1beta/"))
        assert found.path == path
    assert not {b"", b".", b".."} & set(found.path.split(b"/")[1:-1])
    assert all(0x20 < byte < 0x7F and byte not in b'\\#?"<>' for byte in found.path)
    lower = found.path.lower()
    assert b"%2e" not in lower
    assert b"%5c" not in lower
    assert b"%2f" not in lower or upstream.name == "bedrock"


# ---- what a key must be allowed


@pytest.mark.parametrize(
    ("method", "path", "need"),
    [
        ("POST", "/openai/v1/chat/completions", None),
        ("POST", "/openai/v1/responses", None),
        ("POST", "/openai/v1/responses/compact", None),
        ("POST", "/openai/v1/moderations", None),
        ("GET", "/openai/v1/models", None),
        ("GET", "/openai/v1/models/gpt-5", None),
        ("HEAD", "/openai/v1/models", None),
        ("GET", "/openrouter/api/v1/models/a/b/endpoints", None),
        ("POST", "/anthropic/v1/messages/count_tokens", None),
        ("POST", "/openai/v1/responses/input_tokens", None),
        ("POST", "/gemini/v1beta/models/g:countTokens", None),
        ("POST", "/bedrock/model/m/count-tokens", None),
        ("GET", "/ollama/api/tags", None),
        ("POST", "/mistral/v1/agents/completions", None),
        ("POST", "/openai/v1/batches", "batches"),
        ("POST", "/anthropic/v1/messages/batches", "batches"),
        ("GET", "/anthropic/v1/messages/batches/b/results", "batches"),
        ("POST", "/mistral/v1/batch/jobs", "batches"),
        ("POST", "/gemini/v1beta/models/g:batchGenerateContent", "batches"),
        ("POST", "/openai/v1/files", "files"),
        ("GET", "/openai/v1/files/f/content", "files"),
        ("POST", "/gemini/upload/v1beta/files", "files"),
        ("POST", "/openai/v1/fine_tuning/jobs", "fine_tuning"),
        ("POST", "/openai/v1/assistants", "assistants"),
        ("POST", "/openai/v1/threads/t/messages", "assistants"),
        ("POST", "/openai/v1/threads/t/runs", "assistants"),
        ("POST", "/openai/v1/vector_stores/v/search", "assistants"),
        ("GET", "/openai/v1/responses/r", "stored_responses"),
        ("DELETE", "/openai/v1/responses/r", "stored_responses"),
        ("POST", "/openai/v1/responses/r/cancel", "stored_responses"),
        ("GET", "/openai/v1/responses/r/input_items", "stored_responses"),
        ("GET", "/openai/v1/chat/completions", "stored_responses"),
        ("GET", "/openai/v1/chat/completions/c/messages", "stored_responses"),
        ("POST", "/openai/v1/chat/completions/c", "stored_responses"),
        ("POST", "/openai/v1/conversations", "stored_responses"),
        ("GET", "/gemini/v1beta/interactions/i", "stored_responses"),
        ("POST", "/gemini/v1beta/cachedContents", "caches"),
        ("GET", "/openai/v1/organization/costs", "passthrough"),
        ("POST", "/openai/v1/organization/projects/p/completions", "passthrough"),
        ("POST", "/openai/v1/videos", "passthrough"),
        ("POST", "/gemini/v1beta/models/veo:predictLongRunning", "passthrough"),
        ("DELETE", "/openai/v1/models/ft:x", "passthrough"),
        ("PUT", "/openai/v1/chat/completions", "stored_responses"),
        ("OPTIONS", "/openai/v1/models", "passthrough"),
        ("POST", "/ollama/api/pull", "passthrough"),
        ("GET", "/ollama", "passthrough"),
    ],
)
def test_what_a_path_needs(method: str, path: str, need: str | None) -> None:
    """Metered calls and what is free need nothing; the rest needs a word, and what it merely looks like is no call."""
    found = place(path, method)
    assert found.need == need
    if need is not None and need != "stored_responses":
        assert found.route is None


@given(
    st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]), st.text("abc/:_-.%v1", max_size=30)
)
def test_deny_is_the_default(method: str, path: str) -> None:
    """A path that is not metered is open only where it is known to be free."""
    need = needed(method, "/" + path, metered=False, provider="openai")
    assert need is not None or "models" in path or "api/" in path or "token" in path.lower()
