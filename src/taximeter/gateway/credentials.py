"""The credentials that a client sends, wherever its SDK puts them, and how they are kept from travelling."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote_to_bytes

from taximeter.gateway.attribution import HEADER

_FIELDS: Final = ("project", "session", "turn", "user", "operation", "tags", "call-id", "cost-usd")
OURS: Final = frozenset(HEADER + field.encode() for field in _FIELDS)
"""The headers that are ours, by name."""

KEY_HEADERS: Final = (b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key")
"""The headers in which SDKs send a key, in the order in which they are looked through."""

_COOKIES: Final = frozenset({b"cookie", b"cookie2"})

FORWARDED: Final = OURS | _COOKIES
"""What does not travel where a client's own provider key is forwarded."""

SWAPPED: Final = FORWARDED | frozenset(
    {
        *KEY_HEADERS,
        # whose account is charged is the upstream's to say
        b"openai-organization",
        b"openai-project",
        b"x-goog-user-project",
        # what is left of a signature that somebody made for another host
        b"x-amz-security-token",
        b"x-amz-date",
        b"x-amz-content-sha256",
    }
)
"""What does not travel where our key takes the place of the client's."""

_GOOGLE_CREDENTIALS: Final = frozenset({b"key", b"access_token", b"oauth_token"})


_SIGV4: Final = b"AWS4-HMAC-SHA256"
_SIGNER: Final = re.compile(_SIGV4 + rb"\s+Credential=([^/,\s]+)/")
"""Amazon's SDKs send a bearer over TLS alone, but over anything they say who signs: a virtual key can be the id of
an access key. What they sign with it is not looked at: whoever knows the key may call."""


def presented(headers: Mapping[bytes, bytes], query: bytes) -> list[bytes]:
    """Every key that a client sends.

    Args:
        headers: those of :data:`KEY_HEADERS` that there are, names in lower case.
        query: of the target; ``?key=`` is how Gemini takes one.
    """
    found: list[bytes] = []
    for name in KEY_HEADERS:
        value = headers.get(name)
        if value:
            scheme, space, rest = value.strip().partition(b" ")
            bearer = name == b"authorization" and space and scheme.lower() == b"bearer"
            named = _SIGNER.match(value) if scheme == _SIGV4 else None
            found.append(named[1] if named is not None else rest.strip() if bearer else value.strip())
    if query:
        found += [value for name, value in _pairs(query) if name == b"key" and value]
    return found


def without_credentials(query: bytes, *, google: bool, prefix: bytes) -> bytes:
    """A query without keys; every other byte as it was.

    Args:
        query: as sent.
        google: whether the upstream takes credentials in the query, which are then ours to give.
        prefix: what virtual keys begin with: a value that does never travels.
    """
    kept: list[bytes] = []
    for part in query.split(b"&"):
        name, _, value = part.partition(b"=")
        if google and unquote_to_bytes(name).lower() in _GOOGLE_CREDENTIALS:
            continue
        if unquote_to_bytes(value).startswith(prefix):
            continue
        kept.append(part)
    return b"&".join(kept)


def _pairs(query: bytes) -> list[tuple[bytes, bytes]]:
    parts = [part.partition(b"=") for part in query.split(b"&")]
    return [(unquote_to_bytes(name), unquote_to_bytes(value)) for name, _, value in parts]
