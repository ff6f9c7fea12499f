"""Everything that is SQLite's own: how it is opened, how a transaction begins, and what its errors mean.

Another engine is another module like this one; tables and queries are the same for all.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import lru_cache
from operator import itemgetter
from typing import Final

from sqlalchemy import URL, Connection, Dialect, Engine, Table, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

from taximeter.errors import StoreError
from taximeter.store.location import Location

BUSY_SECONDS: Final = 30
"""How long a writer waits for another one before it gives up."""

_BEGIN: Final = "taximeter_begin"

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


def connect(location: Location) -> Engine:
    """An engine for a store's file; nothing is opened yet."""
    url = URL.create("sqlite+pysqlite", database=str(location.path))
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", _on_connect)
    event.listen(engine, "begin", _on_begin)
    return engine


def insert(connection: Connection, table: Table, rows: Sequence[Mapping[str, object]]) -> None:
    """Inserts rows that all have every column of the table.

    They go to the driver as they are, since text, integers and booleans need no conversion: that is half as long again
    as the driver takes.
    """
    statement, columns = _insertion(table, connection.dialect)
    connection.exec_driver_sql(statement, rows if columns is None else list(map(columns, rows)))


@lru_cache(maxsize=64)
def _insertion(table: Table, dialect: Dialect) -> tuple[str, Callable[[Mapping[str, object]], object] | None]:
    """The statement, and what puts a row into the order of its places; compiling one costs more than a small batch."""
    compiled = table.insert().compile(dialect=dialect)
    order = compiled.positiontup
    return str(compiled), None if order is None else itemgetter(*order)


def write_ahead(engine: Engine, location: Location) -> None:
    """Turns the write-ahead log on, for the life of the file, so that readers and the writer never wait for each other.

    That needs the file for itself for a moment, and SQLite does not wait for it as it waits for a lock.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    with explained(location), closing(engine.raw_connection()) as connection:
        cursor = connection.cursor()  # of the driver itself: the mode cannot change inside a transaction
        while cursor.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            try:
                cursor.execute("PRAGMA journal_mode = WAL").fetchone()
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)  # no float: a pause


def checkpoint(engine: Engine, location: Location) -> None:
    """Brings the write-ahead log into the file, and both to the disk, where a power cut cannot reach them."""
    with explained(location), closing(engine.raw_connection()) as connection:
        connection.cursor().execute("PRAGMA wal_checkpoint(FULL)").fetchone()


@contextmanager
def transaction(engine: Engine, location: Location, *, write: bool) -> Generator[Connection]:
    """One transaction. A reader sees one moment of the store and blocks nobody; writers take turns.

    A writer takes the lock when it begins (``IMMEDIATE``): one that read first and wrote later could find that another
    had written in between, and would fail without waiting.
    """
    begin = "BEGIN IMMEDIATE" if write else "BEGIN"
    with explained(location), engine.execution_options(**{_BEGIN: begin}).begin() as connection:
        yield connection


@contextmanager
def explained(location: Location) -> Generator[None]:
    """Turns what the database complains about into a :class:`StoreError` that says where, why and what to do."""
    try:
        yield
    except DBAPIError as error:
        raise _explain(location, error.orig) from error
    except sqlite3.Error as error:
        raise _explain(location, error) from error
    except (UnicodeEncodeError, OverflowError) as error:  # the driver's, for a value that it cannot hand over
        msg = f"store {location.path}: a value that cannot be kept or looked for: {error}"
        raise StoreError(msg) from error


def _explain(location: Location, error: BaseException | None) -> StoreError:
    name = getattr(error, "sqlite_errorname", "")
    advice = next((text for start, text in _ADVICE.items() if name.startswith(start)), None)
    cause = f"{error} ({name})" if name else str(error)
    return StoreError(f"store {location.path}: {cause}" + (f": {advice}" if advice else ""))


def _on_connect(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    if not isinstance(connection, sqlite3.Connection):
        msg = f"a connection of SQLite was expected, not {type(connection)}"
        raise TypeError(msg)
    connection.isolation_level = None  # transactions begin where _on_begin says, not where the driver guesses
    # With a write-ahead log, NORMAL can lose the last commits to a power cut, but never the file; and to a killed
    # process nothing.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")


def _on_begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN, "BEGIN"))
