"""Who writes a ledger on PostgreSQL, and no two owned destinations that overlap there."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

# A key of the index must be short: the span of a longer path is that of all that begin like it.
# That refuses more than is needed, and never less.
_CUT = 240
_SPAN = f"""
CASE WHEN length(uri) < {_CUT}
    THEN pathspan(rtrim(uri, '/') || '/', rtrim(uri, '/') || '0')
    ELSE pathspan(left(uri, {_CUT}), left(uri, {_CUT}) || chr(1114111))
END
"""


def upgrade() -> None:
    """Forward only: an older program refuses the newer file."""
    op.create_table(
        "members",
        sa.Column("id", sa.Text, primary_key=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("kind", "host", "process")),
        sa.Column("version", sa.Text, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("beats", "beat_at")),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        *(sa.Column(name, sa.BigInteger) for name in ("ended_at", "judged_at")),
        sa.Column("judged_by", sa.Text),
        sqlite_with_rowid=False,
    )
    if op.get_bind().dialect.name != "postgresql":
        return
    # What lies below a path, as a range of texts in the order of their bytes.
    op.execute('CREATE TYPE pathspan AS RANGE (subtype = text, collation = "C")')
    op.execute(
        f"ALTER TABLE destinations ADD COLUMN span pathspan GENERATED ALWAYS AS ({_SPAN}) STORED"
    )
    op.execute(
        "ALTER TABLE destinations ADD CONSTRAINT no_overlap"
        " EXCLUDE USING gist (span WITH &&) WHERE (owner_transfer IS NOT NULL)"
    )
