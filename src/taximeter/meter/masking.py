"""Texts that are kept or sent where a key must never stand: what looks like one is taken out.

What went wrong is told in the words of whoever raised it, and those may quote a header, a URL or a setting. To mask too
much costs a word of an explanation; to mask too little costs a key.
"""

from __future__ import annotations

import re
from typing import Final

_LONGEST: Final = 300
_LONGEST_READ: Final = 2_000
_MASK: Final = "***"

_VALUE: Final = r"""(?:b?"[^"]*"?|b?'[^']*'?|(?:(?:bearer|basic|token)\s+)?[^\s"'&,;)}\]]+)"""

_SECRETS: Final = (
    # the query of a URL, and the user in front of its host
    (re.compile(r"""(https?://[^\s?"']+\?)[^\s"']+""", re.IGNORECASE), rf"\1{_MASK}"),
    (re.compile(r"""(://)[^/\s@"']+@"""), rf"\1{_MASK}@"),
    # what is called by a secret's name: key=…, "api_key": "…", ('authorization', 'Bearer …')
    (
        re.compile(
            r"(?:key|token|secret|password|passwd|authorization|auth|credentials?|signature|sig|cookie)"
            rf"""(?:["']?\s*[=:]|["']\s*,)\s*{_VALUE}""",
            re.IGNORECASE,
        ),
        None,
    ),
    (re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{6,}", re.IGNORECASE), rf"\1 {_MASK}"),
    # what begins as providers' keys do
    (
        re.compile(
            r"(?<![A-Za-z0-9])(?:(?:sk|pk|rk|ak|csk|gsk|hf|ghp|gho|ghs|pplx|nvapi|r8|tgp|fw|xai|xox[abp]|glpat)[-_]"
            r"[\w-]{8,}|AIza[\w-]{16,}|A[KS]IA[A-Z0-9]{12,}|eyJ[\w-]{8,}(?:\.[\w-]*)*)"
        ),
        _MASK,
    ),
    # a long run of letters and digits without meaning; longer than the names of our own files, and than a call's id
    (re.compile(r"(?<![\w+-])(?=[\w+-]*[0-9])(?=[\w+-]*[A-Za-z])[\w+-]{40,}=*"), _MASK),
)


def masked(text: str) -> str:
    """A text without what looks like a key, at most some 300 characters long.

    >>> masked("no such key: sk-proj-1234567890abcdef")
    'no such key: ***'
    >>> masked("POST https://me:word@llm.internal/v1/chat?api-version=1&key=abc failed")
    'POST https://***@llm.internal/v1/chat?*** failed'
    """
    text = text.encode("utf-8", "replace").decode()  # half a surrogate pair, which JSON has not
    if len(text) > _LONGEST_READ:  # not in the midst of a word: half a key may not look like one
        text = text[:_LONGEST_READ].rpartition(" ")[0] + " …"
    for pattern, instead in _SECRETS:
        text = pattern.sub(_named if instead is None else instead, text)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + " …"


def _named(found: re.Match[str]) -> str:
    """The name, and the mask in the place of the value."""
    name = re.match(r"""\w+(?:["']?\s*[=:]|["']\s*,)\s*""", found[0])
    return (name[0] if name else "") + _MASK
