"""Gemini's generateContent, its embeddings, and Vertex AI's predict."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.parse import parse_qs

from taximeter.simulator.answer import Answer, Counts
from taximeter.simulator.ask import Ask, Received, Tool, Turn, turn, whole
from taximeter.simulator.formats.openai_media import vector
from taximeter.simulator.memory import Memory
from taximeter.simulator.reply import CREATED_TEXT, JSON, SSE, Reply, dumps, event, pretty
from taximeter.simulator.speaker import BROKEN, Speaker
from taximeter.simulator.tokens import MEDIA_TOKENS, tokens
from taximeter.wire.loose import JsonObject as Json
from taximeter.wire.loose import arr, obj, text

_STOPPED: Final = {"stop": "STOP", "length": "MAX_TOKENS", "tools": "STOP"}
_STATUSES: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}


def google_refusal(status: int, message: str) -> Json:
    """An error as Google words it."""
    return {"error": {"code": status, "message": message, "status": _STATUSES.get(status, "UNKNOWN")}}


def either(body: Json, name: str) -> object:
    """A member that may be written in camel case or in snake case."""
    snake = "".join(f"_{each.lower()}" if each.isupper() else each for each in name)
    return body.get(name, body.get(snake))


def gemini_ask(body: Json) -> Ask:
    """What a body of generateContent asks for."""
    config = obj(either(body, "generationConfig"))
    thinking = obj(either(config, "thinkingConfig"))
    budget = either(thinking, "thinkingBudget")
    level = (text(either(thinking, "thinkingLevel")) or "").lower()
    calling = obj(either(obj(either(body, "toolConfig")), "functionCallingConfig"))
    mode = (text(calling.get("mode")) or "").upper()
    return Ask(
        turns=tuple(_turns(body)),
        tools=tuple(_tools(body.get("tools"))),
        effort=level or ("none" if budget == 0 else "medium" if budget is not None else None),
        choice={"ANY": "required", "NONE": "none"}.get(mode),
        max_tokens=whole(either(config, "maxOutputTokens")),
    )


def _turns(body: Json) -> Iterator[Turn]:
    system = either(body, "systemInstruction")
    if system:
        yield turn("system", system)
    contents = body.get("contents")
    for each in arr(contents) or [contents]:
        parts = obj(each).get("parts")
        brings = any(either(obj(part), "functionResponse") is not None for part in arr(parts))
        yield turn(obj(each).get("role"), parts, tool=brings)


def _tools(tools: object) -> Iterator[Tool]:
    for each in arr(tools):
        for declared in arr(either(obj(each), "functionDeclarations")):
            name = text(obj(declared).get("name"))
            if name is not None:
                schema = obj(declared).get("parameters") or either(obj(declared), "parametersJsonSchema")
                yield Tool(name, obj(schema))


def _usage(counts: Counts, output: int) -> Json:
    """The usageMetadata when so much of the answer has come; thoughts stand beside the answer."""
    pictures = counts.media * MEDIA_TOKENS
    details = [{"modality": "TEXT", "tokenCount": counts.input - pictures}]
    if pictures:
        details.append({"modality": "IMAGE", "tokenCount": pictures})
    usage: Json = {"promptTokenCount": counts.input, "candidatesTokenCount": output}
    usage |= {"totalTokenCount": counts.input + counts.reasoning + output, "promptTokensDetails": details}
    usage |= {"cachedContentTokenCount": counts.read} if counts.read else {}
    return usage | ({"thoughtsTokenCount": counts.reasoning} if counts.reasoning else {})


def _stated(counts: Counts) -> dict[str, int]:
    stated = {"input_tokens": counts.input, "output_tokens": counts.output}
    stated |= {"cache_read_tokens": counts.read} if counts.read else {}
    stated |= {"input_image_tokens": counts.media * MEDIA_TOKENS} if counts.media else {}
    return stated | ({"output_reasoning_tokens": counts.reasoning} if counts.reasoning else {})


class Gemini(Speaker):
    """https://ai.google.dev/api/generate-content (read 2026-11)."""

    def ask(self, call: Received, memory: Memory) -> Ask:
        """Contents, tools and limits."""
        del memory
        return gemini_ask(call.body)

    def reply(self, call: Received, answer: Answer, memory: Memory) -> Reply:
        """A response; or chunks of it, as events or as one array."""
        del memory
        documents = list(self._chunks(call, answer)) if call.stream else [self._whole(call, answer)]
        sse = "sse" in parse_qs(call.query).get("alt", [])
        if sse:
            chunks = [event(each, newline=b"\r\n") for each in documents]
        elif call.stream:
            chunks = [(b",\r\n" if index else b"[") + pretty(each) for index, each in enumerate(documents)]
            chunks.append(b"]\n")
        else:
            chunks = [pretty(each) for each in documents]
        failed = pretty(google_refusal(503, BROKEN))
        return Reply(
            chunks=chunks,
            kind=SSE if sse else JSON,
            stream=call.stream or sse,
            usage=None if call.knobs.no_usage else _stated(answer.counts),
            usage_at=len(documents) - 1,
            broken=b"\r\n" + failed + b"\r\n" if sse else b",\r\n" + failed + b"]\n",
            response_id=call.id,
            model=call.model,
            tool_calls=len(answer.first.calls),
        )

    def refusal(self, status: int, message: str) -> Json:
        """An ``error`` object."""
        return google_refusal(status, message)

    def _document(self, call: Received, answer: Answer, parts: list[Json], output: int, finish: str | None) -> Json:
        candidate: Json = {"content": {"parts": parts, "role": "model"}, "index": 0}
        candidate |= {"finishReason": finish} if finish else {}
        body: Json = {"candidates": [candidate]}
        if not call.knobs.no_usage:
            body["usageMetadata"] = _usage(answer.counts, output)
        return {**body, "modelVersion": call.model, "createTime": CREATED_TEXT, "responseId": call.id}

    def _whole(self, call: Received, answer: Answer) -> Json:
        thoughts = _thoughts(call, answer)
        parts: list[Json] = [{"text": "".join(thoughts), "thought": True}] if thoughts else []
        parts += [{"text": answer.first.text}] if answer.first.pieces else []
        parts += _function_calls(answer)
        finish = _STOPPED[answer.first.stopped]
        return self._document(call, answer, parts, answer.counts.output - answer.counts.reasoning, finish)

    def _chunks(self, call: Received, answer: Answer) -> Iterator[Json]:
        """One per piece; each states what was used so far."""
        for piece in _thoughts(call, answer):
            yield self._document(call, answer, [{"text": piece, "thought": True}], 0, None)
        said = answer.first
        heard = ""
        for piece in said.pieces:
            heard += piece
            yield self._document(call, answer, [{"text": piece}], tokens(heard), None)
        parts = _function_calls(answer) or [{"text": ""}]
        output = answer.counts.output - answer.counts.reasoning
        yield self._document(call, answer, parts, output, _STOPPED[said.stopped])


def _thoughts(call: Received, answer: Answer) -> tuple[str, ...]:
    """Thoughts are shown only to those who ask to see them."""
    config = obj(either(obj(either(call.body, "generationConfig")), "thinkingConfig"))
    return answer.thoughts if either(config, "includeThoughts") is True else ()


def _function_calls(answer: Answer) -> list[Json]:
    return [{"functionCall": {"name": use.name, "args": use.arguments}} for use in answer.first.calls]


class GeminiEmbed(Speaker):
    """https://ai.google.dev/api/embeddings (read 2026-11)."""

    def ask(self, call: Received, memory: Memory) -> Ask:
        """Each content is a message."""
        del memory
        return Ask(turns=tuple(turn("user", each.get("content")) for each in _embed_requests(call)))

    def reply(self, call: Received, answer: Answer, memory: Memory) -> Reply:
        """A vector per content."""
        del memory
        vectors = [{"values": vector(call.key, index)} for index in range(len(_embed_requests(call)))]
        batch = call.path.rstrip("/").endswith("batchEmbedContents")
        body: Json = {"embeddings": vectors} if batch else {"embedding": vectors[0]}
        given = answer.counts.input
        if call.knobs.no_usage:
            return Reply(chunks=[pretty(body)], usage=None)
        details = [{"modality": "TEXT", "tokenCount": given}]
        body["usageMetadata"] = {"promptTokenCount": given, "promptTokenDetails": details}
        return Reply(chunks=[pretty(body)], usage={"input_tokens": given})

    def refusal(self, status: int, message: str) -> Json:
        """An ``error`` object."""
        return google_refusal(status, message)


def _embed_requests(call: Received) -> list[Json]:
    return [obj(each) for each in arr(call.body.get("requests"))] or [call.body]


class VertexPredict(Speaker):
    """https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api (read 2026-11)."""

    def ask(self, call: Received, memory: Memory) -> Ask:
        """Each instance is a message."""
        del memory
        return Ask(turns=tuple(turn("user", obj(each).get("content")) for each in arr(call.body.get("instances"))))

    def reply(self, call: Received, answer: Answer, memory: Memory) -> Reply:
        """A vector per instance, each with its count."""
        turns = self.ask(call, memory).turns
        predictions: list[Json] = []
        for index, each in enumerate(turns):
            found: Json = {"values": vector(call.key, index)}
            if not call.knobs.no_usage:
                found["statistics"] = {"token_count": each.tokens, "truncated": False}
            predictions.append({"embeddings": found})
        told = bool(turns) and not call.knobs.no_usage
        usage = {"input_tokens": answer.counts.input} if told else None
        return Reply(chunks=[dumps({"predictions": predictions})], usage=usage)

    def refusal(self, status: int, message: str) -> Json:
        """An ``error`` object."""
        return google_refusal(status, message)
