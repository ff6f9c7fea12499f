"""Requests that look like calls to a model, by their path alone, wherever they go; and what may be kept of such a path.

This is for telling a person what was not metered. How a call is metered is in :mod:`taximeter.wire.routes`, which knows
more: the host, and what was declared of it.
"""

from __future__ import annotations

import re
from typing import Final

from taximeter.meter.masking import masked

_V: Final = r"/v\d\w*"

_LOOKS: Final = tuple(
    (re.compile(rf"{pattern}/?$"), api)
    for pattern, api in (
        (r"/(chat|agents|fim)/completions", "openai.chat"),
        (r"/completions", "openai.completions"),
        (rf"({_V}|/openai|/codex)/responses(/compact)?", "openai.responses"),
        (r"/api/(chat|generate|embed|embeddings)", "ollama"),
        (r"/(multimodal)?embeddings", "openai.embeddings"),
        (r"/images/(generations|edits|variations)", "openai.images"),
        (r"/audio/(transcriptions|translations)", "openai.transcriptions"),
        (r"/audio/speech", "openai.speech"),
        (rf"({_V}|/anthropic)/messages", "anthropic.messages"),
        (rf"{_V}/complete", "anthropic.complete"),
        (r"/publishers/anthropic/models/[^/]+:(raw|streamRaw)Predict", "anthropic.messages"),
        (r":(raw|streamRaw)Predict", "openai.chat"),
        (r":(generateContent|streamGenerateContent)", "gemini.generate"),
        (r":(embedContent|batchEmbedContents)", "gemini.embed"),
        (r"/(models|endpoints)/[^/:]+:predict", "vertex.predict"),
        (rf"{_V}/interactions", "gemini.interactions"),
        (r"/converse(-stream)?", "bedrock.converse"),
        (r"/model/.+/invoke(-with-response-stream)?", "bedrock.invoke"),
        (rf"{_V}/(chat|generate|summarize)", "cohere.chat"),
        (rf"{_V}/embed", "cohere.embed"),
        (r"/rerank(ing)?", "rerank"),
        (rf"{_V}/ocr", "mistral.ocr"),
        (r"/(serving-)?endpoints/[^/]+/invocations", "openai.chat"),
        (r"/cortex/inference:complete", "openai.chat"),
        (r"/ai/run/.+", "cloudflare.run"),
        (r"/workers-ai/@.+", "cloudflare.run"),
        (r"/models/.+/pipeline/[a-z-]+", "huggingface.inference"),
        (r"^/generate(_stream)?", "huggingface.inference"),
    )
)
"""Ends of paths. Words that other services use too (messages, chat, complete) count only below a version."""

_PLAIN: Final = re.compile(r"[a-z]{1,14}([-_][a-z]{1,14}){0,3}|v\d{1,2}([a-z]{1,9}\d{0,2})?")
_VERB: Final = re.compile(r"[A-Za-z]{1,30}")
_LONGEST_SHAPE: Final = 120
UNKNOWN: Final = "*"
"""Stands for a segment that may be an id."""


def looks_like_a_call(method: str, path: str) -> str | None:
    """The wire format that a request looks like; ``None`` when it looks like no call to a model.

    Only a POST is one: lists, files, token counts, batches and fetching something by its id are not.

    >>> looks_like_a_call("POST", "/team/v1/chat/completions")
    'openai.chat'
    >>> looks_like_a_call("POST", "/v1/messages/count_tokens"), looks_like_a_call("GET", "/v1/chat/completions")
    (None, None)

    Args:
        method: the HTTP method.
        path: as sent; a query on it is passed over.
    """
    if method.upper() != "POST":
        return None
    path = re.sub(r"/{2,}", "/", path.partition("?")[0])
    return next((api for pattern, api in _LOOKS if pattern.search(path)), None)


def shape_of(path: str) -> str:
    """What of a path may be kept: plain words and versions. What may be an id, a name or a key becomes ``*``.

    What comes after a plural, or after a single letter, is an id also where it is a plain word.

    >>> shape_of("/openai/deployments/my-gpt/chat/completions?api-version=1")
    '/openai/deployments/*/chat/completions'
    >>> shape_of("/v1/projects/p-7/models/gemini-3:generateContent")
    '/v1/projects/*/models/*:generateContent'
    """
    segments = [segment for segment in path.partition("?")[0].split("/") if segment]
    kept: list[str] = []
    before = ""
    for place, segment in enumerate(segments):
        name, sign, verb = segment.partition(":")
        if place < len(segments) - 1 or not _VERB.fullmatch(verb):
            name, sign, verb = segment, "", ""
        after_many = (before.endswith("s") or len(before) == 1) and before != UNKNOWN
        if after_many or not _PLAIN.fullmatch(name) or masked(name) != name:
            name = UNKNOWN
        kept.append(name + sign + verb)
        before = name
    shape = "/" + "/".join(kept)
    return shape if len(shape) <= _LONGEST_SHAPE else f"{shape[:_LONGEST_SHAPE].rpartition('/')[0]}/{UNKNOWN}"


def prefix_of(shape: str) -> str:
    """The part of a shape below which an endpoint can be declared: it ends before the first unknown segment.

    >>> prefix_of("/v1/chat"), prefix_of("/teams/*/v1/chat"), prefix_of("/*/chat")
    ('/v1/chat', '/teams', '')
    """
    known: list[str] = []
    for segment in shape.split("/"):
        if segment.startswith(UNKNOWN):
            break
        known.append(segment)
    return "/".join(known)
