"""What pricing keeps on disk: the compiled catalogue, and where the user's own rate cards are looked for.

Compiling takes a third of a second, reading its result a hundredth, so only the first process after an upgrade
compiles. The cache file is a digest and the catalogue as MessagePack. One that is missing, cut short, damaged, of
another format or that cannot be written is no error: the catalogue is compiled again.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path

import msgspec

from taximeter.errors import ConfigError
from taximeter.pricing.catalogue import FORMAT, Catalogue
from taximeter.pricing.compiling import compile_catalogue
from taximeter.pricing.usercards import UserCards, parse_rate_cards

_DIGEST_BYTES = 16


def load_catalogue(folder: Path | None = None) -> Catalogue:
    """The catalogue of the installed ``genai-prices``.

    Args:
        folder: where compiled catalogues are kept; :func:`cache_folder` when not given.
    """
    from importlib import metadata  # noqa: PLC0415 - takes 15 ms; who imports us may never load a book

    version = metadata.version("genai-prices")
    path = (folder or cache_folder()) / f"genai-prices-{version}-format-{FORMAT}.msgpack"
    catalogue = _read(path)
    if catalogue is None or catalogue.version != version or catalogue.format != FORMAT:
        catalogue = compile_catalogue(version)
        _write(path, catalogue)
    return catalogue


def cache_folder() -> Path:
    """Where compiled catalogues are kept: ``TAXIMETER_CACHE``, or ``taximeter`` in the user's cache folder."""
    if chosen := os.environ.get("TAXIMETER_CACHE"):
        return Path(chosen)
    return _user_folder("XDG_CACHE_HOME", ".cache") / "taximeter"


def read_rate_cards(path: Path | None = None) -> UserCards | None:
    """The user's own rate cards; ``None`` when there are none.

    Args:
        path: their file. When not given: ``TAXIMETER_RATE_CARDS``, or else ``taximeter/rate-cards.toml`` in the user's
            folder of settings, if there is one.

    Raises:
        ConfigError: when the file cannot be read, or any of it cannot be used.
    """
    if path is None:
        chosen = os.environ.get("TAXIMETER_RATE_CARDS")
        path = Path(chosen) if chosen else _user_folder("XDG_CONFIG_HOME", ".config") / "taximeter" / "rate-cards.toml"
        if not chosen and not path.is_file():
            return None
    try:
        content = path.read_bytes()
    except OSError as error:
        msg = f"{path}: the rate cards cannot be read: {error.strerror}"
        raise ConfigError(msg) from error
    return parse_rate_cards(content, str(path))


def _user_folder(variable: str, default: str) -> Path:
    base = os.environ.get(variable) or os.environ.get("LOCALAPPDATA")
    if base:
        return Path(base)
    # expanduser, unlike Path.home(), never raises: without a home the path is odd, and merely cannot be written.
    return Path(os.path.expanduser("~")) / default  # noqa: PTH111


def _read(path: Path) -> Catalogue | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, packed = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if digest != _digest(packed):
        return None
    try:
        return msgspec.msgpack.decode(packed, type=Catalogue)
    except msgspec.DecodeError:
        return None


def _write(path: Path, catalogue: Catalogue) -> None:
    packed = msgspec.msgpack.encode(catalogue)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        # A reader sees the old file or the whole new one; of several writers, the last wins with the same bytes.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(_digest(packed) + packed)
            Path(name).replace(path)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise


def _digest(packed: bytes) -> bytes:
    return hashlib.blake2b(packed, digest_size=_DIGEST_BYTES).digest()
