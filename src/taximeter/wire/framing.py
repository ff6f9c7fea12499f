"""What the ways to cut a byte stream into events have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from taximeter.errors import WireError
from taximeter.wire.idle import IdlePattern

MAX_EVENT_BYTES: Final = 64 * 1024 * 1024
"""The largest event that is held: a picture in base64 fits; what is larger is refused."""

OnEvent = Callable[[bytes, bytes, bytes], None]
"""Called with an event's name (empty if it has none), its data, and all its bytes with what delimits it."""


def check_size(what: str, event: bytes | bytearray) -> None:
    """Refuses what is too large to be held.

    Raises:
        WireError: for more than :data:`MAX_EVENT_BYTES`.
    """
    if len(event) > MAX_EVENT_BYTES:
        msg = f"{what} of more than {MAX_EVENT_BYTES} bytes"
        raise WireError(msg)


OnFault = Callable[[WireError], None]
"""Told of bytes after which nothing can be read."""


def raise_it(fault: WireError) -> None:
    """An :data:`OnFault`."""
    raise fault


class Framing:
    """Cuts a byte stream into events.

    Args:
        on_event: takes the events.
        idle: events that it matches are not delivered.
        on_fault: what comes after a fault is passed over.
    """

    def __init__(self, on_event: OnEvent, idle: IdlePattern, on_fault: OnFault = raise_it) -> None:
        self._on_event = on_event
        self._idle = idle
        self._on_fault = on_fault
        self._held: bytearray = bytearray()
        self._broken = False

    def feed(self, chunk: bytes) -> None:
        """Takes the next bytes, cut anywhere. Most chunks of most streams are one idle event, and end here."""
        if self._held or not self._idle.matches(chunk):
            self.take(chunk)

    def take(self, chunk: bytes) -> None:
        """Takes bytes that are not one idle event."""
        if self._broken:
            return
        try:
            self.cut(chunk)
        except WireError as error:
            self._broken = True
            self._held.clear()
            self._idle.forget()
            self._on_fault(error)

    def cut(self, chunk: bytes) -> None:
        """Delivers the events that ``chunk`` completes, and holds the rest.

        Raises:
            WireError: for bytes after which nothing can be read.
        """
        raise NotImplementedError

    def close(self) -> bool:
        """The end has come: delivers what can be of what is held; whether the stream may end here."""
        raise NotImplementedError
