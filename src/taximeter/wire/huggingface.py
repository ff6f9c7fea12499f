"""Hugging Face's inference API and Cloudflare's Workers AI: bodies of many shapes, counted by few of them."""

from __future__ import annotations

from collections.abc import Mapping

from taximeter.usage import Count
from taximeter.wire.dialects import count_usage
from taximeter.wire.format import Format, Route
from taximeter.wire.idle import IdleText
from taximeter.wire.loose import JsonObject, arr, count, obj, text


class HuggingFaceInference(Format):
    """https://huggingface.co/docs/text-generation-inference (read 2026-11): counts come only with ``details``."""

    def __init__(self, route: Route, headers: Mapping[str, str]) -> None:
        super().__init__(route, headers)
        self._details: JsonObject = {}

    def document(self, body: JsonObject) -> None:
        self.add_answer(body.get("generated_text"))
        self._take_details(obj(body.get("details")))

    def event(self, name: bytes, body: JsonObject) -> IdleText | None:
        if self.fail(body):
            return None
        token = obj(body.get("token"))
        (self.add_text if token.get("special") is True else self.add_answer)(token.get("text"))
        self._take_details(obj(body.get("details")))
        self.ended = self.ended or body.get("generated_text") is not None
        return None

    def _take_details(self, details: JsonObject) -> None:
        if details:
            self._details = {
                key: details[key] for key in ("prefill", "generated_tokens", "input_length") if key in details
            }
            self.finish_reason = text(details.get("finish_reason")) or self.finish_reason
            self.raw_usage = {key: value for key, value in self._details.items() if key != "prefill"}

    def counts(self) -> dict[str, Count | None] | None:
        output = count(self._details.get("generated_tokens"))
        if output is None:
            return None
        prefill = arr(self._details.get("prefill"))
        given = count(self._details.get("input_length"))
        return {"input_tokens": len(prefill) if given is None and prefill else given, "output_tokens": output}


class CloudflareRun(Format):
    """https://developers.cloudflare.com/workers-ai (read 2026-11): the answer is wrapped in ``result``."""

    def __init__(self, route: Route, headers: Mapping[str, str]) -> None:
        super().__init__(route, headers)
        self.response_model = route.model
        self._usage: JsonObject = {}

    def document(self, body: JsonObject) -> None:
        result = obj(body.get("result")) or body
        self.add_answer(result.get("response"))
        for index, each in enumerate(arr(result.get("tool_calls"))):
            self.add_tool(index, obj(each).get("id"), obj(each).get("name"), obj(each).get("arguments"))
        if isinstance(result.get("usage"), dict):
            self._usage = obj(result["usage"])
            self.raw_usage = self._usage
        if body.get("success") is False:
            for each in arr(body.get("errors")):
                self.fail({"error": each})

    def event(self, name: bytes, body: JsonObject) -> IdleText | None:
        self.document(body)
        return None

    def marker(self, data: bytes) -> None:
        self.ended = self.ended or data == b"[DONE]"

    def usage_is_final(self) -> bool:
        return self.ended

    def counts(self) -> dict[str, Count | None] | None:
        return count_usage(self, self._usage) if self._usage else None
