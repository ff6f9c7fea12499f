"""Which entry of the catalogue prices a call: from whom was called, and the model's name on the wire.

The one table in which the wire's provider names and the catalogue's ids meet.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from taximeter.pricing.matching import Finder, Match

_IDS: Final[dict[str, str]] = {
    "bedrock": "aws",
    "aws_bedrock": "aws",
    "amazon": "aws",
    "vertex": "google",
    "vertex_ai": "google",
    "gemini": "google",
    "azure_ai": "azure",
    "azure_openai": "azure",
    "github_copilot": "github-copilot",
    "xai": "x-ai",
    "voyage": "voyageai",
    "moonshot": "moonshotai",
    "z-ai": "zai",
    "together_ai": "together",
    "fireworks_ai": "fireworks",
    "mistralai": "mistral",
    "cohere_chat": "cohere",
    "text-completion-openai": "openai",
}
"""The catalogue's id of a provider, where it is not the name itself. ``google`` falls back to ``anthropic`` there."""

_GATEWAYS: Final = frozenset({
    "vercel", "litellm", "portkey", "helicone", "pydantic_gateway", "mirascope_router", "cloudflare_gateway", "gateway",
})  # fmt: skip
"""Pass a call on to its model's maker, whose list price then applies: ``anthropic/claude-sonnet-4.5``."""

_UNLISTED: Final = frozenset({
    "ollama", "vllm", "hosted_vllm", "llamacpp", "llama_cpp", "lmstudio", "sglang", "mistralrs", "gpustack", "local",
    "custom", "unknown", "huggingface", "hf-inference", "alibaba", "dashscope", "snowflake", "ai21", "writer", "venice",
    "github", "chatgpt", "crusoe",
})  # fmt: skip
"""Publish no price per token that is in the catalogue, host what they are given, or bill by subscription. A rate card
of the user's prices them, nothing else does: the maker's price of an open model is not what its hosts charge."""

_PATH: Final = re.compile(r"^(?:arn:aws[\w-]*:bedrock:.*/|(?:.*/)?models/)")
"""What stands before the name of a model in an ARN of Bedrock's and in a resource path of Google's."""


class Listing(NamedTuple):
    """Where a model's price is looked for: a provider's id in the catalogue, and a name."""

    provider: str
    name: str


def find(finder: Finder, provider: str, model: str) -> Match | None:
    """The catalogue's entry for a model as the wire names it; ``None`` when it has none."""
    matches = (finder.find(listing.provider, listing.name) for listing in listings(finder, provider, model))
    return next((match for match in matches if match is not None), None)


def listings(finder: Finder, provider: str, model: str) -> Iterator[Listing]:
    """Where to look for a model, the likeliest place first."""
    provider, model = provider.strip().lower(), model.strip().lower()
    # Cloudflare runs the models that it calls @cf/…, and passes others on: openai/gpt-5.
    if provider in _GATEWAYS or (provider == "cloudflare" and "/" in model and not model.startswith("@")):
        yield from _at_its_maker(finder, model)
    elif provider_id := catalogue_id(finder, provider, model):
        for name in _names(provider_id, model):
            yield Listing(provider_id, name)


def catalogue_id(finder: Finder, provider: str, model: str = "") -> str | None:
    """The catalogue's id of a provider; ``None`` where its prices are not in the catalogue."""
    provider = provider.strip().lower()
    if provider == "huggingface" and ":" in model:
        provider = f"huggingface_{model.rpartition(':')[2]}"  # the router's way to choose who serves a model
    if provider in _UNLISTED or provider in _GATEWAYS:
        return None
    for candidate in (_IDS.get(provider, provider), provider.replace("_", "-"), _with_hyphens_after_first(provider)):
        if finder.provider(candidate):
            return candidate
    return None


def _with_hyphens_after_first(provider: str) -> str:
    """``huggingface_fireworks-ai`` for ``huggingface_fireworks_ai``."""
    host, underscore, backend = provider.partition("_")
    return host + underscore + backend.replace("_", "-")


def _at_its_maker(finder: Finder, model: str) -> Iterator[Listing]:
    maker, slash, name = model.removeprefix("@").partition("/")
    if slash and maker not in _GATEWAYS:
        provider_id = catalogue_id(finder, maker, name)
        if provider_id:
            for spelling in _names(provider_id, name):
                yield Listing(provider_id, spelling)
        return
    known = finder.provider_of(name or model)
    if known:
        yield Listing(known.id, name or model)


def _names(provider_id: str, model: str) -> Iterator[str]:
    """The spellings under which a provider's model may be listed: as it is, and without what routes or locates it."""
    yield model
    bare = _PATH.sub("", model)
    if bare != model:
        yield bare
    if provider_id == "aws" and "." not in bare:
        yield f"anthropic.{bare}"  # InvokeModel answers with the vendor's own name of the model
        yield f"amazon.{bare}"  # gateways write amazon/nova-lite
    if provider_id == "aws" and bare.startswith("openai.gpt-oss-"):
        yield f"{bare}-1:0"  # the OpenAI-style endpoints leave the version out
    if provider_id.startswith("huggingface_") or (provider_id == "openrouter" and not bare.endswith(":free")):
        routed, colon, _ = bare.rpartition(":")
        if colon:
            yield routed  # ":nitro", ":online", ":together": how it was served, not what
