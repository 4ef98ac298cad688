"""What DistCp's mappers counted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only: an older program refuses the newer file."""
    op.add_column("jobs", sa.Column("counters", sa.Text))
