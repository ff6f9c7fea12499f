"""The billable units: what can be counted in a call, and which count includes which.

The units, their names and their dimensions are those of the registry of ``genai-prices``
(https://github.com/pydantic/genai-prices, ``prices/units.yml``; a test compares them). A unit is a point in a few
dimensions; one unit *includes* another when its dimensions are a part of the other's: ``input_tokens`` includes
``cache_read_tokens``, which includes ``cache_audio_read_tokens``. Nothing else about containment is written down.
"""

from __future__ import annotations

from typing import Final, NamedTuple

_MILLION = 1_000_000


class Unit(NamedTuple):
    """One billable unit.

    Attributes:
        name: the registry's usage key, with the unit as its suffix.
        per: how many of it a price is quoted for: 1,000,000 tokens, 3,600 seconds, 1,000 searches.
        price_key: the registry's name of that price.
        dimensions: what it counts.
    """

    name: str
    per: int
    price_key: str
    dimensions: frozenset[tuple[str, str]]


def _unit(name: str, per: int, price_key: str, **dimensions: str) -> Unit:
    return Unit(name, per, price_key, frozenset(dimensions.items()))


def _tokens(name: str, direction: str, **dimensions: str) -> Unit:
    price_key = name.removesuffix("_tokens") + "_mtok"
    return _unit(name, _MILLION, price_key, family="tokens", direction=direction, **dimensions)


def _searches(name: str, tool: str) -> Unit:
    return _unit(name, 1_000, f"{name}_kcount", family="tool_calls", tool_type=tool)


def _cache_units(modality: str | None) -> list[Unit]:
    infix = f"_{modality}" if modality else ""
    extra = {"modality": modality} if modality else {}
    write = {"token_type": "cache_write", **extra}
    return [
        _tokens(f"cache{infix}_read_tokens", "input", token_type="cache_read", **extra),
        _tokens(f"cache{infix}_write_tokens", "input", **write),
        _tokens(f"cache{infix}_write_5m_tokens", "input", cache_ttl="5m", **write),
        _tokens(f"cache{infix}_write_1h_tokens", "input", cache_ttl="1h", **write),
    ]


def _by_modality(direction: str, kind: str) -> list[Unit]:
    """``input_tool_tokens`` and the like: the whole, then by modality."""
    return [_tokens(f"{direction}_{kind}_tokens", direction, token_type=kind)] + [
        _tokens(f"{direction}_{modality}_{kind}_tokens", direction, token_type=kind, modality=modality)
        for modality in ("text", "audio", "image", "video")
    ]


def _registry() -> list[Unit]:
    units = [_tokens("input_tokens", "input"), _tokens("output_tokens", "output"), *_cache_units(None)]
    for modality in ("text", "audio", "image", "video"):
        units += [_tokens(f"{way}_{modality}_tokens", way, modality=modality) for way in ("input", "output")]
        units += _cache_units(modality)
    units += _by_modality("input", "tool") + _by_modality("output", "reasoning") + _by_modality("output", "citation")
    pages = {"family": "document_pages", "direction": "input"}
    seconds = {"family": "durations", "modality": "audio"}
    return [
        *units,
        _unit("input_characters", _MILLION, "input_mchars", family="characters", direction="input"),
        _unit(
            "input_text_messages",
            1_000,
            "input_text_messages_kcount",
            family="messages",
            direction="input",
            modality="text",
        ),
        _unit("audio_seconds", 3_600, "audio_hours", **seconds),
        _unit("input_audio_seconds", 3_600, "input_audio_hours", direction="input", **seconds),
        _unit("output_audio_seconds", 3_600, "output_audio_hours", direction="output", **seconds),
        _unit("input_pixels", 1_000_000_000, "input_gpixels", family="pixels", direction="input"),
        _unit("input_document_pages", 1_000, "input_document_kpages", **pages),
        _unit(
            "input_annotated_document_pages", 1_000, "input_annotated_document_kpages", page_type="annotated", **pages
        ),
        _unit("rerank_searches", 1_000, "rerank_searches_kcount", family="rerank"),
        _searches("web_searches", "web_search"),
        _searches("social_searches", "social_search"),
        _searches("storage_searches", "storage_search"),
        _searches("code_executions", "code_execution"),
        _unit("requests", 1_000, "requests_kcount", family="requests"),
    ]


UNITS: Final[dict[str, Unit]] = {unit.name: unit for unit in _registry()}
"""Every unit by name, wholes before their parts."""

ORDER: Final[dict[str, int]] = {name: index for index, name in enumerate(UNITS)}
"""The place of each unit in :data:`UNITS`: the order in which usage is written down."""

PARENTS: Final[dict[str, tuple[str, ...]]] = {
    name: tuple(
        other.name
        for other in sorted(UNITS.values(), key=lambda candidate: -len(candidate.dimensions))
        if other.dimensions < unit.dimensions
    )
    for name, unit in UNITS.items()
}
"""For each unit, the units that include it, the most specific first."""

DURATION_UNITS: Final = frozenset(name for name, unit in UNITS.items() if ("family", "durations") in unit.dimensions)
"""The units that need not be whole numbers."""


def join(first: Unit, second: Unit) -> str | None:
    """The unit of what both count: ``cache_audio_read_tokens`` for audio and cache reads; ``None`` if there is none."""
    both = dict(first.dimensions) | dict(second.dimensions)
    if len(both) < len(first.dimensions | second.dimensions):
        return None  # the same dimension with two values: nothing is in both
    dimensions = frozenset(both.items())
    return next((unit.name for unit in UNITS.values() if unit.dimensions == dimensions), None)
