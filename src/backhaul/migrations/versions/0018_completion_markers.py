"""Where transfers left their completion markers, and which of them brought tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only: an older program refuses the newer file."""
    op.create_table(
        "completion_markers",
        sa.Column("uri", sa.Text, primary_key=True),
        sa.Column("transfer_id", sa.Text, nullable=False),
        sa.Column("published_at", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.add_column("transfers", sa.Column("completion_marker", sa.Text))
    op.add_column("transfers", sa.Column("table_format", sa.Text))
