"""Of several agents on one ledger on PostgreSQL: who they are, and what they share.

With a file there is one, and the kernel knows the processes beside it.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Table, Text

from backhaul.adapters.ledger.schema import UtcTime, metadata

# In force: neither ended nor judged. Who is not may write nothing, and owns nothing.
members = Table(
    "members",
    metadata,
    Column("id", Text, primary_key=True),  # of one start of one process: its incarnation
    Column("kind", Text, nullable=False),  # `agent`, `command`
    Column("host", Text, nullable=False),
    # Its namespace of process numbers, a blank, `Owner.text`: for who is on the same machine.
    Column("process", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("beats", BigInteger, nullable=False),  # the counter that the others look at
    Column("beat_at", UtcTime, nullable=False),  # by the database's clock, for people
    Column("started_at", UtcTime, nullable=False),
    Column("ended_at", UtcTime),
    Column("judged_at", UtcTime),  # dead, by another member
    Column("judged_by", Text),
    sqlite_with_rowid=False,
)

# Transfers of routes with `limits.per_minute` that began within the last minute.
route_starts = Table(
    "route_starts",
    metadata,
    Column("route", Text, primary_key=True),
    Column("at", UtcTime, primary_key=True),  # by the database's clock
    Column("transfer_id", Text, primary_key=True),
    sqlite_with_rowid=False,
)

# What each of those that read from S3 may read, bytes a second; 2^63 - 1: no limit. As
# `core.fleet.rate_shares.RateShare`.
rate_shares = Table(
    "rate_shares",
    metadata,
    Column("member", Text, primary_key=True),
    *(Column(name, BigInteger, nullable=False) for name in ("configured", "demand", "kept")),
    *(Column(name, BigInteger, nullable=False) for name in ("granted", "bound")),
    CheckConstraint("granted >= 0 AND granted <= bound", name="granted_is_bound"),
    sqlite_with_rowid=False,
)
# `by hand`: what `backhaul limit` set; `shared`: what the shares are of.
byte_rates = Table(
    "byte_rates",
    metadata,
    Column("name", Text, primary_key=True),
    Column("bytes_per_s", BigInteger),
    Column("until", UtcTime),
    sqlite_with_rowid=False,
)
