"""Server-sent events, by the rules of WHATWG (https://html.spec.whatwg.org/multipage/server-sent-events.html).

Lines end in CRLF, LF or CR; an event ends with a blank line; comments and unknown fields are ignored; several ``data``
lines are joined. Beyond the rules, because providers break them: a last event without its blank line is still
delivered, ``error: …`` is an event of that name (llama.cpp), and lines that are no fields at all are handed on as
``stray``: Gemini ends a stream that fails with a bare JSON object.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from taximeter.wire.framing import Framing, OnEvent, OnFault, check_size, raise_it
from taximeter.wire.idle import IdlePattern

_BLANK_LINE = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r)")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_FIELDS = frozenset({b"data", b"event", b"id", b"retry"})
_MAX_STRAY = 64 * 1024
_FIELD = re.compile(rb"[a-z_]{1,16}:")


class SseFraming(Framing):
    """Cuts a byte stream into events; see :class:`Framing`.

    Args:
        on_event: takes the events.
        on_stray: called at the end with the lines that were no fields, if there were any.
        idle: events that it matches are not delivered.
        on_fault: told of an event that is too large.
    """

    def __init__(
        self,
        on_event: OnEvent,
        on_stray: Callable[[bytes], None],
        idle: IdlePattern,
        on_fault: OnFault = raise_it,
    ) -> None:
        super().__init__(on_event, idle, on_fault)
        self._on_stray = on_stray
        self._searched = 0
        self._at_start = True
        self._stray: list[bytes] = []
        self._stray_bytes = 0

    def cut(self, chunk: bytes) -> None:
        if self._held or (self._at_start and chunk[:1] in (b"", b"\xef")):
            chunk = self._join(chunk)
            if not chunk:
                return
        else:
            self._at_start = False
            if chunk.endswith(b"\n\n") and chunk.find(b"\n\n") == len(chunk) - 2 and 0x0D not in chunk:
                check_size("an event", chunk)
                self._event(chunk)  # one event, as most chunks are; the pattern has been asked about it
                return
        self._cut(chunk)

    def close(self) -> bool:
        """Delivers a last event that lacks its blank line, and stray lines."""
        rest = bytes(self._held)
        self._held.clear()
        if rest:
            self._event(rest)
        if self._stray:
            self._on_stray(b"\n".join(self._stray))
            self._stray.clear()
        return True

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
            check_size("an event", held)
            return b""
        whole = bytes(held)
        held.clear()
        return whole

    def _cut(self, block: bytes) -> None:
        start = 0
        if 0x0D not in block:  # an int is found several times faster than a byte string of length one
            while (end := block.find(b"\n\n", start)) >= 0:
                self._whole(block[start : end + 2])
                start = self._idle.run(block, end + 2)
        else:
            while (found := _BLANK_LINE.search(block, start)) is not None:
                self._whole(block[start : found.end()])
                start = found.end()
        if start == len(block):
            self._searched = 0
            return
        self._held += block[start:]
        self._searched = 0 if self._held.endswith(b"\r") else len(self._held)
        check_size("an event", self._held)

    def _whole(self, raw: bytes) -> None:
        check_size("an event", raw)  # it came in one chunk
        if not self._idle.matches(raw):
            self._event(raw)

    def _event(self, raw: bytes) -> None:
        name, data = _plain(raw)
        if data is not None:
            self._on_event(name, data, raw)
        else:
            self._fields(raw)

    def _fields(self, raw: bytes) -> None:
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


def _plain(raw: bytes) -> tuple[bytes, bytes | None]:
    """Name and data of an event of one line of data, perhaps with its name in the line before: what most are."""
    size = -4 if raw.endswith(b"\r\n\r\n") else -2 if raw.endswith(b"\n\n") else 0
    if size and raw.startswith(b"data: "):
        name, data = b"", raw[6:size]
    elif size == -2 and raw.startswith(b"event: "):
        name, found, data = raw[7:size].partition(b"\ndata: ")
        if not found or 0x0A in name or 0x0D in name:
            return b"", None
    else:
        return b"", None
    return name, None if 0x0A in data or 0x0D in data else data
