"""How metering goes, for ``taximeter doctor``: the journals, what the meter failed at, what it does not meter."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import msgspec

from taximeter.cli.terminal import console, plain, table
from taximeter.errors import TaximeterError

if TYPE_CHECKING:
    from taximeter.meter import Settings
    from taximeter.meter.health import UnmeteredHost

RECENT: Final = timedelta(hours=24)
"""How long a failure counts as a problem after the last time that it happened."""

WIDTH: Final = 80
_LABEL: Final = 11
_CLOCK: Final = "%Y-%m-%d %H:%M:%S UTC"

_LEFT: Final = "What dead processes left is stored as soon as a process meters a call."
_REFUSED: Final = (
    "Events that the store would not take. They are offered to it again at each start, and a newer version may take "
    "them. To give them up, remove the file."
)
_CORRUPT: Final = "What could be read in it is stored. Keep it to find out what happened, then remove it."


class JournalState(msgspec.Struct, frozen=True, kw_only=True):
    """The journal folder as it is found.

    Attributes:
        state: ``ready``; ``none yet`` (made at the first call); ``unknown``, where it is; ``broken``.
        live: journals of processes that live.
        left: journals that dead processes left, and that wait for recovery.
        refused, corrupt: the names of files that a person has to see to.
        size_bytes: all of them together.
    """

    folder: str | None = None
    state: str
    live: int | None = None
    left: int | None = None
    refused: Sequence[str] = ()
    corrupt: Sequence[str] = ()
    size_bytes: int | None = None
    problem: str | None = None


class FailureLine(msgspec.Struct, frozen=True, kw_only=True):
    """What one part of the meter failed at, over all processes.

    Attributes:
        recent: whether it did so within the last 24 hours.
    """

    where: str
    count: int
    first_at: datetime
    last_at: datetime
    recent: bool
    message: str
    call_id: str | None


class MeterState(msgspec.Struct, frozen=True, kw_only=True):
    """The meter's own word about itself.

    Attributes:
        enabled: whether processes with these settings meter.
        failures: what failed last comes first.
        damaged: names of files of such words that cannot be read.
        alert_webhook: whether a webhook is told of failures.
    """

    enabled: bool | None = None
    failures: Sequence[FailureLine] = ()
    damaged: Sequence[str] = ()
    alert_webhook: bool = False
    problem: str | None = None


class UnmeteredLine(msgspec.Struct, frozen=True, kw_only=True):
    """Calls to a host that looked like calls to a model, and were not metered.

    Attributes:
        path: its plain words; what may be an id is ``*``.
        declare: the line that has them metered, but for the provider's name.
    """

    host: str
    api: str
    path: str
    calls: int
    first_at: datetime
    last_at: datetime
    declare: str | None


class Metering(msgspec.Struct, frozen=True, kw_only=True):
    """How metering goes."""

    journal: JournalState
    meter: MeterState
    unmetered: Sequence[UnmeteredLine] = ()

    def problems(self) -> Iterator[str]:
        """What is broken, in sentences. What is only worth knowing is no problem."""
        journal, meter = self.journal, self.meter
        for problem in (journal.problem, meter.problem):
            if problem is not None:
                yield problem
        if journal.refused:
            yield f"the store refused events, which wait in {_files(journal.refused)} ({journal.folder})"
        if journal.corrupt:
            yield f"something could not be read in {_files(journal.corrupt)} ({journal.folder})"
        recent = [failure.where for failure in meter.failures if failure.recent]
        if recent:
            yield f"the meter failed within the last 24 hours: {', '.join(recent)}"


def metering(store_url: str | None, now: datetime) -> Metering:
    """Looks at the journal folder of a store. Changes nothing."""
    from taximeter.journal import look
    from taximeter.meter import Meter, Settings
    from taximeter.meter.health import read_health

    try:
        settings = Settings.from_environment(None, store=store_url)
    except TaximeterError as error:
        return Metering(journal=JournalState(state="unknown"), meter=MeterState(problem=str(error)))
    try:
        folder = Meter(msgspec.structs.replace(settings, alert_webhook=None)).journal_folder()
    except TaximeterError as error:
        return Metering(journal=JournalState(state="unknown", problem=str(error)), meter=_meter(settings))
    try:
        health = read_health(folder)
        found = look(folder)
    except TaximeterError as error:
        broken = JournalState(folder=str(folder), state="broken", problem=str(error))
        return Metering(journal=broken, meter=_meter(settings))
    journal = JournalState(
        folder=str(folder),
        state="ready" if folder.exists() else "none yet",
        live=found.live,
        left=found.left,
        refused=_names(found.refused),
        corrupt=_names(found.corrupt),
        size_bytes=found.size_bytes,
    )
    failures = [
        FailureLine(
            where=failed.where,
            count=failed.count,
            first_at=failed.first_at,
            last_at=failed.last_at,
            recent=failed.last_at >= now - RECENT,
            message=failed.message,
            call_id=failed.call_id,
        )
        for failed in health.failures
    ]
    unmetered = [
        UnmeteredLine(
            host=seen.host,
            api=seen.api,
            path=seen.path,
            calls=seen.calls,
            first_at=seen.first_at,
            last_at=seen.last_at,
            declare=_declaration(seen),
        )
        for seen in health.unmetered
    ]
    return Metering(journal=journal, meter=_meter(settings, failures, _names(health.damaged)), unmetered=unmetered)


def _meter(settings: Settings, failures: Sequence[FailureLine] = (), damaged: Sequence[str] = ()) -> MeterState:
    from taximeter.meter.alerts import checked_url

    problem, webhook = None, None
    try:
        webhook = checked_url(settings.alert_webhook)
    except TaximeterError as error:
        problem = str(error)
    return MeterState(
        enabled=settings.enabled,
        failures=failures,
        damaged=damaged,
        alert_webhook=webhook is not None,
        problem=problem,
    )


def _names(paths: Sequence[Path]) -> list[str]:
    return [path.name for path in paths]


def _files(names: Sequence[str]) -> str:
    return f"{len(names)} file{'s' if len(names) > 1 else ''}"


def _declaration(seen: UnmeteredHost) -> str | None:
    from taximeter.meter.lookalikes import prefix_of
    from taximeter.meter.snapshots import OTHERS

    if seen.host == OTHERS:
        return None
    return f'taximeter.endpoint("https://{seen.host}{prefix_of(seen.path)}", api="{seen.api}", provider="…")'


# ---- for a person


def say(label: str, text: str, deeper: int = 0) -> None:
    """A line of the diagnosis, wrapped; nothing that can be copied is cut in two.

    Args:
        label: in the first column, if any.
        text: in the second.
        deeper: by how many columns the text is set in further.
    """
    indent = " " * (_LABEL + deeper)
    start = f"{label:<{_LABEL + deeper}}"
    wrapped = textwrap.wrap(
        text, WIDTH, initial_indent=start, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    for line in wrapped:
        click.echo(line)


def show_metering(found: Metering) -> None:
    """Writes how metering goes, and what to do about it."""
    _show_journal(found.journal)
    _show_meter(found.meter)
    _show_unmetered(found.unmetered)


def _show_journal(journal: JournalState) -> None:
    say("journal", f"{journal.folder or 'nowhere'}: {journal.state}")
    if journal.state != "ready":
        return
    say("", f"{journal.live} of living processes, {journal.left} of dead ones, {journal.size_bytes:,} bytes")
    if journal.left:
        say("", _LEFT, 2)
    for name in journal.refused:
        say("", f"refused: {name}")
    if journal.refused:
        say("", _REFUSED, 2)
    for name in journal.corrupt:
        say("", f"corrupt: {name}")
    if journal.corrupt:
        say("", _CORRUPT, 2)


def _show_meter(meter: MeterState) -> None:
    if meter.enabled is False:
        say("meter", "switched off by TAXIMETER_ENABLED")
    times = sum(failure.count for failure in meter.failures)
    told = "a webhook is told" if meter.alert_webhook else "no webhook is told (TAXIMETER_ALERT_WEBHOOK)"
    say("" if meter.enabled is False else "meter", f"{f'{times:,}' if times else 'no'} failures; {told}")
    for failure in meter.failures:
        last = f"{failure.last_at.astimezone(UTC):{_CLOCK}}"
        say("", f"{plain(failure.where)}: {failure.count:,}, last {last}")
        call = f" (call {plain(failure.call_id)})" if failure.call_id else ""
        say("", plain(failure.message) + call, 2)
    if meter.damaged:
        say("", f"{_files(meter.damaged)} of counters cannot be read and are left out: {', '.join(meter.damaged)}")


def _show_unmetered(unmetered: Sequence[UnmeteredLine]) -> None:
    if not unmetered:
        say("unmetered", "nothing that looks like a call to a model")
        return
    say("unmetered", f"{sum(line.calls for line in unmetered):,} calls that look like calls to a model")
    shown = table("", ("host and path", "looks like", "calls", "last seen (UTC)"), ("calls",))
    for line in unmetered:
        last = f"{line.last_at.astimezone(UTC):%Y-%m-%d %H:%M}"
        shown.add_row(plain(line.host + line.path), line.api, f"{line.calls:,}", last)
    console().print(shown)
    say("", "Where they are such calls, say so in the program, and who is paid:")
    for line in unmetered:
        if line.declare is not None:
            click.echo(_in_lines(line.declare))


def _in_lines(declare: str) -> str:
    """A long line of Python, broken where Python allows it."""
    if len(declare) <= WIDTH:
        return declare
    call, _, arguments = declare.removesuffix(")").partition("(")
    url, _, rest = arguments.partition(", ")
    return f"{call}(\n    {url},\n    {rest},\n)"
