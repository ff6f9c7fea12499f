"""One JSON value a line, and one JSON array whose elements come one by one."""

from __future__ import annotations

import re
from typing import cast

from taximeter.wire.framing import Framing, OnEvent, OnFault, check_size, raise_it
from taximeter.wire.idle import IdlePattern


class NdjsonFraming(Framing):
    """Cuts a byte stream into lines."""

    def cut(self, chunk: bytes) -> None:
        end = chunk.rfind(b"\n") + 1
        if end:
            lines = bytes(self._held) + chunk[:end] if self._held else chunk[:end]
            self._held.clear()
            start = 0
            while start < len(lines):
                stop = lines.index(b"\n", start) + 1
                line = lines[start:stop]
                check_size("a line", line)
                if not self._idle.matches(line) and (data := line.strip()):
                    self._on_event(b"", data, line)
                start = stop
        self._held += chunk[end:]
        check_size("a line", self._held)

    def close(self) -> bool:
        """Delivers a last line that lacks its end."""
        if data := bytes(self._held).strip():
            self._on_event(b"", data, data)
        self._held.clear()
        return True


class JsonArrayFraming(Framing):
    r"""Cuts ``[{…},\n{…}]`` into its elements as they arrive (Gemini's stream without ``alt=sse``)."""

    def __init__(self, on_event: OnEvent, idle: IdlePattern, on_fault: OnFault = raise_it) -> None:
        super().__init__(on_event, idle, on_fault)
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self.closed = False
        """Whether the array's closing bracket has come."""

    def feed(self, chunk: bytes) -> None:
        if self._held or self._depth != 1 or not self._idle.matches(chunk):
            self.take(chunk)

    def cut(self, chunk: bytes) -> None:
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
        check_size("an element", self._held)

    def _whole(self, element: bytes) -> None:
        check_size("an element", element)
        if not self._idle.matches(element):
            self._on_event(b"", element.lstrip(b", \r\n\t"), element)

    def close(self) -> bool:
        """Forgets an element that was cut."""
        self._held.clear()
        return True

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
