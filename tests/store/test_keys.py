"""Virtual keys in the store: kept, changed, counted."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from taximeter.errors import StoreError
from taximeter.store import open_store
from taximeter.store.keys import Grants, KeyRecord, KeyStore
from tests.store.helpers import NOW, call

LATER = NOW + timedelta(days=1)
EVERYTHING = Grants(
    project="p",
    user="u",
    tags=(("a", "b"), ("c", "é")),
    models=("gpt-5*",),
    providers=("openai",),
    allow=("files", "batches"),
    cost_in_usage=False,
)


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[KeyStore]:
    """The keys of an empty store."""
    with KeyStore(str(tmp_path / "store.sqlite3")) as opened:
        yield opened


def _key(name: str, identity: str | None = None, **fields: object) -> KeyRecord:
    plain = KeyRecord(id=identity or f"key_{name}", name=name, hash=f"{name}00", created_at=NOW)
    return msgspec.structs.replace(plain, **fields)


def test_what_goes_in_comes_out(keys: KeyStore) -> None:
    """Every field, and what was never said stays unsaid."""
    every = _key("a", expires_at=LATER, grants=EVERYTHING)
    keys.create(every)
    keys.create(_key("b"))
    assert keys.read()[1] == [every, _key("b")]
    assert keys.find("a") == keys.find("key_a") == every


def test_every_change_is_another_version(keys: KeyStore, tmp_path: Path) -> None:
    """Also for another process; but noting that a key was used is no change."""
    with KeyStore(str(tmp_path / "store.sqlite3")) as other:
        seen = [other.version()]
        keys.create(_key("a"))
        seen.append(other.version())
        keys.rotate("a", hashed="new", now=NOW, grace=timedelta(hours=1))
        seen.append(other.version())
        keys.revoke("a", now=NOW)
        seen.append(other.version())
        keys.revoke("a", now=LATER)  # is revoked already
        keys.touch(["key_a"], now=NOW)
        seen.append(other.version())
        assert seen == [0, 1, 2, 3, 3]
        assert other.read()[0] == 3


def test_a_key_is_rotated_with_grace_or_without(keys: KeyStore) -> None:
    """The hash before is kept until the grace ends, and only that one; what the key may do stays."""
    keys.create(_key("a", grants=EVERYTHING))
    rotated = keys.rotate("a", hashed="b", now=NOW, grace=timedelta(hours=1))
    assert (rotated.hash, rotated.old_hash, rotated.old_until) == ("b", "a00", NOW + timedelta(hours=1))
    again = keys.rotate("key_a", hashed="c", now=NOW, grace=timedelta())
    assert (again.hash, again.old_hash, again.old_until, again.grants) == ("c", None, None, EVERYTHING)
    assert keys.find("a") == again


def test_a_key_that_ended_is_not_rotated(keys: KeyStore) -> None:
    """Neither a revoked nor an expired one comes to life again."""
    keys.create(_key("a"))
    keys.create(_key("b", expires_at=NOW))
    assert keys.revoke("a", now=NOW).state(NOW) == "revoked"
    for name, state in (("a", "revoked"), ("b", "expired")):
        with pytest.raises(StoreError, match=f"the key {name} is {state}; make a new one"):
            keys.rotate(name, hashed="x", now=NOW, grace=timedelta())


def test_a_revoked_key_keeps_no_old_form(keys: KeyStore) -> None:
    """One that was rotated a moment ago ends in both its forms."""
    keys.create(_key("a"))
    keys.rotate("a", hashed="b", now=NOW, grace=timedelta(hours=1))
    gone = keys.revoke("a", now=NOW)
    assert (gone.revoked_at, gone.old_hash) == (NOW, None)


def test_names_are_unique_among_keys_in_use(keys: KeyStore) -> None:
    """The name of a revoked key can be given again, and then means the new one; an id always means its own."""
    keys.create(_key("a"))
    with pytest.raises(StoreError, match="a key called 'a' is in use already"):
        keys.create(_key("a", "key_2", hash="2"))
    keys.revoke("a", now=NOW)
    keys.create(_key("a", "key_2", hash="2"))
    assert keys.find("a").id == "key_2"
    assert keys.find("key_a").id == "key_a"
    with pytest.raises(StoreError, match="there is no key 'nobody'; `taximeter key list`"):
        keys.revoke("nobody", now=NOW)


def test_use_is_noted_once_a_minute(keys: KeyStore) -> None:
    """A key that is always in use does not write always."""
    keys.create(_key("a"))
    for seconds, noted in ((0, 0), (30, 0), (61, 61)):
        keys.touch(["key_a", "key_nobody"], now=NOW + timedelta(seconds=seconds))
        assert keys.find("a").last_used_at == NOW + timedelta(seconds=noted)
    keys.touch([], now=NOW)


def test_keys_and_events_share_a_store(keys: KeyStore) -> None:
    """Neither counts the other's numbers up."""
    with open_store(str(keys.path)) as store:
        store.add([call("a")], recorded_at=NOW)
        keys.create(_key("a"))
        assert store.add([call("b")], recorded_at=NOW).new == 1
        assert store.count() == 2
    assert keys.version() == 1


def test_a_key_is_not_shown_with_its_hash() -> None:
    """What is logged of it is its id and its name."""
    assert repr(_key("a", hash="secret-hash")) == "<KeyRecord key_a 'a'>"


def test_state_is_by_the_clock() -> None:
    """A key ends at the very moment that it says."""
    record = _key("a", expires_at=LATER)
    assert record.state(LATER - timedelta(microseconds=1)) == "active"
    assert record.state(LATER) == "expired"
    assert _key("a", revoked_at=datetime(2026, 1, 1, tzinfo=UTC)).state(NOW) == "revoked"
