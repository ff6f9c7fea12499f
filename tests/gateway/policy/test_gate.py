"""The gate: who comes in, by which key, to what, and what of a request does not travel."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from taximeter.errors import ConfigError
from taximeter.gateway.config import UpstreamSettings
from taximeter.gateway.gate import Gate
from taximeter.gateway.keys import mint
from taximeter.gateway.opening import GateMaker, open_gate
from taximeter.gateway.plan import Aim, Gatekeeper, Local
from taximeter.store.keys import KeyStore
from tests.gateway.policy.helpers import ENVIRONMENT, JSON, Keyed, admit, call, config, goes, refused, upstreams

CHAT = "/v1/chat/completions"
GEMINI = "/v1beta/models/gemini-3:generateContent"


def open_to_all(**gateway: Any) -> Gate:
    """A gate that asks for no key."""
    told = config(auth="none", **gateway)
    return Gate(told, upstreams(told))


def forwarding(**gateway: Any) -> Gate:
    """A gate that forwards clients' keys."""
    told = config(auth="passthrough", **gateway)
    return Gate(told, upstreams(told), secret=b"0123456789abcdef")


def test_the_gate_is_a_gatekeeper(keyed: Keyed) -> None:
    """It does what the data plane asks of one."""
    keeper: Gatekeeper = keyed.gate
    assert keeper.fault("openai", 502, "x", "y")[0] == 502


# ---- keys


@pytest.mark.parametrize(
    "header",
    [
        (b"Authorization", b"Bearer %s"),
        (b"authorization", b"bearer  %s"),
        (b"X-Api-Key", b"%s"),
        (b"api-key", b"%s"),
        (b"x-goog-api-key", b"%s"),
    ],
)
def test_a_key_is_taken_wherever_an_sdk_puts_it(keyed: Keyed, header: tuple[bytes, bytes]) -> None:
    """And the provider's own takes its place: the client's does not travel."""
    name, shape = header
    said = goes(call(keyed.gate, CHAT, (name, shape % keyed.key().encode()), body={"model": "m"}))
    assert said.headers == ((b"authorization", b"Bearer real-openai-key-0123456789"),)
    assert name.lower() in said.without


def test_geminis_key_in_the_query_is_taken_and_taken_out(keyed: Keyed) -> None:
    """Every other byte of the query stays; a provider's key or token in it does not travel either."""
    key = keyed.key()
    for query, left in (
        (f"key={key}&alt=sse", "?alt=sse"),
        (f"alt=sse&%6bey={key}", "?alt=sse"),
        (f"alt=sse&key={key}&access_token=x&$fields=a%20b", "?alt=sse&$fields=a%20b"),
        (f"key={key}", ""),
    ):
        said = goes(call(keyed.gate, f"{GEMINI}?{query}", body={}))
        assert said.target.decode() == GEMINI + left
        assert said.headers == ((b"x-goog-api-key", b"real-gemini-key-0123456789"),)
    said = goes(call(keyed.gate, f"{CHAT}?key={key}&a=b", body={"model": "m"}))
    assert said.target.decode() == f"{CHAT}?a=b"


def test_who_has_no_key_is_refused_in_the_callers_own_format(keyed: Keyed) -> None:
    """Without one, with a provider's, a misspelt one, an unknown one, or two."""
    one, two = keyed.key("a"), keyed.key("b")
    for headers in (
        [],
        [(b"authorization", b"Bearer sk-proj-1234")],
        [(b"authorization", b"Basic " + one.encode())],
        [(b"x-api-key", one[:-1].encode())],
        [(b"x-api-key", mint().encode())],
        [(b"x-api-key", b"tmk-\xff\xfe")],
        [(b"x-api-key", one.encode()), (b"authorization", b"Bearer " + two.encode())],
    ):
        said = admit(keyed.gate, CHAT, *headers)
        assert refused(said) == (401, "invalid_api_key")
        assert one not in repr(said)
    for path, family in (
        (CHAT, "openai"),
        ("/v1/messages", "anthropic"),
        (GEMINI, "gemini"),
        ("/bedrock/model/m/converse", "bedrock"),
    ):
        said = admit(keyed.gate, path)
        assert getattr(said, "family", None) == family
    assert refused(admit(keyed.gate, "/nowhere"))[0] == 401  # what is mounted is told only to who may come in


def test_a_key_that_ended_is_refused(keyed: Keyed) -> None:
    """Revoked, or expired."""
    gone, late = keyed.key("a"), keyed.key("b", expires_at=datetime.now(UTC) - timedelta(seconds=1))
    keyed.store.revoke("a", now=datetime.now(UTC))
    keyed.ring.refresh()
    assert refused(admit(keyed.gate, CHAT, key=gone)) == (401, "invalid_api_key")
    assert refused(admit(keyed.gate, CHAT, key=late)) == (401, "invalid_api_key")


def test_paths_are_denied_by_default(keyed: Keyed) -> None:
    """What is not metered, or another tenant's, is refused unless the key allows it, or everything."""
    plain, files, every = keyed.key("a"), keyed.key("b", allow=("files",)), keyed.key("c", allow=("passthrough",))
    for path, method in (
        ("/v1/files", "POST"),
        ("/v1/batches", "POST"),
        ("/v1/responses/r", "GET"),
        ("/openai/v1/x", "GET"),
    ):
        assert refused(call(keyed.gate, path, method=method, key=plain)) == (403, "path_not_allowed")
        assert goes(call(keyed.gate, path, method=method, key=every)).upstream == "openai"
    assert goes(call(keyed.gate, "/v1/files", key=files)).route is None
    assert refused(call(keyed.gate, "/v1/batches", key=files)) == (403, "path_not_allowed")
    assert goes(call(keyed.gate, "/v1/models", method="GET", key=plain)).target == b"/v1/models"


def test_a_key_may_be_bound_to_models(keyed: Keyed) -> None:
    """By glob of the model, or of ``upstream/model``: in the body, in the path, among several, and in a form."""
    key = keyed.key(models=("gpt-5*", "groq/llama-*", "claude-haiku-*"))

    def ask(path: str, body: Any, *headers: tuple[bytes, bytes]) -> Any:
        return call(keyed.gate, path, *headers, key=key, body=body)

    no = (403, "model_not_allowed")
    assert goes(ask(CHAT, {"model": "gpt-5-mini"})).upstream == "openai"
    assert goes(ask(CHAT, {"model": "groq/llama-3.3-70b"})).upstream == "groq"
    assert goes(ask("/groq/openai/v1/chat/completions", {"model": "llama-3.3-70b"})).model_rewrite is None
    assert refused(ask(CHAT, {"model": "llama-3.3-70b"})) == no
    assert refused(ask(CHAT, {"model": "o3"})) == no
    assert refused(ask(CHAT, {"model": "gpt-5-mini", "models": ["o3"]})) == no
    assert refused(ask(CHAT, b'{"model":"o3","model":"gpt-5"}')) == no
    assert refused(ask(CHAT, b'{"stream":true}')) == no
    assert refused(ask(CHAT, None)) == no
    assert refused(ask("/groq/openai/v1/chat/completions", {"model": "gpt-6"})) == no
    assert refused(admit(keyed.gate, GEMINI, key=key)) == no
    assert goes(ask("/bedrock/model/claude-haiku-4-5/converse", {})).upstream == "bedrock"
    form = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--b--\r\n'
    of_form = (b"content-type", b"multipart/form-data; boundary=b")
    assert refused(ask("/v1/audio/transcriptions", form, of_form)) == no
    assert (
        goes(ask("/v1/audio/transcriptions", form.replace(b"whisper-1", b"gpt-5-hear"), of_form)).upstream == "openai"
    )


def test_a_key_may_be_bound_to_upstreams(keyed: Keyed) -> None:
    """Wherever the call is sent by its path, its model or a default."""
    key = keyed.key(providers=("groq",))
    no = (403, "provider_not_allowed")
    assert goes(call(keyed.gate, CHAT, key=key, body={"model": "groq/x"})).upstream == "groq"
    assert refused(call(keyed.gate, CHAT, key=key, body={"model": "x"})) == no
    assert refused(call(keyed.gate, CHAT, key=key, body={"model": "xai/x"})) == no
    assert refused(call(keyed.gate, "/v1/models", method="GET", key=key)) == no
    assert refused(call(keyed.gate, "/anthropic/v1/messages", key=key, body={})) == no
    form = (b"content-type", b"multipart/form-data; boundary=b")
    assert refused(call(keyed.gate, "/v1/audio/transcriptions", form, key=key)) == no


def test_a_key_says_whether_its_answers_tell_their_cost(keyed: Keyed, tmp_path: Path) -> None:
    """Its own word, else the gateway's; what is not metered has no cost to tell."""
    loud, still = keyed.key("a"), keyed.key("b", cost_in_usage=False)
    assert goes(call(keyed.gate, CHAT, key=loud, body={"model": "m"})).cost_in_usage is True
    assert goes(call(keyed.gate, CHAT, key=still, body={"model": "m"})).cost_in_usage is False
    assert goes(call(keyed.gate, "/v1/models", method="GET", key=loud)).cost_in_usage is False
    (tmp_path / "other").mkdir()
    quiet = Keyed(tmp_path / "other", config(cost_in_usage=False))
    asked, silent = quiet.key("a", cost_in_usage=True), quiet.key("b")
    assert goes(call(quiet.gate, CHAT, key=asked, body={"model": "m"})).cost_in_usage is True
    assert goes(call(quiet.gate, CHAT, key=silent, body={"model": "m"})).cost_in_usage is False
    quiet.gate.close()


# ---- what travels


def test_what_must_not_travel_does_not(keyed: Keyed) -> None:
    """Our key, our headers whatever they are called, cookies, and whose account is charged."""
    extra = ((b"X-Taximeter-Whatever", b"x"), (b"x-taximeter-session", b"s"))
    said = goes(call(keyed.gate, CHAT, *extra, key=keyed.key(), body={"model": "m"}))
    for name in (
        "authorization",
        "x-api-key",
        "cookie",
        "openai-organization",
        "openai-project",
        "x-taximeter-whatever",
        "x-taximeter-session",
        "x-taximeter-user",
    ):
        assert name.encode() in said.without, name


def test_the_configurations_headers_take_the_place_of_the_clients(tmp_path: Path) -> None:
    """An organisation that the upstream sets is sent, and the client's own is not."""
    told = config({"openai": UpstreamSettings(headers={"OpenAI-Organization": "org-1", "X-Team": "a"})})
    keyed = Keyed(tmp_path, told)
    said = goes(call(keyed.gate, CHAT, key=keyed.key(), body={"model": "m"}))
    assert said.headers[1:] == ((b"OpenAI-Organization", b"org-1"), (b"X-Team", b"a"))
    assert {b"openai-organization", b"x-team"} <= said.without
    keyed.gate.close()


def test_streams_are_asked_for_usage_where_that_is_needed_and_accepted(keyed: Keyed) -> None:
    """As the tables of ``wire`` say: OpenAI needs it, Groq does not, Azure's API must be new enough."""
    key = keyed.key()
    azure = "/azure/openai/deployments/d/chat/completions?api-version="

    def asked(path: str) -> bool:
        return goes(call(keyed.gate, path, key=key, body={"model": "m"})).inject_usage

    assert asked(CHAT)
    assert asked("/vllm/v1/chat/completions")
    assert asked(azure + "2024-10-21")
    assert not asked(azure + "2024-02-01")
    assert not asked("/groq/openai/v1/chat/completions")
    assert not asked("/v1/responses")
    gate = open_to_all(inject_usage="never")
    assert not goes(call(gate, CHAT, body={"model": "m"})).inject_usage


def test_a_model_of_another_upstream_goes_there_under_its_own_name(keyed: Keyed) -> None:
    """With that upstream's key, origin and path; the model's name as the text of a JSON string."""
    said = goes(call(keyed.gate, CHAT + "?a=b", key=keyed.key(), body={"model": 'groq/ll"a'}))
    assert (said.upstream, said.host, said.origin.host) == ("groq", b"api.groq.com", "api.groq.com")
    assert said.target == b"/openai/v1/chat/completions?a=b"
    assert said.model_rewrite == b'll\\"a'
    assert said.headers == ((b"authorization", b"Bearer real-groq-key-0123456789"),)
    assert said.route is not None
    assert said.route.provider == "groq"


def test_a_body_is_wanted_only_where_it_decides(keyed: Keyed) -> None:
    """Not for what is not metered, nor for uploads of sound."""
    key = keyed.key(allow=("files",))
    for path, kind, wanted in (
        (CHAT, b"application/json", True),
        (CHAT, b"", True),
        (GEMINI, b"application/json; charset=utf-8", True),
        ("/v1/audio/transcriptions", b"multipart/form-data; boundary=b", False),
        ("/v1/files", b"application/json", False),
        ("/v1/messages/count_tokens", b"application/json", False),
    ):
        said = admit(keyed.gate, path, (b"content-type", kind), key=key)
        assert isinstance(said, Aim)
        assert said.needs_body is wanted, path
        assert (said.destination is None) is wanted


def test_no_key_is_in_what_is_shown(keyed: Keyed) -> None:
    """Whoever logs a plan logs no secret."""
    key = keyed.key()
    said = admit(keyed.gate, CHAT, key=key)
    shown = repr(said) + repr(call(keyed.gate, CHAT, key=key, body={"model": "m"})) + repr(keyed.gate.upstreams)
    assert "real-openai-key" not in shown
    assert key not in shown


def test_a_bad_query_is_refused(keyed: Keyed) -> None:
    """Bytes that no query has would be read differently by others."""
    key = keyed.key()
    for query in ("a#b", "a b", "a\x00", "é"):
        assert refused(admit(keyed.gate, f"{CHAT}?{query}", key=key)) == (400, "invalid_query")


# ---- without keys of ours


def test_a_forwarded_key_is_the_clients_and_attributed_by_its_hash() -> None:
    """It travels, ours does not; two clients are told apart, and nobody can tell the key."""
    gate = forwarding()
    one = call(gate, CHAT, key="sk-client-1", body={"model": "m"})
    said = goes(one)
    assert said.headers == ()
    assert b"authorization" not in said.without
    assert b"cookie" in said.without
    tags = dict(said.scope.tags)
    assert tags["key"].startswith("pk_")
    assert "sk-client-1" not in tags["key"]
    assert dict(goes(call(gate, CHAT, key="sk-client-2", body={"model": "m"})).scope.tags) != tags
    kept = goes(call(gate, f"{GEMINI}?key=AIza1&alt=sse", body={}))
    assert kept.target.endswith(b"?key=AIza1&alt=sse")
    assert kept.scope.tags
    assert goes(call(gate, CHAT, body={"model": "m"})).headers == ()  # never our own key for who brings none
    assert goes(call(gate, "/v1/files")).upstream == "openai"


def test_without_keys_only_loopback_is_served() -> None:
    """``auth = "none"`` elsewhere is an error at the start."""
    with pytest.raises(ConfigError, match=r'auth = "none" lets whoever reaches 0.0.0.0 spend'):
        open_to_all(host="0.0.0.0")  # noqa: S104 - what is refused
    with pytest.raises(ConfigError, match="needs a store of keys"):
        Gate(config(), upstreams())


@pytest.mark.parametrize(
    ("headers", "comes_in"),
    [
        ({"Host": "localhost:8080"}, True),
        ({"Host": "127.0.0.1:8080"}, True),
        ({"Host": "[::1]:8080"}, True),
        ({"Host": "LOCALHOST"}, True),
        ({"Host": "gw.example"}, True),
        ({"Host": "evil.example"}, False),
        ({"Host": "localhost.evil.example"}, False),
        ({"Host": "127.0.0.1.evil.example"}, False),
        ({"Host": "[::1]evil"}, True),  # the data plane refuses what is no Host
        ({"Host": ""}, False),
        ({"Host": "localhost:8080", "Origin": "http://localhost:8080"}, True),
        ({"Host": "localhost:8080", "Origin": "http://localhost:3000"}, False),
        ({"Host": "localhost:8080", "Origin": "https://evil.example"}, False),
        ({"Host": "localhost:8080", "Origin": "null"}, False),
        ({"Host": "localhost:8080", "Sec-Fetch-Site": "cross-site"}, False),
        ({"Host": "localhost:8080", "Sec-Fetch-Site": "same-origin"}, True),
        ({"Host": "localhost:8080", "Sec-Fetch-Site": "none"}, True),
    ],
)
def test_pages_cannot_spend_through_a_browser(headers: dict[str, str], *, comes_in: bool) -> None:
    """Neither by a name that is made to lead here, nor by a request across sites."""
    gate = open_to_all(allowed_hosts=("gw.example",))
    sent = [(name.encode(), value.encode()) for name, value in headers.items()]
    said = gate.admit(b"POST", CHAT.encode(), sent, "127.0.0.1")
    if comes_in:
        assert isinstance(said, Aim)
    else:
        assert refused(said) == (403, "forbidden_host")


def test_allowed_hosts_hold_with_keys_too(tmp_path: Path) -> None:
    """Where names are given no other is served; a page's Origin does not matter where each call has a key."""
    keyed = Keyed(tmp_path, config(allowed_hosts=("gw.example",)))
    key = keyed.key()
    assert refused(admit(keyed.gate, CHAT, key=key)) == (403, "forbidden_host")
    origin = (b"Origin", b"https://app.example")
    assert isinstance(admit(keyed.gate, CHAT, (b"Host", b"gw.example"), origin, key=key), Aim)
    keyed.gate.close()


def test_health_is_told_to_anyone(keyed: Keyed) -> None:
    """Load balancers have no key."""
    for path in ("/healthz", "/readyz"):
        said = admit(keyed.gate, path, method="GET")
        assert isinstance(said, Local)
        assert said.answer() == (200, ((b"content-type", b"application/json"),), b'{"status":"ok"}')
    assert refused(admit(keyed.gate, "/healthz"))[0] == 401


def test_a_providers_error_is_masked(keyed: Keyed) -> None:
    """Our own keys, whatever they look like."""
    assert keyed.gate.mask(b"bad key real-openai-key-0123456789!") == b"bad key [masked]!"


# ---- opening


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    """A store of the test's own."""
    return str(tmp_path / "store.sqlite3")


def test_a_gate_is_opened_as_told(store_url: str) -> None:
    """With keys, with forwarded ones, and with none; each closes what it opened."""
    for auth in ("keys", "passthrough", "none"):
        gate = open_gate(config(auth=auth), store_url=store_url, environment=ENVIRONMENT)
        said = gate.admit(b"POST", CHAT.encode(), JSON, "")
        assert isinstance(said, Aim) is (auth != "keys")
        gate.close()


def test_a_maker_makes_a_gate_from_the_files_as_they_are(
    tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each reload; one that cannot be made leaves the one before as it was."""
    monkeypatch.setenv("GROQ_API_KEY", "x")
    file = tmp_path / "taximeter.toml"
    file.write_text("")
    make = GateMaker(file, store_url, {"auth": "keys"})
    first = make()
    assert "groq" in first.upstreams.active
    file.write_text("[upstreams.groq]\nenabled = false\n")
    second = make()
    assert "groq" not in second.upstreams.active
    file.write_text("[nonsense")
    with pytest.raises(ConfigError):
        make()
    with KeyStore(store_url):
        pass
    assert refused(second.admit(b"POST", CHAT.encode(), JSON, "")) == (401, "invalid_api_key")
    second.close()
