"""OpenAI's embeddings, images, transcriptions and speech, and Mistral's reading of documents."""

from __future__ import annotations

import base64
import struct

from taximeter.simulator.answer import Answer
from taximeter.simulator.ask import Ask, Received, turn, whole
from taximeter.simulator.formats.openai_chat import openai_refusal
from taximeter.simulator.memory import Memory
from taximeter.simulator.reply import CREATED, JSON, SSE, Reply, dumps, event
from taximeter.simulator.speaker import BROKEN, Speaker
from taximeter.simulator.tokens import MEDIA_TOKENS, tokens
from taximeter.wire.loose import JsonObject as Json
from taximeter.wire.loose import arr, obj, text

_DIMENSIONS = 8
_IMAGE_TOKENS = 256
"""What one picture costs to draw."""
_AUDIO_BYTES_PER_TOKEN = 100
"""Sound is a token per so many bytes."""


def vector(seed: bytes, index: int) -> list[float]:
    """An embedding: eight numbers between -1 and 1."""
    return [(each - 128) / 128 for each in (seed[index % 32 :] + seed)[:_DIMENSIONS]]


class _OpenAI(Speaker):
    def refusal(self, status: int, message: str) -> Json:
        """An ``error`` object."""
        return openai_refusal(status, message)


class OpenAIEmbeddings(_OpenAI):
    """https://platform.openai.com/docs/api-reference/embeddings (read 2026-11)."""

    def ask(self, call: Received, memory: Memory) -> Ask:
        """Each input is a message; token ids are four bytes each."""
        del memory
        given = call.body.get("input")
        items = arr(given) or [given]
        if items and isinstance(items[0], int):
            items = [items]
        return Ask(turns=tuple(turn("user", "...." * len(each) if arr(each) else each) for each in items))

    def reply(self, call: Received, answer: Answer, memory: Memory) -> Reply:
        """A vector per input."""
        del memory
        counts = answer.counts
        given = call.body.get("input")
        number = len(arr(given)) if arr(given) and not isinstance(arr(given)[0], int) else 1
        vectors: list[object] = [vector(call.key, index) for index in range(number)]
        if call.body.get("encoding_format") == "base64":
            vectors = [
                base64.b64encode(struct.pack(f"<{_DIMENSIONS}f", *vector(call.key, at))).decode()
                for at in range(number)
            ]
        data = [{"object": "embedding", "index": index, "embedding": each} for index, each in enumerate(vectors)]
        body: Json = {"object": "list", "data": data, "model": call.model}
        if call.knobs.no_usage:
            return Reply(chunks=[dumps(body)], usage=None, model=call.model)
        usage = {"prompt_tokens": counts.input, "total_tokens": counts.input}
        stated = {"input_tokens": counts.input}
        if call.route.provider == "mistral":
            body["id"] = call.id
            usage["completion_tokens"] = stated["output_tokens"] = 0
        body["usage"] = usage
        return Reply(chunks=[dumps(body)], usage=stated, response_id=body.get("id"), model=call.model)


class OpenAIImages(_OpenAI):
    """https://platform.openai.com/docs/api-reference/images (read 2026-11)."""

    def ask(self, call: Received, memory: Memory) -> Ask:
        """The prompt, and pictures to edit."""
        del memory
        pictures = sum(key.startswith("image") for key in call.body)
        return Ask(turns=(turn("user", call.body.get("prompt"))._replace(media=pictures),))

    def reply(self, call: Received, answer: Answer, memory: Memory) -> Reply:
        """As many pictures of one pixel as were asked for, or the events of a stream that ends with one."""
        del memory
        number = _number(call.body.get("n"))
        given = answer.counts.input
        drawn = _IMAGE_TOKENS * number
        seen = MEDIA_TOKENS * answer.counts.media
        usage = {
            "input_tokens": given,
            "input_tokens_details": {"text_tokens": given - seen, "image_tokens": seen},
            "output_tokens": drawn,
            "total_tokens": given + drawn,
        }
        picture = base64.b64encode(call.key).decode()
        told: Json = {} if call.knobs.no_usage else {"usage": usage}
        stated = {
            "input_tokens": given,
            "input_image_tokens": seen,
            "output_tokens": drawn,
            "output_image_tokens": drawn,
        }
        if call.stream:
            end = {"type": "image_generation.completed", "b64_json": picture, "created_at": CREATED, **told}
            part = {"type": "image_generation.partial_image", "b64_json": picture, "partial_image_index": 0}
            chunks = [event(part), event(end)]
        else:
            chunks = [dumps({"created": CREATED, "data": [{"b64_json": picture}] * number, **told})]
        return Reply(
            chunks=chunks,
            kind=SSE if call.stream else JSON,
            stream=call.stream,
            usage=None if call.knobs.no_usage else stated,
            usage_at=len(chunks) - 1,
            broken=event({"type": "error", **openai_refusal(500, BROKEN)}),
        )


class OpenAITranscription(_OpenAI):
    """https://platform.openai.com/docs/api-reference/audio (read 2026-11)."""

    def ask(self, call: Received, memory: Memory) -> Ask:
        """The prompt; the sound is counted apart."""
        del memory
        return Ask(turns=(turn("user", call.body.get("prompt")),))

    def reply(self, call: Received, answer: Answer, memory: Memory) -> Reply:
        """The text, by tokens; Whisper's by seconds."""
        del memory
        sound = whole(call.body.get("file_bytes")) or 0
        said = answer.first
        heard = -(-sound // _AUDIO_BYTES_PER_TOKEN)
        given = answer.counts.input
        if "whisper" in call.model:
            usage: Json = {"type": "duration", "seconds": heard}
            stated = {"audio_seconds": heard, "input_audio_seconds": heard}
        else:
            usage = {
                "type": "tokens",
                "input_tokens": given + heard,
                "input_token_details": {"text_tokens": given, "audio_tokens": heard},
                "output_tokens": answer.counts.output,
                "total_tokens": given + heard + answer.counts.output,
            }
            stated = {"input_tokens": given + heard, "input_audio_tokens": heard, "output_tokens": answer.counts.output}
        told: Json = {} if call.knobs.no_usage else {"usage": usage}
        if call.stream:
            chunks = [event({"type": "transcript.text.delta", "delta": each}, newline=b"\r\n") for each in said.pieces]
            done = {"type": "transcript.text.done", "text": said.text, **told}
            chunks += [event(done, newline=b"\r\n"), b"data: [DONE]\r\n\r\n"]
        elif text(call.body.get("response_format")) in ("text", "srt", "vtt"):
            return Reply(chunks=[said.text.encode()], kind="text/plain; charset=utf-8", usage=None)
        else:
            chunks = [dumps({"text": said.text, **told})]
        return Reply(
            chunks=chunks,
            kind=SSE if call.stream else JSON,
            stream=call.stream,
            usage=None if call.knobs.no_usage else stated,
            usage_at=max(len(chunks) - 2, 0),
            broken=event({"type": "error", **openai_refusal(500, BROKEN)}),
        )


class OpenAISpeech(_OpenAI):
    """https://platform.openai.com/docs/api-reference/audio (read 2026-11)."""

    def ask(self, call: Received, memory: Memory) -> Ask:
        """The text to speak."""
        del memory
        return Ask(turns=(turn("user", call.body.get("input")),))

    def reply(self, call: Received, answer: Answer, memory: Memory) -> Reply:
        """Sound without usage; with ``stream_format: sse``, events and their usage."""
        del memory
        given = answer.counts.input
        spoken = 5 * tokens(text(call.body.get("input")) or "")
        sound = [call.key * 8] * 4
        if call.body.get("stream_format") != "sse":
            return Reply(chunks=sound, kind="audio/mpeg", stream=True, usage=None)
        usage = {"input_tokens": given, "output_tokens": spoken, "total_tokens": given + spoken}
        told: Json = {} if call.knobs.no_usage else {"usage": usage}
        chunks = [event({"type": "speech.audio.delta", "audio": base64.b64encode(each).decode()}) for each in sound]
        chunks.append(event({"type": "speech.audio.done", **told}))
        return Reply(
            chunks=chunks,
            kind=SSE,
            stream=True,
            usage=None if call.knobs.no_usage else {"input_tokens": given, "output_tokens": spoken},
            usage_at=len(chunks) - 1,
            broken=event({"type": "error", **openai_refusal(500, BROKEN)}),
        )


class MistralOCR(_OpenAI):
    """https://docs.mistral.ai/api/endpoint/ocr (read 2026-11)."""

    def ask(self, call: Received, memory: Memory) -> Ask:
        """The document."""
        del memory
        return Ask(turns=(turn("user", call.body.get("document")),))

    def reply(self, call: Received, answer: Answer, memory: Memory) -> Reply:
        """The pages that were asked for, or two."""
        del memory
        wanted = arr(call.body.get("pages"))
        pages = len(wanted) or 2
        page: Json = {"markdown": answer.first.text, "images": [], "dimensions": None}
        read = [{"index": index, **page} for index in range(pages)]
        body: Json = {"pages": read, "model": call.model, "document_annotation": None}
        body["usage_info"] = {"doc_size_bytes": len(dumps(obj(call.body.get("document"))))}
        if call.knobs.no_usage:
            return Reply(chunks=[dumps(body)], usage=None, model=call.model)
        body["usage_info"]["pages_processed"] = pages
        return Reply(chunks=[dumps(body)], usage={"input_document_pages": pages}, model=call.model)


def _number(value: object) -> int:
    """``n``, a number or, in a form, a text."""
    digits = str(value)
    return min(int(digits), 10) if digits.isascii() and digits.isdigit() and digits != "0" else 1
