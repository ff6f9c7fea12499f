"""OpenAI's Responses, and those who speak it.

Usage comes unasked, in the terminal event; ``response.created`` carries a tier that the terminal event corrects.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

import msgspec

from taximeter.event import ToolCall
from taximeter.usage import Count, consistent
from taximeter.wire.dialects import count_plain, count_usage, stated_cost
from taximeter.wire.format import MAX_TOOL_CALLS, Format, Route, find_error, silent
from taximeter.wire.idle import UNUSUAL, IdleText
from taximeter.wire.loose import UNDECODED, JsonObject, arr, count, dump, maybe_obj, moment, obj, text, utf8_len
from taximeter.wire.reading import PartReading, Reading

_TERMINAL: Final = {"response.completed", "response.incomplete", "response.failed", "response.cancelled"}
_RESPONSE_EVENTS: Final = {"response.created", "response.in_progress", "response.queued", *_TERMINAL}
_ANSWER_EVENTS: Final = {"response.output_text.delta", "response.refusal.delta"}
_TEXT_EVENTS: Final = {
    *_ANSWER_EVENTS,
    "response.reasoning_text.delta",
    "response.reasoning_summary_text.delta",
}
_CALLS: Final = {"function_call": "arguments", "custom_tool_call": "input"}
_IMAGE_TOOL: Final = "image_generation"
_SERVER_TOOLS: Final = {"file_search_call": "storage_searches"}


class _Item(msgspec.Struct, gc=False):
    type: str
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None


class _Offered(msgspec.Struct, gc=False):
    type: str


class _Whole(msgspec.Struct, gc=False):
    """A whole body that is what most are: where ``None`` alone is allowed, anything else is unusual."""

    output: list[_Item]
    usage: JsonObject | None = None
    model: str | None = None
    id: str | None = None
    created_at: int | None = None
    status: str | None = None
    service_tier: str | None = None
    tools: list[_Offered] | None = None
    created: None = None
    incomplete_details: None = None
    tool_usage: None = None
    error: None = None
    type: None = None


class _Event(msgspec.Struct, gc=False):
    """An event of a stream, its parts as they usually are."""

    type: str
    response: _Whole | None = None
    delta: str | None = None
    item: _Item | None = None
    output_index: int | None = None


_decode_event = msgspec.json.Decoder(_Event, float_hook=Decimal).decode
_decode = msgspec.json.Decoder(_Whole, float_hook=Decimal).decode
_PLAIN_ITEMS: Final = {"message", "reasoning"}
_USUAL_ITEMS: Final = {*_PLAIN_ITEMS, "function_call"}
_USUAL_USAGE: Final = frozenset(
    {"input_tokens", "input_tokens_details", "output_tokens", "output_tokens_details", "total_tokens"}
)


def usual_response(_route: Route, body: bytes) -> Reading | None:
    """A whole body of Responses that is what most are; see :attr:`Format.usual`."""
    try:
        found = _decode(body)
    except UNDECODED:
        return None
    stated = found.usage
    counts = count_plain(stated) if stated is not None and stated.keys() <= _USUAL_USAGE else None
    if counts is None or _is_unusual(found):
        return None
    tool_calls: list[ToolCall] = []
    keys: set[str] = set()
    for index, item in enumerate(found.output):
        keys.add(item.id or item.call_id or f"{item.type}/{index}")
        if item.type == "function_call" and item.name is not None:
            size = utf8_len(item.arguments or "")
            tool_calls.append(ToolCall(item.call_id or item.id or None, item.name, size))
        elif item.type not in _USUAL_ITEMS or item.name is not None:
            return None
    if len(keys) != len(found.output) or len(keys) > MAX_TOOL_CALLS:
        return None
    usage, clamped = consistent(counts)
    model, tier = found.model or None, found.service_tier or None
    return Reading(
        usage=usage,
        usage_source="reported",
        raw_usage=dump(stated),
        contradictions=clamped,
        parts=(PartReading(model, usage),),
        response_model=model,
        response_id=found.id or None,
        service_tier=tier,
        price_context=(("service_tier", tier),) if tier else (),
        finish_reason=found.status or None,
        tool_calls=tuple(tool_calls),
        created=moment(found.created_at),
    )


def _is_unusual(response: _Whole) -> bool:
    return response.status == "failed" or any(tool.type == _IMAGE_TOOL for tool in response.tools or ())


class OpenAIResponses(Format):
    """https://platform.openai.com/docs/api-reference/responses (read 2026-11)."""

    silent = silent(
        "response.output_item.added",
        "response.content_part.added",
        "response.content_part.done",
        "response.output_text.done",
        "response.refusal.done",
        "response.reasoning_text.done",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_part.done",
        "response.reasoning_summary_text.done",
        "response.function_call_arguments.done",
    )
    usual = staticmethod(usual_response)

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
        self._output(body)

    def event(self, name: bytes, body: JsonObject) -> IdleText | None:
        kind = text(body.get("type")) or name.decode("utf-8", "replace")
        if kind in _TEXT_EVENTS:
            if kind in _ANSWER_EVENTS:
                self.add_answer(body.get("delta"), body.get("output_index"))
            else:
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
                self._output(response)
        return None

    def usual_event(self, name: bytes, data: bytes) -> IdleText | None:
        try:
            event = _decode_event(data)
        except UNDECODED:
            return UNUSUAL
        kind, response, item = event.type, event.response, event.item
        if kind in _TEXT_EVENTS:
            self.add_text(event.delta)
            return IdleText(b"delta", settled_by=(b"type", kind.encode()))
        if kind == "response.output_item.done" and item is not None:
            return None if self._tell_plain(item, event.output_index) else UNUSUAL
        if response is None or _is_unusual(response) or kind not in _RESPONSE_EVENTS:
            return UNUSUAL
        if any(item.type not in _PLAIN_ITEMS for item in response.output):
            return UNUSUAL
        if kind in _TERMINAL:
            self.ended = True
            for index, item in enumerate(response.output):
                self._tell_plain(item, index)
        self.response_model = response.model or self.response_model
        self.response_id = response.id or self.response_id
        self.created = self.created or moment(response.created_at)
        self.service_tier = response.service_tier or self.service_tier
        self.finish_reason = response.status or self.finish_reason
        if response.usage is not None:
            self._take_usage(response.usage)
        return None

    def _tell_plain(self, item: _Item, index: object) -> bool:
        """Notes an item of which nothing is asked but that it was told."""
        if item.type not in _PLAIN_ITEMS:
            return False
        self._items.setdefault(item.id or item.call_id or f"{item.type}/{index}", len(self._items))
        return True

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
            if obj(tool).get("type") == _IMAGE_TOOL:
                self._image_model = text(obj(tool).get("model")) or self._image_model
        usage = maybe_obj(body.get("usage"))
        if usage is not None:
            self._take_usage(usage)

    def _take_usage(self, usage: JsonObject) -> None:
        self._usage = usage
        self.raw_usage = usage
        self.provider_cost = stated_cost(usage) or self.provider_cost

    def _output(self, response: JsonObject) -> None:
        """All that was put out: the items that were not told before, and the text if none of it was."""
        items = [obj(item) for item in arr(response.get("output"))]
        for index, item in enumerate(items):
            self._item(item, index)
        if self.answer is None or self.answer:
            return
        for index, item in enumerate(items):
            for part in arr(item.get("content")) if item.get("type") == "message" else ():
                for said in (obj(part).get("text"), obj(part).get("refusal")):
                    if isinstance(said, str):
                        self.answer.add(said, index)

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
    if not obj(usage.get("output_tokens_details")) and "output_image_tokens" not in counts:
        counts["output_image_tokens"] = counts.get("output_tokens")
    return counts
