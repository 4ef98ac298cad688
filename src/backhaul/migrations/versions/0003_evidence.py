"""Evidence: what the target's content was compared by, and the sealing line of each manifest."""

from __future__ import annotations

import time

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only: an older program refuses the newer file."""
    for column in (
        sa.Column("checksum_type", sa.Text),
        sa.Column("target_algorithm", sa.Text),
        sa.Column("target_checksum", sa.Text),
        sa.Column("asked", sa.Text),
        sa.Column("note", sa.Text),
        sa.Column("bytes_read", sa.BigInteger),
        sa.Column("proven_at", sa.BigInteger),
    ):
        op.add_column("objects", column)
    # Both were read back from the target. `reread` meant that S3 gave nothing to compare with.
    op.execute(
        "UPDATE objects SET asked = 'read', target_algorithm = 'CRC32C', target_checksum = crc32c "
        "WHERE proof IN ('stored', 'reread')"
    )
    op.execute("UPDATE objects SET proof = 'received' WHERE proof = 'reread'")
    op.execute("UPDATE objects SET proof = 'reread' WHERE proof = 'stored'")
    op.create_table(
        "seals",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("transfer_id", sa.Text, nullable=False, unique=True),
        sa.Column("line", sa.Text, nullable=False),
        sa.Column("seal", sa.Text, nullable=False),
    )
    meta = sa.table("meta", sa.column("name", sa.Text), sa.column("value", sa.Text))
    # Transfers that ended before this have no sealing line, and need none.
    now_us = time.time_ns() // 1000
    op.bulk_insert(meta, [{"name": "sealed_from_us", "value": str(now_us)}])
