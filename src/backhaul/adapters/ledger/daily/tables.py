"""Sums by day, route and sender; a report reads these, not a million transfers."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Table, Text

from backhaul.adapters.ledger.schema import metadata

# Bytes of bodies that left S3.
egress = Table(
    "egress",
    metadata,
    Column("day", Text, primary_key=True),  # in UTC: 2026-11-30
    Column("route", Text, primary_key=True),  # empty: of none
    Column("sender", Text, primary_key=True),  # `core.cost.egress.sender_of`; empty: a command
    Column("purpose", Text, primary_key=True),  # copy, retry or verify
    Column("engine", Text, primary_key=True),  # native or distcp
    Column("bytes", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# Transfers that ended.
endings = Table(
    "endings",
    metadata,
    Column("day", Text, primary_key=True),
    Column("route", Text, primary_key=True),
    Column("sender", Text, primary_key=True),
    Column("done", BigInteger, nullable=False),  # those superseded among them
    Column("dead", BigInteger, nullable=False),
    Column("objects", BigInteger, nullable=False),  # of those done
    sqlite_with_rowid=False,
)
