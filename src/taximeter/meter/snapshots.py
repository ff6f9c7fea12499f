"""The health of all meters that share a journal folder: one small file per process, read together and kept few.

A snapshot is written whole to a new file that takes the place of the one before, so that whoever reads finds one or the
other. As a journal it is locked for as long as its process lives (:mod:`taximeter.journal.files`); only those of dead
processes are merged. A merged file names those that are in it, so that nothing counts twice where a merger dies before
it has removed them.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from taximeter.journal import files
from taximeter.meter.lookalikes import UNKNOWN

HEALTH: Final = ".health"
"""How the names of snapshots end."""

MOST_PLACES: Final = 200
"""Places that are kept apart in one snapshot: a host has one for each path."""

OTHERS: Final = "(others)"
"""The host under which all further places are counted together."""

ANY_PATH: Final = f"/{UNKNOWN}"

_LONGEST_BYTES: Final = 2**20
_MOST_AT_ONCE: Final = 256  # files held open
_TRIES: Final = 20
_NS: Final = 10**9

_Count = Annotated[int, msgspec.Meta(ge=0)]
_Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class FailureCount(msgspec.Struct, frozen=True, kw_only=True):
    """How often one part of the meter failed.

    Attributes:
        where: the part: ``open``, ``journal``, ``reader``, ``close``, ``store``, ``lost``, ``hook``, ``recovery``,
            ``alert`` …
        count: how often.
        first_at, last_at: since when, and when last.
        message: of the last time, with what looks like a key taken out.
        call_id: of the last time, where there was one.
    """

    where: str
    count: _Count
    first_at: _Moment
    last_at: _Moment
    message: str
    call_id: str | None = None


class UnmeteredHost(msgspec.Struct, frozen=True, kw_only=True):
    """Requests that looked like calls to a model and were not metered.

    Attributes:
        host: where they went, with the port unless that is the scheme's own.
        api: the wire format that they look like.
        path: its plain words; what may be an id is ``*``.
        calls: how many there were.
        first_at, last_at: since when, and when last.
    """

    host: str
    api: str
    path: str
    calls: _Count
    first_at: _Moment
    last_at: _Moment


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What is in one file.

    Attributes:
        failures: one entry for each part that failed.
        unmetered: one entry for each place.
        merged: the names of files whose contents are in here; should they still be there, they do not count.
        version: of this layout.
    """

    failures: tuple[FailureCount, ...] = ()
    unmetered: tuple[UnmeteredHost, ...] = ()
    merged: tuple[str, ...] = ()
    version: Literal[1] = 1


class HealthReport(msgspec.Struct, frozen=True, kw_only=True):
    """The health of all meters that share a journal folder, over all processes, those included that are gone.

    Attributes:
        failures: what failed last comes first.
        unmetered: what was seen last comes first.
        damaged: files that could not be read, which are not counted in.
    """

    failures: tuple[FailureCount, ...] = ()
    unmetered: tuple[UnmeteredHost, ...] = ()
    damaged: tuple[Path, ...] = ()


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Snapshot)


def write(path: Path, snapshot: Snapshot) -> int:
    """Puts a snapshot in a file, in the place of the one that was there.

    Returns:
        The file, which is locked for as long as it is open.

    Raises:
        OSError: when it cannot be written. What was there is still there then.
    """
    descriptor, place = files.make(path)
    try:
        files.write_all(descriptor, _encoder.encode(snapshot))
        place.rename(path)
    except BaseException:
        with suppress(OSError):
            place.unlink(missing_ok=True)
        files.let_go(descriptor)
        raise
    return descriptor


def read_health(folder: Path) -> HealthReport:
    """The snapshots of all processes, added up. Changes nothing.

    Raises:
        JournalError: when the folder cannot be read.
    """
    found: dict[Path, Snapshot | None] = {}
    try:
        for _ in range(_TRIES):
            paths = _snapshots(folder)
            found = _read_all(paths)
            if list(found) == paths == _snapshots(folder):
                break  # else some were merged while we read, and are in a file that we may not have seen
    except OSError as error:
        raise files.explain(folder, "read the folder", error) from error
    counted = _merge(_uncovered(found).values())
    return HealthReport(
        failures=counted.failures,
        unmetered=counted.unmetered,
        damaged=tuple(path for path, snapshot in found.items() if snapshot is None),
    )


def prune(folder: Path, keep: timedelta = timedelta(days=30), now: datetime | None = None) -> None:
    """Merges the snapshots of dead processes into one, and forgets what is long ago. Those of living ones are left.

    Safe to be killed at any point, and to be run by several processes at once.

    Args:
        folder: of the journals.
        keep: how long what happened is remembered, after the last time that it did.
        now: the time.

    Raises:
        OSError: when the folder cannot be read, or the merged file not be written. Nothing is lost then.
    """
    before = (now or datetime.now(UTC)) - keep
    held: dict[Path, int] = {}
    try:
        for path in _snapshots(folder):
            if len(held) >= _MOST_AT_ONCE:
                break  # the next recovery goes on
            with suppress(OSError):  # of another user
                descriptor = files.take_over(path)
                if descriptor is not None:
                    held[path] = descriptor
        if held:
            _merge_held(folder, held, before)
    finally:
        for descriptor in held.values():
            files.let_go(descriptor)


def _merge_held(folder: Path, held: Mapping[Path, int], before: datetime) -> None:
    """Merges files that we have locked."""
    found = _read_all(_snapshots(folder))
    counted = _uncovered(found)
    sources: dict[Path, Snapshot] = {}
    for path in held:
        snapshot = found.get(path)
        if snapshot is None:
            with suppress(FileNotFoundError):
                if _written_at(path) < before:
                    path.unlink()
        elif path in counted:
            sources[path] = snapshot
        else:
            path.unlink(missing_ok=True)  # whoever merged it died before this
    merged = _merge(sources.values(), before)
    if len(sources) == 1 and _contents(merged) == _contents(*sources.values()):
        return
    if merged.failures or merged.unmetered:
        inside = {path.name for path in sources}
        inside.update(name for snapshot in sources.values() for name in snapshot.merged if (folder / name).exists())
        named = msgspec.structs.replace(merged, merged=tuple(sorted(inside)))
        files.let_go(write(folder / (files.fresh_name() + HEALTH), named))
    for path in sources:
        path.unlink(missing_ok=True)


def _contents(snapshot: Snapshot) -> tuple[frozenset[FailureCount], frozenset[UnmeteredHost]]:
    return frozenset(snapshot.failures), frozenset(snapshot.unmetered)


def _snapshots(folder: Path) -> list[Path]:
    """The files, the oldest first."""
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == HEALTH)
    except FileNotFoundError:
        return []


def _read_all(paths: Iterable[Path]) -> dict[Path, Snapshot | None]:
    """The contents of files, ``None`` for what is damaged; those that are gone by now are left out."""
    found: dict[Path, Snapshot | None] = {}
    for path in paths:
        with suppress(FileNotFoundError):
            found[path] = _read(path)
    return found


def _read(path: Path) -> Snapshot | None:
    if not stat.S_ISREG(path.lstat().st_mode):
        return None
    try:
        with path.open("rb") as file:
            data = file.read(_LONGEST_BYTES + 1)
        return _decoder.decode(data) if len(data) <= _LONGEST_BYTES else None
    except FileNotFoundError:
        raise
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None  # damaged, of a newer version, or of another user


def _written_at(path: Path) -> datetime:
    return datetime.fromtimestamp(path.lstat().st_mtime_ns // _NS, UTC)


def _uncovered(found: Mapping[Path, Snapshot | None]) -> dict[Path, Snapshot]:
    """Those that can be read, less those whose contents are in another as well."""
    covered = {name for snapshot in found.values() if snapshot is not None for name in snapshot.merged}
    return {path: each for path, each in found.items() if each is not None and path.name not in covered}


def _merge(snapshots: Iterable[Snapshot], before: datetime | None = None) -> Snapshot:
    """The sum, less what happened last before a moment."""
    failures: dict[str, FailureCount] = {}
    unmetered: dict[tuple[str, str, str], UnmeteredHost] = {}
    for snapshot in snapshots:
        for failed in snapshot.failures:
            if before is None or failed.last_at >= before:
                failures[failed.where] = _all_failed(failures.get(failed.where), failed)
        for seen in snapshot.unmetered:
            if before is None or seen.last_at >= before:
                key = (seen.host, seen.api, seen.path)
                if key not in unmetered and len(unmetered) >= MOST_PLACES:
                    key = (OTHERS, seen.api, ANY_PATH)
                unmetered[key] = _all_seen(unmetered.get(key), seen, key)
    return Snapshot(
        failures=tuple(sorted(failures.values(), key=lambda each: each.last_at, reverse=True)),
        unmetered=tuple(sorted(unmetered.values(), key=lambda each: each.last_at, reverse=True)),
    )


def _all_failed(one: FailureCount | None, other: FailureCount) -> FailureCount:
    if one is None:
        return other
    late = max(one, other, key=lambda each: each.last_at)
    return msgspec.structs.replace(late, count=one.count + other.count, first_at=min(one.first_at, other.first_at))


def _all_seen(one: UnmeteredHost | None, other: UnmeteredHost, key: tuple[str, str, str]) -> UnmeteredHost:
    host, api, path = key
    return UnmeteredHost(
        host=host,
        api=api,
        path=path,
        calls=other.calls + (one.calls if one else 0),
        first_at=min(one.first_at, other.first_at) if one else other.first_at,
        last_at=max(one.last_at, other.last_at) if one else other.last_at,
    )
