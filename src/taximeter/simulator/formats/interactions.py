"""Gemini's Interactions: whole, streamed, or asked for again by id."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from taximeter.simulator.answer import Answer, Counts, ToolUse
from taximeter.simulator.ask import Ask, Received, Turn, openai_tools, turn, whole
from taximeter.simulator.formats.gemini import google_refusal
from taximeter.simulator.memory import Memory, Stored
from taximeter.simulator.reply import CREATED_TEXT, JSON, SSE, Reply, dumps, typed
from taximeter.simulator.speaker import BROKEN, Speaker
from taximeter.wire.loose import JsonObject as Json
from taximeter.wire.loose import arr, obj, text

_STATUS: Final = {"stop": "completed", "length": "incomplete", "tools": "requires_action"}
_SIGNATURE: Final = "c2ltdWxhdGVk"


class GeminiInteractions(Speaker):
    """https://ai.google.dev/api/interactions-api (read 2026-11)."""

    def ask(self, call: Received, memory: Memory) -> Ask:
        """The conversation so far, and the new input."""
        body = call.body
        before = memory.responses.get((text(body.get("previous_interaction_id")) or "").encode())
        system = body.get("system_instruction")
        turns = [turn("system", system)] if system else []
        turns += before.turns if before else ()
        turns += _input(body.get("input"))
        config = obj(body.get("generation_config"))
        return Ask(
            turns=tuple(turns),
            tools=tuple(openai_tools(body.get("tools"))),
            effort=text(config.get("thinking_level")),
            max_tokens=whole(config.get("max_output_tokens")),
        )

    def reply(self, call: Received, answer: Answer, memory: Memory) -> Reply:
        """An interaction, or the events that build it up. It is stored, unless ``store`` is false."""
        done = _interaction(call, answer)
        usage = None if call.knobs.no_usage else _stated(answer.counts)
        background = call.body.get("background") is True
        if call.body.get("store") is not False:
            said = Turn("assistant", answer.first.text + "".join(use.json for use in answer.first.calls))
            turns = (*self.ask(call, memory).turns, said)
            memory.responses.put(str(done["id"]).encode(), Stored(turns, done, usage, call.knobs.pending))
        if call.stream:
            chunks = [typed(each, "event_type") for each in _events(answer, done)] + [b"event: done\ndata: [DONE]\n\n"]
        elif background:
            chunks, usage = [dumps(_unfinished(done))], None
        else:
            chunks = [dumps(done)]
        return Reply(
            chunks=chunks,
            kind=SSE if call.stream else JSON,
            stream=call.stream,
            usage=usage,
            usage_at=max(len(chunks) - 2, 0),
            broken=typed({"event_type": "error", "error": {"code": "internal", "message": BROKEN}}, "event_type"),
            response_id=str(done["id"]),
            model=call.model,
            tool_calls=len(answer.first.calls),
        )

    def poll(self, call: Received, memory: Memory) -> Reply | None:
        """The stored interaction: in progress for as many polls as it was asked to be, then done."""
        identity = call.path.rstrip("/").rpartition("/")[2]
        stored = memory.responses.get(identity.encode())
        if stored is None:
            return None
        model = str(stored.body["model"])
        if stored.pending > 0:
            stored.pending -= 1
            return Reply(chunks=[dumps(_unfinished(stored.body))], usage=None, response_id=identity, model=model)
        return Reply(chunks=[dumps(stored.body)], usage=stored.usage, response_id=identity, model=model)

    def refusal(self, status: int, message: str) -> Json:
        """An ``error`` object."""
        return google_refusal(status, message)


def _input(given: object) -> Iterator[Turn]:
    if isinstance(given, str):
        yield turn("user", given)
        return
    for each in arr(given) or [given]:
        kind = text(obj(each).get("type")) or ""
        if kind == "function_result":
            yield turn("tool", obj(each).get("result"), tool=True)
        else:
            role = obj(each).get("role") or ("model" if kind in ("model_output", "function_call") else "user")
            yield turn(role, each)


def _unfinished(done: Json) -> Json:
    kept = {key: value for key, value in done.items() if key not in ("usage", "steps", "outputs")}
    return {**kept, "status": "in_progress"}


def _usage(counts: Counts) -> Json:
    return {
        "total_tokens": counts.total,
        "total_input_tokens": counts.input,
        "total_cached_tokens": counts.read,
        "total_output_tokens": counts.output - counts.reasoning,
        "total_tool_use_tokens": 0,
        "total_thought_tokens": counts.reasoning,
    }


def _stated(counts: Counts) -> dict[str, int]:
    return {
        "input_tokens": counts.input,
        "input_tool_tokens": 0,
        "cache_read_tokens": counts.read,
        "output_tokens": counts.output,
        "output_reasoning_tokens": counts.reasoning,
    }


def _interaction(call: Received, answer: Answer) -> Json:
    said = answer.first
    steps: list[Json] = [{"type": "thought", "signature": _SIGNATURE}] if answer.thoughts else []
    if said.pieces:
        steps.append({"type": "model_output", "content": [{"type": "text", "text": said.text}]})
    steps += [_function_call(use, use.arguments) for use in said.calls]
    body: Json = {"id": f"v1_{call.id}", "object": "interaction", "model": call.model, "role": "model"}
    body |= {"status": _STATUS[said.stopped], "created": CREATED_TEXT, "updated": CREATED_TEXT, "steps": steps}
    return body if call.knobs.no_usage else body | {"usage": _usage(answer.counts)}


def _function_call(use: ToolUse, arguments: Json) -> Json:
    return {"type": "function_call", "id": use.serial, "name": use.name, "arguments": arguments}


def _events(answer: Answer, done: Json) -> Iterator[Json]:
    begun = {"id": done["id"], "object": "interaction", "model": done["model"], "status": "in_progress"}
    begun |= {"created": CREATED_TEXT, "updated": CREATED_TEXT}
    yield {"event_type": "interaction.created", "interaction": begun}
    update = {"interaction_id": done["id"], "status": "in_progress"}
    yield {"event_type": "interaction.status_update", **update}
    uses = iter(answer.first.calls)
    for index, step in enumerate(done["steps"]):
        kind = step["type"]
        if kind == "model_output":
            first: Json = {"type": kind}
            deltas: list[Json] = [{"type": "text", "text": piece} for piece in answer.first.pieces]
        elif kind == "thought":
            first, deltas = {"type": kind}, [{"type": "thought_signature", "signature": _SIGNATURE}]
        else:
            use = next(uses)
            first, deltas = _function_call(use, {}), [{"type": "arguments_delta", "arguments": use.json}]
        yield {"event_type": "step.start", "index": index, "step": first}
        for delta in deltas:
            yield {"event_type": "step.delta", "index": index, "delta": delta}
        yield {"event_type": "step.stop", "index": index}
    last = {key: value for key, value in done.items() if key != "steps"}
    yield {"event_type": "interaction.completed", "interaction": last}
