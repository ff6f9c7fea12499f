"""Closing a call from wherever its end is noticed, the garbage collector included.

A stream that nobody holds any more is noticed by a finaliser, which may run at any point of any code of the thread: in
the midst of a lock that is not to be taken twice, or of the application's own. What is noticed there is closed in a
thread of its own.
"""

from __future__ import annotations

import _thread
import gc
import sys
from typing import Literal

from taximeter.event import Outcome
from taximeter.meter.call import Call


class _Collector:
    """Which thread collects garbage now, if one does."""

    thread: int | None = None

    @classmethod
    def watch(cls, phase: Literal["start", "stop"], info: dict[str, int]) -> None:
        del info
        cls.thread = _thread.get_ident() if phase == "start" else None


gc.callbacks.append(_Collector.watch)

_handed_over: set[str] = set()
"""The calls that a thread of its own is closing: whoever else notices their end leaves them to it."""


def close(call: Call, outcome: Outcome | None = None, *, cut: bool = False, error: Exception | None = None) -> None:
    """Closes a call; see :meth:`taximeter.meter.call.Call.close`. Closing it twice changes nothing."""
    if call.closed or call.id in _handed_over:
        return
    if _Collector.thread != _thread.get_ident():
        call.close(outcome, cut=cut, error=error)
    elif not sys.is_finalizing():
        _handed_over.add(call.id)
        # without threading's bookkeeping, which waits and locks
        _thread.start_new_thread(_close_here, (call, outcome, cut, error))


def _close_here(call: Call, outcome: Outcome | None, cut: bool, error: Exception | None) -> None:  # noqa: FBT001 - by position
    try:
        call.close(outcome, cut=cut, error=error)
    finally:
        _handed_over.discard(call.id)
