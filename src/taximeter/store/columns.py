"""The columns of each table, in the order in which rows are written.

Of what type they are, :mod:`taximeter.store.schema` says; a test holds the two equal. They stand apart from it so that
recording calls loads no SQLAlchemy, which would take a tenth of a second from the first call of a process.
"""

from __future__ import annotations

from typing import Final

UNIT_COLUMNS: Final = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "output_reasoning_tokens",
)
"""The units that have a column each, because nearly every report sums them. The others are rows of ``unit_counts``."""

WHOLE: Final = -1
"""The ``position`` of a count that belongs to a record as a whole and to none of its parts."""

FIGURES: Final = ("usage", *UNIT_COLUMNS, "cost_hi", "cost_lo")
"""What a record states and a report adds up."""

COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "events": (
        *("seq", "id", "recorded_at", "started_at", "provider", "api", "outcome"),
        *("project", "session", "turn", "user_id", "operation"),
        *("request_model", "response_model", "response_id", "service_tier", "stream", "status"),
        *("has_error", "error_type", "error_code", "error_message", "finish_reason", "usage_source"),
        *FIGURES,
        *("raw_usage", "contradictions", "provider_cost_hi", "provider_cost_lo"),
        *("first_token_ms", "duration_ms", "attempt"),
    ),
    "corrections": ("seq", "id", "event_seq", "recorded_at", "reason", "usage_source", *FIGURES),
    "sole_parts": ("event_seq", "kind", "price"),
    "parts": (
        *("event_seq", "record_seq", "position", "model", "kind", "billed"),
        *FIGURES,
        *("price", "calls", "unpriced", "sole_model"),
    ),
    "unit_counts": ("event_seq", "record_seq", "position", "unit", "whole", "amount", "exact"),
    "tags": ("event_seq", "position", "name", "value", "in_force"),
    "tool_calls": ("event_seq", "position", "id", "name", "argument_bytes"),
    "tool_results": ("event_seq", "position", "id", "name", "duration_ms", "failed", "result_bytes"),
    "contents": ("event_seq", "user_message", "answer", "tool_arguments"),
}
"""By table; the tables in an order in which they can be filled."""
