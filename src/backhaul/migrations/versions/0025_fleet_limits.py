"""Limits that several agents on one ledger share: transfers of a route that begin in a minute."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only: an older program refuses the newer file."""
    op.create_table(
        "route_starts",
        sa.Column("route", sa.Text, primary_key=True),
        sa.Column("at", sa.BigInteger, primary_key=True),
        sa.Column("transfer_id", sa.Text, primary_key=True),
        sqlite_with_rowid=False,
    )
