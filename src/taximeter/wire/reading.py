"""What a reader found in a provider's answer."""

from __future__ import annotations

import msgspec

from taximeter.event import Content, ProviderError, ToolCall, UsageSource
from taximeter.money import Money
from taximeter.usage import Contradiction, Usage


class PartReading(msgspec.Struct, frozen=True, gc=False):
    """The usage of one model within a call; see :class:`taximeter.event.Part`."""

    model: str | None
    usage: Usage | None
    billed: bool = True
    kind: str = "message"


class Reading(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one answer says, whole or cut.

    Attributes:
        usage: the sum of the billed parts; ``None`` when the answer does not say.
        usage_source: whose figure that is.
        raw_usage: the provider's own usage object, as JSON text.
        contradictions: what did not fit together.
        parts: one per model billed, the top-level usage first; empty when the usage is unknown.
        response_model: the model that the answer names.
        price_context: what chooses among the variants of a price: ``(("service_tier", "priority"),)``.
        service_tier: the final tier, as the provider calls it.
        stream: whether it came as a stream of events.
        complete: whether the stream ended as its protocol requires; for a whole body ``None``, ``False`` if it was cut.
        error: what the provider said was wrong, also within an HTTP 200.
        provider_cost: the cost that the answer itself states.
        created: the answer's own time, in seconds since 1970, where the format has one.
        text_bytes: bytes of UTF-8 of output text seen, thoughts and tool arguments included.
        fault: what could not be read, where, and why; what was read before and after it counts.
        content: what was said, as far as it was to be kept; its ``user_message`` is not the answer's to tell.
    """

    usage: Usage | None
    usage_source: UsageSource
    raw_usage: str | None = None
    contradictions: tuple[Contradiction, ...] = ()
    parts: tuple[PartReading, ...] = ()
    response_model: str | None = None
    response_id: str | None = None
    service_tier: str | None = None
    price_context: tuple[tuple[str, str], ...] = ()
    finish_reason: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    error: ProviderError | None = None
    stream: bool = False
    complete: bool | None = None
    provider_cost: Money | None = None
    created: int | None = None
    text_bytes: int = 0
    fault: str | None = None
    content: Content | None = None
