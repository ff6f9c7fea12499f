"""Which class speaks which wire format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from taximeter.simulator.formats.anthropic import AnthropicComplete, AnthropicMessages
from taximeter.simulator.formats.bedrock import BedrockConverse, BedrockInvoke
from taximeter.simulator.formats.cohere import CohereChat, CohereEmbed, Rerank
from taximeter.simulator.formats.gemini import Gemini, GeminiEmbed, VertexPredict
from taximeter.simulator.formats.hosts import CloudflareRun, HuggingFaceInference
from taximeter.simulator.formats.interactions import GeminiInteractions
from taximeter.simulator.formats.ollama import Ollama
from taximeter.simulator.formats.openai_chat import OpenAIChat, OpenAICompletions
from taximeter.simulator.formats.openai_media import (
    MistralOCR,
    OpenAIEmbeddings,
    OpenAIImages,
    OpenAISpeech,
    OpenAITranscription,
)
from taximeter.simulator.formats.openai_responses import OpenAIResponses
from taximeter.simulator.speaker import Speaker

SPEAKERS: Final[Mapping[str, Speaker]] = {
    "openai.chat": OpenAIChat(),
    "openai.responses": OpenAIResponses(),
    "openai.completions": OpenAICompletions(),
    "openai.embeddings": OpenAIEmbeddings(),
    "openai.images": OpenAIImages(),
    "openai.transcriptions": OpenAITranscription(),
    "openai.speech": OpenAISpeech(),
    "anthropic.messages": AnthropicMessages(),
    "anthropic.complete": AnthropicComplete(),
    "gemini.generate": Gemini(),
    "gemini.embed": GeminiEmbed(),
    "gemini.interactions": GeminiInteractions(),
    "vertex.predict": VertexPredict(),
    "bedrock.converse": BedrockConverse(),
    "bedrock.invoke": BedrockInvoke(),
    "cohere.chat": CohereChat(),
    "cohere.embed": CohereEmbed(),
    "rerank": Rerank(),
    "mistral.ocr": MistralOCR(),
    "ollama": Ollama(),
    "huggingface.inference": HuggingFaceInference(),
    "cloudflare.run": CloudflareRun(),
}
"""By the name that :data:`taximeter.wire.APIS` gives the format. A test holds the two lists equal."""
