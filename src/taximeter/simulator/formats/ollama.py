"""Ollama's own API: chat, generate and embed, one JSON object a line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from taximeter.simulator.answer import Answer, Counts
from taximeter.simulator.ask import Ask, Received, openai_tools, openai_turns, turn, whole
from taximeter.simulator.formats.openai_media import vector
from taximeter.simulator.memory import Memory
from taximeter.simulator.reply import CREATED_TEXT, JSON, LINES, Reply, dumps, line
from taximeter.simulator.speaker import BROKEN, Speaker
from taximeter.wire.loose import JsonObject as Json
from taximeter.wire.loose import arr, obj

_DURATIONS: Final = {"total_duration": 100_000_000, "load_duration": 1_000_000, "eval_duration": 90_000_000}
_STOPPED: Final = {"stop": "stop", "length": "length", "tools": "stop"}


class Ollama(Speaker):
    """https://github.com/ollama/ollama/blob/main/docs/api.md (read 2026-11): streams, unless told not to."""

    def ask(self, call: Received, memory: Memory) -> Ask:
        """Messages, or a prompt, or texts to embed."""
        del memory
        body = call.body
        if _is_embed(call):
            given = body.get("input", body.get("prompt"))
            return Ask(turns=tuple(turn("user", each) for each in arr(given) or [given]))
        if "messages" in body:
            turns = tuple(openai_turns(body.get("messages")))
        else:
            system = [turn("system", body["system"])] if body.get("system") else []
            prompt = {key: body[key] for key in ("prompt", "images") if key in body}
            turns = (*system, turn("user", prompt))
        asked = body.get("think")
        return Ask(
            turns=turns,
            tools=tuple(openai_tools(body.get("tools"))),
            effort=asked
            if isinstance(asked, str)
            else {True: "medium", False: "none"}.get(bool(asked))
            if asked is not None
            else None,
            max_tokens=whole(obj(body.get("options")).get("num_predict")),
        )

    def reply(self, call: Received, answer: Answer, memory: Memory) -> Reply:
        """Lines, the last of which has the counts; or one document."""
        if _is_embed(call):
            return self._embedded(call, answer, memory)
        documents = list(_documents(call, answer)) if call.stream else [_whole(call, answer)]
        return Reply(
            chunks=[line(each) for each in documents] if call.stream else [dumps(documents[0])],
            kind=LINES if call.stream else JSON,
            stream=call.stream,
            usage=None if call.knobs.no_usage else _stated(answer.counts),
            usage_at=len(documents) - 1,
            broken=line({"error": BROKEN}),
            model=call.model,
            tool_calls=len(answer.first.calls),
        )

    def refusal(self, status: int, message: str) -> Json:
        """An ``error`` that is a sentence."""
        del status
        return {"error": message}

    def _embedded(self, call: Received, answer: Answer, memory: Memory) -> Reply:
        number = len(self.ask(call, memory).turns)
        if call.path.rstrip("/").endswith("embeddings"):  # the older one states no counts
            return Reply(chunks=[dumps({"embedding": vector(call.key, 0)})], usage=None)
        body: Json = {"model": call.model, "embeddings": [vector(call.key, index) for index in range(number)]}
        if call.knobs.no_usage:
            return Reply(chunks=[dumps(body)], usage=None, model=call.model)
        given = answer.counts.input
        body |= {"total_duration": 14_000_000, "load_duration": 1_000_000, "prompt_eval_count": given}
        return Reply(chunks=[dumps(body)], usage={"input_tokens": given}, model=call.model)


def _is_embed(call: Received) -> bool:
    return call.path.rstrip("/").endswith(("/embed", "/embeddings"))


def _stated(counts: Counts) -> dict[str, int]:
    return {"input_tokens": counts.input, "output_tokens": counts.output}


def _piece(call: Received, *, said: str = "", thought: str = "", calls: list[Json] | None = None) -> Json:
    """A line with a piece of the answer in it."""
    head: Json = {"model": call.model, "created_at": CREATED_TEXT}
    thinking = {"thinking": thought} if thought else {}
    if call.path.rstrip("/").endswith("/generate"):
        return {**head, "response": said, **thinking, "done": False}
    message: Json = {"role": "assistant", "content": said, **thinking}
    return {**head, "message": message | ({"tool_calls": calls} if calls else {}), "done": False}


def _end(call: Received, answer: Answer) -> Json:
    counts = answer.counts
    told = {"prompt_eval_count": counts.input, "eval_count": counts.output}
    return {
        "done": True,
        "done_reason": _STOPPED[answer.first.stopped],
        **_DURATIONS,
        **({} if call.knobs.no_usage else told),
    }


def _calls(answer: Answer) -> list[Json]:
    return [{"function": {"name": use.name, "arguments": use.arguments}} for use in answer.first.calls]


def _whole(call: Received, answer: Answer) -> Json:
    thought = "".join(answer.thoughts)
    return {**_piece(call, said=answer.first.text, thought=thought, calls=_calls(answer)), **_end(call, answer)}


def _documents(call: Received, answer: Answer) -> Iterator[Json]:
    for piece in answer.thoughts:
        yield _piece(call, thought=piece)
    for piece in answer.first.pieces:
        yield _piece(call, said=piece)
    if answer.first.calls:
        yield _piece(call, calls=_calls(answer))
    yield {**_piece(call), **_end(call, answer)}
