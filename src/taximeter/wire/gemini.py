"""Gemini's generateContent and embeddings, and Vertex AI's predict.

``usageMetadata`` stands on every event of a stream and the last one counts, whole: earlier ones are counters of a step
and may be larger. ``candidatesTokenCount`` excludes thoughts, ``promptTokenCount`` includes the cache and excludes what
built-in tools put in.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec

from taximeter.event import ToolCall
from taximeter.usage import Count, consistent
from taximeter.wire.format import MAX_TOOL_CALLS, Format, Route, total_of, wrong_counts
from taximeter.wire.idle import UNUSUAL, IdleText
from taximeter.wire.loose import UNDECODED, JsonObject, arr, count, dump, maybe_obj, moment, obj, text, utf8_len, word
from taximeter.wire.reading import PartReading, Reading

_MODALITIES: Final = {
    "TEXT": "text",
    "IMAGE": "image",
    "VIDEO": "video",
    "AUDIO": "audio",
    # clients that re-encode protobuf write the enum's number
    "1": "text",
    "2": "image",
    "3": "video",
    "4": "audio",
}
_TOTALS: Final = frozenset(
    {
        "promptTokenCount",
        "candidatesTokenCount",
        "thoughtsTokenCount",
        "toolUsePromptTokenCount",
        "totalTokenCount",
    }
)
_TIERS: Final = {"ON_DEMAND_PRIORITY": "priority", "ON_DEMAND_FLEX": "flex", "PRIORITY": "priority", "FLEX": "flex"}


class _FunctionCall(msgspec.Struct, gc=False):
    name: str
    id: str | None = None
    args: JsonObject | None = None


class _Part(msgspec.Struct, gc=False):
    text: str | None = None
    functionCall: _FunctionCall | None = None  # noqa: N815 - as the wire has it


class _Content(msgspec.Struct, gc=False):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct, gc=False):
    content: _Content | None = None
    finishReason: str | None = None  # noqa: N815 - as the wire has it
    groundingMetadata: None = None  # noqa: N815 - as the wire has it


class _Whole(msgspec.Struct, gc=False):
    """A whole body or a chunk that is what most are: where ``None`` alone is allowed, anything else is unusual."""

    candidates: tuple[_Candidate]
    usageMetadata: JsonObject | None = None  # noqa: N815 - as the wire has it
    modelVersion: str | None = None  # noqa: N815 - as the wire has it
    responseId: str | None = None  # noqa: N815 - as the wire has it
    createTime: str | None = None  # noqa: N815 - as the wire has it
    promptFeedback: None = None  # noqa: N815 - as the wire has it
    response: None = None
    error: None = None
    type: None = None


_decode = msgspec.json.Decoder(_Whole, float_hook=Decimal).decode


def usual_answer(_route: Route, body: bytes) -> Reading | None:
    """A whole body of generateContent that is what most are; see :attr:`Format.usual`."""
    try:
        found = _decode(body)
    except UNDECODED:
        return None
    stated, content = found.usageMetadata, found.candidates[0].content
    if stated is None or content is None:
        return None
    if type(stated.get("promptTokenCount")) is not int or wrong_counts(stated):
        return None
    counts = _counted(stated)
    if stated.get("totalTokenCount") != (counts["input_tokens"] or 0) + (counts["output_tokens"] or 0):
        return None
    tool_calls: list[ToolCall] = []
    text_bytes = 0
    for part in content.parts or ():
        text_bytes += utf8_len(part.text or "")
        call = part.functionCall
        if call is not None:
            if not call.name or len(tool_calls) == MAX_TOOL_CALLS:
                return None
            size = 0 if call.args is None else utf8_len(dump(call.args))
            tool_calls.append(ToolCall(call.id or None, call.name, size))
            text_bytes += size
    usage, clamped = consistent(counts)
    tier = _tier(stated)
    priced = _TIERS.get(tier.upper()) if tier else None
    model = found.modelVersion or None
    return Reading(
        usage=usage,
        usage_source="reported",
        raw_usage=dump(stated),
        contradictions=clamped,
        parts=(PartReading(model, usage),),
        response_model=model,
        response_id=found.responseId or None,
        service_tier=tier,
        price_context=(("service_tier", priced),) if priced else (),
        finish_reason=found.candidates[0].finishReason or None,
        tool_calls=tuple(tool_calls),
        created=moment(found.createTime),
        text_bytes=text_bytes,
    )


def _tier(usage: JsonObject) -> str | None:
    return word(usage.get("serviceTier")) or word(usage.get("trafficType"))


class Gemini(Format):
    """https://ai.google.dev/api/generate-content (read 2026-11)."""

    array_stream = True
    usual = staticmethod(usual_answer)

    def __init__(self, route: Route, headers: Mapping[str, str]) -> None:
        super().__init__(route, headers)
        self._usage: JsonObject | None = None
        self._searches: dict[Any, int] = {}
        self._calls = 0

    def document(self, body: JsonObject) -> None:
        self.event(b"", body)

    def event(self, name: bytes, body: JsonObject) -> IdleText | None:
        if "error" in body and self.fail(body):
            return None
        body = obj(body.get("response")) or body  # as some SDKs' backends wrap it
        self.response_model = text(body.get("modelVersion")) or self.response_model
        self.response_id = text(body.get("responseId")) or self.response_id
        self.created = self.created or moment(body.get("createTime"))
        usage = maybe_obj(body.get("usageMetadata"))
        if usage is not None:
            self._take_usage(usage)
        candidates = arr(body.get("candidates"))
        quiet = len(candidates) == 1
        for candidate in candidates:
            quiet = self._candidate(obj(candidate)) and quiet
        blocked = word(obj(body.get("promptFeedback")).get("blockReason"))
        if blocked is not None:
            self.finish_reason = f"BLOCKED:{blocked}"
            self.ended = True
        return IdleText(b"text", numbers=True) if quiet and blocked is None else None

    def usual_event(self, name: bytes, data: bytes) -> IdleText | None:
        try:
            chunk = _decode(data)
        except UNDECODED:
            return UNUSUAL
        candidate = chunk.candidates[0]
        parts = candidate.content.parts or () if candidate.content is not None else ()
        for part in parts:
            if part.functionCall is not None:
                return UNUSUAL
        self.response_model = chunk.modelVersion or self.response_model
        self.response_id = chunk.responseId or self.response_id
        self.created = self.created or moment(chunk.createTime)
        if chunk.usageMetadata is not None:
            self._take_usage(chunk.usageMetadata)
        for part in parts:
            self.add_text(part.text)
        if candidate.finishReason:
            self.finish_reason = candidate.finishReason
            self.ended = True
            return None
        return IdleText(b"text", numbers=True) if len(parts) == 1 and parts[0].text is not None else None

    def _take_usage(self, usage: JsonObject) -> None:
        if self._usage is None or not _TOTALS.isdisjoint(usage):
            self._usage = usage
            self.raw_usage = usage
            self.service_tier = _tier(usage) or self.service_tier

    def _candidate(self, candidate: JsonObject) -> bool:
        """Reads one candidate; whether it held nothing but text."""
        finish = word(candidate.get("finishReason"))
        if finish is not None:
            self.finish_reason = finish
            self.ended = True
        parts = arr(obj(candidate.get("content")).get("parts"))
        quiet = finish is None and len(parts) == 1 and "text" in obj(parts[0])
        for part in parts:
            piece = obj(part)
            if piece.get("thought"):
                self.add_text(piece.get("text"))
            else:
                self.add_answer(piece.get("text"), candidate.get("index"))
            call = maybe_obj(piece.get("functionCall"))
            if call is not None:
                self._function_call(call)
                quiet = False
        queries = arr(obj(candidate.get("groundingMetadata")).get("webSearchQueries"))
        if queries:
            self._searches[candidate.get("index") if isinstance(candidate.get("index"), int) else 0] = len(queries)
        return quiet and not queries

    def _function_call(self, call: JsonObject) -> None:
        # whole in one part; since Gemini 3 the arguments may follow in parts without a name
        if text(call.get("name")) is not None:
            self._calls += 1
        self.add_tool(self._calls, call.get("id"), call.get("name"), call.get("args"))

    def usage_is_final(self) -> bool:
        return self.ended

    def counts(self) -> dict[str, Count | None] | None:
        usage = self._usage
        if usage is None:
            return None
        tier = _TIERS.get((self.service_tier or "").upper())
        if tier is not None:
            self.price_context["service_tier"] = tier
        counts = _counted(usage)
        if counts["input_tokens"] is None or count(usage.get("promptTokenCount")) is None:
            self.flag("count_absent", "input_tokens", "usageMetadata has no promptTokenCount")
        self.check_total(
            usage.get("totalTokenCount"), int((counts["input_tokens"] or 0) + (counts["output_tokens"] or 0))
        )
        if self._searches:
            # 2.x: a price per prompt that was grounded; since 3: per query. ai.google.dev/gemini-api/docs/pricing
            model = (self.response_model or self.route.model or "").rpartition("/")[2]
            by_query = not model.startswith(("gemini-1", "gemini-2"))
            counts["web_searches"] = sum(self._searches.values()) if by_query else 1
        return counts


def _counted(usage: JsonObject) -> dict[str, Count | None]:
    prompt = count(usage.get("promptTokenCount"))
    tools = count(usage.get("toolUsePromptTokenCount"))
    thoughts = count(usage.get("thoughtsTokenCount"))
    counts: dict[str, Count | None] = {
        "input_tokens": total_of(prompt, tools),
        "input_tool_tokens": tools,
        "cache_read_tokens": count(usage.get("cachedContentTokenCount")),
        "output_tokens": total_of(count(usage.get("candidatesTokenCount")), thoughts),
        "output_reasoning_tokens": thoughts,
    }
    for key, unit in _DETAILS:
        if key in usage:
            for modality, tokens in _by_modality(usage[key]).items():
                counts[unit.format(modality)] = tokens
    if "toolUsePromptTokensDetails" not in usage:
        return counts
    for modality in ("audio", "image", "video"):
        inside = counts.get(f"input_{modality}_tool_tokens")
        if inside is not None:  # the units of a modality include what tools put in; the prompt's details do not
            counts[f"input_{modality}_tokens"] = (counts.get(f"input_{modality}_tokens") or 0) + inside
    return counts


_DETAILS: Final = (
    ("promptTokensDetails", "input_{}_tokens"),
    ("candidatesTokensDetails", "output_{}_tokens"),
    ("cacheTokensDetails", "cache_{}_read_tokens"),
    ("toolUsePromptTokensDetails", "input_{}_tool_tokens"),
)


def _by_modality(details: object) -> dict[str, int]:
    """Tokens by modality; text is what the others leave."""
    found: dict[str, int] = {}
    for each in arr(details):
        detail = obj(each)
        name = detail.get("modality")
        if name == "TEXT":
            continue
        modality = _MODALITIES.get((word(name) or "").upper())
        tokens = count(detail.get("tokenCount"))
        if modality not in (None, "text") and tokens is not None:
            found[modality] = found.get(modality, 0) + tokens
    return found


class GeminiEmbed(Format):
    """https://ai.google.dev/api/embeddings (read 2026-11): often no usage; ``promptTokenDetails`` is singular here."""

    def document(self, body: JsonObject) -> None:
        self.raw_usage = maybe_obj(body.get("usageMetadata"))

    def event(self, name: bytes, body: JsonObject) -> IdleText | None:
        self.document(body)
        return None

    def counts(self) -> dict[str, Count | None] | None:
        usage = obj(self.raw_usage)
        prompt = count(usage.get("promptTokenCount"))
        if prompt is None:
            return None
        details = usage.get("promptTokenDetails") or usage.get("promptTokensDetails")
        counts: dict[str, Count | None] = {"input_tokens": prompt}
        for modality, tokens in _by_modality(details).items():
            counts[f"input_{modality}_tokens"] = tokens
        return counts


class VertexPredict(Format):
    """https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api (read 2026-11)."""

    def __init__(self, route: Route, headers: Mapping[str, str]) -> None:
        super().__init__(route, headers)
        self._tokens: int | None = None
        self._characters: int | None = None

    def document(self, body: JsonObject) -> None:
        self.response_model = text(body.get("model")) or self.response_model
        for each in arr(body.get("predictions")):
            statistics = obj(obj(obj(each).get("embeddings")).get("statistics")) or obj(obj(each).get("statistics"))
            self._tokens = total_of(self._tokens, count(statistics.get("token_count")))
        metadata = obj(body.get("metadata"))
        self._characters = count(metadata.get("billableCharacterCount"))
        stated = obj(metadata.get("tokenMetadata"))
        if stated:
            self._tokens = count(obj(stated.get("inputTokenCount")).get("totalTokens")) or self._tokens
        self.raw_usage = metadata or ({"token_count": self._tokens} if self._tokens is not None else None)

    def event(self, name: bytes, body: JsonObject) -> IdleText | None:
        self.document(body)
        return None

    def counts(self) -> dict[str, Count | None] | None:
        if self._tokens is None and self._characters is None:
            return None
        if self._tokens is not None:  # models priced by token state both; characters are how older ones were billed
            return {"input_tokens": self._tokens}
        return {"input_characters": self._characters}
