"""Ollama's own API: one JSON object a line, the last of them with ``done`` and the counts."""

from __future__ import annotations

from collections.abc import Mapping

from taximeter.usage import Count
from taximeter.wire.format import Format, Route
from taximeter.wire.idle import IdleText
from taximeter.wire.loose import JsonObject, arr, count, moment, obj, text
from taximeter.wire.openai_chat import OpenAIChat


class Ollama(Format):
    """https://github.com/ollama/ollama/blob/main/docs/api.md (read 2026-11): chat, generate and embed."""

    line_stream = True

    def __init__(self, route: Route, headers: Mapping[str, str]) -> None:
        super().__init__(route, headers)
        self._counts: JsonObject = {}
        self._openai: OpenAIChat | None = None

    def document(self, body: JsonObject) -> None:
        if "choices" in body:  # some servers answer the native path in OpenAI's shape
            self._openai = self.within(OpenAIChat)
            self._openai.document(body)
            return
        self.event(b"", body)

    def event(self, name: bytes, body: JsonObject) -> IdleText | None:
        if "choices" in body:
            self.document(body)
            return None
        if self.fail(body):
            return None
        quiet = body.get("done") is False and body.get("model") == self.response_model
        self.response_model = text(body.get("model")) or self.response_model
        self.created = self.created or moment(body.get("created_at"))
        message = obj(body.get("message"))
        self.add_answer(body.get("response"))
        self.add_answer(message.get("content"))
        self.add_text(body.get("thinking"), message.get("thinking"))
        calls = arr(message.get("tool_calls"))
        for each in calls:
            function = obj(obj(each).get("function"))
            self.add_tool(len(self.tools), obj(each).get("id"), function.get("name"), function.get("arguments"))
        if body.get("done") is True or "prompt_eval_count" in body or "embeddings" in body:
            self.ended = True
            self.finish_reason = text(body.get("done_reason")) or self.finish_reason
            self._counts = {key: value for key, value in body.items() if key.endswith(("_count", "_duration"))}
            self.raw_usage = self._counts
        if not quiet or calls or "thinking" in message or "thinking" in body:
            return None
        key = b"response" if "response" in body else b"content"
        return IdleText(key, b"created_at" if "created_at" in body else None)

    def counts(self) -> dict[str, Count | None] | None:
        if self._openai is not None:
            counts = self._openai.counts()
            self.adopt(self._openai)
            return counts
        given = count(self._counts.get("prompt_eval_count"))
        output = count(self._counts.get("eval_count"))
        if given is None and output is None:
            return None
        if given is None:  # older servers leave it out when the whole prompt was in the KV cache
            self.flag("count_absent", "input_tokens", "the last line has no prompt_eval_count")
        return {
            "input_tokens": given,
            "cache_read_tokens": count(self._counts.get("prompt_eval_cached_count")),
            "output_tokens": output,
        }
