"""Changing JSON somewhere, to something that the wire should not have there and may."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from tests.wire.making import dump

UNUSUAL_VALUES: tuple[Any, ...] = (
    None, True, 0, 7, -1, 10**20, "", "x", "error", "failed", "Zürich \ud83d", [], {}, [1], ["x"], {"text": "y"},
    {"usage": {"prompt_tokens": 3}}, {"message": "no", "type": "server_error"}, Decimal("1.5"), Decimal("1e30"),
)  # fmt: skip
UNUSUAL_KEYS = (
    "args", "cached_tokens", "candidatesTokensDetails", "choices", "content_block", "cost", "created", "delta", "error",
    "finish_reason", "function_call", "functionCall", "groundingMetadata", "id", "incomplete_details", "index",
    "input_tokens", "item", "iterations", "message", "modality", "model", "name", "obfuscation",
    "output_tokens_details", "partial_json", "prompt_cache_hit_tokens", "prompt_tokens", "promptFeedback", "reasoning",
    "reasoning_content", "response", "server_tool_use", "service_tier", "status", "text", "thinking", "thought",
    "tokenCount", "tool_calls", "tool_usage", "toolUsePromptTokenCount", "type", "usage", "usage_breakdown", "x_groq",
)  # fmt: skip


def _places(value: object) -> Iterator[tuple[Any, Any]]:
    """Every member and element, as what holds it and where."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in inside:
        yield value, key
        yield from _places(member)


def altered(value: Any, dice: random.Random) -> Any:
    """A copy in which a few places are not as they were."""
    changed = copy.deepcopy(value)
    for _ in range(dice.randrange(4)):
        places = [*_places(changed)]
        if not places:
            break
        holder, key = dice.choice(places)
        if not isinstance(holder, dict) or dice.random() < 0.5:
            holder[key] = copy.deepcopy(dice.choice(UNUSUAL_VALUES))
        elif dice.random() < 0.4:
            del holder[key]
        else:
            holder[dice.choice(UNUSUAL_KEYS)] = copy.deepcopy(dice.choice(UNUSUAL_VALUES))
    return changed


def json_of(value: object) -> bytes:
    """JSON, half an emoji written as it is escaped on the wire."""
    try:
        return dump(value)
    except UnicodeEncodeError:
        return dump(_escaped(value)).replace(b"HALF", b"\\ud83d")


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\ud83d", "HALF")
    if isinstance(value, dict):
        return {key: _escaped(member) for key, member in value.items()}
    return [_escaped(member) for member in value] if isinstance(value, list) else value
