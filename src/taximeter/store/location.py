"""Where a store is: the URL, the setting, the default."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Final, NamedTuple

from taximeter.errors import ConfigError

SETTING: Final = "TAXIMETER_STORE"
"""The environment variable that names the store."""

_FILE: Final = "store.sqlite3"
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):(.*)", re.IGNORECASE | re.DOTALL)


class Location(NamedTuple):
    """A SQLite file that is a store.

    Attributes:
        path: the file, absolute.
        default: whether nobody named it: its folder is then ours to make.
    """

    path: Path
    default: bool = False

    @property
    def url(self) -> str:
        """The URL that opens the same store."""
        return f"sqlite:///{self.path}"


def locate(url: str | None) -> Location:
    """The store that a URL or plain path names; ``None``: the setting, else a file in the user's data folder.

    Raises:
        ConfigError: when it names no kind of store that there is.
    """
    if url is None:
        url = os.environ.get(SETTING)
        return _parse(url, f"{SETTING}={url!r}") if url else Location(data_folder().joinpath(_FILE), default=True)
    return _parse(url, repr(url))


def _parse(url: str, named: str) -> Location:
    scheme = _SCHEME.fullmatch(url)
    if scheme is None or len(scheme[1]) == 1:  # a drive letter is no scheme
        path = url
    elif scheme[1].lower() == "sqlite" and scheme[2].startswith("///"):
        path = scheme[2].removeprefix("///")
    else:
        msg = f"{named} is no store that can be opened; supported are sqlite:///FILE and a plain path"
        raise ConfigError(msg)
    if not path or path == ":memory:":
        msg = f"{named} names no file; a store is a file, so that other processes can open it: sqlite:///FILE"
        raise ConfigError(msg)
    return Location(Path(path).expanduser().absolute())


def data_folder() -> Path:
    """The folder in which the user's own data belongs on this platform, with our name below it."""
    home = Path.home()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = str(home / "Library" / "Application Support")
    else:
        # https://specifications.freedesktop.org/basedir-spec: a relative path is to be ignored (checked 2026-11-22)
        base = os.environ.get("XDG_DATA_HOME", "")
        base = base if base.startswith("/") else str(home / ".local" / "share")
    return Path(base) / "taximeter"
