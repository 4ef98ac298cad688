"""What agents report, what happened when, what operators did, and which routes are paused."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_COUNTS = ("done", "dead", "failed", "objects", "bytes_done", "bytes_copied")
_LAGS = ("lags", "lag_us", "lag_max_us")
# What ended before this migration; nobody had noted when it was sent, or what was copied of it.
_SUM_UP = """
INSERT INTO activity
SELECT {span_s}, (finished_at / {span_us}) * {span_us}, coalesce(route, ''),
       sum(CASE WHEN state = 'dead' THEN 0 ELSE 1 END),
       sum(CASE WHEN state = 'dead' THEN 1 ELSE 0 END),
       0,
       sum(CASE WHEN state = 'dead' THEN 0 ELSE objects_planned END),
       sum(CASE WHEN state = 'dead' THEN 0 ELSE bytes_planned END),
       0, 0, 0, 0
FROM transfers WHERE finished_at IS NOT NULL GROUP BY 1, 2, 3
"""
_SUMMED = """
INSERT INTO meta (name, value)
SELECT 'activity_summed_to', CAST(coalesce(max(number), 0) AS TEXT) FROM journal
"""


def upgrade() -> None:
    """Forward only: an older program refuses the newer file."""
    for name in ("sender", "traceparent", "aws_trace_header"):
        op.add_column("transfers", sa.Column(name, sa.Text))
    for name in ("sent_at", "bytes_copied"):
        op.add_column("transfers", sa.Column(name, sa.BigInteger))
    op.create_index(
        "ix_transfers_open",
        "transfers",
        ["first_seen_at"],
        sqlite_where=sa.text("finished_at IS NULL"),
        postgresql_where=sa.text("finished_at IS NULL"),
    )
    op.create_index(
        "ix_transfers_dead",
        "transfers",
        ["finished_at"],
        sqlite_where=sa.text("state = 'dead'"),
        postgresql_where=sa.text("state = 'dead'"),
    )
    _agents()
    op.create_table(
        "activity",
        sa.Column("span_s", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("begins_at", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("route", sa.Text, primary_key=True),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in (*_COUNTS, *_LAGS)),
        sqlite_with_rowid=False,
    )
    _operators()
    for span_s in (300, 3600):
        op.execute(_SUM_UP.format(span_s=span_s, span_us=span_s * 1_000_000))
    op.execute(_SUMMED)


def _agents() -> None:
    op.create_table(
        "agents",
        sa.Column("id", sa.Text, primary_key=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("host", "owner", "version")),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("queue", "region")),
        sa.Column("slots", sa.Integer, nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("beats", sa.BigInteger, nullable=False),
        sa.Column("beat_at", sa.BigInteger, nullable=False),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("report", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )


def _operators() -> None:
    op.create_table(
        "operator_actions",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in ("operator", "origin", "action", "subject")
        ),
        sa.Column("transfers", sa.BigInteger, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
    )
    op.create_table(
        "paused_routes",
        sa.Column("route", sa.Text, primary_key=True),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("until", sa.BigInteger),
        sa.Column("operator", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
