"""Real recorded exchanges, read as an independent reading of them expects."""

from __future__ import annotations

import random

import pytest

from taximeter.usage import Usage
from taximeter.wire import Reader
from tests.wire.recordings import Recording, buckets, names, recording

pytestmark = pytest.mark.needs("captures")

NAMES = names() or ["none"]
EVERY_CUT_BYTES = 3_000
"""Bodies up to this size are cut at every position, larger ones at 200."""


@pytest.fixture(params=NAMES)
def one(request: pytest.FixtureRequest) -> Recording:
    """Each recording in turn."""
    return recording(request.param)


def _ambiguous(expected: dict[str, list[str]]) -> bool:
    return any("(ambiguous)" in anomaly for anomaly in expected["anomalies"])


def test_usage(one: Recording) -> None:
    """Every class of tokens is what the independent reading found."""
    if _ambiguous(one.expected):
        pytest.skip("two sources of one answer disagree; either may be right")
    reading = one.read()
    stated = reading.parts[0].usage if reading.parts else None
    if one.expected["buckets"] is None:
        # searches and seconds are no tokens: the expectation does not speak of them
        assert stated is None or not any(unit.endswith("_tokens") for unit in stated)
    else:
        assert stated is not None
        assert buckets(stated) == one.expected["buckets"]


def test_extra_parts(one: Recording) -> None:
    """What is billed beside the top-level usage stands beside it, at its own model."""
    found = [(part.model, part.billed, buckets(part.usage or Usage())) for part in one.read().parts[1:]]
    assert found == [(part["model"], part["billed"], part["buckets"]) for part in one.expected["extra_parts"]]


def test_model_and_tools(one: Recording) -> None:
    """The model that served, and the tools that it called."""
    reading = one.read()
    assert reading.response_model == one.expected["response_model"]
    assert sorted(tool.name for tool in reading.tool_calls) == sorted(one.expected["tool_calls"])
    if one.expected["request_model"] is not None:
        assert one.capture.request_model == one.expected["request_model"]


def test_anomalies_are_flagged(one: Recording) -> None:
    """What does not fit together is named, and nothing else is."""
    assert bool(one.read().contradictions) == bool(one.expected["anomalies"])


def test_ending(one: Recording) -> None:
    """Whether a stream ended as it must, and whether the provider said that something was wrong."""
    reading = one.read()
    assert (reading.error is None) == (one.expected["error"] is None)
    assert reading.fault is None
    if one.capture.route.api != "anthropic.complete":  # the expectation does not say; it ends with its stop reason
        assert reading.complete == one.expected["complete"]


def test_any_cut_gives_the_same(one: Recording) -> None:
    """Cut in two at any byte, the answer is the same."""
    whole = one.read()
    size = len(one.capture.body)
    places = range(1, size)
    if size > EVERY_CUT_BYTES:
        places = sorted(random.Random(one.capture.id).sample(places, 200))
    for place in places:
        assert one.read(cuts=(place,)) == whole, place


def test_byte_by_byte_gives_the_same(one: Recording) -> None:
    """Fed one byte at a time, the answer is the same."""
    assert one.read(cuts=tuple(range(1, len(one.capture.body)))) == one.read()


def test_many_cuts_give_the_same(one: Recording) -> None:
    """Cut into many random pieces, the answer is the same."""
    dice = random.Random(one.capture.id)
    whole = one.read()
    for _ in range(5):
        cuts = sorted(dice.sample(range(len(one.capture.body) + 1), min(20, len(one.capture.body))))
        assert one.read(cuts=tuple(cuts)) == whole, cuts


def test_asking_on_the_way_changes_nothing(one: Recording) -> None:
    """What a stream has said so far may be asked at any point; at its end it is what the reading says."""
    whole = one.read()
    reader = Reader(one.capture.route, status=one.capture.status, headers=one.capture.headers)
    body = one.capture.body
    step = max(1, len(body) // 40)
    for start in range(0, len(body), step):
        reader.feed(body[start : start + step])
        reader.so_far()
    last = reader.so_far()
    assert reader.close() == whole
    if last is not None and whole.complete:
        assert (last.usage, last.parts, last.tool_calls) == (whole.usage, whole.parts, whole.tool_calls)
        assert last.usage_source == whole.usage_source
