"""OpenAI's Chat Completions and legacy Completions, in the dialects of all who speak them.

Usage stands at the top of a whole body. In a stream it comes in one chunk without choices, on the chunk with the finish
reason, on every chunk (running), or only for those who asked; the last usage that is not null counts, field by field.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import msgspec
from msgspec import UNSET, UnsetType

from taximeter.event import ToolCall
from taximeter.usage import Count, Usage, consistent
from taximeter.wire.dialects import Dialect, count_plain, count_usage, dialect_of, stated_cost
from taximeter.wire.format import MAX_TOOL_CALLS, Format, Route, wrong_counts
from taximeter.wire.idle import UNUSUAL, IdleText
from taximeter.wire.keeping import KeptAnswer
from taximeter.wire.loose import UNDECODED, JsonObject, arr, dump, maybe_obj, moment, obj, text, utf8_len
from taximeter.wire.reading import PartReading, Reading

_THOUGHT_KEYS = ("reasoning_content", "reasoning")
_TEXT_KEYS = ("content", *_THOUGHT_KEYS, "text")
_DONE = b"[DONE]"


class _Function(msgspec.Struct, gc=False):
    name: str
    arguments: str


class _Call(msgspec.Struct, gc=False):
    function: _Function
    id: str | None = None


class _Message(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_Call] | None = None
    text: None = None
    function_call: None = None


class _Choice(msgspec.Struct, gc=False):
    message: _Message
    finish_reason: str | None = None
    text: None = None
    usage: None = None


class _Whole(msgspec.Struct, gc=False):
    """A whole body that is what most are: where ``None`` alone is allowed, anything else is unusual."""

    choices: tuple[_Choice]
    usage: JsonObject
    model: str | None = None
    id: str | None = None
    created: int | None = None
    service_tier: str | None = None
    usage_breakdown: None = None
    error: None = None
    type: None = None


class _Delta(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: None = None
    text: None = None
    function_call: None = None


class _Streamed(msgspec.Struct, gc=False):
    delta: _Delta
    finish_reason: str | None = None
    message: None = None
    text: None = None
    usage: UnsetType = UNSET


class _Chunk(msgspec.Struct, gc=False):
    """A chunk of a stream that is what most are, as :class:`_Whole`."""

    choices: list[_Streamed]
    model: str | None = None
    id: str | None = None
    created: int | None = None
    service_tier: str | None = None
    usage: JsonObject | None = None
    obfuscation: str | UnsetType = UNSET
    usage_breakdown: None = None
    x_groq: None = None
    error: None = None


_decode_chunk = msgspec.json.Decoder(_Chunk, float_hook=Decimal).decode
_decode = msgspec.json.Decoder(_Whole, float_hook=Decimal).decode
_PLAIN_USAGE = frozenset(
    {
        "prompt_tokens",
        "prompt_tokens_details",
        "completion_tokens",
        "completion_tokens_details",
        "total_tokens",
    }
)
_USUAL_USAGE = _PLAIN_USAGE | {
    *("queue_time", "prompt_time", "completion_time", "total_time"),  # Groq
    *("prompt_cache_hit_tokens", "prompt_cache_miss_tokens"),  # DeepSeek
    *("cached_tokens", "num_cached_tokens"),  # Moonshot, Together; Mistral
    *("latency_checkpoint", "audio_prompt_tokens", "num_sources_used"),  # Azure
}


def usual_chat(route: Route, body: bytes) -> Reading | None:
    """A whole body of Chat Completions that is what most are; see :attr:`Format.usual`."""
    try:
        found = _decode(body)
    except UNDECODED:
        return None
    stated = found.usage
    if not stated.keys() <= _PLAIN_USAGE and (not stated.keys() <= _USUAL_USAGE or wrong_counts(stated)):
        return None
    counts = count_plain(stated, dialect_of(route.provider))
    if counts is None or None in stated.values():
        return None
    message = found.choices[0].message
    text_bytes = sum(map(utf8_len, filter(None, (message.content, message.reasoning_content, message.reasoning))))
    tool_calls: tuple[ToolCall, ...] = ()
    if message.tool_calls:
        if len(message.tool_calls) > MAX_TOOL_CALLS:
            return None
        tool_calls = tuple(
            ToolCall(call.id or None, call.function.name, utf8_len(call.function.arguments))
            for call in message.tool_calls
        )
        text_bytes += sum(call.argument_bytes for call in tool_calls)
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
        finish_reason=found.choices[0].finish_reason or None,
        tool_calls=tool_calls,
        created=moment(found.created),
        text_bytes=text_bytes,
    )


class OpenAIChat(Format):
    """https://platform.openai.com/docs/api-reference/chat (read 2026-11)."""

    usual = staticmethod(usual_chat)

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

    def usual_event(self, name: bytes, data: bytes) -> IdleText | None:
        try:
            chunk = _decode_chunk(data)
        except UNDECODED:
            return UNUSUAL
        model = chunk.model
        quiet = model == self.response_model and model is not None
        self.response_model = model or self.response_model
        self.response_id = chunk.id or self.response_id
        self.created = self.created or moment(chunk.created)
        self.service_tier = chunk.service_tier or self.service_tier
        if chunk.usage:
            self._take_usage(chunk.usage)
            quiet = False
        said: list[str] = []
        for choice in chunk.choices:
            if choice.finish_reason:
                self.finish_reason = self.finish_reason or choice.finish_reason
                self.ended = True
                quiet = False
            delta = choice.delta
            for key, value in (
                ("content", delta.content),
                ("reasoning_content", delta.reasoning_content),
                ("reasoning", delta.reasoning),
            ):
                if value is not None:
                    self.text_bytes += utf8_len(value)
                    said.append(key if value else "")
        if not quiet or len(chunk.choices) != 1 or len(said) != 1 or not said[0]:
            return None
        return IdleText(said[0].encode(), None if chunk.obfuscation is UNSET else b"obfuscation")

    def marker(self, data: bytes) -> None:
        self.ended = self.ended or data == _DONE

    def _read(self, body: JsonObject) -> IdleText | None:
        quiet = body.get("model") == self.response_model and self.response_model is not None
        if not (quiet and self.created and body.get("id") == self.response_id and not body.get("service_tier")):
            self.identify(body)
        usage = maybe_obj(body.get("usage")) or ("x_groq" in body and maybe_obj(obj(body["x_groq"]).get("usage")))
        if usage:
            self._take_usage(usage)
            quiet = False
        if "usage_breakdown" in body:
            breakdown = arr(obj(body["usage_breakdown"]).get("models"))
            self._breakdown = [obj(each) for each in breakdown] or self._breakdown
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
        index = choice.get("index")
        index = index if isinstance(index, int) else 0
        for key in _THOUGHT_KEYS:
            if key in message:
                self.add_text(message[key])
        for value in (message.get("content"), message.get("text"), choice.get("text")):
            if value is not None:
                self.add_answer(value, index)
        if self.answer is not None:
            self._keep_others(self.answer, message, index)
        calls = arr(message.get("tool_calls"))
        for place, each in enumerate(calls):
            self._tool(index, place, obj(each), whole=whole is not None)
        legacy = obj(message.get("function_call"))
        if legacy:
            self.add_tool((index, "legacy"), None, legacy.get("name"), legacy.get("arguments"))
        if "usage" in choice and (usage := maybe_obj(choice["usage"])) is not None:  # Moonshot's older API
            self._take_usage(usage)
        return finish is None and not calls and not legacy and "usage" not in choice

    @staticmethod
    def _keep_others(answer: KeptAnswer, message: JsonObject, choice: int) -> None:
        """Texts that are not counted: a refusal, and an answer in parts (Mistral's, of which some are thoughts)."""
        for said in (message.get("refusal"), *(obj(part).get("text") for part in arr(message.get("content")))):
            if isinstance(said, str):
                answer.add(said, choice)

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
        return keys[0].encode() if message[keys[0]] else None  # nobody repeats an empty text
    return b"text" if not message and isinstance(choice.get("text"), str) else None


def _counts_anything(usage: JsonObject) -> bool:
    return "prompt_tokens" in usage or any("tokens" in key or "seconds" in key for key in usage)
