"""curl: byte for byte what the provider sends, and the cost where it is asked for."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.clients.stage import HELLO, Booth
from tests.gateway.replay.stage import told_cost, without_cost

CHAT = {"model": "gpt-4o", "messages": HELLO}
STREAM = CHAT | {"stream": True}
CASES: dict[str, tuple[str, str, Any, str]] = {
    "whole": ("openai", "/chat/completions", CHAT, ""),
    "stream": ("openai", "/chat/completions", STREAM, ""),
    "asking": ("openai", "/chat/completions", STREAM | {"stream_options": {"include_usage": True}}, ""),
    "bytewise": ("openai", "/chat/completions", STREAM, "bytewise, output=20"),
    "gzip": ("openai", "/chat/completions", STREAM, "gzip"),
    "error": ("openai", "/chat/completions", CHAT, "status=404"),
    "messages": (
        "anthropic",
        "/v1/messages",
        {"model": "claude-haiku-4-5", "max_tokens": 99, "messages": HELLO, "stream": True},
        "",
    ),
    "gemini": (
        "google",
        "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
        {"contents": [{"role": "user", "parts": [{"text": "Hello you"}]}]},
        "",
    ),
}


Curl = Callable[[str, Any, str], tuple[int, dict[str, str], bytes]]


@pytest.fixture
def curl(tmp_path: Path) -> Curl:
    """Runs curl; the status, the headers, and the body decoded."""

    def run(url: str, body: Any, knobs: str) -> tuple[int, dict[str, str], bytes]:
        head = tmp_path / "head"
        line = ["curl", "-sSN", "--compressed", "--max-time", "20", "-D", str(head), "--data-binary", "@-", url]
        for header in ("content-type: application/json", "authorization: Bearer k", f"x-simulate: {knobs or 'seed=1'}"):
            line += ["-H", header]
        done = subprocess.run(line, input=json.dumps(body).encode(), capture_output=True, timeout=30, check=False)
        assert not done.returncode, done.stderr
        first, *lines = head.read_text().strip().splitlines()
        headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in lines)}
        return int(first.split()[1]), headers, done.stdout

    return run


@pytest.mark.needs("curl")
@pytest.mark.parametrize("name", CASES)
def test_its_bytes_are_the_providers(place: Booth, curl: Curl, name: str) -> None:
    """But for the cost, beside the usage that was asked for."""
    api, path, body, knobs = CASES[name]
    status, _, direct = curl(place.direct(api) + path, body, knobs)
    got, headers, through = curl(place.through(api) + path, body, knobs)
    event = place.event()
    assert got == status
    assert without_cost(through) == direct
    assert headers["x-taximeter-call-id"] == event.id
    tells = name in {"whole", "asking", "messages", "gemini"}
    assert told_cost(through) == (str(event.cost) if tells else None)
    assert headers.get("x-taximeter-cost-usd") == (str(event.cost) if name == "whole" else None)
    assert event.outcome == ("failed" if name == "error" else "completed")
