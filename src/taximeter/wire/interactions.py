"""Gemini's Interactions: thoughts are outside the output, what tools put in is outside the input."""

from __future__ import annotations

from collections.abc import Mapping

from taximeter.usage import Count
from taximeter.wire.format import Format, Route, total_of
from taximeter.wire.idle import IdleText
from taximeter.wire.loose import JsonObject, arr, count, maybe_obj, obj, text, word

_ENDS = (
    "interaction.completed",
    "interaction.complete",
    "interaction.failed",
    "interaction.cancelled",
    "interaction.incomplete",
)
_RUNNING = ("in_progress", "queued")


class GeminiInteractions(Format):
    """https://ai.google.dev/api/interactions-api (read 2026-11)."""

    def __init__(self, route: Route, headers: Mapping[str, str]) -> None:
        super().__init__(route, headers)
        self._usage: JsonObject = {}

    def document(self, body: JsonObject) -> None:
        self._interaction(body)
        for index, step in enumerate(arr(body.get("steps")) or arr(body.get("outputs"))):
            self._step(index, obj(step))

    def event(self, name: bytes, body: JsonObject) -> IdleText | None:
        kind = text(body.get("event_type")) or text(body.get("type")) or name.decode("utf-8", "replace")
        delta = obj(body.get("delta"))
        if kind in ("step.delta", "content.delta"):
            return self._delta(body.get("index"), delta)
        if kind in ("step.start", "content.start"):
            self._step(body.get("index"), obj(body.get("step")) or obj(body.get("content")))
        elif kind == "error":
            self.fail({"error": body.get("error") or body})
        if isinstance(body.get("interaction"), dict):
            self._interaction(obj(body["interaction"]))
        running = maybe_obj(obj(body.get("metadata")).get("usage"))
        if running is not None:
            self._take_usage(running)
        self.ended = self.ended or kind in _ENDS
        return None

    def marker(self, data: bytes) -> None:
        self.ended = self.ended or data == b"[DONE]"

    def _interaction(self, body: JsonObject) -> None:
        self.identify(body)
        status = word(body.get("status"))
        if status is not None and status not in _RUNNING:
            self.finish_reason = status
        if isinstance(body.get("usage"), dict):
            self._take_usage(obj(body["usage"]))

    def _take_usage(self, usage: JsonObject) -> None:
        self._usage |= {key: value for key, value in usage.items() if value is not None}
        self.raw_usage = self._usage

    def _step(self, index: object, step: JsonObject) -> None:
        if step.get("type") == "function_call":
            self.add_tool(index, step.get("id"), step.get("name"), obj(step.get("arguments")) or None)
        add = self.add_text if step.get("type") == "thought" else self.add_answer
        add(step.get("text"))
        for part in arr(step.get("content")):
            add(obj(part).get("text"))

    def _delta(self, index: object, delta: JsonObject) -> IdleText | None:
        if delta.get("type") == "function_call":
            self.add_tool(index, delta.get("id"), delta.get("name"), delta.get("arguments"))
        elif isinstance(delta.get("arguments"), str):
            self.add_tool(index, None, None, delta.get("arguments"))
        elif isinstance(delta.get("text"), str):
            (self.add_answer if delta.get("type") in (None, "text") else self.add_text)(delta["text"])
            return IdleText(b"text")
        return None

    def usage_is_final(self) -> bool:
        return self.ended

    def counts(self) -> dict[str, Count | None] | None:
        usage = self._usage
        given, tools, cached, output, thoughts = (
            count(usage.get(f"total_{name}_tokens")) for name in ("input", "tool_use", "cached", "output", "thought")
        )
        if given is None and output is None:
            return None
        counts: dict[str, Count | None] = {
            "input_tokens": total_of(given, tools),
            "input_tool_tokens": tools,
            "cache_read_tokens": cached,
            "output_tokens": total_of(output, thoughts),
            "output_reasoning_tokens": thoughts,
        }
        for name, unit in (
            ("input", "input_{}_tokens"),
            ("output", "output_{}_tokens"),
            ("cached", "cache_{}_read_tokens"),
        ):
            for each in arr(usage.get(f"{name}_tokens_by_modality")):
                modality = (text(obj(each).get("modality")) or "").lower()
                if modality in ("audio", "image", "video"):
                    counts[unit.format(modality)] = count(obj(each).get("tokens"))
        if self.service_tier in ("priority", "flex"):
            self.price_context["service_tier"] = self.service_tier
        self.check_total(usage.get("total_tokens"), int((counts["input_tokens"] or 0) + (counts["output_tokens"] or 0)))
        return counts
