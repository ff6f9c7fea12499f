"""Embeddings, images, transcription and speech in OpenAI's shape; other inference endpoints of few words."""

from __future__ import annotations

from decimal import Decimal

import pytest

from taximeter.event import ProviderError
from taximeter.money import Money
from taximeter.usage import Usage
from tests.wire.making import EXACT, Json, counted, kinds, read, sse

# ---- embeddings


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        ({"prompt_tokens": 12, "total_tokens": 12}, Usage(input_tokens=12)),
        ({"total_tokens": 12}, Usage(input_tokens=12)),
        (
            {"prompt_tokens": 12, "total_tokens": 12, "completion_tokens": 0},
            Usage(input_tokens=12, output_tokens=0),
        ),
        (
            {"text_tokens": 12, "image_pixels": 2_000_000, "total_tokens": 3584},
            Usage(input_tokens=3584, input_pixels=2_000_000),
        ),
    ],
    ids=["openai", "voyage", "mistral", "voyage-multimodal"],
)
def test_embedding(usage: Json, counted: Usage) -> None:
    """Voyage states only a total, Mistral a completion of 0; all of it is input."""
    body: Json = {"object": "list", "data": [{"embedding": [1]}], "model": "ada", "usage": usage}
    reading = read("openai.embeddings", body, provider="azure")
    assert reading.usage == counted
    assert (reading.response_model, reading.contradictions) == ("ada", ())


def test_embedding_without_usage() -> None:
    """Nothing stated is unknown."""
    assert read("openai.embeddings", {"data": [], "model": "m"}).usage_source == "unknown"


# ---- images


IMAGE: Json = {
    "input_tokens": 60,
    "input_tokens_details": {"text_tokens": 10, "image_tokens": 50},
    "output_tokens": 1056,
    "total_tokens": 1116,
}


def test_image() -> None:
    """The output's details tell pictures from text."""
    usage = {**IMAGE, "output_tokens_details": {"image_tokens": 1000, "text_tokens": 56}}
    reading = read("openai.images", {"created": 1_780_000_000, "data": [{"b64_json": "x"}], "usage": usage})
    assert reading.usage == Usage(input_tokens=60, input_image_tokens=50, output_tokens=1056, output_image_tokens=1000)
    assert reading.contradictions == ()


def test_image_without_output_details() -> None:
    """Where the details are missing, the output is all picture."""
    assert read("openai.images", {"data": [], "usage": IMAGE}).usage == Usage(
        input_tokens=60, input_image_tokens=50, output_tokens=1056, output_image_tokens=1056
    )


def test_image_without_usage() -> None:
    """dall-e states nothing; xAI only what it cost."""
    reading = read("openai.images", {"created": 1_780_000_000, "data": []})
    assert (reading.usage, reading.usage_source) == (None, "unknown")
    reading = read("openai.images", {"data": [], "usage": {"cost_in_usd_ticks": 700_000_000}}, provider="xai")
    assert (reading.usage, reading.provider_cost) == (None, Money.usd("0.07"))


def test_image_stream() -> None:
    """Pictures come in parts; the last event has the usage."""
    body = sse(
        {"type": "image_generation.partial_image", "b64_json": "AAAA", "partial_image_index": 0},
        {"type": "image_generation.completed", "b64_json": "AAAA", "usage": IMAGE},
        named=True,
    )
    reading = read("openai.images", body)
    assert reading.usage is not None
    assert (reading.usage.output_image_tokens, reading.complete) == (1056, True)


# ---- transcription


TRANSCRIBED: Json = {
    "type": "tokens",
    "input_tokens": 14,
    "input_token_details": {"text_tokens": 4, "audio_tokens": 10},
    "output_tokens": 45,
    "total_tokens": 59,
}
HEARD = Usage(input_tokens=14, input_audio_tokens=10, output_tokens=45)


def test_transcription_by_tokens() -> None:
    """Tokens of audio and text, the name of the details being singular."""
    assert read("openai.transcriptions", {"text": "Good day.", "usage": TRANSCRIBED}).usage == HEARD


@pytest.mark.parametrize(("written", "seconds"), [("7.35", Decimal("7.35")), ("0.1", Decimal("0.1")), ("7", 7)])
def test_transcription_by_duration(written: str, seconds: Decimal | int) -> None:
    """Seconds are kept exactly as they are written."""
    body: Json = {"text": "Good day.", "usage": {"type": "duration", "seconds": EXACT(written)}}
    usage = counted(read("openai.transcriptions", body))
    assert usage == Usage(audio_seconds=seconds, input_audio_seconds=seconds)
    assert str(usage.input_audio_seconds) == written


def test_transcription_stream() -> None:
    """Usage comes with transcript.text.done; lines end with CRLF."""
    body = sse(
        {"type": "transcript.text.delta", "delta": "Good"},
        {"type": "transcript.text.delta", "delta": " day."},
        {"type": "transcript.text.done", "text": "Good day.", "usage": TRANSCRIBED},
        end=b"\r\n",
        done=True,
    )
    reading = read("openai.transcriptions", body)
    assert (reading.usage, reading.complete) == (HEARD, True)


def test_transcription_in_plain_text() -> None:
    """An answer in plain text or subtitles says nothing, and that is no fault."""
    body = b"1\n00:00:00,000 --> 00:00:01,000\nGood day.\n"
    reading = read("openai.transcriptions", body, content_type="text/plain")
    assert (reading.usage, reading.usage_source, reading.fault) == (None, "unknown", None)


# ---- speech


def test_speech_is_sound() -> None:
    """Sound is passed over, and its usage unknown."""
    reading = read("openai.speech", bytes(range(256)) * 40, content_type="audio/mpeg")
    assert (reading.usage, reading.usage_source, reading.fault) == (None, "unknown", None)


def test_speech_is_not_held() -> None:
    """Sound that happens to look like a brace does not matter either."""
    reading = read("openai.speech", b"\xff\xfb{" + bytes(1000), content_type="audio/mpeg")
    assert (reading.usage, reading.fault) == (None, None)


def test_speech_stream() -> None:
    """In a stream of events the last has the usage."""
    usage: Json = {"input_tokens": 14, "output_tokens": 101, "total_tokens": 115}
    body = sse({"type": "speech.audio.delta", "audio": "AAAA"}, {"type": "speech.audio.done", "usage": usage})
    reading = read("openai.speech", body)
    assert (reading.usage, reading.complete) == (Usage(input_tokens=14, output_tokens=101), True)


# ---- Hugging Face, Vertex predict, Workers AI


def test_huggingface_with_details() -> None:
    """Counts come with the details that a request asked for."""
    details = {"finish_reason": "length", "generated_tokens": 20, "prefill": [{"id": n} for n in range(6)]}
    reading = read("huggingface.inference", [{"generated_text": "Good day.", "details": details}])
    assert reading.usage == Usage(input_tokens=6, output_tokens=20)
    assert reading.finish_reason == "length"


def test_huggingface_without_details() -> None:
    """Without them nothing is known."""
    reading = read("huggingface.inference", [{"generated_text": "Good day."}])
    assert (reading.usage, reading.usage_source, reading.fault) == (None, "unknown", None)


def test_huggingface_embedding() -> None:
    """An array of numbers states nothing."""
    reading = read("huggingface.inference", [[1, 2], [3, 4]])
    assert (reading.usage, reading.fault) == (None, None)


def test_huggingface_stream() -> None:
    """The last event has the text and the details."""
    body = sse(
        {"index": 1, "token": {"id": 9, "text": "Good"}, "generated_text": None, "details": None},
        {
            "index": 2,
            "token": {"id": 8, "text": " day"},
            "generated_text": "Good day",
            "details": {"finish_reason": "stop", "generated_tokens": 2, "input_length": 6},
        },
    )
    reading = read("huggingface.inference", body)
    assert reading.usage == Usage(input_tokens=6, output_tokens=2)
    assert (reading.complete, reading.text_bytes) == (True, len(b"Good day"))


def test_huggingface_error() -> None:
    """An error is a text."""
    reading = read("huggingface.inference", {"error": "Model is loading", "estimated_time": 20}, status=503)
    assert reading.error == ProviderError(message="Model is loading")
    body = sse({"index": 1, "token": {"text": "Hi"}}, {"error": "out of memory", "error_type": "generation"})
    streamed = read("huggingface.inference", body)
    assert streamed.error == ProviderError(message="out of memory")
    assert streamed.complete is False


def test_vertex_predict() -> None:
    """Embeddings count tokens for each text, and characters for all, which are how older models were billed."""

    def prediction(tokens: int) -> Json:
        return {"embeddings": {"values": [1], "statistics": {"truncated": False, "token_count": tokens}}}

    body: Json = {"predictions": [prediction(4), prediction(5)], "metadata": {"billableCharacterCount": 30}}
    assert read("vertex.predict", body, provider="vertex").usage == Usage(input_tokens=9)
    body = {"predictions": [], "metadata": {"billableCharacterCount": 30}}
    assert read("vertex.predict", body, provider="vertex").usage == Usage(input_characters=30)
    assert read("vertex.predict", {"predictions": [{"bytesBase64Encoded": "x"}]}).usage is None
    body = {"predictions": [], "metadata": {"tokenMetadata": {"inputTokenCount": {"totalTokens": 9}}}}
    assert read("vertex.predict", body).usage == Usage(input_tokens=9)


def test_workers_ai() -> None:
    """The answer is wrapped in ``result``; a stream is not."""
    usage = {"prompt_tokens": 12, "completion_tokens": 7, "total_tokens": 19}
    body: Json = {"result": {"response": "Hi", "usage": usage}, "success": True, "errors": []}
    reading = read("cloudflare.run", body, provider="cloudflare", model="@cf/meta/llama-3")
    assert (reading.usage, reading.response_model) == (Usage(input_tokens=12, output_tokens=7), "@cf/meta/llama-3")
    stream = sse({"response": "Hi", "p": "abc"}, {"response": "", "usage": usage}, done=True)
    reading = read("cloudflare.run", stream, provider="cloudflare")
    assert (reading.usage, reading.complete) == (Usage(input_tokens=12, output_tokens=7), True)
    assert kinds(reading) == []


def test_workers_ai_error() -> None:
    """Errors come in a list."""
    body: Json = {"result": None, "success": False, "errors": [{"code": 7009, "message": "Bad model"}]}
    reading = read("cloudflare.run", body, provider="cloudflare")
    assert reading.error == ProviderError(code="7009", message="Bad model")


# ---- documents


def test_pages_of_a_document() -> None:
    """Mistral's OCR is billed by the page, pages that were annotated apart."""
    body: Json = {"model": "mistral-ocr", "pages": [], "usage_info": {"pages_processed": 29, "doc_size_bytes": 9}}
    reading = read("mistral.ocr", body, provider="mistral")
    assert (reading.usage, reading.response_model) == (Usage(input_document_pages=29), "mistral-ocr")
    annotated = read("mistral.ocr", {**body, "document_annotation": "{}"}, provider="mistral")
    assert annotated.usage == Usage(input_document_pages=29, input_annotated_document_pages=29)
    assert read("mistral.ocr", {"model": "mistral-ocr", "pages": []}).usage is None


def test_cloudflare_refuses() -> None:
    """With an HTTP error the reason stands in a list."""
    body: Json = {
        "success": False,
        "result": None,
        "errors": [{"code": 7009, "message": "Upstream service unavailable"}],
    }
    error = read("cloudflare.run", body, provider="cloudflare", status=502).error
    assert error is not None
    assert (error.code, error.message) == ("7009", "Upstream service unavailable")
