"""Recognising, without parsing it, an event that carries nothing for us.

Most events of a stream differ from the one before only in the text of one JSON string. When a format has parsed an
event and found nothing in it but such a text, :meth:`IdlePattern.learn` keeps the bytes around the text. A later event with the
very same bytes around, and in place of the text no quotation mark and no backslash, can only be the same JSON with
another text: it is counted and passed over.
"""

from __future__ import annotations

import re

_STRING = rb'"\s*:\s*"((?:[^"\\\x00-\x1f]++|\\.)*+)"'


class IdlePattern:
    """The bytes around the text of the last idle event.

    Some dialects change a second string in every event (a timestamp before the text, padding behind it); the bytes
    between the two are then a part of the pattern.

    Attributes:
        text_bytes: how many bytes of text the events that matched have held.
    """

    __slots__ = ("_between", "_between_quotes", "_edges", "_end", "_head", "_start", "_tail", "_text_first", "text_bytes")

    def __init__(self) -> None:
        self._head = b""
        self._tail = b""
        self._between = b""
        self._between_quotes = 0
        self._start = 0
        self._end = 0
        self._edges = 0
        self._text_first = True
        self.text_bytes = 0

    def matches(self, event: bytes) -> bool:
        """Whether ``event``, given whole and with its delimiter, is idle. Its text is counted if so."""
        if not self._edges or not event.startswith(self._head) or not event.endswith(self._tail):
            return False
        text = event[self._start : self._end]
        if len(event) < self._edges or b"\\" in text:
            return False
        if not self._between_quotes:
            if b'"' in text:
                return False
            self.text_bytes += len(text)
            return True
        first, between, second = text.partition(self._between)
        if not between or b'"' in first or b'"' in second:
            return False
        self.text_bytes += len(first) if self._text_first else len(second)
        return True

    def learn(self, event: bytes, text_key: bytes, other_key: bytes | None = None) -> None:
        """Takes the pattern from an idle event.

        Args:
            event: the event with its delimiter.
            text_key: the JSON key of the text, present once as a string.
            other_key: the key of a second string that changes from event to event.
        """
        spans = [(found.span(1), True) for found in _strings(text_key).finditer(event)]
        if other_key is not None:
            spans += [(found.span(1), False) for found in _strings(other_key).finditer(event)]
        if len(spans) != (1 if other_key is None else 2) or len({is_text for _, is_text in spans}) != len(spans):
            self._edges = 0
            return
        spans.sort()
        (first_start, first_end), self._text_first = spans[0]
        last_end = spans[-1][0][1]
        self._head = event[:first_start]
        self._tail = event[last_end:]
        self._between = event[first_end : spans[1][0][0]] if other_key is not None else b""
        self._between_quotes = self._between.count(b'"')
        self._start = first_start
        self._end = -len(self._tail)
        self._edges = len(self._head) + len(self._tail)

    def forget(self) -> None:
        """No event is idle until the next :meth:`learn`."""
        self._edges = 0


_PATTERNS: dict[bytes, re.Pattern[bytes]] = {}


def _strings(key: bytes) -> re.Pattern[bytes]:
    pattern = _PATTERNS.get(key)
    if pattern is None:
        pattern = _PATTERNS[key] = re.compile(b'"' + re.escape(key) + _STRING)
    return pattern
