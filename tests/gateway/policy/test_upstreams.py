"""Which upstreams there are, where they are, and how their keys are found and sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from taximeter.errors import ConfigError
from taximeter.gateway.config import Config, Defaults, UpstreamSettings
from taximeter.gateway.plan import Origin
from taximeter.gateway.secrets import Variables, key_secret, read_key_file
from taximeter.gateway.upstreams import KINDS, Upstream, find_upstreams
from taximeter.wire import recognise
from tests.gateway.policy.helpers import ENVIRONMENT, config, upstreams

KEY = "real-key-0123456789"


def _origin(host: str, port: int, server_name: str | None, *, verify: bool | str = True) -> Origin:
    """An origin, with TLS where there is a name to check."""
    return Origin(host, port, server_name is not None, server_name, verify)


def _one(settings: UpstreamSettings, name: str = "mine", **variables: str) -> Upstream:
    return find_upstreams(config({name: settings}), variables).active[name]


def test_an_upstream_is_active_when_it_has_a_key() -> None:
    """Without keys only what needs none is there; the others say what they lack, and no key is in what they say."""
    found = find_upstreams(config(), {"GROQ_API_KEY": KEY})
    assert set(found.active) == {"groq", "ollama"}
    assert found.inactive["openai"] == "no key: set OPENAI_API_KEY"
    assert found.inactive["azure"] == "no address: set AZURE_OPENAI_ENDPOINT or base_url"
    assert found.inactive["bedrock"] == "no region: set AWS_REGION or region"
    assert KEY not in repr(found)


def test_every_known_upstream_can_be_active() -> None:
    """Each but Vertex, which is signed, is there with its key."""
    assert set(KINDS) - set(upstreams().active) == {"vertex"}


def test_clients_that_bring_their_keys_can_call_all() -> None:
    """With forwarded keys none of ours is needed."""
    found = find_upstreams(config(auth="passthrough"), {})
    assert {"openai", "anthropic", "gemini", "groq"} <= set(found.active)


@pytest.mark.parametrize(
    ("name", "path", "headers"),
    [
        ("openai", "/v1/chat/completions", {"authorization": "Bearer real-openai-key-0123456789"}),
        ("anthropic", "/v1/messages", {"x-api-key": "real-anthropic-key-0123456789"}),
        ("anthropic", "/v1/chat/completions", {"authorization": "Bearer real-anthropic-key-0123456789"}),
        ("gemini", "/v1beta/models/g:generateContent", {"x-goog-api-key": "real-gemini-key-0123456789"}),
        ("gemini", "/v1beta/openai/models", {"authorization": "Bearer real-gemini-key-0123456789"}),
        ("azure", "/openai/v1/chat/completions", {"api-key": "real-azure-key-0123456789"}),
        ("bedrock", "/model/m/converse", {"authorization": "Bearer real-bedrock-key-0123456789"}),
        ("vllm", "/v1/chat/completions", {"authorization": "Bearer real-vllm-key-0123456789"}),
    ],
)
def test_keys_go_as_each_provider_takes_them(name: str, path: str, headers: dict[str, str]) -> None:
    """OpenAI's imitations take a bearer, whatever the provider's own API takes."""
    sent = upstreams().active[name].credentials(path.encode())
    assert {header.decode(): value.decode() for header, value in sent} == headers


def test_the_wire_knows_every_provider_by_its_host() -> None:
    """The host by which an upstream is known is one that the tables of routes know as that provider."""
    for upstream in upstreams().active.values():
        if upstream.name not in {"vllm", "ollama"}:
            route = recognise("POST", upstream.known_host, "/v1/chat/completions")
            assert route is not None, upstream.name
            assert route.provider == upstream.provider, upstream.name


@pytest.mark.parametrize(
    ("address", "origin", "host", "prefix"),
    [
        ("http://gpu:8000/v1", _origin("gpu", 8000, None), "gpu:8000", ""),
        ("http://gpu:8000", _origin("gpu", 8000, None), "gpu:8000", ""),
        (
            "https://llm.internal/team-a/v1/",
            _origin("llm.internal", 443, "llm.internal"),
            "llm.internal",
            "/team-a",
        ),
        ("https://llm.internal:8443/x", _origin("llm.internal", 8443, "llm.internal"), "llm.internal:8443", "/x"),
        ("http://[::1]:9/v1", _origin("::1", 9, None), "[::1]:9", ""),
    ],
)
def test_an_address_may_end_in_the_apis_own_path(address: str, origin: Origin, host: str, prefix: str) -> None:
    """``http://gpu:8000/v1`` and ``http://gpu:8000`` are one place."""
    found = _one(UpstreamSettings(base_url=address))
    assert (found.origin, found.host.decode(), found.prefix.decode()) == (origin, host, prefix)


@pytest.mark.parametrize(
    ("name", "address", "prefix"),
    [
        ("groq", "https://api.groq.com/openai/v1", ""),
        ("groq", "https://proxy.example/groq", "/groq"),
        ("openrouter", "https://openrouter.ai/api/v1", ""),
        ("azure", "https://corp.openai.azure.com/openai/v1/", ""),
        ("openai", "https://proxy.example/v1", ""),
        ("perplexity", "https://proxy.example/p", "/p"),
    ],
)
def test_a_known_upstream_may_be_elsewhere(name: str, address: str, prefix: str) -> None:
    """What its SDK is given as an address can be given here."""
    settings = UpstreamSettings(base_url=address, key_env="ITS_KEY")
    assert _one(settings, name, ITS_KEY=KEY).prefix.decode() == prefix


def test_a_virtual_key_is_no_providers() -> None:
    """A shell that is set up for clients starts no gateway that would send its own keys to a provider."""
    found = find_upstreams(config(), {"OPENAI_API_KEY": "tmk-0123456789"})
    assert "one of a gateway's" in found.inactive["openai"]
    chained = UpstreamSettings(base_url="http://other-gateway:8080/v1")
    assert "openai" in find_upstreams(config({"openai": chained}), {"OPENAI_API_KEY": "tmk-0123456789"}).active


@pytest.mark.parametrize(
    "address",
    ["ftp://x", "x", "http://", "http://user:word@x", "http://x?a=b", "http://x:99999", "http://x/../y", "http://x/ y"],
)
def test_an_address_that_cannot_be_is_refused(address: str) -> None:
    """No user, no query, no dots, and a scheme that is spoken here; a password in it is not repeated."""
    with pytest.raises(ConfigError, match=r"\[upstreams.mine\]: base_url") as caught:
        _one(UpstreamSettings(base_url=address))
    assert "word" not in str(caught.value)


def test_ollamas_own_setting_is_understood() -> None:
    """A bare host has Ollama's port; an address to listen on means this machine."""
    for said, host, port in (
        ("box", "box", 11434),
        ("0.0.0.0:1234", "127.0.0.1", 1234),
        ("https://o.example", "o.example", 443),
    ):
        found = find_upstreams(config(), {"OLLAMA_HOST": said}).active["ollama"].origin
        assert (found.host, found.port) == (host, port)


def test_certificates_are_checked_as_told() -> None:
    """A file of authorities, another name, or, said in so many words, not at all."""
    told = UpstreamSettings(base_url="https://x", ca_file="/ca.pem", server_name="y")
    assert _one(told).origin == _origin("x", 443, "y", verify="/ca.pem")
    assert _one(UpstreamSettings(base_url="https://x", verify=False)).origin.verify is False


def test_a_key_goes_to_its_own_upstream_only() -> None:
    """An upstream of another name that is like OpenAI does not get OpenAI's key, unless its section says so."""
    environment = {"OPENAI_API_KEY": KEY}
    like = UpstreamSettings(kind="openai", base_url="https://elsewhere.example")
    assert find_upstreams(config({"mine": like}), environment).inactive["mine"] == "no key: set OPENAI_API_KEY"
    said = UpstreamSettings(kind="openai", base_url="https://elsewhere.example", key_env="OPENAI_API_KEY")
    assert find_upstreams(config({"mine": said}), environment).active["mine"].key == KEY


def test_keys_come_from_files_that_nobody_else_may_read(tmp_path: Path) -> None:
    """A key file or a secrets file that group or world may read is refused; the environment wins over the latter."""
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    file.chmod(0o640)
    with pytest.raises(ConfigError, match=r"others may read or write it: chmod 600"):
        read_key_file(file)
    file.chmod(0o600)
    assert _one(UpstreamSettings(base_url="http://x", key_file=str(file))).key == KEY
    secrets = tmp_path / "secrets"
    secrets.write_text(f'# ours\nexport GROQ_API_KEY="{KEY}"\nXAI_API_KEY=other\n')
    secrets.chmod(0o600)
    variables = Variables({"XAI_API_KEY": "wins"}, secrets)
    assert (variables["GROQ_API_KEY"], variables["XAI_API_KEY"]) == (KEY, "wins")
    assert KEY not in repr(variables)
    secrets.write_text(f"{KEY}\n")
    with pytest.raises(ConfigError, match="line 1: NAME=value is wanted") as caught:
        Variables({}, secrets)
    assert KEY not in str(caught.value)


def test_the_secret_of_keys_is_made_once(tmp_path: Path) -> None:
    """It is made beside the store for its owner alone, and is kept; the environment's wins if it is long enough."""
    store = tmp_path / "store.sqlite3"
    made = key_secret(store, {})
    (file,) = tmp_path.iterdir()
    assert file.name == "store.keysecret"
    assert file.stat().st_mode & 0o777 == 0o600
    assert key_secret(store, {}) == made
    assert key_secret(store, {"TAXIMETER_KEY_SECRET": "x" * 16}) == b"x" * 16
    with pytest.raises(ConfigError, match="at least 16 characters"):
        key_secret(store, {"TAXIMETER_KEY_SECRET": "short"})
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        key_secret(store, {})


def test_defaults_must_exist() -> None:
    """A default that no upstream is called is an error; one that lacks its key is only refused when it is called."""
    with pytest.raises(ConfigError, match=r"\[defaults\]: openai: there is no upstream 'opnai'"):
        find_upstreams(Config(defaults=Defaults(openai="opnai")), ENVIRONMENT)
    with pytest.raises(ConfigError, match="kind: there is no 'opnai'"):
        find_upstreams(config({"x": UpstreamSettings(kind="opnai", base_url="http://x")}), {})
    assert (
        "switched off"
        in find_upstreams(config({"groq": UpstreamSettings(enabled=False)}), ENVIRONMENT).inactive["groq"]
    )
