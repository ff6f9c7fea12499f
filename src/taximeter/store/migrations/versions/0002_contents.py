"""What was said in calls, where that is kept; and an event's one part in a table of its own, where it says little more.

Events recorded before keep their rows of ``parts``, which are read as they were. Only those rows go that stood for
records without any parts: such a record now has none.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    _create("contents", *(_text(name) for name in ("user_message", "answer", "tool_arguments")))
    _create("sole_parts", _text("kind", required=True), _text("price"))
    op.execute("DELETE FROM parts WHERE NOT stated")
    op.drop_column("parts", "stated")


def _create(table: str, *columns: sa.Column[str]) -> None:
    key = sa.Column(
        "event_seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
    )
    of_event = sa.ForeignKeyConstraint(["event_seq"], ["events.seq"], name=f"fk_{table}_event_seq", ondelete="CASCADE")
    op.create_table(table, key, *columns, sa.PrimaryKeyConstraint("event_seq", name=f"pk_{table}"), of_event)


def _text(name: str, *, required: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=not required)
