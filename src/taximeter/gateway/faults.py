"""Errors in the caller's own API format, so that its SDK raises what it would raise; and errors rid of keys."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from taximeter.gateway.plan import Family, Header, Refusal

_encode: Final = msgspec.json.Encoder().encode

_OPENAI: Final[Mapping[int, str]] = {403: "permission_error", 429: "rate_limit_error"}
"""platform.openai.com/docs/guides/error-codes: what is not named is the request's fault (read 2026-11)."""

_ANTHROPIC: Final[Mapping[int, str]] = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""docs.anthropic.com/en/api/errors (read 2026-11)."""

_GEMINI: Final[Mapping[int, str]] = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""ai.google.dev/gemini-api/docs/troubleshooting (read 2026-11)."""

_BEDROCK: Final[Mapping[int, str]] = {
    401: "AccessDeniedException",
    402: "ServiceQuotaExceededException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    429: "ThrottlingException",
    500: "InternalServerException",
    502: "ServiceUnavailableException",
    503: "ServiceUnavailableException",
    504: "ModelTimeoutException",
}
"""docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html, Errors (read 2026-11)."""

_SERVER: Final = 500


def fault(family: Family, status: int, code: str, message: str) -> tuple[int, bytes]:
    """An error in an API's own format: its status, and its body.

    Args:
        family: the API.
        status: the HTTP status.
        code: what is wrong, in one word.
        message: what is wrong, for a person.
    """
    return status, _encode(_body(family, status, code, message))


def _body(family: Family, status: int, code: str, message: str) -> dict[str, Any]:
    server = status >= _SERVER
    if family == "anthropic":
        kind = _ANTHROPIC.get(status, "api_error" if server else "invalid_request_error")
        return {"type": "error", "error": {"type": kind, "message": message}, "request_id": None}
    if family == "gemini":
        kind = _GEMINI.get(status, "INTERNAL" if server else "INVALID_ARGUMENT")
        info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": code.upper(), "domain": "taximeter"}
        return {"error": {"code": status, "message": message, "status": kind, "details": [info]}}
    if family == "bedrock":
        return {"message": message, "__type": _exception(status)}
    kind = _OPENAI.get(status, "server_error" if server else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def fault_headers(family: Family, status: int) -> tuple[Header, ...]:
    """What an error's head says beside its type and length."""
    if family == "bedrock":
        return ((b"x-amzn-errortype", _exception(status).encode()),)
    return ()


def refuse(family: Family, status: int, code: str, message: str) -> Refusal:
    """A refusal with the headers that its format wants."""
    return Refusal(status, family, code, message, fault_headers(family, status))


def _exception(status: int) -> str:
    return _BEDROCK.get(status, "InternalServerException" if status >= _SERVER else "ValidationException")


# ---- keys in what providers say

MASK: Final = b"[masked]"
"""What stands where a key stood."""

_LEAST: Final = 8  # a shorter secret would be found in words that are none

_LOOKS_LIKE_A_KEY: Final = re.compile(
    rb"(?<![A-Za-z0-9])(?:"
    rb"(?:tmk|sk|pk|rk|gsk|csk|pplx|xai|fw|tgp|nvapi|key)[-_][A-Za-z0-9_*.-]{8,}"
    rb"|hf_[A-Za-z0-9]{8,}|AIza[A-Za-z0-9_*-]{8,}|A[KS]IA[A-Z0-9]{12,}|ya29\.[A-Za-z0-9._-]{8,}"
    rb"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?"
    rb"|(?<=Bearer )[A-Za-z0-9._~+/*=-]{8,}|(?<=bearer )[A-Za-z0-9._~+/*=-]{8,}"
    rb")|(?<=[?&]key=)[A-Za-z0-9._~-]{8,}"
)


class Mask:
    """Makes keys in a text unreadable: what looks like one, and those that we were given, whatever they look like."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        """Notes the secrets.

        Args:
            secrets: the keys that were given; those of fewer than eight characters are not searched for.
        """
        forms = {form for secret in secrets if len(secret) >= _LEAST for form in (secret, json.dumps(secret)[1:-1])}
        longest_first = sorted((form.encode() for form in forms), key=len, reverse=True)
        self._secrets = re.compile(b"|".join(re.escape(form) for form in longest_first)) if forms else None

    def __call__(self, text: bytes) -> bytes:
        """The text with every key in it made unreadable; the same object when there is none."""
        if self._secrets is not None:
            text = self._secrets.sub(MASK, text)
        return _LOOKS_LIKE_A_KEY.sub(MASK, text)
