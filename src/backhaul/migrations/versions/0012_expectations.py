"""Deadlines of expected data, and an index of what was published when."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only: an older program refuses the newer file."""
    op.create_table(
        "expectations",
        sa.Column("route", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("deadline", sa.BigInteger, primary_key=True, autoincrement=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("due", "place", "state")),
        *(
            sa.Column(name, sa.BigInteger)
            for name in ("wanted_objects", "wanted_bytes", "wanted_transfers")
        ),
        *(
            sa.Column(name, sa.BigInteger, nullable=False)
            for name in ("objects", "size_bytes", "transfers")
        ),
        *(sa.Column(name, sa.BigInteger) for name in ("judged_at", "arrived_at")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_transfers_done",
        "transfers",
        ["route", "finished_at"],
        sqlite_where=sa.text("state = 'done'"),
        postgresql_where=sa.text("state = 'done'"),
    )
