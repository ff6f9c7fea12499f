"""Anthropic's SDK: what it gives through the gateway is what it gives without, and it tells what a call cost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.gateway.clients.stage import ASK_FOR_TOOL, HELLO, PARAMETERS, Booth, agree, without_ours

pytestmark = pytest.mark.needs("anthropic")

ASKED: Any = {"model": "claude-haiku-4-5", "max_tokens": 99}
TOOL: Any = {"name": "look", "input_schema": PARAMETERS}


@pytest.fixture
def both(place: Booth) -> Iterator[tuple[Any, Any]]:
    """A client of the provider, and one of the gateway."""
    import anthropic  # noqa: PLC0415 - may be missing

    with (
        anthropic.Anthropic(base_url=place.direct("anthropic"), api_key="k", max_retries=0) as direct,
        anthropic.Anthropic(base_url=place.through("anthropic"), api_key="k", max_retries=2) as through,
    ):
        yield direct, through


def test_whole(place: Booth, both: tuple[Any, Any]) -> None:
    """The answer, and in its usage and its headers the cost and the call."""
    direct, raw = (client.messages.with_raw_response.create(messages=HELLO, **ASKED) for client in both)
    answer, event = raw.parse(), place.event()
    assert without_ours(answer.model_dump()) == direct.parse().model_dump()
    assert raw.headers["x-taximeter-call-id"] == event.id
    assert raw.headers["x-taximeter-cost-usd"] == answer.usage.cost_usd == str(event.cost)
    assert agree(event, place.provider.served[-1])


def test_streamed(place: Booth, both: tuple[Any, Any]) -> None:
    """Event by event; the last one with counts tells the cost."""
    direct, through = (
        [event.model_dump() for event in client.messages.create(messages=HELLO, stream=True, **ASKED)]
        for client in both
    )
    assert without_ours(through) == direct
    event = place.event()
    [delta] = [each for each in through if each["type"] == "message_delta"]
    assert delta["usage"]["cost_usd"] == str(event.cost)
    assert agree(event, place.provider.served[-1])


def test_the_sdks_own_sum_of_a_stream(place: Booth, both: tuple[Any, Any]) -> None:
    """What it puts together of a stream is the same."""
    messages: list[Any] = []
    for client in both:
        with client.messages.stream(messages=HELLO, **ASKED) as stream:
            messages.append(without_ours(stream.get_final_message().model_dump()))
    assert messages[0] == messages[1]
    assert place.event().outcome == "completed"


def test_tools(place: Booth, both: tuple[Any, Any]) -> None:
    """The call that asks for a tool and the one that has its result are one turn, whose cost is told."""

    def round_trip(client: Any) -> tuple[Any, Any]:
        first = client.messages.create(messages=ASK_FOR_TOOL, tools=[TOOL], **ASKED)
        used = [block for block in first.content if block.type == "tool_use"]
        results = [{"type": "tool_result", "tool_use_id": block.id, "content": "42"} for block in used]
        blocks = [block.model_dump(exclude_none=True) for block in first.content]
        said = [*ASK_FOR_TOOL, {"role": "assistant", "content": blocks}, {"role": "user", "content": results}]
        return first, client.messages.create(messages=said, tools=[TOOL], **ASKED)

    direct, through = map(round_trip, both)
    assert [without_ours(each.model_dump()) for each in through] == [each.model_dump() for each in direct]
    first, second = place.events(2)
    assert first.scope.turn == second.scope.turn is not None
    assert first.cost is not None
    assert second.cost is not None
    assert through[1].usage.turn_cost_usd == str(first.cost + second.cost)


def test_a_retry_is_a_call_of_its_own(place: Booth, both: tuple[Any, Any]) -> None:
    """The SDK tries again after a 529: two calls are booked."""
    headers = {"x-simulate": "status=529, retry-after=0, times=1"}
    got = both[1].messages.create(messages=HELLO, extra_headers=headers, **ASKED)
    first, second = place.events(2)
    assert [(event.outcome, event.status, event.attempt) for event in (first, second)] == [
        ("failed", 529, 1),
        ("completed", 200, 2),
    ]
    assert got.usage.cost_usd == str(second.cost)


@pytest.mark.parametrize("status", [400, 401, 429, 529])
def test_an_error_is_the_providers(place: Booth, both: tuple[Any, Any], status: int) -> None:
    """Of the same class, with the same words."""
    import anthropic  # noqa: PLC0415 - may be missing

    raised: list[Any] = []
    for client in both:
        with pytest.raises(anthropic.APIStatusError) as caught:
            client.with_options(max_retries=0).messages.create(
                messages=HELLO, extra_headers={"x-simulate": f"status={status}"}, **ASKED
            )
        raised.append(caught.value)
    assert (type(raised[1]), str(raised[1]), raised[1].body) == (type(raised[0]), str(raised[0]), raised[0].body)
    assert place.event().outcome == "failed"


def test_an_error_in_the_midst_of_a_stream(place: Booth, both: tuple[Any, Any]) -> None:
    """It is raised as the provider's own."""
    import anthropic  # noqa: PLC0415 - may be missing

    raised: list[str] = []
    for client in both:
        stream = client.messages.create(
            messages=HELLO, stream=True, extra_headers={"x-simulate": "error-event=3"}, **ASKED
        )
        with pytest.raises(anthropic.APIStatusError) as caught:
            list(stream)
        raised.append(str(caught.value))
    assert raised[0] == raised[1]
    assert place.event().outcome == "failed"


def test_a_stream_that_is_left(place: Booth, both: tuple[Any, Any]) -> None:
    """It is booked as cancelled, and the provider is left as well."""
    slow = {"x-simulate": "stall=20, output=90"}
    stream = both[1].messages.create(messages=HELLO, stream=True, extra_headers=slow, **ASKED)
    for _ in range(4):
        next(iter(stream))
    stream.close()
    event = place.event()
    assert event.outcome == "cancelled"
    assert event.usage is not None
    assert [call.outcome for call in place.provider.wait_served(1)] == ["left"]


def test_counting_tokens_is_no_call(place: Booth, both: tuple[Any, Any]) -> None:
    """It passes, and is not booked."""
    counts = [client.messages.count_tokens(model=ASKED["model"], messages=HELLO).input_tokens for client in both]
    assert counts[0] == counts[1] > 0
    assert place.events(0) == []
