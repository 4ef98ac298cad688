"""Which policy decided; what an event was about; sequencers published; nonces seen."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only: an older program refuses the newer file."""
    for name in ("policy", "event_bucket", "event_key", "sequencer"):
        op.add_column("transfers", sa.Column(name, sa.Text))
    op.create_table(
        "sequencers",
        sa.Column("uri", sa.Text, primary_key=True),
        sa.Column("bucket", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("sequencer", sa.Text, nullable=False),
        sa.Column("transfer_id", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "nonces",
        sa.Column("nonce", sa.Text, primary_key=True),
        sa.Column("queue", sa.Text, nullable=False),
        sa.Column("message_id", sa.Text, nullable=False),
        sa.Column("keep_until", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_nonces_keep_until", "nonces", ["keep_until"])
