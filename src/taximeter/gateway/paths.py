"""What a path may hold, and what lies behind it: a metered call, something free, or what a key must be allowed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

ALLOWABLE: Final[Mapping[str, str]] = {
    "assistants": "assistants, threads and vector stores",
    "batches": "batches, whose cost is not metered",
    "caches": "cached contents, which cost by the hour",
    "files": "files and uploads",
    "fine_tuning": "fine-tuning, whose cost is not metered",
    "stored_responses": "responses, completions and conversations that the provider keeps, other tenants' too",
    "passthrough": "every path of the upstream, whatever it costs or shows",
}
"""What a virtual key does not open unless it says so."""

# ---- safety

_SAFE: Final = re.compile(rb"(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})*)+")
_DOTS: Final = re.compile(rb"/\.{1,2}(?:[;/]|$)")
_ESCAPED: Final = re.compile(rb"%(?:[01][0-9A-F]|7F|25|2E|5C)", re.IGNORECASE)
_SLASH: Final = re.compile(rb"%2f", re.IGNORECASE)
_MODEL_SEGMENT: Final = re.compile(
    rb"/model/[^/]+/(?:converse|converse-stream|invoke|invoke-with-response-stream|count-tokens)"
)
_QUERY: Final = re.compile(rb"[!-~]*")


def why_unsafe(path: bytes) -> str | None:
    """Why a path is refused, whatever is behind it; ``None``: it is safe.

    What is refused are the ways in which two programs can read one path differently: dots and empty segments that one
    of them removes, escapes that one of them undoes, bytes that no path has.
    """
    if _SAFE.fullmatch(path) is None:
        return "the path holds what no path may"
    if b"//" in path:
        return "the path has an empty segment"
    if _DOTS.search(path) is not None:
        return "the path has a segment of dots"
    if b"%" in path and _ESCAPED.search(path) is not None:
        return "the path escapes what is never escaped"
    return None


def has_stray_slash(path: bytes, *, bedrock: bool) -> bool:
    """Whether an upstream's own path holds an escaped slash where none may be.

    Only Bedrock's model may have one: it can be an ARN, which its SDKs escape.
    """
    if b"%" not in path or _SLASH.search(path) is None:
        return False
    if not bedrock or _MODEL_SEGMENT.fullmatch(path) is None:
        return True
    parts = _SLASH.split(path.split(b"/")[2])
    return any(part in {b"", b".", b".."} for part in parts)


def is_query(query: bytes) -> bool:
    """Whether bytes can be a query: visible ASCII, and no fragment."""
    return _QUERY.fullmatch(query) is not None and b"#" not in query


# ---- what is behind a path

_SEGMENTS: Final[Mapping[str, str]] = {
    "assistants": "assistants",
    "threads": "assistants",
    "vector_stores": "assistants",
    "batches": "batches",
    "batch": "batches",
    "batchPredictionJobs": "batches",
    "cachedContents": "caches",
    "conversations": "stored_responses",
    "files": "files",
    "uploads": "files",
    "upload": "files",
    "fine_tuning": "fine_tuning",
    "fine-tuning": "fine_tuning",
    "fine-tunes": "fine_tuning",
    "finetuning": "fine_tuning",
    "tuningJobs": "fine_tuning",
    "organization": "passthrough",
    "organizations": "passthrough",
    "containers": "passthrough",
    "evals": "passthrough",
    "realtime": "passthrough",
    "videos": "passthrough",
    "agents": "passthrough",
}
"""Segments that settle what a path is, wherever they stand: before anything that follows could be taken for a call."""

_FREE_GET: Final = re.compile(r"/(?:models(?:/[^/:]+){0,3}|api/(?:tags|version|ps))/?")
_FREE_POST: Final = re.compile(
    r"/(?:messages/count_tokens|responses/input_tokens|(?:de)?tokenize|model/[^/]+/count-tokens|api/show"
    r"|[^/]+:(?:countTokens|computeTokens))/?"
)
_STORED: Final = re.compile(r"/(?:responses|interactions|chat/completions)(?:/.+)?")
_RESPONSES_CALL: Final = re.compile(r"/(?:responses(?:/compact)?|interactions|chat/completions)/?")


def needed(method: str, path: str, *, metered: bool, provider: str) -> str | None:
    """What a virtual key must be allowed for a path; ``None``: nothing, it is a metered call or free.

    Args:
        method: in capitals.
        path: the upstream's own, without query.
        metered: whether it is a call that is metered.
        provider: who is called.
    """
    segments = path.split("/")
    for segment in segments:
        if segment in _SEGMENTS and not (segment == "agents" and metered and provider == "mistral"):
            return _SEGMENTS[segment]
    verb = path.rpartition(":")[2]
    if verb.startswith(("batchGenerate", "asyncBatch", "batchPredict")):
        return "batches"
    if method in {"GET", "HEAD"} and _ends(_FREE_GET, path):
        return None
    if method == "POST" and (_ends(_FREE_POST, path) or (provider == "openai" and path == "/v1/moderations")):
        return None
    if _ends(_STORED, path) and not (method == "POST" and _ends(_RESPONSES_CALL, path)):
        return "stored_responses"
    return None if metered and method == "POST" else "passthrough"


def _ends(pattern: re.Pattern[str], path: str) -> bool:
    """Whether the path ends in what the pattern means, from some slash on."""
    start = path.find("/")
    while start >= 0:
        if pattern.fullmatch(path, start) is not None:
            return True
        start = path.find("/", start + 1)
    return False
