"""Cohere's chat (v1 and v2), embed and rerank."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from taximeter.simulator.answer import Answer, Counts, ToolUse, fragments
from taximeter.simulator.ask import Ask, Received, Tool, Turn, openai_choice, openai_tools, openai_turns, turn, whole
from taximeter.simulator.formats.openai_media import vector
from taximeter.simulator.memory import Memory
from taximeter.simulator.reply import JSON, SSE, Reply, dumps, line, typed
from taximeter.simulator.speaker import BROKEN, Speaker
from taximeter.wire.loose import JsonObject as Json
from taximeter.wire.loose import arr, obj, text

_STOPPED: Final = {"stop": "COMPLETE", "length": "MAX_TOKENS", "tools": "TOOL_CALL"}
_TEMPLATE_TOKENS: Final = 64
"""What ``tokens`` holds beyond ``billed_units``: the template, which is not charged."""
_DOCUMENTS_PER_SEARCH: Final = 100


class _Cohere(Speaker):
    def refusal(self, status: int, message: str) -> Json:
        """A ``message``."""
        return {"id": "simulated", "message": message, "status_code": status}


class CohereChat(_Cohere):
    """https://docs.cohere.com/reference/chat (read 2026-11), v2; with ``/v1/`` in the path, v1."""

    def ask(self, call: Received, memory: Memory) -> Ask:
        """Messages; in v1 a preamble, a history and a message."""
        del memory
        body = call.body
        first = _is_v1(call)
        return Ask(
            turns=tuple(_v1_turns(body) if first else openai_turns(body.get("messages"))),
            tools=tuple(_v1_tools(body.get("tools")) if first else openai_tools(body.get("tools"))),
            effort="medium" if obj(body.get("thinking")).get("type") == "enabled" else None,
            choice=openai_choice(body.get("tool_choice")),
            max_tokens=whole(body.get("max_tokens")),
        )

    def reply(self, call: Received, answer: Answer, memory: Memory) -> Reply:
        """A message; or server-sent events, in v1 lines."""
        del memory
        first = _is_v1(call)
        kind = JSON
        if not call.stream:
            chunks = [dumps(_v1_body(call, answer) if first else _v2_body(call, answer))]
            usage_at = 0
        elif first:
            kind = "application/stream+json"
            chunks = [line(each) for each in _v1_events(call, answer)]
            usage_at = len(chunks) - 1
        else:
            kind = SSE
            chunks = [*(typed(each) for each in _v2_events(call, answer)), b"data: [DONE]\n\n"]
            usage_at = len(chunks) - 2
        failed = {"type": "message-end", "delta": {"finish_reason": "ERROR", "error": BROKEN}}
        response = {"finish_reason": "ERROR", "text": "", "error": BROKEN}
        failed_v1 = {"is_finished": True, "event_type": "stream-end", "finish_reason": "ERROR", "response": response}
        return Reply(
            chunks=chunks,
            kind=kind,
            stream=call.stream,
            usage=None if call.knobs.no_usage else _stated(answer.counts),
            usage_at=usage_at,
            broken=line(failed_v1) if first else typed(failed),
            response_id=call.id,
            tool_calls=len(answer.first.calls),
        )


def _is_v1(call: Received) -> bool:
    return "/v1/" in call.path


def _v1_turns(body: Json) -> Iterator[Turn]:
    if body.get("preamble"):
        yield turn("system", body["preamble"])
    for each in arr(body.get("chat_history")):
        yield turn(obj(each).get("role"), obj(each).get("message"))
    if body.get("message"):
        yield turn("user", body["message"])
    for each in arr(body.get("tool_results")):
        yield turn("tool", obj(each).get("outputs"), tool=True)


def _v1_tools(tools: object) -> Iterator[Tool]:
    for each in arr(tools):
        name = text(obj(each).get("name"))
        if name is not None:
            members = obj(obj(each).get("parameter_definitions"))
            schema = {key: {"type": _V1_TYPES.get(str(obj(value).get("type")))} for key, value in members.items()}
            yield Tool(name, {"type": "object", "properties": schema})


_V1_TYPES: Final = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}


def _usage(counts: Counts) -> Json:
    billed = {"input_tokens": counts.input, "output_tokens": counts.output}
    held = {"input_tokens": counts.input + _TEMPLATE_TOKENS, "output_tokens": counts.output}
    return {"billed_units": billed, "tokens": held, "cached_tokens": counts.read}


def _stated(counts: Counts) -> dict[str, int]:
    """What is billed; the cache stands beside it, of other tokens."""
    return {"input_tokens": counts.input, "output_tokens": counts.output}


def _told(call: Received, answer: Answer) -> Json:
    return {} if call.knobs.no_usage else {"usage": _usage(answer.counts)}


def _v2_call(use: ToolUse, arguments: str) -> Json:
    return {
        "id": f"{use.name}_{use.serial}",
        "type": "function",
        "function": {"name": use.name, "arguments": arguments},
    }


def _v2_body(call: Received, answer: Answer) -> Json:
    said = answer.first
    content: list[Json] = []
    if answer.thoughts:
        content.append({"type": "thinking", "thinking": "".join(answer.thoughts)})
    content += [{"type": "text", "text": said.text}] if said.pieces else []
    spoken: Json = {"role": "assistant", "content": content}
    if said.calls:
        spoken["tool_calls"] = [_v2_call(use, use.json) for use in said.calls]
    return {"id": call.id, "finish_reason": _STOPPED[said.stopped], "message": spoken, **_told(call, answer)}


def _v2_events(call: Received, answer: Answer) -> Iterator[Json]:
    said = answer.first
    opening: Json = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
    yield {"type": "message-start", "id": call.id, "delta": {"message": opening}}
    index = 0
    for kind, pieces in (("thinking", answer.thoughts), ("text", said.pieces)):
        if not pieces:
            continue
        begun = {"message": {"content": {"type": kind, kind: ""}}}
        yield {"type": "content-start", "index": index, "delta": begun}
        for piece in pieces:
            yield {"type": "content-delta", "index": index, "delta": {"message": {"content": {kind: piece}}}}
        yield {"type": "content-end", "index": index}
        index += 1
    for number, use in enumerate(said.calls):
        begun = {"message": {"tool_calls": _v2_call(use, "")}}
        yield {"type": "tool-call-start", "index": number, "delta": begun}
        for part in fragments(use.json):
            delta = {"message": {"tool_calls": {"function": {"arguments": part}}}}
            yield {"type": "tool-call-delta", "index": number, "delta": delta}
        yield {"type": "tool-call-end", "index": number}
    ending = {"finish_reason": _STOPPED[said.stopped], **_told(call, answer)}
    yield {"type": "message-end", "id": call.id, "delta": ending}


def _v1_body(call: Received, answer: Answer) -> Json:
    said = answer.first
    body: Json = {"response_id": call.id, "generation_id": call.id, "text": said.text}
    body |= {"chat_history": [], "finish_reason": "COMPLETE" if said.calls else _STOPPED[said.stopped]}
    if said.calls:
        body["tool_calls"] = [{"name": use.name, "parameters": use.arguments} for use in said.calls]
    if not call.knobs.no_usage:
        body["meta"] = {"api_version": {"version": "1"}, **_usage(answer.counts)}
    return body


def _v1_events(call: Received, answer: Answer) -> Iterator[Json]:
    body = _v1_body(call, answer)
    yield {"is_finished": False, "event_type": "stream-start", "generation_id": call.id}
    for piece in answer.first.pieces:
        yield {"is_finished": False, "event_type": "text-generation", "text": piece}
    if answer.first.calls:
        yield {"is_finished": False, "event_type": "tool-calls-generation", "tool_calls": body["tool_calls"]}
    ended = {"finish_reason": body["finish_reason"], "response": body}
    yield {"is_finished": True, "event_type": "stream-end", **ended}


class CohereEmbed(_Cohere):
    """https://docs.cohere.com/reference/embed (read 2026-11)."""

    def ask(self, call: Received, memory: Memory) -> Ask:
        """Each text is a message."""
        del memory
        items = arr(call.body.get("texts")) or arr(call.body.get("inputs"))
        return Ask(turns=tuple(turn("user", each) for each in items))

    def reply(self, call: Received, answer: Answer, memory: Memory) -> Reply:
        """A vector per text."""
        turns = self.ask(call, memory).turns
        vectors = [vector(call.key, index) for index in range(len(turns))]
        by_type = not _is_v1(call) or bool(call.body.get("embedding_types"))
        kind = "embeddings_by_type" if by_type else "embeddings_floats"
        body: Json = {"id": call.id, "texts": [each.text for each in turns], "response_type": kind}
        body["embeddings"] = {"float": vectors} if by_type else vectors
        meta: Json = {"api_version": {"version": "2" if by_type else "1"}}
        body["meta"] = meta
        if call.knobs.no_usage:
            return Reply(chunks=[dumps(body)], usage=None, response_id=call.id)
        given = answer.counts.input
        meta["billed_units"] = {"input_tokens": given}
        return Reply(chunks=[dumps(body)], usage={"input_tokens": given}, response_id=call.id)


class Rerank(_Cohere):
    """https://docs.cohere.com/reference/rerank (read 2026-11)."""

    def ask(self, call: Received, memory: Memory) -> Ask:
        """The query and the documents."""
        del memory
        documents = tuple(turn("user", each) for each in arr(call.body.get("documents")))
        return Ask(turns=(turn("user", call.body.get("query")), *documents))

    def reply(self, call: Received, answer: Answer, memory: Memory) -> Reply:
        """The documents in an order of their own, charged by the hundred."""
        del memory, answer
        number = len(arr(call.body.get("documents")))
        order = sorted(range(number), key=lambda index: (call.key[index % 32], index))
        top = order[: whole(call.body.get("top_n")) or number]
        results = [{"index": index, "relevance_score": 1 / (2 + place)} for place, index in enumerate(top)]
        body: Json = {"id": call.id, "results": results, "meta": {"api_version": {"version": "2"}}}
        if call.knobs.no_usage:
            return Reply(chunks=[dumps(body)], usage=None, response_id=call.id)
        searches = max(1, -(-number // _DOCUMENTS_PER_SEARCH))
        body["meta"]["billed_units"] = {"search_units": searches}
        return Reply(chunks=[dumps(body)], usage={"rerank_searches": searches}, response_id=call.id)
