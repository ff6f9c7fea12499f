"""The recorded calls that come with the package: something to try ``taximeter read`` on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from taximeter.wire import APIS
from tests.cli.conftest import Run, lines

# Why each of these has no cost is what it is there to show.
WITHOUT_COST = {
    "anthropic_complete/without_usage",
    "hf_inference/embedding",
    "ollama_chat/lines",
    "openai_chat/cut_stream",
    "openai_chat/rate_limited",
    "openai_completions/own_engine",
    "openai_speech/sound",
    "rerank/cohere",
}


def test_every_wire_format_is_shown(run: Run, demo_captures: Path) -> None:
    """There is a capture of each format that can be read."""
    shown = {line["api"] for line in lines(run("read", "--json", *demo_captures.glob("*/*")))}
    assert shown == set(APIS)


def test_each_has_a_cost_unless_it_shows_why_not(run: Run, demo_captures: Path) -> None:
    """Their models are in the price book."""
    folders = sorted(demo_captures.glob("*/*"))
    read = list(lines(run("read", "--json", *folders)))
    without = {"/".join(Path(line["capture"]).parts[-2:]) for line in read if line["cost_usd"] is None}
    assert without == WITHOUT_COST


def test_the_captures_are_what_the_script_writes(repository: Path, demo_captures: Path, tmp_path: Path) -> None:
    """Nothing was changed by hand: the script writes the very bytes that are shipped."""
    script = repository / "scripts" / "demo" / "write.py"
    subprocess.run([sys.executable, str(script), str(tmp_path)], check=True, capture_output=True)
    written = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    shipped = {
        path.relative_to(demo_captures): path.read_bytes() for path in demo_captures.rglob("*.*") if path.is_file()
    }
    assert written == shipped
