"""Small SQLite files that workers share."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Final

_WAIT_S: Final = 0.05
"""How long a statement waits for another worker's 20 µs: the loop does not wait for one that is stuck."""

_OPENING_S: Final = 2.0
_AGAIN_S: Final = 0.01
_BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})


def open_shared(path: Path, what: str, tables: str) -> sqlite3.Connection:
    """Opens a file, and makes it if need be; for any thread, each statement its own transaction.

    Workers start at once, and while one of them makes the file the others are turned away, without the wait that they
    would otherwise be granted. So they try again.

    Args:
        path: of the file, which only its owner may read.
        what: is in it, for errors.
        tables: what makes them; run each time.

    Raises:
        OSError: when there can be no such file.
    """
    until = time.monotonic() + _OPENING_S
    while True:
        file: sqlite3.Connection | None = None
        try:
            file = sqlite3.connect(path, isolation_level=None, timeout=_WAIT_S, check_same_thread=False)
            path.chmod(0o600)
            file.executescript(f"PRAGMA journal_mode = WAL; {tables}")
        except sqlite3.Error as error:
            if file is not None:
                file.close()
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _BUSY or time.monotonic() >= until:
                msg = f"{path} cannot be used to share {what} between workers: {error}"
                raise OSError(msg) from error
            time.sleep(_AGAIN_S)
        else:
            return file
