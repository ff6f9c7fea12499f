"""Keeping what was said in a call, for those who turned that on: bounded, and fit to be stored."""

from __future__ import annotations

from typing import Final, Literal

Keep = Literal["none", "tool_arguments", "full"]
"""What is kept of an answer: nothing; what tools are called with; that and the text."""

MAX_CHARACTERS: Final = 256 * 1024
"""The longest text that is kept whole."""

CUT: Final = "…[cut]"
"""What a text ends with that was longer."""

_BETWEEN_CHOICES = "\n\n"


class KeptText:
    """A text that comes in pieces."""

    __slots__ = ("_length", "_pieces")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._length = 0

    def add(self, piece: str) -> None:
        """Takes the next piece."""
        if piece and self._length <= MAX_CHARACTERS:
            # one character too many is kept, so that the end knows that there was more
            self._pieces.append(piece[: MAX_CHARACTERS + 1 - self._length])
            self._length += len(piece)

    def __str__(self) -> str:
        """The text."""
        return bounded("".join(self._pieces))


class KeptAnswer:
    """The text of an answer, which may come as several choices, a piece of each in turn."""

    def __init__(self) -> None:
        self._choices: dict[object, KeptText] = {}
        self._length = 0

    def add(self, piece: str, choice: object) -> None:
        """Takes the next piece of a choice."""
        if not piece or self._length > MAX_CHARACTERS:
            return
        self._length += len(piece)
        try:
            kept = self._choices.get(choice)
        except TypeError:  # an index that is an array
            choice, kept = None, self._choices.get(None)
        if kept is None:
            kept = self._choices[choice] = KeptText()
        kept.add(piece)

    def __bool__(self) -> bool:
        """Whether there is any text."""
        return bool(self._choices)

    def __str__(self) -> str:
        """The text: choices in the order in which they began, a blank line between them."""
        return bounded(_BETWEEN_CHOICES.join(map(str, self._choices.values())))


def bounded(text: str) -> str:
    """The text as it is kept: cut if it is too long, and fit for UTF-8."""
    return _storable(text if len(text) <= MAX_CHARACTERS else text[:MAX_CHARACTERS] + CUT)


def _storable(text: str) -> str:
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:  # an emoji in two pieces, which are joined here; or half of one, which means nothing
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
