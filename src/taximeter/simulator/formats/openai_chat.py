"""OpenAI's Chat Completions and legacy Completions, in the dialects of those who speak them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from taximeter.simulator.answer import Answer, Counts, Said, ToolUse, fragments
from taximeter.simulator.ask import Ask, Received, openai_choice, openai_tools, openai_turns, turn, whole
from taximeter.simulator.memory import Memory
from taximeter.simulator.reply import CREATED, JSON, SSE, Reply, dumps, event, padding
from taximeter.simulator.speaker import BROKEN, Speaker, error_type
from taximeter.simulator.tokens import tokens
from taximeter.wire.loose import JsonObject as Json
from taximeter.wire.loose import arr, obj, text


class _Dialect(msgspec.Struct, frozen=True):
    """How a provider differs from OpenAI.

    Attributes:
        unasked: a stream states its usage although the request does not ask for it.
        on_finish: it stands on the chunk with the finish reason, not on one of its own.
        groq: it stands in ``x_groq``.
        running: it stands on every chunk.
        reasoning_outside: ``completion_tokens`` does not hold the reasoning.
        total_holds_reasoning: but the total does.
        split: how cached tokens are told: ``details``, or DeepSeek's ``hit_and_miss``.
        charges: the usage states what the call is charged: a millionth of a dollar for each token.
        padded: chunks are padded to hide the length of their text.
        newline: how lines end.
        done: whether ``[DONE]`` ends a stream.
    """

    unasked: bool = True
    on_finish: bool = True
    groq: bool = False
    running: bool = False
    reasoning_outside: bool = False
    total_holds_reasoning: bool = True
    split: str = "details"
    charges: bool = False
    padded: bool = False
    newline: bytes = b"\n"
    done: bool = True


_OPENAI: Final = _Dialect(unasked=False, on_finish=False, padded=True)
_DIALECTS: Final[Mapping[str, _Dialect]] = {
    "openai": _OPENAI,
    "azure": _Dialect(unasked=False, on_finish=False),
    "vllm": _Dialect(unasked=False, on_finish=False),
    "ollama": _Dialect(unasked=False, on_finish=False),
    "groq": _Dialect(groq=True),
    "mistral": _Dialect(),
    "cerebras": _Dialect(),
    "together": _Dialect(),
    "fireworks": _Dialect(),
    "deepseek": _Dialect(split="hit_and_miss"),
    "xai": _Dialect(on_finish=False, reasoning_outside=True),
    "openrouter": _Dialect(on_finish=False, charges=True),
    "perplexity": _Dialect(
        running=True, reasoning_outside=True, total_holds_reasoning=False, newline=b"\r\n", done=False
    ),
}


def openai_refusal(status: int, message: str) -> Json:
    """An error as OpenAI words it."""
    code = {401: "invalid_api_key", 429: "rate_limit_exceeded"}.get(status)
    return {"error": {"message": message, "type": error_type(status), "param": None, "code": code}}


class OpenAIChat(Speaker):
    """https://platform.openai.com/docs/api-reference/chat (read 2026-11)."""

    prefix = "chatcmpl-"
    whole_kind = "chat.completion"
    chunk_kind = "chat.completion.chunk"

    def ask(self, call: Received, memory: Memory) -> Ask:
        """Messages, tools and limits."""
        del memory
        body = call.body
        return Ask(
            turns=tuple(openai_turns(body.get("messages"))),
            tools=tuple(openai_tools(body.get("tools"))),
            effort=text(body.get("reasoning_effort")) or text(obj(body.get("reasoning")).get("effort")),
            choice=openai_choice(body.get("tool_choice")),
            parallel=body.get("parallel_tool_calls") is not False,
            max_tokens=whole(body.get("max_completion_tokens"), body.get("max_tokens")),
            choices=min(whole(body.get("n")) or 1, 16),
        )

    def reply(self, call: Received, answer: Answer, memory: Memory) -> Reply:
        """One document, or a stream of chunks that ends with ``[DONE]``."""
        del memory
        dialect = _DIALECTS.get(call.route.provider, _OPENAI)
        told = not call.knobs.no_usage
        if call.stream:
            chunks, usage_at = self._stream(call, answer, dialect)
        else:
            choices = [self._whole_choice(index, said) for index, said in enumerate(answer.choices)]
            usage = {"usage": _usage(answer.counts, dialect)} if told else {}
            body = {**self._head(call, self.whole_kind), "choices": choices, **usage}
            chunks, usage_at = [dumps(body)], 0 if told else None
        return Reply(
            chunks=chunks,
            kind=SSE if call.stream else JSON,
            stream=call.stream,
            usage=None if usage_at is None else _stated(answer.counts, dialect),
            usage_at=usage_at or 0,
            broken=event(openai_refusal(500, BROKEN), newline=dialect.newline),
            response_id=self.prefix + call.id,
            model=call.model,
            tool_calls=sum(len(said.calls) for said in answer.choices),
        )

    def refusal(self, status: int, message: str) -> Json:
        """An ``error`` object."""
        return openai_refusal(status, message)

    def _head(self, call: Received, kind: str) -> Json:
        tier = text(call.body.get("service_tier"))
        tier = "default" if tier in (None, "auto") else tier
        head = {"id": self.prefix + call.id, "object": kind, "created": CREATED, "model": call.model}
        return {**head, "service_tier": tier, "system_fingerprint": "fp_simulated"}

    def _whole_choice(self, index: int, said: Said) -> Json:
        message: Json = {"role": "assistant", "content": said.text or None, "refusal": None, "annotations": []}
        if said.calls:
            message["tool_calls"] = [_tool(use, use.json) for use in said.calls]
        return {"index": index, "message": message, "logprobs": None, "finish_reason": _FINISH[said.stopped]}

    def _deltas(self, said: Said) -> Iterator[tuple[Json, str]]:
        """The pieces of one answer, each with the text in it."""
        yield {"role": "assistant", "content": None if said.calls else "", "refusal": None}, ""
        for piece in said.pieces:
            yield {"content": piece}, piece
        for number, use in enumerate(said.calls):
            yield {"tool_calls": [{"index": number, **_tool(use, "")}]}, use.name
            for part in fragments(use.json):
                yield {"tool_calls": [{"index": number, "function": {"arguments": part}}]}, part

    def _choice(self, index: int, delta: Json | None, finish: str | None) -> Json:
        return {"index": index, "delta": delta or {}, "logprobs": None, "finish_reason": finish}

    def _stream(self, call: Received, answer: Answer, dialect: _Dialect) -> tuple[list[bytes], int | None]:
        """The chunks, and which of them has stated the usage; ``None`` when none does."""
        options = obj(call.body.get("stream_options"))
        wanted = call.knobs.usage
        every = wanted == "every" or (wanted is None and dialect.running)
        asked = bool(options.get("include_usage"))
        tells = (asked or every or wanted == "always" or (wanted is None and dialect.unasked)) and (
            not call.knobs.no_usage
        )
        head = self._head(call, self.chunk_kind)
        apart = tells and not dialect.on_finish and not every
        # OpenAI's way, for those who asked: a null on every chunk but the one that has it
        null: Json = {"usage": None} if apart and asked else {}
        padded = dialect.padded and options.get("include_obfuscation") is not False
        newline = dialect.newline
        counts = answer.counts
        spoken = _usage(counts, dialect)
        chunks: list[bytes] = []
        heard = 0
        for index, said in enumerate(answer.choices):
            for number, (delta, piece) in enumerate(self._deltas(said)):
                heard += len(piece.encode())
                chunk = {**head, "choices": [self._choice(index, delta, None)], **null}
                if every and tells:
                    running = counts._replace(output=counts.reasoning + tokens("." * heard))
                    chunk["usage"] = _usage(running, dialect)
                if padded:
                    chunk["obfuscation"] = padding(call.id, 1 + (number * 5) % 16)
                chunks.append(event(chunk, newline=newline))
        for index, said in enumerate(answer.choices):
            chunk = {**head, "choices": [self._choice(index, None, _FINISH[said.stopped])], **null}
            if tells and index == len(answer.choices) - 1:
                chunk |= _last_chunk(call, spoken, dialect, every=every)
            chunks.append(event(chunk, newline=newline))
        if apart:
            chunks.append(event({**head, "choices": [], "usage": spoken}, newline=newline))
        usage_at = len(chunks) - 1 if tells else None
        if dialect.done:
            chunks.append(b"data: [DONE]" + newline + newline)
        return chunks, usage_at


def _last_chunk(call: Received, spoken: Json, dialect: _Dialect, *, every: bool) -> Json:
    """What the chunk with the finish reason says beside it."""
    if every:
        return {"usage": spoken}
    if dialect.groq:
        return {"x_groq": {"id": f"req_{call.id}", "usage": spoken}}
    return {"usage": spoken} if dialect.on_finish else {}


def _tool(use: ToolUse, arguments: str) -> Json:
    return {"id": f"call_{use.serial}", "type": "function", "function": {"name": use.name, "arguments": arguments}}


_FINISH: Final = {"stop": "stop", "length": "length", "tools": "tool_calls"}


def _usage(counts: Counts, dialect: _Dialect) -> Json:
    """The usage object."""
    completion = counts.output - (counts.reasoning if dialect.reasoning_outside else 0)
    total = counts.input + (counts.output if dialect.total_holds_reasoning else completion)
    usage: Json = {"prompt_tokens": counts.input, "completion_tokens": completion, "total_tokens": total}
    if dialect.charges:
        # openrouter.ai/docs/use-cases/usage-accounting (read 2026-11): a JSON number, of exact digits here
        usage |= {"cost": msgspec.Raw(b"%d.%06d" % divmod(counts.total, 1_000_000)), "is_byok": False}
    output = {"reasoning_tokens": counts.reasoning, "audio_tokens": 0}
    usage["completion_tokens_details"] = output | {"accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}
    if dialect.split == "hit_and_miss":
        fresh = counts.input - counts.read
        return usage | {"prompt_cache_hit_tokens": counts.read, "prompt_cache_miss_tokens": fresh}
    return usage | {"prompt_tokens_details": {"cached_tokens": counts.read, "audio_tokens": 0}}


def _stated(counts: Counts, dialect: _Dialect) -> dict[str, int]:
    """The same in our units."""
    stated = {
        "input_tokens": counts.input,
        "cache_read_tokens": counts.read,
        "output_tokens": counts.output,
        "output_reasoning_tokens": counts.reasoning,
        "output_audio_tokens": 0,
    }
    return stated if dialect.split == "hit_and_miss" else stated | {"input_audio_tokens": 0}


class OpenAICompletions(OpenAIChat):
    """https://platform.openai.com/docs/api-reference/completions (read 2026-11)."""

    prefix = "cmpl-"
    whole_kind = "text_completion"
    chunk_kind = "text_completion"

    def ask(self, call: Received, memory: Memory) -> Ask:
        """A prompt; token ids in it are four bytes each."""
        del memory
        prompt = call.body.get("prompt")
        texts = ["...." if isinstance(each, int) else each for each in arr(prompt)] or [prompt]
        said = "".join(each for each in texts if isinstance(each, str))
        limit = whole(call.body.get("max_tokens")) or 16
        return Ask(turns=(turn("user", said),), max_tokens=limit, choices=min(whole(call.body.get("n")) or 1, 16))

    def _whole_choice(self, index: int, said: Said) -> Json:
        return {"index": index, "text": said.text, "logprobs": None, "finish_reason": _FINISH[said.stopped]}

    def _deltas(self, said: Said) -> Iterator[tuple[Json, str]]:
        for piece in said.pieces:
            yield {"text": piece}, piece

    def _choice(self, index: int, delta: Json | None, finish: str | None) -> Json:
        return {"index": index, "text": (delta or {}).get("text", ""), "logprobs": None, "finish_reason": finish}
