"""Something that expires, kept fresh by a thread, so that whoever signs a call never waits for it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final, Generic, NamedTuple, TypeVar

from taximeter.errors import SigningError
from taximeter.meter.masking import masked

_log = logging.getLogger("taximeter.gateway")

_RETRY_S: Final = 5.0
_END_S: Final = 5.0
_LONGEST_MESSAGE: Final = 300

_T = TypeVar("_T")


class Held(NamedTuple, Generic[_T]):
    """What was fetched.

    Attributes:
        value: it.
        until: the second of the clock at which it expires; ``None``: it does not, or nobody knows.
        again_s: in how many seconds it is to be fetched anew; ``None``: never.
    """

    value: _T
    until: float | None
    again_s: float | None


class Fresh(Generic[_T]):
    """Keeps a value fresh. Nothing happens before :meth:`start`.

    Args:
        what: it is, for errors and logs.
        fetch: gets it; may take its time, and may fail: what was fetched before then stays until it expires.
        clock: the seconds since 1970.
    """

    def __init__(self, what: str, fetch: Callable[[], Held[_T]], clock: Callable[[], float] = time.time) -> None:
        self._what = what
        self._fetch = fetch
        self._clock = clock
        self._held: Held[_T] | None = None
        self._tried = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._silent = False

    def start(self, wait_s: float = 0) -> None:
        """Starts the thread, if there is none.

        Args:
            wait_s: how long the first value is waited for.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep, name="taximeter-signing", daemon=True)
            self._thread.start()
        self._tried.wait(wait_s)

    def get(self) -> _T:
        """The value, at once.

        Raises:
            SigningError: when there is none, or it has expired.
        """
        held = self._held
        if held is None or (held.until is not None and self._clock() >= held.until):
            msg = f"{self._what}: there are none now"
            raise SigningError(msg)
        return held.value

    def close(self) -> None:
        """Ends the thread; without waiting where it is fetching."""
        self._stop.set()
        if self._thread is not None and self._tried.is_set():
            self._thread.join(_END_S)

    def _keep(self) -> None:
        while True:
            pause = self._try()
            self._tried.set()
            if self._stop.wait(pause):
                return

    def _try(self) -> float | None:
        """Fetches it; in how many seconds again."""
        try:
            self._held = held = self._fetch()
        except Exception as error:  # noqa: BLE001 - whatever a vendor's library raises; it is tried again
            if not self._silent:
                words = masked(f"{type(error).__name__}: {error}"[:_LONGEST_MESSAGE])
                _log.error("%s cannot be had, and are tried for again: %s", self._what, words)
            self._silent = True
            return _RETRY_S
        self._silent = False
        return held.again_s
