"""Bytes that left S3, by day and by transfer; transfers that ended, by day."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only: an older program refuses the newer file."""
    op.create_table(
        "egress",
        sa.Column("day", sa.Text, primary_key=True),
        sa.Column("route", sa.Text, primary_key=True),
        sa.Column("sender", sa.Text, primary_key=True),
        sa.Column("purpose", sa.Text, primary_key=True),
        sa.Column("engine", sa.Text, primary_key=True),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "endings",
        sa.Column("day", sa.Text, primary_key=True),
        sa.Column("route", sa.Text, primary_key=True),
        sa.Column("sender", sa.Text, primary_key=True),
        sa.Column("done", sa.BigInteger, nullable=False),
        sa.Column("dead", sa.BigInteger, nullable=False),
        sa.Column("objects", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    # What was read before was not counted: 0, and not what the manifests say was copied.
    for purpose in ("copy", "retry", "verify"):
        op.add_column(
            "transfers",
            sa.Column(f"egress_{purpose}", sa.BigInteger, nullable=False, server_default="0"),
        )
