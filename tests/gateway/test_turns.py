"""A turn's cost over its calls, in one worker and in several processes at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from taximeter.gateway import turns as module
from taximeter.gateway.turns import LocalTurns, Place, SharedTurns, TurnCost, Turns
from taximeter.money import Money

CENT = Money.usd("0.01")
PLACE = Place("s", "t")


@pytest.fixture(params=["local", "shared"])
def turns(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Turns]:
    """Either kind."""
    made: Turns = LocalTurns() if request.param == "local" else SharedTurns(tmp_path / "turns.sqlite3")
    yield made
    made.close()


def test_costs_add_up_over_a_turn(turns: Turns) -> None:
    """Exactly, each turn and each caller by itself."""
    assert turns.add("k", PLACE, CENT, ()) == TurnCost(1, CENT, 0)
    assert turns.add("other", PLACE, CENT, ()) == TurnCost(1, CENT, 0)
    assert turns.add("k", Place("s", "u"), CENT, ()) == TurnCost(1, CENT, 0)
    total = turns.add("k", PLACE, Money(1), ())
    assert total == TurnCost(2, Money(10**10 + 1), 0)
    assert total is not None
    assert total.members() == b'"turn_cost_usd":"0.010000000001"'


def test_a_call_without_a_price_leaves_the_turn_without_one(turns: Turns) -> None:
    """The sum of what is known is not what the turn cost: how many calls stand in the way is said instead."""
    turns.add("k", PLACE, None, ())
    total = turns.add("k", PLACE, CENT, ())
    assert total == TurnCost(2, CENT, 1)
    assert total is not None
    assert total.members() == b'"turn_unpriced_calls":1'


def test_sums_beyond_64_bits(turns: Turns) -> None:
    """Twenty million dollars to the last digit."""
    ten_million = Money(10**19 + 7)
    turns.add("k", PLACE, ten_million, ())
    total = turns.add("k", PLACE, ten_million, ())
    assert total is not None
    assert total.known == Money(2 * 10**19 + 14)


def test_a_tool_call_ties_calls_together(turns: Turns) -> None:
    """The result of a tool call is found where the answer stood that asked for it, and only for the same caller."""
    turns.add("k", PLACE, CENT, ("call-1", "call-2"))
    assert turns.find("k", ("unknown", "call-2")) == PLACE
    assert turns.find("other", ("call-1",)) is None
    assert turns.find("k", ()) is None


def test_a_file_that_is_locked_leaves_a_figure_out(tmp_path: Path) -> None:
    """Another that holds the file for good is waited for a moment, and no call fails."""
    one, other = SharedTurns(tmp_path / "t"), SharedTurns(tmp_path / "t")
    one._file.execute("BEGIN IMMEDIATE")
    assert other.add("k", PLACE, CENT, ()) is None
    one._file.execute("ROLLBACK")
    assert other.add("k", PLACE, CENT, ()) == TurnCost(1, CENT, 0)
    one.close()
    other.close()


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    """It is said which file, and that it cannot be used."""
    (tmp_path / "t").write_bytes(b"not a database, and long enough to be taken for none at all" * 9)
    with pytest.raises(OSError, match="cannot be used to share turns"):
        SharedTurns(tmp_path / "t")


def test_old_turns_are_forgotten(turns: Turns, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither memory nor the file grows without end."""
    monkeypatch.setattr(module, "_MOST_IN_MEMORY", 5)
    monkeypatch.setattr(module, "KEPT_S", -1)
    if isinstance(turns, SharedTurns):
        turns._until_sweep = 8
    for number in range(8):
        turns.add("k", Place(None, f"t{number}"), CENT, (f"c{number}",))
    assert turns.find("k", ("c0",)) is None
    assert turns.add("k", Place(None, "t0"), CENT, ()) == TurnCost(1, CENT, 0)


ADDING = """
import sys
from pathlib import Path
from taximeter.gateway.turns import Place, SharedTurns
from taximeter.money import Money
turns = SharedTurns(Path(sys.argv[1]))
lost = sum(turns.add("k", Place("s", "t"), Money(number), ()) is None for number in range(500))
print(lost)
"""


def test_several_processes_add_to_one_turn(tmp_path: Path) -> None:
    """Three at once: the sum is that of all that was counted."""
    path = tmp_path / "turns.sqlite3"
    children = [subprocess.Popen([sys.executable, "-c", ADDING, path], stdout=subprocess.PIPE) for _ in range(3)]
    lost = sum(int(child.communicate(timeout=60)[0]) for child in children)
    turns = SharedTurns(path)
    total = turns.add("k", Place("s", "t"), Money(0), ())
    turns.close()
    assert total is not None
    assert total.calls == 3 * 500 - lost + 1
    if not lost:
        assert total.known == Money(3 * sum(range(500)))
