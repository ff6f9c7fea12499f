"""``taximeter read``: what it says of captures, of what is none, and what it keeps."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from tests.cli.conftest import CALLS, COMMAND, Run, lines

KEYS = [
    "capture", "api", "provider", "request_model", "response_model", "service_tier", "stream", "status", "usage_source",
    "usage", "tool_calls", "finish_reason", "complete", "error", "contradictions", "cost_usd", "provider_cost_usd",
    "parts", "price_date", "price_date_source",
]  # fmt: skip
PART_KEYS = ["model", "usage", "billed", "cost_usd", "line_items", "rate_card"]


def only(result: Result) -> Any:
    """The one line of JSON that a command wrote."""
    (line,) = lines(result)
    return line


def test_json_has_the_keys_that_programs_rely_on(run: Run, demo_captures: Path) -> None:
    """Every line has the same keys in the same order, whatever the capture is, and so has every part."""
    read = list(lines(run("read", "--json", *sorted(demo_captures.glob("*/*")))))
    assert len(read) == CALLS
    assert [list(line) for line in read] == [KEYS] * CALLS
    assert {tuple(part) for line in read for part in line["parts"]} == {tuple(PART_KEYS)}


def test_a_cached_stream_is_counted_and_priced_line_by_line(run: Run, demo_captures: Path) -> None:
    """Claude Sonnet 4.5: 3 USD in, 0.30 read, 3.75 and 6 written for 5 minutes and an hour, 15 out, per million."""
    folder = demo_captures / "anthropic_messages" / "stream_cache"
    line = only(run("read", "--json", folder))
    assert line["capture"] == str(folder)
    assert line["usage"] == {
        "input_tokens": 21 + 18_000 + 2_500,
        "output_tokens": 412,
        "cache_read_tokens": 18_000,
        "cache_write_tokens": 2_500,
        "cache_write_5m_tokens": 2_000,
        "cache_write_1h_tokens": 500,
    }
    assert {item["unit"]: item["amount_usd"] for item in line["parts"][0]["line_items"]} == {
        "input_tokens": "0.000063",
        "output_tokens": "0.00618",
        "cache_read_tokens": "0.0054",
        "cache_write_5m_tokens": "0.0075",
        "cache_write_1h_tokens": "0.003",
    }
    assert Decimal(line["cost_usd"]) == sum(map(Decimal, ("0.000063", "0.00618", "0.0054", "0.0075", "0.003")))
    assert line["complete"] is True
    assert line["finish_reason"] == "end_turn"


def test_parts_at_other_models_are_priced_at_those(run: Run, demo_captures: Path) -> None:
    """An adviser's share is billed at its own rates (5 and 25 USD per million), beside the caller's (3 and 15)."""
    line = only(run("read", "--json", demo_captures / "anthropic_messages" / "advisor"))
    own, advice = line["parts"]
    assert Decimal(own["cost_usd"]) == Decimal(900 * 3 + 150 * 15) / 1_000_000
    assert advice["model"] == "claude-opus-4-7"
    assert Decimal(advice["cost_usd"]) == Decimal(1_100 * 5 + 260 * 25) / 1_000_000
    assert Decimal(line["cost_usd"]) == Decimal(own["cost_usd"]) + Decimal(advice["cost_usd"])
    assert line["usage"] == {"input_tokens": 900 + 1_100, "output_tokens": 150 + 260}
    assert line["tool_calls"] == [{"id": "toolu_demo", "name": "book_hut"}]


def test_what_is_not_known_is_null_and_never_zero(run: Run, demo_captures: Path) -> None:
    """A stream that was cut before its usage has no units and no cost."""
    line = only(run("read", "--json", demo_captures / "openai_chat" / "cut_stream"))
    assert (line["usage_source"], line["usage"], line["cost_usd"], line["complete"]) == ("unknown", {}, None, False)


def test_an_unpriced_call_keeps_its_usage(run: Run, demo_captures: Path) -> None:
    """A model in no price book is counted, and its cost is null."""
    line = only(run("read", "--json", demo_captures / "ollama_chat" / "lines"))
    assert line["usage"] == {"input_tokens": 33, "output_tokens": 19}
    assert line["cost_usd"] is None
    assert line["parts"][0]["cost_usd"] is None


def test_an_error_of_the_provider_is_data(run: Run, demo_captures: Path) -> None:
    """A refusal by the provider is no failure of ours: it is read, and the exit code is 0."""
    result = run("read", "--json", demo_captures / "openai_chat" / "rate_limited")
    line = only(result)
    assert result.exit_code == 0
    assert line["status"] == 429
    assert line["error"]["code"] == "rate_limit_exceeded"


def test_the_price_date_and_where_it_came_from(run: Run, demo_captures: Path) -> None:
    """--at wins over the Date header, and the line says which of them was used."""
    folder = demo_captures / "openai_chat" / "stream"
    own = only(run("read", "--json", folder))
    assert (own["price_date"], own["price_date_source"]) == ("2026-11-02T09:00:00+00:00", "date_header")
    given = only(run("read", "--json", "--at", "2026-03-01T12:00:00+01:00", folder))
    assert (given["price_date"], given["price_date_source"]) == ("2026-03-01T12:00:00+01:00", "at")


def test_a_folder_that_is_no_capture_does_not_stop_the_others(run: Run, demo_captures: Path, tmp_path: Path) -> None:
    """What is no capture is named on standard error with what it lacks; the others are read; the exit code is 1."""
    (tmp_path / "empty").mkdir()
    good = demo_captures / "openai_chat" / "stream"
    result = run("read", "--json", tmp_path / "empty", good, tmp_path / "absent")
    assert result.exit_code == 1
    assert [line["capture"] for line in lines(result)] == [str(good)]
    first, second = result.stderr.splitlines()
    assert first.startswith(f"taximeter: {tmp_path / 'empty'}")
    assert "request.json" in first
    assert str(tmp_path / "absent") in second


def test_a_damaged_file_is_named(run: Run, demo_captures: Path, tmp_path: Path) -> None:
    """A capture whose request is no JSON is refused with the file's name, without a traceback."""
    shutil.copytree(demo_captures / "openai_chat" / "stream", tmp_path / "bad")
    (tmp_path / "bad" / "request.json").write_text("{")
    result = run("read", tmp_path / "bad")
    assert result.exit_code == 1
    assert "request.json" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_manifest_is_relative_to_itself(run: Run, demo_captures: Path, tmp_path: Path) -> None:
    """Its lines are folders beside it; blank lines and comments mean nothing; names are as it writes them."""
    shutil.copytree(demo_captures / "openai_chat", tmp_path / "calls")
    manifest = tmp_path / "list.txt"
    manifest.write_text("# two calls\ncalls/stream\n\ncalls/tool_call\n")
    assert [line["capture"] for line in lines(run("read", "--json", "--manifest", manifest))] == [
        "calls/stream",
        "calls/tool_call",
    ]


def test_a_manifest_from_standard_input(run: Run, demo_captures: Path) -> None:
    """`-` reads the manifest from standard input."""
    folder = str(demo_captures / "openai_chat" / "stream")
    assert only(run("read", "--json", "--manifest", "-", stdin=f"{folder}\n"))["capture"] == folder


def test_nothing_to_read_is_wrong_usage(run: Run) -> None:
    """With neither captures nor a manifest the exit code is 2."""
    assert run("read").exit_code == 2


def test_reading_again_adds_nothing(run: Run, demo_captures: Path) -> None:
    """The id of a capture's event comes from its content, so that a second reading is known."""
    folders = sorted((demo_captures / "openai_chat").iterdir())
    first = run("read", "--store", *folders)
    second = run("read", "--store", *folders)
    assert f"Stored {len(folders)} new in sqlite:///" in first.stderr
    assert "Stored 0 new in sqlite:///" in second.stderr
    assert f"{len(folders)} were there already." in second.stderr


def test_store_alone_takes_no_capture_for_its_value(run: Run, demo_captures: Path, tmp_path: Path) -> None:
    """`--store CAPTURE` is the default store and a capture; `--store URL` and `--store=FILE` are other stores."""
    folder = demo_captures / "openai_chat" / "stream"
    other = tmp_path / "other.sqlite3"
    assert "store.sqlite3" in run("read", "--store", folder).stderr
    assert "Stored 1 new" in run("read", "--store", f"sqlite:///{other}", folder).stderr
    assert "Stored 0 new" in run("read", folder, f"--store={other}").stderr


def test_a_table_for_people(run: Run, demo_captures: Path) -> None:
    """Without --json there is a table, and below it what its figures do not show."""
    result = run("read", *sorted((demo_captures / "openai_chat").iterdir()))
    assert "0.0008496" in result.stdout
    assert "cut_stream: the answer was cut off; its usage is unknown" in result.stdout
    assert "reported, 2 input_document_pages" in run("read", demo_captures / "mistral_ocr" / "pages").stdout
    assert "mistral_contradiction: cache_read_tokens (65) exceeds input_tokens (64); clamped to 64" in result.stdout


def test_no_colour_where_nobody_looks(
    run_process: Callable[..., subprocess.CompletedProcess[str]], demo_captures: Path
) -> None:
    """Into a pipe go neither colours nor a progress bar, also for many captures."""
    done = run_process("read", *sorted(demo_captures.glob("*/*")))
    assert done.returncode == 0
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stderr == ""


def test_names_cannot_steer_the_terminal(run: Run, demo_captures: Path, tmp_path: Path) -> None:
    """Control characters in what a provider sent are shown, not sent on; square brackets are no markup."""
    shutil.copytree(demo_captures / "openai_chat" / "rate_limited", tmp_path / "evil")
    error = {"error": {"message": "\x1b[31mred\x07", "type": "[bold]x[/bold]"}}
    (tmp_path / "evil" / "response.body").write_text(json.dumps(error))
    (tmp_path / "evil" / "request.json").write_text(
        json.dumps({"method": "POST", "url": "api.openai.com/v1/chat/completions", "body": {"model": "[red]m\x1b[0m"}})
    )
    result = run("read", tmp_path / "evil")
    assert "\x1b" not in result.stdout
    assert "[red]m·[0m" in result.stdout
    assert "·[31mred·" in result.stdout


@pytest.mark.needs("captures")
def test_every_recording_is_one_line(run: Run, captures_root: Path) -> None:
    """A manifest of real recordings gives a line for each, under the name that it lists, in its order."""
    index = captures_root / "index.txt"
    result = run("read", "--json", "--manifest", index)
    assert result.exit_code == 0
    assert [line["capture"] for line in lines(result)] == index.read_text().split()


def test_progress_is_shown_to_whoever_looks(demo_captures: Path) -> None:
    """With a terminal on standard error there is a progress bar on it, and nothing but JSON on standard output."""
    terminal, end = pty.openpty()
    folders = [str(folder) for folder in sorted(demo_captures.glob("*/*"))]
    environment = {**os.environ, "TERM": "xterm"}
    command = [*COMMAND, "read", "--json", *folders]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=end, env=environment, text=True) as process:
        os.close(end)
        assert process.stdout is not None
        written = process.stdout.read()
        shown = _all_of(terminal)
    assert len([json.loads(line) for line in written.splitlines()]) == len(folders)
    assert "Reading" in shown


def _all_of(terminal: int) -> str:
    """Everything written to a pseudo-terminal whose other end is closed by now, or will be."""
    shown = b""
    with os.fdopen(terminal, "rb", buffering=0) as file, suppress(OSError):  # Linux reports the closed end as an error
        while piece := file.read(4096):
            shown += piece
    return shown.decode("utf-8", "replace")
