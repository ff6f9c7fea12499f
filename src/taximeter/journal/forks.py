"""What a fork means for the journals of a process: the child lets go of them all, and starts its own."""

from __future__ import annotations

import os
import threading
from typing import Protocol
from weakref import WeakSet

from taximeter.journal import files


class Forkable(Protocol):
    """Something that a fork must not split.

    Attributes:
        fork_order: what has a lower number comes to rest earlier: its work may wait for what comes later.
    """

    fork_order: int

    def before_fork(self) -> None:
        """Comes to rest."""

    def after_fork_in_parent(self) -> None:
        """Goes on."""

    def after_fork_in_child(self) -> None:
        """Forgets what belongs to the parent."""


_watched: WeakSet[Forkable] = WeakSet()
_resting: list[Forkable] = []
_forking = threading.RLock()  # two threads may fork at once
_registered: list[bool] = []


def watch(one: Forkable) -> None:
    """Calls it around every fork of this process, as long as it exists."""
    with _forking:
        _watched.add(one)
        if not _registered:  # not at import: importing does nothing
            _registered.append(True)
            os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)


def _before() -> None:
    _forking.acquire()
    _resting[:] = sorted(_watched, key=lambda one: one.fork_order)
    for one in _resting:
        one.before_fork()
    files.before_fork()


def _in_parent() -> None:
    files.after_fork_in_parent()
    for one in _resting:
        one.after_fork_in_parent()
    _resting.clear()
    _forking.release()


def _in_child() -> None:
    for one in _resting:
        one.after_fork_in_child()
    files.after_fork_in_child()
    _resting.clear()
    _forking.release()  # the thread that forked is the one that is left
