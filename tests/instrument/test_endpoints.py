"""Hosts that are declared: which calls to them are metered, as what, and whether they are asked for usage."""

from __future__ import annotations

import pytest

import taximeter
from taximeter.errors import ConfigError
from taximeter.instrument.endpoints import asks_usage
from taximeter.meter import Meter
from taximeter.wire import Route


def test_calls_to_a_declared_host_are_metered(meter: Meter) -> None:
    """At and below the path, with or without the scheme's own port; nothing beside it."""
    taximeter.endpoint("https://LLM.internal/base/", api="openai.chat", provider="vllm")
    chat = Route("openai.chat", "vllm")
    assert meter.route("POST", "llm.internal", "/base/generate") == chat
    assert meter.route("POST", "llm.internal:443", "/base/v1/chat/completions") == chat
    assert meter.route("POST", "llm.internal", "/base/v1/embeddings") == Route("openai.embeddings", "vllm")
    assert meter.route("POST", "llm.internal", "/baseline") is None
    assert meter.route("POST", "llm.internal:8443", "/base/generate") is None
    assert meter.route("POST", "other.internal", "/base/generate") is None


def test_a_port_belongs_to_the_host(meter: Meter) -> None:
    """Where one is given, and not the scheme's own, only calls with it are meant; IPv6 too."""
    taximeter.endpoint("http://[::1]:8000", api="openai.chat", provider="vllm")
    assert meter.route("POST", "[::1]:8000", "/generate") == Route("openai.chat", "vllm")
    assert meter.route("POST", "[::1]", "/generate") is None


@pytest.mark.usefixtures("meter")
def test_who_is_asked_for_usage() -> None:
    """Where the provider is known to need it, unless the user says otherwise; the last word counts."""
    assert asks_usage("a.internal", "/v1/chat/completions") is None
    taximeter.endpoint("http://a.internal/v1", api="openai.chat", provider="vllm")
    taximeter.endpoint("http://b.internal/v1", api="openai.chat", provider="deepseek")
    taximeter.endpoint("http://c.internal/v1", api="openai.chat", provider="mine", asks_usage=True)
    taximeter.endpoint("http://d.internal/v1", api="openai.chat", provider="vllm", asks_usage=False)
    assert [asks_usage(f"{host}.internal", "/v1/chat/completions") for host in "abcd"] == [True, False, True, False]
    assert asks_usage("A.internal:80", "/v1/chat/completions") is True
    assert asks_usage("a.internal", "/v2/chat/completions") is None
    taximeter.endpoint("http://a.internal/v1", api="openai.chat", provider="vllm", asks_usage=False)
    assert asks_usage("a.internal", "/v1/chat/completions") is False


@pytest.mark.usefixtures("meter")
@pytest.mark.parametrize(
    ("url", "api", "provider", "says"),
    [
        ("llm.internal/v1", "openai.chat", "vllm", "give a URL"),
        ("ftp://llm.internal/v1", "openai.chat", "vllm", "give a URL"),
        ("https://llm.internal:port/v1", "openai.chat", "vllm", "[Pp]ort"),
        ("https://llm.internal/v1?key=secret", "openai.chat", "vllm", "without a query"),
        ("https://me:secret@llm.internal/v1", "openai.chat", "vllm", "without a query"),
        ("https://llm.internal/v1", "openai", "vllm", "openai.chat, openai.responses"),
        ("https://llm.internal/v1", "openai.chat", "", "needs a name"),
    ],
)
def test_what_cannot_be_declared_says_why(url: str, api: str, provider: str, says: str) -> None:
    """And what would be accepted; a secret in the URL is not repeated."""
    with pytest.raises(ConfigError, match=says) as raised:
        taximeter.endpoint(url, api=api, provider=provider)
    assert "secret" not in str(raised.value)
