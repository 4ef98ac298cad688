"""Replies, and which of them each transfer wants."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only: an older program refuses the newer file."""
    op.create_table(
        "replies",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("target", sa.Text, primary_key=True),
        sa.Column("transfer_id", sa.Text, sa.ForeignKey("transfers.id"), nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("tried_since", sa.BigInteger, nullable=False),
        sa.Column("due_at", sa.BigInteger, nullable=False),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("code", sa.Text),
        sa.Column("reason", sa.Text),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_replies_transfer_id", "replies", ["transfer_id"])
    waiting, dead = sa.text("state = 'waiting'"), sa.text("state = 'dead'")
    op.create_index(
        "ix_replies_waiting",
        "replies",
        ["target", "due_at", "key"],
        sqlite_where=waiting,
        postgresql_where=waiting,
    )
    op.create_index(
        "ix_replies_dead", "replies", ["target"], sqlite_where=dead, postgresql_where=dead
    )
    op.add_column("transfers", sa.Column("replies", sa.Text))
    op.add_column(
        "transfers", sa.Column("holds_reported", sa.Integer, nullable=False, server_default="0")
    )
    op.add_column(
        "transfers",
        sa.Column("is_hold_reported", sa.Boolean, nullable=False, server_default=sa.false()),
    )
