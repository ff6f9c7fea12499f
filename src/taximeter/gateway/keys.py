"""Virtual keys: how they are made and told from others, and the ring of those that are taken, held by each worker.

A key is ``tmk-``, 32 random bytes as 43 letters and digits, and six more that are their checksum, so that a slip of the
pen is told from a key that was revoked, and scanners of leaked secrets are not misled.
"""

from __future__ import annotations

import hmac
import logging
import re
import secrets
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

import msgspec

from taximeter.errors import StoreError
from taximeter.gateway.secrets import keyed_hash
from taximeter.store.keys import KeyRecord, KeyStore

_log = logging.getLogger("taximeter")

PREFIX: Final = "tmk-"
"""What every virtual key begins with."""

_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BODY: Final = 43  # digits that 32 bytes take
_CHECK: Final = 6  # digits that 32 bits take
_SHAPE: Final = re.compile(rf"{PREFIX}([0-9A-Za-z]{{{_BODY}}})([0-9A-Za-z]{{{_CHECK}}})")

POLL_SECONDS: Final = 1.0
"""How often a worker asks whether keys have changed: a key that is revoked is refused everywhere two seconds later."""

_TOUCH_SECONDS: Final = 30.0


def mint() -> str:
    """A new key."""
    body = _base62(secrets.randbits(256), _BODY)
    return PREFIX + body + _checksum(body)


def new_key_id() -> str:
    """A new key's id: no secret."""
    return f"key_{_base62(secrets.randbits(71), 12)}"


def is_plausible(text: str) -> bool:
    """Whether a text can be a key: of the right shape, its checksum right."""
    found = _SHAPE.fullmatch(text)
    return found is not None and _checksum(found[1]) == found[2]


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CHECK)


def _base62(number: int, digits: int) -> str:
    made: list[str] = []
    for _ in range(digits):
        number, digit = divmod(number, len(_DIGITS))
        made.append(_DIGITS[digit])
    return "".join(reversed(made))


def hash_key(secret: bytes, key: str) -> str:
    """The keyed hash under which a key is kept, in hexadecimal."""
    return keyed_hash(secret, key.encode()).hex()


class Held(msgspec.Struct, frozen=True):
    """A key as it is held in memory.

    Attributes:
        record: what it may do.
        hash: its keyed hash.
        until: the second of the clock from which on it is not taken; ``None``: it does not end.
    """

    record: KeyRecord
    hash: bytes
    until: float | None

    def __repr__(self) -> str:
        return f"<Held {self.record!r}>"


class KeyRing:
    """The keys that are taken. A look-up is in memory; a thread reads them again when they have changed.

    When the store cannot be read, the keys that are known stay in force, and that is logged once.
    """

    def __init__(self, store: KeyStore, secret: bytes, clock: Callable[[], float] = time.time) -> None:
        """Reads the keys.

        Args:
            store: where they are.
            secret: with which they are hashed.
            clock: the seconds since 1970.

        Raises:
            StoreError: when they cannot be read.
        """
        self._store = store
        self._secret = secret
        self._clock = clock
        self._version = -1
        self._held: Mapping[bytes, Held] = {}
        self._used: set[str] = set()
        self._touched = clock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._silent = False
        self.refresh()

    def start(self) -> None:
        """Starts the thread that keeps up with changes."""
        self._thread = threading.Thread(target=self._follow, name="taximeter-keys", daemon=True)
        self._thread.start()

    def close(self, *, wait: bool = True) -> None:
        """Ends the thread, which closes the store. The keys that are known can be looked up still.

        Args:
            wait: until it has ended.
        """
        self._stop.set()
        if self._thread is None:
            self._end()
        elif wait:
            self._thread.join()

    def find(self, key: str) -> KeyRecord | None:
        """The record of a key, if it is taken now."""
        hashed = keyed_hash(self._secret, key.encode())
        held = self._held.get(hashed)
        # Whoever does not have the secret cannot choose hashes, so that how long a look-up takes tells nothing; the
        # comparison is in constant time all the same.
        if held is None or not hmac.compare_digest(held.hash, hashed):
            return None
        if held.until is not None and self._clock() >= held.until:
            return None
        self._used.add(held.record.id)
        return held.record

    def __len__(self) -> int:
        return len(self._held)

    def refresh(self) -> bool:
        """Reads the keys again if they have changed; whether they had.

        Raises:
            StoreError: when they cannot be read.
        """
        if self._store.version() == self._version:
            return False
        version, records = self._store.read()
        held: dict[bytes, Held] = {}
        now = datetime.now(UTC)
        for record in records:
            if record.state(now) == "active":
                until = _seconds(record.expires_at)
                hashed = bytes.fromhex(record.hash)
                held[hashed] = Held(record, hashed, until)
                if record.old_hash is not None:
                    old = bytes.fromhex(record.old_hash)
                    ends = [moment for moment in (until, _seconds(record.old_until)) if moment is not None]
                    held[old] = Held(record, old, min(ends))
        self._held = held  # at once: a look-up sees the old keys or the new ones
        self._version = version
        return True

    def _end(self) -> None:
        with suppress(StoreError):  # when a key was used last is not worth a word at the end
            self._touch()
        self._store.close()

    def _follow(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            try:
                self.refresh()
                if self._clock() - self._touched >= _TOUCH_SECONDS:
                    self._touch()
                self._silent = False
            except Exception as error:  # noqa: BLE001 - the keys that are known stay in force; the next round tries again
                if not self._silent:
                    _log.error("virtual keys cannot be read; those that are known stay in force", exc_info=error)
                self._silent = True
        self._end()

    def _touch(self) -> None:
        used, self._used = self._used, set()
        self._touched = self._clock()
        self._store.touch(used, now=datetime.now(UTC))


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
