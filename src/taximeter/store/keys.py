"""Virtual keys, as the store keeps them: what each may do, and a keyed hash in place of the key itself.

Every change counts ``counters.keys`` up, in its own transaction: who has read the keys at a version needs to read them
again only when the version is another.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Final, Self

import msgspec

from taximeter.errors import StoreError
from taximeter.store import clock
from taximeter.store.engine import Database
from taximeter.store.location import locate
from taximeter.store.store import open_store

_COARSE: Final = timedelta(minutes=1)
_COLUMNS: Final = (
    "id",
    "name",
    "hash",
    "old_hash",
    "created_at",
    "expires_at",
    "revoked_at",
    "old_until",
    "last_used_at",
    "grants",
)
_NAMES: Final = ", ".join(_COLUMNS)
_VERSION: Final = "SELECT value FROM counters WHERE name = 'keys'"
_COUNT: Final = "UPDATE counters SET value = value + 1 WHERE name = 'keys'"
_ALL: Final = f"SELECT {_NAMES} FROM virtual_keys ORDER BY created_at, id"  # noqa: S608 - our own names
_INSERT: Final = f"INSERT INTO virtual_keys ({_NAMES}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608 - as above
_REPLACE: Final = f"UPDATE virtual_keys SET {', '.join(f'{name} = ?' for name in _COLUMNS)} WHERE id = ?"  # noqa: S608 - as above
_IN_USE: Final = "SELECT 1 FROM virtual_keys WHERE name = ? AND revoked_at IS NULL"
_TOUCH: Final = """
    UPDATE virtual_keys SET last_used_at = :now WHERE id = :id AND (last_used_at IS NULL OR last_used_at <= :before)
"""


class Grants(msgspec.Struct, frozen=True, kw_only=True):
    """What a key is bound to and may do.

    Attributes:
        project: to which its calls are attributed.
        user: as above.
        tags: as above.
        models: globs of the models that it may ask for; empty: any.
        providers: the upstreams that it may call; empty: any.
        allow: what it may do beyond calls that are metered and what is free.
        cost_in_usage: whether its answers tell their cost; ``None``: as the gateway is set.
    """

    project: str | None = None
    user: str | None = None
    tags: tuple[tuple[str, str], ...] = ()
    models: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    cost_in_usage: bool | None = None


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A virtual key.

    Attributes:
        id: names it for good.
        name: what people call it; no two keys in use have the same.
        hash: the keyed hash of the key, in hexadecimal.
        created_at: when it was made.
        expires_at: from when on it is not taken any more.
        revoked_at: since when it is not.
        old_hash: of the key that it had before it was rotated.
        old_until: until when that one is taken still.
        last_used_at: when it was used last, give or take a minute.
        grants: what it is bound to and may do.
    """

    id: str
    name: str
    hash: str
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    old_hash: str | None = None
    old_until: datetime | None = None
    last_used_at: datetime | None = None
    grants: Grants = Grants()

    def __repr__(self) -> str:
        return f"<KeyRecord {self.id} {self.name!r}>"

    def state(self, now: datetime) -> str:
        """``active``, ``expired`` or ``revoked``."""
        if self.revoked_at is not None and self.revoked_at <= now:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "active"


class KeyStore:
    """The keys of a store. May be used from several threads, and by several processes, at once."""

    def __init__(self, url: str | None = None) -> None:
        """Opens the store, as :func:`taximeter.store.open_store` does.

        Args:
            url: of the store; ``None``: the default one.

        Raises:
            ConfigError: when the URL names no kind of store that there is.
            StoreError: when it cannot be opened.
        """
        with open_store(url) as store:  # makes it, or brings it to this version's tables
            self._database = Database(locate(store.url))
        self.path = self._database.location.path

    def version(self) -> int:
        """Another number after every change."""
        with self._transaction(write=False) as connection:
            return _version(connection)

    def read(self) -> tuple[int, list[KeyRecord]]:
        """The version, and every key at it, oldest first."""
        with self._transaction(write=False) as connection:
            return _version(connection), _all(connection)

    def find(self, name: str) -> KeyRecord:
        """The key of an id, or of a name; of several with that name the one that is in use, else the newest.

        Raises:
            StoreError: when there is none.
        """
        with self._transaction(write=False) as connection:
            return _find(connection, name)

    def create(self, record: KeyRecord) -> None:
        """Adds a key.

        Raises:
            StoreError: when a key in use has its name already.
        """
        with self._transaction(write=True) as connection:
            if connection.execute(_IN_USE, (record.name,)).fetchone() is not None:
                msg = f"a key called {record.name!r} is in use already; revoke it, rotate it, or choose another name"
                raise StoreError(msg)
            connection.execute(_INSERT, _row(record))
            connection.execute(_COUNT)

    def revoke(self, name: str, *, now: datetime) -> KeyRecord:
        """Ends a key, its older form too. One that is revoked stays as it is.

        Raises:
            StoreError: when there is none of this id or name.
        """
        with self._transaction(write=True) as connection:
            record = _find(connection, name)
            if record.revoked_at is not None:
                return record
            return _change(connection, record, revoked_at=now, old_hash=None, old_until=None)

    def rotate(self, name: str, *, hashed: str, now: datetime, grace: timedelta) -> KeyRecord:
        """Gives a key a new secret; the one that it had is taken for a while still.

        Args:
            name: its id or name.
            hashed: the keyed hash of the new one.
            now: the time.
            grace: how long the old one is taken; none at all for a key that leaked.

        Raises:
            StoreError: when there is none, or it is not in use any more.
        """
        with self._transaction(write=True) as connection:
            record = _find(connection, name)
            if record.state(now) != "active":
                msg = f"the key {record.name} is {record.state(now)}; make a new one"
                raise StoreError(msg)
            kept = (record.hash, now + grace) if grace > timedelta() else (None, None)
            return _change(connection, record, hash=hashed, old_hash=kept[0], old_until=kept[1])

    def touch(self, ids: Iterable[str], *, now: datetime) -> None:
        """Notes that keys were used; no more than once a minute each."""
        before, moment = clock.micros(now - _COARSE, "now"), clock.micros(now, "now")
        used = [{"id": identity, "before": before, "now": moment} for identity in ids]
        if used:
            with self._transaction(write=True) as connection:
                connection.executemany(_TOUCH, used)

    def close(self) -> None:
        """Closes the file."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _transaction(self, *, write: bool) -> AbstractContextManager[sqlite3.Connection]:
        return self._database.plain(write=write)


def new_record(name: str, identity: str, hashed: str, grants: Grants, *, expires_at: datetime | None) -> KeyRecord:
    """The record of a key that is made now."""
    now = datetime.now(UTC)
    return KeyRecord(id=identity, name=name, hash=hashed, created_at=now, expires_at=expires_at, grants=grants)


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute(_VERSION).fetchone()
    return version


def _all(connection: sqlite3.Connection) -> list[KeyRecord]:
    return [_record(row) for row in connection.execute(_ALL)]


def _find(connection: sqlite3.Connection, name: str) -> KeyRecord:
    found = [record for record in _all(connection) if name in {record.id, record.name}]
    if not found:
        msg = f"there is no key {name!r}; `taximeter key list` shows those that there are"
        raise StoreError(msg)
    return max(found, key=lambda record: (record.id == name, record.revoked_at is None, record.created_at))


def _change(connection: sqlite3.Connection, record: KeyRecord, **changes: object) -> KeyRecord:
    changed = msgspec.structs.replace(record, **changes)
    connection.execute(_REPLACE, (*_row(changed), record.id))
    connection.execute(_COUNT)
    return changed


def _row(record: KeyRecord) -> tuple[object, ...]:
    """The values of the columns, in their order."""
    values = [getattr(record, name) for name in _COLUMNS]
    values[-1] = msgspec.json.encode(record.grants).decode()
    return tuple(clock.micros(value, "a key") if isinstance(value, datetime) else value for value in values)


def _record(row: tuple[object, ...]) -> KeyRecord:
    fields = dict(zip(_COLUMNS, row, strict=True))
    for name, value in fields.items():
        if isinstance(value, int):  # no other column holds numbers
            fields[name] = clock.moment(value)
    fields["grants"] = msgspec.json.decode(str(fields["grants"]), type=Grants)
    return msgspec.convert(fields, KeyRecord)
