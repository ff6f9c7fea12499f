"""Editing a stream of events on its way: what is cut where, what is held, and what is left alone.

An editor changes some events and hands everything else on as it came. It looks into an event only when the bytes that
it is after are in it, and holds back only an event of which a part is still to come.
"""

from __future__ import annotations

import re
from typing import Final

from taximeter.wire.encoding import Decoder, decoder_for
from taximeter.wire.idle import IdlePattern

MAX_EVENT_BYTES: Final = 1024 * 1024
"""An event that is longer is not looked into: it is handed on as it comes."""

_BLANK_LINE: Final = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r)")
_LONGEST_START: Final = 8


class EventEditor:
    """Cuts a stream into events, and hands each on as :meth:`edit` leaves it.

    A subclass says what it is after, and what becomes of an event that may hold it.

    Args:
        content_encoding: of the answer, which is decoded: what is handed on is not encoded.

    Attributes:
        idle: the events that hold the marker, and differ from one that was edited only in a text.

    Raises:
        WireError: for an encoding that nobody here can undo.
    """

    marker: bytes
    """Is in every event that :meth:`edit` is to see."""

    def __init__(self, content_encoding: str | None = None) -> None:
        self.idle = IdlePattern()
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._passing = False
        self._encoding = content_encoding
        self._decoder: Decoder | None = None
        self._first: bytes | None = b"" if content_encoding else None
        if content_encoding:
            decoder_for(content_encoding, b"")

    def edit(self, event: bytes) -> bytes:
        """An event, whole, that holds the marker: as it is to be handed on."""
        raise NotImplementedError

    def _idle(self, events: bytes) -> bytes:
        """Events of a run that :attr:`idle` knows, as they are to be handed on."""
        return events

    def feed(self, chunk: bytes) -> bytes:
        """What is to be handed on now; may be empty, and is ``chunk`` itself where nothing is to be done.

        Raises:
            WireError: when the bytes are not of the encoding that they claim to be.
        """
        if self._encoding is None:
            return self._take(chunk)
        if self._first is not None:
            self._first += chunk
            if len(self._first) < _LONGEST_START:
                return b""
            chunk = self._begin()
        return self._decoded(chunk)

    def close(self) -> bytes:
        """The rest, at the end of the answer.

        Raises:
            WireError: as :meth:`feed`.
        """
        rest = self._decoded(self._begin()) if self._first else b""
        last = b"".join(self._held)
        self._held.clear()
        return rest + (last if self._passing else self._event(last))

    def _begin(self) -> bytes:
        first, self._first = self._first or b"", None
        self._decoder = decoder_for(self._encoding, first)
        return first

    def _decoded(self, chunk: bytes) -> bytes:
        if self._decoder is None:
            return self._take(chunk)
        return b"".join(map(self._take, self._decoder.feed(chunk)))

    def _take(self, chunk: bytes) -> bytes:
        if self._passing:
            return self._pass(chunk)
        if self._held:
            if 0x0A not in chunk and 0x0D not in chunk:
                return self._hold(chunk)
            self._held.append(chunk)
            chunk = b"".join(self._held)
            self._held.clear()
        else:
            alone = self._alone(chunk)
            if alone is not None:
                return alone
        return self._cut(chunk)

    def _alone(self, chunk: bytes) -> bytes | None:
        """What becomes of a chunk that holds whole events, where that is quickly told; ``None`` where it is not."""
        if self.marker not in chunk and chunk.endswith(b"\n\n") and 0x0D not in chunk:
            return chunk
        return None

    def _event(self, event: bytes) -> bytes:
        return self.edit(event) if self.marker in event else event

    def _cut(self, chunk: bytes) -> bytes:
        """Edits the events that are whole, and holds the rest."""
        out: list[bytes] = []
        start = 0
        plain = 0x0D not in chunk
        while (end := _end(chunk, start, plain=plain)) >= 0:
            event = chunk[start:end]
            alone = self._alone(event)
            out.append(self._event(event) if alone is None else alone)
            start = end
            if plain and (end := self.idle.run(chunk, start)) > start:
                out.append(self._idle(chunk[start:end]))
                start = end
        if start < len(chunk):
            self._held_bytes = 0
            out.append(self._hold(chunk[start:]))
        return b"".join(out)

    def _hold(self, chunk: bytes) -> bytes:
        self._held.append(chunk)
        self._held_bytes += len(chunk)
        if self._held_bytes <= MAX_EVENT_BYTES:
            return b""
        self._passing = True
        whole = b"".join(self._held)
        self._held.clear()
        return whole

    def _pass(self, chunk: bytes) -> bytes:
        """Hands on the rest of an event that is too long, and begins anew after it."""
        end = _BLANK_LINE.search(chunk)
        if end is None:
            return chunk
        self._passing = False
        return chunk[: end.end()] + self._take(chunk[end.end() :])


def _end(chunk: bytes, start: int, *, plain: bool) -> int:
    """Where the event ends that begins at ``start``; -1 when it is not whole.

    Args:
        chunk: events.
        start: where one begins.
        plain: whether there is no carriage return among them.
    """
    if plain:
        end = chunk.find(b"\n\n", start)
        return end + 2 if end >= 0 else -1
    found = _BLANK_LINE.search(chunk, start)
    if found is None or (found.end() == len(chunk) and chunk.endswith(b"\r")):
        return -1  # the other half of the line's end may follow
    return found.end()
