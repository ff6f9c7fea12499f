"""Everything that is SQLite's own: how a file is opened, how a transaction begins, and what its errors mean.

What is written goes to the driver as it is (:mod:`taximeter.store.writer`, SQLite's own too); what is read goes through
SQLAlchemy (:mod:`taximeter.store.alchemy`), loaded when something is read. Another engine is another pair like these.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from taximeter.errors import StoreError
from taximeter.store import forks
from taximeter.store.location import Location
from taximeter.store.writer import Writer

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from taximeter.store.reader import Reader

BUSY_SECONDS: Final = 30
"""How long a writer waits for another one before it gives up."""

_ADVICE: Final = {
    "SQLITE_BUSY": f"another process has held the write lock for {BUSY_SECONDS} s; find it (lsof) and try again",
    "SQLITE_LOCKED": "the table is locked by this very process; report this",
    "SQLITE_FULL": "the disk is full; free some space, nothing that was recorded is lost",
    "SQLITE_NOTADB": "the file is not a SQLite database; name another file",
    "SQLITE_CORRUPT": "the file is damaged; keep a copy, and recover it with `sqlite3 FILE .recover`",
    "SQLITE_READONLY": "the file, or the folder it is in, cannot be written by this user; a store needs both",
    "SQLITE_PERM": "this user may not open the file",
    "SQLITE_CANTOPEN": "the file cannot be opened; check that its folder exists and that this user may write in it",
    "SQLITE_IOERR": "the disk failed, or the folder vanished; a network file system cannot hold a store",
    "SQLITE_TOOBIG": "a text is larger than SQLite takes (1 GB)",
}


class Database:
    """A store's file. Opened when it is first used, and again when it is used after it was closed.

    Writing has one connection, for which the threads of a process take turns as processes do for the file. Reading has
    as many as there are readers, and waits for nobody.

    Attributes:
        location: where the file is.
    """

    def __init__(self, location: Location) -> None:
        self.location = location
        self._turn = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._opening = threading.Lock()
        self._engine: Engine | None = None
        self._resting = False
        forks.watch(self)

    @contextmanager
    def writing(self) -> Generator[Writer]:
        """A transaction that writes, committed at the end, or undone when an exception leaves it.

        The lock is taken when it begins (``IMMEDIATE``): a transaction that read first and wrote later could find that
        another had written in between, and would fail without waiting.
        """
        with self.plain(write=True) as connection:
            yield Writer(connection)

    @contextmanager
    def plain(self, *, write: bool) -> Generator[sqlite3.Connection]:
        """A transaction of the writer's connection, with the driver itself; what ends it is as :meth:`writing` says."""
        with self._alone() as connection:
            try:
                connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                self._undo(connection)
                raise

    @contextmanager
    def reading(self) -> Generator[Reader]:
        """A transaction that reads: it sees one moment of the store, and blocks nobody."""
        from taximeter.store.reader import Reader  # noqa: PLC0415 - SQLAlchemy: 0.1 s, which recording alone does not pay

        with self.alchemy(write=False) as connection:
            yield Reader(connection)

    @contextmanager
    def alchemy(self, *, write: bool) -> Generator[Connection]:
        """A transaction of SQLAlchemy's: one that reads, or one that writes, as a change of tables does."""
        from taximeter.store.alchemy import connect, transaction  # noqa: PLC0415 - as above

        with self._opening:
            if self._engine is None:
                self._engine = connect(self.location)
        with transaction(self._engine, self.location, write=write) as connection:
            yield connection

    def write_ahead(self) -> None:
        """Turns the write-ahead log on, for the life of the file: readers and the writer never wait for each other.

        That needs the file for itself for a moment, and SQLite does not wait for it as it waits for a lock.
        """
        deadline = time.monotonic() + BUSY_SECONDS
        with self._alone() as connection:  # outside of any transaction: the mode cannot change inside one
            while connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
                try:
                    connection.execute("PRAGMA journal_mode = WAL").fetchone()
                except sqlite3.OperationalError as error:
                    if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                        raise
                    time.sleep(0.01)  # no float: a pause

    def sync(self) -> None:
        """Puts what was committed on the disk, where a power cut cannot reach it.

        That is the write-ahead log: what is no longer in it was synced by the checkpoint that took it out. A checkpoint
        now would do as well, but waits until nobody reads an earlier moment, and all writers wait for it.

        Raises:
            StoreError: when the disk fails.
        """
        path = self.location.path
        try:
            for file in (path.with_name(f"{path.name}-wal"), path.parent):
                _fsync(file)
        except OSError as error:
            msg = f"store {path}: it cannot be put on the disk: {error.strerror}"
            raise StoreError(msg) from error

    def empty_log(self) -> None:
        """Brings the write-ahead log into the file and empties it, unless somebody is still reading what is in it."""
        with self._alone() as connection:
            connection.execute("PRAGMA busy_timeout = 1000")  # other writers wait as long as we do
            try:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1_000}")

    def close(self) -> None:
        """Closes what is open."""
        with self._turn:
            self._let_go()
        with self._opening:
            if self._engine is not None:
                self._engine.dispose()

    def before_fork(self) -> None:
        """Waits for the end of what is being written, and closes what is not in use."""
        self._resting = self._turn.acquire(timeout=forks.SECONDS)
        if self._resting:
            self._let_go()
        if self._engine is not None:
            self._engine.dispose()

    def after_fork_in_parent(self) -> None:
        """Goes on."""
        if self._resting:
            self._turn.release()

    def after_fork_in_child(self) -> None:
        """Starts anew: what is held in the parent is held by nobody here."""
        self._turn, self._opening = threading.Lock(), threading.Lock()
        self._connection = self._engine = None

    @contextmanager
    def _alone(self) -> Generator[sqlite3.Connection]:
        """The writer's connection, with no other thread at it."""
        with self._turn, explained(self.location):
            if self._connection is None:
                self._connection = open_file(self.location)
            yield self._connection

    def _undo(self, connection: sqlite3.Connection) -> None:
        try:
            connection.rollback()
        except sqlite3.Error:  # of a file that is in a bad way; closing it undoes the transaction too
            self._let_go()

    def _let_go(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _fsync(path: Path) -> None:
    """Syncs a file that is there, or a folder's list of files, where the platform can."""
    if os.name == "nt" and path.is_dir():
        return
    try:
        descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    except FileNotFoundError:  # the last to close the file has brought it over, and synced that
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_file(location: Location) -> sqlite3.Connection:
    """A connection with the settings that every one has. Transactions begin where we say, not where the driver guesses.

    With a write-ahead log, ``synchronous = NORMAL`` can lose the last commits to a power cut, but never the file; and
    nothing to a killed process.
    """
    if forks.is_split(location.path):
        msg = f"store {location.path}: it was in use when this process was forked, which therefore cannot use it"
        raise StoreError(msg)
    connection = sqlite3.connect(
        location.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, factory=forks.Connection
    )
    forks.opened(connection, location.path)
    try:
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA secure_delete = ON")  # what was said in a call, once deleted, is nowhere in the file
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def explained(location: Location) -> Generator[None]:
    """Turns what the driver complains about into a :class:`StoreError` that says where, why and what to do."""
    try:
        yield
    except sqlite3.Error as error:
        raise explain(location, error) from error
    except (UnicodeEncodeError, OverflowError) as error:  # the driver's, for a value that it cannot hand over
        msg = f"store {location.path}: a value that cannot be kept or looked for: {error}"
        raise StoreError(msg) from error


def explain(location: Location, error: BaseException | None) -> StoreError:
    """What an error of the driver means."""
    name = getattr(error, "sqlite_errorname", "")
    advice = next((text for start, text in _ADVICE.items() if name.startswith(start)), None)
    cause = f"{error} ({name})" if name else str(error)
    return StoreError(f"store {location.path}: {cause}" + (f": {advice}" if advice else ""))
