"""The recorded exchanges that may lie beside the repository, and how their expectations compare with a reading."""

from __future__ import annotations

import json
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from taximeter.importers.captures import Capture, load
from taximeter.usage import Count, Usage
from taximeter.wire import Reader, Reading

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "captures"


class Recording(NamedTuple):
    """One exchange with what an independent reading of it found."""

    capture: Capture
    expected: dict[str, Any]

    def read(self, *, cuts: tuple[int, ...] = ()) -> Reading:
        """The reading, its body cut at the given positions."""
        reader = Reader(self.capture.route, status=self.capture.status, headers=self.capture.headers)
        edges = (0, *cuts, len(self.capture.body))
        for start, end in pairwise(edges):
            reader.feed(self.capture.body[start:end])
        return reader.close()


def names() -> list[str]:
    """The recordings, by folder below the root; none where they are not there."""
    index = FOLDER / "index.txt"
    return index.read_text().split() if index.is_file() else []


@cache
def recording(name: str) -> Recording:
    """One of them, by name."""
    return Recording(load(FOLDER / name), json.loads((FOLDER / name / "expected.json").read_bytes()))


def buckets(usage: Usage) -> dict[str, Count]:
    """A usage as disjoint counts, absent written as 0: what is cached is not counted again as sound or picture."""
    count = {unit: usage.get(unit, 0) for unit in _UNITS}
    read, written = count["cache_read_tokens"], count["cache_write_tokens"]
    short, long = count["cache_write_5m_tokens"], count["cache_write_1h_tokens"]
    sound = count["input_audio_tokens"] - count["cache_audio_read_tokens"]
    picture = count["input_image_tokens"] - count["cache_image_read_tokens"]
    reasoning = count["output_reasoning_tokens"]
    sound_out, picture_out = count["output_audio_tokens"], count["output_image_tokens"]
    return {
        "input_uncached": count["input_tokens"] - read - written - sound - picture,
        "cache_read": read,
        "cache_write": written,
        "cache_write_5m": short,
        "cache_write_1h": long,
        "cache_write_unsplit": written - short - long,
        "audio_in": sound,
        "image_in": picture,
        "output_text": count["output_tokens"] - reasoning - sound_out - picture_out,
        "reasoning": reasoning,
        "audio_out": sound_out,
        "image_out": picture_out,
    }


_UNITS = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "input_audio_tokens",
    "input_image_tokens",
    "cache_audio_read_tokens",
    "cache_image_read_tokens",
    "output_reasoning_tokens",
    "output_audio_tokens",
    "output_image_tokens",
)
