"""Workers: how they end, how they take a new gatekeeper, and how their supervisor keeps them going."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from taximeter.errors import ConfigError
from taximeter.gateway.config import ServingSettings
from taximeter.gateway.plan import Refusal
from taximeter.gateway.worker import Gateway
from tests.gateway.http.stage import GET, OK, Client, Keeper, Peer, Upstream, answering, ask, gateway, to

STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"


def test_a_call_under_way_ends_before_the_worker_does() -> None:
    """No new connection is taken, idle ones go, and the stream comes to its end."""
    go = threading.Event()

    def script(peer: Peer) -> None:
        while b"/stream" in peer.read_request():
            peer.send(STREAM)
            assert go.wait(5)
            peer.send(b"0\r\n\r\n")

    with Upstream(script) as upstream:
        made = gateway(Keeper(to(upstream.port))).start()
        with Client(made) as idle, Client(made) as busy:
            busy.send(GET.replace(b"/v1/models", b"/stream"))
            assert busy.until(b"hello\r\n") == STREAM
            stopping = threading.Thread(target=made.stop)
            stopping.start()
            assert idle.to_the_end() == b""
            go.set()
            assert busy.to_the_end() == b"0\r\n\r\n"
            stopping.join(5)
            assert not stopping.is_alive()
            with pytest.raises(ConnectionRefusedError):
                Client(made)


def test_a_call_that_does_not_end_is_cut_off() -> None:
    """After ``drain_s``, as a connection that breaks."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(STREAM)
        peer.gone()

    with Upstream(script) as upstream:
        made = gateway(Keeper(to(upstream.port)), drain_s=0.2).start()
        with Client(made) as client:
            client.send(GET)
            assert client.until(b"hello\r\n") == STREAM
            made.stop()
            assert client.to_the_end() == b""


def test_a_reload_takes_a_new_gatekeeper_and_drops_no_stream() -> None:
    """The call under way keeps the old one; where none can be made, the old one stays."""
    go = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(STREAM)
        assert go.wait(5)
        peer.send(b"0\r\n\r\n")

    with Upstream(script) as upstream:
        keepers = [Keeper(to(upstream.port)), Keeper(to(1))]
        keepers[1].refusal = Refusal(403, "openai", "not_allowed", "no")
        made_keepers = iter(keepers)
        asked = threading.Semaphore(0)

        def make() -> Keeper:
            asked.release()
            try:
                return next(made_keepers)
            except StopIteration:
                raise ConfigError from None

        with Gateway(make, ServingSettings(), None) as made, Client(made) as client:
            client.send(GET)
            client.until(b"hello\r\n")
            for _ in range(2):
                made.reload()
            for _ in range(3):
                assert asked.acquire(timeout=5)
            assert ask(made, GET)[0].startswith(b"HTTP/1.1 403 ")
            go.set()
            assert client.until(b"0\r\n\r\n") == b"0\r\n\r\n"


PROGRAM = """
import logging, sys
sys.path[:0] = {path!r}
from taximeter.gateway.config import ServingSettings
from taximeter.gateway.supervisor import Supervisor
from taximeter.gateway.worker import listening, serve
from tests.gateway.http.stage import Keeper, to

logging.basicConfig(level="INFO", format="%(message)s", stream=sys.stderr)
listen = listening("127.0.0.1", 0)
starts = {starts}

def work(ready):
    if not starts:
        raise SystemExit("it does not start")
    serve(lambda: Keeper(to({port})), [listen], ServingSettings(drain_s=2), None, ready=ready)

def ready():
    print(listen.getsockname()[1], flush=True)

sys.exit(Supervisor(work, 2, drain_s=2, ready=ready).run())
"""


class Running:
    """A supervisor in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[dict[str, object]] = []
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        assert process.stdout is not None
        self.port = int(process.stdout.readline() or 0)
        if self.port:
            self.wait(lambda _: len(self.serving()) == 2)

    def end(self) -> None:
        """Kills it, if it still runs."""
        self.process.kill()
        self.process.wait(5)
        self._thread.join(5)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if line.startswith("{"):
                with self._news:
                    self.lines.append(json.loads(line))
                    self._news.notify_all()

    def wait(self, enough: Callable[[list[dict[str, object]]], bool]) -> None:
        """Waits until the log says so."""
        with self._news:
            assert self._news.wait_for(lambda: enough(self.lines), 10), self.lines

    def serving(self) -> list[int]:
        """The pids of workers, in the order in which they began to serve."""
        return [int(str(line["pid"])) for line in self.lines if line["event"] == "worker serves"]


@contextmanager
def supervised(port: int, *, starts: bool = True) -> Generator[Running]:
    """Runs one, and sees that it is gone."""
    root = Path(__file__).resolve().parents[3]
    code = PROGRAM.format(path=[str(root / "src"), str(root)], port=port, starts=starts)
    with subprocess.Popen([sys.executable, "-c", code], stdout=-1, stderr=-1, text=True) as process:
        running = Running(process)
        try:
            yield running
        finally:
            running.end()


def test_a_worker_that_dies_is_replaced() -> None:
    """The other one serves on meanwhile, and SIGTERM ends them all with status 0."""
    with Upstream(answering(OK)) as upstream, supervised(upstream.port) as running:
        first = running.serving()
        assert len(first) == 2
        os.kill(first[0], signal.SIGKILL)
        assert ask(running, GET)[1] == b"ok"
        running.wait(lambda lines: len([line for line in lines if line["event"] == "worker serves"]) == 3)
        assert {"event": "worker died", "pid": first[0], "code": -9} in running.lines
        os.kill(running.process.pid, signal.SIGHUP)
        running.wait(lambda lines: any(line["event"] == "reload" for line in lines))
        assert ask(running, GET)[1] == b"ok"
        running.process.terminate()
        assert running.process.wait(10) == 0


def test_workers_that_do_not_start_end_the_supervisor() -> None:
    """With a status that says so."""
    with supervised(1, starts=False) as running:
        assert running.process.wait(20) == 1
        running.wait(lambda lines: any(line["event"] == "workers do not start" for line in lines))


def test_workers_do_not_outlive_their_supervisor() -> None:
    """However it dies."""
    with Upstream(answering(OK)) as upstream, supervised(upstream.port) as running:
        workers = running.serving()
        running.process.kill()
        running.process.wait(5)
        until = time.monotonic() + 5
        while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < until:
            os.sched_yield()
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
