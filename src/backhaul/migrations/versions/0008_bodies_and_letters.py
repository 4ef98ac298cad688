"""Which body a transfer's message had; whether its dead letter was sent."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only: an older program refuses the newer file."""
    op.add_column("transfers", sa.Column("body_digest", sa.Text))
    op.add_column(
        "transfers",
        sa.Column("has_letter", sa.Boolean, nullable=False, server_default=sa.false()),
    )
