"""Hugging Face's inference API, and Cloudflare's Workers AI."""

from __future__ import annotations

from taximeter.simulator.answer import Answer
from taximeter.simulator.ask import Ask, Received, openai_turns, turn, whole
from taximeter.simulator.memory import Memory
from taximeter.simulator.reply import JSON, SSE, Reply, dumps, event
from taximeter.simulator.speaker import BROKEN, Speaker
from taximeter.wire.loose import JsonObject as Json
from taximeter.wire.loose import obj


class HuggingFaceInference(Speaker):
    """https://huggingface.co/docs/text-generation-inference (read 2026-11): counts come only with ``details``."""

    def ask(self, call: Received, memory: Memory) -> Ask:
        """The inputs."""
        del memory
        limit = whole(obj(call.body.get("parameters")).get("max_new_tokens"))
        return Ask(turns=(turn("user", call.body.get("inputs")),), max_tokens=limit)

    def reply(self, call: Received, answer: Answer, memory: Memory) -> Reply:
        """The text; or one event per piece, the last with the details."""
        del memory
        said = answer.first
        counts = answer.counts
        wanted = call.stream or obj(call.body.get("parameters")).get("details") is True
        told = wanted and not call.knobs.no_usage
        stopped = "length" if said.stopped == "length" else "eos_token"
        details: Json = {"finish_reason": stopped}
        details |= {"generated_tokens": counts.output, "input_length": counts.input} if told else {}
        if call.stream:
            rest = {"generated_text": None, "details": None}
            chunks = [event({"token": {"id": index, "text": each}, **rest}) for index, each in enumerate(said.pieces)]
            end = {"id": 0, "text": "", "special": True}
            chunks.append(event({"token": end, "generated_text": said.text, "details": details}))
        else:
            chunks = [dumps([{"generated_text": said.text, **({"details": details} if wanted else {})}])]
        return Reply(
            chunks=chunks,
            kind=SSE if call.stream else JSON,
            stream=call.stream,
            usage={"input_tokens": counts.input, "output_tokens": counts.output} if told else None,
            usage_at=len(chunks) - 1,
            broken=event(self.refusal(500, BROKEN)),
        )

    def refusal(self, status: int, message: str) -> Json:
        """An ``error`` that is a sentence."""
        return {"error": message, "error_type": "overloaded" if status in (429, 503) else "generation"}


class CloudflareRun(Speaker):
    """https://developers.cloudflare.com/workers-ai (read 2026-11): the answer is wrapped in ``result``."""

    def ask(self, call: Received, memory: Memory) -> Ask:
        """Messages, or a prompt."""
        del memory
        body = call.body
        turns = tuple(openai_turns(body.get("messages"))) or (turn("user", body.get("prompt")),)
        return Ask(turns=turns, max_tokens=whole(body.get("max_tokens")))

    def reply(self, call: Received, answer: Answer, memory: Memory) -> Reply:
        """The result, or pieces of it and ``[DONE]``."""
        del memory
        counts = answer.counts
        usage = {"prompt_tokens": counts.input, "completion_tokens": counts.output, "total_tokens": counts.total}
        told: Json = {} if call.knobs.no_usage else {"usage": usage}
        if call.stream:
            chunks = [event({"response": each}) for each in answer.first.pieces]
            chunks += [event({"response": "", **told}), b"data: [DONE]\n\n"]
        else:
            result = {"response": answer.first.text, **told}
            chunks = [dumps({"result": result, "success": True, "errors": [], "messages": []})]
        return Reply(
            chunks=chunks,
            kind=SSE if call.stream else JSON,
            stream=call.stream,
            usage={"input_tokens": counts.input, "output_tokens": counts.output} if told else None,
            usage_at=max(len(chunks) - 2, 0),
            broken=event(self.refusal(500, BROKEN)),
            model=call.model,
        )

    def refusal(self, status: int, message: str) -> Json:
        """An unsuccessful result."""
        errors = [{"code": status, "message": message}]
        return {"result": None, "success": False, "errors": errors, "messages": []}
