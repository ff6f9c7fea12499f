"""A client in a process of its own: so many calls, so many at once, over connections that are kept.

``python load.py PORT CALLS AT_ONCE`` writes a line of JSON for each call once it has ended, well or not.
"""

from __future__ import annotations

import http.client
import itertools
import json
import queue
import sys
import threading
from collections.abc import Iterator
from typing import Any

SECONDS = 20
SAID = [{"role": "user", "content": "what is new on the river today?"}]
CHAT = {"model": "gpt-4o", "messages": SAID}
KINDS: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("/v1/chat/completions", CHAT | {"stream": True, "stream_options": {"include_usage": True}}, "stall=3, output=60"),
    ("/v1/chat/completions", CHAT | {"stream": True}, "stall=3, output=60"),
    ("/v1/messages", {"model": "claude-haiku-4-5", "max_tokens": 99, "messages": SAID, "stream": True}, "stall=3"),
    ("/v1/chat/completions", CHAT, "slow=20"),
)
"""What is asked, in turn: path, body, and what the simulator is to do."""


def call(connection: http.client.HTTPConnection, number: int) -> dict[str, Any]:
    """One call; what came of it."""
    path, body, knobs = KINDS[number % len(KINDS)]
    said: dict[str, Any] = {"number": number, "port": None, "status": None, "whole": False}
    headers = {
        "content-type": "application/json",
        "anthropic-version": "2023-06-01",
        "x-simulate": f"{knobs}, seed={number}",
        "x-taximeter-session": str(number),
    }
    if not body.get("model", "").startswith("claude"):
        del headers["anthropic-version"]
    try:
        if connection.sock is None:
            connection.connect()
            assert connection.sock is not None
        said["port"] = connection.sock.getsockname()[1]
        connection.request("POST", path, json.dumps(body), headers)
        with connection.getresponse() as answer:
            said["status"] = answer.status
            said["id"] = answer.getheader("x-taximeter-call-id")
            answer.read()
        said["whole"] = True
    except (OSError, http.client.HTTPException) as error:
        said["error"] = repr(error)
        connection.close()
    return said


def work(port: int, numbers: Iterator[int], ended: queue.SimpleQueue[dict[str, Any]]) -> None:
    """Makes one call after the other."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    for number in numbers:
        ended.put(call(connection, number))
    connection.close()


class Numbers(Iterator[int]):
    """Numbers from many threads' common count."""

    def __init__(self, most: int) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.islice(itertools.count(), most)

    def __next__(self) -> int:
        with self._lock:
            return next(self._numbers)


def main(port: int, calls: int, at_once: int) -> None:
    """Makes them all."""
    numbers, ended = Numbers(calls), queue.SimpleQueue[dict[str, Any]]()
    for _ in range(at_once):
        threading.Thread(target=work, args=(port, numbers, ended), daemon=True).start()
    for _ in range(calls):
        sys.stdout.write(json.dumps(ended.get()) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
