"""What `reconcile` sent, and what it found last."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only: an older program refuses the newer file."""
    op.create_table(
        "reconcile_sent",
        sa.Column("uri", sa.Text, primary_key=True),
        sa.Column("route", sa.Text, nullable=False),
        sa.Column("bucket", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("etag", sa.Text, nullable=False),
        sa.Column("queue", sa.Text, nullable=False),
        sa.Column("message_id", sa.Text),
        sa.Column("sent_at", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_reconcile_sent_route", "reconcile_sent", ["route"])
    op.create_table(
        "reconciliations",
        sa.Column("route", sa.Text, primary_key=True),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("finished_at", sa.BigInteger, nullable=False),
        sa.Column("totals", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
