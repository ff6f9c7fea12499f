"""The SDKs for Node: what they give through the gateway is what they give without, and they tell what a call cost."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.clients.stage import Booth, without_ours

HERE = Path(__file__).with_name("node")
FOLDER = HERE.parents[3] / ".venv-node"
"""Where `make node` installs what package.json names."""

CALLS = {
    "openai": {"completed": 9, "failed": 2, "cancelled": 1},
    "anthropic": {"completed": 5, "failed": 2, "cancelled": 1},
    "google": {"completed": 4, "failed": 1, "cancelled": 1},
}
"""What ask.cjs makes with each SDK; one of the failed calls is one that the SDK then tries again."""


def _ask(sdk: str, url: str) -> dict[str, Any]:
    line = ["node", str(HERE / "ask.cjs"), str(FOLDER), sdk, url]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert not done.returncode, done.stderr
    return json.loads(done.stdout)


@pytest.mark.needs("node-sdks")
@pytest.mark.parametrize("sdk", CALLS)
def test_it_gives_what_a_direct_call_gives(place: Booth, sdk: str) -> None:
    """Whole answers, streams, tools, errors, retries; the cost where it belongs; each call booked as what it was."""
    direct = _ask(sdk, place.direct(sdk))
    place.forget()
    through = _ask(sdk, place.through(sdk))
    told, retried, answered = through.pop("told"), through.pop("retried", None), through["answered"]
    del direct["told"]
    direct.pop("retried", None)  # it is asked in other words, since the simulator fails only once at each
    assert without_ours(through) == direct
    events = place.events(sum(CALLS[sdk].values()))
    assert Counter(event.outcome for event in events) == CALLS[sdk]
    first = events[0]
    assert told == {"id": first.id, "cost": str(first.cost)}
    usage = "usageMetadata" if sdk == "google" else "usage"
    assert through["whole"][usage]["cost_usd"] == str(first.cost)
    if sdk == "google":  # its calls of functions have no ids here, which would make one turn of both
        assert through["stream"][-1][usage]["cost_usd"] == str(first.cost)
        return
    asked, answer = (each for each in events if each.tool_calls or each.tool_results)
    assert asked.scope.turn == answer.scope.turn
    assert asked.cost is not None
    assert answer.cost is not None
    assert answered[usage]["turn_cost_usd"] == str(asked.cost + answer.cost)
    assert [event.status for event in events if event.outcome == "failed"] == [400, 429]
    [again] = [event for event in events if event.attempt == 2 and event.outcome == "completed"]
    assert retried[usage]["cost_usd"] == str(again.cost)
