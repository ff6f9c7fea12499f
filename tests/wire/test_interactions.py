"""Gemini's Interactions."""

from __future__ import annotations

import pytest

from taximeter.event import ProviderError, ToolCall
from taximeter.usage import Usage
from tests.wire.making import Json, read, sse

INTERACTION: Json = {
    "total_input_tokens": 20,
    "total_output_tokens": 10,
    "total_thought_tokens": 135,
    "total_tool_use_tokens": 1000,
    "total_cached_tokens": 16,
    "total_tokens": 1165,
    "input_tokens_by_modality": [{"modality": "text", "tokens": 20}, {"modality": "audio", "tokens": 4}],
}
INTERACTED = Usage(
    input_tokens=1020,
    input_tool_tokens=1000,
    cache_read_tokens=16,
    input_audio_tokens=4,
    output_tokens=145,
    output_reasoning_tokens=135,
)


def interaction(status: str, usage: object = None) -> Json:
    """An interaction object."""
    return {"id": "int_1", "model": "gemini-3-flash", "status": status, "usage": usage}


def test_interaction() -> None:
    """Thoughts are outside the output, tools outside the input: 20 + 1000 + 10 + 135 = 1,165."""
    reading = read("gemini.interactions", interaction("completed", INTERACTION), provider="google")
    assert reading.usage == INTERACTED
    assert reading.contradictions == ()
    assert (reading.response_model, reading.finish_reason) == ("gemini-3-flash", "completed")


@pytest.mark.parametrize("done", [False, True])
def test_interaction_stream(*, done: bool) -> None:
    """Usage comes with interaction.completed; newer streams end with ``[DONE]``."""
    body = sse(
        {"event_type": "interaction.created", "interaction": interaction("in_progress")},
        {"event_type": "step.start", "index": 0, "step": {"type": "model_output"}},
        {"event_type": "step.delta", "index": 0, "delta": {"type": "text", "text": "Good"}},
        {"event_type": "step.delta", "index": 0, "delta": {"type": "text", "text": " day"}},
        {"event_type": "step.stop", "index": 0},
        {"event_type": "interaction.completed", "interaction": interaction("completed", INTERACTION)},
        done=done,
    )
    reading = read("gemini.interactions", body, provider="google")
    assert reading.usage == INTERACTED
    assert (reading.usage_source, reading.complete, reading.text_bytes) == ("reported", True, len(b"Good day"))


def test_interaction_with_running_usage() -> None:
    """Older streams repeat a running usage in their metadata; the last figures count."""
    body = sse(
        {"event_type": "content.delta", "index": 0, "delta": {"type": "text", "text": "Good"}},
        {"event_type": "content.stop", "index": 0, "metadata": {"usage": {"total_input_tokens": 20}}},
        {
            "event_type": "interaction.complete",
            "interaction": interaction("completed"),
            "metadata": {"usage": INTERACTION},
        },
    )
    assert read("gemini.interactions", body, provider="google").usage == INTERACTED


def test_interaction_that_calls_a_function() -> None:
    """A function call of an interaction, its arguments as an object."""
    step: Json = {"type": "function_call", "id": "c1", "name": "weather", "arguments": {"city": "Rome"}}
    body = {**interaction("requires_action", INTERACTION), "steps": [step]}
    reading = read("gemini.interactions", body, provider="google")
    assert reading.tool_calls == (ToolCall(id="c1", name="weather", argument_bytes=15),)
    assert reading.finish_reason == "requires_action"


def test_interaction_that_streams_a_function_call() -> None:
    """Name and id come with the step, arguments in deltas."""
    start: Json = {"type": "function_call", "id": "c1", "name": "weather", "arguments": {}}
    body = sse(
        {"event_type": "step.start", "index": 1, "step": start},
        {"event_type": "step.delta", "index": 1, "delta": {"type": "arguments_delta", "arguments": '{"city":'}},
        {"event_type": "step.delta", "index": 1, "delta": {"type": "arguments_delta", "arguments": '"Rome"}'}},
        {"event_type": "interaction.completed", "interaction": interaction("requires_action", INTERACTION)},
    )
    reading = read("gemini.interactions", body, provider="google")
    assert reading.tool_calls == (ToolCall(id="c1", name="weather", argument_bytes=15),)
    assert reading.usage == INTERACTED


def test_interaction_that_fails() -> None:
    """An error event is the provider's error."""
    error: Json = {"event_type": "error", "error": {"code": 503, "message": "Overloaded"}}
    reading = read("gemini.interactions", sse(error), provider="google")
    assert reading.error == ProviderError(code="503", message="Overloaded")
    assert reading.complete is False
