"""What a request says: the model, a stream, and what ties it to earlier calls."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.wire import Asking, Route, ToolAnswer, last_user_text, may_be_metered, read_asking, recognise
from taximeter.wire.keeping import CUT, MAX_CHARACTERS
from tests.wire.altering import altered, json_of
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
        (ToolAnswer("a", None, 5), ToolAnswer("b", failed=None, result_bytes=2)),
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


def test_results_further_back_are_not_looked_for() -> None:
    """Only the results in the newest messages are new: a message of the user's after them ends the search."""
    messages = [{"role": "tool", "tool_call_id": "a", "content": "1"}, {"role": "user", "content": "Go on."}]
    assert asking({"messages": messages}).tool_answers == ()


@pytest.mark.parametrize(
    ("body", "model", "answers"),
    [
        (b'{"model":"m","stream":null,"messages":null,"contents":[1]}', "m", []),
        (b'{"model":"m","stream":1,"messages":[{"role":"tool","tool_call_id":"a","content":"x"}]}', "m", ["a"]),
        (b'{"modelId":"m","messages":[{"role":5,"content":[{"type":"tool_result","tool_use_id":"a"}]}]}', "m", ["a"]),
        (b'{"model":"m","input":{"role":"user"},"contents":[]}', "m", []),
        (b'{"model":"m","messages":[{"role":"tool","tool_call_id":"a","content":"\xff"}]}', "m", []),
        (b'{"model":"\xff","messages":[{"role":"user","content":"x"}]}', "by path", []),
        (b'{"model":"\\ud83d","messages":[]}', "by path", []),
        (b'{"model":"m","messages":[5,"x",null,[]]}', "m", []),
        (b'{"model":"m","messages":[{"role":"tool","tool_call_id":["a"],"content":"x"}]}', "m", []),
        (b'{"model":"m","messages":[{"content":[{"functionResponse":7}]}]}', "m", []),
    ],
)
def test_bodies_in_which_something_is_unusual(body: bytes, model: str, answers: list[str]) -> None:
    """Types that do not fit, bytes that are no text: what can be read is, and nothing breaks."""
    found = read_asking(Route("openai.chat", "openai", model="by path"), body)
    assert (found.model, found.stream) == (model, None)
    assert [answer.id for answer in found.tool_answers] == answers


@given(body=st.sampled_from([body for body, _ in TOOLS.values()]), dice=st.randoms(use_true_random=False))
def test_the_usual_and_the_general_way_agree(body: dict[str, Any], dice: random.Random) -> None:
    """A body is read the same whether its types are what most are, or its model makes it an unusual one."""
    body = {**altered(body, dice), "model": "m"}
    usual = read_asking(CHAT, json_of(body))
    unusual = read_asking(CHAT, json_of(body | {"previous_interaction_id": 7}))
    assert usual == msgspec.structs.replace(unusual, previous=usual.previous)


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


# ---- what the user says

HELLO = "Grüezi!"
USER = {"role": "user", "content": HELLO}
ANSWER = {"role": "assistant", "content": "Good day."}
SAID: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("openai.chat", {"messages": [{"role": "user", "content": "old"}, ANSWER, USER]}),
    "chat, parts": (
        "openai.chat",
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "Grü"},
                        {"type": "image_url", "image_url": {"url": "x"}},
                        {"type": "text", "text": "ezi!"},
                    ],
                }
            ]
        },
    ),
    "chat, tools": (
        "openai.chat",
        {
            "messages": [
                USER,
                {"role": "assistant", "tool_calls": []},
                {"role": "tool", "tool_call_id": "a", "content": "1"},
            ]
        },
    ),
    "completions": ("openai.completions", {"model": "m", "prompt": HELLO}),
    "completions, several": ("openai.completions", {"prompt": ["Grü", "ezi!"]}),
    "images": ("openai.images", {"prompt": HELLO}),
    "responses": ("openai.responses", {"input": HELLO}),
    "responses, items": (
        "openai.responses",
        {
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": HELLO}]},
                {
                    "type": "reasoning",
                    "id": "rs_1",
                    "summary": [],
                    "content": [{"type": "reasoning_text", "text": "Hm."}],
                },
                {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "a", "output": "1"},
            ]
        },
    ),
    "anthropic": (
        "anthropic.messages",
        {
            "system": "Be kind.",
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": HELLO}]},
                {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "1"}]},
            ],
        },
    ),
    "anthropic, complete": ("anthropic.complete", {"prompt": HELLO}),
    "gemini": (
        "gemini.generate",
        {
            "contents": [
                {"parts": [{"text": HELLO}]},
                {"role": "model", "parts": [{"functionCall": {"name": "f"}}]},
                {"role": "user", "parts": [{"functionResponse": {"id": "a", "response": {}}}]},
            ]
        },
    ),
    "gemini, bare": ("gemini.generate", {"contents": {"role": "USER", "parts": {"text": HELLO}}}),
    "interactions": ("gemini.interactions", {"input": HELLO}),
    "interactions, parts": (
        "gemini.interactions",
        {"input": [{"type": "text", "text": "Grü"}, {"type": "image", "uri": "x"}, {"type": "text", "text": "ezi!"}]},
    ),
    "interactions, steps": (
        "gemini.interactions",
        {
            "input": [
                {"type": "user_input", "content": [{"type": "text", "text": HELLO}]},
                {"type": "model_output", "content": [{"type": "text", "text": "Good day."}]},
            ]
        },
    ),
    "converse": (
        "bedrock.converse",
        {
            "messages": [
                {"role": "user", "content": [{"text": HELLO}]},
                {"role": "user", "content": [{"toolResult": {"toolUseId": "a", "content": [{"text": "1"}]}}]},
            ]
        },
    ),
    "invoke, titan": ("bedrock.invoke", {"inputText": HELLO}),
    "invoke, llama": ("bedrock.invoke", {"prompt": HELLO}),
    "cohere": ("cohere.chat", {"messages": [USER, ANSWER]}),
    "cohere, first version": ("cohere.chat", {"message": HELLO, "chat_history": [{"role": "USER", "message": "old"}]}),
    "ollama": ("ollama", {"model": "m", "messages": [USER]}),
    "ollama, prompt": ("ollama", {"model": "m", "prompt": HELLO}),
    "hugging face": ("huggingface.inference", {"inputs": HELLO}),
    "cloudflare": ("cloudflare.run", {"prompt": HELLO}),
}


@pytest.mark.parametrize("name", SAID)
def test_what_the_user_says(name: str) -> None:
    """The text of the user's newest message; what carries back the results of tools is none."""
    api, body = SAID[name]
    found = last_user_text(Route(api, "openai"), json.dumps(body).encode())
    assert found is not None
    assert found.replace("\n", "") == HELLO


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"messages": []},
        {"messages": [ANSWER]},
        {"messages": [USER, ANSWER, {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        {"messages": [{"role": "user", "content": ""}]},
        {"messages": [{"role": 5, "content": HELLO}, 7, None, ["x"]]},
        {"messages": HELLO[:0], "input": [], "prompt": [1, 2, 3]},
        {"prompt": [[1, 2], [3]]},
        {"input": [{"type": "function_call_output", "call_id": "a", "output": "1"}]},
    ],
)
def test_a_user_who_says_nothing(body: dict[str, Any]) -> None:
    """A request without text of the user's, or whose newest message has none, has no text."""
    assert last_user_text(CHAT, json.dumps(body).encode()) is None


@pytest.mark.parametrize("body", [None, b"", b"--boundary", b'{"prompt":', b"[" * 9, b'{"prompt":"\xff"}'])
def test_a_body_that_cannot_be_read(body: bytes | None) -> None:
    """What is no JSON object says nothing, and breaks nothing."""
    assert last_user_text(CHAT, body) is None


def test_what_is_no_message() -> None:
    """Texts that are embedded or read aloud are no messages."""
    body = json.dumps({"input": [HELLO]}).encode()
    assert last_user_text(Route("openai.embeddings", "openai"), body) is None
    assert last_user_text(Route("openai.responses", "openai"), body) == HELLO


def test_a_long_message_is_cut() -> None:
    """What is kept of a message is bounded."""
    body = json.dumps({"messages": [{"role": "user", "content": "x" * (MAX_CHARACTERS + 1)}]}).encode()
    assert last_user_text(CHAT, body) == "x" * MAX_CHARACTERS + CUT
