"""The tables that migrations make are the tables that the code means, and only our own files are touched."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect

from taximeter.errors import StoreError
from taximeter.store import Store, open_store, schema, upgrade
from tests.store.helpers import NOW, call


def test_the_migrations_make_the_schema(store: Store) -> None:
    """A store made by the migrations has no difference from the tables that the code reads and writes."""
    with store._transaction(write=False) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, schema.metadata) == []


def test_the_migrations_make_what_sqlalchemy_would(store: Store, tmp_path: Path) -> None:
    """Text for text, keys and table options included, SQLite is told the same as by making the tables directly."""
    direct = sqlite3.connect(tmp_path / "direct.sqlite3")
    with store._transaction(write=False) as connection:
        dialect = connection.dialect
        found = {table: _shape(connection.connection.driver_connection, table) for table in schema.metadata.tables}
        assert set(inspect(connection).get_table_names()) == {*schema.metadata.tables, "alembic_version"}
    from sqlalchemy.schema import CreateIndex, CreateTable  # noqa: PLC0415 - for this comparison alone

    for table in schema.metadata.sorted_tables:
        direct.execute(str(CreateTable(table).compile(dialect=dialect)))
        for index in table.indexes:
            direct.execute(str(CreateIndex(index).compile(dialect=dialect)))
    assert found == {table: _shape(direct, table) for table in schema.metadata.tables}
    direct.close()


def _shape(connection: sqlite3.Connection | None, table: str) -> object:
    assert connection is not None
    columns = sorted(row[1:] for row in connection.execute(f"PRAGMA table_info({table})"))
    options = connection.execute(f"SELECT type, wr, strict FROM pragma_table_list('{table}')").fetchall()  # noqa: S608 - our own names
    keys = connection.execute(f"PRAGMA foreign_key_list({table})").fetchall()
    return columns, options, keys


def test_the_known_revisions_are_those_of_the_folder() -> None:
    """The revisions that an open checks against are the migrations that exist, in their order."""
    config = Config()
    config.set_main_option("script_location", str(upgrade.MIGRATIONS))
    scripts = ScriptDirectory.from_config(config).walk_revisions()
    assert tuple(reversed([script.revision for script in scripts])) == upgrade.REVISIONS


def test_opening_an_up_to_date_store_does_not_load_alembic(tmp_path: Path) -> None:
    """Alembic is loaded to make or migrate tables, and not to open a store that needs neither."""
    code = (
        "import sys; from taximeter.store import open_store; "
        "open_store(sys.argv[1]).close(); print('alembic' in sys.modules)"
    )
    answers = [
        subprocess.run([sys.executable, "-c", code, tmp_path / "s"], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert answers == ["True\n", "False\n"]


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
    with pytest.raises(StoreError, match=r"newer version of Taximeter \(schema 9999, .* up to 0001\); upgrade"):
        open_store(str(path))
    _execute(path, "UPDATE alembic_version SET version_num = '0001'")
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
        with copy._transaction(write=False) as connection:
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"


def test_a_store_writes_ahead_and_checks_its_keys(store: Store) -> None:
    """Every connection has the settings that the README promises."""
    with store._transaction(write=False) as connection:
        settings = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert settings == {"journal_mode": "wal", "synchronous": 1, "foreign_keys": 1, "busy_timeout": 30_000}


def _execute(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()
