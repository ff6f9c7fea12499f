"""``taximeter demo``: it meters what it says, its figures are those of the store, and its check can fail."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from taximeter.cli.demo.audit import Audit, audit
from taximeter.event import CallEvent
from taximeter.money import ZERO, Money
from taximeter.simulator import Served
from taximeter.store import ReportRow, open_store
from taximeter.usage import Usage
from tests.cli.conftest import COMMAND, Run

CALLS = 26
UNMETERED = """
from taximeter.meter.runtime import owned
owned.set(True)
from taximeter.cli import main
main()
"""
"""A program in which a hook further out says that it books every call: the meter books none."""

TIDY = """
import sys, threading
from taximeter.cli import cli
from taximeter.instrument.hooks import _hooks
cli(["demo", "--no-sdks", "--json"], standalone_mode=False)
for thread in threading.enumerate():
    if thread is not threading.current_thread():
        thread.join(10)
print(threading.active_count(), len(_hooks.installed), len(_hooks.waiting), file=sys.stderr)
"""


def play(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the demo in a process of its own, with a folder for temporary files of its own."""
    plain = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "COLUMNS"}}
    return subprocess.run(
        [*COMMAND, "demo", *arguments],
        env={**plain, "TMPDIR": str(folder), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def answer(folder: Path, *arguments: str, **environment: str) -> Any:
    """What it says with ``--json``."""
    done = play(folder, "--json", *arguments, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What it says with ``--json``, without SDKs, and without any wish."""
    return answer(tmp_path_factory.mktemp("told"), "--no-sdks")


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What it prints where nobody looks."""
    done = play(tmp_path_factory.mktemp("printed"), "--no-sdks")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_books_are_those_of_the_provider(told: Any) -> None:
    """Every call is in the store with the figures that the provider says it stated; costs add up to the last digit."""
    check = told["check"]
    assert check["equal"] is True
    assert check["served"] == check["stored"]
    assert (check["served"]["calls"], check["served"]["stated_calls"]) == (CALLS, CALLS - 3)
    assert check["only_served"] == check["only_stored"] == []
    assert check["told_cost_usd"] == check["stored_cost_usd"] == told["reports"][0]["total"]["cost_usd"]
    assert [report["by"] for report in told["reports"]] == [["model"], ["operation"], ["project", "user"]]
    for report in told["reports"]:
        assert sum(Decimal(row["cost_usd"] or 0) for row in report["rows"]) == Decimal(check["stored_cost_usd"])
        assert sum(row["calls"] for row in report["rows"]) == report["total"]["calls"] == CALLS
    total = told["reports"][0]["total"]
    assert (total["unpriced_calls"], total["unknown_usage_calls"], total["estimated_calls"]) == (3, 2, 1)
    # the report has the provider's figures and our estimate, which the check keeps apart
    for unit in ("input_tokens", "output_tokens"):
        assert total["usage"][unit] == check["stored"]["usage"][unit] + check["estimated"][unit]


def test_what_is_shown_is_in_the_store(told: Any, run: Run) -> None:
    """The store stays, and the command that is named in the end says the same."""
    assert json.loads(run("report", "--store", told["store"], "--by", "model", "--json").stdout) == told["reports"][0]
    with open_store(told["store"]) as store:
        events = list(store.events())
    assert Counter(event.outcome for event in events) == {
        "completed": CALLS - 3,
        "failed": 1,
        "interrupted": 1,
        "cancelled": 1,
    }
    assert {event.provider for event in events} == {
        "openai", "anthropic", "google", "bedrock", "cohere", "groq", "ollama", "openrouter",
    }  # fmt: skip
    chat = [event for event in events if event.scope.operation == "chat"]
    assert len({event.scope.session for event in chat}) == 1
    assert len({event.scope.turn for event in chat}) == 3
    assert [len(event.tool_calls) for event in chat] == [2, 0, 0, 0]
    assert [len(event.tool_results) for event in chat] == [0, 2, 0, 0]
    assert {result.name for result in chat[1].tool_results} == {"trains", "weather"}
    assert all(event.usage_source == "reported" for event in chat)
    retried = [event for event in events if event.scope.operation == "sort" and event.provider == "groq"]
    assert [(event.status, event.attempt) for event in retried] == [(429, 1), (200, 2)]
    sorted_by = Counter(event.scope.user for event in events if event.request_model == "gpt-5-nano")
    assert sorted_by == {"cleo": 4, "dan": 4}
    cut = next(event for event in events if event.outcome == "interrupted")
    assert (cut.usage_source, cut.cost is not None) == ("estimated", True)
    closed = next(event for event in events if event.outcome == "cancelled")
    assert (closed.usage_source, closed.usage, closed.cost) == ("unknown", None, None)


def test_shown_to_a_pipe(printed: str) -> None:
    """Plain text, no wider than a page but for what is to be copied."""
    assert "\x1b" not in printed
    assert max(len(line.rstrip()) for line in printed.splitlines() if "demo" not in line) <= 80
    assert "✓ Equal: call by call, token by token." in printed
    assert "1 call: no price: llama3.2 of ollama is in no price book" in printed
    assert "1 call: cancelled before anything was stated; usage and cost are unknown" in printed
    assert "The last stream asked for no usage. The meter did; the chat saw none of it." in printed
    (url,) = set(re.findall(r"sqlite:///\S+", printed))
    assert Path(url.removeprefix("sqlite:///")).exists()


def test_the_same_each_time(printed: str, tmp_path: Path) -> None:
    """Nothing but the name of the store differs from run to run."""
    again = play(tmp_path, "--no-sdks").stdout
    assert nameless(again) == nameless(printed)


def test_the_readme_shows_what_it_prints(printed: str, repository: Path) -> None:
    """Each line of the README's sample is printed, in the order in which it stands there."""
    page = (repository / "README.md").read_text()
    (sample,) = re.findall(r"^<!-- what the demo prints -->\n```text\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    wanted = [line for line in sample.splitlines() if line.strip() not in {"", "…"}]
    assert len(wanted) > 20
    rest = iter([line.rstrip() for line in printed.splitlines()])
    assert [line for line in wanted if line not in rest] == []


def test_the_same_with_sdks(told: Any, need: Callable[[str], None], tmp_path: Path) -> None:
    """The figures do not depend on who makes the calls: the providers' own SDKs, or plain HTTP in their shape."""
    for name in ("openai", "anthropic", "google-genai"):
        need(name)
    with_sdks = answer(tmp_path, "--sdks")
    assert [name.partition(" ")[0] for name in with_sdks["sdks"]] == ["openai", "anthropic", "google-genai"]
    assert told["sdks"] == []
    assert with_sdks["reports"] == told["reports"]
    assert with_sdks["check"] == told["check"]


def test_a_meter_that_misses_calls_is_found_out(tmp_path: Path) -> None:
    """Where nothing is booked, the check says what is missing, and the exit code is 1."""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", UNMETERED, "demo", "--no-sdks"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert "✗ Only the provider has openai.chat gpt-5-mini 200: " in done.stdout
    assert "✓" not in done.stdout


def test_a_store_that_is_kept(store_url: str, tmp_path: Path) -> None:
    """Two demos into one store: each reports on its own calls alone. Nothing else is left."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    first, second = (answer(temporary, "--no-sdks", "--store", store_url) for _ in range(2))
    assert first == second
    assert first["store"] == store_url
    with open_store(store_url) as store:
        assert store.count() == 2 * CALLS
    assert list(temporary.iterdir()) == []


def test_settings_but_prices_have_no_part_in_it(store_url: str, tmp_path: Path) -> None:
    """Neither settings nor a proxy change it, and the user's store is left alone; the user's own prices are used."""
    cards = tmp_path / "cards.toml"
    cards.write_text(
        '[[card]]\nprovider = "ollama"\nmodel = "llama3.2"\nrates = { input_tokens = "1", output_tokens = "1" }\n'
    )
    told = answer(
        tmp_path,
        "--no-sdks",
        TAXIMETER_STORE=store_url,
        TAXIMETER_ENABLED="0",
        TAXIMETER_INJECT_USAGE="never",
        TAXIMETER_RATE_CARDS=str(cards),
        HTTP_PROXY="http://127.0.0.1:9",
        ALL_PROXY="http://127.0.0.1:9",
    )
    assert told["check"]["served"]["calls"] == CALLS
    assert not Path(store_url.removeprefix("sqlite:///")).exists()
    (row,) = (row for row in told["reports"][0]["rows"] if row["keys"]["model"] == "llama3.2")
    assert Decimal(row["cost_usd"]) == Decimal(sum(row["usage"].values())) / 1_000_000


def test_a_store_that_cannot_be_opened(tmp_path: Path) -> None:
    """It is said in a sentence, before anything is played."""
    done = play(tmp_path, "--store", str(tmp_path / "no" / "folder" / "store.sqlite3"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("taximeter: ")
    assert "Traceback" not in done.stderr


def test_nothing_is_left_running(tmp_path: Path) -> None:
    """No thread, no hook and no server is there afterwards."""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", TIDY], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.split()) == (0, ["1", "0", "0"])


@pytest.mark.parametrize(("columns", "environment"), [(80, {}), (60, {}), (120, {"NO_COLOR": "1"})])
def test_shown_on_a_terminal(columns: int, environment: dict[str, str], tmp_path: Path) -> None:
    """Within its width, in colour unless that is unwanted, and with a sum that ticks."""
    variables = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "COLUMNS"}}
    variables |= {"TERM": "xterm-256color", "TMPDIR": str(tmp_path), **environment}
    shown, code = on_terminal(["demo", "--no-sdks"], columns, variables)
    assert code == 0
    assert ("\x1b[32m" in shown) is not bool(environment)
    assert re.search(r"\d+ calls  [\d,]+ tokens", shown)
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).replace("\r", "\n").splitlines()
    assert max(len(line.rstrip()) for line in lines if "demo" not in line) <= columns
    assert any("✓ Equal: call by call, token by token." in line for line in lines)


# ---- the check by itself

AT = datetime(2026, 11, 22, tzinfo=UTC)
NOTHING = ReportRow(
    keys=(), calls=0, errors=0, unpriced_calls=0, estimated_calls=0, unknown_usage_calls=0, usage=Usage(), cost=None,
    provider_cost=None,
)  # fmt: skip


def served(number: int, usage: dict[str, int] | None) -> Served:
    """A call, as the provider has it."""
    return Served(
        number=number,
        method="POST",
        path="/v1/chat/completions",
        api="openai.chat",
        provider="openai",
        model="gpt-5-mini",
        stream=False,
        status=200,
        outcome="completed",
        usage=usage,
    )


def stored(number: int, usage: dict[str, int] | None, source: Any = "reported") -> CallEvent:
    """The same, as the store has it; a token costs a millionth of a dollar."""
    counted = None if usage is None else Usage(**usage)
    cost = None if counted is None else Money(sum(usage.values()) * 10**6)  # type: ignore[union-attr]
    return CallEvent(
        id=str(number),
        started_at=AT,
        provider="openai",
        api="openai.chat",
        outcome="completed",
        request_model="gpt-5-mini",
        status=200,
        usage=counted,
        usage_source=source if counted is not None else "unknown",
        cost=cost,
    )


def checked(theirs: list[Served], ours: list[CallEvent], **changes: Any) -> Audit:
    """The check, with the totals that a store would give, unless it is said otherwise."""
    usage = Usage.total(event.usage for event in ours if event.usage is not None)
    cost = sum((event.cost for event in ours if event.cost is not None), start=ZERO)
    total = msgspec.structs.replace(NOTHING, calls=len(ours), usage=usage, cost=cost)
    return audit(theirs, ours, changes.get("total", total), changes.get("told", cost))


FIRST, SECOND = {"input_tokens": 5, "output_tokens": 7}, {"input_tokens": 6, "output_tokens": 8}


def test_equal_books_in_any_order() -> None:
    """The order in which calls ended is nobody's promise."""
    found = checked([served(1, FIRST), served(2, SECOND)], [stored(2, SECOND), stored(1, FIRST)])
    assert found.equal
    assert found.served.usage == {"input_tokens": 11, "output_tokens": 15}


def test_sums_that_agree_do_not_hide_calls_that_do_not() -> None:
    """A token that moved from one call to another changes no sum, and is found."""
    moved = [stored(1, {"input_tokens": 6, "output_tokens": 7}), stored(2, {"input_tokens": 5, "output_tokens": 8})]
    found = checked([served(1, FIRST), served(2, SECOND)], moved)
    assert found.served == found.stored
    assert not found.equal
    assert found.only_served == tuple(
        f"openai.chat gpt-5-mini 200: {each['input_tokens']} input_tokens, {each['output_tokens']} output_tokens"
        for each in (FIRST, SECOND)
    )
    assert len(found.only_stored) == 2


@pytest.mark.parametrize(
    "ours",
    [
        [stored(1, FIRST)],
        [stored(1, FIRST), stored(2, None)],
        [stored(1, FIRST), stored(2, SECOND, "estimated")],
        [stored(1, FIRST), stored(2, SECOND), stored(3, SECOND)],
    ],
    ids=["lost", "without figures", "estimated", "twice"],
)
def test_a_call_that_is_not_booked_as_it_was_served(ours: list[CallEvent]) -> None:
    """A call that is lost, without its figures, booked as our estimate, or twice, is found."""
    assert not checked([served(1, FIRST), served(2, SECOND)], ours).equal


def test_an_estimate_is_not_the_providers_word() -> None:
    """What no provider stated is named, and is in neither sum."""
    found = checked([served(1, FIRST), served(2, None)], [stored(1, FIRST), stored(2, SECOND, "estimated")])
    assert found.equal
    assert found.estimated == SECOND
    assert found.stored.usage == FIRST
    assert (found.stored.calls, found.stored.stated_calls) == (2, 1)


def test_costs_and_totals_are_checked_too() -> None:
    """A cost that was told otherwise, and a total that is not the sum, are found."""
    theirs, ours = [served(1, FIRST)], [stored(1, FIRST)]
    assert checked(theirs, ours, told=Money(12 * 10**6)).equal
    assert not checked(theirs, ours, told=Money(12 * 10**6 + 1)).equal
    short = msgspec.structs.replace(NOTHING, calls=1, usage=Usage(input_tokens=5), cost=Money(12 * 10**6))
    found = checked(theirs, ours, total=short)
    assert (found.equal, found.adds_up) == (False, False)


# ---- helpers


def nameless(shown: str) -> str:
    """What was shown, without the name of the store."""
    return re.sub(r"sqlite:///\S+", "sqlite:///…", shown)


def on_terminal(arguments: list[str], columns: int, environment: dict[str, str]) -> tuple[str, int]:
    """What a command shows on a terminal of so many columns, and its exit code."""
    pid, terminal = pty.fork()
    if pid == 0:  # the terminal's side
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 200, columns, 0, 0))
        os.execve(sys.executable, [*COMMAND, *arguments], environment)  # noqa: S606 - our own command
    shown = b"".join(_all_of(terminal)).decode()
    os.close(terminal)
    return shown, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _all_of(descriptor: int) -> Iterator[bytes]:
    with suppress(OSError):  # Linux' way to say that the other side has gone
        while data := os.read(descriptor, 65_536):
            yield data
