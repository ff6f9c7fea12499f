"""The meter of a process: from an open call to an event in the store, whatever fails on the way."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from taximeter.errors import ConfigError, JournalError
from taximeter.event import CallEvent, Scope
from taximeter.meter import Meter, MeterFailure, Settings, scope, turn
from taximeter.meter.runtime import owned
from taximeter.money import Money
from taximeter.store import open_store
from taximeter.usage import Usage
from taximeter.wire import Route

CHAT = Route("openai.chat", "openai")
ASK = b'{"model":"gpt-4o","messages":[{"role":"user","content":"Hi"}]}'
ANSWER = b'{"id":"r1","model":"gpt-4o-2024-08-06","choices":[],"usage":{"prompt_tokens":1000,"completion_tokens":100}}'
JSON = [("Content-Type", "application/json")]
COST = Money.usd("0.0035")  # 1000 × 2.50 + 100 × 10.00 per million


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A store and a journal of the test's own."""
    return Settings(store=str(tmp_path / "store.sqlite3"))


@pytest.fixture
def meter(settings: Settings) -> Iterator[Meter]:
    """A meter that is closed after the test."""
    made = Meter(settings)
    yield made
    made.close()


def run(meter: Meter, body: bytes = ANSWER) -> CallEvent:
    """A whole call."""
    call = meter.open(CHAT, ASK)
    assert call is not None
    call.answered(200, JSON)
    call.feed(body[:40])
    call.feed(body[40:])
    event = call.close()
    assert event is not None
    return event


def stored(settings: Settings) -> list[CallEvent]:
    """What is in the store."""
    with open_store(settings.store) as store:
        return list(store.events())


def test_a_call_gets_to_the_store(meter: Meter, settings: Settings) -> None:
    """With its scope, its usage, its exact cost, its times; and the journal forgets it."""
    with scope(project="shop", operation="chat"), turn("t-1") as one:
        event = run(meter)
    assert event.cost == COST
    assert (event.scope.project, event.scope.operation, event.scope.turn) == ("shop", "chat", "t-1")
    assert (event.outcome, event.usage) == ("completed", Usage(input_tokens=1000, output_tokens=100))
    assert event.duration_ms is not None
    assert event.first_token_ms is not None
    assert (one.calls, one.cost_usd) == (1, Decimal("0.0035"))
    assert meter.flush()
    assert stored(settings) == [event]
    meter.close()
    assert list(meter.journal_folder().glob("*")) == []


def test_a_rate_card_file_that_cannot_be_read(settings: Settings, tmp_path: Path) -> None:
    """Calls are counted and kept without a cost that could be wrong; the event and the failure say why, once."""
    cards = tmp_path / "cards.toml"
    cards.write_text("[[rates]\n")
    meter = Meter(msgspec.structs.replace(settings, rate_cards=cards))
    told: list[MeterFailure] = []
    meter.listeners.on("meter_error", told.append)
    events = [run(meter), run(meter)]
    assert meter.flush()
    meter.close()
    assert stored(settings) == events
    for event in events:
        assert (event.outcome, event.usage, event.cost) == (
            "completed",
            Usage(input_tokens=1000, output_tokens=100),
            None,
        )
        assert event.parts[0].cost is not None
        assert str(cards) in (event.parts[0].cost.reason or "")
    assert [(failure.where, str(cards) in failure.message) for failure in told] == [("prices", True)]


def test_what_only_looks_like_a_call(meter: Meter, settings: Settings) -> None:
    """A chat service's own messages are none of ours; what names a model is, and so is what was declared."""
    discord = meter.route("POST", "discord.com", "/api/v9/channels/1/messages")
    assert discord is not None
    assert meter.open(discord, b'{"content":"Hi"}') is None
    assert meter.open(discord, None) is None
    own = meter.route("POST", "llm.internal", "/v1/messages")
    assert own is not None
    call = meter.open(own, b'{"model":"claude-haiku-4-5","messages":[]}')
    assert call is not None
    call.close("cancelled")
    meter.declare("shop.internal", "", "ollama", "ollama")
    declared = meter.route("POST", "shop.internal", "/api/chat")
    assert declared is not None
    call = meter.open(declared, None)
    assert call is not None
    call.close("cancelled")
    assert meter.flush()
    assert [event.provider for event in stored(settings)] == ["llm.internal", "ollama"]


def test_a_scope_that_is_handed_over(meter: Meter) -> None:
    """Who serves many callers says whose a call is; the scope in force has no part in it."""
    with scope(project="around"):
        call = meter.open(CHAT, ASK, scope=Scope(project="shop", turn="t-1"), within="key-1")
    assert call is not None
    assert (call.opened.scope.project, call.opened.scope.turn, call.opened.scope.session) == ("shop", "t-1", call.id)
    call.close("cancelled")


def test_listeners_are_told_in_order(meter: Meter) -> None:
    """Opened, first byte, closed, cost; a listener that raises is counted, and changes nothing."""
    told: list[str] = []
    for name in ("call_opened", "first_token", "call_closed", "cost", "unpriced", "meter_error"):
        meter.listeners.on(name, lambda _, name=name: told.append(name))
    meter.listeners.on("cost", lambda _: 1 / 0)  # no float: never computed
    run(meter)
    assert told == ["call_opened", "first_token", "call_closed", "cost"]
    assert meter.listeners.failures == 1
    told.clear()
    run(meter, ANSWER.replace(b"gpt-4o-2024-08-06", b"nobodys-model"))
    assert told == ["call_opened", "first_token", "call_closed", "unpriced"]


def test_the_cost_report(meter: Meter) -> None:
    """Carries the operation, the model, tokens by class, the cost and when."""
    reports = []
    meter.listeners.on("cost", reports.append)
    with scope(operation="generate_tasks"):
        event = run(meter)
    (report,) = reports
    assert (report.action, report.model, report.cost_usd) == ("generate_tasks", "gpt-4o-2024-08-06", "0.0035")
    assert (report.usage, report.timestamp, report.parts) == (event.usage, event.started_at, event.parts)


def test_totals(meter: Meter) -> None:
    """The process's running totals."""
    run(meter)
    run(meter)
    tally = meter.totals.by("model")["gpt-4o-2024-08-06"]
    assert (tally.calls, tally.known_cost) == (2, COST + COST)


def test_an_outer_hook_owns_the_call(meter: Meter) -> None:
    """What is metered further out is not metered again."""
    token = owned.set(True)
    try:
        assert meter.open(CHAT, ASK) is None
    finally:
        owned.reset(token)


def test_switched_off(settings: Settings) -> None:
    """Nothing is metered, nothing is opened."""
    meter = Meter(Settings(enabled=False, store=settings.store))
    assert meter.open(CHAT, ASK) is None
    assert not meter.journal_folder().exists()


def test_a_call_that_the_gateway_booked(meter: Meter, settings: Settings) -> None:
    """Its mark on the answer says so: it is not booked twice."""
    call = meter.open(CHAT, ASK)
    assert call is not None
    call.answered(200, [*JSON, ("X-Taximeter-Call-Id", "elsewhere")])
    call.feed(ANSWER)
    assert call.close() is None
    run(meter)
    assert meter.flush()
    assert len(stored(settings)) == 1


def test_a_cancelled_stream(meter: Meter) -> None:
    """The application let go: nothing that was not stated is made up."""
    call = meter.open(CHAT, ASK)
    assert call is not None
    call.answered(200, [("content-type", "text/event-stream")])
    call.feed(b'data: {"model":"gpt-4o","choices":[{"index":0,"delta":{"content":"He"}}]}\n\n')
    event = call.close("cancelled")
    assert event is not None
    assert (event.outcome, event.usage, event.usage_source, event.cost) == ("cancelled", None, "unknown", None)
    assert call.close() is event


def test_a_network_error(meter: Meter) -> None:
    """No answer came; the event keeps what was raised."""
    call = meter.open(CHAT, ASK)
    assert call is not None
    event = call.close("interrupted", error=ConnectionResetError("reset by peer"))
    assert event is not None
    assert (event.outcome, event.status, event.usage) == ("interrupted", None, None)
    assert event.error is not None
    assert (event.error.type, event.error.message) == ("ConnectionResetError", "reset by peer")


@pytest.fixture
def no_journal(tmp_path: Path) -> Path:
    """Where the journal's folder should be stands a file."""
    place = tmp_path / "in-the-way"
    place.write_text("")
    return place / "journal"


def test_no_journal_and_the_call_goes_on(settings: Settings, no_journal: Path) -> None:
    """By default: counted, told, and the call is not touched."""
    meter = Meter(Settings(store=settings.store, journal=no_journal))
    told: list[object] = []
    meter.listeners.on("meter_error", told.append)
    assert run(meter).cost == COST
    assert meter.failures["journal"] == 2
    assert len(told) >= 2


def test_no_journal_and_the_call_is_refused(settings: Settings, no_journal: Path) -> None:
    """By choice: it does not leave."""
    meter = Meter(Settings(store=settings.store, journal=no_journal, on_meter_failure="refuse"))
    with pytest.raises(JournalError, match="in-the-way"):
        meter.open(CHAT, ASK)


def test_a_store_that_cannot_be_opened(tmp_path: Path) -> None:
    """Delays events: they wait in the journal, and are stored when it can be."""
    folder = tmp_path / "not-yet"
    settings = Settings(store=str(folder / "store.sqlite3"), journal=tmp_path / "journal")
    meter = Meter(settings)
    event = run(meter)
    assert not meter.flush(0.3)
    folder.mkdir()
    assert meter.flush(10)
    assert stored(settings) == [event]
    meter.close()


def test_many_threads(meter: Meter, settings: Settings) -> None:
    """Every call once."""
    threads = [threading.Thread(target=lambda: [run(meter) for _ in range(25)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert meter.flush()
    assert len({event.id for event in stored(settings)}) == 200


def test_settings() -> None:
    """From the environment; a value that cannot be is refused by name."""
    found = Settings.from_environment({"TAXIMETER_ENABLED": "off", "TAXIMETER_DURABILITY": "fsync"}, store="x")
    assert (found.enabled, found.durability, found.store) == (False, "fsync", "x")
    with pytest.raises(ConfigError, match="durability"):
        Settings.from_environment({"TAXIMETER_DURABILITY": "forever"})


CHILD = """
import os, sys
from taximeter.meter import configure, the_meter
from taximeter.wire import Route
configure(store=sys.argv[1])
meter = the_meter()
route = Route("openai.chat", "openai")
def call(close):
    made = meter_now().open(route, b'{"model":"gpt-4o","messages":[]}')
    made.answered(200, [("content-type", "application/json")])
    made.feed(b'{"model":"gpt-4o","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}')
    if close:
        made.close()
    return made
def meter_now():
    from taximeter.meter import the_meter
    return the_meter()
"""


def child(tmp_path: Path, code: str) -> int:
    """Runs a program in a process of its own; returns how it ended."""
    command = [sys.executable, "-c", CHILD + code, str(tmp_path / "store.sqlite3")]
    return subprocess.run(command, check=False, timeout=60).returncode


def test_a_killed_process_loses_nothing(tmp_path: Path, settings: Settings) -> None:
    """One call ended and one under way when it was killed: both are in the store after the next start, once."""
    code = "call(True)\nopen_one = call(False)\nimport signal\nos.kill(os.getpid(), signal.SIGKILL)"
    assert child(tmp_path, code) == -signal.SIGKILL
    told = threading.Event()
    meter = Meter(settings)
    meter.listeners.on("recovered", lambda _: told.set())
    run(meter)
    assert told.wait(20)
    assert meter.flush()
    meter.close()
    assert sorted(event.outcome for event in stored(settings)) == ["completed", "completed", "unknown"]


def test_a_forked_child_has_a_meter_of_its_own(tmp_path: Path, settings: Settings) -> None:
    """A preloaded parent that had called forks children that call; the parent goes on: every call once."""
    code = """
call(True)
pending = call(False)
children = []
for _ in range(3):
    pid = os.fork()
    if not pid:
        call(True)
        pending.close()          # the parent's call is the parent's
        ok = meter_now().flush(20)
        meter_now().close()
        os._exit(0 if ok else 1)
    children.append(pid)
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
pending.close()
assert codes == [0, 0, 0], codes
assert meter_now().flush(20)
"""
    assert child(tmp_path, code) == 0
    assert len(stored(settings)) == 5
