"""From the journal's writer to the store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from taximeter.event import CallEvent
from taximeter.store import Store, open_store


class StoreSink:
    """Hands events to the store, which it opens when there is something to hand over.

    Args:
        url: of the store.
        failed: is told when the store does not take them.
        tried: is called after each attempt.
    """

    def __init__(
        self,
        url: str | None,
        failed: Callable[[str, Exception], None] | None = None,
        tried: Callable[[], None] | None = None,
    ) -> None:
        self._url = url
        self._failed = failed
        self._tried = tried
        self._store: Store | None = None
        self._lock = threading.Lock()

    def add(self, events: Sequence[CallEvent]) -> None:
        """Stores events; what is there already is left as it is.

        Raises:
            StoreError: when they cannot be stored now.
        """
        try:
            with self._lock:
                if self._store is None:
                    self._store = open_store(self._url)
                self._store.add(events, recorded_at=datetime.now(UTC))
        except Exception as error:
            if events and self._failed is not None:
                self._failed("store", error)
            raise
        finally:
            if self._tried is not None:
                self._tried()

    def sync(self) -> None:
        """Puts what was stored on the disk.

        Raises:
            StoreError: when that cannot be done now.
        """
        with self._lock:
            if self._store is not None:
                self._store.sync()
