"""Anthropic's Messages, and its legacy Complete."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from taximeter.simulator.answer import Answer, Counts, ToolUse, fragments
from taximeter.simulator.ask import Ask, Received, Tool, Turn, turn, whole
from taximeter.simulator.memory import Memory
from taximeter.simulator.reply import JSON, SSE, Reply, dumps, typed
from taximeter.simulator.speaker import BROKEN, Speaker, error_type
from taximeter.wire.loose import JsonObject as Json
from taximeter.wire.loose import arr, obj, text

_STOPPED: Final = {"stop": "end_turn", "length": "max_tokens", "tools": "tool_use"}
_SIGNATURE: Final = "c2ltdWxhdGVk"


def anthropic_refusal(status: int, message: str) -> Json:
    """An error as Anthropic words it."""
    return {"type": "error", "error": {"type": error_type(status), "message": message}}


def anthropic_ask(body: Json) -> Ask:
    """What a body of the Messages API asks for."""
    chosen = obj(body.get("tool_choice"))
    thinking = obj(body.get("thinking"))
    effort = text(obj(body.get("output_config")).get("effort"))
    effort = effort or ("medium" if thinking.get("type") in ("enabled", "adaptive") else None)
    return Ask(
        turns=tuple(_turns(body)),
        tools=tuple(_tools(body.get("tools"))),
        effort=None if thinking.get("type") == "disabled" else effort,
        choice={"any": "required", "none": "none"}.get(str(chosen.get("type"))) or text(chosen.get("name")),
        parallel=chosen.get("disable_parallel_tool_use") is not True,
        max_tokens=whole(body.get("max_tokens")),
        marks_cache=True,
    )


def _turns(body: Json) -> Iterator[Turn]:
    if body.get("system"):
        yield turn("system", body["system"])
    for each in arr(body.get("messages")):
        content = obj(each).get("content")
        results = any(obj(block).get("type") == "tool_result" for block in arr(content))
        yield turn(obj(each).get("role"), content, tool=results)


def _tools(tools: object) -> Iterator[Tool]:
    for each in arr(tools):
        name = text(obj(each).get("name"))
        if name is not None:
            yield Tool(name, obj(obj(each).get("input_schema")))


def anthropic_usage(counts: Counts) -> Json:
    """The usage object, with the output that there is in the end."""
    long = counts.written if counts.written_for == "1h" else 0
    split = {"ephemeral_5m_input_tokens": counts.written - long, "ephemeral_1h_input_tokens": long}
    usage: Json = {
        "input_tokens": counts.fresh,
        "cache_creation_input_tokens": counts.written,
        "cache_read_input_tokens": counts.read,
        "cache_creation": split,
        "output_tokens": counts.output,
        "service_tier": "standard",
    }
    return usage | ({"output_tokens_details": {"thinking_tokens": counts.reasoning}} if counts.reasoning else {})


def anthropic_stated(counts: Counts) -> dict[str, int]:
    """The same in our units."""
    long = counts.written if counts.written_for == "1h" else 0
    stated = {
        "input_tokens": counts.input,
        "cache_read_tokens": counts.read,
        "cache_write_tokens": counts.written,
        "cache_write_5m_tokens": counts.written - long,
        "cache_write_1h_tokens": long,
        "output_tokens": counts.output,
    }
    return stated | ({"output_reasoning_tokens": counts.reasoning} if counts.reasoning else {})


def anthropic_message(call: Received, answer: Answer) -> Json:
    """A whole message."""
    said = answer.first
    content: list[Json] = []
    if answer.thoughts:
        content.append({"type": "thinking", "thinking": "".join(answer.thoughts), "signature": _SIGNATURE})
    if said.pieces:
        content.append({"type": "text", "text": said.text})
    content += [_tool_use(use, use.arguments) for use in said.calls]
    message = {"id": f"msg_{call.id}", "type": "message", "role": "assistant", "model": call.model, "content": content}
    message |= {"stop_reason": _STOPPED[said.stopped], "stop_sequence": None}
    return message if call.knobs.no_usage else message | {"usage": anthropic_usage(answer.counts)}


def _tool_use(use: ToolUse, arguments: Json) -> Json:
    return {"type": "tool_use", "id": f"toolu_{use.serial}", "name": use.name, "input": arguments}


def anthropic_events(call: Received, answer: Answer) -> Iterator[Json]:
    """The events of a stream, the last two of which end it."""
    said = answer.first
    whole_message = anthropic_message(call, answer)
    begun: Json = {**whole_message, "content": [], "stop_reason": None}
    told = "usage" in whole_message
    if told:
        begun["usage"] = {**whole_message["usage"], "output_tokens": 1}
        begun["usage"].pop("output_tokens_details", None)
    yield {"type": "message_start", "message": begun}
    index = 0
    if answer.thoughts:
        deltas: list[Json] = [{"type": "thinking_delta", "thinking": piece} for piece in answer.thoughts]
        deltas.append({"type": "signature_delta", "signature": _SIGNATURE})
        yield from _block(index, {"type": "thinking", "thinking": "", "signature": ""}, deltas)
        index += 1
    if said.pieces:
        yield from _block(
            index, {"type": "text", "text": ""}, [{"type": "text_delta", "text": each} for each in said.pieces]
        )
        index += 1
    for use in said.calls:
        yield from _block(
            index,
            _tool_use(use, {}),
            [{"type": "input_json_delta", "partial_json": each} for each in ("", *fragments(use.json))],
        )
        index += 1
    delta: Json = {"stop_reason": _STOPPED[said.stopped], "stop_sequence": None}
    end = {"type": "message_delta", "delta": delta}
    if told:
        unsplit = {
            key: value for key, value in whole_message["usage"].items() if key not in ("cache_creation", "service_tier")
        }
        end["usage"] = unsplit
    yield end
    yield {"type": "message_stop"}


def _block(index: int, begun: Json, deltas: list[Json]) -> Iterator[Json]:
    yield {"type": "content_block_start", "index": index, "content_block": begun}
    if index == 0:
        yield {"type": "ping"}
    for each in deltas:
        yield {"type": "content_block_delta", "index": index, "delta": each}
    yield {"type": "content_block_stop", "index": index}


class AnthropicMessages(Speaker):
    """https://docs.anthropic.com/en/api/messages (read 2026-11)."""

    def ask(self, call: Received, memory: Memory) -> Ask:
        """System, messages and tools; only what ``cache_control`` marks is cached."""
        del memory
        return anthropic_ask(call.body)

    def reply(self, call: Received, answer: Answer, memory: Memory) -> Reply:
        """A message, or its events."""
        del memory
        if call.stream:
            chunks = [typed(each) for each in anthropic_events(call, answer)]
        else:
            chunks = [dumps(anthropic_message(call, answer))]
        return Reply(
            chunks=chunks,
            kind=SSE if call.stream else JSON,
            stream=call.stream,
            usage=None if call.knobs.no_usage else anthropic_stated(answer.counts),
            usage_at=max(len(chunks) - 2, 0),
            broken=typed(anthropic_refusal(529, BROKEN)),
            response_id=f"msg_{call.id}",
            model=call.model,
            tool_calls=len(answer.first.calls),
            headers=(("request-id", f"req_{call.id}"),),
        )

    def refusal(self, status: int, message: str) -> Json:
        """An object of type ``error``."""
        return anthropic_refusal(status, message)


class AnthropicComplete(Speaker):
    """https://docs.anthropic.com/en/api/complete (read 2026-11): no usage."""

    def ask(self, call: Received, memory: Memory) -> Ask:
        """The prompt."""
        del memory
        limit = whole(call.body.get("max_tokens_to_sample"))
        return Ask(turns=(turn("user", call.body.get("prompt")),), max_tokens=limit)

    def reply(self, call: Received, answer: Answer, memory: Memory) -> Reply:
        """The text, whole or in pieces."""
        del memory
        said = answer.first
        reason = "max_tokens" if said.stopped == "length" else "stop_sequence"
        head = {"type": "completion", "id": f"compl_{call.id}", "model": call.model, "stop": None, "log_id": call.id}
        chunks = [dumps({**head, "completion": said.text, "stop_reason": reason})]
        if call.stream:
            chunks = [typed({**head, "completion": each, "stop_reason": None}) for each in said.pieces]
            chunks.append(typed({**head, "completion": "", "stop_reason": reason}))
        return Reply(
            chunks=chunks,
            kind=SSE if call.stream else JSON,
            stream=call.stream,
            usage=None,
            broken=typed(anthropic_refusal(529, BROKEN)),
            response_id=f"compl_{call.id}",
            model=call.model,
        )

    def refusal(self, status: int, message: str) -> Json:
        """An object of type ``error``."""
        return anthropic_refusal(status, message)
