"""The run of OpenLineage that a transfer is a part of, as its message has it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only: an older program refuses the newer file."""
    op.add_column("transfers", sa.Column("openlineage_parent", sa.Text))
