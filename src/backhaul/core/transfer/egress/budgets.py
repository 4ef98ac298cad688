"""Budgets by what the ledger says left S3: for the agent's gate, and for commands."""

from __future__ import annotations

import math
from datetime import datetime

from backhaul.core.cost.budget import (
    USD,
    BudgetPer,
    BudgetPeriod,
    BudgetState,
    BudgetUnit,
    EgressBudget,
    period_at,
)
from backhaul.core.cost.prices import EgressPrice
from backhaul.core.ports import BudgetReading


def egress_of(ledger: BudgetReading, budget: EgressBudget, now: datetime) -> tuple[int, int, int]:
    """Bytes that left S3: of the budget in its period, of every route in it, and in the month.

    Where bytes are counted, only the first is read; the others are the same.
    """
    since = period_at(budget.per, now).begins_at.date()
    own = ledger.egress_since(since, budget.route or None).size_bytes
    if budget.unit is BudgetUnit.BYTES:
        return own, own, own
    every = own if not budget.route else ledger.egress_since(since, None).size_bytes
    if budget.per is BudgetPer.MONTH:
        return own, every, every
    month = period_at(BudgetPer.MONTH, now).begins_at.date()
    return own, every, ledger.egress_since(month, None).size_bytes


def state_of(
    budget: EgressBudget,
    period: BudgetPeriod,
    *,
    own_bytes: int,
    all_bytes: int,
    earlier_bytes: int,
    raised: int,
    reserved_bytes: int,
    price: EgressPrice,
) -> BudgetState:
    """A budget in this period.

    AWS bills all routes together, so a route pays its share of what all of them cost.

    Args:
        own_bytes: As the first of `egress_of`; `all_bytes` as the second.
        earlier_bytes: What left S3 in this month before the period.
    """
    spent = own_bytes
    if budget.unit is BudgetUnit.USD:
        paid = price.cost(all_bytes, month_bytes=earlier_bytes)
        spent = math.ceil(paid * USD * own_bytes / all_bytes) if all_bytes else 0
    month = earlier_bytes + all_bytes
    return BudgetState(
        budget=budget,
        period=period,
        spent=spent,
        raised=raised,
        reserved=worth_of(budget, month, reserved_bytes, price),
    )


def worth_of(budget: EgressBudget, month_bytes: int, size_bytes: int, price: EgressPrice) -> int:
    """So many bytes in the budget's unit, after others of this month; rounded up."""
    if budget.unit is BudgetUnit.BYTES:
        return size_bytes
    return math.ceil(price.cost(size_bytes, month_bytes=month_bytes) * USD)
