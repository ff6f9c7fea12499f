"""How SQLite answers the queries: by an index where a report restricts, and by the key where rows are joined."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event

from taximeter.event import Scope
from taximeter.store import Query, Store
from tests.store.helpers import NOW, priced, repriced

SPAN = Query(since=NOW - timedelta(hours=1), until=NOW)


def plans(store: Store, ask: Callable[[], object]) -> list[list[str]]:
    """The plan of each query that a call makes of the events."""
    asked: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        if "effective" in statement and not statement.startswith("EXPLAIN"):
            asked.append((statement, parameters))

    store.count()  # opens it
    engine = store._database._engine
    event.listen(engine, "before_cursor_execute", note)
    ask()
    event.remove(engine, "before_cursor_execute", note)
    assert asked
    with store._database.plain(write=False) as connection:
        return [
            [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]
            for statement, parameters in asked
        ]


@pytest.fixture
def filled(store: Store) -> Store:
    """A store with some thousand calls over a month, a few of them corrected."""
    scopes = [Scope(project=f"p{n % 3}", tags=(("team", f"t{n % 2}"),)) for n in range(6)]
    batch = [
        priced(f"e{n}", f"m{n % 5}", "1", scope=scopes[n % 6], started_at=NOW - timedelta(minutes=20 * n))
        for n in range(2_000)
    ]
    store.add(batch, recorded_at=NOW)
    store.correct([repriced(f"c{n}", batch[n], "2") for n in range(20)], recorded_at=NOW)
    return store


@pytest.mark.parametrize("by", [[], ["day"], ["model"], ["tag:team", "project"], ["model", "hour"]])
def test_an_interval_is_found_by_its_index(filled: Store, by: list[str]) -> None:
    """A report over an interval reads the events of the interval, found by when they started, and no others."""
    for plan in plans(filled, lambda: filled.report(by, SPAN)):
        assert any("ix_events_started_at (started_at>? AND started_at<?)" in it for it in plan), plan


@pytest.mark.parametrize("query", [Query(), SPAN, Query(as_of=NOW)])
def test_one_table_is_scanned(filled: Store, query: Query) -> None:
    """One table is read through; what is joined to it is found by its key, and nothing is copied or indexed for it."""
    for by in ([], ["model"], ["tag:team"], ["day"]):
        for plan in plans(filled, lambda by=by: filled.report(by, query)):
            scans = [step.split()[1] for step in plan if step.startswith("SCAN")]
            assert len(scans) <= 1, plan
            assert not [step for step in plan if "AUTOMATIC" in step or "MATERIALIZE" in step], plan


def test_reading_everything_sorts_nothing(filled: Store) -> None:
    """An export of everything follows the key of the events: no sort, so that the first event comes at once."""
    (plan,) = plans(filled, lambda: next(filled.events()))
    assert not [step for step in plan if "TEMP B-TREE" in step], plan
