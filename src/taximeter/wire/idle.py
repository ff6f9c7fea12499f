"""Recognising, without parsing it, an event that carries nothing for us.

Most events of a stream differ from the one before only in the text of one JSON string. When a format has parsed an
event and found nothing in it but such a text, :meth:`IdlePattern.learn` keeps the bytes around the text. A later event
with the very same bytes around, and in place of the text no quotation mark and no backslash, can only be the same JSON
with another text: it is counted and passed over. What may differ besides the text, the format declares
(:class:`IdleText`).

This is the hottest code of the package: a method for each kind of pattern, chosen once, with as few steps as it takes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple


class IdleText(NamedTuple):
    """Says that an event held nothing but output text, and what in it may differ from one such event to the next.

    Attributes:
        key: the JSON key of the text.
        other_key: the key of a second string that differs and means nothing: padding, a timestamp.
        numbers: numbers differ and only the last event's matter (running counts): the last one that was passed over is
            kept in :attr:`IdlePattern.last`.
        settled_by: a JSON member after which nothing in the event can matter: the type of an event that by its
            protocol holds only text.
    """

    key: bytes
    other_key: bytes | None = None
    numbers: bool = False
    settled_by: tuple[bytes, bytes] | None = None


# bytes look for an int several times faster than for a byte string of length one
_QUOTE: Final = 0x22
_BACKSLASH: Final = 0x5C
_DIGITS: Final = b"0123456789"
_STRING: Final = rb'"\s*:\s*"((?:[^"\\\x00-\x1f]++|\\.)*+)"'
_SEVERAL_LINES: Final = re.compile(rb"[\r\n]data:")
_TERMINATOR: Final = re.compile(rb"[\r\n]*$")


def _nothing(event: bytes) -> bool:  # noqa: ARG001 - a pattern that no event matches
    return False


class IdlePattern:
    """The bytes around the text of the last idle event.

    Attributes:
        matches: whether an event, given whole and with its delimiter, is idle; its text is counted if so.
        text_bytes: how many bytes of text the events that matched have held.
        last: the last event that matched although its numbers differed; ``None`` when there is none to look at.
    """

    __slots__ = (
        "_before",
        "_between",
        "_end",
        "_head",
        "_line_end",
        "_quotes",
        "_rest",
        "_start",
        "_tail",
        "last",
        "matches",
        "text_bytes",
    )

    def __init__(self) -> None:
        self.matches: Callable[[bytes], bool] = _nothing
        self.text_bytes = 0
        self.last: bytes | None = None
        self._head = b""
        self._tail = b""
        self._start = 0
        self._end = 0
        self._between = b""
        self._quotes = 0
        self._before = False
        self._line_end = 0
        self._rest = b""

    def take_last(self) -> bytes | None:
        """The value of :attr:`last`, which is then ``None``."""
        last, self.last = self.last, None
        return last

    def forget(self) -> None:
        """Matches nothing until the next :meth:`learn`: an event came after which others like the last may matter."""
        self.matches = _nothing

    def learn(self, event: bytes, idle: IdleText) -> None:
        """Takes the pattern from an idle event, given with its delimiter; keeps none if its strings are not found."""
        self.matches = _nothing
        spans = [(found.span(1), True) for found in _strings(idle.key).finditer(event)]
        if idle.other_key is not None:
            spans += [(found.span(1), False) for found in _strings(idle.other_key).finditer(event)]
        if len(spans) != (1 if idle.other_key is None else 2) or len({is_text for _, is_text in spans}) != len(spans):
            return
        spans.sort()
        (start, end), self._before = spans[0]
        if idle.settled_by is not None:
            self._learn_settled(event, start, *idle.settled_by)
        elif idle.numbers:
            if _SEVERAL_LINES.search(event):
                return  # what :meth:`take_last` gives must be JSON between its outermost braces
            self._keep(event[:start], b"")
            self._rest = event[end:].translate(None, _DIGITS)
            self.matches = self._differs_in_numbers
        else:
            last_end = spans[-1][0][1]
            self._keep(event[:start], event[last_end:])
            self._between = event[end : spans[-1][0][0]] if idle.other_key is not None else b""
            self._quotes = self._between.count(_QUOTE)
            self.matches = self._differs_in_text if idle.other_key is None else self._differs_in_two_texts

    def _learn_settled(self, event: bytes, text_start: int, key: bytes, value: bytes) -> None:
        member = re.compile(b'"' + re.escape(key) + rb'"\s*:\s*"' + re.escape(value) + b'"')
        terminator = _TERMINATOR.search(event)
        if member.search(event, 0, text_start) is not None and terminator is not None and terminator[0]:
            self._keep(event[:text_start], terminator[0])
            self._line_end = terminator[0][0]
            self.matches = self._is_settled

    def _keep(self, head: bytes, tail: bytes) -> None:
        self._head = head
        self._tail = tail
        self._start = len(head)
        self._end = -len(tail)

    def _differs_in_text(self, event: bytes) -> bool:
        if event.startswith(self._head) and event.endswith(self._tail):
            text = event[self._start : self._end]
            if _QUOTE not in text and _BACKSLASH not in text:
                self.text_bytes += len(text)
                return True
        return False

    def _differs_in_two_texts(self, event: bytes) -> bool:
        if event.startswith(self._head) and event.endswith(self._tail):
            both = event[self._start : self._end]
            at = both.find(self._between)
            # with as many quotation marks as stand between the strings, there are none in them
            if at >= 0 and both.count(_QUOTE) == self._quotes and _BACKSLASH not in both:
                self.text_bytes += at if self._before else len(both) - at - len(self._between)
                return True
        return False

    def _differs_in_numbers(self, event: bytes) -> bool:
        if event.startswith(self._head):
            end = event.find(_QUOTE, self._start)
            text = event[self._start : end]
            if event[end:].translate(None, _DIGITS) == self._rest and _BACKSLASH not in text:
                self.last = event
                self.text_bytes += len(text)
                return True
        return False

    def _is_settled(self, event: bytes) -> bool:
        # the first line end is the one that ends the data: one event, whole
        if event.startswith(self._head) and event.find(self._line_end, self._start) == len(event) + self._end:
            text = event[self._start : event.find(_QUOTE, self._start)]
            if _BACKSLASH not in text and event.endswith(self._tail):
                self.text_bytes += len(text)
                return True
        return False


_PATTERNS: dict[bytes, re.Pattern[bytes]] = {}


def _strings(key: bytes) -> re.Pattern[bytes]:
    pattern = _PATTERNS.get(key)
    if pattern is None:
        pattern = _PATTERNS[key] = re.compile(b'"' + re.escape(key) + _STRING)
    return pattern
