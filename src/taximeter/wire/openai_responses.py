"""OpenAI's Responses, and those who speak it.

Usage comes unasked, in the terminal event; ``response.created`` carries a tier that the terminal event corrects.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from taximeter.usage import Count, consistent
from taximeter.wire.dialects import count_usage, stated_cost
from taximeter.wire.format import Format, Route, find_error
from taximeter.wire.idle import IdleText
from taximeter.wire.loose import JsonObject, arr, count, maybe_obj, moment, obj, text
from taximeter.wire.reading import PartReading

_TERMINAL: Final = {"response.completed", "response.incomplete", "response.failed", "response.cancelled"}
_TEXT_EVENTS: Final = {
    "response.output_text.delta",
    "response.refusal.delta",
    "response.reasoning_text.delta",
    "response.reasoning_summary_text.delta",
}
_CALLS: Final = {"function_call": "arguments", "custom_tool_call": "input"}
_SERVER_TOOLS: Final = {"file_search_call": "storage_searches"}


class OpenAIResponses(Format):
    """https://platform.openai.com/docs/api-reference/responses (read 2026-11)."""

    def __init__(self, route: Route, headers: Mapping[str, str]) -> None:
        super().__init__(route, headers)
        self._usage: JsonObject | None = None
        self._tool_usage: JsonObject = {}
        self._items: dict[str, int] = {}
        self._searches = 0
        self._image_model: str | None = None
        self._server_tools: dict[str, int] = {}

    def document(self, body: JsonObject) -> None:
        self._response(body)
        for index, item in enumerate(arr(body.get("output"))):
            self._item(obj(item), index)

    def event(self, name: bytes, body: JsonObject) -> IdleText | None:
        kind = text(body.get("type")) or name.decode("utf-8", "replace")
        if kind in _TEXT_EVENTS:
            self.add_text(body.get("delta"))
            return IdleText(b"delta", settled_by=(b"type", kind.encode()))
        if kind == "response.function_call_arguments.delta":
            self.add_text(body.get("delta"))
        elif kind == "response.output_item.done":
            self._item(obj(body.get("item")), body.get("output_index"))
        elif kind == "error":
            self.fail({"error": body.get("error") or body})
        elif "response" in body:
            self.ended = self.ended or kind in _TERMINAL
            response = obj(body["response"])
            self._response(response)
            if kind in _TERMINAL:
                for index, item in enumerate(arr(response.get("output"))):
                    self._item(obj(item), index)
        return None

    def _response(self, body: JsonObject) -> None:
        self.identify(body)
        self.created = self.created or moment(body.get("created_at"))
        status = text(body.get("status"))
        reason = text(obj(body.get("incomplete_details")).get("reason"))
        self.finish_reason = reason or status or self.finish_reason
        if status == "failed" or isinstance(body.get("error"), dict):
            self.error = self.error or find_error(body)
        self._tool_usage = obj(body.get("tool_usage")) or self._tool_usage
        for tool in arr(body.get("tools")):
            if obj(tool).get("type") == "image_generation":
                self._image_model = text(obj(tool).get("model")) or self._image_model
        usage = maybe_obj(body.get("usage"))
        if usage is not None:
            self._usage = usage
            self.raw_usage = self._usage
            self.provider_cost = stated_cost(self._usage) or self.provider_cost

    def _item(self, item: JsonObject, index: object) -> None:
        """An output item, whole; it may be told twice, when it is done and in the terminal event."""
        kind = text(item.get("type")) or ""
        key = text(item.get("id")) or text(item.get("call_id")) or f"{kind}/{index}"
        if key in self._items:
            return
        self._items[key] = len(self._items)
        if kind in _CALLS:
            seen = self.text_bytes
            self.add_tool(key, item.get("call_id") or item.get("id"), item.get("name"), item.get(_CALLS[kind]))
            self.text_bytes = seen
        elif kind == "web_search_call":
            action = obj(item.get("action"))
            if text(action.get("type")) in (None, "search"):
                self._searches += 1
        elif kind in _SERVER_TOOLS:
            unit = _SERVER_TOOLS[kind]
            self._server_tools[unit] = self._server_tools.get(unit, 0) + 1

    def counts(self) -> dict[str, Count | None] | None:
        if self._usage is None:
            return None
        if self.service_tier:
            self.price_context["service_tier"] = self.service_tier
        counts = count_usage(self, self._usage)
        stated = count(obj(self._tool_usage.get("web_search")).get("num_requests"))
        searches = self._searches if stated is None else stated
        if searches and "web_searches" not in counts:
            counts["web_searches"] = searches
        for unit, times in self._server_tools.items():
            counts.setdefault(unit, times)
        self._image_tool()
        return counts

    def _image_tool(self) -> None:
        """Pictures drawn by the image tool: tokens of another model, beside the usage."""
        made = obj(self._tool_usage.get("image_gen"))
        if count(made.get("total_tokens")):
            usage, clamped = consistent(image_counts(self, made))
            self.contradictions.extend(clamped)
            self.extra_parts.append(PartReading(model=self._image_model, usage=usage, kind="image_generation"))


def image_counts(call: Format, usage: JsonObject) -> dict[str, Count | None]:
    """The units of a usage object of the Images API: output without details is all image."""
    counts = count_usage(call, usage)
    if not obj(usage.get("output_tokens_details")) and counts["output_image_tokens"] is None:
        counts["output_image_tokens"] = counts["output_tokens"]
    return counts
