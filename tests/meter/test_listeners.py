"""Listeners and running totals."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import pytest

from taximeter.event import CallEvent, Cost, Part, Scope
from taximeter.meter.listeners import Listeners
from taximeter.meter.tallies import OTHERS, Totals
from taximeter.money import Money
from taximeter.usage import Usage


def test_a_listener_that_raises_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """It is counted and logged, and the next one is told all the same."""
    listeners = Listeners()
    told: list[object] = []

    def broken(what: object) -> None:
        raise RuntimeError(what)

    listeners.on("cost", broken)
    off = listeners.on("cost", told.append)
    with caplog.at_level(logging.ERROR):
        listeners.tell("cost", 1)
    off()
    listeners.tell("cost", 2)
    assert told == [1]
    assert listeners.failures == 2
    assert "a listener to cost raised" in caplog.text


def test_unknown_names_are_refused() -> None:
    """With the names that there are."""
    with pytest.raises(ValueError, match="there are call_opened, first_token"):
        Listeners().on("costs", print)


def event(provider: str, model: str, cost: int | None, parts: tuple[Part, ...] = ()) -> CallEvent:
    """A call of ten tokens."""
    return CallEvent(
        id="x",
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        provider=provider,
        api="a",
        outcome="completed",
        scope=Scope(project="p"),
        response_model=model,
        usage=Usage(input_tokens=10),
        cost=None if cost is None else Money(cost),
        parts=parts,
    )


def test_totals() -> None:
    """By provider whole calls, by model each part at its own."""
    totals = Totals()
    totals.add(event("openai", "gpt", 5))
    totals.add(event("openai", "gpt", None))
    advisor = Part(model="opus", usage=Usage(input_tokens=3), kind="advisor_message", cost=Cost(total=Money(2)))
    main = Part(model="sonnet", usage=Usage(input_tokens=7), cost=Cost(total=Money(1)))
    totals.add(event("anthropic", "sonnet", 3, (main, advisor)))
    by_provider = totals.by("provider")
    assert {key: (tally.calls, tally.known_cost, tally.unpriced_calls) for key, tally in by_provider.items()} == {
        "openai": (2, Money(5), 1),
        "anthropic": (1, Money(3), 0),
    }
    by_model = totals.by("model")
    assert {key: (tally.usage["input_tokens"], tally.known_cost) for key, tally in by_model.items()} == {
        "gpt": (20, Money(5)),
        "sonnet": (7, Money(1)),
        "opus": (3, Money(2)),
    }
    with pytest.raises(ValueError, match="no totals by 'colour'"):
        totals.by("colour")


def test_drain_reports_each_call_once() -> None:
    """What has come since the last drain by the same dimension; the totals go on."""
    totals = Totals()
    totals.add(event("a", "m", 1))
    assert totals.by("provider", drain=True)["a"].calls == 1
    assert totals.by("provider", drain=True) == {}
    totals.add(event("a", "m", 2))
    (drained,) = totals.by("provider", drain=True).values()
    assert (drained.calls, drained.known_cost, drained.usage) == (1, Money(2), Usage(input_tokens=10))
    assert totals.by("provider")["a"].calls == 2
    assert totals.by("model", drain=True)["m"].calls == 2


def test_keys_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes after the bound is counted together."""
    monkeypatch.setattr("taximeter.meter.tallies._MOST_CELLS", 3)
    totals = Totals()
    for number in range(10):
        totals.add(event(f"p{number}", "m", 1))
    by_provider = totals.by("provider")
    assert len(by_provider) == 4
    assert by_provider[OTHERS].calls == 7
