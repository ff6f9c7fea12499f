"""One side, in a process of its own that does nothing else: makes the calls it is told to, and says what CPU they took.

``python -m sides.client SIDE URL SINK``; then ``whole 30`` or ``stream 5`` on standard input, a JSON line for each.
"""

from __future__ import annotations

import gc
import json
import os
import socket
import sys
import time
from typing import Any, Final

_FIRST_NUMBER: Final = 1_000
_PRIVATE: Final = frozenset({"127.0.0.1", "localhost", "::1"})


def _stay_here() -> None:
    """Nothing that runs in this process can look up a host other than this machine."""
    look_up: Any = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the original
        name = host.decode() if isinstance(host, bytes) else host
        if name not in _PRIVATE:
            sys.stderr.write(f"kept from calling {name}\n")
            msg = f"a measurement does not leave this machine: {name}"
            raise OSError(msg)
        return look_up(host, *args, **kwargs)

    socket.getaddrinfo = getaddrinfo


def main() -> None:
    """Sets the side up, then does what it is told until standard input ends."""
    name, url, sink = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # others may print; only answers go where answers are expected
    _stay_here()
    import openai  # noqa: F401, PLC0415  # pyright: ignore[reportMissingImports, reportUnusedImport] - every application has it

    from sides.peers import KINDS  # noqa: PLC0415 - imports must not be counted twice

    started = time.process_time_ns()
    side = KINDS[name].set_up(url, sink)
    answers.write(json.dumps({"import_ms": (time.process_time_ns() - started) / 1_000_000}) + "\n")
    answers.flush()
    number = _FIRST_NUMBER
    for line in sys.stdin:
        work, _, count = line.strip().partition(" ")
        if work == "booked":
            answers.write(json.dumps({"booked": side.booked()}) + "\n")
            answers.flush()
            continue
        calls = range(number, number + int(count))
        number = calls.stop
        chunks = 0
        gc.collect()
        inside, started = time.thread_time_ns(), time.process_time_ns()
        if work == "whole":
            for call in calls:
                side.whole(call)
        else:
            for call in calls:
                chunks += side.stream(call, work == "stream")
        inside = time.thread_time_ns() - inside
        side.flush()
        taken = time.process_time_ns() - started
        answers.write(json.dumps({"us": taken / 1_000, "inside_us": inside / 1_000, "chunks": chunks}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
