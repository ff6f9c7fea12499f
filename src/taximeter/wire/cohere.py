"""Cohere's chat (v1 and v2), embed and rerank, and the other shapes that rerank comes in.

What is billed is ``billed_units``; ``tokens`` beside it includes the template and is not charged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taximeter.event import ProviderError
from taximeter.usage import Count
from taximeter.wire.dialects import count_usage
from taximeter.wire.format import Format, Route
from taximeter.wire.idle import IdleText
from taximeter.wire.loose import JsonObject, arr, count, obj, text, usd


class _BilledUnits(Format):
    """Formats whose usage is an object with ``billed_units``."""

    def __init__(self, route: Route, headers: Mapping[str, str]) -> None:
        super().__init__(route, headers)
        self._billed: JsonObject | None = None

    def take_meta(self, body: JsonObject) -> None:
        """Finds ``billed_units`` where v2, v1 and the oldest bodies put it."""
        for holder in (body.get("usage"), body.get("meta"), body.get("token_count")):
            meta = obj(holder)
            if isinstance(meta.get("billed_units"), dict):
                self._billed = obj(meta["billed_units"])
                self.raw_usage = meta
                return
            billed, output = count(meta.get("billed_tokens")), count(meta.get("response_tokens"))
            if billed is not None and output is not None and billed >= output:
                self._billed = {"input_tokens": billed - output, "output_tokens": output}
                self.raw_usage = meta

    def event(self, name: bytes, body: JsonObject) -> IdleText | None:
        self.document(body)
        return None

    def counts(self) -> dict[str, Count | None] | None:
        if not self._billed:
            return None
        counts: dict[str, Count | None] = {
            "input_tokens": count(self._billed.get("input_tokens")),
            "output_tokens": count(self._billed.get("output_tokens")),
            "input_image_tokens": count(self._billed.get("image_tokens")),
            "rerank_searches": count(self._billed.get("search_units")),
        }
        if counts["input_image_tokens"] is not None:  # listed beside the text's tokens
            counts["input_tokens"] = (counts["input_tokens"] or 0) + counts["input_image_tokens"]
        return counts


class CohereChat(_BilledUnits):
    """https://docs.cohere.com/reference/chat and …/chat-stream, v1 and v2 (read 2026-11)."""

    line_stream = True

    def document(self, body: JsonObject) -> None:
        self.take_meta(body)
        self.response_id = text(body.get("id")) or text(body.get("generation_id")) or self.response_id
        self.finish_reason = text(body.get("finish_reason")) or self.finish_reason
        message = obj(body.get("message"))
        self.add_answer(body.get("text"))
        self.add_text(message.get("tool_plan"))
        for block in arr(message.get("content")):
            self.add_answer(obj(block).get("text"))
            self.add_text(obj(block).get("thinking"))
        self._tool_calls(arr(message.get("tool_calls")) or arr(body.get("tool_calls")))

    def event(self, name: bytes, body: JsonObject) -> IdleText | None:
        kind = text(body.get("type")) or text(body.get("event_type")) or name.decode("utf-8", "replace")
        delta = obj(body.get("delta"))
        message = obj(delta.get("message"))
        match kind:
            case "content-delta":
                content = obj(message.get("content"))
                self.add_answer(content.get("text"))
                self.add_text(content.get("thinking"))
                return IdleText(b"text")
            case "tool-plan-delta":
                self.add_text(message.get("tool_plan"))
                return IdleText(b"tool_plan")
            case "text-generation":
                self.add_answer(body.get("text"))
                return IdleText(b"text")
            case "tool-call-start" | "tool-call-delta":
                self._tool_piece(body.get("index"), obj(message.get("tool_calls")))
            case "tool-calls-generation":
                self._tool_calls(arr(body.get("tool_calls")))
            case "message-start" | "stream-start":
                self.response_id = text(body.get("id")) or text(body.get("generation_id"))
            case "message-end":
                self._end(delta)
            case "stream-end":
                self._end(obj(body.get("response")) | {"finish_reason": body.get("finish_reason")})
            case _:
                self.fail(body)
        return None

    def _end(self, body: JsonObject) -> None:
        self.ended = True
        self.finish_reason = text(body.get("finish_reason")) or self.finish_reason
        self.take_meta(body)
        failed = text(body.get("error"))
        if failed is not None:
            self.error = ProviderError(type=text(body.get("error_type")), message=failed)

    def _tool_piece(self, index: object, call: JsonObject) -> None:
        function = obj(call.get("function"))
        self.add_tool(index, call.get("id"), function.get("name"), function.get("arguments"))

    def _tool_calls(self, calls: list[Any]) -> None:
        for index, each in enumerate(calls):
            call = obj(each)
            function = obj(call.get("function")) or call
            self.add_tool(
                index, call.get("id"), function.get("name"), function.get("arguments", function.get("parameters"))
            )


class CohereEmbed(_BilledUnits):
    """https://docs.cohere.com/reference/embed (read 2026-11)."""

    def document(self, body: JsonObject) -> None:
        self.response_id = text(body.get("id"))
        self.take_meta(body)


class Rerank(_BilledUnits):
    """Cohere's rerank (search units), and Jina's, Voyage's and llama.cpp's (tokens)."""

    def __init__(self, route: Route, headers: Mapping[str, str]) -> None:
        super().__init__(route, headers)
        self._usage: JsonObject = {}

    def document(self, body: JsonObject) -> None:
        self.identify(body)
        self.take_meta(body)
        if self._billed is None and isinstance(body.get("usage"), dict):
            self._usage = obj(body["usage"])
            self.raw_usage = self._usage
            self.provider_cost = usd(self._usage.get("cost"))

    def counts(self) -> dict[str, Count | None] | None:
        billed = super().counts()
        if billed is not None or not self._usage:
            return billed
        counts = count_usage(self, self._usage)
        counts["rerank_searches"] = count(self._usage.get("search_units"))
        return counts if any(value is not None for value in counts.values()) else None
