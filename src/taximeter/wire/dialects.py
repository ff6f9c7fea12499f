"""How those who speak OpenAI's Chat Completions count differently, and what their usage means.

Each entry names what shows it. Where a provider is not listed, its own total decides whether a class is inside or
outside the counts that it lists: ``total = prompt + completion + reasoning`` means that reasoning is outside.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

import msgspec

from taximeter.money import Money
from taximeter.usage import Count
from taximeter.wire.format import Format, total_of
from taximeter.wire.loose import MAX_COUNT, JsonObject, count, first_count, maybe_obj, obj, seconds, usd


class Dialect(msgspec.Struct, frozen=True):
    """What a provider does differently from OpenAI.

    Attributes:
        reasoning_outside: ``completion_tokens`` excludes reasoning, always, even where the total does too.
        citations_outside: the same for citation tokens.
        total_holds_thoughts: reasoning is reported only as what the total has more than prompt and completion.
        tool_calls_whole: each tool call comes whole, in one chunk, and its index may repeat.
    """

    reasoning_outside: bool = False
    citations_outside: bool = False
    total_holds_thoughts: bool = False
    tool_calls_whole: bool = False


_STANDARD: Final = Dialect()

_DIALECTS: Final[Mapping[str, Dialect]] = {
    # recomputing the charge of 49 recorded calls: neither completion nor total includes reasoning
    "vercel": Dialect(reasoning_outside=True),
    # docs.perplexity.ai, deep research: three classes with prices of their own beside completion_tokens
    "perplexity": Dialect(reasoning_outside=True, citations_outside=True),
    # generativelanguage.googleapis.com/v1beta/openai: thoughts are in total_tokens alone; calls without id or index
    "google": Dialect(total_holds_thoughts=True, tool_calls_whole=True),
    "vertex": Dialect(total_holds_thoughts=True, tool_calls_whole=True),
}


def dialect_of(provider: str) -> Dialect:
    """The dialect of a provider; OpenAI's own where nothing is known."""
    return _DIALECTS.get(provider, _STANDARD)


_CACHED_KEYS = ("prompt_cache_hit_tokens", "num_cached_tokens", "cached_tokens", "cache_read_input_tokens")
_CACHED: Final = frozenset(_CACHED_KEYS)
_SEARCH_KEYS: Final = (
    ("web_search_requests", "web_searches"),
    ("web_search_calls", "web_searches"),
    ("x_search_calls", "social_searches"),
    ("code_interpreter_calls", "code_executions"),
    ("file_search_calls", "storage_searches"),
    ("document_search_calls", "storage_searches"),
)

_TOOL_KEYS: Final = (
    "server_tool_use_details",  # OpenRouter
    "server_tool_use",
    "server_side_tool_usage_details",  # xAI
)


def count_usage(call: Format, usage: JsonObject, dialect: Dialect = _STANDARD) -> dict[str, Count | None]:
    """The units of a ``usage`` object of OpenAI's shape, Chat Completions' names or Responses'.

    Args:
        call: where contradictions are named.
        usage: the object.
        dialect: how its provider counts.
    """
    return count_plain(usage, dialect) or count_any(call, usage, dialect)


def count_plain(usage: JsonObject, dialect: Dialect = _STANDARD) -> dict[str, Count | None] | None:
    """What :func:`count_any` says of a usage in which nothing is unusual, sooner; ``None`` of every other."""
    if dialect.reasoning_outside or not _UNUSUAL.isdisjoint(usage):
        return None
    get = usage.get
    prompt, completion, stated = get("prompt_tokens"), get("completion_tokens"), get("total_tokens")
    if prompt is None and completion is None:
        prompt, completion = get("input_tokens"), get("output_tokens")
    if type(prompt) is not int or type(completion) is not int or prompt < 0 or completion < 0:
        return None
    both = prompt + completion
    if both > MAX_COUNT or (stated is not None and (type(stated) is not int or stated != both)):
        return None
    counts: dict[str, Count | None] = {"input_tokens": prompt, "output_tokens": completion}
    plain = _put_details(counts, get("prompt_tokens_details") or get("input_tokens_details"), _INPUT_DETAILS)
    plain &= _put_details(counts, get("completion_tokens_details") or get("output_tokens_details"), _OUTPUT_DETAILS)
    if "cache_read_tokens" not in counts and not _CACHED.isdisjoint(usage):
        cached = next((usage[key] for key in _CACHED_KEYS if usage.get(key) is not None), None)
        plain &= _put_details(counts, {"cached_tokens": cached}, _INPUT_DETAILS)
    return counts if plain else None


def _put_details(counts: dict[str, Count | None], details: object, units: Mapping[str, str]) -> bool:
    """Puts the parts of a total to the counts; ``False`` where anything is unusual."""
    if details is None:
        return True
    if not isinstance(details, dict):
        return False
    for key, value in cast("JsonObject", details).items():
        if value is not None and key in units:
            if type(value) is not int or not 0 <= value <= MAX_COUNT:
                return False
            counts[units[key]] = value
    return True


def count_any(call: Format, usage: JsonObject, dialect: Dialect) -> dict[str, Count | None]:
    """The units of any usage of OpenAI's shape; arguments as :func:`count_usage`."""
    prompt = first_count(usage, "prompt_tokens", "input_tokens")
    completion = first_count(usage, "completion_tokens", "output_tokens")
    prompt_details = obj(usage.get("prompt_tokens_details")) or obj(usage.get("input_tokens_details"))
    output_details = obj(usage.get("completion_tokens_details")) or obj(usage.get("output_tokens_details"))
    counts: dict[str, Count | None] = {
        "cache_read_tokens": _or(count(prompt_details.get("cached_tokens")), first_count(usage, *_CACHED_KEYS)),
        "cache_write_tokens": _or(
            count(prompt_details.get("cache_write_tokens")), count(usage.get("cache_creation_input_tokens"))
        ),
        "output_reasoning_tokens": _or(
            count(output_details.get("reasoning_tokens")), count(usage.get("reasoning_tokens"))
        ),
        "output_citation_tokens": count(usage.get("citation_tokens")),
        **_modalities(prompt_details, "input"),
        **_modalities(output_details, "output"),
        **_tools(usage),
    }
    if counts["input_audio_tokens"] is None:
        counts["input_audio_tokens"] = count(usage.get("audio_tokens"))  # Voxtral
    audio_seconds = seconds(usage.get("prompt_audio_seconds"))
    if audio_seconds:
        counts["input_audio_seconds"] = audio_seconds
    stated = count(usage.get("total_tokens"))
    if prompt is None and completion is not None:
        call.flag("count_absent", "input_tokens", "the provider counted output but no input")
    _settle(call, counts, prompt, completion, stated, dialect)
    return {unit: found for unit, found in counts.items() if found is not None}


_SETTLED: Final = (
    "output_reasoning_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "input_audio_tokens",
    "output_citation_tokens",
)


def _settle(  # noqa: PLR0913, PLR0917 - the three figures that must agree, and where to put the answer
    call: Format,
    counts: dict[str, Count | None],
    prompt: int | None,
    completion: int | None,
    stated: int | None,
    dialect: Dialect,
) -> None:
    """Makes the totals inclusive, and holds them against the provider's own."""
    outside_input = outside_output = 0
    rest = 0 if stated is None else stated - (prompt or 0) - (completion or 0)
    reasoning, read, written, audio, citations = (int(counts[unit] or 0) for unit in _SETTLED)
    if dialect.citations_outside:
        outside_output += citations
    if dialect.reasoning_outside:
        outside_output += reasoning
        rest = 0 if rest == reasoning else rest
    elif rest > 0 and rest == reasoning:
        outside_output, rest = reasoning, 0
    elif rest > 0 and dialect.total_holds_thoughts and not reasoning:
        counts["output_reasoning_tokens"], outside_output, rest = rest, rest, 0
    elif rest > 0 and rest in (read + written, audio, read + written + audio):
        outside_input, rest = rest, 0
    elif rest > 0 and completion is None and prompt is not None:
        completion, rest = rest, 0
    elif rest > 0 and prompt is None:
        prompt, rest = rest, 0
    counts["input_tokens"] = total_of(prompt, outside_input or None)
    counts["output_tokens"] = total_of(completion, outside_output or None)
    if rest:
        listed = (prompt or 0) + (completion or 0)
        call.flag("total_disagrees", "total_tokens", f"the provider's total is {stated}, its counts sum to {listed}")


_MODALITIES: Final = {
    direction: tuple((f"{direction}_{kind}_tokens", f"{kind}_tokens") for kind in ("audio", "image", "video"))
    for direction in ("input", "output")
}


_INPUT_DETAILS: Final[Mapping[str, str]] = {
    "cached_tokens": "cache_read_tokens",
    "cache_write_tokens": "cache_write_tokens",
    **{key: unit for unit, key in _MODALITIES["input"]},
}
_OUTPUT_DETAILS: Final[Mapping[str, str]] = {
    "reasoning_tokens": "output_reasoning_tokens",
    **{key: unit for unit, key in _MODALITIES["output"]},
}
_UNUSUAL: Final = frozenset(
    {
        *_TOOL_KEYS,
        "cache_creation_input_tokens",
        "reasoning_tokens",
        "citation_tokens",
        "audio_tokens",
        "prompt_audio_seconds",
        "num_search_queries",
    }
)
"""What :func:`count_any` looks at besides totals and their details."""


def _modalities(details: JsonObject, direction: str) -> dict[str, Count | None]:
    return {unit: count(details.get(key)) for unit, key in _MODALITIES[direction]}


def _tools(usage: JsonObject) -> dict[str, Count | None]:
    """Server-side tools that are charged by use."""
    details: JsonObject = {}
    for holder in _TOOL_KEYS:
        details |= obj(usage.get(holder))
    found: dict[str, Count | None] = {}
    if details:
        found = {unit: count(details[key]) for key, unit in _SEARCH_KEYS if details.get(key) is not None}
    queries = count(usage.get("num_search_queries"))  # Perplexity's deep research
    if queries:
        found["web_searches"] = queries
    return found


_COST_KEYS: Final = frozenset({"cost_in_usd_ticks", "cost", "pydantic_ai_gateway"})


def stated_cost(usage: JsonObject) -> Money | None:
    """The cost that a usage object states itself, in US dollars."""
    if _COST_KEYS.isdisjoint(usage):
        return None
    ticks = count(usage.get("cost_in_usd_ticks"))
    if ticks is not None:  # xAI: 1e10 ticks are a dollar
        return usd(f"{ticks}e-10")
    itemised = maybe_obj(usage.get("cost"))
    if itemised is not None:  # Perplexity says total_cost, Charm says usd
        return usd(itemised.get("total_cost", itemised.get("usd")))
    estimate = obj(usage.get("pydantic_ai_gateway")).get("cost_estimate")
    return usd(usage.get("cost", estimate))


def _or(first: int | None, second: int | None) -> int | None:
    return second if first is None else first
