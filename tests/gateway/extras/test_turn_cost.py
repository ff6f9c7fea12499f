"""What a caller is told of its turn: over calls, streams, callers and workers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from taximeter.event import CallEvent, Scope
from taximeter.gateway.config import ServingSettings
from taximeter.gateway.plan import Caller
from taximeter.gateway.telling import GatewayMeter
from taximeter.gateway.worker import Gateway
from taximeter.meter.settings import Settings
from taximeter.simulator import Simulator
from taximeter.store import open_store
from tests.gateway.extras.stage import Said, chat, results_of, served
from tests.gateway.http.stage import CHAT, Client, Keeper, Peer, Upstream, answering, ask, post, to
from tests.gateway.http.test_metered import ASKED, BODY, DONE, STREAM, TEXT, USAGE, chunks, unchunked, whole

TURN = Scope(turn="t-1")
LATER = USAGE.replace(b"1000", b"2000").replace(b"1100", b"2100")
TOOL_CALL = (
    b'data: {"id":"c-1","model":"gpt-4o","choices":[{"index":0,"delta":{"tool_calls":'
    b'[{"index":0,"id":"tool-1","type":"function","function":{"name":"look","arguments":"{}"}}]}}]}\n\n'
)
ANSWERED = (
    b'{"model":"gpt-4o","messages":[{"role":"user","content":"hi"},{"role":"assistant","tool_calls":[]},'
    b'{"role":"tool","tool_call_id":"tool-1","content":"42"}]}'
)


@pytest.fixture(params=[True, False], ids=["alone", "several"])
def meter(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[GatewayMeter, list[CallEvent]]]:
    """The meter of a worker, and the events that it tells of."""
    made = GatewayMeter(Settings(store=f"sqlite:///{tmp_path}/m.sqlite3"), alone=request.param)
    events: list[CallEvent] = []
    made.listeners.on("call_closed", events.append)
    yield made, events
    assert not made.failures
    made.close()


def told(body: bytes) -> dict[str, str]:
    """What is told beside the last usage of an answer."""
    if body.startswith(b"data:"):
        body = next(each[6:] for each in reversed(body.split(b"\n\n")) if b'"prompt_tokens"' in each)
    usage: dict[str, Any] = json.loads(body)["usage"]
    return {name: value for name, value in usage.items() if name.endswith("_usd") or name.startswith("turn_")}


def one(meter: GatewayMeter, answer: bytes, request: bytes, *, key: str | None = "k-1", scope: Scope = TURN) -> bytes:
    """The body of the answer to one call."""
    with Upstream(answering(answer)) as upstream:
        destination = to(upstream.port, route=CHAT, cost_in_usage=True, scope=scope)
        keeper = Keeper(destination, needs_body=True, caller=Caller(key, scope, cost_in_usage=True))
        with Gateway(lambda: keeper, ServingSettings(), meter, words=meter.told.words) as made:
            if b'"stream":true' not in request:
                return ask(made, post(request))[1]
            with Client(made) as client:
                client.send(post(request).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
                return unchunked(client.to_the_end())


def test_a_named_turn_adds_up(meter: tuple[GatewayMeter, list[CallEvent]]) -> None:
    """Over whole answers and streams, for each caller by itself."""
    stream = chunks(TEXT % b"", USAGE + DONE)
    assert told(one(meter[0], whole(), ASKED)) == {"cost_usd": "0.0035", "turn_cost_usd": "0.0035"}
    assert told(one(meter[0], stream, STREAM)) == {"cost_usd": "0.0035", "turn_cost_usd": "0.007"}
    assert told(one(meter[0], whole(), ASKED, key="k-2"))["turn_cost_usd"] == "0.0035"
    assert told(one(meter[0], whole(), ASKED, key=None))["turn_cost_usd"] == "0.0035"
    assert told(one(meter[0], whole(), ASKED))["turn_cost_usd"] == "0.0105"


def test_a_call_by_itself_tells_of_no_turn(meter: tuple[GatewayMeter, list[CallEvent]]) -> None:
    """Nobody named one, and no tool was asked for."""
    assert told(one(meter[0], whole(), ASKED, scope=Scope())) == {"cost_usd": "0.0035"}
    assert told(one(meter[0], chunks(USAGE + DONE), STREAM, scope=Scope())) == {"cost_usd": "0.0035"}


def test_the_result_of_a_tool_continues_the_turn(meter: tuple[GatewayMeter, list[CallEvent]]) -> None:
    """Of the stream that asked for it, and for its own caller only; the books say the same."""
    stream = chunks(TOOL_CALL, USAGE + DONE)
    assert told(one(meter[0], stream, STREAM, scope=Scope())) == {"cost_usd": "0.0035", "turn_cost_usd": "0.0035"}
    assert "turn_cost_usd" not in told(one(meter[0], whole(), ANSWERED, key="k-2", scope=Scope()))
    assert told(one(meter[0], whole(), ANSWERED, scope=Scope()))["turn_cost_usd"] == "0.007"
    assert told(one(meter[0], whole(), ANSWERED))["turn_cost_usd"] == "0.0035"  # a turn that is named wins
    first, other, second, named = (event.scope.turn for event in meter[1])
    assert first == second
    assert len({first, other, named}) == 3


def test_a_running_figure_counts_once(meter: tuple[GatewayMeter, list[CallEvent]]) -> None:
    """Of a stream that states its usage on every chunk, the last is what the turn has."""
    seen = threading.Semaphore(0)

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(chunks(USAGE)[:-5])
        for piece in (USAGE, LATER + DONE):
            assert seen.acquire(timeout=5)
            peer.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        peer.send(b"0\r\n\r\n")

    with Upstream(script) as upstream:
        keeper = Keeper(to(upstream.port, route=CHAT, cost_in_usage=True, scope=TURN), needs_body=True)
        with (
            Gateway(lambda: keeper, ServingSettings(), meter[0], words=meter[0].told.words) as made,
            Client(made) as it,
        ):
            it.send(post(STREAM))
            for cost in (b"0.0035", b"0.0035", b"0.006"):
                assert b'"cost_usd":"%b","turn_cost_usd":"%b"}' % (cost, cost) in it.until(b"}}\n\n")
                seen.release()
            it.until(b"0\r\n\r\n")
    assert told(one(meter[0], whole(), ASKED, key="k-1"))["turn_cost_usd"] == "0.0095"
    assert str(meter[1][0].cost) == "0.006"


def test_a_stream_that_is_cut_before_its_usage_leaves_the_turn_without_a_cost(
    meter: tuple[GatewayMeter, list[CallEvent]],
) -> None:
    """It may have been billed: how many such calls there are is told instead. A refusal by the provider is free."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(chunks(TEXT % b"")[:-5])

    refused = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 2\r\n\r\n{}"
    one(meter[0], refused, ASKED)
    assert told(one(meter[0], whole(), ASKED))["turn_cost_usd"] == "0.0035"
    with Upstream(script) as upstream:
        keeper = Keeper(to(upstream.port, route=CHAT, cost_in_usage=True, scope=TURN), needs_body=True)
        with (
            Gateway(lambda: keeper, ServingSettings(), meter[0], words=meter[0].told.words) as made,
            Client(made) as it,
        ):
            it.send(post(STREAM))
            it.to_the_end()
    assert told(one(meter[0], whole(), ASKED)) == {"cost_usd": "0.0035", "turn_unpriced_calls": 1}
    assert [event.outcome for event in meter[1]] == ["failed", "completed", "interrupted", "completed"]


def test_a_call_that_another_gateway_books_is_in_no_turn_of_ours(meter: tuple[GatewayMeter, list[CallEvent]]) -> None:
    """The answer says whose it is, and what it tells of its cost stays."""
    theirs = b"x-taximeter-call-id: 0"
    assert told(one(meter[0], whole(BODY, theirs), ASKED)) == {}
    assert told(one(meter[0], chunks(USAGE + DONE).replace(b"\r\n", b"\r\n%b\r\n" % theirs, 1), STREAM)) == {}
    assert told(one(meter[0], whole(), ASKED))["turn_cost_usd"] == "0.0035"


@pytest.fixture(scope="module")
def provider() -> Iterator[Simulator]:
    """A simulated provider."""
    with Simulator() as made:
        yield made


def test_a_turn_over_two_workers(provider: Simulator, tmp_path: Path) -> None:
    """Each call is another worker's, in processes of their own: the third is told the exact sum of all three."""
    with served(tmp_path, provider, "--no-auth") as running:
        with running.only(0):
            first = chat(running.to)
        more = results_of(first)
        with running.only(1):
            second = chat(running.to, *more, stream=True)
        with running.only(0):
            third = chat(running.to, *more)
    costs = [Decimal(each.usage["cost_usd"]) for each in (first, second, third)]
    assert all(costs)
    assert Decimal(second.usage["turn_cost_usd"]) == costs[0] + costs[1]
    assert Decimal(third.usage["turn_cost_usd"]) == sum(costs)
    with open_store(str(tmp_path / "store.sqlite3")) as store:
        events = {event.id: event for event in store.events()}
    assert events.keys() == {first.call_id, second.call_id, third.call_id}
    assert len({event.scope.turn for event in events.values()}) == 1
    assert sum(event.cost.decimal for event in events.values() if event.cost is not None) == sum(costs)


def test_a_named_turn_over_two_workers(provider: Simulator, tmp_path: Path) -> None:
    """By header, and by the trace."""
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    with served(tmp_path, provider, "--no-auth") as running:
        for headers in ({"x-taximeter-turn": "t"}, {"traceparent": trace}):
            said: list[Said] = []
            for worker in (0, 1, 0):
                with running.only(worker):
                    said.append(chat(running.to, headers=headers))
            costs = [Decimal(each.usage["cost_usd"]) for each in said]
            sums = [Decimal(each.usage["turn_cost_usd"]) for each in said]
            assert sums == [costs[0], costs[0] + costs[1], sum(costs)]
