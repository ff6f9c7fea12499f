"""However a store's tables came about they are those that the code means, and only our own files are touched."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from taximeter.errors import StoreError
from taximeter.store import Added, Query, Store, locate, open_store, schema, upgrade
from taximeter.store.columns import COLUMNS
from taximeter.store.engine import Database
from tests.store import ddl, recorded
from tests.store.helpers import NOW, ask, call, priced

GROUPINGS = ([], ["model"], ["day", "provider"], ["model", "tag:team"], ["outcome"])


@pytest.fixture
def migrated(tmp_path: Path) -> Iterator[Store]:
    """An empty store whose tables every migration has passed over, from the first to the last."""
    path = tmp_path / "migrated.sqlite3"
    _first_revision(path)
    with open_store(str(path)) as store:
        yield store


@pytest.fixture(params=["store", "migrated"])
def either(request: pytest.FixtureRequest) -> Store:
    """A new store, and a migrated one."""
    return request.getfixturevalue(request.param)


def test_the_tables_are_those_of_the_schema(either: Store) -> None:
    """New or migrated, a store has no difference from the tables that the code reads and writes."""
    with either._database.alchemy(write=True) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, schema.metadata) == []
        assert context.get_current_revision() == upgrade.REVISIONS[-1]


def test_a_new_store_is_what_the_migrations_make(store: Store, migrated: Store) -> None:
    """Line for line, SQLite has been told the same; only the order of some columns is another."""
    assert _told(store) == _told(migrated)
    for table in ("counters", "alembic_version"):
        assert ask(store, f"SELECT * FROM {table}") == ask(migrated, f"SELECT * FROM {table}")  # noqa: S608 - our own names
    for table in schema.metadata.tables:
        for pragma in ("table_list", "foreign_key_list", "index_list"):
            found = [ask(it, f"SELECT * FROM pragma_{pragma}('{table}')") for it in (store, migrated)]  # noqa: S608 - our own names
            assert found[0] == found[1], (table, pragma)


def _told(store: Store) -> dict[str, list[str]]:
    texts = ask(store, "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {name: sorted(line.strip(" \t,") for line in text.splitlines() if line.strip()) for name, text in texts}


def test_a_new_store_is_told_what_the_schema_says() -> None:
    """The ready-made statements are those of the schema; ``python -m tests.store.ddl`` writes them anew."""
    assert upgrade.TABLES.read_text() == ddl.tables()


def test_rows_are_written_in_the_columns_that_there_are() -> None:
    """The columns that the rows of records are written in are all those that their tables have."""
    assert {name: set(columns) for name, columns in COLUMNS.items()} == {
        name: set(schema.metadata.tables[name].columns.keys()) for name in COLUMNS
    }


def test_the_known_revisions_are_those_of_the_folder() -> None:
    """The revisions that an open checks against are the migrations that exist, in their order."""
    config = Config()
    config.set_main_option("script_location", str(upgrade.MIGRATIONS))
    scripts = ScriptDirectory.from_config(config).walk_revisions()
    assert tuple(reversed([script.revision for script in scripts])) == upgrade.REVISIONS


def test_a_store_of_the_first_revision_is_migrated(tmp_path: Path) -> None:
    """A file that revision 0001 made and filled reads back as it was, reports as it did, and knows its records."""
    path = tmp_path / "old.sqlite3"
    _first_revision(path)
    _execute(path, recorded.ROWS.read_text())
    with open_store(str(path)) as old, open_store(str(tmp_path / "new.sqlite3")) as new:
        new.add(recorded.EVENTS, recorded_at=NOW)
        new.correct(recorded.CORRECTIONS, recorded_at=NOW)
        assert list(old.events()) == list(new.events())
        for by in GROUPINGS:
            for query in (Query(), Query(model="m"), Query(model="big", until=NOW)):
                assert old.report(by, query) == new.report(by, query), (by, query)
        assert old.add(recorded.EVENTS, recorded_at=NOW) == Added(new=0, known=len(recorded.EVENTS))
        assert old.correct(recorded.CORRECTIONS, recorded_at=NOW) == Added(new=0, known=len(recorded.CORRECTIONS))
        assert old.add([priced("more", "m", "1")], recorded_at=NOW) == Added(new=1, known=0)
        assert ask(old, "SELECT max(seq) FROM events") == [(len(recorded.EVENTS) + len(recorded.CORRECTIONS) + 1,)]
        assert ask(old, "PRAGMA foreign_key_check") == []
        assert ask(old, "PRAGMA integrity_check") == [("ok",)]


def test_recording_loads_neither_alembic_nor_sqlalchemy(tmp_path: Path) -> None:
    """Making a store, opening it and adding to it need the driver alone; reading loads SQLAlchemy, and no Alembic."""
    code = """
import sys
from taximeter.store import open_store
from tests.store.helpers import NOW, call
heavy = ("sqlalchemy", "alembic")
unloaded = not set(heavy) & set(sys.modules)
with open_store(sys.argv[1]) as store:
    store.add([call(sys.argv[2], response_model="m")], recorded_at=NOW)
    loaded = [name for name in heavy if name in sys.modules]
    assert [row.calls for row in store.report(["model"])] == [int(sys.argv[2])]
print(unloaded, loaded, [name for name in heavy if name in sys.modules])
"""
    for attempt in ("1", "2"):
        command = [sys.executable, "-c", code, tmp_path / "s", attempt]
        answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert answer == "True [] ['sqlalchemy']\n"


def test_importing_the_store_opens_nothing(tmp_path: Path) -> None:
    """An import leaves no file behind, and no database module that has been connected."""
    code = "import taximeter.store"
    environment = {"HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert list(tmp_path.iterdir()) == []


def test_a_store_of_a_newer_version_is_left_alone(store: Store, tmp_path: Path) -> None:
    """A schema that this version does not know is refused with the advice to upgrade, and keeps its events."""
    store.add([call("a")], recorded_at=NOW)
    path = tmp_path / "store.sqlite3"
    _execute(path, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(
        StoreError, match=rf"newer version of Taximeter \(schema 9999, .* up to {upgrade.REVISIONS[-1]}\); upgrade"
    ):
        open_store(str(path))
    _execute(path, f"UPDATE alembic_version SET version_num = '{upgrade.REVISIONS[-1]}'")  # noqa: S608 - our own name
    assert store.count() == 1


@pytest.mark.parametrize("table", ["customers", "events", "alembic_version"])
def test_a_database_of_something_else_is_left_alone(tmp_path: Path, table: str) -> None:
    """A SQLite file that holds other tables, even one of a name that we use, is refused and not written to."""
    path = tmp_path / "other.db"
    _execute(path, f"CREATE TABLE {table} (version_num TEXT)")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="database of something else"):
        open_store(str(path))
    assert path.read_bytes() == before


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    """A file of no bytes, as `mktemp` leaves it, is taken as a new store."""
    path = tmp_path / "empty"
    path.touch()
    with open_store(str(path)) as store:
        assert store.count() == 0


def test_a_copy_without_a_write_ahead_log_gets_one(store: Store, tmp_path: Path) -> None:
    """A backup made by VACUUM INTO, which has another journal, is put right when it is opened."""
    store.add([call("a")], recorded_at=NOW)
    _execute(tmp_path / "store.sqlite3", f"VACUUM INTO '{tmp_path / 'copy'}'")
    with open_store(str(tmp_path / "copy")) as copy:
        assert list(copy.events()) == [call("a")]
        assert ask(copy, "PRAGMA journal_mode") == [("wal",)]


def test_a_store_writes_ahead_and_checks_its_keys(store: Store) -> None:
    """Every connection, of a writer and of a reader, has the settings that the README promises."""
    wanted = {"journal_mode": "wal", "synchronous": 1, "foreign_keys": 1, "secure_delete": 1, "busy_timeout": 30_000}
    with store._database.plain(write=False) as connection:
        assert {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in wanted} == wanted
    with store._database.alchemy(write=True) as connection:
        assert {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in wanted} == wanted


def _first_revision(path: Path) -> None:
    """Makes a file with the tables that the first migration makes."""
    database = Database(locate(str(path)))
    with database.alchemy(write=True) as connection:
        upgrade.migrate(connection, "0001")
    database.close()


def _execute(path: Path, statements: str) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(statements)
    connection.commit()
    connection.close()
