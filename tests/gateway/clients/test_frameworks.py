"""LangChain and LiteLLM, pointed at the gateway as at any server: they give what they give without it."""

from __future__ import annotations

import json
import warnings
from importlib import import_module
from typing import Any

import pytest

from tests.gateway.clients.stage import HELLO, PARAMETERS, Booth, agree, without_ours

pytestmark = pytest.mark.filterwarnings("ignore")  # of themselves

MODEL = "gpt-4o"
SCHEMA: Any = {"type": "function", "function": {"name": "look", "description": "looks", "parameters": PARAMETERS}}


class _LangChain:
    """LangChain's model, of one place."""

    def __init__(self, url: str, **more: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            package: Any = import_module("langchain_openai")
        self.model = package.ChatOpenAI(model=MODEL, base_url=url, api_key="k", **more)


def _plain(message: Any) -> dict[str, Any]:
    """A message less its own id, which differs from run to run, and less the cost."""
    found = json.loads(message.model_dump_json())
    return without_ours({name: value for name, value in found.items() if name != "id"})


@pytest.mark.needs("langchain")
def test_langchain_whole(place: Booth) -> None:
    """The message is the same, and its metadata tell the cost."""
    direct, through = (_LangChain(url).model.invoke("Hello you") for url in _urls(place))
    event = place.event()
    assert _plain(through) == _plain(direct)
    assert through.response_metadata["token_usage"]["cost_usd"] == str(event.cost)
    assert agree(event, place.provider.served[-1])


@pytest.mark.needs("langchain")
@pytest.mark.parametrize("asks", [True, False])
def test_langchain_streamed(place: Booth, asks: bool) -> None:  # noqa: FBT001 - a parameter
    """Piece by piece, with and without usage; the books have it both times."""
    direct, through = (
        [_plain(each) for each in _LangChain(url, stream_usage=asks).model.stream("Hello you")] for url in _urls(place)
    )
    assert through == direct
    assert agree(place.event(), place.provider.served[-1])


@pytest.mark.needs("langchain")
def test_langchain_tools(place: Booth) -> None:
    """A round trip is one turn."""
    said: list[Any] = []
    for url in _urls(place):
        model = _LangChain(url).model.bind_tools([SCHEMA])
        first = model.invoke([("user", "use a tool")])
        results = [{"role": "tool", "tool_call_id": call["id"], "content": "42"} for call in first.tool_calls]
        assert results
        second = model.invoke([("user", "use a tool"), first, *results])
        said.append((_plain(first), _plain(second)))
    assert said[0] == said[1]
    first, second = place.events(2)
    assert first.scope.turn == second.scope.turn is not None


def _urls(place: Booth) -> tuple[str, str]:
    return place.direct("openai"), place.through("openai")


@pytest.fixture
def litellm(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package, looking for nothing on the network."""
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    package: Any = import_module("litellm")
    package.suppress_debug_info = True
    return package


@pytest.mark.needs("litellm")
@pytest.mark.parametrize("model", ["openai/gpt-4o", "anthropic/claude-haiku-4-5"])
def test_litellm(place: Booth, litellm: Any, model: str) -> None:
    """Whole and streamed."""
    api = model.partition("/")[0]
    said: list[Any] = []
    for url in (place.direct(api), place.through(api)):
        asked: Any = {"model": model, "api_key": "k", "messages": HELLO, "api_base": url}
        whole = litellm.completion(**asked)
        stream = list(litellm.completion(stream=True, stream_options={"include_usage": True}, **asked))
        usage = next(each.usage for each in reversed(stream) if getattr(each, "usage", None))
        text = "".join(each.choices[0].delta.content or "" for each in stream if each.choices)
        counts = [(each.prompt_tokens, each.completion_tokens) for each in (whole.usage, usage)]
        said.append((whole.choices[0].message.content, text, counts))
    assert said[0] == said[1]
    assert [event.outcome for event in place.events(2)] == ["completed"] * 2
    assert all(agree(event, call) for event, call in zip(place.events(2), place.provider.served[2:], strict=True))
