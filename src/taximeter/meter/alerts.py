"""A webhook that is told when the meter fails: from a thread of its own, seldom, and never in the way.

It is called with the standard library's client, which no hook of ours is on.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from taximeter.errors import ConfigError
from taximeter.journal import forks
from taximeter.meter.listeners import MeterFailure
from taximeter.meter.masking import masked

if TYPE_CHECKING:
    from urllib.request import OpenerDirector

_log = logging.getLogger("taximeter")

_MOST_PARTS: Final = 64
"""Parts of the meter that are kept apart: there are about ten."""


class AlertPace(msgspec.Struct, frozen=True, kw_only=True):
    """How alerts are sent. All times in seconds.

    Attributes:
        every_s: the least time between two alerts of the same part of the meter.
        timeout_s: how long the webhook may be silent.
        retries_s: the pauses before an alert that did not get through is tried again.
    """

    every_s: float = 60.0  # no float: seconds
    timeout_s: float = 5.0  # no float: seconds
    retries_s: tuple[float, ...] = (1.0, 5.0)  # no float: seconds


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """What the webhook is told, as JSON.

    Attributes:
        kind: always ``meter_failure``.
        where: which part of the meter failed.
        message: how, the last time; with what looks like a key taken out.
        call_id: of the last call that it failed at, where there was one.
        host, pid: of which machine and process.
        count: how often, since the last alert of this part that got through.
        at: when, the last time.
    """

    kind: str = "meter_failure"
    where: str
    message: str
    call_id: str | None
    host: str
    pid: int
    count: int
    at: datetime


class _Waiting(NamedTuple):
    failure: MeterFailure
    times: int
    at: datetime


class Alerts:
    """Tells a webhook of failures: of each part of the meter once a minute, with how many there were meanwhile.

    An alert that does not get through is tried again twice; after that its failures are counted in with the next
    alert of that part. An alert whose answer is lost may arrive twice. What waits when the process ends is lost, unless
    :meth:`close` is called.

    Args:
        url: of the webhook; ``None``: nobody is told.
        undelivered: is told, with ``"alert"`` and the error, when an alert did not get through: see
            :meth:`taximeter.meter.health.Health.failure`.
        pace: how alerts are sent.

    Raises:
        ConfigError: see :func:`checked_url`.
    """

    fork_order = 3  # it waits for nobody, and nobody waits for it

    def __init__(
        self,
        url: str | None,
        undelivered: Callable[[str, BaseException], object] | None = None,
        pace: AlertPace | None = None,
    ) -> None:
        self._url = checked_url(url)
        self._undelivered = undelivered
        self._pace = pace or AlertPace()
        self._reset()
        forks.watch(self)

    def raise_(self, failure: MeterFailure) -> None:
        """The meter failed. Returns at once, and raises nothing."""
        if self._url is None:
            return
        try:
            with self._lock:
                self._add(_Waiting(failure, 1, datetime.now(UTC)))
                if self._thread is None:
                    self._start()
        except Exception as error:  # noqa: BLE001 - no more threads, or the process ends: counted, as every failure
            self._tell(error)

    def close(self, timeout_s: float = 5.0) -> bool:  # no float: seconds
        """Sends what waits without waiting for its minute.

        Returns:
            Whether nothing waits any more, after so many seconds at most.
        """
        with self._lock:
            thread = self._thread
            if thread is not None:
                self._hurried.set()
                self._signals.put(None)
        if thread is not None:
            thread.join(timeout_s)
        return self._thread is None and not self._waiting

    def before_fork(self) -> None:
        """Nothing: the child takes nothing over."""

    def after_fork_in_parent(self) -> None:
        """Nothing: the parent goes on."""

    def after_fork_in_child(self) -> None:
        """Starts anew: the thread is the parent's, and so are the failures."""
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.RLock()  # held for a moment; a finaliser may fail in our midst
        self._waiting: dict[str, _Waiting] = {}
        self._missed: Counter[str] = Counter()
        self._sent_ns: dict[str, int] = {}
        self._rested()

    def _rested(self) -> None:
        """There is no thread."""
        self._thread: threading.Thread | None = None
        # The one kind of queue that may be put to from a finaliser while this very thread is in it.
        self._signals: SimpleQueue[None] = SimpleQueue()
        self._hurried = threading.Event()

    def _add(self, more: _Waiting) -> None:
        """Adds to what waits, which is at most one alert for each part."""
        where = more.failure.where
        before = self._waiting.get(where)
        if before is not None:
            late = max(before, more, key=lambda each: each.at)
            self._waiting[where] = late._replace(times=before.times + more.times)
        elif len(self._waiting) < _MOST_PARTS:  # which nobody comes to; were it so, it is counted all the same
            self._waiting[where] = more
            self._signals.put(None)

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="taximeter-alerts", daemon=True)
        self._thread = thread
        try:
            thread.start()
        except BaseException:
            self._rested()
            raise

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._rested()  # the next failure starts another
                    return
                where, wait_ns = min(((each, self._wait_ns(each)) for each in self._waiting), key=lambda each: each[1])
                due = self._waiting.pop(where) if wait_ns <= 0 else None
            if due is None:
                self._rest(wait_ns)
            else:
                self._deliver(due)

    def _wait_ns(self, where: str) -> int:
        """How long an alert has to wait for its turn."""
        sent = self._sent_ns.get(where)
        if sent is None or self._hurried.is_set():
            return 0
        return sent + int(self._pace.every_s * 10**9) - time.monotonic_ns()

    def _rest(self, wait_ns: int) -> None:
        """Waits for a turn, or for an alert that may have an earlier one."""
        try:
            self._signals.get(timeout=wait_ns / 10**9)  # no float: seconds
        except Empty:
            return

    def _deliver(self, due: _Waiting) -> None:
        where = due.failure.where
        with self._lock:
            due = due._replace(times=due.times + self._missed.pop(where, 0))
        try:
            self._post(_encoded(due))
        except Exception as error:  # noqa: BLE001 - whatever a network, a proxy or a broken server leads to
            with self._lock:
                self._missed[where] += due.times
            self._tell(error)
        with self._lock:
            self._sent_ns.pop(where, None)
            self._sent_ns[where] = time.monotonic_ns()
            if len(self._sent_ns) > _MOST_PARTS:
                del self._sent_ns[next(iter(self._sent_ns))]

    def _post(self, body: bytes) -> None:
        for pause in self._pace.retries_s:
            try:
                self._post_once(body)
            except Exception:  # noqa: BLE001 - as above; the last attempt's is told
                self._hurried.wait(pause)
            else:
                return
        self._post_once(body)

    def _post_once(self, body: bytes) -> None:
        from urllib.error import HTTPError  # noqa: PLC0415 - as in _opener
        from urllib.request import Request  # noqa: PLC0415 - as in _opener

        headers = {"content-type": "application/json", "user-agent": "taximeter"}
        request = Request(str(self._url), data=body, headers=headers, method="POST")  # noqa: S310 - see checked_url
        try:
            with _opener().open(request, timeout=self._pace.timeout_s):
                pass
        except HTTPError as error:
            error.close()
            msg = f"the webhook answered with HTTP status {error.code}"
            raise ConnectionError(msg) from None

    def _tell(self, error: Exception) -> None:
        if self._undelivered is not None:
            try:
                self._undelivered("alert", error)
            except Exception:  # noqa: BLE001 - of whoever made us
                _log.exception("an alert was not delivered, and nobody could be told")


def checked_url(url: str | None) -> str | None:
    """The URL of a webhook, if it can be used; ``None`` where there is none.

    Raises:
        ConfigError: when it is no http or https URL. It does not repeat what may be a secret.
    """
    text = (url or "").strip()
    problem = _problem_of(text) if text else None
    if problem is not None:
        msg = f"alert_webhook: give an http or https URL such as https://alerts.internal/taximeter ({problem})"
        raise ConfigError(msg)
    return text or None


def _problem_of(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # whose text may quote a password
        usable = False
    else:
        if usable and parts.username is not None:
            return "a user is in it; what it needs goes into the path or the query"
    if not usable:
        return "this is none"
    if not (url.isascii() and url.isprintable() and " " not in url):
        return "there are signs in it that a URL cannot have; percent-encode them"
    return None


def _opener() -> OpenerDirector:
    """Opens http and https, by the environment's proxies, and follows no redirect, which would be a GET."""
    import urllib.request as library  # noqa: PLC0415 - heavy; loaded when there is something to tell

    opener = library.OpenerDirector()
    for handler in (
        library.ProxyHandler,
        library.HTTPHandler,
        library.HTTPSHandler,
        library.HTTPErrorProcessor,
        library.HTTPDefaultErrorHandler,
    ):
        opener.add_handler(handler())
    return opener


def _encoded(due: _Waiting) -> bytes:
    return msgspec.json.encode(
        Alert(
            where=due.failure.where,
            message=masked(due.failure.message),
            call_id=due.failure.call_id,
            host=os.uname().nodename,
            pid=os.getpid(),
            count=due.times,
            at=due.at,
        )
    )
