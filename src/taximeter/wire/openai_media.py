"""OpenAI's endpoints for embeddings, images and audio, those who speak them, and Mistral's for documents."""

from __future__ import annotations

from collections.abc import Mapping

from taximeter.usage import Count
from taximeter.wire.dialects import count_usage, stated_cost
from taximeter.wire.format import Format, Route
from taximeter.wire.idle import IdleText
from taximeter.wire.loose import JsonObject, count, maybe_obj, obj, seconds, text
from taximeter.wire.openai_responses import image_counts


class _UsageAtTop(Format):
    """Formats whose answer has a ``usage`` at its top, or in the last event of its stream."""

    def __init__(self, route: Route, headers: Mapping[str, str]) -> None:
        super().__init__(route, headers)
        self._usage: JsonObject | None = None

    def document(self, body: JsonObject) -> None:
        self.identify(body)
        if isinstance(body.get("usage"), dict):
            self._usage = obj(body["usage"])
            self.raw_usage = self._usage
            self.provider_cost = stated_cost(self._usage)

    def event(self, name: bytes, body: JsonObject) -> IdleText | None:
        if not self.fail(body):
            self.document(body)
            kind = text(body.get("type")) or ""
            self.ended = self.ended or kind.endswith((".done", ".completed"))
        return None

    def marker(self, data: bytes) -> None:
        self.ended = self.ended or data == b"[DONE]"


class OpenAIEmbeddings(_UsageAtTop):
    """https://platform.openai.com/docs/api-reference/embeddings (read 2026-11). Voyage states only ``total_tokens``."""

    def counts(self) -> dict[str, Count | None] | None:
        if self._usage is None:
            return None
        counts = count_usage(self, self._usage)
        counts["input_pixels"] = count(self._usage.get("image_pixels"))
        return counts


class OpenAIImages(_UsageAtTop):
    """https://platform.openai.com/docs/api-reference/images (read 2026-11). dall-e states no usage."""

    def counts(self) -> dict[str, Count | None] | None:
        if self._usage is None or not ("input_tokens" in self._usage or "output_tokens" in self._usage):
            return None
        return image_counts(self, self._usage)


class OpenAITranscription(_UsageAtTop):
    """https://platform.openai.com/docs/api-reference/audio (read 2026-11): tokens, or seconds of audio."""

    def document(self, body: JsonObject) -> None:
        super().document(body)
        said = body.get("delta") or (None if self.answer else body.get("text"))
        if self.answer is not None and isinstance(said, str):
            self.answer.add(said, 0)

    def counts(self) -> dict[str, Count | None] | None:
        if self._usage is None:
            return None
        duration = seconds(self._usage.get("seconds"))
        if duration is not None:
            return {"audio_seconds": duration, "input_audio_seconds": duration}
        usage = dict(self._usage)
        usage.setdefault("input_tokens_details", usage.pop("input_token_details", None))
        return count_usage(self, usage)


class OpenAISpeech(Format):
    """https://platform.openai.com/docs/api-reference/audio (read 2026-11): sound, and in a stream its usage last."""

    def __init__(self, route: Route, headers: Mapping[str, str]) -> None:
        super().__init__(route, headers)
        self._usage: JsonObject | None = None

    def document(self, body: JsonObject) -> None:
        if isinstance(body.get("usage"), dict):
            self._usage = obj(body["usage"])
            self.raw_usage = self._usage

    def event(self, name: bytes, body: JsonObject) -> IdleText | None:
        if not self.fail(body):
            self.document(body)
            self.ended = self.ended or body.get("type") == "speech.audio.done"
        return None

    def counts(self) -> dict[str, Count | None] | None:
        return None if self._usage is None else count_usage(self, self._usage)


class MistralOCR(Format):
    """https://docs.mistral.ai/api/endpoint/ocr (read 2026-11): pages, and pages that were annotated too."""

    def __init__(self, route: Route, headers: Mapping[str, str]) -> None:
        super().__init__(route, headers)
        self._usage: JsonObject | None = None
        self._annotated = False

    def document(self, body: JsonObject) -> None:
        self.identify(body)
        self._usage = maybe_obj(body.get("usage_info"))
        self.raw_usage = self._usage
        self._annotated = body.get("document_annotation") is not None

    def event(self, name: bytes, body: JsonObject) -> IdleText | None:
        self.document(body)
        return None

    def counts(self) -> dict[str, Count | None] | None:
        pages = count(obj(self._usage).get("pages_processed"))
        if pages is None:
            return None
        return {"input_document_pages": pages, "input_annotated_document_pages": pages if self._annotated else None}
