"""What is said in a call is kept only where the user wants it, and only as their own function leaves it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from taximeter.errors import ConfigError
from taximeter.event import CallEvent, Content
from taximeter.meter import Meter, MeterFailure, Settings
from taximeter.meter.contents import Redact
from taximeter.store import open_store
from taximeter.wire import Route

CHAT = Route("openai.chat", "openai")
ASK = json.dumps({
    "model": "gpt-4o",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "My card is 4111."},
    ],
}).encode()  # fmt: skip
CALL = {"id": "c1", "type": "function", "function": {"name": "pay", "arguments": '{"card": "4111"}'}}
ANSWER = json.dumps({
    "id": "r1",
    "model": "gpt-4o",
    "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {"content": "Paying.", "tool_calls": [CALL]}}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 5},
}).encode()  # fmt: skip


def run(tmp_path: Path, capture: str, redact: Redact | None = None) -> tuple[CallEvent, list[MeterFailure]]:
    """A call with this much kept, as the store has it, and what the meter failed at."""
    settings = Settings.from_environment({}, store=str(tmp_path / "store.sqlite3"), capture=capture)
    meter = Meter(settings, redact)
    failures: list[MeterFailure] = []
    meter.listeners.on("meter_error", failures.append)
    call = meter.open(CHAT, ASK)
    assert call is not None
    call.answered(200, [("content-type", "application/json")])
    call.feed(ANSWER)
    event = call.close()
    journals = b"".join(path.read_bytes() for path in meter.journal_folder().glob("*"))
    assert (b"4111" in journals) == (event is not None and "4111" in repr(event.content))
    assert meter.flush()
    meter.close()
    with open_store(settings.store) as store:
        (stored,) = store.events()
    assert stored == event
    return stored, failures


def test_nothing_is_kept_unless_asked_for(tmp_path: Path) -> None:
    """Neither the store nor the journal has a word of it."""
    event, _ = run(tmp_path, "none")
    assert event.content is None
    assert b"4111" not in (tmp_path / "store.sqlite3").read_bytes()


def test_tool_arguments_alone(tmp_path: Path) -> None:
    """What the model gave to tools, in the order of the tool calls; no word of the user's or of the answer."""
    event, _ = run(tmp_path, "tool_arguments")
    assert event.content == Content(tool_arguments=('{"card": "4111"}',))


def test_everything(tmp_path: Path) -> None:
    """The user's message and the answer too."""
    event, _ = run(tmp_path, "full")
    assert event.content == Content("My card is 4111.", "Paying.", ('{"card": "4111"}',))


def test_the_users_function_goes_over_each_text(tmp_path: Path) -> None:
    """It is told what it has before it, before anything is written; what it gives is kept, and nothing for None."""
    event, failures = run(
        tmp_path, "full", lambda what, text: None if what == "answer" else text.replace("4111", f"<{what}>")
    )
    assert event.content == Content("My card is <user_message>.", None, ('{"card": "<tool_arguments>"}',))
    assert failures == []


def test_a_function_that_raises_keeps_nothing(tmp_path: Path) -> None:
    """What could not be gone over may hold anything: none of it is kept; the call is booked, and the failure told."""

    def redact(what: str, text: str) -> str:
        raise ValueError(what, len(text))

    event, failures = run(tmp_path, "full", redact)
    assert (event.content, event.outcome) == (None, "completed")
    assert [failure.where for failure in failures] == ["redact"]


def test_a_word_that_is_none_of_them() -> None:
    """Whoever misspells what is to be kept hears of it."""
    with pytest.raises(ConfigError, match="capture"):
        Settings.from_environment({"TAXIMETER_CAPTURE": "all"})
