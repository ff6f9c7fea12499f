"""Records in a file that ends anywhere and is damaged anywhere."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given

from taximeter.journal import frames
from taximeter.journal.frames import CLOSED, MARKER, OPENED, Damage, Record, frame, scan

Scan = Callable[[bytes], list[Record | Damage]]


def _scan(data: bytes) -> list[Record | Damage]:
    descriptor = os.memfd_create("journal")
    try:
        os.write(descriptor, data)
        return list(scan(descriptor, 0, len(data)))
    finally:
        os.close(descriptor)


def _payloads(data: bytes) -> list[bytes]:
    return [item.payload for item in _scan(data) if isinstance(item, Record)]


THREE = [frame(OPENED, b"first"), frame(CLOSED, b"second record"), frame(CLOSED, b"")]


def test_frames_are_found_with_their_ends() -> None:
    """Records come in order, each with the offset at which the next one starts."""
    ends = [len(b"".join(THREE[: count + 1])) for count in range(3)]
    assert _scan(b"".join(THREE)) == [
        Record(OPENED, b"first", ends[0]),
        Record(CLOSED, b"second record", ends[1]),
        Record(CLOSED, b"", ends[2]),
    ]


def test_cut_anywhere() -> None:
    """A file cut after any byte gives the records before the cut, and names what is left of the one that was cut."""
    whole = b"".join(THREE)
    starts = [0, len(THREE[0]), len(THREE[0]) + len(THREE[1]), len(whole)]
    for cut in range(len(whole) + 1):
        kept = max(number for number, start in enumerate(starts) if start <= cut)
        found = _scan(whole[:cut])
        assert [item.payload for item in found if isinstance(item, Record)] == [b"first", b"second record", b""][:kept]
        assert found[kept:] == ([] if cut == starts[kept] else [Damage(starts[kept], cut)])


def test_any_byte_damaged() -> None:
    """A byte changed anywhere costs the record that it is in, and no other."""
    whole = b"".join(THREE)
    owner = [number for number, one in enumerate(THREE) for _ in one]
    for place in range(len(whole)):
        damaged = whole[:place] + bytes([whole[place] ^ 0x40]) + whole[place + 1 :]
        rest = [payload for number, payload in enumerate([b"first", b"second record", b""]) if number != owner[place]]
        assert _payloads(damaged) == rest


@given(st.lists(st.binary(max_size=60)), st.binary(max_size=200), st.integers(0, 20))
def test_garbage_between_records(payloads: list[bytes], garbage: bytes, place: int) -> None:
    """Whatever stands between two records, both are found."""
    place = min(place, len(payloads))
    written = [frame(CLOSED, payload) for payload in payloads]
    data = b"".join(written[:place]) + garbage + b"".join(written[place:])
    assert _payloads(data) == payloads


@pytest.mark.parametrize("shift", range(-20, 21))
def test_a_marker_across_the_border_of_two_blocks(shift: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """After damage the next record is found wherever it lies in the blocks that are read."""
    monkeypatch.setattr(frames, "_BLOCK", 64)
    garbage = b"\x00" * (128 + shift)
    assert _payloads(garbage + b"".join(THREE)) == [b"first", b"second record", b""]


def test_a_length_that_lies() -> None:
    """A length beyond the end, beyond all reason or of nothing is damage, and what follows is found."""
    for length in (0, 1_000, frames.MAX_BYTES + 1, 2**32 - 1):
        lying = MARKER + length.to_bytes(4, "big") + b"\x00" * 4
        assert _payloads(lying + THREE[1]) == [b"second record"]


def test_a_large_record(tmp_path: Path) -> None:
    """A record larger than the blocks in which files are read comes back whole."""
    payload = bytes(range(256)) * 8_000
    path = tmp_path / "file"
    path.write_bytes(THREE[0] + frame(CLOSED, payload) + THREE[1])
    descriptor = os.open(path, os.O_RDONLY)
    try:
        found = [item.payload for item in scan(descriptor, 0, path.stat().st_size) if isinstance(item, Record)]
    finally:
        os.close(descriptor)
    assert found == [b"first", payload, b"second record"]
