"""Google's SDK: what it gives through the gateway is what it gives without."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from tests.gateway.clients.stage import PARAMETERS, Booth, agree

pytestmark = pytest.mark.needs("google-genai")

MODEL = "gemini-2.5-flash"


@pytest.fixture
def both(place: Booth) -> Iterator[tuple[Any, Any]]:
    """A client of the provider, and one of the gateway."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the SDK's own imports say
        from google import genai  # noqa: PLC0415 - may be missing

    urls = place.direct("google"), place.through("google")
    made = [genai.Client(api_key="k", http_options={"base_url": url}) for url in urls]
    yield made[0], made[1]
    for client in made:
        client.close()


def _plain(answer: Any) -> Any:
    """An answer less the headers that are its own."""
    return answer.model_dump(exclude={"sdk_http_response"})


def test_whole(place: Booth, both: tuple[Any, Any]) -> None:
    """The answer, and in its headers the cost and the call."""
    direct, through = (client.models.generate_content(model=MODEL, contents="Hello you") for client in both)
    event = place.event()
    assert _plain(through) == _plain(direct)
    headers = {name.lower(): value for name, value in through.sdk_http_response.headers.items()}
    assert headers["x-taximeter-call-id"] == event.id
    assert headers["x-taximeter-cost-usd"] == str(event.cost)
    assert agree(event, place.provider.served[-1])


def test_the_cost_is_in_the_usage(place: Booth, both: tuple[Any, Any]) -> None:
    """The SDK's model of the usage drops what it does not know; the JSON has it."""
    answer = both[1].models.generate_content(
        model=MODEL, contents="Hello you", config={"should_return_http_response": True}
    )
    assert f'"cost_usd":"{place.event().cost}"' in answer.sdk_http_response.body


def test_streamed(place: Booth, both: tuple[Any, Any]) -> None:
    """Chunk by chunk."""
    direct, through = (
        [_plain(each) for each in client.models.generate_content_stream(model=MODEL, contents="Hello you")]
        for client in both
    )
    event = place.event()
    assert through == direct
    assert event.outcome == "completed"
    assert agree(event, place.provider.served[-1])


def test_tools(place: Booth, both: tuple[Any, Any]) -> None:
    """Calls of functions have no ids here, which would make one turn of both: they are of one session."""
    asked: Any = {
        "tools": [{"function_declarations": [{"name": "look", "parameters_json_schema": PARAMETERS}]}],
        "automatic_function_calling": {"disable": True},
    }

    def round_trip(client: Any) -> list[Any]:
        first = client.models.generate_content(model=MODEL, contents="use a tool", config=asked)
        content = first.candidates[0].content
        results = [
            {"function_response": {"id": part.function_call.id, "name": "look", "response": {"found": "42"}}}
            for part in content.parts
            if part.function_call
        ]
        assert results
        said = [{"role": "user", "parts": [{"text": "use a tool"}]}, content, {"role": "user", "parts": results}]
        return [_plain(first), _plain(client.models.generate_content(model=MODEL, contents=said, config=asked))]

    direct, through = map(round_trip, both)
    assert through == direct
    first, second = place.events(2)
    assert [call.name for call in first.tool_calls] == ["look"]
    assert first.scope.session == second.scope.session is not None


@pytest.mark.parametrize("status", [400, 429, 503])
def test_an_error_is_the_providers(place: Booth, both: tuple[Any, Any], status: int) -> None:
    """Of the same class, with the same words."""
    from google.genai import errors  # noqa: PLC0415 - may be missing

    raised: list[Any] = []
    for client in both:
        options: Any = {"http_options": {"headers": {"x-simulate": f"status={status}"}}}
        with pytest.raises(errors.APIError) as caught:
            client.models.generate_content(model=MODEL, contents="Hello you", config=options)
        raised.append(caught.value)
    assert (type(raised[1]), str(raised[1]), raised[1].code) == (type(raised[0]), str(raised[0]), status)
    assert place.event().outcome == "failed"


def test_a_stream_that_is_left(place: Booth, both: tuple[Any, Any]) -> None:
    """It is booked as cancelled."""
    options: Any = {"http_options": {"headers": {"x-simulate": "stall=20, output=200"}}}
    stream = both[1].models.generate_content_stream(model=MODEL, contents="Hello you", config=options)
    next(stream)
    stream.close()
    both[1].close()
    assert place.event().outcome == "cancelled"
    assert [call.outcome for call in place.provider.wait_served(1)] == ["left"]


def test_embeddings(place: Booth, both: tuple[Any, Any]) -> None:
    """The vectors."""
    direct, through = (client.models.embed_content(model="gemini-embedding-001", contents="a river") for client in both)
    assert _plain(through) == _plain(direct)
    assert place.event().api == "gemini.embed"
