"""Whether a worker should be sent calls: not while it ends, and not when it could not write them down."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from taximeter.gateway.plan import Answer

_JSON: Final = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))
_PROBE: Final = bytes(4096)
"""What is written to see whether there is room for a call's record."""


class Readiness:
    """Answers ``/readyz``.

    Args:
        folder: gives the folder of the journals; ``None``: nothing is metered.

    Attributes:
        draining: whether the worker is about to end.
    """

    def __init__(self, folder: Callable[[], Path] | None) -> None:
        self.draining = False
        self._folder = folder

    def drain(self) -> None:
        """The worker is about to end."""
        self.draining = True

    async def answer(self) -> Answer:
        """200, or 503 and why."""
        why = "draining" if self.draining else await asyncio.to_thread(self._why_not)
        if why is None:
            return 200, _JSON, b'{"status":"ready"}'
        return 503, _JSON, msgspec.json.encode({"status": "not ready", "reason": why})

    def _why_not(self) -> str | None:
        """Writes where the journals are, and takes it away again."""
        if self._folder is None:
            return None
        try:
            folder = self._folder()
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
                file.write(_PROBE)
        except OSError as error:
            return f"calls cannot be written down: {error.strerror}"
        return None
