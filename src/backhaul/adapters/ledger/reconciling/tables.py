"""What `reconcile` leaves in the ledger; all other tables are in `schema`."""

from __future__ import annotations

from sqlalchemy import Column, Index, Table, Text

from backhaul.adapters.ledger.schema import UtcTime, metadata

# Messages that `reconcile --send` left for one object each; until their transfers have ended.
reconcile_sent = Table(
    "reconcile_sent",
    metadata,
    Column("uri", Text, primary_key=True),  # where the object belongs
    Column("route", Text, nullable=False),
    Column("bucket", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("etag", Text, nullable=False),
    Column("queue", Text, nullable=False),  # ARN
    Column("message_id", Text),  # null: about to be sent, or that is unknown
    Column("sent_at", UtcTime, nullable=False),
    Index("ix_reconcile_sent_route", "route"),
    sqlite_with_rowid=False,
)

# The last complete reconciliation of each route.
reconciliations = Table(
    "reconciliations",
    metadata,
    Column("route", Text, primary_key=True),
    Column("started_at", UtcTime, nullable=False),
    Column("finished_at", UtcTime, nullable=False),
    Column("totals", Text, nullable=False),  # JSON: class to [objects, bytes]
    sqlite_with_rowid=False,
)
