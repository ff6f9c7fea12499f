"""``kill -9`` under load: nothing is lost, nothing is counted twice, and nobody else's call breaks."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import pytest

from taximeter.simulator import Simulator
from tests.gateway.kill.stage import assert_agree, books, load, tree, write_config

if sys.platform != "linux":
    pytest.skip("who is connected to which worker is read from /proc", allow_module_level=True)

CALLS = 400
AT_ONCE = 32
SCHEDULES = 100 if os.environ.get("TAXIMETER_HYPOTHESIS") == "deep" else 8


@pytest.mark.parametrize("seed", range(SCHEDULES))
def test_a_worker_is_killed(tmp_path: Path, simulator: Simulator, seed: int) -> None:
    """At moments of chance, twice: only its own clients see it, another takes its place, and the books agree."""
    dice = random.Random(seed)
    moments = sorted(dice.sample(range(10, CALLS - AT_ONCE), 2))
    write_config(tmp_path, simulator)
    killed: set[int] = set()
    with tree(tmp_path, "--no-auth") as running:
        with load(running, CALLS, AT_ONCE) as client:
            for count, moment in enumerate(moments, 1):
                simulator.wait_served(moment, 30)
                killed |= running.kill(dice.randrange(2))
                running.wait(2 + count)
            made = client.calls()
        running.end()
    assert len(made) == CALLS
    broken = {call.port for call in made if not call.whole}
    assert broken <= killed
    assert_agree(books(tmp_path, simulator), made)


@pytest.mark.parametrize("seed", range(max(2, SCHEDULES // 4)))
def test_the_whole_tree_is_killed(tmp_path: Path, simulator: Simulator, seed: int) -> None:
    """What was finished is there after the next start, once, and what was open is unknown."""
    dice = random.Random(seed)
    write_config(tmp_path, simulator)
    with tree(tmp_path, "--no-auth") as running, load(running, CALLS, AT_ONCE) as client:
        simulator.wait_served(dice.randrange(10, CALLS - AT_ONCE), 30)
        running.kill_all()
        made = client.calls()
    with tree(tmp_path, "--no-auth") as running:
        running.end()
    both = books(tmp_path, simulator)
    assert_agree(both, made)
    assert both.outcomes["unknown"] > 0
