"""Calls in the background are booked once, whoever polls, wherever, how often; and by nobody who dies in between."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from taximeter.event import CallEvent, Scope
from taximeter.gateway import background as module
from taximeter.gateway.background import kind_of
from taximeter.gateway.config import ServingSettings
from taximeter.gateway.plan import Caller
from taximeter.gateway.telling import GatewayMeter
from taximeter.gateway.worker import Gateway
from taximeter.meter.settings import Settings
from taximeter.simulator import Simulator
from taximeter.store import open_store
from taximeter.wire import Route
from tests.gateway.extras.stage import Said, send, served
from tests.gateway.http.stage import Keeper, Peer, Upstream, to

ASKED: dict[str, Any] = {"model": "gpt-5-mini", "input": "Hello", "background": True}
RESPONSES = Route("openai.responses", "openai")
USAGE = b'"usage":{"input_tokens":1000,"output_tokens":100,"total_tokens":1100}'
COST = "0.00045"  # 1000 × 0.25 USD/M + 100 × 2 USD/M
QUEUED = b'{"id":"resp_1","status":"queued","model":"gpt-5-mini","output":[],"usage":null}'
RUNNING = QUEUED.replace(b"queued", b"in_progress")
DONE = b'{"id":"resp_1","status":"completed","model":"gpt-5-mini","output":[],%b}' % USAGE
NOBODY = Scope()
CANCELLED = QUEUED.replace(b"queued", b"cancelled")


def json_answer(body: bytes, status: bytes = b"200 OK") -> bytes:
    """An answer that is no stream."""
    return b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


def events_answer(*pieces: bytes, whole: bool = True) -> bytes:
    """An answer in events."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in pieces) + (b"0\r\n\r\n" if whole else b"")


def event(kind: bytes, response: bytes) -> bytes:
    """An event of Responses."""
    return b'event: %b\ndata: {"type":"%b","response":%b}\n\n' % (kind, kind, response)


class Stage:
    """A gateway whose upstream gives these answers in turn, and what its meter told."""

    def __init__(self, folder: Path) -> None:
        self.meter = GatewayMeter(Settings(store=str(folder / "store.sqlite3")), alone=True)
        self.events: list[CallEvent] = []
        self.meter.listeners.on("call_closed", self.events.append)

    def play(self, *calls: tuple[Any, bytes], scope: Scope = NOBODY) -> list[Said]:
        """Makes calls, each with a body or without, and an answer."""
        answers = iter([answer for _, answer in calls])

        def script(peer: Peer) -> None:
            if peer.read_request():
                peer.send(next(answers))

        with Upstream(script) as upstream:
            destination = to(upstream.port, route=RESPONSES, cost_in_usage=True, scope=scope)
            keeper = Keeper(destination, caller=Caller("k-1", scope, cost_in_usage=True))
            with Gateway(lambda: keeper, ServingSettings(), self.meter, words=self.meter.told.words) as made:
                said: list[Said] = []
                for body, _ in calls:
                    keeper.needs_body = body is not None
                    path = "/v1/responses" if body else "/v1/responses/resp_1?stream=true&starting_after=1"
                    said.append(send(made, path, body))
                return said


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A stage."""
    made = Stage(tmp_path)
    yield made
    made.meter.close()


def test_a_call_is_booked_once_when_its_usage_appears(stage: Stage) -> None:
    """As what it was when it was made; neither what waits nor a later poll is booked. Each poll tells the cost."""
    posted, *polls = stage.play(
        (ASKED, json_answer(QUEUED)), *((None, json_answer(body)) for body in (RUNNING, DONE, DONE))
    )
    [booked] = stage.events
    assert (booked.id, booked.outcome, str(booked.cost)) == (posted.call_id, "completed", COST)
    assert (booked.request_model, booked.response_id, booked.usage_source) == ("gpt-5-mini", "resp_1", "reported")
    assert "cost_usd" not in polls[0].body.decode()
    assert [poll.usage["cost_usd"] for poll in polls[1:]] == [COST, COST]
    stage.meter.flush()
    with open_store(stage.meter.settings.store) as store:
        assert [each.id for each in store.events()] == [posted.call_id]


def test_a_stream_that_is_resumed(stage: Stage) -> None:
    """The first one breaks off; what is read on later has the usage, and counts in the turn once."""
    cut = events_answer(event(b"response.created", RUNNING), whole=False)
    rest = events_answer(event(b"response.completed", DONE))
    scope = Scope(turn="t", project="p")
    posted, first, second = stage.play((ASKED | {"stream": True}, cut), (None, rest), (None, rest), scope=scope)
    assert [(each.id, each.scope, str(each.cost)) for each in stage.events] == [
        (posted.call_id, Scope(turn="t", project="p", session=stage.events[0].scope.session), COST)
    ]
    assert b'"cost_usd":"%b"}' % COST.encode() in first.body
    assert b"turn_cost_usd" not in first.body + second.body
    [after] = stage.play((ASKED, json_answer(DONE)), scope=scope)
    assert after.usage["turn_cost_usd"] == "0.0009"


def test_a_stream_that_comes_to_its_end_is_booked_at_once(stage: Stage) -> None:
    """And a poll after it changes nothing."""
    stream = events_answer(event(b"response.created", RUNNING), event(b"response.completed", DONE))
    posted, _ = stage.play((ASKED | {"stream": True}, stream), (None, json_answer(DONE)))
    assert [each.id for each in stage.events] == [posted.call_id]


def test_a_stored_response_is_not_booked_again(stage: Stage) -> None:
    """A call that was not made in the background has been booked; one that is not ours is not ours to book."""
    stage.play(({"model": "gpt-5-mini", "input": "Hello"}, json_answer(DONE)), (None, json_answer(DONE)))
    assert len(stage.events) == 1


def test_a_call_that_is_cancelled_is_booked_without_a_usage(stage: Stage) -> None:
    """An answer that is an error tells nothing of the call."""
    posted, *_ = stage.play(
        (ASKED, json_answer(QUEUED)),
        (None, json_answer(b'{"error":{"message":"no"}}', b"404 Not Found")),
        (None, json_answer(CANCELLED)),
        (None, json_answer(DONE)),
    )
    [booked] = stage.events
    assert (booked.id, booked.finish_reason, booked.usage, booked.cost) == (posted.call_id, "cancelled", None, None)


def test_a_call_that_the_provider_refuses_does_not_wait(stage: Stage) -> None:
    """It is booked as any other."""
    stage.play((ASKED, json_answer(b'{"error":{"message":"no"}}', b"400 Bad Request")))
    assert [each.outcome for each in stage.events] == ["failed"]


def test_the_same_response_again_is_a_call_of_its_own(stage: Stage) -> None:
    """As a provider that knows a retry by its key gives it: one of the two has the usage."""
    first, second, _ = stage.play((ASKED, json_answer(QUEUED)), (ASKED, json_answer(QUEUED)), (None, json_answer(DONE)))
    assert [(each.id, each.usage is None) for each in stage.events] == [(second.call_id, True), (first.call_id, False)]


def test_a_call_that_nobody_polls_is_booked_as_unknown(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a day, or at the end of a worker after that."""
    [posted] = stage.play((ASKED, json_answer(QUEUED)))
    stage.meter.close()
    assert stage.events == []
    monkeypatch.setattr(module, "KEPT_S", -1)
    stage.meter.close()
    assert [(each.id, each.outcome) for each in stage.events] == [(posted.call_id, "unknown")]
    stage.meter.close()
    assert len(stage.events) == 1


def test_where_nothing_can_wait_it_is_booked_as_it_is(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a usage, at once; the failure is counted, and a poll books nothing."""
    monkeypatch.setattr("logging.Logger.error", lambda *_args, **_said: None)
    stage.meter.journal_folder().with_suffix(".background").write_bytes(b"no database, and long enough for one" * 99)
    posted, _ = stage.play((ASKED, json_answer(QUEUED)), (None, json_answer(DONE)))
    assert [(each.id, each.usage) for each in stage.events] == [(posted.call_id, None)]
    assert stage.meter.failures["background"] == 2
    stage.meter.journal_folder().with_suffix(".background").unlink()


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (None, "poll"),
        (b"", "poll"),
        (b'{"background":true}', "background"),
        (b'{"background":false}', None),
        (b'{"background":"true"}', None),
        (b'{"input":"\\"background\\":true"}', None),
        (b"background", None),
    ],
)
def test_what_is_in_the_background(body: bytes | None, kind: str | None) -> None:
    """By the body alone, and in the APIs that have such calls."""
    assert kind_of(RESPONSES, body) == kind
    assert kind_of(Route("openai.chat", "openai"), body) is None


def test_over_workers_that_die(tmp_path: Path) -> None:
    """One takes the call and is killed, another answers polls, a third the last ones: one event, and all of it."""
    headers = {"x-taximeter-project": "shop", "x-simulate": "pending=1"}
    with Simulator() as provider, served(tmp_path, provider, "--no-auth") as running:
        with running.only(0):
            posted = send(running.to, "/v1/responses", ASKED, headers)
        path = f"/v1/responses/{posted.json['id']}"
        os.kill(running.workers[0], signal.SIGKILL)
        first = running.workers.pop(0)
        running.wait(2)
        assert first not in running.workers
        with running.only(0):
            assert send(running.to, path).json["status"] == "in_progress"
        with running.only(1):
            told = send(running.to, path)
        with running.only(0):
            again = send(running.to, path)
    assert told.usage["cost_usd"] == again.usage["cost_usd"]
    with open_store(str(tmp_path / "store.sqlite3")) as store:
        [booked] = store.events()
    assert (booked.id, booked.scope.project, booked.outcome) == (posted.call_id, "shop", "completed")
    assert str(booked.cost) == told.usage["cost_usd"]
    assert booked.usage is not None
    assert booked.usage["output_tokens"] == told.usage["output_tokens"]
