"""What `budget`, `explain` and the first screens read of budgets."""

from __future__ import annotations

from datetime import date, datetime

from backhaul.adapters.ledger.budgets.raising import raises_since
from backhaul.adapters.ledger.daily.adding import egress_since
from backhaul.adapters.ledger.session import ReadSession
from backhaul.core.cost.budget import BudgetRaise
from backhaul.core.cost.egress import Egress


class BudgetReader(ReadSession):
    """As `core.ports.BudgetLedger` has them, beside the agent."""

    def egress_since(self, since: date, route: str | None = None) -> Egress:
        """What left S3 on this day in UTC and after it; None: of every route and of none."""
        with self._transaction("what left S3") as tx:
            return egress_since(tx, since, route)

    def budget_raises(self, since: datetime) -> list[BudgetRaise]:
        """Those of periods that began then or later, oldest first."""
        with self._transaction("the raises of budgets") as tx:
            return raises_since(tx, since)
