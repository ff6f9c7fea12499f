"""What this process' meter failed at, and what it saw and could not meter: counted, and kept beside the journals.

It costs nothing until something happens. What :meth:`Health.save` has written outlives the process; between two saves a
``kill -9`` takes what was counted since the last one with it.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from taximeter.journal import files, forks
from taximeter.meter.lookalikes import looks_like_a_call, shape_of
from taximeter.meter.masking import masked
from taximeter.meter.snapshots import (
    ANY_PATH,
    HEALTH,
    MOST_PLACES,
    OTHERS,
    FailureCount,
    HealthReport,
    Snapshot,
    UnmeteredHost,
    prune,
    read_health,
    write,
)

__all__ = ["FailureCount", "Health", "HealthReport", "UnmeteredHost", "looks_like_a_call", "prune", "read_health"]

_log = logging.getLogger("taximeter")

_LONGEST_MESSAGE: Final = 4_000
_SELDOM_NS: Final = 10**9
_MOST_ROUTES: Final = 4_096
_LONGEST_ROUTE: Final = 512
_HOST: Final = re.compile(r"[\w.:\[\]-]{1,255}")


class _Place(msgspec.Struct):
    """A place that looks like a model's, and how often something went there."""

    host: str
    api: str
    path: str
    calls: int
    first_at: datetime
    last_at: datetime


class Health:
    """The failures of one process' meter, and the hosts that it did not meter. Any thread may use it; nothing raises.

    After a fork the child starts anew; the parent's figures are the parent's.

    Args:
        folder: gives the journal folder; asked only when there is something to write.
        clock: a monotonic one, in nanoseconds.

    Attributes:
        failures: how often each part of the meter failed.
    """

    fork_order = 2  # it waits for nobody, and nobody waits for it

    def __init__(self, folder: Callable[[], Path], clock: Callable[[], int] = time.monotonic_ns) -> None:
        self.failures: Counter[str] = Counter()
        self._folder = folder
        self._clock = clock
        self._reset()
        forks.watch(self)

    @property
    def changed(self) -> bool:
        """Whether something happened since the last save."""
        return self._changes != self._saved

    def failure(self, where: str, error: BaseException, call_id: str | None = None) -> None:
        """A part of the meter failed.

        Args:
            where: which; one of a few fixed words.
            error: how.
            call_id: at which call.
        """
        try:
            message = f"{type(error).__name__}: {error}"[:_LONGEST_MESSAGE]
        except Exception:  # noqa: BLE001 - an error of somebody else's making may fail at telling what it is
            message = type(error).__name__
        now = datetime.now(UTC)
        with self._lock:
            self.failures[where] += 1
            self._changes += 1
            before = self._failed.get(where)
            self._failed[where] = FailureCount(
                where=where,
                count=before.count + 1 if before else 1,
                first_at=before.first_at if before else now,
                last_at=now,
                message=message,
                call_id=call_id,
            )

    def unmetered(self, method: str, host: str, path: str) -> None:
        """A request leaves that is not metered; it is counted if it looks like a call to a model.

        To be told of each request that :func:`taximeter.wire.may_be_metered` lets through, that has no route all the
        same, and that no hook further out owns. Most look like no call at the second look; that costs one look-up.

        Args:
            method: the HTTP method.
            host: with its port, unless that is the scheme's own.
            path: as sent. Of it only plain words are kept, and nothing of a query.
        """
        try:
            try:
                place = self._places[method, host, path]
            except KeyError:
                place = self._look(method, host, path)
            if place is None:
                return
            with self._lock:
                place.calls += 1
                place.last_at = datetime.now(UTC)
                self._changes += 1
        except Exception as error:  # noqa: BLE001 - a failure of the meter is counted, and never the call's
            self.failure("hook", error)

    def save(self) -> None:
        """Writes the snapshot, if something happened since the last one. What goes wrong is counted and logged once."""
        if not self.changed:
            return
        self._tried_ns = self._clock()
        try:
            with self._writing:
                if not self._busy:  # else a finaliser of this very thread came between
                    self._busy = True
                    try:
                        self._save()
                    finally:
                        self._busy = False
        except Exception as error:  # noqa: BLE001 - a full disk and the like; the next save tries again
            self.failure("health", error)
            if self.failures["health"] == 1:
                _log.exception("what the meter failed at cannot be kept")

    def save_seldom(self) -> None:
        """As :meth:`save`, unless that was tried within the last second: for whoever may come here often."""
        if self.changed and self._clock() - self._tried_ns >= _SELDOM_NS:
            self.save()

    def close(self) -> None:
        """Saves, and lets go of the file: it is a dead process' from now on. What happens later starts another."""
        with self._writing, self._lock:
            self.save()
            if self.changed:
                return  # it could not be written; perhaps a later save can
            if self._descriptor >= 0:
                files.let_go(self._descriptor)
            self._forget()

    def before_fork(self) -> None:
        """Nothing: the child takes nothing over."""

    def after_fork_in_parent(self) -> None:
        """Nothing: the parent goes on."""

    def after_fork_in_child(self) -> None:
        """Starts anew. The copy of the file's descriptor is closed with those of all journals."""
        self.failures.clear()
        self._reset()

    def _reset(self) -> None:
        # One thread may enter them twice: a finaliser may fail in our midst.
        self._lock = threading.RLock()  # held while something is counted: never for long
        self._writing = threading.RLock()  # held while the file is written
        self._busy = False
        self._forget()

    def _forget(self) -> None:
        self._failed: dict[str, FailureCount] = {}  # messages as they came: they are masked when they are written
        self._seen: dict[tuple[str, str, str], _Place] = {}
        self._places: dict[tuple[str, str, str], _Place | None] = {}
        self._path: Path | None = None
        self._descriptor = -1
        self._changes = self._saved = 0
        self._tried_ns = self._clock() - _SELDOM_NS

    def _look(self, method: str, host: str, path: str) -> _Place | None:
        """The place that a request goes to, ``None`` when it is no call; remembered for the next one."""
        with self._lock:
            api = looks_like_a_call(method, path)
            place = None if api is None else self._place(host, api, path)
            if len(path) <= _LONGEST_ROUTE:
                if len(self._places) >= _MOST_ROUTES:
                    self._places.clear()
                self._places[method, host, path] = place
            return place

    def _place(self, host: str, api: str, path: str) -> _Place:
        host = host.lower().rpartition("@")[2]
        key = (host, api, shape_of(path))
        if not _HOST.fullmatch(host) or (key not in self._seen and len(self._seen) >= MOST_PLACES):
            key = (OTHERS, api, ANY_PATH)
        now = datetime.now(UTC)
        return self._seen.setdefault(key, _Place(*key, 0, now, now))

    def _save(self) -> None:
        with self._lock:
            changes, failed, seen = self._changes, tuple(self._failed.values()), tuple(self._seen.values())
        folder = self._folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._path is None:
            self._path = folder / (files.fresh_name() + HEALTH)
        before, self._descriptor = self._descriptor, write(self._path, _snapshot(failed, seen))
        if before >= 0:
            files.let_go(before)
        self._saved = changes


def _snapshot(failed: Iterable[FailureCount], seen: Iterable[_Place]) -> Snapshot:
    return Snapshot(
        failures=tuple(msgspec.structs.replace(each, message=masked(each.message)) for each in failed),
        unmetered=tuple(
            UnmeteredHost(
                host=place.host,
                api=place.api,
                path=place.path,
                calls=place.calls,
                first_at=place.first_at,
                last_at=place.last_at,
            )
            for place in seen
        ),
    )
