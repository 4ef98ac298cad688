"""A transfer whose object rows were dropped names when, and by which rule."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only: an older program refuses the newer file. No row is rewritten."""
    op.add_column("transfers", sa.Column("pruned_at", sa.BigInteger))
    op.add_column("transfers", sa.Column("pruned_by", sa.Text))
