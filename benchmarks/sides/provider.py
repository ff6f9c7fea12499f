"""The other end of a measurement, in a process of its own: the simulator, and a sink that takes what others export.

It writes one JSON line that tells where both listen, and ends when its standard input does.
"""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final, NamedTuple

from taximeter.simulator import Simulator

_taken: Counter[str] = Counter()
"""Bytes taken by the first part of the path, which names who sent them."""


class _Sink(BaseHTTPRequestHandler):
    """Takes whatever is sent, and says that all is well. ``GET /taken`` tells how many bytes came from whom."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Counts the body."""
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        _taken[self.path.split("/")[1]] += len(body)
        self._answer("application/x-protobuf" if "protobuf" in self.headers.get("content-type", "") else "")

    def do_GET(self) -> None:
        """Tells the count; to everything else, an empty object."""
        self._answer("", dict(_taken) if self.path == "/taken" else {})

    def _answer(self, kind: str, value: dict[str, int] | None = None) -> None:
        body = b"" if kind else json.dumps(value or {}).encode()
        self.send_response(200)
        self.send_header("content-type", kind or "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        """Nothing."""


@contextmanager
def _sink() -> Generator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Sink)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


class Place(NamedTuple):
    """Where to find it.

    Attributes:
        openai: the base URL for OpenAI's SDK.
        simulator: the simulator's own address.
        sink: the sink's.
    """

    openai: str
    simulator: str
    sink: str


KEEP: Final = 2_000_000
"""How many calls the simulator keeps in full: more than a soak makes."""


def main() -> None:
    """Serves until standard input ends."""
    with Simulator(keep=KEEP) as simulator, _sink() as sink:
        sys.stdout.write(json.dumps(Place(simulator.url("openai"), simulator.base_url, sink)._asdict()) + "\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
