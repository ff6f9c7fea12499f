"""One JSON value a line, and one JSON array whose elements come one by one."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import cast

from taximeter.errors import WireError
from taximeter.wire.idle import IdlePattern
from taximeter.wire.sse import MAX_EVENT_BYTES


class NdjsonFraming:
    """Cuts a byte stream into lines; see :class:`taximeter.wire.sse.SseFraming` for the arguments."""

    def __init__(self, on_event: Callable[[bytes, bytes, bytes], None], idle: IdlePattern) -> None:
        self._on_event = on_event
        self._idle = idle
        self._held = bytearray()

    def feed(self, chunk: bytes) -> None:
        """Takes the next bytes, cut anywhere.

        Raises:
            WireError: for a line of more than :data:`~taximeter.wire.sse.MAX_EVENT_BYTES`.
        """
        if not self._held and self._idle.matches(chunk):
            return
        end = chunk.rfind(b"\n") + 1
        if end:
            lines = bytes(self._held) + chunk[:end] if self._held else chunk[:end]
            self._held.clear()
            start = 0
            while start < len(lines):
                stop = lines.index(b"\n", start) + 1
                line = lines[start:stop]
                _check_size("a line", line)
                if not self._idle.matches(line) and (data := line.strip()):
                    self._on_event(b"", data, line)
                start = stop
        self._held += chunk[end:]
        _check_size("a line", self._held)

    def close(self) -> None:
        """Delivers a last line that lacks its end."""
        if data := bytes(self._held).strip():
            self._on_event(b"", data, data)
        self._held.clear()


def _check_size(what: str, data: bytes | bytearray) -> None:
    if len(data) > MAX_EVENT_BYTES:
        msg = f"{what} of more than {MAX_EVENT_BYTES} bytes"
        raise WireError(msg)


class JsonArrayFraming:
    r"""Cuts ``[{…},\n{…}]`` into its elements as they arrive (Gemini's stream without ``alt=sse``)."""

    def __init__(self, on_event: Callable[[bytes, bytes, bytes], None], idle: IdlePattern) -> None:
        self._on_event = on_event
        self._idle = idle
        self._held = bytearray()
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self.closed = False
        """Whether the array's closing bracket has come."""

    def feed(self, chunk: bytes) -> None:
        """Takes the next bytes, cut anywhere.

        Raises:
            WireError: for an element of more than :data:`~taximeter.wire.sse.MAX_EVENT_BYTES`.
        """
        if self._depth == 1 and not self._held and self._idle.matches(chunk):
            return
        start = 0
        for token in _TOKEN.finditer(chunk, self._string_end(chunk)):
            sign = token[0]
            if sign in b"{[":
                self._depth += 1
                if self._depth == 1:
                    start = token.end()
            elif sign in b"}]":
                self._depth -= 1
                self.closed = self.closed or self._depth == 0
                if self._depth == 1:
                    element = bytes(self._held) + chunk[start : token.end()]
                    self._held.clear()
                    start = token.end()
                    self._whole(element)
            elif token["end"] != b'"':
                self._in_string = True
                self._escaped = token["end"] == b"\\"
        self._held += chunk[start:]
        _check_size("an element", self._held)

    def _whole(self, element: bytes) -> None:
        _check_size("an element", element)
        if not self._idle.matches(element):
            self._on_event(b"", element.lstrip(b", \r\n\t"), element)

    def close(self) -> None:
        """Forgets an element that was cut."""
        self._held.clear()

    def _string_end(self, chunk: bytes) -> int:
        """Where the string that an earlier chunk left open ends; the chunk's length if it goes on."""
        if not self._in_string or not chunk:
            return 0
        rest = cast("re.Match[bytes]", _STRING_REST.match(chunk, int(self._escaped)))
        end = rest.end()
        self._in_string = not chunk.startswith(b'"', end)
        self._escaped = self._in_string and chunk.endswith(b"\\") and end == len(chunk) - 1
        return len(chunk) if self._in_string else end + 1


_STRING_REST = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+(?P<end>"|\\?\Z)|[{}\[\]]', re.DOTALL)
