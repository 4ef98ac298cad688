"""A dead transfer whose dead letter went back to the queue names the new message."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only: an older program refuses the newer file."""
    op.add_column("transfers", sa.Column("sent_again_as", sa.Text))
    op.add_column("transfers", sa.Column("sent_again_at", sa.BigInteger))
