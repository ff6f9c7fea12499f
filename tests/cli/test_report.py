"""``taximeter report`` and ``taximeter export``: the same money, however it is asked for."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from taximeter.event import CallEvent, ProviderError, Scope
from taximeter.money import Money
from taximeter.store import open_store
from taximeter.usage import Usage
from tests.cli.conftest import CALLS, Run, lines


@pytest.fixture
def filled(run: Run, demo_captures: Path) -> Decimal:
    """Puts the demo's captures into the store; the sum of what they cost, added up here."""
    result = run("read", "--json", "--store", *sorted(demo_captures.glob("*/*")))
    return sum((Decimal(line["cost_usd"]) for line in lines(result) if line["cost_usd"]), Decimal(0))


@pytest.mark.parametrize("by", ["model", "provider", "api", "day", "outcome", "project", "tag:team"])
def test_every_report_sums_to_the_same_money(run: Run, filled: Decimal, by: str) -> None:
    """Whatever a report is grouped by, its rows sum to what the calls cost, digit for digit."""
    result = run("report", "--by", by, "--json")
    report = json.loads(result.stdout)
    assert report["by"] == [by]
    assert sum(Decimal(row["cost_usd"]) for row in report["rows"] if row["cost_usd"]) == filled
    assert Decimal(report["total"]["cost_usd"]) == filled
    assert report["total"]["calls"] == CALLS


def test_by_several_dimensions(run: Run, filled: Decimal) -> None:
    """Each row names all its keys; CSV has the same rows."""
    rows = json.loads(run("report", "--by", "provider", "--by", "outcome", "--json").stdout)["rows"]
    assert {"provider": "openai", "outcome": "failed"} in [row["keys"] for row in rows]
    table = list(csv.DictReader(io.StringIO(run("report", "--by", "provider", "--by", "outcome", "--csv").stdout)))
    assert [(row["provider"], row["outcome"]) for row in table] == [tuple(row["keys"].values()) for row in rows]
    assert sum(Decimal(row["cost_usd"]) for row in table if row["cost_usd"]) == filled


def test_the_table_says_what_its_sum_leaves_out(run: Run, filled: Decimal) -> None:
    """Calls without a cost are counted below the table."""
    out = run("report").stdout
    assert str(filled) in out
    assert f"of {CALLS} calls have no cost; what they cost is not known, and not 0." in out


def test_dates_are_meant_in_the_time_zone(run: Run, store_url: str) -> None:
    """--since and --until without an offset are midnights there, and the interval is half-open."""
    midnight = datetime(2026, 10, 31, 23, 0, tzinfo=UTC)  # in Rome the first of November begins
    with open_store(store_url) as store:
        times = (midnight - timedelta(seconds=1), midnight, midnight + timedelta(days=1))
        events = [
            CallEvent(id=str(n), started_at=at, provider="p", api="a", outcome="completed")
            for n, at in enumerate(times)
        ]
        store.add(events, recorded_at=midnight)
    result = run(
        "report", "--by", "day", "--json", "--tz", "Europe/Rome", "--since", "2026-11-01", "--until", "2026-11-02"
    )
    report = json.loads(result.stdout)
    assert [row["keys"] for row in report["rows"]] == [{"day": "2026-11-01"}]
    assert report["total"]["calls"] == 1


def test_a_store_that_is_not_there_is_not_made(run: Run, tmp_path: Path) -> None:
    """Asking a store whose name was mistyped says so, and leaves no empty file behind."""
    for command in (["report"], ["export", "--format", "csv"]):
        result = run(*command, "--store", tmp_path / "typo.sqlite3")
        assert result.exit_code == 1
        assert f"there is no store at {tmp_path / 'typo.sqlite3'}" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["report", "--by", "colour"], 1),
        (["report", "--tz", "Atlantis"], 1),
        (["report", "--since", "yesterday"], 2),
        (["report", "--json", "--csv"], 2),
        (["report", "--store", "mysql://x/y"], 1),
        (["export", "--format", "xlsx"], 2),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(run: Run, arguments: list[str], code: int) -> None:
    """Wrong values exit with 1 or 2 and an explanation, never a traceback."""
    result = run(*arguments)
    assert result.exit_code == code
    assert result.stderr.strip()
    assert "Traceback" not in result.output


def test_export_writes_every_event_whole(run: Run, filled: Decimal) -> None:
    """JSON Lines and CSV hold all events with the same exact costs."""
    events = list(lines(run("export", "--format", "jsonl")))
    table = list(csv.DictReader(io.StringIO(run("export", "--format", "csv").stdout)))
    assert len(events) == len(table) == CALLS
    assert [event["id"] for event in events] == [row["id"] for row in table]
    assert [event["cost_usd"] or "" for event in events] == [row["cost_usd"] for row in table]
    assert sum(Decimal(row["cost_usd"]) for row in table if row["cost_usd"]) == filled
    advised = next(event for event in events if len(event["parts"]) == 2)
    assert advised["parts"][1]["model"] == "claude-opus-4-7"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\uff1d1"])
def test_export_gives_spreadsheets_no_formulas(run: Run, store_url: str, text: str) -> None:
    """Text of others that begins like a formula is preceded by an apostrophe; our negative figures are left alone."""
    event = CallEvent(
        id="1",
        started_at=datetime(2026, 11, 1, tzinfo=UTC),
        provider="p",
        api="a",
        outcome="failed",
        request_model=text,
        error=ProviderError(message=text),
        scope=Scope(user=text),
        cost=Money.usd("-0.5"),
        usage=Usage(input_tokens=1),
        usage_source="reported",
    )
    with open_store(store_url) as store:
        store.add([event], recorded_at=event.started_at)
    output = run("export", "--format", "csv").stdout
    (row,) = csv.DictReader(io.StringIO(output, newline=""))
    assert row["request_model"] == row["error_message"] == row["user"] == f"'{text}"
    assert row["cost_usd"] == "-0.5"
    (by_user,) = csv.DictReader(io.StringIO(run("report", "--by", "user", "--csv").stdout, newline=""))
    assert by_user["user"] == f"'{text}"


def test_export_needs_no_more_memory_for_more_events(run: Run, store_url: str, tmp_path: Path) -> None:
    """Three times as many events take hardly more memory to write."""
    start = datetime(2026, 11, 1, tzinfo=UTC)
    raw = json.dumps({"padding": "x" * 10_000})

    def add(batch: int) -> None:
        made = (
            CallEvent(id=f"{batch}-{n}", started_at=start, provider="p", api="a", outcome="completed", raw_usage=raw)
            for n in range(1_000)
        )
        with open_store(store_url) as store:
            store.add(made, recorded_at=start)

    def peak() -> int:
        tracemalloc.start()
        try:
            assert run("export", "--format", "jsonl", "--output", tmp_path / "out.jsonl").exit_code == 0
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    add(1)
    peak()  # so that what is loaded once is loaded
    for_one = peak()
    add(2)
    add(3)
    assert peak() < 1.2 * for_one
    assert (tmp_path / "out.jsonl").stat().st_size > 30_000_000
