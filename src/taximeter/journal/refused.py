"""Events that a working store would not take: kept in a file of their own, and offered again at each recovery."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from taximeter.codec import pack_event
from taximeter.event import CallEvent
from taximeter.journal import files
from taximeter.journal.frames import CLOSED, HEADER, frame


def keep_refused(folder: Path, events: Sequence[CallEvent]) -> Path:
    """Writes events to a new file, on the disk when this returns.

    Raises:
        JournalError: when it cannot be written. Then the events are still where they came from.
    """
    path = folder / (files.fresh_name() + files.REFUSED)
    try:
        descriptor, place = files.make(path)
        try:
            frames = [frame(HEADER, b""), *(frame(CLOSED, pack_event(event)) for event in events)]
            files.write_all(descriptor, b"".join(frames))
            os.fsync(descriptor)
            place.rename(path)
        except OSError:
            place.unlink(missing_ok=True)
            raise
        finally:
            files.let_go(descriptor)
    except OSError as error:
        raise files.explain(path, "keep what the store refused", error) from error
    return path
