"""Amazon Bedrock: Converse, and InvokeModel with the body of whoever made the model.

Converse's ``inputTokens`` excludes the cache. InvokeModel states its counts in headers, or in the metrics on the last
event of a stream, whatever the body says; the body wins where it counts, since that is what its maker bills.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Final

from taximeter.errors import WireError
from taximeter.usage import Count
from taximeter.wire.anthropic import AnthropicComplete, AnthropicMessages
from taximeter.wire.format import Format, Route, estimated_tokens, total_of
from taximeter.wire.idle import IdlePattern, IdleText
from taximeter.wire.loose import JsonObject, arr, count, first_count, obj, parse, text
from taximeter.wire.openai_chat import OpenAIChat

_TTLS: Final = {"5m": "cache_write_5m_tokens", "1h": "cache_write_1h_tokens"}


class BedrockConverse(Format):
    """https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html (read 2026-11)."""

    def __init__(self, route: Route, headers: Mapping[str, str]) -> None:
        super().__init__(route, headers)
        self._usage: JsonObject | None = None
        self.response_id = headers.get("x-amzn-requestid")

    def document(self, body: JsonObject) -> None:
        self._outcome(body)
        for index, block in enumerate(arr(obj(obj(body.get("output")).get("message")).get("content"))):
            self._block(index, obj(block))

    def event(self, name: bytes, body: JsonObject) -> IdleText | None:
        # InvokeModel streams of Nova wrap the same events in an object by their name
        inner = next((key for key in body if key in _EVENTS), None) if name not in _EVENTS_BYTES else None
        if inner is not None:
            name, body = inner.encode(), obj(body[inner])
        if name == b"contentBlockDelta":
            return self._delta(body)
        if name == b"contentBlockStart":
            self._block(body.get("contentBlockIndex"), obj(body.get("start")))
        elif name in (b"messageStop", b"metadata"):
            self._outcome(body)
            self.ended = self.ended or name == b"metadata"
        return None

    def _delta(self, body: JsonObject) -> IdleText | None:
        delta = obj(body.get("delta"))
        tool = obj(delta.get("toolUse"))
        if tool:
            self.add_tool(body.get("contentBlockIndex"), None, None, tool.get("input"))
            return None
        self.add_answer(delta.get("text"))
        self.add_text(obj(delta.get("reasoningContent")).get("text"))
        return IdleText(b"text", b"p" if "p" in body else None)

    def _block(self, index: object, block: JsonObject) -> None:
        tool = obj(block.get("toolUse"))
        if tool and tool.get("type") != "server_tool_use":
            self.add_tool(index, tool.get("toolUseId"), tool.get("name"), tool.get("input"))
        self.add_answer(block.get("text"))
        self.add_text(obj(obj(block.get("reasoningContent")).get("reasoningText")).get("text"))

    def _outcome(self, body: JsonObject) -> None:
        self.finish_reason = text(body.get("stopReason")) or self.finish_reason
        tier = body.get("serviceTier")
        self.service_tier = text(obj(tier).get("type")) or text(tier) or self.service_tier
        routed = obj(obj(body.get("trace")).get("promptRouter")).get("invokedModelId")
        self.response_model = (text(routed) or "").rpartition("/")[2] or self.response_model
        if isinstance(body.get("usage"), dict):
            self._usage = obj(body["usage"])
            self.raw_usage = self._usage

    def counts(self) -> dict[str, Count | None] | None:
        usage = self._usage
        if usage is None:
            return None
        read = first_count(usage, "cacheReadInputTokens", "cacheReadInputTokenCount")
        written = first_count(usage, "cacheWriteInputTokens", "cacheWriteInputTokenCount")
        given = count(usage.get("inputTokens"))
        output = count(usage.get("outputTokens"))
        cached = (read or 0) + (written or 0)
        if "openai.gpt-5.6" in (self.route.model or "") and self.ended and 0 < cached <= (given or 0):
            # ConverseStream alone counts the cache of these models in both, the input and the total
            detail = f"inputTokens ({given}) holds the {cached} cached tokens that are listed beside it"
            self.flag("sources_disagree", "input_tokens", detail)
            given = (given or 0) - cached
        else:
            self.check_total(usage.get("totalTokens"), (given or 0) + cached + (output or 0))
        counts: dict[str, Count | None] = {
            "input_tokens": total_of(given, read, written),
            "cache_read_tokens": read,
            "cache_write_tokens": written,
            "output_tokens": output,
        }
        for each in arr(usage.get("cacheDetails")):
            unit = _TTLS.get(text(obj(each).get("ttl")) or "")
            if unit is not None:
                counts[unit] = total_of(count(counts.get(unit)), count(obj(each).get("inputTokens")))
        if self.service_tier in ("priority", "flex"):
            self.price_context["service_tier"] = self.service_tier
        return counts


_EVENTS: Final = frozenset(
    {"messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata"}
)
_EVENTS_BYTES: Final = frozenset(name.encode() for name in _EVENTS)


class BedrockInvoke(Format):
    """https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html (read 2026-11)."""

    def __init__(self, route: Route, headers: Mapping[str, str]) -> None:
        super().__init__(route, headers)
        self._vendor: Format | None = None
        self._idle = IdlePattern()
        self._metrics: JsonObject = {
            field: int(headers[name])
            for name, field in _HEADERS.items()
            if headers.get(name, "").isascii() and headers.get(name, "").isdigit() and len(headers[name]) < 16
        }
        self._streamed = False
        self._blocked = False

    def document(self, body: JsonObject) -> None:
        self._vendor = self._vendor or self.within(_vendor_of(body))
        self._vendor.document(body)

    def event(self, name: bytes, body: JsonObject) -> IdleText | None:
        self._streamed = True
        encoded = body.get("bytes")
        if name != b"chunk" or not isinstance(encoded, str):
            return None
        try:
            data = base64.b64decode(encoded)
        except (binascii.Error, ValueError) as error:
            msg = f"a chunk of InvokeModelWithResponseStream is no base64: {error}"
            raise WireError(msg) from None
        if self._idle.matches(data):
            return None
        inner = obj(parse(data))
        self._metrics = obj(inner.get("amazon-bedrock-invocationMetrics")) or self._metrics
        self.ended = self.ended or "amazon-bedrock-invocationMetrics" in inner
        self._blocked = self._blocked or inner.get("amazon-bedrock-guardrailAction") == "INTERVENED"
        self._vendor = self._vendor or self.within(_vendor_of(inner))
        idle = self._vendor.event(b"", inner)
        if idle is not None and self.answer is None:
            self._idle.learn(data, idle)
        else:
            self._idle.forget()
        return None

    def counts(self) -> dict[str, Count | None] | None:
        counts: dict[str, Count | None] | None = None
        if self._vendor is not None:
            self._vendor.text_bytes += self._idle.text_bytes
            self._idle.text_bytes = 0
            counts = self._vendor.counts()
            if self._streamed and not self._vendor.usage_is_final() and self._metrics:
                counts = None  # message_start's figures, with the metrics as the last word
            if self._streamed and self._blocked and not self._metrics:
                counts = None  # a guardrail answered in the model's stead: no model was invoked
            self.adopt(self._vendor, ended=self.ended if self._streamed else None)
            self.response_id = self.response_id or self.headers.get("x-amzn-requestid")
        stated = {unit: count(self._metrics.get(field)) for field, unit in _METRICS.items()}
        given = stated["input_tokens"]
        stated["input_tokens"] = total_of(given, stated["cache_read_tokens"], stated["cache_write_tokens"])
        return self._reconciled(counts, stated)

    def _reconciled(
        self, counts: dict[str, Count | None] | None, stated: Mapping[str, int | None]
    ) -> dict[str, Count | None] | None:
        if counts is None:
            found: dict[str, Count | None] = {unit: value for unit, value in stated.items() if value is not None}
            return found or None
        for unit in ("input_tokens", "output_tokens"):
            ours, aws = counts.get(unit), stated[unit]
            if ours is None and aws is not None:
                self.flag(
                    "count_absent", unit, f"the body does not state {unit}; {aws} is taken from Amazon's own count"
                )
                counts[unit] = aws
            elif ours is not None and aws is not None and ours != aws:
                self.flag("sources_disagree", unit, f"the body counts {ours} {unit}, Amazon {aws}; the body's is taken")
        return counts

    def usage_is_final(self) -> bool:
        return self.ended or self._vendor is None or self._vendor.usage_is_final()


_HEADERS: Final = {
    "x-amzn-bedrock-input-token-count": "inputTokenCount",
    "x-amzn-bedrock-output-token-count": "outputTokenCount",
    "x-amzn-bedrock-cache-read-input-token-count": "cacheReadInputTokenCount",
    "x-amzn-bedrock-cache-write-input-token-count": "cacheWriteInputTokenCount",
}
_METRICS: Final = {
    "inputTokenCount": "input_tokens",
    "outputTokenCount": "output_tokens",
    "cacheReadInputTokenCount": "cache_read_tokens",
    "cacheWriteInputTokenCount": "cache_write_tokens",
}


def _vendor_of(body: JsonObject) -> type[Format]:
    """The format that a body is in, as its first event or whole shows."""
    kind = body.get("type")
    if kind in ("message", "message_start"):
        return AnthropicMessages
    if "completion" in body and "stop_reason" in body:
        return AnthropicComplete
    if "choices" in body:
        return OpenAIChat
    if any(key in _EVENTS for key in body) or isinstance(body.get("output"), dict):
        return BedrockConverse
    return _OlderModels


class _OlderModels(Format):
    """Titan, Llama, Cohere and Mistral: texts of several shapes, counted in the body by some."""

    def __init__(self, route: Route, headers: Mapping[str, str]) -> None:
        super().__init__(route, headers)
        self._input: int | None = None
        self._output: int | None = None
        self._streamed = False

    def document(self, body: JsonObject) -> None:
        for each in (body, *(obj(item) for key in _LISTS for item in arr(body.get(key)))):
            for key in ("outputText", "generation", "text", "completion"):
                self.add_answer(each.get(key))
            self.finish_reason = next((found for key in _REASONS if (found := text(each.get(key)))), self.finish_reason)
            given = first_count(each, "inputTextTokenCount", "prompt_token_count")
            self._input = self._input if given is None else given
            # Llama counts up from event to event, Titan states the whole at the end
            output = first_count(each, "tokenCount", "generation_token_count", "totalOutputTextTokenCount")
            self._output = self._output if output is None else output
        self.response_id = text(body.get("id")) or self.response_id

    def event(self, name: bytes, body: JsonObject) -> IdleText | None:
        self._streamed = True
        self.document(body)
        return None

    def usage_is_final(self) -> bool:
        return self.finish_reason is not None

    def counts(self) -> dict[str, Count | None] | None:
        if self._input is None and self._output is None:
            return None
        output = self._output
        if output is None and self._streamed and not self.usage_is_final():
            output = estimated_tokens(self.text_bytes)
        return {"input_tokens": self._input, "output_tokens": output}


_LISTS = ("results", "generations", "outputs", "completions")
_REASONS = ("completionReason", "stop_reason", "finish_reason", "finishReason")
