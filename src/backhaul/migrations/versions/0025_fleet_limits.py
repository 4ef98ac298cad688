"""Limits that several agents on one ledger share: starts in a minute, and the byte rate.

It only adds, and yet an agent that does not know it would keep neither limit, and grant no share
where it leads.
"""

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
    op.create_table(
        "rate_shares",
        sa.Column("member", sa.Text, primary_key=True),
        *(
            sa.Column(name, sa.BigInteger, nullable=False)
            for name in ("configured", "demand", "kept", "granted", "bound")
        ),
        sa.CheckConstraint("granted >= 0 AND granted <= bound", name="granted_is_bound"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "byte_rates",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("bytes_per_s", sa.BigInteger),
        sa.Column("until", sa.BigInteger),
        sqlite_with_rowid=False,
    )
