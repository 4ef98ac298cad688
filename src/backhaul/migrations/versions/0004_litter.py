"""Staging roots that may be left, and transfers whose renames may have happened."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The first rows are what `destinations` has of earlier claims."""
    op.create_table(
        "litter",
        sa.Column("staging_root", sa.Text, primary_key=True),
        sa.Column("uri", sa.Text, nullable=False),
        sa.Column("transfer_id", sa.Text, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("claimed_at", sa.BigInteger, nullable=False),
        sa.Column("route", sa.Text),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_litter_uri", "litter", ["uri"])
    op.execute(
        "INSERT INTO litter (staging_root, uri, transfer_id, epoch, claimed_at) "
        "SELECT staging_root, uri, coalesce(owner_transfer, ''), epoch, 0 "
        "FROM destinations WHERE staging_root IS NOT NULL"
    )
    op.create_index(
        "ix_transfers_renames_possible",
        "transfers",
        ["id"],
        sqlite_where=sa.text("renames_possible"),
        postgresql_where=sa.text("renames_possible"),
    )
