"""What SQLite is to be told to make the tables of ``schema.py``.

``python -m tests.store.ddl`` writes it where a new store reads it.
"""

from __future__ import annotations

import re

from alembic.migration import MigrationContext
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from taximeter.store import schema, upgrade


def tables() -> str:
    """The statements for all tables and indexes, and for the one that tells the revision."""
    version = MigrationContext.configure(dialect_name="sqlite")._version
    made = [CreateTable(version)]
    for table in schema.metadata.sorted_tables:
        made += [CreateTable(table), *map(CreateIndex, sorted(table.indexes, key=lambda index: str(index.name)))]
    texts = (
        re.sub(r"[ \t]+$", "", str(it.compile(dialect=sqlite.dialect())).strip(), flags=re.MULTILINE) for it in made
    )
    return ";\n\n".join(texts).replace("\t", "  ") + ";\n"


if __name__ == "__main__":
    upgrade.TABLES.write_text(tables(), encoding="utf-8")
