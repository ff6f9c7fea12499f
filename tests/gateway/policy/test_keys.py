"""Virtual keys: their shape, and the ring of those that are taken."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from taximeter.gateway.keys import POLL_SECONDS, KeyRing, hash_key, is_plausible, mint, new_key_id
from taximeter.store.keys import Grants, KeyRecord, KeyStore
from tests.gateway.policy.helpers import Keyed

NOW = datetime(2026, 11, 22, tzinfo=UTC)


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = NOW.timestamp()

    def __call__(self) -> float:
        """The seconds since 1970."""
        return self.now


def test_a_key_has_a_shape_and_a_checksum() -> None:
    """Every one is new; a letter that is wrong, missing or too much is told from a key that is not known."""
    made = {mint() for _ in range(100)}
    assert len(made) == 100
    for key in made:
        assert key.startswith("tmk-")
        assert len(key) == 53
        assert is_plausible(key)
        other = "b" if key[10] == "a" else "a"
        assert not is_plausible(key[:10] + other + key[11:])
        assert not is_plausible(key[:-1])
        assert not is_plausible(key + "a")
    assert new_key_id().startswith("key_")


def test_only_a_keyed_hash_is_kept(keyed: Keyed) -> None:
    """Neither the key nor a plain hash of it is in the store's files."""
    key = keyed.key()
    files = b"".join(path.read_bytes() for path in keyed.store.path.parent.iterdir())
    assert key.encode() not in files
    assert key[4:].encode() not in files
    assert hash_key(keyed.secret, key).encode() in files
    assert hash_key(b"another secret 123", key) != hash_key(keyed.secret, key)


def test_a_key_is_taken_until_it_ends(tmp_path: Path) -> None:
    """Known, expired by the clock alone, rotated with grace, and its older form refused afterwards."""
    clock, secret = Clock(), b"0123456789abcdef"
    store = KeyStore(str(tmp_path / "store.sqlite3"))
    old, new = mint(), mint()
    soon = datetime.now(UTC) + timedelta(days=1)
    store.create(KeyRecord(id="k", name="a", hash=hash_key(secret, old), created_at=NOW, expires_at=soon))
    ring = KeyRing(store, secret, clock)
    assert ring.find(mint()) is None
    found = ring.find(old)
    assert found is not None
    assert found.id == "k"
    store.rotate("a", hashed=hash_key(secret, new), now=datetime.now(UTC), grace=timedelta(hours=1))
    assert ring.refresh()
    assert not ring.refresh()
    assert ring.find(old) is not None
    assert ring.find(new) is not None
    clock.now = (datetime.now(UTC) + timedelta(hours=2)).timestamp()
    assert ring.find(old) is None
    assert ring.find(new) is not None
    clock.now = soon.timestamp()
    assert ring.find(new) is None
    ring.close()


def test_a_ring_keeps_up_with_changes(tmp_path: Path) -> None:
    """A key that another process makes or revokes is known or refused within two seconds."""
    store = KeyStore(str(tmp_path / "store.sqlite3"))
    secret, key = b"0123456789abcdef", mint()
    ring = KeyRing(store, secret)
    ring.start()
    turn = threading.Event()
    with KeyStore(str(tmp_path / "store.sqlite3")) as other:
        other.create(KeyRecord(id="k", name="a", hash=hash_key(secret, key), created_at=NOW))
        deadline = datetime.now(UTC) + timedelta(seconds=2 * POLL_SECONDS)
        while ring.find(key) is None and datetime.now(UTC) < deadline:
            turn.wait(0.02)
        assert ring.find(key) is not None
        other.revoke("a", now=datetime.now(UTC))
        deadline = datetime.now(UTC) + timedelta(seconds=2 * POLL_SECONDS)
        while ring.find(key) is not None and datetime.now(UTC) < deadline:
            turn.wait(0.02)
        assert ring.find(key) is None
    ring.close()


def test_a_store_that_fails_leaves_the_keys_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What is known stays so, it is logged once, and the thread lives on."""
    monkeypatch.setattr("taximeter.gateway.keys.POLL_SECONDS", 0.01)
    store = KeyStore(str(tmp_path / "store.sqlite3"))
    secret, key = b"0123456789abcdef", mint()
    store.create(KeyRecord(id="k", name="a", hash=hash_key(secret, key), created_at=NOW))
    ring = KeyRing(store, secret)
    asked = threading.Semaphore(0)
    version = store.version

    def fails() -> int:
        asked.release()
        msg = "the disk is gone"
        raise OSError(msg)

    monkeypatch.setattr(store, "version", fails)
    ring.start()
    for _ in range(3):
        assert asked.acquire(timeout=5)
    assert ring.find(key) is not None
    assert [record.message for record in caplog.records] == [
        "virtual keys cannot be read; those that are known stay in force"
    ]
    monkeypatch.setattr(store, "version", version)
    ring.close()


def test_use_is_noted_coarsely(tmp_path: Path) -> None:
    """When a ring ends at the latest, the store knows when a key was used last; one that was not used has no time."""
    path = str(tmp_path / "store.sqlite3")
    secret, key = b"0123456789abcdef", mint()
    store = KeyStore(path)
    store.create(KeyRecord(id="k", name="a", hash=hash_key(secret, key), created_at=NOW, grants=Grants()))
    store.create(KeyRecord(id="l", name="b", hash="00", created_at=NOW))
    ring = KeyRing(store, secret)
    ring.find(key)
    version = store.version()
    ring.close()
    with KeyStore(path) as again:
        assert again.find("a").last_used_at is not None
        assert again.find("b").last_used_at is None
        assert again.version() == version
