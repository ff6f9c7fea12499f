"""What a call cost, asked for by its id: by whom, where, and when."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from taximeter.event import CallEvent, uuid7
from taximeter.gateway.calls import CallAnswers, Recent
from taximeter.gateway.config import Config, GatewaySettings, UpstreamSettings
from taximeter.gateway.opening import open_gate
from taximeter.gateway.telling import GatewayMeter
from taximeter.gateway.worker import Gateway
from taximeter.meter.settings import Settings
from taximeter.simulator import Simulator
from taximeter.store import open_store
from tests.gateway.extras.stage import ASKED, Said, chat, send, served
from tests.gateway.http.stage import Client, Reachable
from tests.gateway.policy.helpers import Keyed


@pytest.fixture(scope="module")
def provider() -> Iterator[Simulator]:
    """A simulated provider."""
    with Simulator() as made:
        yield made


@contextmanager
def opened(folder: Path, provider: Simulator, **gateway: Any) -> Generator[tuple[Gateway, GatewayMeter]]:
    """A gateway in a thread, with the real gate."""
    store = str(folder / "store.sqlite3")
    meter = GatewayMeter(Settings(store=store), alone=True)
    calls = CallAnswers(meter.recent, store)
    config = Config(
        gateway=GatewaySettings(**gateway), upstreams={"openai": UpstreamSettings(base_url=provider.url("openai"))}
    )
    keys = {"OPENAI_API_KEY": "sk-of-the-provider"}
    gate = open_gate(config, store_url=store, environment=keys, calls=calls.answer)
    with Gateway(lambda: gate, config.gateway, meter, words=meter.told.words) as made:
        yield made, meter
    gate.close()
    calls.close()
    meter.close()


def asked(to: Reachable, call_id: str, key: str | None = None) -> Said:
    """What is told of a call."""
    return send(to, f"/api/calls/{call_id}", headers=_bearer(key))


def _bearer(key: str | None) -> dict[str, str]:
    return {} if key is None else {"Authorization": f"Bearer {key}"}


def test_a_call_is_told_to_its_own_key_alone(provider: Simulator, tmp_path: Path) -> None:
    """At once from memory, and later from the store; to another key it is as if it were not there."""
    keyed = Keyed(tmp_path)
    mine, theirs = keyed.key("mine", project="shop"), keyed.key("theirs")
    keyed.ring.close()
    for stream in (False, True):
        with opened(tmp_path, provider) as (made, meter):
            call = chat(made, stream=stream, headers=_bearer(mine))
            said = asked(made, call.call_id, mine)
            meter.flush()
            meter.recent._ended.clear()  # as if it were long ago
            later = asked(made, call.call_id, mine)
            assert asked(made, call.call_id, theirs).status == 404
            assert asked(made, call.call_id).status == 401
        assert (said.status, said.json) == (200, later.json)
        told = said.json
        assert (told["id"], told["state"], told["outcome"]) == (call.call_id, "closed", "completed")
        assert told["cost_usd"] == call.usage["cost_usd"]
        assert told["usage"]["input_tokens"] == call.usage["prompt_tokens"]
        assert (told["usage_source"], told["provider"], told["scope"]["project"]) == ("reported", "openai", "shop")


def test_a_call_that_runs_is_open(provider: Simulator, tmp_path: Path) -> None:
    """Until its stream ends."""
    with opened(tmp_path, provider, auth="none") as (made, _), Client(made) as client:
        body = b'{"model":"gpt-4o+hang=2","stream":true,"messages":[{"role":"user","content":"hi"}]}'
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % len(body)
        client.send(head + body)
        answer = client.until(b"\r\n\r\n").decode()
        call_id = next(line.partition(": ")[2] for line in answer.split("\r\n") if "taximeter-call-id" in line)
        said = asked(made, call_id)
        assert (said.status, said.json["state"], said.json["cost_usd"]) == (202, "open", None)
        client.socket.close()
        ended = threading.Event()
        while asked(made, call_id).json["state"] == "open":
            assert not ended.wait(0.01)
        assert asked(made, call_id).json["outcome"] == "cancelled"


def test_what_is_no_call(provider: Simulator, tmp_path: Path) -> None:
    """An id that nobody made, what is no id, and another method."""
    with opened(tmp_path, provider, auth="none") as (made, _):
        for call_id in (uuid7(0, bytes(10)), "1", "..%2fx", "a" * 36, ""):
            assert asked(made, call_id).status == 404
        assert send(made, f"/api/calls/{uuid7(0, bytes(10))}", ASKED).status == 404


def test_a_forwarded_key_tells_whose_call_it_is(provider: Simulator, tmp_path: Path) -> None:
    """By its hash; and nobody can claim to be another by a tag."""
    with opened(tmp_path, provider, auth="passthrough") as (made, _):
        call = chat(made, headers=_bearer("sk-mine"))
        assert asked(made, call.call_id, "sk-mine").status == 200
        assert asked(made, call.call_id, "sk-theirs").status == 404
        assert asked(made, call.call_id).status == 404


def test_a_call_of_another_worker_is_found(provider: Simulator, tmp_path: Path) -> None:
    """By whichever worker is asked; by its own before it is stored."""
    with served(tmp_path, provider, "--no-auth") as running:
        with running.only(0):
            call = chat(running.to)
            told = [asked(running.to, call.call_id)]
        with open_store(str(tmp_path / "store.sqlite3")) as store:
            until = time.monotonic() + 5  # a worker that is halted while it writes holds the store
            while not store.count() and time.monotonic() < until:
                os.sched_yield()
        with running.only(1):
            told.append(asked(running.to, call.call_id))
    assert [each.status for each in told] == [200, 200]
    assert {each.json["cost_usd"] for each in told} == {call.usage["cost_usd"]}


def test_a_call_that_is_just_being_stored_is_waited_for(tmp_path: Path) -> None:
    """For a second: it may be another worker's. What is older and not there is not."""
    store = open_store(str(tmp_path / "store.sqlite3"))
    calls = CallAnswers(Recent(), store.url)
    now = datetime.now(UTC)
    event = CallEvent(
        id=uuid7(int(now.timestamp() * 1000), bytes(10)), started_at=now, provider="p", api="a", outcome="completed"
    )

    async def ask_and_store() -> list[int]:
        asking = asyncio.create_task(calls.answer(None, event.id.encode()))
        await asyncio.sleep(0.05)
        store.add([event], recorded_at=now)
        old = await calls.answer(None, uuid7(0, bytes(10)).encode())
        return [(await asking)[0], old[0]]

    assert asyncio.run(ask_and_store()) == [200, 404]
    calls.close()
    store.close()


def test_a_store_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    """503, and not that there is no such call."""
    (tmp_path / "store.sqlite3").write_bytes(b"not a database at all, and long enough" * 99)
    calls = CallAnswers(Recent(), str(tmp_path / "store.sqlite3"))
    assert asyncio.run(calls.answer(None, uuid7(0, bytes(10)).encode()))[0] == 503
