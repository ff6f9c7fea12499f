"""Files that workers share: whoever comes while another makes one waits for it."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from taximeter.gateway import sharing
from taximeter.gateway.sharing import open_shared

TABLE = "CREATE TABLE IF NOT EXISTS t (a INT);"


def test_a_file_that_another_makes_is_waited_for(tmp_path: Path) -> None:
    """Its lock is not waited for by SQLite itself; the file is open once it is gone."""
    path = tmp_path / "shared"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    held = threading.Timer(0.2, other.close)
    held.start()
    made = open_shared(path, "it", TABLE)
    held.join(5)
    assert made.execute("SELECT count(*) FROM t").fetchone() == (0,)
    assert made.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert path.stat().st_mode & 0o777 == 0o600
    made.close()


def test_one_that_stays_locked_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a moment, and it is said which."""
    monkeypatch.setattr(sharing, "_OPENING_S", 0.1)
    path = tmp_path / "shared"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(OSError, match=r"shared cannot be used to share it between workers: database is locked"):
        open_shared(path, "it", TABLE)
    other.close()


def test_many_at_once_all_have_it(tmp_path: Path) -> None:
    """Workers start at the same moment."""
    failures: list[OSError] = []
    together = threading.Barrier(8)

    def start() -> None:
        together.wait(5)
        try:
            open_shared(tmp_path / "shared", "it", TABLE).close()
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert failures == []
