"""Scopes, turns and sessions: carried into tasks and threads, adding up exactly."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal

from taximeter.event import CallEvent
from taximeter.meter.scope import carry, current_scope, current_turn, scope, session, turn
from taximeter.money import Money
from taximeter.usage import Usage


def call(usage: Usage | None, cost: str | None) -> CallEvent:
    """A call that used and cost so much."""
    return CallEvent(
        id="x",
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        provider="p",
        api="a",
        outcome="completed",
        usage=usage,
        cost=None if cost is None else Money.usd(cost),
    )


def test_scopes_nest() -> None:
    """What is not said is inherited, tags are added, and nothing is left behind."""
    with scope(project="shop", user="u", tags={"team": "web", "tier": "gold"}):
        with scope(operation="chat", tags={"team": "app"}) as inner:
            assert (inner.project, inner.user, inner.operation) == ("shop", "u", "chat")
            assert dict(inner.tags) == {"team": "app", "tier": "gold"}
            assert current_scope() == inner
        assert current_scope().operation is None
    assert current_scope().project is None


def test_tasks_inherit_and_do_not_leak() -> None:
    """A task has the scope of whoever started it; its own goes no further."""

    async def main() -> tuple[str | None, str | None, str | None]:
        async def inside() -> str | None:
            before = current_scope().project
            with scope(project="task"):
                await asyncio.sleep(0)
            return before

        with scope(project="main"):
            seen = await asyncio.gather(inside(), inside())
            return (*seen, current_scope().project)

    assert asyncio.run(main()) == ("main", "main", "main")


def test_threads_inherit_through_carry() -> None:
    """A bare thread knows no scope; a carried function does, many at once."""
    seen: list[str | None] = []
    with scope(project="shop"), turn("t-1"):
        bare = threading.Thread(target=lambda: seen.append(current_scope().project))
        work = carry(lambda number: (current_scope().project, current_scope().turn, number))
        bare.start()
        bare.join()
        with ThreadPoolExecutor(4) as pool:
            carried = list(pool.map(work, range(50)))
    assert seen == [None]
    assert carried == [("shop", "t-1", number) for number in range(50)]


def test_a_turn_adds_up() -> None:
    """Over all calls inside; without a price for one of them the cost is not known, and says how much is."""
    with turn() as one:
        one.add(call(Usage(input_tokens=10, output_tokens=5), "0.001"))
        one.add(call(Usage(input_tokens=7), "0.0000000001"))
        assert (one.calls, one.number) == (2, 1)
        assert one.usage == Usage(input_tokens=17, output_tokens=5)
        assert one.cost_usd == Decimal("0.0010000001")
        assert current_turn() is one
        one.add(call(None, None))
        assert one.cost_usd is None
        assert one.known_cost == Money.usd("0.0010000001")
        assert (one.unpriced_calls, one.unknown_usage_calls) == (1, 1)
    assert current_turn() is None


def test_a_session_adds_up_its_turns() -> None:
    """With averages per turn; it can be picked up again."""
    with session("s-1") as talk:
        for tokens in (10, 20):
            with turn() as one:
                assert current_scope().session == "s-1"
                one.add(call(Usage(input_tokens=tokens), "0.5"))
    with session(talk), turn() as third:
        third.add(call(Usage(input_tokens=0), "0.5"))
    assert third.number == 3
    assert (talk.turns, talk.calls) == (3, 3)
    assert talk.average("input_tokens") == Decimal(10)
    assert talk.average("output_tokens") is None
    assert talk.average_cost_usd == Decimal("0.5")


def test_adding_from_many_threads() -> None:
    """No call is lost."""
    with turn() as one, ThreadPoolExecutor(8) as pool:
        for _ in range(2000):
            pool.submit(one.add, call(Usage(input_tokens=1), "0.000000000001"))
    assert (one.calls, one.usage, one.known_cost) == (2000, Usage(input_tokens=2000), Money(2000))
