"""A usage object that is counted at once is counted as it would be by the general way."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.wire import Route
from taximeter.wire.dialects import Dialect, count_any, count_plain, dialect_of
from taximeter.wire.format import Format
from tests.wire.making import Json, chat_usage

KEYS = (
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "num_cached_tokens",
    "prompt_cache_hit_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "citation_tokens",
    "audio_tokens",
    "image_tokens",
    "video_tokens",
    "text_tokens",
    "prompt_audio_seconds",
    "num_search_queries",
    "service_tier",
    "cost",
    "queue_time",
)
HOLDERS = (
    "prompt_tokens_details",
    "completion_tokens_details",
    "input_tokens_details",
    "output_tokens_details",
    "server_tool_use",
    "server_tool_use_details",
    "server_side_tool_usage_details",
)
figures = st.one_of(
    st.integers(0, 40),
    st.sampled_from([None, True, False, -1, 10**15, 10**15 + 1, 10**30, "12", "", Decimal("12.0"), Decimal("1.5"), []]),
)
details = st.one_of(
    st.dictionaries(st.sampled_from([*KEYS, "web_search_requests", "web_search_calls"]), figures, max_size=4), figures
)
odd_usages = st.tuples(
    st.dictionaries(st.sampled_from(KEYS), figures, max_size=6),
    st.dictionaries(st.sampled_from(HOLDERS), details, max_size=3),
).map(lambda pair: pair[0] | pair[1])


def _summed(usage: dict[str, Any]) -> dict[str, Any]:
    """The usage with a total that is right."""
    listed = [usage[key] for key in ("prompt_tokens", "completion_tokens")]
    return usage | {"total_tokens": sum(value for value in listed if type(value) is int)}


plain_details = st.dictionaries(st.sampled_from(KEYS), st.one_of(st.none(), st.integers(0, 40)), max_size=4)
nearly_plain = st.fixed_dictionaries(
    {"prompt_tokens": figures, "completion_tokens": figures},
    optional={
        "prompt_tokens_details": st.one_of(plain_details, details),
        "completion_tokens_details": st.one_of(plain_details, details),
        "reasoning_tokens": figures,
        "queue_time": figures,
        "cached_tokens": figures,
        "prompt_cache_hit_tokens": figures,
    },
).map(_summed)
dialects = st.sampled_from(["openai", "vercel", "perplexity", "google", "xai"]).map(dialect_of)


def _by_the_general_way(usage: Json, dialect: Dialect) -> tuple[dict[str, Any], bool]:
    call = Format(Route("openai.chat", "openai"), {})
    return count_any(call, usage, dialect), bool(call.contradictions)


@given(usage=st.one_of(odd_usages, nearly_plain), dialect=dialects)
def test_a_usage_that_is_counted_at_once(usage: Json, dialect: Dialect) -> None:
    """Where nothing is unusual the counts are the general way's, and it would have named no contradiction."""
    at_once = count_plain(usage, dialect)
    if at_once is not None:
        assert (at_once, False) == _by_the_general_way(usage, dialect)


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        (chat_usage(12, 7), {"input_tokens": 12, "output_tokens": 7}),
        ({"input_tokens": 12, "output_tokens": 0}, {"input_tokens": 12, "output_tokens": 0}),
        (
            chat_usage(
                12,
                7,
                prompt_tokens_details={"cached_tokens": 9, "audio_tokens": 0, "text_tokens": 3},
                completion_tokens_details={
                    "reasoning_tokens": 5,
                    "audio_tokens": None,
                    "rejected_prediction_tokens": 1,
                },
                queue_time=Decimal("0.5"),
            ),
            {
                "input_tokens": 12,
                "output_tokens": 7,
                "cache_read_tokens": 9,
                "input_audio_tokens": 0,
                "output_reasoning_tokens": 5,
            },
        ),
        (
            chat_usage(12, 7, prompt_cache_hit_tokens=9, prompt_cache_miss_tokens=3),
            {"input_tokens": 12, "output_tokens": 7, "cache_read_tokens": 9},
        ),
        (chat_usage(12, 7, cached_tokens=None), {"input_tokens": 12, "output_tokens": 7}),
    ],
)
def test_a_usage_in_which_nothing_is_unusual(usage: Json, counts: dict[str, int]) -> None:
    """The usages that most answers have are counted at once: else the test above would compare nothing."""
    assert count_plain(usage) == counts


@pytest.mark.parametrize(
    "usage",
    [
        {},
        {"prompt_tokens": 12},
        chat_usage(12, 7, 20),
        chat_usage(12, -7, 5),
        chat_usage(12, 7, prompt_tokens_details=[]) | {"input_tokens_details": 3},
        chat_usage(12, 7, prompt_tokens_details={"cached_tokens": "9"}),
        chat_usage(12, 7, reasoning_tokens=3),
        {"prompt_tokens": True, "completion_tokens": 7},
        {"prompt_tokens": 10**15, "completion_tokens": 7},
    ],
)
def test_a_usage_in_which_something_is_unusual(usage: Json) -> None:
    """Whatever needs thought is left to the general way."""
    assert count_plain(usage) is None
