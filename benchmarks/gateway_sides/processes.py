"""The process tree under test: on a core of its own, its CPU to the nanosecond, its memory."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_TICK_NS: Final = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_CPU_OF_PROCESS: Final = 2
"""What, with a process's number, makes the number of the clock that counts its CPU: all its threads, dead ones too."""

STOP_S: Final = 20
QUIET_NS: Final = 2_000_000
QUIET_S: Final = 0.1
SETTLE_S: Final = 5.0


def cores() -> tuple[int, int]:
    """The core of the system under test, and the one of all else.

    Raises:
        RuntimeError: where there are no two.
    """
    mine = sorted(os.sched_getaffinity(0))
    if len(mine) < 2:  # noqa: PLR2004 - two
        msg = "two cores are needed: one for the gateway, one for those that load it"
        raise RuntimeError(msg)
    return mine[-1], mine[0]


def free_port() -> int:
    """A port on which nobody listens now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@contextmanager
def on_core(core: int) -> Generator[None]:
    """What is started in the block runs on that core, and so does the block."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Tree:
    """A process and all that it starts, from when it is started until it is stopped."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: Path, core: int) -> None:
        self.log = folder / "log"
        with on_core(core), self.log.open("w") as log:
            self.process = subprocess.Popen(  # noqa: S603 - the systems of this benchmark
                command, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    def check(self) -> None:
        """Sees that it runs.

        Raises:
            RuntimeError: if it has ended.
        """
        if self.process.poll() is not None:
            msg = f"it ended with {self.process.returncode}"
            raise RuntimeError(msg)

    def said(self) -> str:
        """The end of its log."""
        return self.log.read_text("utf-8", "replace")[-2000:]

    def cpu_ns(self) -> int:
        """CPU, user and system, of the tree: of its living processes, and of those that they have reaped."""
        total = 0
        for number in self._members():
            with suppress(OSError):  # it has just ended; its parent's count has it from now on
                reaped = sum(int(field) for field in _status(number)[13:15])
                total += time.clock_gettime_ns((~number << 3) | _CPU_OF_PROCESS) + reaped * _TICK_NS
        return total

    def settled_cpu_ns(self) -> int:
        """The same once what is still being done after the last answer (booking, logging) is done, or in a while."""
        ends, before = time.monotonic() + SETTLE_S, self.cpu_ns()
        while True:
            time.sleep(QUIET_S)
            now = self.cpu_ns()
            if now - before < QUIET_NS or time.monotonic() > ends:
                return now
            before = now

    def memory_mb(self) -> float:
        """Memory of the tree; what several processes share is counted once."""
        total = 0
        for number in self._members():
            with suppress(OSError):
                rollup = Path(f"/proc/{number}/smaps_rollup").read_text("ascii")
                total += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
        return total / 1024

    def stop(self) -> None:
        """Has it end in its own way, and if it does not, ends it."""
        members = self._members()
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_S)
        for number in members:
            with suppress(ProcessLookupError):
                if number != self.process.pid or self.process.poll() is None:
                    os.kill(number, signal.SIGKILL)
        self.process.wait(STOP_S)

    def _members(self) -> list[int]:
        """The numbers of its processes, parents first."""
        children: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError):
                    children.setdefault(int(_status(int(entry.name))[1]), []).append(int(entry.name))
        found = [self.process.pid] if self.process.poll() is None else []
        for number in found:
            found += children.get(number, [])
        return found


def _status(number: int) -> list[str]:
    """The fields of a process's ``stat`` that follow its name, which may have blanks."""
    return Path(f"/proc/{number}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
