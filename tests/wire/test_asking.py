"""What a request says: the model, a stream, and what ties it to earlier calls."""

from __future__ import annotations

import json
from typing import Any

import pytest

from taximeter.wire import Asking, Route, ToolAnswer, may_be_metered, read_asking, recognise
from tests.wire.recordings import names, recording

CHAT = Route("openai.chat", "openai")


def asking(body: object, route: Route = CHAT) -> Asking:
    """The reading of a body."""
    return read_asking(route, json.dumps(body).encode())


def test_model_and_stream() -> None:
    """The body's word wins over the path's."""
    assert asking({"model": "gpt-5", "stream": True}) == Asking(model="gpt-5", stream=True)
    route = Route("gemini.generate", "google", model="gemini-2.5-flash", stream=True)
    found = asking({"contents": []}, route)
    assert (found.model, found.stream) == ("gemini-2.5-flash", True)


@pytest.mark.parametrize("body", [None, b"", b"--boundary\r\n", b"\xff\xfe", b"[1]", b'{"model":', b"{" * 5000, b"7"])
def test_what_is_no_object(body: bytes | None) -> None:
    """A form, an upload, or nonsense says nothing, and breaks nothing."""
    assert read_asking(CHAT, body) == Asking()


def test_types_that_do_not_fit() -> None:
    """A model that is a number is no model."""
    assert asking({"model": 5, "stream": "yes", "messages": {"role": "user"}, "previous_response_id": []}) == Asking()


def test_digests_tell_messages_apart() -> None:
    """Equal messages have equal digests; one that differs in the middle of its text and in length does not."""
    one = {"role": "user", "content": "a" * 500}
    two = {"role": "user", "content": "a" * 501}
    first, second, third = (asking({"messages": messages}).digests for messages in ([one], [one, two], [two, one]))
    assert second[:1] == first
    assert third == second[::-1]
    assert first[0] != second[1]


TOOLS: dict[str, tuple[dict[str, Any], tuple[ToolAnswer, ...]]] = {
    "chat": (
        {
            "messages": [
                {"role": "tool", "tool_call_id": "old", "content": "1"},
                {"role": "assistant", "tool_calls": []},
                {"role": "tool", "tool_call_id": "a", "content": "sunny"},
                {"role": "tool", "tool_call_id": "b", "content": "é"},
            ]
        },
        (ToolAnswer("b", failed=None, result_bytes=2), ToolAnswer("a", None, 5)),
    ),
    "responses": (
        {"input": [{"type": "function_call_output", "call_id": "a", "output": "sunny"}]},
        (ToolAnswer("a", failed=None, result_bytes=5),),
    ),
    "anthropic": (
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "a", "content": "sunny"},
                        {"type": "tool_result", "tool_use_id": "b", "is_error": True, "content": "no"},
                    ],
                }
            ]
        },
        (ToolAnswer("a", failed=False, result_bytes=5), ToolAnswer("b", failed=True, result_bytes=2)),
    ),
    "converse": (
        {"messages": [{"role": "user", "content": [{"toolResult": {"toolUseId": "a", "status": "error"}}]}]},
        (ToolAnswer("a", failed=True, result_bytes=0),),
    ),
    "gemini": (
        {"contents": [{"role": "user", "parts": [{"functionResponse": {"id": "a", "response": {"error": "x"}}}]}]},
        (ToolAnswer("a", failed=True, result_bytes=len('{"error":"x"}')),),
    ),
}


@pytest.mark.parametrize("name", TOOLS)
def test_tool_answers(name: str) -> None:
    """The results in the newest messages, with whether the tool failed where the format can say, and their size."""
    body, expected = TOOLS[name]
    assert asking(body).tool_answers == expected


def test_continuations() -> None:
    """Responses and Interactions name the answer that they continue."""
    assert asking({"previous_response_id": "resp_1"}).previous == "resp_1"
    assert asking({"previous_interaction_id": "v1_1"}).previous == "v1_1"


PATHS = [
    ("api.openai.com", "/v1/chat/completions"),
    ("api.openai.com", "/v1/responses"),
    ("api.openai.com", "/v1/completions"),
    ("api.openai.com", "/v1/embeddings"),
    ("api.openai.com", "/v1/images/generations"),
    ("api.openai.com", "/v1/audio/transcriptions"),
    ("api.openai.com", "/v1/audio/speech"),
    ("x.openai.azure.com", "/openai/deployments/d/chat/completions"),
    ("api.anthropic.com", "/v1/messages"),
    ("api.anthropic.com", "/v1/complete"),
    ("generativelanguage.googleapis.com", "/v1beta/models/gemini-2.5-flash:streamGenerateContent"),
    ("generativelanguage.googleapis.com", "/v1beta/interactions"),
    ("bedrock-runtime.us-east-1.amazonaws.com", "/model/a.b-v1%3A0/converse-stream"),
    ("bedrock-runtime.us-east-1.amazonaws.com", "/model/a.b-v1%3A0/invoke"),
    ("api.cohere.com", "/v2/chat"),
    ("api.cohere.com", "/v2/embed"),
    ("api.cohere.com", "/v2/rerank"),
    ("localhost:11434", "/api/generate"),
    ("api-inference.huggingface.co", "/models/org/name"),
    ("x.endpoints.huggingface.cloud", "/"),
    ("api.cloudflare.com", "/client/v4/accounts/a/ai/run/@cf/meta/llama"),
    ("x.azuredatabricks.net", "/serving-endpoints/e/invocations"),
    ("api.mistral.ai", "/v1/ocr"),
]


@pytest.mark.parametrize(("host", "path"), PATHS)
@pytest.mark.parametrize("end", ["", "/", "?beta=true"])
def test_the_quick_look_lets_no_call_slip(host: str, path: str, end: str) -> None:
    """What is recognised is let through."""
    assert recognise("POST", host, path) is not None
    assert may_be_metered(path + end)


def test_the_quick_look_stops_most_others() -> None:
    """Other traffic is not looked at twice."""
    for path in (
        "/users/17",
        "/v1/files",
        "/v1/messages/count_tokens",
        "/index.html",
        "/api/tags",
        "/orders?x=messages",
    ):
        assert not may_be_metered(path)


@pytest.mark.needs("captures")
def test_the_quick_look_on_recorded_calls() -> None:
    """Every recorded call is let through, and its model read from its request."""
    assert names()
    for name in names():
        request = json.loads((recording(name).capture.folder / "request.json").read_bytes())
        assert may_be_metered("/" + request["url"].partition("/")[2]), name
