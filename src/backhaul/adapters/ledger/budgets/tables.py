"""Raises and warnings of budgets, each in one period; the budgets themselves are settings."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, Table, Text

from backhaul.adapters.ledger.schema import UtcTime, metadata

budget_raises = Table(
    "budget_raises",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("route", Text, nullable=False),  # empty: the budget over all routes
    Column("period", UtcTime, nullable=False),  # when it begins
    Column("per", Text, nullable=False),  # BudgetPer
    Column("unit", Text, nullable=False),  # BudgetUnit
    Column("amount", BigInteger, nullable=False),  # bytes, or millionths of a dollar
    Column("at", UtcTime, nullable=False),
    Column("operator", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Index("ix_budget_raises_period", "period"),
)

# Warned of in this period; never twice.
budget_warnings = Table(
    "budget_warnings",
    metadata,
    Column("route", Text, primary_key=True),
    Column("per", Text, primary_key=True),
    Column("unit", Text, primary_key=True),
    Column("period", UtcTime, primary_key=True),
    Column("at", UtcTime, nullable=False),
    sqlite_with_rowid=False,
)
