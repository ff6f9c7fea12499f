"""OpenAI's Responses: whole, streamed, or in the background and asked for later."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from taximeter.simulator.answer import Answer, Counts, ToolUse, fragments
from taximeter.simulator.ask import Ask, Received, Turn, openai_choice, openai_tools, turn, whole
from taximeter.simulator.formats.openai_chat import openai_refusal
from taximeter.simulator.memory import Memory, Stored
from taximeter.simulator.reply import CREATED, JSON, SSE, Reply, dumps, padding, typed
from taximeter.simulator.speaker import BROKEN, Speaker
from taximeter.wire.loose import JsonObject as Json
from taximeter.wire.loose import arr, obj, text

_STATUS: Final = {"stop": "completed", "tools": "completed", "length": "incomplete"}


class OpenAIResponses(Speaker):
    """https://platform.openai.com/docs/api-reference/responses (read 2026-11)."""

    def ask(self, call: Received, memory: Memory) -> Ask:
        """Instructions, the conversation so far, and the new input."""
        body = call.body
        before = memory.responses.get((text(body.get("previous_response_id")) or "").encode())
        system = text(body.get("instructions"))
        turns = [turn("system", system)] if system else []
        turns += before.turns if before else ()
        turns += _input(body.get("input"))
        return Ask(
            turns=tuple(turns),
            tools=tuple(openai_tools(body.get("tools"))),
            effort=text(obj(body.get("reasoning")).get("effort")),
            choice=openai_choice(body.get("tool_choice")),
            parallel=body.get("parallel_tool_calls") is not False,
            max_tokens=whole(body.get("max_output_tokens")),
        )

    def reply(self, call: Received, answer: Answer, memory: Memory) -> Reply:
        """A response object, or the events that build it up. It is stored, unless ``store`` is false."""
        told = not call.knobs.no_usage
        usage = _stated(answer.counts) if told else None
        done = _response(call, answer, told=told)
        background = call.body.get("background") is True
        if call.body.get("store") is not False or background:
            said = Turn("assistant", answer.first.text + "".join(use.json for use in answer.first.calls))
            turns = (*self.ask(call, memory).turns, said)
            memory.responses.put(str(done["id"]).encode(), Stored(turns, done, usage, call.knobs.pending))
        if call.stream:
            chunks = list(_events(call, answer, done))
        elif background:
            chunks, usage = [dumps(_unfinished(done, "queued"))], None
        else:
            chunks = [dumps(done)]
        return Reply(
            chunks=chunks,
            kind=SSE if call.stream else JSON,
            stream=call.stream,
            usage=usage,
            usage_at=len(chunks) - 1,
            broken=typed({"type": "error", "code": "server_error", "message": BROKEN, "param": None}),
            response_id=str(done["id"]),
            model=call.model,
            tool_calls=len(answer.first.calls),
        )

    def poll(self, call: Received, memory: Memory) -> Reply | None:
        """The stored response: in progress for as many polls as it was asked to be, then done."""
        identity = call.path.rstrip("/").rpartition("/")[2]
        stored = memory.responses.get(identity.encode())
        if stored is None:
            return None
        model = str(stored.body["model"])
        if stored.pending > 0:
            stored.pending -= 1
            body = dumps(_unfinished(stored.body, "in_progress"))
            return Reply(chunks=[body], usage=None, response_id=identity, model=model)
        return Reply(chunks=[dumps(stored.body)], usage=stored.usage, response_id=identity, model=model)

    def refusal(self, status: int, message: str) -> Json:
        """An ``error`` object."""
        return openai_refusal(status, message)


def _input(given: object) -> Iterator[Turn]:
    if isinstance(given, str):
        yield turn("user", given)
    for each in arr(given):
        item = obj(each)
        kind = text(item.get("type")) or "message"
        if kind.endswith("_output"):
            yield turn("tool", item.get("output"), tool=True)
        else:
            yield turn(item.get("role") or ("user" if kind == "message" else "assistant"), item)


def _unfinished(done: Json, status: str) -> Json:
    return {**done, "status": status, "output": [], "usage": None, "incomplete_details": None}


def _usage(counts: Counts) -> Json:
    return {
        "input_tokens": counts.input,
        "input_tokens_details": {"cached_tokens": counts.read, "cache_write_tokens": 0},
        "output_tokens": counts.output,
        "output_tokens_details": {"reasoning_tokens": counts.reasoning},
        "total_tokens": counts.total,
    }


def _stated(counts: Counts) -> dict[str, int]:
    return {
        "input_tokens": counts.input,
        "cache_read_tokens": counts.read,
        "cache_write_tokens": 0,
        "output_tokens": counts.output,
        "output_reasoning_tokens": counts.reasoning,
    }


def _response(call: Received, answer: Answer, *, told: bool) -> Json:
    said = answer.first
    body = call.body
    tier = text(body.get("service_tier"))
    output: list[Json] = [_thought(call)] if answer.thoughts else []
    if said.pieces or not said.calls:
        output.append(_message(call, [_part(said.text)], "completed"))
    output += [_function_call(use, use.json, "completed") for use in said.calls]
    return {
        "id": f"resp_{call.id}",
        "object": "response",
        "created_at": CREATED,
        "status": _STATUS[said.stopped],
        "background": body.get("background") is True,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if said.stopped == "length" else None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "model": call.model,
        "output": output,
        "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
        "previous_response_id": body.get("previous_response_id"),
        "reasoning": {"effort": obj(body.get("reasoning")).get("effort"), "summary": None},
        "service_tier": "default" if tier in (None, "auto") else tier,
        "store": body.get("store") is not False,
        "temperature": 1,
        "text": {"format": {"type": "text"}},
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": arr(body.get("tools")),
        "top_p": 1,
        "truncation": "disabled",
        "usage": _usage(answer.counts) if told else None,
        "user": None,
        "metadata": obj(body.get("metadata")),
    }


def _thought(call: Received) -> Json:
    return {"id": f"rs_{call.id}", "type": "reasoning", "summary": []}


def _part(said: str) -> Json:
    return {"type": "output_text", "text": said, "annotations": [], "logprobs": []}


def _message(call: Received, content: list[Json], status: str) -> Json:
    return {"id": f"msg_{call.id}", "type": "message", "role": "assistant", "status": status, "content": content}


def _function_call(use: ToolUse, arguments: str, status: str) -> Json:
    about = {"call_id": f"call_{use.serial}", "name": use.name, "arguments": arguments}
    return {"id": f"fc_{use.serial}", "type": "function_call", "status": status, **about}


def _events(call: Received, answer: Answer, done: Json) -> Iterator[bytes]:
    """Every event, numbered."""
    begun = {**_unfinished(done, "in_progress"), "service_tier": "auto"}
    events: list[Json] = [{"type": f"response.{kind}", "response": begun} for kind in ("created", "in_progress")]
    for place, item in enumerate(done["output"]):
        kind = item["type"]
        if kind == "message":
            events += _message_events(call, answer, place, item)
        elif kind == "function_call":
            use = next(use for use in answer.first.calls if item["id"] == f"fc_{use.serial}")
            events += _call_events(use, place, item)
        else:
            events.append({"type": "response.output_item.added", "output_index": place, "item": item})
            events.append({"type": "response.output_item.done", "output_index": place, "item": item})
    events.append({"type": f"response.{done['status']}", "response": done})
    for number, each in enumerate(events):
        yield typed({"type": each["type"], "sequence_number": number, **each})


def _message_events(call: Received, answer: Answer, place: int, item: Json) -> Iterator[Json]:
    empty = _message(call, [], "in_progress")
    where = {"item_id": item["id"], "output_index": place, "content_index": 0}
    padded = obj(call.body.get("stream_options")).get("include_obfuscation") is not False
    yield {"type": "response.output_item.added", "output_index": place, "item": empty}
    yield {"type": "response.content_part.added", **where, "part": _part("")}
    for number, piece in enumerate(answer.first.pieces):
        hidden = {"obfuscation": padding(call.id, 1 + number * 5 % 16)} if padded else {}
        yield {"type": "response.output_text.delta", **where, "delta": piece, "logprobs": [], **hidden}
    said = answer.first.text
    yield {"type": "response.output_text.done", **where, "text": said, "logprobs": []}
    yield {"type": "response.content_part.done", **where, "part": _part(said)}
    yield {"type": "response.output_item.done", "output_index": place, "item": item}


def _call_events(use: ToolUse, place: int, item: Json) -> Iterator[Json]:
    where = {"item_id": item["id"], "output_index": place}
    begun = _function_call(use, "", "in_progress")
    yield {"type": "response.output_item.added", "output_index": place, "item": begun}
    for part in fragments(use.json):
        yield {"type": "response.function_call_arguments.delta", **where, "delta": part}
    yield {"type": "response.function_call_arguments.done", **where, "name": use.name, "arguments": use.json}
    yield {"type": "response.output_item.done", "output_index": place, "item": item}
