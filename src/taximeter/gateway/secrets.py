"""Secrets: provider keys and the key that hashes virtual keys. From the environment or from files of ours alone."""

from __future__ import annotations

import hmac
import os
import re
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from taximeter.errors import ConfigError

KEY_SECRET: Final = "TAXIMETER_KEY_SECRET"
"""The environment variable that holds the secret with which virtual keys are hashed."""

_LEAST_SECRET: Final = 16
_LINE: Final = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)")
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


class Variables(Mapping[str, str]):
    """The environment, and below it what a secrets file says. Its ``repr`` shows no value."""

    def __init__(self, environment: Mapping[str, str] | None = None, file: str | Path | None = None) -> None:
        found = {} if file is None else _read_file(Path(file).expanduser())
        self._values = found | dict(os.environ if environment is None else environment)

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"<Variables: {len(self)} names>"


def read_private(path: Path) -> str:
    """The text of a file that nobody but its owner may read.

    Raises:
        ConfigError: when it cannot be read, or others may read or write it.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if os.name == "posix" and mode & _OTHERS:  # elsewhere the mode does not say who may read
                msg = f"{path} holds secrets, and others may read or write it: chmod 600 {path}"
                raise ConfigError(msg)
            return file.read().decode()
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}"
        raise ConfigError(msg) from error
    except UnicodeDecodeError as error:
        msg = f"{path} is no text"  # its bytes are not shown
        raise ConfigError(msg) from error


def read_key_file(path: Path) -> str:
    """The key that is all that a file holds.

    Raises:
        ConfigError: as :func:`read_private`, and when it is no single word.
    """
    key = read_private(path).strip()
    if not key or not key.isascii() or any(sign.isspace() for sign in key):
        msg = f"{path} is to hold one key and nothing else"
        raise ConfigError(msg)
    return key


def _read_file(path: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, text in enumerate(read_private(path).splitlines(), start=1):
        line = text.strip()
        if not line or line.startswith("#"):
            continue
        said = _LINE.fullmatch(line)
        if said is None:
            msg = f"{path}, line {number}: NAME=value is wanted"  # the line is not shown: it may be half a secret
            raise ConfigError(msg)
        value = said[2]
        quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
        found[said[1]] = value[1:-1] if quoted else value
    return found


def key_secret(store: Path, environment: Mapping[str, str]) -> bytes:
    """The secret with which virtual keys are hashed: the environment's, else of a file beside the store.

    The file is made when it is first wanted. Who has the store but not the secret can neither test a guess nor make a
    key.

    Raises:
        ConfigError: when it cannot be read or made, is too short, or others may read it.
    """
    text = environment.get(KEY_SECRET, "").strip()
    path = store.with_name(f"{store.stem}.keysecret")
    if not text:
        if not path.exists():
            _make(path)
        text = read_private(path).strip()
    if len(text) < _LEAST_SECRET:
        where = KEY_SECRET if environment.get(KEY_SECRET, "").strip() else str(path)
        msg = f"{where}: a secret of at least {_LEAST_SECRET} characters is wanted"
        raise ConfigError(msg)
    return text.encode()


def _make(path: Path) -> None:
    """Makes the file whole or not at all; where two processes do, the first one's stays."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(file, secrets.token_hex(32).encode() + b"\n")
            os.fsync(file)
        finally:
            os.close(file)
        with suppress(FileExistsError):
            path.hardlink_to(draft)
    except OSError as error:
        msg = f"{path} cannot be made: {error.strerror}; or set {KEY_SECRET}"
        raise ConfigError(msg) from error
    finally:
        draft.unlink(missing_ok=True)


def keyed_hash(secret: bytes, text: bytes) -> bytes:
    """The HMAC-SHA256 of a key: 32 bytes that say nothing about it to who does not have the secret."""
    return hmac.digest(secret, text, "sha256")
