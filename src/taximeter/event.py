"""The record of one finished call, and everything that it is made of. Immutable; a correction is a later record."""

from __future__ import annotations

import hashlib
import uuid
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Literal

import msgspec

from taximeter.money import PICO_PER_USD, Money
from taximeter.usage import Contradiction, Count, Usage

UsageSource = Literal["reported", "estimated", "unknown"]
"""``reported``: the provider's own figures. ``estimated``: ours, from what was seen of a response that was cut.
``unknown``: neither; the usage is absent, not 0."""

Outcome = Literal["completed", "cancelled", "interrupted", "failed", "refused", "unknown"]
"""``completed``; ``cancelled`` by the caller; ``interrupted`` by the peer or the network; ``failed``: the provider said
no; ``refused``: we said no; ``unknown``: we died."""


class ToolCall(msgspec.Struct, frozen=True):
    """A call of one of the caller's tools that the model asked for.

    Attributes:
        id: the provider's id of it; ``None`` where the wire has none.
        name: the tool.
        argument_bytes: length of the arguments as sent, in bytes of UTF-8.
    """

    id: str | None
    name: str
    argument_bytes: int = 0


class ToolResult(msgspec.Struct, frozen=True):
    """The result of an earlier answer's tool call, as a request carries it back to the model.

    Attributes:
        id: of the tool call.
        name: the tool; ``None`` when the answer that asked for it was not seen.
        duration_ms: from the end of that answer to the start of this call: what the tool took, and whatever the
            application did besides; of a tool that ``taximeter.tool`` is around, its own.
        failed: whether the application says that the tool failed; ``None`` where the wire cannot say.
        result_bytes: length of the result, in bytes of UTF-8.
    """

    id: str
    name: str | None = None
    duration_ms: int | None = None
    failed: bool | None = None
    result_bytes: int = 0


class ProviderError(msgspec.Struct, frozen=True):
    """What the provider said was wrong, in its own words."""

    type: str | None = None
    code: str | None = None
    message: str | None = None


class Rate(msgspec.Struct, frozen=True, gc=False):
    """A price per number of units: 3 USD per 1,000,000 tokens.

    Attributes:
        usd: US dollars for ``per`` units.
        per: how many units that buys.
    """

    usd: Decimal
    per: int

    @property
    def pico_per_unit(self) -> Fraction:
        """The exact price of one unit in 1e-12 USD."""
        return Fraction(self.usd) * PICO_PER_USD / self.per


class LineItem(msgspec.Struct, frozen=True, gc=False):
    """One line of a bill: ``count × rate = amount``.

    Attributes:
        unit: the leaf that was counted.
        count: how many of it are billed.
        rate: the price applied.
        rate_unit: the unit that the rate belongs to: ``unit`` itself, or the nearest one including it that has a rate.
        amount: the product, rounded once, half-even, to 1e-12 USD.
    """

    unit: str
    count: Count
    rate: Rate
    rate_unit: str
    amount: Money


class RateCardRef(msgspec.Struct, frozen=True, gc=False):
    """Which rate card priced a call.

    Attributes:
        source: ``genai-prices`` or ``user`` (a rate card file).
        version: the data's version: a release number, or a digest of the file.
        provider: the provider's id in the price book.
        model: the model's id in the price book.
        since: the first day (UTC) on which the card applied; ``None``: from the beginning.
        context: the price context that chose among variants: ``service_tier=priority``.
    """

    source: Literal["genai-prices", "user"]
    version: str
    provider: str
    model: str
    since: date | None = None
    context: tuple[tuple[str, str], ...] = ()


class Cost(msgspec.Struct, frozen=True, gc=False):
    """What a usage costs by one rate card.

    Attributes:
        total: the sum of the items' amounts; ``None`` when something counted has no price.
        items: the lines that have a price.
        unpriced: the leaves (or, with no card, nothing) that have none.
        card: the rate card; ``None`` when the model is in no price book.
        reason: why ``total`` is ``None``: a sentence; with near names where the model is not known.
    """

    total: Money | None
    items: tuple[LineItem, ...] = ()
    unpriced: tuple[str, ...] = ()
    card: RateCardRef | None = None
    reason: str | None = None


class Part(msgspec.Struct, frozen=True):
    """The share of a call that is billed at one model.

    The first part is what the provider's top-level usage states, further ones what it bills beside it.

    Attributes:
        model: the model that served it; ``None`` where the wire does not say and nothing was asked for.
        usage: its counts; ``None`` when unknown.
        billed: ``False`` for what is listed but not charged (a refused hop without output).
        kind: what made it a part: ``message``, ``advisor_message``, ``compaction`` …
        cost: what it costs; ``None`` before pricing and for an unbilled part.
    """

    model: str | None
    usage: Usage | None
    billed: bool = True
    kind: str = "message"
    cost: Cost | None = None


class Scope(msgspec.Struct, frozen=True):
    """Who a call is attributed to."""

    project: str | None = None
    session: str | None = None
    turn: str | None = None
    user: str | None = None
    operation: str | None = None
    tags: tuple[tuple[str, str], ...] = ()


class Content(msgspec.Struct, frozen=True):
    """What was said in a call. It is kept only where the user has turned that on.

    Attributes:
        user_message: the text of the user's newest message; ``None`` where the request has none, or it is not kept.
        answer: the text of the answer; ``None`` where there was none, or it is not kept.
        tool_arguments: what the model's tool calls were given, as sent, in the order of ``CallEvent.tool_calls``.
    """

    user_message: str | None = None
    answer: str | None = None
    tool_arguments: tuple[str, ...] = ()


class CallEvent(msgspec.Struct, frozen=True, kw_only=True):
    """The record of one finished call (each retry is a call of its own).

    Attributes:
        id: UUIDv7 for a live call, derived from content for an imported one (:func:`content_id`).
        started_at: when the request left; timezone-aware. The rate in force then is the one applied.
        provider: who was called (``openai``, ``groq`` …).
        api: the wire format (``openai.chat``, ``anthropic.messages`` …).
        request_model: what was asked for.
        response_model: what served it; the price is this model's.
        stream: whether the answer was a stream; ``None`` when that was never learnt.
        status: the HTTP status; ``None`` when no response came.
        usage: the sum of the billed parts; ``None`` when unknown.
        raw_usage: the provider's own usage object, as JSON text.
        cost: the sum of the billed parts' costs; ``None`` when any of them is unpriced, or the usage is unknown.
        provider_cost: what the provider itself says that the call cost.
        contradictions: what did not fit together in the provider's figures.
        first_token_ms: from the start to the first byte of the answer's content.
        duration_ms: from the start to the end.
        tool_results: the results of earlier answers' tool calls that the request carried.
        attempt: 1 for the first try, 2 for its first retry …
        content: what was said, where that is kept.
    """

    id: str
    started_at: datetime
    provider: str
    api: str
    outcome: Outcome
    scope: Scope = Scope()
    request_model: str | None = None
    response_model: str | None = None
    response_id: str | None = None
    service_tier: str | None = None
    stream: bool | None = None
    status: int | None = None
    error: ProviderError | None = None
    finish_reason: str | None = None
    usage: Usage | None = None
    usage_source: UsageSource = "unknown"
    raw_usage: str | None = None
    contradictions: tuple[Contradiction, ...] = ()
    cost: Money | None = None
    provider_cost: Money | None = None
    parts: tuple[Part, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_results: tuple[ToolResult, ...] = ()
    first_token_ms: int | None = None
    duration_ms: int | None = None
    attempt: int = 1
    content: Content | None = None

    @property
    def model(self) -> str | None:
        """The model to report by: the one that served the call, else the one asked for."""
        return self.response_model or self.request_model


class Correction(msgspec.Struct, frozen=True, kw_only=True):
    """A later word on an event: its figures as they are now known. The event itself stays as it was.

    The effective event is the event with the fields of its latest correction put in place of its own.

    Attributes:
        id: its own id.
        event_id: the event that it corrects.
        reason: ``reprice``, ``reconcile``, ``settle`` … and why, in words.
        usage, usage_source, cost, parts: the new figures, all of them (not differences).
    """

    id: str
    event_id: str
    reason: str
    usage: Usage | None
    usage_source: UsageSource
    cost: Money | None
    parts: tuple[Part, ...]


def total_cost(parts: tuple[Part, ...]) -> Money | None:
    """The sum over the billed parts; ``None`` when there is none, or one of them has no price."""
    billed = [part for part in parts if part.billed]
    total = Money(0)
    for part in billed:
        if part.cost is None or part.cost.total is None:
            return None
        total += part.cost.total
    return total if billed else None


def uuid7(unix_ms: int, random: bytes) -> str:
    """A UUID of version 7 (RFC 9562) from a time in milliseconds and ten random bytes."""
    value = (unix_ms & 0xFFFF_FFFF_FFFF) << 80 | int.from_bytes(random[:10], "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def content_id(*parts: bytes) -> str:
    """An id that is the same whenever the content is: a UUID of version 8 (RFC 9562) from a SHA-256."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    value = int.from_bytes(digest.digest()[:16], "big")
    value = value & ~(0xF << 76) | 0x8 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))
