"""Brings a store's tables to this version's. Alembic is imported only when there is something to do."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, inspect, text

from taximeter.errors import StoreError
from taximeter.store.engine import transaction, write_ahead
from taximeter.store.location import Location

REVISIONS: Final = ("0001",)
"""The migrations that this version knows, oldest first; the last is the schema that it reads and writes."""

MIGRATIONS: Final = Path(__file__).parent / "migrations"

_VERSION_TABLE: Final = "alembic_version"


def prepare(engine: Engine, location: Location) -> None:
    """Creates the tables of a new file, or migrates those of an older version, in one transaction.

    Raises:
        StoreError: when the file belongs to a newer version, or to something else.
    """
    with transaction(engine, location, write=False) as connection:
        revision = _revision(connection, location)  # before anything is written: the file may be somebody else's
    write_ahead(engine, location)
    if revision == REVISIONS[-1]:
        return
    with transaction(engine, location, write=True) as connection:
        migrate(connection)  # nothing, where another process was first


def migrate(connection: Connection, revision: str = "head") -> None:
    """Runs the migrations up to a revision inside the connection's transaction."""
    from alembic import command  # noqa: PLC0415 - some 100 ms that an up-to-date store does not pay
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _revision(connection: Connection, location: Location) -> str | None:
    """The revision that the file is at; ``None`` for an empty one."""
    tables = inspect(connection).get_table_names()
    if not tables:
        return None
    if _VERSION_TABLE not in tables or "events" not in tables:
        msg = f"{location.path} is a database of something else, not a store; name another file"
        raise StoreError(msg)
    revision = connection.execute(text(f"SELECT version_num FROM {_VERSION_TABLE}")).scalar_one()  # noqa: S608 - a constant
    if revision not in REVISIONS:
        msg = (
            f"store {location.path} was written by a newer version of Taximeter (schema {revision}, "
            f"this one knows up to {REVISIONS[-1]}); upgrade Taximeter"
        )
        raise StoreError(msg)
    return str(revision)
