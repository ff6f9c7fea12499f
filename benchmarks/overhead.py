"""What metering adds to a call of OpenAI's SDK: CPU of the application's process, ours and others', in one run.

Each side makes the same calls in a process of its own, to a provider in another one, over loopback: whole answers, and
streams of about 100 chunks. Sides take turns with the plain SDK, batch by batch; what counts is the difference to the
plain batch just before. Everything that a side does is in it, other threads too, until what it recorded is handed over:
to the store on the disk (Taximeter, with its journal), to a sink over HTTP (OpenTelemetry and the like), to a callback
(LiteLLM). Processes of one kind differ by themselves, so all are started anew a few times (``--lives``); a second plain
process shows how large a difference of nothing is.

Run ``python benchmarks/overhead.py`` where ``openai`` is installed, and whatever is to be compared:
``pip install openai opentelemetry-instrumentation-openai langfuse openlit litellm``. ``--json`` adds one JSON object
as the last line.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any, Final, NamedTuple
from urllib.request import urlopen

from sides.peers import KINDS, QUIET
from sides.provider import Place

HERE: Final = Path(__file__).parent
PLAIN: Final = "plain"
CONTROL: Final = "plain again"
OURS: Final = "taximeter"
ASKING: Final = "taximeter, asking"
EXPORTING: Final = ("openllmetry", "langfuse", "openlit")
"""Those that send what they record to the sink, which is looked after."""
WHOLE_CALLS: Final = 100
STREAM_CALLS: Final = 12
WARM_UP: Final = {"whole": 20, "stream": 3, "unasked": 3}
IMPORT_RUNS: Final = 9
_BARE: Final = """
import time
started = time.process_time_ns()
import taximeter
taximeter.instrument()
print((time.process_time_ns() - started) / 1_000_000)
"""


class Batch(NamedTuple):
    """What one batch of calls took.

    Attributes:
        us: CPU of the process per call, in microseconds.
        inside_us: how much of it was the calling thread's, while it made the calls.
        chunks: per call.
    """

    us: float
    inside_us: float
    chunks: float


class Pair(NamedTuple):
    """A batch, and the plain one just before."""

    side: Batch
    plain: Batch


class Found(NamedTuple):
    """What one side adds to one kind of call, per call in microseconds.

    Attributes:
        least: the best batch of it less the best plain one.
        median: over all batches, of the difference to the plain one just before.
        inside: the same of the calling thread alone.
        chunks: per call.
    """

    least: float
    median: float
    inside: float
    chunks: float


class Child:
    """A side's process."""

    def __init__(self, name: str, process: subprocess.Popen[str], log: IO[str]) -> None:
        self.name = name
        self._process = process
        self._log = log
        self.import_ms: float = self._answer()["import_ms"]

    def ask(self, work: str, count: int) -> Batch:
        """Has a batch of calls made."""
        self._say(f"{work} {count}")
        answer = self._answer()
        return Batch(answer["us"] / count, answer["inside_us"] / count, answer["chunks"] / count)

    def booked(self) -> int | None:
        """How many calls it has recorded."""
        self._say("booked")
        return self._answer()["booked"]

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            msg = f"{self.name} ended: {self._log.read()[-2000:]}"
            raise RuntimeError(msg)
        return json.loads(line)


@contextmanager
def started(arguments: list[str], environment: Mapping[str, str], log: IO[str]) -> Generator[subprocess.Popen[str]]:
    """A process of ours, until the block ends."""
    with subprocess.Popen(  # noqa: S603 - our own scripts
        [sys.executable, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env=environment,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def environment(folder: str) -> dict[str, str]:
    """What every process of a measurement is started with: nothing of the caller's but where its packages are."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    path = os.pathsep.join(filter(None, [str(HERE), str(HERE.parent / "src"), os.environ.get("PYTHONPATH")]))
    return kept | QUIET | {"PYTHONPATH": path, "TAXIMETER_STORE": f"sqlite:///{folder}/store.db", "PYTHONHASHSEED": "0"}


def _taken_bytes(place: Place) -> dict[str, int]:
    """What the sink has taken, by whom."""
    with urlopen(f"{place.sink}/taken", timeout=10) as answer:  # noqa: S310 - our own server, on this machine
        return json.loads(answer.read())


def versions() -> dict[str, str]:
    """The version of what is installed, by side."""
    found: dict[str, str] = {}
    for name, kind in KINDS.items():
        try:
            found[name] = version(kind.package)
        except PackageNotFoundError:
            if kind.package == OURS:  # run from its source
                found[name] = "of this folder"
    return found


def works_of(name: str) -> tuple[str, ...]:
    """Which kinds of call a side makes: only one of ours makes streams that did not ask for their usage ask."""
    if name == ASKING:
        return ("unasked",)
    return ("whole", "stream", "unasked") if name == CONTROL else ("whole", "stream")


class Run:
    """Measures, and keeps every figure."""

    def __init__(self, names: list[str], calls: Mapping[str, int]) -> None:
        self.names = names
        self.calls = calls
        self.pairs: dict[tuple[str, str], list[Pair]] = {}
        self.imports: dict[str, list[float]] = {}
        self.firsts: dict[str, list[float]] = {}

    def live(self, rounds: int) -> None:
        """Starts every side, lets them take turns, and ends them."""
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            log = stack.enter_context(Path(folder, "provider.log").open("w+"))
            provider = stack.enter_context(started(["-m", "sides.provider"], environment(folder), log))
            assert provider.stdout is not None
            place = Place(**json.loads(provider.stdout.readline()))
            children = {name: self._child(stack, folder, name, place) for name in [PLAIN, *self.names]}
            made = dict.fromkeys(children, 1)
            for name, child in children.items():
                self.firsts.setdefault(name, []).append(child.ask("whole", 1).us / 1_000)
                for work in works_of(name) if name != PLAIN else WARM_UP:
                    child.ask(work, WARM_UP[work])
                    made[name] += WARM_UP[work]
            for _ in range(rounds):
                for name in self.names:
                    for work in works_of(name):
                        plain = children[PLAIN].ask(work, self.calls[work])
                        pair = Pair(children[name].ask(work, self.calls[work]), plain)
                        self.pairs.setdefault((name, work), []).append(pair)
                        made[name] += self.calls[work]
            taken = _taken_bytes(place)
            for name, child in children.items():
                booked = child.booked()
                assert booked in (None, made[name]), f"{name} made {made[name]} calls, and recorded {booked}"
                assert name not in EXPORTING or taken.get(name, 0) > 100 * made[name], f"{name} exported {taken}"

    def _child(self, stack: ExitStack, folder: str, name: str, place: Place) -> Child:
        home = Path(folder, name.replace(", ", "-").replace(" ", "-"))
        home.mkdir()
        log = stack.enter_context(Path(home, "log").open("w+"))  # noqa: SIM115 - the stack closes it
        arguments = ["-m", "sides.client", name, place.openai, f"{place.sink}/{home.name}"]
        process = stack.enter_context(started(arguments, environment(str(home)), log))
        child = Child(name, process, log)
        self.imports.setdefault(name, []).append(child.import_ms)
        return child

    def found(self, name: str, work: str) -> Found:
        """What a side adds to a kind of call."""
        pairs = self.pairs[name, work]
        least = min(pair.side.us for pair in pairs) - min(pair.plain.us for pair in pairs)
        median = statistics.median(pair.side.us - pair.plain.us for pair in pairs)
        chunks = statistics.fmean(pair.side.chunks for pair in pairs)
        inside = statistics.median(pair.side.inside_us - pair.plain.inside_us for pair in pairs)
        return Found(least, median, inside, chunks)

    def plain(self, work: str) -> list[float]:
        """What the plain SDK takes per call, batch by batch, sorted."""
        return sorted(pair.plain.us for (_, its), pairs in self.pairs.items() if its == work for pair in pairs)

    def figures(self, name: str) -> dict[str, float]:
        """The keys of ``--json`` for one side."""
        whole, stream = self.found(name, "whole"), self.found(name, "stream")
        return {
            "us_per_call": round(whole.median, 1),
            "us_per_chunk": round(stream.median / stream.chunks, 2),
            "import_ms": round(self.import_ms(name), 1),
            "us_per_call_least": round(whole.least, 1),
            "us_per_call_inside": round(whole.inside, 1),
            "us_per_stream": round(stream.median, 1),
            "us_per_chunk_least": round(stream.least / stream.chunks, 2),
            "us_per_chunk_inside": round(stream.inside / stream.chunks, 2),
            "first_call_ms": round(self.first_call_ms(name), 1),
        }

    def import_ms(self, name: str) -> float:
        """CPU to import a side and set it up, beside an SDK that is there already and its client."""
        return min(self.imports[name]) - min(self.imports[PLAIN])

    def first_call_ms(self, name: str) -> float:
        """CPU of a process's first call, above that of a plain one: what is loaded and opened only then."""
        return min(self.firsts[name]) - min(self.firsts[PLAIN])


def bare_import_ms() -> float:
    """CPU to import taximeter and switch it on in an interpreter that has nothing else, above that interpreter."""
    with tempfile.TemporaryDirectory() as folder:
        runs = [
            float(subprocess.check_output([sys.executable, "-c", _BARE], env=environment(folder), text=True))  # noqa: S603
            for _ in range(IMPORT_RUNS)
        ]
    return min(runs)


def show(run: Run, known: Mapping[str, str]) -> None:
    """Prints the table."""
    titles = {"whole": "a whole answer", "stream": "a stream", "unasked": "a stream, usage not asked for"}
    for work, title in titles.items():
        plain = run.plain(work)
        quarter = len(plain) // 4
        print(
            f"plain SDK, {title}: {plain[0]:,.0f} µs at least, {statistics.median(plain):,.0f} median, "
            f"half of the batches within {plain[quarter]:,.0f} … {plain[-1 - quarter]:,.0f}"
        )
    print("\nCPU µs above that, of the whole process: least / median; and the median of the calling thread alone")
    head = f"{'per call':>15}{'(caller)':>9}{'per stream':>17}{'per chunk':>14}{'(caller)':>9}"
    print(f"{'':<30}{head}{'import ms':>11}{'1st call ms':>12}")
    for name in run.names:
        label, tail = f"{name} {known[name]}", f"{run.import_ms(name):>11.0f}{run.first_call_ms(name):>12.0f}"
        if name == ASKING:
            print(f"{label:<30}{'':24}{_streams(run.found(name, 'unasked'))}{tail}")
            continue
        whole = run.found(name, "whole")
        calls = f"{whole.least:>7,.0f} /{whole.median:>6,.0f}{whole.inside:>9,.0f}"
        print(f"{label:<30}{calls}{_streams(run.found(name, 'stream'))}{tail}")


def _streams(found: Found) -> str:
    chunks = found.chunks
    share = f"{found.least / chunks:>6.2f} /{found.median / chunks:>6.2f}{found.inside / chunks:>9.2f}"
    return f"{found.least:>8,.0f} /{found.median:>7,.0f}{share}"


def main() -> int:
    """Runs everything and prints a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.add_argument("--rounds", type=int, default=5, help="turns that each side has in one life (5)")
    parser.add_argument("--lives", type=int, default=3, help="how often all processes are started anew (3)")
    parser.add_argument("--only", action="append", help="a side to measure; may be given again (all that are there)")
    options = parser.parse_args()
    known = versions()
    if PLAIN not in known:
        print("The openai SDK is not installed: pip install openai")
        return 2
    wanted = options.only or list(KINDS)
    names = [name for name in known if name != PLAIN and (name in wanted or name in (CONTROL, OURS))]
    missing = [f"{name} ({kind.package})" for name, kind in KINDS.items() if name not in known]
    calls = {"whole": WHOLE_CALLS, "stream": STREAM_CALLS, "unasked": STREAM_CALLS}
    print(f"openai {known[PLAIN]}, Python {sys.version.split()[0]}; not installed: {', '.join(missing) or 'nothing'}")
    batches = f"{options.lives} × {options.rounds} batches"
    print(f"least / median of {batches} of {WHOLE_CALLS} calls, or {STREAM_CALLS} streams\n")
    run = Run(names, calls)
    for _ in range(options.lives):
        run.live(options.rounds)
    show(run, known)
    bare = bare_import_ms()
    print(f"Importing taximeter and switching it on, in an interpreter without anything else: {bare:.1f} ms.")
    if options.json:
        peers = {name: run.figures(name) for name in names if name not in (OURS, ASKING, CONTROL)}
        ours = run.figures(OURS)
        figures: dict[str, object] = {**ours, "import_ms": round(bare, 1), "import_ms_beside_sdk": ours["import_ms"]}
        if ASKING in names:
            asked = run.found(ASKING, "unasked")
            figures["us_per_chunk_asking"] = round(asked.median / asked.chunks, 2)
        figures |= {"peers": peers, "noise": run.figures(CONTROL), "versions": known}
        figures["plain_us_per_call"] = round(statistics.median(run.plain("whole")), 1)
        figures["plain_us_per_stream"] = round(statistics.median(run.plain("stream")), 1)
        print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
