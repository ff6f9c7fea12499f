"""Anthropic's Messages, as served by itself, by Vertex, Bedrock, Foundry and others; and the legacy Complete.

``input_tokens`` excludes the cache: the whole input is the sum of three counts. In a stream ``message_start`` carries
the first figures and ``message_delta`` replaces every one that it repeats: they are cumulative, never added.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final, Literal

import msgspec

from taximeter.event import ToolCall
from taximeter.usage import Contradiction, Count, consistent
from taximeter.wire.format import MAX_TOOL_CALLS, Format, Route, estimated_tokens, flag, silent, total_of, wrong_counts
from taximeter.wire.idle import UNUSUAL, IdleText
from taximeter.wire.loose import UNDECODED, JsonObject, arr, count, dump, obj, text, usd, utf8_len
from taximeter.wire.reading import PartReading, Reading

_TEXT_DELTAS: Final = {"text_delta": "text", "thinking_delta": "thinking"}
_FALLBACK = "fallback_message"


def count_usage(found: list[Contradiction], usage: JsonObject) -> dict[str, Count | None]:
    """The units of a usage object of Anthropic's.

    Args:
        found: where contradictions are named.
        usage: the object.
    """
    read = count(usage.get("cache_read_input_tokens"))
    written = count(usage.get("cache_creation_input_tokens"))
    uncached = count(usage.get("input_tokens"))
    output = count(usage.get("output_tokens"))
    split = obj(usage.get("cache_creation"))
    short = count(split.get("ephemeral_5m_input_tokens"))
    long = count(split.get("ephemeral_1h_input_tokens"))
    if written is None:
        written = total_of(short, long)
    elif split and (covered := (short or 0) + (long or 0)) < written:
        # the split comes only in message_start, and server tools write more cache after it
        detail = f"cache_creation splits {covered} of {written} cache_creation_input_tokens; the rest is left unsplit"
        flag(found, "details_incomplete", "cache_write_tokens", detail)
    if uncached is None and output is not None:
        flag(found, "count_absent", "input_tokens", "the provider counted output but no input_tokens")
    counts: dict[str, Count | None] = {
        "input_tokens": total_of(uncached, read, written),
        "cache_read_tokens": read,
        "cache_write_tokens": written,
        "cache_write_5m_tokens": short,
        "cache_write_1h_tokens": long,
        "output_tokens": output,
    }
    if "output_tokens_details" in usage:
        counts["output_reasoning_tokens"] = count(obj(usage["output_tokens_details"]).get("thinking_tokens"))
    if "server_tool_use" in usage:
        counts["web_searches"] = count(obj(usage["server_tool_use"]).get("web_search_requests"))
    return counts


def _price_context(tier: str | None, usage: JsonObject) -> dict[str, str]:
    context: dict[str, str] = {}
    if tier == "batch":
        context["processing"] = "batch"
    elif tier and tier != "standard":
        context["service_tier"] = tier
    for key in ("speed", "inference_geo"):
        if value := text(usage.get(key)):
            context[key] = value
    return context


class _Block(msgspec.Struct, gc=False):
    type: str
    text: str | None = None
    thinking: str | None = None
    id: str | None = None
    name: str | None = None
    input: JsonObject | None = None


class _Whole(msgspec.Struct, gc=False):
    """A whole body that is what most are: where ``None`` alone is allowed, anything else is unusual."""

    content: list[_Block]
    usage: JsonObject
    stop_reason: str
    type: Literal["message"]
    model: str | None = None
    id: str | None = None
    created: None = None
    service_tier: None = None
    error: None = None


class _Delta(msgspec.Struct, gc=False):
    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    stop_reason: str | None = None


class _Start(msgspec.Struct, gc=False):
    model: str | None = None
    id: str | None = None
    usage: JsonObject | None = None
    created: None = None
    service_tier: None = None


class _Event(msgspec.Struct, gc=False):
    """An event of a stream, its parts as they usually are."""

    type: str
    message: _Start | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: JsonObject | None = None


_decode_event = msgspec.json.Decoder(_Event, float_hook=Decimal).decode
_decode = msgspec.json.Decoder(_Whole, float_hook=Decimal).decode
_UNUSUAL: Final = frozenset({"iterations", "cost"})


def usual_message(_route: Route, body: bytes) -> Reading | None:
    """A whole body of Messages that is what most are; see :attr:`Format.usual`."""
    try:
        found = _decode(body)
    except UNDECODED:
        return None
    stated = {key: value for key, value in found.usage.items() if value is not None}
    if not found.stop_reason or "output_tokens" not in stated or not _UNUSUAL.isdisjoint(stated):
        return None
    if wrong_counts(stated):
        return None
    tool_calls: list[ToolCall] = []
    text_bytes = 0
    for block in found.content:
        if block.type == "tool_use":
            size = utf8_len(dump(block.input)) if block.input else 0
            if block.name is None or len(tool_calls) == MAX_TOOL_CALLS:
                return None
            tool_calls.append(ToolCall(block.id or None, block.name, size))
            text_bytes += size
        else:
            text_bytes += utf8_len(block.text or "") + utf8_len(block.thinking or "")
    contradictions: list[Contradiction] = []
    usage, clamped = consistent(count_usage(contradictions, stated))
    model, tier = found.model or None, text(stated.get("service_tier"))
    return Reading(
        usage=usage,
        usage_source="reported",
        raw_usage=dump(stated),
        contradictions=(*contradictions, *clamped),
        parts=(PartReading(model, usage),),
        response_model=model,
        response_id=found.id or None,
        service_tier=tier,
        price_context=tuple(sorted(_price_context(tier, stated).items())),
        finish_reason=found.stop_reason,
        tool_calls=tuple(tool_calls),
        text_bytes=text_bytes,
    )


class AnthropicMessages(Format):
    """https://docs.anthropic.com/en/api/messages and …/messages-streaming (read 2026-11)."""

    silent = silent("ping", "content_block_stop")
    usual = staticmethod(usual_message)

    def __init__(self, route: Route, headers: Mapping[str, str]) -> None:
        super().__init__(route, headers)
        self._usage: JsonObject = {}
        self._final = False

    def document(self, body: JsonObject) -> None:
        self._message(body)
        self._delta(body)
        for index, block in enumerate(arr(body.get("content"))):
            self._block(index, obj(block))

    def event(self, name: bytes, body: JsonObject) -> IdleText | None:
        match body.get("type"):
            case "content_block_delta":
                return self._block_delta(body.get("index"), obj(body.get("delta")))
            case "message_start":
                self._message(obj(body.get("message")))
            case "content_block_start":
                self._block(body.get("index"), obj(body.get("content_block")))
            case "message_delta":
                self._delta(obj(body.get("delta")))
                if isinstance(body.get("usage"), dict):
                    self._take_usage(obj(body["usage"]))
                    self._final = True
            case "message_stop":
                self.ended = True
            case "error":
                self.fail(body)
            case _:
                pass
        return None

    def usual_event(self, name: bytes, data: bytes) -> IdleText | None:
        try:
            event = _decode_event(data)
        except UNDECODED:
            return UNUSUAL
        kind, delta, block, start = event.type, event.delta, event.content_block, event.message
        if kind == "content_block_delta" and delta is not None and delta.type in _TEXT_DELTAS:
            key = _TEXT_DELTAS[delta.type]
            self.add_text(delta.text if key == "text" else delta.thinking)
            return IdleText(key.encode())
        if kind == "message_start" and start is not None:
            self.response_model = start.model or self.response_model
            self.response_id = start.id or self.response_id
            if start.usage is not None:
                self._take_usage(start.usage)
        elif kind == "content_block_start" and block is not None and block.type != "tool_use":
            self.add_text(block.text, block.thinking)
        elif kind == "message_delta" and delta is not None:
            self.finish_reason = delta.stop_reason or self.finish_reason
            if event.usage is not None:
                self._take_usage(event.usage)
                self._final = True
        elif kind == "message_stop":
            self.ended = True
        else:
            return UNUSUAL
        return None

    def _message(self, body: JsonObject) -> None:
        self.identify(body)
        if isinstance(body.get("usage"), dict):
            self._take_usage(obj(body["usage"]))

    def _delta(self, body: JsonObject) -> None:
        self.finish_reason = text(body.get("stop_reason")) or self.finish_reason

    def _block(self, index: object, block: JsonObject) -> None:
        # server_tool_use and mcp_tool_use run at Anthropic: they are no calls of the caller's tools
        if block.get("type") == "tool_use":
            arguments = obj(block.get("input"))
            self.add_tool(index, block.get("id"), block.get("name"), arguments or None)
        else:
            self.add_answer(block.get("text"))
            self.add_text(block.get("thinking"))

    def _block_delta(self, index: object, delta: JsonObject) -> IdleText | None:
        key = _TEXT_DELTAS.get(str(delta.get("type")))
        if key is not None:
            (self.add_answer if key == "text" else self.add_text)(delta.get(key))
            return IdleText(key.encode())
        partial = delta.get("partial_json")
        if isinstance(partial, str):
            self.add_tool(index, None, None, partial)
        return None

    def _take_usage(self, usage: JsonObject) -> None:
        self._usage |= {key: value for key, value in usage.items() if value is not None}
        self.raw_usage = self._usage
        self.service_tier = text(usage.get("service_tier")) or self.service_tier
        self.provider_cost = usd(usage.get("cost")) or self.provider_cost  # OpenRouter

    def usage_is_final(self) -> bool:
        return self._final

    def counts(self) -> dict[str, Count | None] | None:
        if "output_tokens" not in self._usage and not any(key.endswith("_tokens") for key in self._usage):
            return None
        self.price_context.update(_price_context(self.service_tier, self._usage))
        counts = count_usage(self.contradictions, self._usage)
        if not self._final and self._streamed():
            counts["output_tokens"] = max(counts["output_tokens"] or 0, estimated_tokens(self.text_bytes))
        self._iterations()
        return counts

    def _streamed(self) -> bool:
        return self.finish_reason is None

    def _iterations(self) -> None:
        """What is billed beside the top-level usage.

        Top-level counts are the sum of the entries of type ``message``; an advisor's and a compaction's come beside
        them. After a fallback they are the fallback's alone: its model is the one to price, and the hop that was
        declined stands beside it, not billed if it gave no output.
        """
        entries = [obj(each) for each in arr(self._usage.get("iterations"))]
        fallback = next((each for each in entries if each.get("type") == _FALLBACK), None)
        asked = self.response_model
        if fallback is not None:
            self.response_model = text(fallback.get("model")) or self.response_model
        for entry in entries:
            kind = text(entry.get("type")) or "message"
            if kind == _FALLBACK or (kind == "message" and fallback is None):
                continue
            usage, clamped = consistent(count_usage(self.contradictions, entry))
            self.contradictions.extend(clamped)
            billed = kind != "message" or bool(usage.output_tokens)
            model = text(entry.get("model")) or asked
            self.extra_parts.append(PartReading(model=model, usage=usage, billed=billed, kind=kind))


class AnthropicComplete(Format):
    """https://docs.anthropic.com/en/api/complete (read 2026-11): states no usage at all."""

    def document(self, body: JsonObject) -> None:
        self.identify(body)
        self.add_answer(body.get("completion"))
        self.finish_reason = text(body.get("stop_reason")) or self.finish_reason
        self.ended = self.finish_reason is not None

    def event(self, name: bytes, body: JsonObject) -> IdleText | None:
        if not self.fail(body) and body.get("type") in ("completion", None):
            self.document(body)
        return None

    def counts(self) -> dict[str, Count | None] | None:
        return None
