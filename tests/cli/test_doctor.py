"""`taximeter doctor` on the journals, the meter's failures and the hosts that are not metered."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import taximeter
from taximeter.event import CallEvent
from taximeter.instrument import endpoints
from taximeter.journal import Journal, OpenCall, files
from taximeter.meter import Meter, snapshots
from taximeter.meter.health import FailureCount, Health
from taximeter.meter.snapshots import HEALTH, Snapshot
from taximeter.wire import Route
from tests.cli.conftest import Run

NOW = datetime.now(UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The journal folder of the test's store, not made yet."""
    return tmp_path / "store.journal"


@pytest.fixture
def health(folder: Path) -> Iterator[Health]:
    """The health of a process that shares the store."""
    made = Health(lambda: folder)
    yield made
    made.close()


@pytest.fixture
def diagnosis(run: Run) -> Callable[..., Any]:
    """Runs `taximeter doctor --json`; the exit code agrees with what it says."""

    def call(*arguments: str) -> Any:
        result = run("doctor", "--json", *arguments)
        found = json.loads(result.stdout)
        assert result.exit_code == (0 if found["ok"] else 1)
        assert found["ok"] == (not found["problems"])
        return found

    return call


def leave_failure(folder: Path, ago: timedelta) -> None:
    """The word of a dead process that its journal failed so long ago."""
    folder.mkdir()
    at = NOW - ago
    failed = FailureCount(where="journal", count=2, first_at=at, last_at=at, message="OSError: full", call_id="c-1")
    path = folder / (files.fresh_name() + HEALTH)
    files.let_go(snapshots.write(path, Snapshot(failures=(failed,))))


def test_all_is_well(diagnosis: Callable[..., Any], run: Run, folder: Path) -> None:
    """Before the first call there is no folder, and looking makes none."""
    found = diagnosis()
    assert found["journal"] == {
        "folder": str(folder),
        "state": "none yet",
        "live": 0,
        "left": 0,
        "refused": [],
        "corrupt": [],
        "size_bytes": 0,
        "problem": None,
    }
    assert found["meter"]["failures"] == found["unmetered"] == found["problems"] == []
    assert not folder.exists()
    said = run("doctor").stdout
    assert "no failures; no webhook is told" in said
    assert "nothing that looks like a call to a model" in said


def test_what_was_there_stays_there(diagnosis: Callable[..., Any]) -> None:
    """Programs that read the JSON of earlier versions find their keys."""
    assert diagnosis().keys() >= {"ok", "store", "prices", "python", "platform", "packages"}


def test_journals(diagnosis: Callable[..., Any], run: Run, folder: Path) -> None:
    """One of a living process, one that a dead one left: neither is a problem."""
    journal = Journal.create(folder)
    journal.opened(OpenCall(id="1", started_at=NOW, provider="openai", api="openai.chat"))
    (folder / "0001-1-aa.journal").write_bytes(b"left")
    found = diagnosis()
    assert found["ok"]
    assert (found["journal"]["live"], found["journal"]["left"]) == (1, 1)
    assert found["journal"]["size_bytes"] == journal.bytes_on_disk + 4
    said = run("doctor").stdout
    assert "1 of living processes, 1 of dead ones" in said
    assert "is stored as soon as a process meters" in said
    journal.closed(CallEvent(id="1", started_at=NOW, provider="openai", api="openai.chat", outcome="completed"))
    journal.confirm(len(journal.waiting(1)))
    assert journal.close()


@pytest.mark.parametrize(("ending", "advice"), [("refused", "remove the file"), ("corrupt", "then remove it")])
def test_files_that_a_person_has_to_see_to(
    diagnosis: Callable[..., Any], run: Run, folder: Path, ending: str, advice: str
) -> None:
    """Are named, with what to do about them, and are a problem."""
    folder.mkdir()
    name = f"0001-1-aa.{ending}"
    (folder / name).write_bytes(b"x")
    found = diagnosis()
    assert found["journal"][ending] == [name]
    (problem,) = found["problems"]
    assert str(folder) in problem
    result = run("doctor")
    assert result.exit_code == 1
    assert f"{ending}: {name}" in result.stdout
    assert advice in " ".join(result.stdout.split())
    assert f"taximeter: {problem}" in result.stderr


def test_recent_failures_are_a_problem(diagnosis: Callable[..., Any], run: Run, folder: Path) -> None:
    """With the part, how often, when, why and at which call, also of a process that is gone."""
    leave_failure(folder, timedelta(hours=23))
    found = diagnosis()
    (failure,) = found["meter"]["failures"]
    assert (failure["where"], failure["count"], failure["recent"]) == ("journal", 2, True)
    assert (failure["message"], failure["call_id"]) == ("OSError: full", "c-1")
    assert found["problems"] == ["the meter failed within the last 24 hours: journal"]
    said = run("doctor").stdout
    assert f"journal: 2, last {NOW - timedelta(hours=23):%Y-%m-%d %H:%M:%S} UTC" in said
    assert "OSError: full (call c-1)" in said


def test_older_failures_are_for_information(diagnosis: Callable[..., Any], folder: Path) -> None:
    """They are shown, and all is well."""
    leave_failure(folder, timedelta(hours=25))
    found = diagnosis()
    assert found["ok"]
    assert [failure["recent"] for failure in found["meter"]["failures"]] == [False]


def test_failures_of_a_living_process(diagnosis: Callable[..., Any], health: Health) -> None:
    """Are seen while it lives."""
    health.failure("reader", ValueError("no"))
    health.save()
    assert [failure["where"] for failure in diagnosis()["meter"]["failures"]] == ["reader"]


def test_damaged_counters(diagnosis: Callable[..., Any], run: Run, folder: Path) -> None:
    """Are named, and stop nothing."""
    folder.mkdir()
    (folder / f"1{HEALTH}").write_bytes(b"half")
    found = diagnosis()
    assert (found["ok"], found["meter"]["damaged"]) == (True, [f"1{HEALTH}"])
    assert f"left out: 1{HEALTH}" in run("doctor").stdout


def test_unmetered_hosts(diagnosis: Callable[..., Any], run: Run, health: Health) -> None:
    """Each with what it looks like, how often, and the line to write: for information."""
    for _ in range(3):
        health.unmetered("POST", "llm", "/v2/chat")
    health.unmetered("POST", "tgi:8080", "/generate")
    health.save()
    found = diagnosis()
    assert found["ok"]
    assert [(line["host"], line["api"], line["calls"]) for line in found["unmetered"]] == [
        ("tgi:8080", "huggingface.inference", 1),
        ("llm", "cohere.chat", 3),
    ]
    said = run("doctor").stdout
    assert "4 calls that look like calls to a model" in said
    assert 'taximeter.endpoint("https://llm/v2/chat", api="cohere.chat", provider="…")' in said


@pytest.fixture
def meter(store_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Meter]:
    """The process's meter; what is declared to it is forgotten after the test."""
    monkeypatch.setattr(endpoints, "_said", {})
    made = taximeter.configure(store=store_url)
    before = list(made.declared)
    yield made
    made.declared[:] = before
    made.close()


@pytest.mark.parametrize(
    ("place", "api"),
    [
        ("llm.internal/v2/chat", "cohere.chat"),
        ("tgi:8080/generate", "huggingface.inference"),
        ("[::1]:9000/teams/a1/v1/embed", "cohere.embed"),
        ("gemini.internal/v1internal:generateContent", "gemini.generate"),
        ("sagemaker.internal/endpoints/my-llama/invocations", "openai.chat"),
    ],
)
def test_the_line_to_write_works(
    diagnosis: Callable[..., Any], health: Health, meter: Meter, place: str, api: str
) -> None:
    """Put into a program, with a name for the provider, it has the call metered in the format that it looks like."""
    host, path = place[: place.index("/")], place[place.index("/") :]
    assert meter.route("POST", host, path) is None
    health.unmetered("POST", host, path)
    health.save()
    (line,) = diagnosis()["unmetered"]
    exec(line["declare"].replace("…", "mine"), {"taximeter": taximeter})  # noqa: S102 - our own line
    assert meter.route("POST", host, path) == Route(api, "mine")


def test_it_fits_in_80_columns(run_process: Callable[..., Any], health: Health, folder: Path) -> None:
    """Names that can be copied are not cut in two, long lines of Python are broken where Python allows it."""
    health.failure("journal", OSError("cannot write " * 20), "0192f3a4-7b1c-7def-8a90-123456789abc")
    health.unmetered("POST", "a-rather-long-name.of-a-host.internal.example:8443", "/v1/chat")
    health.save()
    (folder / "01795341353348025516-1234567-0f9a4f67.refused").write_bytes(b"x")
    done = run_process("doctor", COLUMNS="80")
    assert done.returncode == 1
    wide = [line for line in done.stdout.splitlines() if len(line) > 80]
    assert all(str(folder.parent) in line for line in wide)
    lines = done.stdout[done.stdout.index("taximeter.endpoint(") :].split("\nprices")[0]
    assert compile(lines.replace("…", "mine"), "doctor", "exec")
    assert '    "https://a-rather-long-name.of-a-host.internal.example:8443/v1/chat",\n' in lines


def test_what_others_wrote_steers_no_terminal(run: Run, health: Health) -> None:
    """Control characters in a message are made visible."""
    health.failure("hook", ValueError("\x1b[2J\x07gone"))
    health.save()
    said = run("doctor").stdout
    assert "\x1b" not in said
    assert "·[2J·gone" in said


def test_a_folder_of_its_own(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TAXIMETER_JOURNAL says where the journals are."""
    monkeypatch.setenv("TAXIMETER_JOURNAL", str(tmp_path / "elsewhere"))
    assert json.loads(run("doctor", "--json").stdout)["journal"]["folder"] == str(tmp_path / "elsewhere")


def test_another_store(diagnosis: Callable[..., Any], tmp_path: Path) -> None:
    """`--store` looks at the journals beside it."""
    found = diagnosis("--store", str(tmp_path / "other.sqlite3"))
    assert found["journal"]["folder"] == str(tmp_path / "other.journal")


def test_a_folder_that_is_none(diagnosis: Callable[..., Any], folder: Path) -> None:
    """A file in its place is a problem."""
    folder.write_text("")
    found = diagnosis()
    assert found["journal"]["state"] == "broken"
    assert str(folder) in found["problems"][0]


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("TAXIMETER_DURABILITY", "forever", "durability"),
        ("TAXIMETER_ALERT_WEBHOOK", "ftp://secret", "alert_webhook: give an http or https URL"),
        ("TAXIMETER_STORE", "redis://x", "redis://x"),
    ],
)
def test_settings_that_cannot_be_used(run_process: Callable[..., Any], variable: str, value: str, said: str) -> None:
    """Each is one problem, said once."""
    done = run_process("doctor", "--json", **{variable: value})
    found = json.loads(done.stdout)
    assert done.returncode == 1
    (problem,) = found["problems"]
    assert said in problem
    assert "secret" not in done.stdout


def test_switched_off(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """That nothing is metered is worth a word, and is no problem."""
    monkeypatch.setenv("TAXIMETER_ENABLED", "0")
    result = run("doctor")
    assert result.exit_code == 0
    assert "switched off by TAXIMETER_ENABLED" in result.stdout


def test_a_webhook_is_not_shown(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """That there is one is said; its URL is a secret."""
    monkeypatch.setenv("TAXIMETER_ALERT_WEBHOOK", "https://hooks.internal/T0/secret")
    result = run("doctor")
    assert "a webhook is told" in result.stdout
    assert "secret" not in result.stdout
