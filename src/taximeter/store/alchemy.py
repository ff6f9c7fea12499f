"""SQLAlchemy over a store's file: for what is read, and for what changes the tables."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from taximeter.store.engine import explain, explained, open_file
from taximeter.store.location import Location

_BEGIN: Final = "taximeter_begin"


def connect(location: Location) -> Engine:
    """An engine for a store's file; nothing is opened yet."""
    url = URL.create("sqlite+pysqlite", database=str(location.path))
    engine = create_engine(url, creator=lambda: open_file(location))
    event.listen(engine, "begin", _on_begin)
    return engine


@contextmanager
def transaction(engine: Engine, location: Location, *, write: bool) -> Generator[Connection]:
    """One transaction. A reader sees one moment of the store, and blocks nobody; a writer has the lock all the time."""
    begun = engine.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"}) if write else engine
    with explained(location):
        try:
            with begun.begin() as connection:
                yield connection
        except DBAPIError as error:
            raise explain(location, error.orig) from error


def _on_begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN, "BEGIN"))
