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
from functools import lru_cache
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


UNUSUAL: Final = IdleText(b"")
"""Said of an event in which there may be more than its reader looks for."""

# bytes look for an int several times faster than for a byte string of length one
_QUOTE: Final = 0x22
_BACKSLASH: Final = 0x5C
_BLANK: Final = b"\n\n"
_FIRST_WINDOW: Final = 2 * 1024
_WINDOW: Final = 32 * 1024
"""How far ahead a run of events is looked for at once, and at most: in a mixed stream looking farther would not pay."""
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

    # what a pattern consists of, set when it is learnt
    _head: bytes
    _tail: bytes
    _start: int
    _in_head: slice
    _in_tail: slice
    _in_event: slice
    _inside: slice
    _between: bytes
    _before: bool
    _line_end: int
    _rest: bytes
    _seam: bytes

    __slots__ = (
        "_before",
        "_between",
        "_head",
        "_in_event",
        "_in_head",
        "_in_tail",
        "_inside",
        "_line_end",
        "_rest",
        "_seam",
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
        self._seam = b""

    def take_last(self) -> bytes | None:
        """The value of :attr:`last`, which is then ``None``."""
        last, self.last = self.last, None
        return last

    def forget(self) -> None:
        """Matches nothing until the next :meth:`learn`: an event came after which others like the last may matter."""
        self.matches = _nothing
        self._seam = b""

    def run(self, block: bytes, start: int) -> int:
        """Where the idle events end that follow one another from ``start`` on; their texts are counted.

        Args:
            block: events that end in two line feeds, without carriage returns.
            start: where one of them begins.
        """
        seam, tail = self._seam, self._tail[: -len(_BLANK)] if self._seam else b""
        window = _FIRST_WINDOW
        while seam and block.startswith(self._head, start):
            events = block[start : start + window].split(_BLANK)[:-1]
            while events and not (events[-1].endswith(tail) and events[-1].startswith(self._head)):
                events.pop()  # as the last events of a stream are others
            texts = [event[self._in_event] for event in events]
            again = b"".join((self._head, seam.join(texts), self._tail))
            text = b"".join(texts)
            if not events or _QUOTE in text or _BACKSLASH in text or not block.startswith(again, start):
                for event in events:  # an odd one is among them
                    if not self.matches(event + _BLANK):
                        break
                    start += len(event) + len(_BLANK)
                break
            self.text_bytes += len(text)
            start += len(again)
            window = min(2 * window, _WINDOW)
        return start

    def learn(self, event: bytes, idle: IdleText) -> None:
        """Takes the pattern from an idle event, given with its delimiter; keeps none if its strings are not found."""
        self.forget()
        text = _only(idle.key, event)
        if text is None:
            return
        start, end = text
        if idle.settled_by is not None:
            self._learn_settled(event, start, *idle.settled_by)
        elif idle.numbers:
            if _SEVERAL_LINES.search(event):
                return  # what :meth:`take_last` gives must be JSON between its outermost braces
            self._keep(event[:start], b"")
            self._rest = event[end:].translate(None, _DIGITS)
            self.matches = self._differs_in_numbers
        elif idle.other_key is None:
            self._keep(event[:start], event[end:])
            if event.endswith(b"}\n\n"):
                self._seam = event[end:] + event[:start]
                self._in_event = slice(start, end - len(event) + len(_BLANK))
            self.matches = self._differs_in_text
        elif (other := _only(idle.other_key, event)) is not None:
            first, second = sorted((text, other))
            self._before = text < other
            self._keep(event[: first[0]], event[second[1] :])
            self._between = event[first[1] : second[0]]
            self.matches = self._differs_in_two_texts

    def _learn_settled(self, event: bytes, text_start: int, key: bytes, value: bytes) -> None:
        member = _member(key, value)
        terminator = _TERMINATOR.search(event)
        if member.search(event, 0, text_start) is not None and terminator is not None and terminator[0]:
            self._keep(event[:text_start], terminator[0])
            self._line_end = terminator[0][0]
            self.matches = self._is_settled

    def _keep(self, head: bytes, tail: bytes) -> None:
        self._head = head
        self._tail = tail
        self._start = len(head)
        # slices made once: comparing what they cut out is the fastest way to look at both ends
        self._in_head = slice(len(head))
        self._in_tail = slice(-len(tail), None)
        self._inside = slice(len(head), -len(tail))

    def _differs_in_text(self, event: bytes) -> bool:
        if event[self._in_head] == self._head and event[self._in_tail] == self._tail:
            text = event[self._inside]
            if _QUOTE not in text and _BACKSLASH not in text and (text or self._is_long_enough(event)):
                self.text_bytes += len(text)
                return True
        return False

    def _is_long_enough(self, event: bytes) -> bool:
        """Whether head and tail do not overlap, as they can where no text is between them."""
        return len(event) >= len(self._head) + len(self._tail)

    def _differs_in_two_texts(self, event: bytes) -> bool:
        if event[self._in_head] == self._head and event[self._in_tail] == self._tail:
            both = event[self._inside]
            first, between, second = both.partition(self._between)
            if between and _QUOTE not in first and _QUOTE not in second and _BACKSLASH not in both:
                self.text_bytes += len(first) if self._before else len(second)
                return True
        return False

    def _differs_in_numbers(self, event: bytes) -> bool:
        if event[self._in_head] == self._head:
            end = event.find(_QUOTE, self._start)
            text = event[self._start : end]
            if event[end:].translate(None, _DIGITS) == self._rest and _BACKSLASH not in text:
                self.last = event
                self.text_bytes += len(text)
                return True
        return False

    def _is_settled(self, event: bytes) -> bool:
        if event[self._in_head] == self._head and event[self._in_tail] == self._tail:
            end = event.find(_QUOTE, self._start)
            text = event[self._start : end]
            # the only line end is the one that ends the data: one event, whole
            if end > 0 and _BACKSLASH not in text and self._line_end not in event[self._inside]:
                self.text_bytes += len(text)
                return True
        return False


@lru_cache(maxsize=256)
def _member(key: bytes, value: bytes) -> re.Pattern[bytes]:
    return re.compile(b'"' + re.escape(key) + rb'"\s*:\s*"' + re.escape(value) + b'"')


@lru_cache(maxsize=256)
def _string(key: bytes) -> re.Pattern[bytes]:
    return re.compile(b'"' + re.escape(key) + _STRING)


def _only(key: bytes, event: bytes) -> tuple[int, int] | None:
    """Where the one string under this key is; ``None`` if there is none, or another."""
    pattern = _string(key)
    found = pattern.search(event)
    if found is None or pattern.search(event, found.end()) is not None:
        return None
    return found.span(1)
