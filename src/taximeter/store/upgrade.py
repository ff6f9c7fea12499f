"""Makes a store's tables, and brings those of an older version to this one's."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Final

from taximeter.errors import StoreError
from taximeter.store.engine import Database
from taximeter.store.location import Location

if TYPE_CHECKING:
    from sqlalchemy import Connection

REVISIONS: Final = ("0001", "0002", "0003")
"""The migrations that this version knows, oldest first; the last is the schema that it reads and writes."""

MIGRATIONS: Final = Path(__file__).parent / "migrations"

TABLES: Final = Path(__file__).parent / "tables.sql"
"""What SQLite is told to make the tables of ``schema.py``: ready-made, so that a new store loads no SQLAlchemy."""

COUNTERS: Final = ("seq", "keys")
"""What ``counters`` counts."""

_VERSION_TABLE: Final = "alembic_version"
_NAMES: Final = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite~_%' ESCAPE '~'"


def prepare(database: Database) -> None:
    """Creates the tables of a new file, or migrates those of an older version, in one transaction.

    Raises:
        StoreError: when the file belongs to a newer version, or to something else.
    """
    with database.plain(write=False) as connection:  # before anything is written: the file may be somebody else's
        revision = _revision(connection, database.location)
    database.write_ahead()
    if revision is None:
        with database.plain(write=True) as connection:
            revision = _revision(connection, database.location)  # again: another process may have been first
            if revision is None:
                revision = create(connection)
    if revision != REVISIONS[-1]:
        with database.alchemy(write=True) as migrating:
            migrate(migrating)  # nothing, where another process was first


def create(connection: sqlite3.Connection) -> str:
    """Makes the tables of this version inside the connection's transaction; the revision that they are at."""
    for statement in TABLES.read_text(encoding="utf-8").strip().split(";\n"):
        connection.execute(statement)
    connection.executemany("INSERT INTO counters (name, value) VALUES (?, 0)", [(name,) for name in COUNTERS])
    connection.execute(f"INSERT INTO {_VERSION_TABLE} (version_num) VALUES (?)", REVISIONS[-1:])  # noqa: S608 - a constant
    return REVISIONS[-1]


def migrate(connection: Connection, revision: str = "head") -> None:
    """Runs the migrations up to a revision inside the connection's transaction."""
    from alembic import command  # noqa: PLC0415 - some 100 ms that an up-to-date store does not pay
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _revision(connection: sqlite3.Connection, location: Location) -> str | None:
    """The revision that the file is at; ``None`` for an empty one."""
    tables = {name for (name,) in connection.execute(_NAMES)}
    if not tables:
        return None
    if _VERSION_TABLE not in tables or "events" not in tables:
        msg = f"{location.path} is a database of something else, not a store; name another file"
        raise StoreError(msg)
    (revision,) = connection.execute(f"SELECT version_num FROM {_VERSION_TABLE}").fetchone()  # noqa: S608 - a constant
    if revision not in REVISIONS:
        msg = (
            f"store {location.path} was written by a newer version of Taximeter (schema {revision}, "
            f"this one knows up to {REVISIONS[-1]}); upgrade Taximeter"
        )
        raise StoreError(msg)
    return str(revision)
