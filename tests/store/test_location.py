"""Where a store is, and what is said when it cannot be opened."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from taximeter.errors import ConfigError, StoreError
from taximeter.store import Store, engine, location, open_store
from tests.store.helpers import NOW, call


def test_a_path_and_a_url_name_the_same_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain path, a URL with it, the setting and a relative path all open the same file."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "odd name%20?.db"
    with open_store(str(path)) as store:
        store.add([call("a")], recorded_at=NOW)
        url = store.url
    assert url == f"sqlite:///{path}"
    monkeypatch.setenv("TAXIMETER_STORE", url)
    for name in (url, path.name, f"sqlite:///{path.name}", None):
        with open_store(name) as store:
            assert (store.count(), store.url) == (1, url)


@pytest.mark.parametrize("url", ["postgresql://host/db", "mysql+x://h/d", "sqlite+aiosqlite:///f", "sqlite://host/f"])
def test_an_unknown_kind_of_store_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL of another kind is an error which says what is supported, and where it came from."""
    with pytest.raises(ConfigError, match="supported are sqlite:///FILE and a plain path"):
        open_store(url)
    monkeypatch.setenv("TAXIMETER_STORE", url)
    with pytest.raises(ConfigError, match="TAXIMETER_STORE="):
        open_store()


@pytest.mark.parametrize("url", ["", "sqlite:///", ":memory:", "sqlite:///:memory:"])
def test_a_store_is_a_file(url: str) -> None:
    """A store in memory, which no other process could see, is refused."""
    with pytest.raises(ConfigError, match="names no file"):
        open_store(url)


@pytest.mark.parametrize(
    ("platform", "variables", "folder"),
    [
        ("linux", {"XDG_DATA_HOME": "/data"}, "/data/taximeter"),
        ("linux", {"XDG_DATA_HOME": "relative"}, "/home/me/.local/share/taximeter"),
        ("linux", {"XDG_DATA_HOME": ""}, "/home/me/.local/share/taximeter"),
        ("darwin", {}, "/home/me/Library/Application Support/taximeter"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/taximeter"),
        ("win32", {"LOCALAPPDATA": ""}, "/home/me/AppData/Local/taximeter"),
    ],
)
def test_each_platform_has_its_data_folder(
    platform: str, variables: dict[str, str], folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a setting the store is in the folder where the platform wants a user's data."""
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setenv("HOME", "/home/me")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert location.data_folder() == Path(folder)


def test_the_default_folder_is_made_and_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first use makes the folder, for the user alone."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr("sys.platform", "linux")
    with open_store() as store:
        assert store.url == f"sqlite:///{tmp_path}/data/taximeter/store.sqlite3"
    assert (tmp_path / "data" / "taximeter").stat().st_mode & 0o777 == 0o700


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    """A text file is refused as what it is, and left as it was."""
    path = tmp_path / "notes.txt"
    path.write_text("not a database " * 100)
    with pytest.raises(StoreError, match=r"notes\.txt: file is not a database.*name another file"):
        open_store(str(path))
    assert path.read_text() == "not a database " * 100


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """A folder that was named but does not exist is not made up; the error says what to look at."""
    with pytest.raises(StoreError, match=r"unable to open database file.*check that its folder exists"):
        open_store(str(tmp_path / "none" / "store.db"))


def test_a_reader_may_insist_that_the_store_is_there(tmp_path: Path) -> None:
    """Opened without `create`, a store that does not exist is an error, and no file is made."""
    path = tmp_path / "typo.db"
    with pytest.raises(StoreError, match=r"no store at .*typo\.db"):
        open_store(str(path), create=False)
    assert not path.exists()
    open_store(str(path)).close()
    open_store(str(path), create=False).close()


def test_a_writer_that_waits_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When another process keeps the write lock, writing fails and says so; reading goes on all the while."""
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0)
    with open_store(str(tmp_path / "s")) as store:
        holder = sqlite3.connect(tmp_path / "s", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=r"database is locked.*another process has held the write lock"):
            store.add([call("a")], recorded_at=NOW)
        assert store.count() == 0
        holder.close()
        assert store.add([call("a")], recorded_at=NOW).new == 1


@pytest.mark.parametrize(
    ("pragma", "complaint"),
    [
        (lambda pages: f"PRAGMA max_page_count = {pages}", "disk is full.*nothing that was recorded is lost"),
        (lambda _: "PRAGMA query_only = ON", "cannot be written by this user"),
    ],
)
def test_what_cannot_be_written(store: Store, pragma: Callable[[int], str], complaint: str) -> None:
    """A full disk and a file that may only be read are told apart, lose nothing, and leave no half batch."""
    store.add([call("kept")], recorded_at=NOW)
    store.close()

    with store._database._alone() as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(pragma(pages))
    with pytest.raises(StoreError, match=complaint):
        store.add([call(f"e{n}", raw_usage="x" * 1_000) for n in range(100)], recorded_at=NOW)
    assert [event.id for event in store.events()] == ["kept"]


def test_a_damaged_file(store: Store, tmp_path: Path) -> None:
    """A file with overwritten pages is reported as damaged, with what can be done."""
    store.add([call(f"e{n}", raw_usage="x" * 500) for n in range(200)], recorded_at=NOW)
    store.close()
    path = tmp_path / "store.sqlite3"
    content = path.read_bytes()
    path.write_bytes(content[: 4096 * 30] + b"\xff" * (len(content) - 4096 * 30))
    with pytest.raises(StoreError, match=r"malformed.*recover"):
        list(store.events())
