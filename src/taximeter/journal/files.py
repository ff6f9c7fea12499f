"""The files of a journal folder: their names, who holds them, what is done when the system says no.

Whoever holds a file's lock (``flock``, exclusive) owns the file. A journal is locked before it gets its name and for as
long as its process lives: the kernel gives the lock back at the death of the process and at no other time, so that a
journal that can be locked has no owner. No process id is looked at.

``flock`` belongs to the open file, which a forked child shares with its parent. A child that kept its copy of the
descriptor would keep a dead parent's lock. :func:`after_fork_in_child` closes all of them, which takes nothing from the
parent: only its own ``close``, or its death, ends the lock.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from taximeter.errors import JournalError

JOURNAL: Final = ".journal"
"""Records of one process."""
REFUSED: Final = ".refused"
"""Events that a store would not take, framed as in a journal."""
CORRUPT: Final = ".corrupt"
"""A file in which something could not be read, as it was found."""
NEW: Final = ".new"
"""A file that is being made."""

_BLOCK: Final = 2**20
_TRIES: Final = 5

_ADVICE: Final = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "this user's quota is used up; free some space",
    errno.EFBIG: "the file may not grow further (ulimit -f); raise the limit",
    errno.EIO: "the disk failed; look at the kernel's log",
    errno.EROFS: "the file system is read-only; name another folder",
    errno.EACCES: "this user may not write there; change the permissions or name another folder",
    errno.EPERM: "this user may not write there; change the permissions or name another folder",
    errno.ENOENT: "the folder is gone; make it again",
    errno.EMFILE: "the process has too many files open; raise the limit (ulimit -n)",
    errno.ENOLCK: "the file system has no locks; name a folder on a local disk",
}

_held: set[int] = set()
_guard = threading.RLock()  # so that no fork falls between the opening of a file and its entry in _held


def explain(path: Path, doing: str, error: OSError) -> JournalError:
    """The error to raise for what the system said: where, why and what to do."""
    advice = _ADVICE.get(error.errno or 0)
    cause = error.strerror or str(error)
    return JournalError(f"journal {path}: cannot {doing}: {cause}" + (f": {advice}" if advice else ""))


def fresh_name() -> str:
    """A name that no other journal has or will have; names sort by time."""
    return f"{time.time_ns():020d}-{os.getpid()}-{secrets.token_hex(4)}"


class Made(NamedTuple):
    """A file that we made and hold, and that does not have its name yet.

    Attributes:
        descriptor: for reading and appending.
        path: where it is until then; ends in :data:`NEW`.
    """

    descriptor: int
    path: Path


def make(path: Path) -> Made:
    """Makes a file that is to be at ``path``, and locks it.

    Raises:
        OSError: when it cannot be made.
    """
    for _ in range(_TRIES):
        place = path.with_name(f"{path.name}.{secrets.token_hex(4)}{NEW}")
        descriptor = _open(place, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL)
        try:
            if _lock(descriptor) and is_at(descriptor, place):
                return Made(descriptor, place)
        except OSError:
            let_go(descriptor)
            place.unlink(missing_ok=True)
            raise
        let_go(descriptor)  # before it was locked, a recovery took it for a leftover
    raise BlockingIOError(errno.EAGAIN, "every new file was taken for a leftover")


def take_over(path: Path) -> int | None:
    """Opens and locks a file that nobody owns; ``None`` when it has an owner, is gone, or is no plain file.

    Raises:
        OSError: when it cannot be opened.
    """
    # NONBLOCK: a pipe of that name must not hold us up.
    try:
        descriptor = _open(path, os.O_RDWR | os.O_APPEND | os.O_NONBLOCK | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    # Between open and lock its owner may have put another file in its place, or another recovery removed it.
    mine = False
    try:
        mine = stat.S_ISREG(os.fstat(descriptor).st_mode) and _lock(descriptor) and is_at(descriptor, path)
    finally:
        if not mine:
            let_go(descriptor)
    return descriptor if mine else None


def is_owned(path: Path) -> bool:
    """Whether somebody holds a file's lock. Who looks holds it, together with others who look, for that moment.

    Raises:
        OSError: when it cannot be opened.
    """
    descriptor = _open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        return not _lock(descriptor, fcntl.LOCK_SH)
    finally:
        let_go(descriptor)


def is_at(descriptor: int, path: Path) -> bool:
    """Whether a file that we hold is the one of that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def is_plain(path: Path) -> bool:
    """Whether a plain file is there."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def let_go(descriptor: int) -> None:
    """Closes a file, which gives its lock back."""
    with _guard:
        _held.discard(descriptor)
        os.close(descriptor)


def set_aside(path: Path, ending: str = CORRUPT) -> Path:
    """Gives a file that we hold another ending, and never the name of one that is there."""
    target = path.with_name(path.name.removesuffix(path.suffix) + ending)
    number = 1
    while target.exists():
        number += 1
        target = path.with_name(f"{path.name.removesuffix(path.suffix)}-{number}{ending}")
    path.rename(target)
    return target


def write_all(descriptor: int, data: bytes) -> None:
    """Hands all of it to the kernel; a disk that fills up takes a part before it says so."""
    done = os.write(descriptor, data)
    while done < len(data):
        done += os.write(descriptor, memoryview(data)[done:])


def copy(source: int, start: int, stop: int, target: int) -> None:
    """Appends a stretch of one file to another."""
    while start < stop:
        piece = os.pread(source, min(_BLOCK, stop - start), start)
        if not piece:
            raise OSError(errno.EIO, "the file is shorter than what was written to it")
        write_all(target, piece)
        start += len(piece)


def sync_folder(folder: Path) -> None:
    """Puts the names in a folder on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def before_fork() -> None:
    """Waits until no file is half opened."""
    _guard.acquire()


def after_fork_in_parent() -> None:
    """Lets the others go on."""
    _guard.release()


def after_fork_in_child() -> None:
    """Closes every file that the parent holds, so that the parent's death is seen; its locks stay its own."""
    global _guard  # noqa: PLW0603 - the old one may have been held by a thread that is not here
    _guard = threading.RLock()
    for descriptor in _held:
        with suppress(OSError):
            os.close(descriptor)
    _held.clear()


def _open(path: Path, flags: int) -> int:
    with _guard:
        descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
        _held.add(descriptor)
    return descriptor


def _lock(descriptor: int, kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
