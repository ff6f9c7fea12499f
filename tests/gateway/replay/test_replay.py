"""Every recorded exchange through a real gateway: what its client gets is what a direct call gets, and is booked."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from taximeter.event import CallEvent
from taximeter.gateway.faults import Mask
from taximeter.gateway.opening import open_gate
from taximeter.gateway.telling import GatewayMeter
from taximeter.gateway.worker import Gateway
from taximeter.meter.settings import Settings
from taximeter.store import open_store
from taximeter.wire.costing import states_cost
from tests.gateway.http.stage import Reachable, Upstream
from tests.gateway.replay.stage import (
    Caller,
    Got,
    Player,
    Sent,
    Take,
    ambiguous,
    asked,
    config,
    framings,
    told_cost,
    without_cost,
)
from tests.wire.recordings import Recording, buckets, names, recording

pytestmark = pytest.mark.needs("captures")

NAMES = names() or ["none"]
AT_ONCE = 6
KNOWN_BY_HOST_ALONE = ("/x-huggingface/models/", "/x-huggingface/hf-inference/", "/x-writer/v1/chat")
"""Paths that are a metered call at one host only: an upstream that the configuration alone knows does not know them."""


class Played(NamedTuple):
    """Every recording, played directly and through two gateways: ``off`` tells no cost in the usage, ``on`` does."""

    answers: Mapping[Take, Got]
    requests: Mapping[Take, Sent]
    events: Mapping[str, CallEvent]

    def through(self, name: str, way: str) -> Iterator[tuple[Take, Got, Got]]:
        """Each take of a recording through a gateway, and the answers to it and to a direct call."""
        for framing in framings(name):
            take = Take(name, framing, way)
            yield take, self.answers[take], self.answers[take._replace(way="direct")]

    def event(self, got: Got) -> CallEvent | None:
        """What was booked; ``None`` for a call that is not metered."""
        call_id = got.value("x-taximeter-call-id")
        return None if call_id is None else self.events[call_id]


def _gateway(names: list[str], upstream: Upstream, folder: Path, way: str) -> tuple[Gateway, GatewayMeter]:
    told = config(names, upstream.port, cost_in_usage=way == "on")
    store = str(folder / f"{way}.sqlite3")
    meter = GatewayMeter(Settings(store=store), alone=True)
    gates = Gateway(
        lambda: open_gate(told, store_url=store, environment={}), told.gateway, meter, words=meter.told.words
    )
    return gates, meter


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """All of them, several at once, over connections that are kept."""
    folder = tmp_path_factory.mktemp("replay")
    player, answers, events = Player(), dict[Take, Got](), dict[str, CallEvent]()
    here = threading.local()
    with Upstream(player) as upstream, ExitStack() as stack:
        made = {way: _gateway(NAMES, upstream, folder, way) for way in ("off", "on")}
        places: Mapping[str, Reachable] = {"direct": upstream} | {
            way: stack.enter_context(gateway) for way, (gateway, _) in made.items()
        }

        def play(name: str) -> None:
            if not hasattr(here, "callers"):
                here.callers = {way: Caller(place, way) for way, place in places.items()}
                for caller in here.callers.values():
                    stack.callback(caller.close)
            for framing in framings(name):
                for way, caller in here.callers.items():
                    answers[Take(name, framing, way)] = caller.play(name, framing)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            for each in [pool.submit(play, name) for name in NAMES]:
                each.result()
        stack.close()
        for way, (_, meter) in made.items():
            meter.close()
            assert not meter.failures
            with open_store(str(folder / f"{way}.sqlite3")) as store:
                events |= {event.id: event for event in store.events()}
    return Played(answers, player.requests, events)


@pytest.fixture(params=NAMES)
def one(request: pytest.FixtureRequest) -> Recording:
    """Each recording in turn."""
    return recording(request.param)


def _name(one: Recording) -> str:
    return str(one.capture.folder.relative_to(one.capture.folder.parents[1]))


def test_the_request_is_the_clients(one: Recording, played: Played) -> None:
    """Method, path, query, headers and body reach the provider as a direct call's do."""
    for take, _, _ in played.through(_name(one), "off"):
        assert played.requests[take] == played.requests[take._replace(way="direct")]


def test_the_answer_is_the_providers(one: Recording, played: Played) -> None:
    """Status, headers from end to end, and body are those of a direct call, but for keys that an error repeats.

    What has neither length nor chunks may be given a length.
    """
    for take, got, direct in played.through(_name(one), "off"):
        assert got.status == direct.status
        masked = Mask([])(direct.body) if direct.status >= 400 else direct.body
        assert got.body == masked, take
        remade = () if masked == direct.body and take.framing != "close" else ("content-length",)
        assert got.without(*remade) == direct.without(*remade), take


def test_the_cost_is_all_that_is_added(one: Recording, played: Played) -> None:
    """With the cost told, the body less our members is a direct call's, and what it tells is what is booked."""
    for take, got, direct in played.through(_name(one), "on"):
        assert got.status == direct.status
        remade = ("content-length", "content-encoding")
        assert got.without(*remade) == direct.without(*remade), take
        assert without_cost(got.plain) == (Mask([])(direct.body) if direct.status >= 400 else direct.plain), take
        event = played.event(got)
        if event is not None and _tells(direct, event):
            assert told_cost(got.plain) == str(event.cost), take
        else:
            assert told_cost(got.plain) is None, take


def _tells(direct: Got, event: CallEvent) -> bool:
    """Whether there is a place for the cost: in a format that has one, where the answer says that it is JSON."""
    kind = direct.value("content-type") or ""
    held = "application/json" in kind and event.stream is not True
    in_place = held or ("text/event-stream" in kind and direct.status == 200)
    return event.cost is not None and states_cost(event.api) and direct.status < 400 and in_place


def test_the_call_is_booked(one: Recording, played: Played) -> None:
    """As what it was, with the usage that an independent reading of it found, however its bytes came."""
    for way in ("off", "on"):
        for take, got, _ in played.through(_name(one), way):
            event = played.event(got)
            if event is None:
                assert asked(take.name).mounted.startswith(KNOWN_BY_HOST_ALONE), take
                continue
            assert (event.api, event.provider) == (one.capture.route.api, one.capture.route.provider)
            assert event.status == one.capture.status
            assert event.response_model == one.expected["response_model"]
            cost = got.value("x-taximeter-cost-usd")
            assert cost is None or cost == str(event.cost)
            if not ambiguous(one):
                _has_usage(event, one)


def _has_usage(event: CallEvent, one: Recording) -> None:
    stated = event.parts[0].usage if event.parts else None
    if one.expected["buckets"] is None:
        assert stated is None or not any(unit.endswith("_tokens") for unit in stated)
    else:
        assert stated is not None
        assert event.usage_source == "reported"
        assert buckets(stated) == one.expected["buckets"]
    extra = [(part.model, part.billed, part.usage and buckets(part.usage)) for part in event.parts[1:]]
    assert extra == [(part["model"], part["billed"], part["buckets"]) for part in one.expected["extra_parts"]]


def test_every_call_is_booked_once(played: Played) -> None:
    """Each answer names a call of its own, and no other call is in the books."""
    named = [got.value("x-taximeter-call-id") for take, got in played.answers.items() if take.way != "direct"]
    metered = [each for each in named if each is not None]
    assert len(set(metered)) == len(metered)
    assert set(metered) == played.events.keys()
