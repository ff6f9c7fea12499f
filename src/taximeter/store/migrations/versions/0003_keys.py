"""Virtual keys, and the counter that says when they have changed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_MOMENTS = ("expires_at", "revoked_at", "old_until", "last_used_at")


def upgrade() -> None:
    op.create_table(
        "virtual_keys",
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("id", "name", "hash")),
        sa.Column("old_hash", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=True) for name in _MOMENTS),
        sa.Column("grants", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_virtual_keys"),
        sa.UniqueConstraint("hash", name="uq_virtual_keys_hash"),
    )
    op.execute("INSERT INTO counters (name, value) VALUES ('keys', 0)")
