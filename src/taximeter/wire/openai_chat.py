"""OpenAI's Chat Completions and legacy Completions, in the dialects of all who speak them.

Usage stands at the top of a whole body. In a stream it comes in one chunk without choices, on the chunk with the finish
reason, on every chunk (running), or only for those who asked; the last usage that is not null counts, field by field.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from taximeter.usage import Count, Usage, consistent
from taximeter.wire.dialects import Dialect, count_usage, dialect_of, stated_cost
from taximeter.wire.format import Format, Route
from taximeter.wire.idle import IdleText
from taximeter.wire.loose import JsonObject, arr, maybe_obj, obj, text
from taximeter.wire.reading import PartReading

_TEXT_KEYS = ("content", "reasoning_content", "reasoning", "text")
_DONE = b"[DONE]"


class OpenAIChat(Format):
    """https://platform.openai.com/docs/api-reference/chat (read 2026-11)."""

    def __init__(self, route: Route, headers: Mapping[str, str]) -> None:
        super().__init__(route, headers)
        self._dialect: Dialect = dialect_of(route.provider)
        self._usage: JsonObject = {}
        self._breakdown: list[JsonObject] = []

    def document(self, body: JsonObject) -> None:
        self._read(body)

    def event(self, name: bytes, body: JsonObject) -> IdleText | None:
        failed = "error" in body and self.fail(body)
        idle = self._read(body)  # OpenRouter's error stands beside a choice with the finish reason ``error``
        return None if failed else idle

    def marker(self, data: bytes) -> None:
        self.ended = self.ended or data == _DONE

    def _read(self, body: JsonObject) -> IdleText | None:
        quiet = body.get("model") == self.response_model and self.response_model is not None
        self.identify(body)
        usage = maybe_obj(body.get("usage")) or maybe_obj(obj(body.get("x_groq")).get("usage"))
        if usage is not None:
            self._take_usage(usage)
            quiet = False
        breakdown = arr(obj(body.get("usage_breakdown")).get("models"))
        if breakdown:
            self._breakdown = [obj(each) for each in breakdown]
        choices = arr(body.get("choices"))
        for choice in choices:
            quiet = self._choice(obj(choice)) and quiet
        if not quiet or len(choices) != 1 or (key := _only_text(obj(choices[0]))) is None:
            return None
        return IdleText(key, b"obfuscation" if "obfuscation" in body else None)

    def _choice(self, choice: JsonObject) -> bool:
        """Reads one choice; whether it held nothing but text."""
        finish = text(choice.get("finish_reason"))
        if finish is not None:
            self.finish_reason = self.finish_reason or finish
            self.ended = True
        whole = maybe_obj(choice.get("message"))
        message = obj(choice.get("delta")) if whole is None else whole
        self.add_text(*(message.get(key) for key in _TEXT_KEYS), choice.get("text"))
        index = choice.get("index") if isinstance(choice.get("index"), int) else 0
        calls = arr(message.get("tool_calls"))
        for place, each in enumerate(calls):
            self._tool(index, place, obj(each), whole=whole is not None)
        legacy = obj(message.get("function_call"))
        if legacy:
            self.add_tool((index, "legacy"), None, legacy.get("name"), legacy.get("arguments"))
        usage = maybe_obj(choice.get("usage"))
        if usage is not None:  # Moonshot's older API
            self._take_usage(usage)
        return finish is None and not calls and not legacy and "usage" not in choice

    def _tool(self, choice: object, place: int, call: JsonObject, *, whole: bool) -> None:
        position = call.get("index")
        key: object = position if isinstance(position, int) and not whole else place
        if not whole and self._dialect.tool_calls_whole:
            key = len(self.tools)
        function = obj(call.get("function")) or obj(call.get("custom"))
        arguments = function.get("arguments", function.get("input"))
        self.add_tool((choice, key), call.get("id"), function.get("name"), arguments)

    def _take_usage(self, usage: JsonObject) -> None:
        # A later usage replaces the former field by field: running ones repeat all, some send null for what is to come.
        self._usage |= {key: value for key, value in usage.items() if value is not None}
        self.raw_usage = self._usage
        self.service_tier = text(usage.get("service_tier")) or self.service_tier
        self.provider_cost = stated_cost(usage) or self.provider_cost

    def usage_is_final(self) -> bool:
        return self.ended  # until the finish reason has come, usage is a running count

    def counts(self) -> dict[str, Count | None] | None:
        if not _counts_anything(self._usage):
            return None
        if self.service_tier:
            self.price_context["service_tier"] = self.service_tier
        counted = count_usage(self, self._usage, self._dialect)
        if self._breakdown:
            self._split_by_model(counted)
        return counted

    def _split_by_model(self, whole: Mapping[str, Count | None]) -> None:
        """Groq's compound systems are billed by the models that they call; the top-level usage is their sum."""
        parts = [
            PartReading(
                model=text(each.get("model")),
                usage=consistent(count_usage(self, obj(each.get("usage")), self._dialect))[0],
            )
            for each in self._breakdown
        ]
        counted = Usage.total(part.usage for part in parts if part.usage is not None)
        if (counted.input_tokens, counted.output_tokens) == (whole.get("input_tokens"), whole.get("output_tokens")):
            self.first_part_billed = False
            self.extra_parts = [*parts]
        else:
            detail = f"the usage by model sums to {dict(counted)}, the call's is {dict(whole)}"
            self.flag("sources_disagree", "input_tokens", detail)


class OpenAICompletions(OpenAIChat):
    """https://platform.openai.com/docs/api-reference/completions (read 2026-11): ``text`` instead of messages."""


def _only_text(choice: JsonObject) -> bytes | None:
    """The key of the one text that a choice holds."""
    message = obj(choice.get("delta"))
    keys = [key for key in _TEXT_KEYS if isinstance(message.get(key), str)]
    if len(keys) == 1:
        return keys[0].encode()
    return b"text" if not message and isinstance(choice.get("text"), str) else None


_COUNT_KEY = re.compile(r"tokens|seconds")


def _counts_anything(usage: JsonObject) -> bool:
    return any(_COUNT_KEY.search(key) for key in usage)
