"""Amazon Bedrock: Converse, and InvokeModel with the body of whoever made the model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from taximeter.simulator.answer import Answer, Counts, fragments
from taximeter.simulator.ask import Ask, Received, Tool, Turn, turn, whole
from taximeter.simulator.formats.anthropic import (
    anthropic_ask,
    anthropic_events,
    anthropic_message,
    anthropic_stated,
)
from taximeter.simulator.memory import Memory
from taximeter.simulator.reply import BINARY, JSON, Reply, dumps, message, padding, wrapped
from taximeter.simulator.speaker import BROKEN, Speaker
from taximeter.wire.loose import JsonObject as Json
from taximeter.wire.loose import arr, obj, text

_STOPPED: Final = {"stop": "end_turn", "length": "max_tokens", "tools": "tool_use"}
_EXCEPTIONS: Final = {
    400: "ValidationException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    429: "ThrottlingException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
}


class _Bedrock(Speaker):
    def refusal(self, status: int, message: str) -> Json:
        """A sentence; the kind of the exception stands in ``__type``, as it does in a header."""
        return {"message": message, "__type": _EXCEPTIONS.get(status, "InternalServerException")}


def _failed() -> bytes:
    return message("modelStreamErrorException", {"message": BROKEN, "originalStatusCode": 500}, "exception")


class BedrockConverse(_Bedrock):
    """https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html (read 2026-11)."""

    def ask(self, call: Received, memory: Memory) -> Ask:
        """System, messages and tools; only what a cachePoint marks is cached."""
        del memory
        return _converse_ask(call.body)

    def reply(self, call: Received, answer: Answer, memory: Memory) -> Reply:
        """A message, or binary events the last of which has the usage."""
        del memory
        told = not call.knobs.no_usage
        if call.stream:
            chunks = [_padded(name, each) for name, each in _events(answer, told=told)]
        else:
            chunks = [dumps(_message(answer, told=told))]
        return Reply(
            chunks=chunks,
            kind=BINARY if call.stream else JSON,
            stream=call.stream,
            usage=_stated(answer.counts) if told else None,
            usage_at=len(chunks) - 1,
            broken=_failed(),
            response_id=call.id,
            tool_calls=len(answer.first.calls),
            headers=(("x-amzn-requestid", call.id),),
        )


def _padded(name: str, event: Json) -> bytes:
    return message(name, {**event, "p": padding("abcdefghijklmnopqrstuvwxyz", 1 + len(name) % 20)})


def _converse_ask(body: Json) -> Ask:
    config = obj(body.get("inferenceConfig"))
    tools = obj(body.get("toolConfig"))
    chosen = obj(tools.get("toolChoice"))
    thinking = obj(obj(body.get("additionalModelRequestFields")).get("thinking"))
    return Ask(
        turns=tuple(_turns(body)),
        tools=tuple(_tools(tools.get("tools"))),
        effort="medium" if thinking.get("type") in ("enabled", "adaptive") else None,
        choice="required" if "any" in chosen else text(obj(chosen.get("tool")).get("name")),
        max_tokens=whole(config.get("maxTokens"), config.get("max_new_tokens")),
        marks_cache=True,
    )


def _turns(body: Json) -> Iterator[Turn]:
    if body.get("system"):
        yield turn("system", body["system"])
    for each in arr(body.get("messages")):
        content = obj(each).get("content")
        yield turn(obj(each).get("role"), content, tool=any("toolResult" in obj(block) for block in arr(content)))


def _tools(tools: object) -> Iterator[Tool]:
    for each in arr(tools):
        spec = obj(obj(each).get("toolSpec"))
        name = text(spec.get("name"))
        if name is not None:
            yield Tool(name, obj(obj(spec.get("inputSchema")).get("json")))


def _usage(counts: Counts) -> Json:
    usage: Json = {"inputTokens": counts.fresh, "outputTokens": counts.output, "totalTokens": counts.total}
    usage |= {"cacheReadInputTokens": counts.read, "cacheWriteInputTokens": counts.written}
    if counts.written:
        usage["cacheDetails"] = [{"ttl": counts.written_for, "inputTokens": counts.written}]
    return usage


def _stated(counts: Counts) -> dict[str, int]:
    stated = {
        "input_tokens": counts.input,
        "cache_read_tokens": counts.read,
        "cache_write_tokens": counts.written,
        "output_tokens": counts.output,
    }
    return stated | ({f"cache_write_{counts.written_for}_tokens": counts.written} if counts.written else {})


def _message(answer: Answer, *, told: bool) -> Json:
    said = answer.first
    content: list[Json] = []
    if answer.thoughts:
        reasoning = {"text": "".join(answer.thoughts), "signature": "c2ltdWxhdGVk"}
        content.append({"reasoningContent": {"reasoningText": reasoning}})
    content += [{"text": said.text}] if said.pieces else []
    content += [
        {"toolUse": {"toolUseId": f"tooluse_{use.serial}", "name": use.name, "input": use.arguments}}
        for use in said.calls
    ]
    body: Json = {"output": {"message": {"role": "assistant", "content": content}}}
    body |= {"stopReason": _STOPPED[said.stopped], "metrics": {"latencyMs": 100}}
    return body | ({"usage": _usage(answer.counts)} if told else {})


def _events(answer: Answer, *, told: bool) -> Iterator[tuple[str, Json]]:
    said = answer.first
    yield "messageStart", {"role": "assistant"}
    index = 0
    if answer.thoughts:
        deltas: list[Json] = [{"reasoningContent": {"text": piece}} for piece in answer.thoughts]
        deltas.append({"reasoningContent": {"signature": "c2ltdWxhdGVk"}})
        yield from _block(index, deltas)
        index += 1
    if said.pieces:
        yield from _block(index, [{"text": piece} for piece in said.pieces])
        index += 1
    for use in said.calls:
        begun = {"toolUse": {"toolUseId": f"tooluse_{use.serial}", "name": use.name}}
        yield "contentBlockStart", {"contentBlockIndex": index, "start": begun}
        yield from _block(index, [{"toolUse": {"input": part}} for part in fragments(use.json)])
        index += 1
    yield "messageStop", {"stopReason": _STOPPED[said.stopped]}
    metadata: Json = {"metrics": {"latencyMs": 100}}
    yield "metadata", metadata | ({"usage": _usage(answer.counts)} if told else {})


def _block(index: int, deltas: list[Json]) -> Iterator[tuple[str, Json]]:
    for delta in deltas:
        yield "contentBlockDelta", {"contentBlockIndex": index, "delta": delta}
    yield "contentBlockStop", {"contentBlockIndex": index}


class BedrockInvoke(_Bedrock):
    """https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html (read 2026-11).

    A model with ``anthropic`` in its id answers in Claude's shape, ``nova`` in Nova's, any other in Llama's.
    """

    def ask(self, call: Received, memory: Memory) -> Ask:
        """What the vendor's body asks for."""
        del memory
        if "anthropic" in call.model:
            return anthropic_ask(call.body)
        if "nova" in call.model:
            return _converse_ask(call.body)
        return Ask(turns=(turn("user", call.body.get("prompt")),), max_tokens=whole(call.body.get("max_gen_len")))

    def reply(self, call: Received, answer: Answer, memory: Memory) -> Reply:
        """The vendor's body with Amazon's counts in headers; or its events, the last with Amazon's metrics."""
        del memory
        told = not call.knobs.no_usage
        if call.stream:
            events = list(_vendor_events(call, answer))
            # the metrics end a stream, counts or not
            events[-1] |= {"amazon-bedrock-invocationMetrics": _metrics(answer.counts, told=told)}
            chunks = [wrapped(each) for each in events]
        else:
            chunks = [dumps(_vendor_body(call, answer))]
        claude = "anthropic" in call.model
        return Reply(
            chunks=chunks,
            kind=BINARY if call.stream else JSON,
            stream=call.stream,
            usage=_vendor_stated(call, answer.counts) if told else None,
            usage_at=len(chunks) - 1,
            broken=_failed(),
            response_id=f"msg_{call.id}" if claude else call.id,
            model=call.model if claude else None,
            tool_calls=len(answer.first.calls),
            headers=(("x-amzn-requestid", call.id), *(_headers(answer.counts) if told and not call.stream else ())),
        )


def _vendor_stated(call: Received, counts: Counts) -> dict[str, int]:
    if "anthropic" in call.model:
        return anthropic_stated(counts)
    if "nova" in call.model:
        return _stated(counts)
    return {"input_tokens": counts.input, "output_tokens": counts.output}


def _metrics(counts: Counts, *, told: bool) -> Json:
    metrics = {"invocationLatency": 100, "firstByteLatency": 50}
    if not told:
        return metrics
    metrics |= {"inputTokenCount": counts.fresh, "outputTokenCount": counts.output}
    cached = {"cacheReadInputTokenCount": counts.read, "cacheWriteInputTokenCount": counts.written}
    return metrics | (cached if counts.read or counts.written else {})


def _headers(counts: Counts) -> tuple[tuple[str, str], ...]:
    found = (("input", counts.fresh), ("output", counts.output))
    cached = (("cache-read-input", counts.read), ("cache-write-input", counts.written))
    return tuple((f"x-amzn-bedrock-{name}-token-count", str(count)) for name, count in (*found, *cached))


def _vendor_body(call: Received, answer: Answer) -> Json:
    told = not call.knobs.no_usage
    if "anthropic" in call.model:
        return anthropic_message(call, answer)
    if "nova" in call.model:
        return _message(answer, told=told)
    counts = {"prompt_token_count": answer.counts.input, "generation_token_count": answer.counts.output}
    stopped = "length" if answer.first.stopped == "length" else "stop"
    return {"generation": answer.first.text, **(counts if told else {}), "stop_reason": stopped}


def _vendor_events(call: Received, answer: Answer) -> Iterator[Json]:
    if "anthropic" in call.model:
        yield from anthropic_events(call, answer)
    elif "nova" in call.model:
        for name, each in _events(answer, told=not call.knobs.no_usage):
            yield {name: each}
    else:
        empty = {"prompt_token_count": None, "generation_token_count": None, "stop_reason": None}
        for piece in answer.first.pieces:
            yield {"generation": piece, **empty}
        yield {**_vendor_body(call, answer), "generation": ""}
