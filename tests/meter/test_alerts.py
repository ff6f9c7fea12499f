"""The webhook that is told when the meter fails: by a real server that answers, refuses, hangs or is gone."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import pytest

from taximeter.errors import ConfigError
from taximeter.meter.alerts import AlertPace, Alerts, checked_url
from taximeter.meter.listeners import MeterFailure

QUICK = AlertPace(every_s=60, timeout_s=5, retries_s=(0.01, 0.02))
FULL = MeterFailure("journal", "JournalError: the disk is full", "call-1")
MOST_S = 20


class Webhook:
    """What a webhook was told, and what it answers: a status for each request in turn, the last one for ever.

    A status of 0 hangs until the webhook goes.
    """

    def __init__(self, url: str, *statuses: int) -> None:
        self.url = url
        self.statuses = list(statuses) or [204]
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.told = threading.Condition()
        self.gone = threading.Event()

    def next_status(self, headers: dict[str, str], body: bytes) -> int:
        """Takes a request down, and says how it is to be answered."""
        with self.told:
            self.requests.append((headers, body))
            self.told.notify_all()
            return self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]

    def wait(self, count: int) -> None:
        """Until so many requests have come."""
        self.wait_until(lambda: len(self.requests) >= count)

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        """Until the requests are as they should be."""
        with self.told:
            assert self.told.wait_for(is_so, MOST_S)

    @property
    def alerts(self) -> list[dict[str, Any]]:
        """The JSON of each request."""
        return [msgspec.json.decode(body) for _, body in self.requests]


@contextmanager
def webhook(*statuses: int) -> Generator[Webhook]:
    """A webhook on loopback, until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status = hook.next_status(dict(self.headers), body)
            if not status:
                hook.gone.wait(MOST_S)
                return
            self.send_response(status)
            if status // 100 == 3:
                self.send_header("location", "/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as the base has it
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hook = Webhook(f"http://127.0.0.1:{server.server_port}/hook?key=secret", *statuses)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hook
    finally:
        hook.gone.set()
        server.shutdown()
        server.server_close()
        thread.join()


class Counted:
    """What could not be delivered, as the meter's health is told of it."""

    def __init__(self) -> None:
        self.errors: list[tuple[str, BaseException]] = []
        self.told = threading.Condition()

    def __call__(self, where: str, error: BaseException) -> None:
        """As :meth:`taximeter.meter.health.Health.failure`."""
        with self.told:
            self.errors.append((where, error))
            self.told.notify_all()

    def wait(self, count: int) -> None:
        """Until so many could not be."""
        with self.told:
            assert self.told.wait_for(lambda: len(self.errors) >= count, MOST_S)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback is reached without the machine's proxy."""
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def counted() -> Counted:
    """Stands for the meter's health."""
    return Counted()


def test_what_the_webhook_is_told(counted: Counted) -> None:
    """One POST of JSON: what failed, how, at which call, where and when."""
    with webhook() as hook:
        before = datetime.now(UTC)
        Alerts(hook.url, counted, QUICK).raise_(FULL)
        hook.wait(1)
        ((headers, _),) = hook.requests
        assert {name.lower(): value for name, value in headers.items()}["content-type"] == "application/json"
        (alert,) = hook.alerts
        assert before <= datetime.fromisoformat(alert.pop("at")) <= datetime.now(UTC)
        assert alert == {
            "kind": "meter_failure",
            "where": "journal",
            "message": "JournalError: the disk is full",
            "call_id": "call-1",
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "count": 1,
        }
    assert counted.errors == []


def test_no_key_leaves(counted: Counted) -> None:
    """What looks like one is taken out of the message."""
    with webhook() as hook:
        Alerts(hook.url, counted, QUICK).raise_(MeterFailure("hook", "Bearer sk-proj-abcdefgh1234"))
        hook.wait(1)
        assert hook.alerts[0]["message"] == "Bearer ***"


def test_without_a_webhook_nothing_happens() -> None:
    """No thread, nothing that waits."""
    alerts = Alerts(None)
    alerts.raise_(FULL)
    assert alerts.close(0)
    assert "taximeter-alerts" not in {thread.name for thread in threading.enumerate()}


def test_one_a_minute_and_the_count_of_the_others(counted: Counted) -> None:
    """The first at once, those that follow in one alert when their time has come; each part has its own turn."""
    with webhook() as hook:
        alerts = Alerts(hook.url, counted, QUICK)
        alerts.raise_(FULL)
        hook.wait(1)
        for number in range(500):
            alerts.raise_(MeterFailure("journal", f"failure {number}", f"call-{number}"))
        alerts.raise_(MeterFailure("reader", "ValueError: no"))
        hook.wait(2)
        assert [(alert["where"], alert["count"]) for alert in hook.alerts] == [("journal", 1), ("reader", 1)]
        assert alerts.close(MOST_S)
        last = hook.alerts[2]
        assert (last["where"], last["count"], last["message"]) == ("journal", 500, "failure 499")
        assert last["call_id"] == "call-499"
        assert len(hook.requests) == 3


def test_the_turn_comes_by_itself(counted: Counted) -> None:
    """What came meanwhile is told when the time is over, although nothing happens any more; and not before."""
    with webhook() as hook:
        alerts = Alerts(hook.url, counted, AlertPace(every_s=0.3, retries_s=()))
        started = time.monotonic()
        alerts.raise_(FULL)
        hook.wait(1)
        alerts.raise_(FULL)
        alerts.raise_(FULL)
        hook.wait_until(lambda: sum(alert["count"] for alert in hook.alerts) == 3)
        assert time.monotonic() - started >= 0.3


def test_a_webhook_that_fails_at_first(counted: Counted) -> None:
    """An answer of 500, then 200: delivered, and nobody need be told."""
    with webhook(500, 200) as hook:
        alerts = Alerts(hook.url, counted, QUICK)
        alerts.raise_(FULL)
        hook.wait(2)
        assert alerts.close(MOST_S)
        assert [alert["count"] for alert in hook.alerts] == [1, 1]
    assert counted.errors == []


def test_a_webhook_that_goes_on_failing(counted: Counted) -> None:
    """Three attempts; then it is counted once, without the URL, and its count goes with the next alert."""
    with webhook(503, 503, 503, 204) as hook:
        alerts = Alerts(hook.url, counted, AlertPace(every_s=0, retries_s=(0.01, 0.01)))
        alerts.raise_(FULL)
        counted.wait(1)
        alerts.raise_(FULL)
        hook.wait(4)
        assert [alert["count"] for alert in hook.alerts] == [1, 1, 1, 2]
    ((where, error),) = counted.errors
    assert where == "alert"
    assert str(error) == "the webhook answered with HTTP status 503"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_an_error(counted: Counted, status: int) -> None:
    """A failure is not told to a place that nobody named."""
    with webhook(status) as hook:
        Alerts(hook.url, counted, AlertPace(retries_s=())).raise_(FULL)
        counted.wait(1)
        assert len(hook.requests) == 1
    assert str(counted.errors[0][1]) == f"the webhook answered with HTTP status {status}"


def test_a_webhook_that_hangs(counted: Counted) -> None:
    """Nobody waits for it; after its time it counts as failed, and others get their turn."""
    with webhook(0, 204) as hook:
        alerts = Alerts(hook.url, counted, AlertPace(timeout_s=1, retries_s=()))
        alerts.raise_(FULL)
        hook.wait(1)
        alerts.raise_(MeterFailure("reader", "ValueError: no"))
        assert not alerts.close(0)
        assert len(hook.requests) == 1
        hook.wait(2)
        assert hook.alerts[1]["where"] == "reader"
        counted.wait(1)
        assert isinstance(counted.errors[0][1], TimeoutError)


def test_a_webhook_that_is_gone(counted: Counted) -> None:
    """Nobody listens: counted after the last attempt."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    Alerts(f"http://127.0.0.1:{port}/", counted, QUICK).raise_(FULL)
    counted.wait(1)
    assert [where for where, _ in counted.errors] == ["alert"]


def test_who_is_told_of_what_was_not_delivered_may_fail(caplog: pytest.LogCaptureFixture) -> None:
    """That is logged, and the next alert is sent all the same."""

    def broken(where: str, error: BaseException) -> None:
        raise RuntimeError(where) from error

    with webhook(500, 204) as hook:
        alerts = Alerts(hook.url, broken, AlertPace(retries_s=()))
        alerts.raise_(FULL)
        hook.wait(1)
        alerts.raise_(MeterFailure("reader", "x"))
        hook.wait(2)
        assert alerts.close(MOST_S)
    assert "an alert was not delivered" in caplog.text


def test_the_thread_ends_and_comes_again(counted: Counted) -> None:
    """It lives only while something waits; what was hurried once is not hurried for ever."""
    with webhook() as hook:
        alerts = Alerts(hook.url, counted, QUICK)
        alerts.raise_(FULL)
        assert alerts.close(MOST_S)
        alerts.raise_(FULL)
        assert not alerts.close(0) or len(hook.requests) == 2
        hook.wait(2)
        assert alerts.close(MOST_S)
        alerts.raise_(FULL)
        alerts.raise_(MeterFailure("reader", "x"))
        hook.wait(3)
        assert [alert["where"] for alert in hook.alerts] == ["journal", "journal", "reader"]
        assert alerts.close(MOST_S)


def test_many_threads(counted: Counted) -> None:
    """Failures from everywhere at once are all counted."""
    with webhook() as hook:
        alerts = Alerts(hook.url, counted, QUICK)
        threads = [threading.Thread(target=lambda: [alerts.raise_(FULL) for _ in range(100)]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert alerts.close(MOST_S)
        assert sum(alert["count"] for alert in hook.alerts) == 800
        assert len(hook.requests) <= 2


def test_a_forked_child_has_alerts_of_its_own() -> None:
    """What waits in the parent is told by the parent alone; the child tells of its own failures."""
    code = """
import os, sys
from taximeter.meter.alerts import Alerts
from taximeter.meter.listeners import MeterFailure
alerts = Alerts(sys.argv[1])
alerts.raise_(MeterFailure("journal", "first"))
assert alerts.close(20)
alerts.raise_(MeterFailure("journal", "waits for its minute"))
pid = os.fork()
if not pid:
    alerts.raise_(MeterFailure("reader", "the child's"))
    os._exit(0 if alerts.close(20) else 1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert alerts.close(20)
"""
    with webhook() as hook:
        command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code, hook.url]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        told = [(alert["message"], alert["count"]) for alert in hook.alerts]
    assert told == [("first", 1), ("the child's", 1), ("waits for its minute", 1)]


def test_it_is_not_metered_itself() -> None:
    """The client that tells is none that is hooked."""
    code = """
import sys
import taximeter
taximeter.instrument()
from taximeter.meter import alerts
alerts._opener()
assert not {"httpx", "httpx2", "aiohttp", "urllib3"} & sys.modules.keys()
"""
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


@pytest.mark.parametrize("url", ["https://h/x?y=z", "http://[::1]:8080", "  https://h/  ", "HTTPS://h"])
def test_urls_that_can_be_used(url: str) -> None:
    """Those of http and https, with or without a port, a path and a query."""
    assert checked_url(url) == url.strip()


@pytest.mark.parametrize("url", [None, "", "  "])
def test_no_url_is_none(url: str | None) -> None:
    """Nobody is told then."""
    assert checked_url(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "ftp://secret/x",
        "file:///secret",
        "secret.example/hook",
        "https://",
        "https:///secret",
        "https://h:secret/",
        "https://h:99999/secret",
        "https://me:secret@h/",
        "https://[h/secret",
        "https://h/secret word",
        "https://h/secret\u00e9",
        "https://h/secret\nx",
    ],
)
def test_urls_that_cannot_be_used(url: str) -> None:
    """Are refused when they are set, without being repeated: a part of them is most often a secret."""
    with pytest.raises(ConfigError, match="alert_webhook: give an http or https URL") as raised:
        Alerts(url)
    assert "secret" not in str(raised.value)


def test_threads_may_be_wanting(counted: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be started that is counted, and what waits is sent when one can be."""
    start: Callable[[threading.Thread], None] = threading.Thread.start

    def refuses(thread: threading.Thread) -> None:
        if thread.name == "taximeter-alerts":
            msg = "can't start new thread"
            raise RuntimeError(msg)
        start(thread)

    with webhook() as hook:
        alerts = Alerts(hook.url, counted, QUICK)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuses)
            alerts.raise_(FULL)
        assert [where for where, _ in counted.errors] == ["alert"]
        assert not alerts.close(0)
        alerts.raise_(FULL)
        assert alerts.close(MOST_S)
        assert [alert["count"] for alert in hook.alerts] == [2]
