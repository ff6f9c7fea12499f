"""Anthropic's Messages, as served by itself, by Vertex, Bedrock, Foundry and others; and the legacy Complete.

``input_tokens`` excludes the cache: the whole input is the sum of three counts. In a stream ``message_start`` carries
the first figures and ``message_delta`` replaces every one that it repeats: they are cumulative, never added.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from taximeter.usage import Count, consistent
from taximeter.wire.format import Format, Route, estimated_tokens, total_of
from taximeter.wire.idle import IdleText
from taximeter.wire.loose import JsonObject, arr, count, obj, text, usd
from taximeter.wire.reading import PartReading

_TEXT_DELTAS: Final = {"text_delta": "text", "thinking_delta": "thinking"}
_FALLBACK = "fallback_message"


class AnthropicMessages(Format):
    """https://docs.anthropic.com/en/api/messages and …/messages-streaming (read 2026-11)."""

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
            self.add_text(block.get("text"), block.get("thinking"))

    def _block_delta(self, index: object, delta: JsonObject) -> IdleText | None:
        key = _TEXT_DELTAS.get(str(delta.get("type")))
        if key is not None:
            self.add_text(delta.get(key))
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
        if not any(key.endswith("_tokens") for key in self._usage):
            return None
        self._price_context()
        counts = self._counted(self._usage)
        if not self._final and self._streamed():
            counts["output_tokens"] = max(counts["output_tokens"] or 0, estimated_tokens(self.text_bytes))
        self._iterations()
        return counts

    def _streamed(self) -> bool:
        return self.finish_reason is None

    def _price_context(self) -> None:
        context = self.price_context
        if self.service_tier == "batch":
            context["processing"] = "batch"
        elif self.service_tier and self.service_tier != "standard":
            context["service_tier"] = self.service_tier
        for key in ("speed", "inference_geo"):
            if value := text(self._usage.get(key)):
                context[key] = value

    def _counted(self, usage: JsonObject) -> dict[str, Count | None]:
        read = count(usage.get("cache_read_input_tokens"))
        written = count(usage.get("cache_creation_input_tokens"))
        uncached = count(usage.get("input_tokens"))
        split = obj(usage.get("cache_creation"))
        short = count(split.get("ephemeral_5m_input_tokens"))
        long = count(split.get("ephemeral_1h_input_tokens"))
        if written is None:
            written = total_of(short, long)
        elif split and (covered := (short or 0) + (long or 0)) < written:
            # the split comes only in message_start, and server tools write more cache after it
            detail = (
                f"cache_creation splits {covered} of {written} cache_creation_input_tokens; the rest is left unsplit"
            )
            self.flag("details_incomplete", "cache_write_tokens", detail)
        if uncached is None and count(usage.get("output_tokens")) is not None:
            self.flag("count_absent", "input_tokens", "the provider counted output but no input_tokens")
        server = obj(usage.get("server_tool_use"))
        return {
            "input_tokens": total_of(uncached, read, written),
            "cache_read_tokens": read,
            "cache_write_tokens": written,
            "cache_write_5m_tokens": short,
            "cache_write_1h_tokens": long,
            "output_tokens": count(usage.get("output_tokens")),
            "output_reasoning_tokens": count(obj(usage.get("output_tokens_details")).get("thinking_tokens")),
            "web_searches": count(server.get("web_search_requests")),
        }

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
            usage, clamped = consistent(self._counted(entry))
            self.contradictions.extend(clamped)
            billed = kind != "message" or bool(usage.output_tokens)
            model = text(entry.get("model")) or asked
            self.extra_parts.append(PartReading(model=model, usage=usage, billed=billed, kind=kind))


class AnthropicComplete(Format):
    """https://docs.anthropic.com/en/api/complete (read 2026-11): states no usage at all."""

    def document(self, body: JsonObject) -> None:
        self.identify(body)
        self.add_text(body.get("completion"))
        self.finish_reason = text(body.get("stop_reason")) or self.finish_reason
        self.ended = self.finish_reason is not None

    def event(self, name: bytes, body: JsonObject) -> IdleText | None:
        if not self.fail(body) and body.get("type") in ("completion", None):
            self.document(body)
        return None

    def counts(self) -> dict[str, Count | None] | None:
        return None
