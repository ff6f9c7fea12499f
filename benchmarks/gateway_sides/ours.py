"""This gateway: everything on, with a virtual key; and whether its books hold exactly the calls that were made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Final

from gateway_sides.systems import KEY, Kind, Place, Setup, environment
from gateway_sides.tools import INPUT_TOKENS, OUTPUT_TOKENS, Target
from taximeter.money import Money
from taximeter.store import open_store

OURS: Final = "taximeter"
_SOURCE: Final = Path(__file__).parents[2] / "src"
_COMMAND: Final = ["-c", "from taximeter.cli import main; main()"]


def _set_up(place: Place) -> Setup:
    config = f"""
[gateway]
host = "127.0.0.1"
port = {place.port}
workers = 1
auth = "keys"

[upstreams.openai]
base_url = "http://127.0.0.1:{place.upstream}/v1"
key_env = "OPENAI_API_KEY"
"""
    store = f"sqlite:///{place.folder}/store.db"
    path = os.pathsep.join(filter(None, [str(_SOURCE), os.environ.get("PYTHONPATH")]))
    variables = {"OPENAI_API_KEY": KEY, "TAXIMETER_STORE": store, "PYTHONPATH": path}
    made = subprocess.run(  # noqa: S603 - our own command
        [place.program, *_COMMAND, "key", "create", "benchmark", "--json"],
        env=environment(place.folder) | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        msg = f"no key was made: {made.stderr.strip()[-500:]}"
        raise RuntimeError(msg)
    target = Target(place.port, headers=(f"Authorization: Bearer {json.loads(made.stdout)['key']}",))
    command = [place.program, *_COMMAND, "serve", "--config", place.file("taximeter.toml", config)]
    return Setup(command, target, variables, booked=partial(_wrong, store))


def _wrong(store: str, calls: int) -> str:
    """What is wrong with the books after so many calls, in words; empty: nothing is."""
    answers: set[str | None] = set()
    costs: set[Money | None] = set()
    outcomes: dict[str, int] = {}
    usage = [0, 0]
    with open_store(store, create=False) as books:
        for event in books.events():
            answers.add(event.response_id)
            costs.add(event.cost)
            outcomes[event.outcome] = outcomes.get(event.outcome, 0) + 1
            if event.usage is not None:
                usage = [usage[0] + (event.usage.input_tokens or 0), usage[1] + (event.usage.output_tokens or 0)]
    found = [
        ("outcomes", outcomes, {"completed": calls}),
        ("different answers", len(answers), calls),
        ("tokens", usage, [calls * INPUT_TOKENS, calls * OUTPUT_TOKENS]),
        ("different costs", len(costs), 1),
        ("calls without a cost", int(None in costs), 0),
    ]
    return "; ".join(f"{what}: {is_!r}, not {due!r}" for what, is_, due in found if is_ != due)


KIND: Final = Kind(Path(sys.executable).name, _set_up, passes_streams=True)
