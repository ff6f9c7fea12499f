"""Errors in each API's own format, and keys taken out of what providers say."""

from __future__ import annotations

import json

import pytest

from taximeter.gateway.faults import Mask, fault, refuse


def test_each_api_has_its_own_format() -> None:
    """The members that each provider's reference lists."""
    openai = json.loads(fault("openai", 401, "invalid_api_key", "no")[1])
    assert openai == {
        "error": {"message": "no", "type": "invalid_request_error", "param": None, "code": "invalid_api_key"}
    }
    anthropic = json.loads(fault("anthropic", 401, "invalid_api_key", "no")[1])
    assert anthropic["type"] == "error"
    assert anthropic["error"] == {"type": "authentication_error", "message": "no"}
    gemini = json.loads(fault("gemini", 401, "invalid_api_key", "no")[1])["error"]
    assert (gemini["code"], gemini["status"], gemini["message"]) == (401, "UNAUTHENTICATED", "no")
    bedrock = json.loads(fault("bedrock", 429, "slow", "no")[1])
    assert bedrock == {"message": "no", "__type": "ThrottlingException"}
    assert refuse("bedrock", 403, "x", "no").headers == ((b"x-amzn-errortype", b"AccessDeniedException"),)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 408, 413, 414, 417, 429, 431, 500, 502, 503, 504])
def test_every_status_has_a_body(status: int) -> None:
    """The status is kept, and the body is JSON with the message."""
    for family in ("openai", "anthropic", "gemini", "bedrock"):
        said, body = fault(family, status, "code", 'it\'s "so"\n')
        assert said == status
        assert 'it\'s "so"\n' in json.dumps(json.loads(body), ensure_ascii=False).encode().decode("unicode_escape")


SECRETS = ["an-odd/secret+with=signs", "tiny"]


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Incorrect API key provided: sk-proj-abcdefghijkl. You", "Incorrect API key provided: [masked] You"),
        ("invalid x-api-key sk-ant-api03-AAAAbbbb_cc-dd", "invalid x-api-key [masked]"),
        ("API key not valid: AIzaSyA1234567890abcdef", "API key not valid: [masked]"),
        ("gsk_abcdefghijk and xai-abcdefghijk", "[masked] and [masked]"),
        ("AKIAIOSFODNN7EXAMPLE", "[masked]"),
        ("Authorization: Bearer abc.def-ghi_jkl", "Authorization: Bearer [masked]"),
        ("eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "[masked]"),
        ("https://h/v1beta/models?key=abcdefgh1234&alt=sse", "https://h/v1beta/models?key=[masked]&alt=sse"),
        ("tmk-0123456789abcdef", "[masked]"),
        ("you sent an-odd/secret+with=signs", "you sent [masked]"),
        ("tiny things, risk-taking, a task-oriented desk", "tiny things, risk-taking, a task-oriented desk"),
        ('{"error":{"message":"max_tokens is too large"}}', '{"error":{"message":"max_tokens is too large"}}'),
    ],
)
def test_keys_are_masked(text: str, masked: str) -> None:
    """What looks like a key, and what was given to us as one; words that only resemble one stay."""
    assert Mask(SECRETS)(text.encode()).decode() == masked


def test_what_holds_no_key_is_the_same_object() -> None:
    """So that the data plane sees at once that nothing changed."""
    body = b'{"error":{"message":"overloaded"}}'
    assert Mask(SECRETS)(body) is body
    assert Mask()(body) is body
