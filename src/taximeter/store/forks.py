"""What a fork means for SQLite: nothing may be open across it.

SQLite keeps in the memory of a process which locks that has on a file. A forked child inherits the memory and not the
locks. What its parent was writing is locked for it for good; and a lock that it believes to have it never takes, so
whoever else closes the file last deletes the write-ahead log that the child writes to, and all that it stores from then
on is gone (sqlite.org/howtocorrupt.html, "Carrying an open database connection across a fork", read 2026-11).

So whatever is open and at rest is closed before a fork, and opened again when it is next used. Where something is still
in use the child leaves that file alone: what it cannot store stays in its journal, for another process to find.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path
from typing import Final, Protocol
from weakref import WeakSet

SECONDS: Final = 5
"""How long a fork waits for the end of what is being written."""


class Connection(sqlite3.Connection):
    """A connection that is known while it is open.

    Attributes:
        path: of its file.
    """

    path: Path

    def close(self) -> None:
        """Closes it."""
        super().close()
        _open.discard(self)


class Forkable(Protocol):
    """Something that has connections."""

    def before_fork(self) -> None:
        """Closes those that are at rest."""

    def after_fork_in_parent(self) -> None:
        """Goes on."""

    def after_fork_in_child(self) -> None:
        """Starts anew."""


_watched: WeakSet[Forkable] = WeakSet()
_resting: list[Forkable] = []
_open: WeakSet[Connection] = WeakSet()
_split: set[Path] = set()
_forking = threading.RLock()  # two threads may fork at once


def watch(one: Forkable) -> None:
    """Calls it around every fork of this process, as long as it exists."""
    _watched.add(one)


def opened(connection: Connection, path: Path) -> None:
    """Takes note of a connection."""
    connection.path = path
    _open.add(connection)


def is_split(path: Path) -> bool:
    """Whether a file was in use when this process was forked from the one that used it."""
    return path in _split


def _before() -> None:
    _forking.acquire()
    _resting[:] = _watched
    for one in _resting:
        one.before_fork()


def _in_parent() -> None:
    for one in _resting:
        one.after_fork_in_parent()
    _resting.clear()
    _forking.release()


def _in_child() -> None:
    _split.update(connection.path for connection in _open)
    for one in _resting:
        one.after_fork_in_child()
    _resting.clear()
    _forking.release()


if hasattr(os, "register_at_fork"):  # at import, so before the journal does: what is registered last rests first
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
