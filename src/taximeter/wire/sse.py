"""Server-sent events, by the rules of WHATWG (https://html.spec.whatwg.org/multipage/server-sent-events.html).

Lines end in CRLF, LF or CR; an event ends with a blank line; comments and unknown fields are ignored; several ``data``
lines are joined. Beyond the rules, because providers break them: a last event without its blank line is still
delivered, ``error: …`` is an event of that name (llama.cpp), and lines that are no fields at all are handed on as
``stray``: Gemini ends a stream that fails with a bare JSON object.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from taximeter.errors import WireError
from taximeter.wire.idle import IdlePattern

MAX_EVENT_BYTES: Final = 64 * 1024 * 1024
"""The largest event that is held: a picture in base64 fits; what is larger is refused."""

_BLANK_LINE = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r)")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_FIELDS = frozenset({b"data", b"event", b"id", b"retry"})
_MAX_STRAY = 64 * 1024
_FIELD = re.compile(rb"[a-z_]{1,16}:")


class SseFraming:
    """Cuts a byte stream into events.

    Args:
        on_event: called with the event's name (empty if none), its data, and all its bytes with the delimiter.
        on_stray: called at the end with the lines that were no fields, if there were any.
        idle: events that it matches are not delivered.
    """

    def __init__(
        self, on_event: Callable[[bytes, bytes, bytes], None], on_stray: Callable[[bytes], None], idle: IdlePattern
    ) -> None:
        self._on_event = on_event
        self._on_stray = on_stray
        self._idle = idle
        self._held = bytearray()
        self._searched = 0
        self._at_start = True
        self._stray: list[bytes] = []
        self._stray_bytes = 0

    def feed(self, chunk: bytes) -> None:
        """Takes the next bytes, cut anywhere.

        Raises:
            WireError: for an event of more than :data:`MAX_EVENT_BYTES`.
        """
        if not self._held and self._idle.matches(chunk):
            return
        if self._held or self._at_start:
            chunk = self._join(chunk)
            if not chunk:
                return
        self._cut(chunk)

    def close(self) -> None:
        """Delivers what is left: a last event that lacks its blank line, and stray lines."""
        rest = bytes(self._held)
        self._held.clear()
        if rest:
            self._event(rest)
        if self._stray:
            self._on_stray(b"\n".join(self._stray))
            self._stray.clear()

    def _join(self, chunk: bytes) -> bytes:
        """All bytes since the start of the open event, if an event may end in ``chunk``; else empty, and holds them."""
        held = self._held
        held += chunk
        if self._at_start:
            if len(held) < 3 and b"\xef\xbb\xbf".startswith(held):
                return b""
            if held.startswith(b"\xef\xbb\xbf"):
                del held[:3]
            self._at_start = False
        if _BLANK_LINE.search(held, max(0, self._searched - 3)) is None:
            self._searched = len(held)
            _check_size(held)
            return b""
        whole = bytes(held)
        held.clear()
        return whole

    def _cut(self, block: bytes) -> None:
        start = 0
        if 0x0D not in block:  # an int is found several times faster than a byte string of length one
            while (end := block.find(b"\n\n", start)) >= 0:
                self._whole(block[start : end + 2])
                start = end + 2
        else:
            while (found := _BLANK_LINE.search(block, start)) is not None:
                self._whole(block[start : found.end()])
                start = found.end()
        self._held += block[start:]
        self._searched = 0 if self._held.endswith(b"\r") else len(self._held)
        _check_size(self._held)

    def _whole(self, raw: bytes) -> None:
        _check_size(raw)  # it came in one chunk
        if not self._idle.matches(raw):
            self._event(raw)

    def _event(self, raw: bytes) -> None:
        if raw.startswith(b"data: ") and raw.endswith(b"\n\n") and raw.find(b"\n") == len(raw) - 2 and 0x0D not in raw:
            self._on_event(b"", raw[6:-2], raw)
            return
        name = b""
        data: list[bytes] = []
        for line in _LINE_END.split(raw):
            field, colon, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"data":
                data.append(value)
            elif field == b"event":
                name = value
            elif field == b"error" and colon:
                self._on_event(b"error", value, raw)
            elif line and field not in _FIELDS and (field or not colon):
                self._set_aside(line)
        if data:
            self._on_event(name, b"\n".join(data), raw)

    def _set_aside(self, line: bytes) -> None:
        if self._stray_bytes + len(line) <= _MAX_STRAY and not _FIELD.match(line):
            self._stray.append(line)
            self._stray_bytes += len(line)


def _check_size(event: bytes | bytearray) -> None:
    if len(event) > MAX_EVENT_BYTES:
        msg = f"an event of more than {MAX_EVENT_BYTES} bytes"
        raise WireError(msg)
