"""``taximeter chat``: turns, figures, and an answer that is cancelled."""

from __future__ import annotations

import csv
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from taximeter.store import open_store
from taximeter.testing import Simulator, running_simulator
from tests.cli.conftest import COMMAND

Chat = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def provider() -> Iterator[Simulator]:
    """A provider to chat with."""
    with running_simulator() as running:
        yield running


@pytest.fixture
def chat(store_url: str, tmp_path: Path) -> Chat:
    """Chats in a process of its own: each argument that is no option is a line that the user types."""

    def talk(*lines: str, options: tuple[str, ...] = (), **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, "chat", *options],
            input="".join(f"{line}\n" for line in lines),
            env={**os.environ, "TAXIMETER_STORE": store_url, "XDG_DATA_HOME": str(tmp_path / "data"), **environment},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return talk


def test_a_chat_without_key_or_network(chat: Chat, tmp_path: Path) -> None:
    """With nothing given it talks to a simulated provider, and keeps its figures apart from real ones."""
    done = chat("Hello, how are you?", "/stats", "exit")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Simulated: nothing leaves this machine" in done.stdout
    # "Hello, how are you?" is 19 bytes: 5 tokens, and 3 for the message
    assert "Turn 1: Prompt: 8, Completion: " in done.stdout
    assert "Total Turns: 1" in done.stdout
    assert "Total Prompt Tokens: 8" in done.stdout
    assert "Average Prompt Tokens per Turn: 8.0" in done.stdout
    assert not (tmp_path / "store.sqlite3").exists()
    with open_store(str(tmp_path / "data" / "taximeter" / "chat.sqlite3")) as store:
        (event,) = store.events()
    assert (event.provider, event.scope.operation, event.outcome) == ("openai", "chat", "completed")
    assert f"Cost: {event.cost} USD" in done.stdout
    assert event.usage is not None
    assert f"Total Completion Tokens: {event.usage.output_tokens}" in done.stdout


@pytest.mark.parametrize("streaming", ["--streaming", "--no-streaming"])
@pytest.mark.parametrize("name", ["openai", "anthropic"])
def test_both_formats_whole_and_streamed(
    name: str, streaming: str, chat: Chat, provider: Simulator, store_url: str
) -> None:
    """The figures are those of the provider's own books; a conversation is one session of several turns."""
    done = chat(
        "One", "Two", options=("--base-url", provider.url(name), "--provider", name, streaming), OPENAI_API_KEY="k"
    )
    assert (done.returncode, done.stderr) == (0, "")
    with open_store(store_url) as store:
        events = list(store.events())
    assert [(event.provider, event.stream) for event in events] == [(name, streaming == "--streaming")] * 2
    assert len({event.scope.session for event in events}) == 1
    assert len({event.scope.turn for event in events}) == 2
    for event, served in zip(events, provider.served, strict=True):
        assert served.usage is not None
        assert event.usage is not None
        assert event.usage.output_tokens == served.usage["output_tokens"]
        assert event.usage.input_tokens == served.usage["input_tokens"]
        assert event.cost is not None
    # the second call carries the first exchange
    assert events[1].usage.input_tokens > events[0].usage.input_tokens + events[0].usage.output_tokens  # type: ignore[union-attr]


def test_cache_and_reasoning_are_shown(chat: Chat, provider: Simulator) -> None:
    """Classes beside prompt and completion stand in the turn's line and in the session's figures."""
    options = ("--base-url", provider.url("openai"), "-m", "gpt-5-mini+cached=4+reasoning=7")
    done = chat("A longer question than that", "/stats", options=options)
    assert "cache read: 4, reasoning: 7, Cost: 0." in done.stdout
    assert "Cache read Tokens: 4" in done.stdout


def test_a_new_session(chat: Chat, provider: Simulator, store_url: str) -> None:
    """`/new` forgets the conversation and begins new figures; the first turn has number 1 again."""
    done = chat("One", "/new", "/stats", "Two", "/exit", "never said", options=("--base-url", provider.url("openai")))
    assert done.stdout.count("Turn 1: ") == 2
    assert "Total Turns: 0" in done.stdout
    assert "Average Total Tokens per Turn: –" in done.stdout
    with open_store(store_url) as store:
        events = list(store.events())
    assert len({event.scope.session for event in events}) == 2
    assert events[0].usage == events[1].usage or events[1].usage is not None
    assert len(events) == 2


def test_export(chat: Chat, tmp_path: Path) -> None:
    """JSON, or CSV by the file's name: each turn with figures and words, which a spreadsheet does not run."""
    done = chat("=1+1", "/export chat.json", "/export chat.csv", "/export", "/export no/such/folder.csv")
    assert "1 turns written to chat.json" in done.stdout
    assert "There is no command '/export'" in done.stdout
    assert "no/such/folder.csv cannot be written" in done.stderr
    whole = json.loads((tmp_path / "chat.json").read_text())
    (turn,) = whole["turns"]
    assert turn["user_message"] == "=1+1"
    assert turn["answer"]
    assert turn["total_tokens"] == turn["input_tokens"] + turn["output_tokens"]
    assert turn["cost_usd"] == whole["cost_usd"]
    with (tmp_path / "chat.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["user_message"] == "'=1+1"
    assert (row["turn"], row["cost_usd"], row["outcome"]) == ("1", turn["cost_usd"], "completed")


def test_what_the_provider_refuses(chat: Chat, provider: Simulator) -> None:
    """An error of the provider's is a sentence, a turn without figures, and not the end of the chat."""
    done = chat("One", options=("--base-url", provider.url("openai"), "-m", "gpt-5-mini+status=500"))
    assert done.returncode == 0
    assert "answered 500" in done.stderr
    assert "Turn 1: Prompt: –, Completion: –, Total: –, Cost: –" in done.stdout


def test_nobody_there(chat: Chat) -> None:
    """A provider that cannot be reached is a sentence too."""
    done = chat("One", options=("--base-url", "http://127.0.0.1:9/v1", "-m", "any"))
    assert done.returncode == 0
    assert "http://127.0.0.1:9/v1/chat/completions" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--provider", "nobody"), "give its --base-url"),
        (("--provider", "groq"), "name a model of groq with --model"),
        (("--base-url", "nowhere"), "is no URL"),
    ],
)
def test_what_nobody_can_guess(options: tuple[str, ...], said: str, chat: Chat) -> None:
    """A missing URL or model is asked for, with exit code 1."""
    done = chat(options=options)
    assert done.returncode == 1
    assert said in done.stderr


def test_a_provider_that_takes_no_stream_options(chat: Chat, provider: Simulator, store_url: str) -> None:
    """Refused for asking for usage, it asks again without, once for all."""
    options = (
        "--base-url",
        provider.url("mistral") + "/v1",
        "-m",
        "mistral-small-latest+refuse-stream-options+usage=always",
    )
    done = chat("One", "Two", options=options)
    assert done.stderr == ""
    with open_store(store_url) as store:
        assert [event.status for event in store.events()] == [422, 200, 200]


def test_ctrl_c_cancels_the_answer_and_not_the_chat(provider: Simulator, store_url: str, tmp_path: Path) -> None:
    """The answer is cut, what it used is in the books, and the chat goes on, on a terminal where the cost ticks."""
    pty = pytest.importorskip("pty")
    model = "gpt-5-mini+hang=6+usage=every+output=100"
    pid, terminal = pty.fork()
    if pid == 0:  # the terminal's side
        os.environ |= {"TAXIMETER_STORE": store_url, "TERM": "xterm", "XDG_DATA_HOME": str(tmp_path)}
        options = ["--base-url", provider.url("openai"), "-m", model]
        os.execv(sys.executable, [*COMMAND, "chat", *options])  # noqa: S606 - our own command
    screen = Screen(terminal)
    screen.wait_for("You: ")
    os.write(terminal, b"Hello\n")
    screen.wait_for("≈ ")
    screen.wait_for(" tokens")
    os.write(terminal, b"\x03")
    screen.wait_for("(cancelled)")
    screen.wait_for("(tokens estimated: the answer was cut)")
    os.write(terminal, b"exit\n")
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0
    with open_store(store_url) as store:
        (event,) = store.events()
    assert (event.outcome, event.usage_source) == ("cancelled", "estimated")
    assert event.usage is not None


def test_a_cancelled_answer_without_figures(provider: Simulator, store_url: str, tmp_path: Path) -> None:
    """Where the provider had said nothing of usage, the books say unknown, and the screen shows an estimate as such."""
    command = [*COMMAND, "chat", "--base-url", provider.url("openai"), "-m", "gpt-5-mini+hang=6+output=100"]
    environment = {**os.environ, "TAXIMETER_STORE": store_url, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, env=environment, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        running.stdin.write("Hello\n")
        running.stdin.flush()
        Screen(running.stdout.fileno()).wait_for("Assistant: ", then=4)
        running.send_signal(signal.SIGINT)
        said, _ = running.communicate("exit\n", timeout=30)
    assert running.returncode == 0
    assert "Turn 1: Prompt: –, Completion: –, Total: –, Cost: –" in said
    assert "The provider had not said yet what it takes: ≈ " in said
    with open_store(store_url) as store:
        assert [(event.outcome, event.usage) for event in store.events()] == [("cancelled", None)]


class Screen:
    """What a process shows, as it comes."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._shown = ""

    def wait_for(self, text: str, then: int = 0) -> None:
        """Reads until a text is there, with as many characters behind it; what is before it is done with."""
        until = time.monotonic() + 30
        while len(self._shown.partition(text)[2]) < then or text not in self._shown:
            assert time.monotonic() < until, self._shown
            if select.select([self._descriptor], [], [], 0.1)[0]:
                self._shown += os.read(self._descriptor, 65_536).decode("utf-8", "replace")
        self._shown = self._shown.partition(text)[2]
