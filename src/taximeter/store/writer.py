"""What a transaction that writes tells SQLite, in the words of its driver.

Through SQLAlchemy a transaction takes 140 µs and not 13, and an application that makes a call now and then pays that
with nearly every call.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import compress
from typing import Final

from taximeter.store.columns import COLUMNS
from taximeter.store.encode import Row, Rows

_PAGE: Final = 500  # ids looked up in one statement: well below SQLite's bound of 32,766 values
_TAKE: Final = "UPDATE counters SET value = value + ? WHERE name = 'seq' RETURNING value"
_FORGET: Final = """
    DELETE FROM contents WHERE event_seq IN (
        SELECT event_seq FROM contents JOIN events ON seq = event_seq
        WHERE event_seq > ? AND started_at < ? ORDER BY event_seq LIMIT ?
    ) RETURNING event_seq
"""


class DuplicateError(Exception):
    """A record of a batch is in the store already, or twice in the batch."""


class Writer:
    """The statements of one transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def take(self, count: int) -> int:
        """Takes so many numbers; the last one that was given out before.

        From here to the commit nobody else can take any: it changes the row, if only to what it was.
        """
        (last,) = self._connection.execute(_TAKE, (count,)).fetchone()
        return last - count

    def begin_again(self) -> None:
        """Undoes everything, and begins anew."""
        self._connection.execute("ROLLBACK")
        self._connection.execute("BEGIN IMMEDIATE")

    def insert(self, rows: Rows) -> None:
        """Inserts the rows of a batch.

        Raises:
            DuplicateError: when one is of a record that is known; the transaction is of no more use then.
            StoreError: when one holds what cannot be kept; it names the record.
        """
        try:
            for table, values in rows.by_table.items():
                if values:
                    self._insert(table, values)
        except sqlite3.IntegrityError as error:
            if error.sqlite_errorname == "SQLITE_CONSTRAINT_UNIQUE":
                raise DuplicateError from error
            raise
        except (UnicodeEncodeError, OverflowError, sqlite3.InterfaceError, sqlite3.ProgrammingError):
            rows.check()  # to name the record; what it does not find is explained as it is
            raise

    def known_events(self, ids: Sequence[str]) -> Iterator[str]:
        """Those of the ids that events have."""
        for page in pages(ids):
            statement = f"SELECT id FROM events WHERE id IN ({_places(len(page))})"  # noqa: S608 - question marks
            yield from (name for (name,) in self._connection.execute(statement, page))

    def forget_contents(self, *, after: int, before: int, at_most: int) -> list[int]:
        """Deletes the contents of the next events past a number that started before a moment; the numbers of them."""
        return [seq for (seq,) in self._connection.execute(_FORGET, (after, before, at_most)).fetchall()]

    def _insert(self, table: str, rows: list[Row]) -> None:
        # Columns that are empty in all rows are left out: handing over a None takes the driver 0.3 µs, longer than most
        # texts, because it first looks whether somebody has registered an adapter for it.
        columns = list(zip(*rows, strict=True))
        filled = tuple(any(value is not None for value in column) for column in columns)
        self._connection.executemany(_insertion(table, filled), zip(*compress(columns, filled), strict=True))


@lru_cache(maxsize=256)
def _insertion(table: str, filled: tuple[bool, ...]) -> str:
    names = list(compress(COLUMNS[table], filled))
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({_places(len(names))})"  # noqa: S608 - our own names


def pages(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Ids in such numbers as can be asked for at once."""
    return (ids[start : start + _PAGE] for start in range(0, len(ids), _PAGE))


def _places(count: int) -> str:
    """Where values go in a statement, as SQLite's driver writes it."""
    return ", ".join("?" * count)
