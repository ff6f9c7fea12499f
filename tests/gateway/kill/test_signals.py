"""SIGTERM and SIGHUP drop no stream, and a key that is revoked is refused by every worker in time."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from taximeter.simulator import Simulator
from taximeter.store import open_store
from tests.gateway.kill.stage import END_S, Stream, Tree, command, status, tree, write_config

if sys.platform != "linux":
    pytest.skip("who is connected to which worker is read from /proc", allow_module_level=True)

STREAMS = 20
IN_FORCE_S = 2
"""A change to a key takes effect within so many seconds."""


@pytest.fixture
def lines() -> Iterator[ExitStack]:
    """Connections, which are closed at the end."""
    with ExitStack() as stack:
        yield stack


def _streams(running: Tree, lines: ExitStack, *said: str, count: int = STREAMS) -> list[Stream]:
    """So many streams, each under way."""
    return [lines.enter_context(closing(Stream(running, *said))) for _ in range(count)]


def test_sigterm_cuts_no_stream(tmp_path: Path, simulator: Simulator, lines: ExitStack) -> None:
    """All that are under way come to their end, no connection is taken any more, and each call is booked."""
    write_config(tmp_path, simulator)
    with tree(tmp_path, "--no-auth") as running:
        streams = _streams(running, lines)
        running.process.send_signal(signal.SIGTERM)
        until = time.monotonic() + END_S
        while _is_open(running):
            assert time.monotonic() < until
        assert not simulator.served, "the streams ended before it could be seen whether they are cut"
        assert all(each.rest().endswith(b"data: [DONE]\n\n") for each in streams)
        assert running.process.wait(END_S) == 0
    with open_store(str(tmp_path / "store.sqlite3")) as store:
        assert [event.outcome for event in store.events()] == ["completed"] * STREAMS


def _is_open(running: Tree) -> bool:
    with closing(http.client.HTTPConnection("127.0.0.1", running.to.port, timeout=1)) as connection:
        try:
            connection.connect()
        except ConnectionError:
            return False
        return True


def test_sighup_takes_the_new_configuration_and_cuts_no_stream(
    tmp_path: Path, simulator: Simulator, lines: ExitStack
) -> None:
    """Streams under way go on where they are; new calls, over old connections too, go where it now says."""
    with Simulator() as other:
        write_config(tmp_path, simulator)
        with tree(tmp_path, "--no-auth") as running:
            kept = _connections(running, lines, "none")
            before = len(simulator.served)
            streams = _streams(running, lines)
            write_config(tmp_path, other)
            running.process.send_signal(signal.SIGHUP)
            for connection in kept.values():
                _until(lambda connection=connection: _goes_to(other, connection))
            assert len(simulator.served) >= before
            assert all(each.rest().endswith(b"data: [DONE]\n\n") for each in streams)
            assert all(_goes_to(other, connection) for connection in kept.values())
            assert sum(call.stream for call in simulator.served) == STREAMS
            assert not any(call.stream for call in other.served)
            running.end()


def _goes_to(provider: Simulator, connection: http.client.HTTPConnection) -> bool:
    before = len(provider.served)
    assert status(connection, "none") == 200
    return len(provider.served) > before


def _connections(running: Tree, lines: ExitStack, key: str) -> dict[int, http.client.HTTPConnection]:
    """A connection to each worker, kept alive."""
    found: dict[int, http.client.HTTPConnection] = {}
    until = time.monotonic() + END_S
    while len(found) < len(running.workers):
        assert time.monotonic() < until, "some worker takes no connection"
        connection = http.client.HTTPConnection("127.0.0.1", running.to.port, timeout=END_S)
        lines.enter_context(closing(connection))
        assert status(connection, key) == 200
        found.setdefault(running.holds(connection.sock.getsockname()[1]), connection)
    return found


def _until(is_so: Callable[[], bool], seconds: float = END_S) -> float:
    """Asks again and again until it is so; how long that took."""
    begun = time.monotonic()
    while not is_so():
        assert time.monotonic() - begun < seconds
    return time.monotonic() - begun


def _key(folder: Path, *words: str) -> Any:
    line, environment = command(folder, "key", *words, "--json")
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_a_revoked_key_is_refused_by_every_worker(tmp_path: Path, simulator: Simulator, lines: ExitStack) -> None:
    """Within two seconds; streams under way go on, another key too."""
    write_config(tmp_path, simulator)
    gone, stays = _key(tmp_path, "create", "gone"), _key(tmp_path, "create", "stays")
    with tree(tmp_path) as running:
        kept = _connections(running, lines, gone["key"])
        [stream] = _streams(running, lines, "stall=100, output=50", gone["key"], count=1)
        _key(tmp_path, "revoke", gone["id"])
        begun = time.monotonic()
        for connection in kept.values():
            _until(lambda connection=connection: status(connection, gone["key"]) == 401, 4 * IN_FORCE_S)
        assert time.monotonic() - begun < IN_FORCE_S
        assert all(status(connection, stays["key"]) == 200 for connection in kept.values())
        assert stream.rest().endswith(b"data: [DONE]\n\n")
        running.end()
