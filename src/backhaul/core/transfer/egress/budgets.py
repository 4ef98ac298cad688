"""Budgets by what the ledger says left S3: for the agent's gate, and for commands."""

from __future__ import annotations

import math
from dataclasses import dataclass
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


@dataclass(frozen=True, kw_only=True)
class BudgetFigures:
    """What the ledger says of a budget in its period.

    Attributes:
        own_bytes: What left S3 in this period and counts for the budget.
        all_bytes: What left S3 in it for any route; where bytes are counted, `own_bytes`.
        earlier_bytes: What left S3 in this month before the period.
        raised: Added by operators, in the budget's unit.
    """

    budget: EgressBudget
    period: BudgetPeriod
    own_bytes: int = 0
    all_bytes: int = 0
    earlier_bytes: int = 0
    raised: int = 0

    @property
    def month_bytes(self) -> int:
        """What left S3 in this month so far."""
        return self.earlier_bytes + self.all_bytes

    def state(
        self, price: EgressPrice, *, since_bytes: int = 0, reserved_bytes: int = 0
    ) -> BudgetState:
        """The budget in this period.

        AWS bills all routes together, so a route pays its share of what all of them cost.

        Args:
            since_bytes: What left S3 for the budget since the ledger was read.
            reserved_bytes: What transfers under way may still read.
        """
        own_bytes, all_bytes = self.own_bytes + since_bytes, self.all_bytes + since_bytes
        spent = own_bytes
        if self.budget.unit is BudgetUnit.USD:
            paid = price.cost(all_bytes, month_bytes=self.earlier_bytes)
            spent = math.ceil(paid * USD * own_bytes / all_bytes) if all_bytes else 0
        month_bytes = self.month_bytes + since_bytes
        return BudgetState(
            budget=self.budget,
            period=self.period,
            spent=spent,
            raised=self.raised,
            reserved=worth_of(self.budget, month_bytes, reserved_bytes, price),
        )


def figures_of(ledger: BudgetReading, budget: EgressBudget, now: datetime) -> BudgetFigures:
    """As the ledger has them now.

    Raises:
        OutageError, LedgerDamaged
    """
    period = period_at(budget.per, now)
    own, every, month = _egress_of(ledger, budget, period, now)
    raises = ledger.budget_raises(period.begins_at)
    return BudgetFigures(
        budget=budget,
        period=period,
        own_bytes=own,
        all_bytes=every,
        earlier_bytes=month - every,
        raised=sum(one.amount for one in raises if one.concerns(budget, period)),
    )


def unspent(budget: EgressBudget, now: datetime) -> BudgetFigures:
    """Where there is no ledger yet."""
    return BudgetFigures(budget=budget, period=period_at(budget.per, now))


def _egress_of(
    ledger: BudgetReading, budget: EgressBudget, period: BudgetPeriod, now: datetime
) -> tuple[int, int, int]:
    """Bytes that left S3: of the budget in its period, of every route in it, and in the month.

    Where bytes are counted, only the first is read; the others are the same.
    """
    since = period.begins_at.date()
    own = ledger.egress_since(since, budget.route or None).size_bytes
    if budget.unit is BudgetUnit.BYTES:
        return own, own, own
    every = own if not budget.route else ledger.egress_since(since, None).size_bytes
    if budget.per is BudgetPer.MONTH:
        return own, every, every
    month = period_at(BudgetPer.MONTH, now).begins_at.date()
    return own, every, ledger.egress_since(month, None).size_bytes


def worth_of(budget: EgressBudget, month_bytes: int, size_bytes: int, price: EgressPrice) -> int:
    """So many bytes in the budget's unit, after others of this month; rounded up."""
    if budget.unit is BudgetUnit.BYTES:
        return size_bytes
    return math.ceil(price.cost(size_bytes, month_bytes=month_bytes) * USD)
