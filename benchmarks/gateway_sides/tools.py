"""The mock provider and the load generator, which are C programs of this folder, compiled when they are needed."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

HERE: Final = Path(__file__).parent
MODEL: Final = "gpt-4o-mini"
PATH: Final = "/v1/chat/completions"
INPUT_TOKENS: Final = 500
OUTPUT_TOKENS: Final = 300
"""What every answer of the mock says it used."""

_WORDS: Final = "Tell me of a river that runs past two towns and a mill, and of who lives there. "


class Work(NamedTuple):
    """One kind of call, and how the load generator makes it to find what it costs.

    Attributes:
        body_bytes: of the request, about.
        stream: whether it streams.
        asks: whether it asks for the usage of its stream.
        pace_us: between the events of a stream; 0: they come in one burst.
        events: of a stream.
        connections: that make such calls at the same time.
        stagger_us: between their first calls.
    """

    body_bytes: int = 2_000
    stream: bool = False
    asks: bool = False
    pace_us: int = 0
    events: int = 100
    connections: int = 16
    stagger_us: int = 0

    def body(self, model: str) -> bytes:
        """The request."""
        orders = f"pace_us={self.pace_us} chunks={self.events} " if self.stream else ""
        fields: dict[str, object] = {"model": model, "messages": [{"role": "user", "content": orders}]}
        if self.stream:
            fields["stream"] = True
        if self.asks:
            fields["stream_options"] = {"include_usage": True}
        missing = self.body_bytes - len(json.dumps(fields))
        fields["messages"] = [{"role": "user", "content": orders + (_WORDS * (missing // len(_WORDS) + 1))[:missing]}]
        return json.dumps(fields).encode()


class Loaded(msgspec.Struct, frozen=True):
    """How calls went.

    Attributes:
        calls: that were begun.
        good: that were answered as they should be.
        errors: that were not.
        unfinished: that were still under way when patience ended.
        seconds: it took.
        p50_us: of the time from a call's beginning to its answer's end.
        p99_us: of the same.
        bytes_least: of the answers' bodies, without the framing of chunks.
        bytes_most: of the same.
        events_least: of the streams; ``[DONE]`` is one.
        events_most: of the same.
        open_most: answers that were under way at the same time.
        error: the first that there was.
    """

    calls: int
    good: int
    errors: int
    unfinished: int
    seconds: float
    p50_us: float
    p99_us: float
    bytes_least: int
    bytes_most: int
    events_least: int
    events_most: int
    open_most: int
    error: str


class Target(NamedTuple):
    """Where calls are made to.

    Attributes:
        port: on loopback.
        path: of the API.
        headers: lines of the head.
        model: as it is called there.
        end: of its streams.
    """

    port: int
    path: str = PATH
    headers: tuple[str, ...] = ("Authorization: Bearer sk-of-no-use",)
    model: str = MODEL
    end: str = "data: [DONE]"


class Tools:
    """Both programs, compiled into a folder."""

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if compiler is None:
            msg = "a C compiler is needed for the mock provider and the load generator: none is on the PATH"
            raise RuntimeError(msg)
        self.folder = folder
        for name in ("mock", "load"):
            flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", "-o", str(folder / name)]
            subprocess.run([compiler, *flags, str(HERE / f"{name}.c"), "-lm"], check=True)  # noqa: S603 - our own source

    @contextmanager
    def mock(self) -> Generator[int]:
        """A provider, until the block ends; its port."""
        with subprocess.Popen([self.folder / "mock"], stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - ours
            assert process.stdout is not None
            try:
                yield int(process.stdout.readline())
            finally:
                process.kill()

    def start(self, target: Target, work: Work, *options: object) -> subprocess.Popen[str]:
        """Starts making calls; what ``loaded`` takes."""
        file = self.folder / "body"
        file.write_bytes(work.body(target.model))
        named = {"port": target.port, "path": target.path, "end": target.end, "body": file}
        spread = {"connections": work.connections} | ({"stagger": work.stagger_us} if "--rate" not in options else {})
        command: list[object] = [self.folder / "load"]
        command += [word for name, value in (named | spread).items() for word in (f"--{name}", value)]
        command += [word for line in target.headers for word in ("--header", line)]
        return subprocess.Popen(_words([*command, *options]), stdout=subprocess.PIPE, text=True)  # noqa: S603 - ours

    def load(self, target: Target, work: Work, *options: object) -> Loaded:
        """Makes calls."""
        with self.start(target, work, *options) as process:
            return loaded(process)


def loaded(process: subprocess.Popen[str]) -> Loaded:
    """How the calls went, once they are over."""
    return msgspec.json.decode(process.communicate()[0], type=Loaded)


def _words(values: Sequence[object]) -> list[str]:
    return [str(value) for value in values]
