"""Submissions to YARN, and which engine was chosen why."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only: an older program refuses the newer file."""
    op.add_column("transfers", sa.Column("engine", sa.Text))
    op.add_column("transfers", sa.Column("engine_reason", sa.Text))
    op.create_table(
        "jobs",
        sa.Column("transfer_id", sa.Text, sa.ForeignKey("transfers.id"), primary_key=True),
        sa.Column("epoch", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("tag", sa.Text, nullable=False),
        sa.Column("destination", sa.Text, nullable=False),
        sa.Column("application_id", sa.Text),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("tracking_url", sa.Text),
        sa.Column("maps_done", sa.Integer),
        sa.Column("maps", sa.Integer),
        sa.Column("size_bytes", sa.BigInteger),
        sa.Column("opened_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Column("closed_at", sa.BigInteger),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_jobs_open",
        "jobs",
        ["transfer_id"],
        sqlite_where=sa.text("closed_at IS NULL"),
        postgresql_where=sa.text("closed_at IS NULL"),
    )
