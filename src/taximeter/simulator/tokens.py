"""The simulator's token rule, and texts that are made to measure by it.

A token is four bytes of UTF-8, rounded up; a message costs three more; a picture, sound or file is worth 85. The rule
is the simulator's own: what it states as usage follows from it alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

BYTES_PER_TOKEN: Final = 4
MESSAGE_TOKENS: Final = 3
"""What a message costs beside its text."""
MEDIA_TOKENS: Final = 85
"""What a picture, a sound or a file within a message costs."""

# Some are not ASCII, so that a stream that is cut anywhere is cut within characters too.
_TEXT: Final = """
amber anchor apple arch autumn bay beacon birch bridge brook candle canyon cedar château chestnut cliff cloud clover
coast copper coral crow dawn dune ember falcon fern fjörd forest garden glacier granite harbour hazel heron hill iris
island ivory jasmine juniper lantern larch lichen maple marble meadow mist moss naïve olive orchard pebble pine plateau
quarry rain reed ridge river 🌲 señor slate snow
"""
_WORDS: Final = tuple(_TEXT.split())
_MASK: Final = 63


def tokens(text: str) -> int:
    """How many tokens a text is."""
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return -(-size // BYTES_PER_TOKEN)


def _words(seed: bytes) -> Iterator[str]:
    block = seed
    while True:
        block = hashlib.sha256(block + seed).digest()
        for each in block:
            yield _WORDS[each & _MASK]


def passage(seed: bytes, size_tokens: int) -> tuple[str, ...]:
    """A text of exactly this many tokens, in the pieces that a stream sends: the same seed, the same text."""
    left = size_tokens * BYTES_PER_TOKEN
    pieces: list[str] = []
    for word in _words(seed):
        piece = word + " "
        size = len(piece.encode())
        if size >= left:
            # Less than a character may be left over; the tokens are rounded up, so their number stays.
            last = piece.encode()[:left].decode("utf-8", "ignore")
            return (*pieces, last) if last else tuple(pieces)
        pieces.append(piece)
        left -= size
    return ()  # words never end
