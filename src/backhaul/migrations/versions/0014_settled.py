"""A dead transfer that is settled says since when, how and by which other transfer."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_OPEN = "state = 'dead' AND settled_at IS NULL"


def upgrade() -> None:
    """Forward only: an older program refuses the newer file."""
    op.add_column("transfers", sa.Column("settled_at", sa.BigInteger))
    op.add_column("transfers", sa.Column("settled_how", sa.Text))
    op.add_column("transfers", sa.Column("settled_transfer", sa.Text))
    op.execute(
        "UPDATE transfers SET settled_at = sent_again_at, settled_how = 'sent_again'"
        " WHERE state = 'dead' AND sent_again_as IS NOT NULL"
    )
    # Of the dead that are open alone: those are few, and no other transfer pays for them.
    indexes = {"ix_transfers_dead_open": "finished_at", "ix_transfers_dead_source": "source"}
    for name, column in indexes.items():
        op.create_index(
            name,
            "transfers",
            [column],
            sqlite_where=sa.text(_OPEN),
            postgresql_where=sa.text(_OPEN),
        )
