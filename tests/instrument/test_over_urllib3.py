"""requests and botocore, hooked through urllib3: booked once, signed bodies untouched, event streams read."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from typing import Any

import pytest

from taximeter.event import CallEvent
from taximeter.instrument import endpoint
from taximeter.instrument import urllib3 as hook
from taximeter.meter import Meter
from taximeter.testing import Simulator
from tests.instrument.asks import ASKING, STREAM, WHOLE, agree, error_of, simulate, steady

CLAUDE = "anthropic.claude-3-5-sonnet-20240620-v1:0"
SAID = [{"role": "user", "content": [{"text": "Hello you"}]}]
INVOKED = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 20, "messages": WHOLE["messages"]}

Wait = Callable[[Callable[[], bool]], None]


@pytest.fixture
def hooked(meter: Meter, need: Callable[[str], None]) -> Iterator[Any]:
    """urllib3, hooked."""
    need("urllib3")
    urllib3: Any = import_module("urllib3")

    hook.install(urllib3)
    yield urllib3
    hook.uninstall(urllib3)
    assert not meter.failures


# ---- requests


@pytest.fixture
def requests(hooked: Any, need: Callable[[str], None]) -> Any:
    """The package, hooked."""
    need("requests")
    package: Any = import_module("requests")

    assert hooked
    return package


@pytest.fixture
def url(provider: Simulator) -> str:
    """Where Chat Completions are."""
    return provider.url("openai") + "/chat/completions"


@pytest.mark.parametrize("knobs", ["", "gzip", "429", "drop=2", "no-head"])
@pytest.mark.parametrize("body", [WHOLE, ASKING])
@pytest.mark.parametrize("stream", [False, True])
def test_requests_sees_the_same(  # noqa: PLR0917, PLR0913 - what differs, each by itself
    requests: Any, hooked: Any, url: str, provider: Simulator, events: list[CallEvent],
    body: dict[str, Any], knobs: str, stream: bool,  # noqa: FBT001 - a parameter of the test
) -> None:  # fmt: skip
    """Status, headers, pieces of the body and errors, with the hook and without; and the call is booked once."""
    seen: list[object] = []

    def ask() -> None:
        with requests.Session() as session:
            answer = session.post(url, json=body, headers=simulate(knobs), stream=stream)
            seen.append((answer.status_code, steady(answer.headers.items())))
            seen.append(list(answer.iter_content(64)) if stream else answer.content)

    for switch in (hook.uninstall, hook.install):
        switch(hooked)
        if knobs in {"drop=2", "no-head"}:
            seen.append(error_of(ask))
        else:
            ask()
    assert seen[: len(seen) // 2] == seen[len(seen) // 2 :]
    assert len(events) == 1
    served = provider.wait_served(2)[1]
    assert agree(events[0], served) or (knobs == "no-head" and events[0].status is None and served.status == 0)


def test_requests_lines_and_break(requests: Any, url: str, events: list[CallEvent], eventually: Wait) -> None:
    """Lines of a stream, read to the end and broken off."""
    with requests.post(url, json=ASKING, stream=True) as answer:
        lines = [line for line in answer.iter_lines() if line]
    assert lines[-1] == b"data: [DONE]"
    with requests.post(url, json=ASKING, headers=simulate("stall=20"), stream=True) as answer:
        for _ in answer.iter_lines():
            break
    eventually(lambda: len(events) == 2)
    assert [event.outcome for event in events] == ["completed", "cancelled"]


def test_requests_uploads_are_left_alone(requests: Any, provider: Simulator, events: list[CallEvent]) -> None:
    """A form with a file reaches the provider, and is not looked into."""
    url = provider.url("openai") + "/audio/transcriptions"
    answer = requests.post(url, files={"file": ("a.wav", b"RIFF0000")}, data={"model": "gpt-4o-transcribe"})
    assert answer.status_code == 200
    assert [(event.api, event.outcome) for event in events] == [("openai.transcriptions", "completed")]


def test_requests_adapter_retries(requests: Any, hooked: Any, url: str, events: list[CallEvent]) -> None:
    """Retries of the adapter are calls of their own."""
    retries = hooked.Retry(2, status_forcelist=[503], allowed_methods=None, backoff_factor=0)
    with requests.Session() as session:
        session.mount("http://", requests.adapters.HTTPAdapter(max_retries=retries))
        assert session.post(url, json=WHOLE, headers=simulate("503, retry-after=0, times=1")).status_code == 200
    assert [(event.outcome, event.status, event.attempt) for event in events] == [
        ("failed", 503, 1),
        ("completed", 200, 2),
    ]


def test_requests_in_scope_and_turn(requests: Any, url: str, events: list[CallEvent]) -> None:
    """The scope in force when the request leaves is the event's, and the turn adds up."""
    from taximeter.meter.scope import scope, turn  # noqa: PLC0415 - only here

    with scope(project="shop", operation="greet"), turn() as exchange:
        requests.post(url, json=WHOLE)
    assert (events[0].scope.project, events[0].scope.operation) == ("shop", "greet")
    assert exchange.calls == 1
    assert exchange.cost_usd == events[0].cost.decimal if events[0].cost else None


# ---- botocore


@pytest.fixture
def bedrock(hooked: Any, provider: Simulator, need: Callable[[str], None]) -> Iterator[Any]:
    """A client of Bedrock's runtime."""
    need("boto3")
    boto3: Any = import_module("boto3")
    config: Any = import_module("botocore.config")

    assert hooked
    made = boto3.client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=provider.url("bedrock"),
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        config=config.Config(retries={"max_attempts": 3, "mode": "standard"}),
    )
    yield made
    made.close()


def test_bedrock_converse(bedrock: Any, provider: Simulator, events: list[CallEvent]) -> None:
    """A whole answer, as the SDK and the provider count it."""
    answer = bedrock.converse(modelId=CLAUDE, messages=SAID)
    assert [(event.provider, event.outcome, event.request_model) for event in events] == [
        ("bedrock", "completed", CLAUDE)
    ]
    assert agree(events[0], provider.wait_served(1)[0])
    assert events[0].usage is not None
    assert events[0].usage.get("output_tokens") == answer["usage"]["outputTokens"]


def test_bedrock_event_stream(bedrock: Any, provider: Simulator, events: list[CallEvent]) -> None:
    """Amazon's binary event stream is passed on and read."""
    parts = list(bedrock.converse_stream(modelId=CLAUDE, messages=SAID)["stream"])
    assert [(event.outcome, event.stream, event.usage_source) for event in events] == [("completed", True, "reported")]
    assert agree(events[0], provider.wait_served(1)[0])
    assert parts[-1]["metadata"]["usage"]["inputTokens"] == (events[0].usage or {}).get("input_tokens")


def test_bedrock_stream_closed_early(bedrock: Any, events: list[CallEvent]) -> None:
    """An event stream that is closed after its first event was cancelled."""
    stream = bedrock.converse_stream(modelId=f"{CLAUDE}+stall=20", messages=SAID)["stream"]
    next(iter(stream))
    stream.close()
    assert [event.outcome for event in events] == ["cancelled"]


def test_bedrock_invoke(bedrock: Any, provider: Simulator, events: list[CallEvent]) -> None:
    """A model's own format, whole and streamed."""
    body = json.dumps(INVOKED)
    assert json.loads(bedrock.invoke_model(modelId=CLAUDE, body=body)["body"].read())["usage"]
    assert list(bedrock.invoke_model_with_response_stream(modelId=CLAUDE, body=body)["body"])
    assert [(event.api, event.outcome, event.stream) for event in events] == [
        ("bedrock.invoke", "completed", False),
        ("bedrock.invoke", "completed", True),
    ]
    assert [agree(event, call) for event, call in zip(events, provider.wait_served(2), strict=True)] == [True, True]


def test_bedrock_retries(bedrock: Any, events: list[CallEvent]) -> None:
    """Each try of botocore is a call, numbered as botocore numbers it."""
    bedrock.converse(modelId=f"{CLAUDE}+429+retry-after=0+times=1", messages=SAID)
    assert [(event.outcome, event.status, event.attempt) for event in events] == [
        ("failed", 429, 1),
        ("completed", 200, 2),
    ]


def test_signed_bodies_are_sent_as_signed(
    bedrock: Any, provider: Simulator, hooked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the hook and without, the very same body leaves, although the place was declared as one to be asked."""
    sent: list[bytes] = []
    send = http.client.HTTPConnection.send

    def looking_on(connection: Any, data: Any) -> None:
        sent.append(bytes(data))
        send(connection, data)

    monkeypatch.setattr(http.client.HTTPConnection, "send", looking_on)
    endpoint(provider.url("bedrock"), api="openai.chat", provider="bedrock", asks_usage=True)
    body = json.dumps(STREAM)
    for switch in (hook.uninstall, hook.install):
        switch(hooked)
        with suppress(Exception):  # whether this model takes such a body is not the question
            bedrock.invoke_model(modelId="openai.gpt-oss-120b-1:0", body=body)
    assert [data for data in sent if data.startswith(b"{")] == [body.encode()] * 2
