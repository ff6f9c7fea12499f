"""Gateways for the tests of this folder: one in a thread, with the real gate, and one that `taximeter serve` runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from taximeter.simulator import Simulator
from tests.gateway.http.stage import Client, Reachable

TOOL = {
    "type": "function",
    "function": {"name": "look", "parameters": {"type": "object", "properties": {"at": {"type": "string"}}}},
}
ASKED: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "use a tool"}], "tools": [TOOL]}


class Said(NamedTuple):
    """An answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return msgspec.json.decode(self.body)

    @property
    def call_id(self) -> str:
        """Which call it was."""
        return self.headers["x-taximeter-call-id"]

    @property
    def usage(self) -> dict[str, Any]:
        """The usage that it states, be it a stream or not."""
        if not self.body.startswith(b"data:"):
            return self.json["usage"]
        events = [json.loads(each[6:]) for each in self.body.split(b"\n\n") if each.startswith(b"data: {")]
        return next(each["usage"] for each in reversed(events) if each.get("usage"))


class Place:
    """Where a gateway is."""

    def __init__(self, port: int) -> None:
        self.port = port


def send(
    to: Reachable, path: str, body: Any = None, headers: Mapping[str, str] | None = None, method: str = ""
) -> Said:
    """A call over a connection of its own; with a body it is a POST."""
    raw = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method or ('GET' if body is None else 'POST')} {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close"]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(raw)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    with Client(to) as client:
        client.send("\r\n".join([*lines, "", ""]).encode() + raw)
        head, _, rest = client.to_the_end().partition(b"\r\n\r\n")
    first, *others = head.decode("latin-1").split("\r\n")
    found = {name.lower(): value for name, _, value in (line.partition(": ") for line in others)}
    return Said(int(first.split()[1]), found, unchunked(rest) if "transfer-encoding" in found else rest)


def unchunked(data: bytes) -> bytes:
    """What chunks hold."""
    out: list[bytes] = []
    while data:
        line, _, data = data.partition(b"\r\n")
        size = int(line, 16)
        if not size:
            break
        out.append(data[:size])
        data = data[size + 2 :]
    return b"".join(out)


def chat(to: Reachable, *more: dict[str, Any], stream: bool = False, headers: Mapping[str, str] | None = None) -> Said:
    """A call that asks for a tool, or with more messages one that carries its result."""
    body = ASKED | {"messages": [*ASKED["messages"], *more]}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return send(to, "/v1/chat/completions", body, headers)


def results_of(said: Said) -> list[dict[str, Any]]:
    """The message of a whole answer that asks for tools, and the results of these."""
    message = said.json["choices"][0]["message"]
    return [
        message,
        *({"role": "tool", "tool_call_id": each["id"], "content": "42"} for each in message["tool_calls"]),
    ]


_MAIN = "from taximeter.cli import main; main()"


class Served:
    """`taximeter serve` in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.workers: list[int] = []
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        assert process.stdout is not None
        self.to = Place(int(json.loads(process.stdout.readline())["url"].rpartition(":")[2]))

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if '"worker serves"' in line:
                with self._news:
                    self.workers.append(json.loads(line[line.index("{") :])["pid"])
                    self._news.notify_all()

    def wait(self, workers: int) -> None:
        """Until so many serve."""
        with self._news:
            assert self._news.wait_for(lambda: len(self.workers) >= workers, 20), self.workers

    @contextmanager
    def only(self, worker: int) -> Generator[None]:
        """Only this worker goes on meanwhile, so that it has every call."""
        others = [pid for index, pid in enumerate(self.workers) if index != worker]
        for pid in others:
            os.kill(pid, signal.SIGSTOP)
            while "T (" not in Path(f"/proc/{pid}/status").read_text():
                os.sched_yield()
        try:
            yield
        finally:
            for pid in others:
                os.kill(pid, signal.SIGCONT)


@contextmanager
def served(folder: Path, provider: Simulator, *said: str, workers: int = 2, toml: str = "") -> Generator[Served]:
    """Runs one before a simulated provider, and sees that it is gone."""
    file = folder / "taximeter.toml"
    mounts = ("openai", "anthropic", "gemini:google")
    sections = [
        f'[upstreams.{name}]\nbase_url = "{provider.url(mount or name)}"\nkey_env = "A_KEY"\n'
        for name, _, mount in (each.partition(":") for each in mounts)
    ]
    file.write_text("".join(sections) + toml)
    command = [sys.executable, "-c", _MAIN, "serve", "--json", "--port", "0", "--workers", str(workers)]
    command += ["--config", str(file), "--store", str(folder / "store.sqlite3"), *said]
    environment = {**os.environ, "A_KEY": "sk-of-the-provider", "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True, env=environment) as process:
        try:
            running = Served(process)
            running.wait(workers)
            yield running
            process.terminate()
            assert process.wait(10) == 0
        finally:
            process.kill()
            process.wait(5)
