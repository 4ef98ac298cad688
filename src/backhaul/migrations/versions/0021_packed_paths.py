"""Older rows of `published` go into blocks; superseded transfers have an index."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only: an older program refuses the newer file. No row is packed here."""
    op.create_table(
        "packed_paths",
        sa.Column("first_uri", sa.Text, primary_key=True),
        sa.Column("last_uri", sa.Text, nullable=False),
        sa.Column("files", sa.Integer, nullable=False),
        sa.Column("block", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    is_superseded = sa.text("state = 'superseded'")
    op.create_index(
        "ix_transfers_superseded",
        "transfers",
        ["finished_at", "route"],
        sqlite_where=is_superseded,
        postgresql_where=is_superseded,
    )
