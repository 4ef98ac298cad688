"""What a transfer waits for: the dependency, since when, and when it is tried again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only: an older program refuses the newer file."""
    for name, kind in (("held_by", sa.Text), ("held_since", sa.BigInteger)):
        op.add_column("transfers", sa.Column(name, kind))
    op.add_column("transfers", sa.Column("retry_at", sa.BigInteger))
