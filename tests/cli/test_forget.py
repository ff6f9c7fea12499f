"""``taximeter forget``: what was said goes, what it cost stays."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from click.testing import CliRunner, Result

from taximeter.cli.export import export
from taximeter.cli.forget import forget
from taximeter.event import CallEvent, Content
from taximeter.money import Money
from taximeter.store import open_store


def call(number: int) -> CallEvent:
    """A call of which everything is kept, on one of the first days of October."""
    return CallEvent(
        id=f"call-{number}",
        started_at=datetime(2026, 10, number, tzinfo=UTC),
        provider="openai",
        api="openai.chat",
        outcome="completed",
        cost=Money.usd("0.01"),
        content=Content("a question", "an answer", ("{}",)),
    )


def run(url: str, *words: str) -> Result:
    """The command, on a store."""
    return CliRunner().invoke(forget, ["--store", url, *words])


def test_what_was_said_is_forgotten(store_url: str) -> None:
    """Up to a day, then all of it; events and their costs stay, and an export has nothing left to show."""
    with open_store(store_url) as store:
        store.add([call(1), call(2), call(3)], recorded_at=datetime(2026, 10, 9, tzinfo=UTC))
    assert json.loads(run(store_url, "--before", "2026-10-02", "--json").stdout) == {"calls": 1}
    assert run(store_url, "--all").stdout == "forgotten: what was said in 2 calls\n"
    lines = CliRunner().invoke(export, ["--format", "jsonl", "--store", store_url]).stdout.splitlines()
    assert [(json.loads(line)["content"], json.loads(line)["cost_usd"]) for line in lines] == [(None, "0.01")] * 3


def test_it_must_be_said_what(store_url: str) -> None:
    """Nothing is deleted by a bare word."""
    assert run(store_url).exit_code == 2
    assert run(store_url, "--all", "--before", "2026-10-02").exit_code == 2
