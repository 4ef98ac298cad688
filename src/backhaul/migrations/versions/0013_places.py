"""Transfers are found by their source, and by the path that they claimed or were to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only: an older program refuses the newer file."""
    # Without those that claimed nothing: a new transfer is one page less to write.
    op.create_index(
        "ix_transfers_canonical",
        "transfers",
        ["canonical", "id"],
        sqlite_where=sa.text("canonical IS NOT NULL"),
        postgresql_where=sa.text("canonical IS NOT NULL"),
    )
    op.create_index("ix_transfers_source", "transfers", ["source", "id"])
    # Of a few: those that died before they claimed a path. With all columns that a query tests:
    # SQLite reads the row for one that is missing, though the condition implies it.
    op.create_index(
        "ix_transfers_refused",
        "transfers",
        ["destination", "id", "state", "canonical"],
        sqlite_where=sa.text("state = 'dead' AND canonical IS NULL"),
        postgresql_where=sa.text("state = 'dead' AND canonical IS NULL"),
    )
