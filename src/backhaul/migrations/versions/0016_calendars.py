"""The calendar of each deadline, and whether anything was counted for it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only: an older program refuses the newer file."""
    # No calendar is like another one: of older rows only those that are due are judged.
    op.add_column("expectations", sa.Column("calendar", sa.Text, nullable=False, server_default=""))
    op.add_column(
        "expectations", sa.Column("counted", sa.Boolean, nullable=False, server_default=sa.true())
    )
