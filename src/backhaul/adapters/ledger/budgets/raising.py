"""The tables `budget_raises` and `budget_warnings`."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, delete, insert, select

from backhaul.adapters.ledger import rows
from backhaul.adapters.ledger.budgets.tables import budget_raises, budget_warnings
from backhaul.adapters.ledger.operators import add_act
from backhaul.adapters.ledger.schema import WrongValue
from backhaul.adapters.ledger.session import WriteSession
from backhaul.core.cost.budget import BudgetPer, BudgetRaise, BudgetUnit, EgressBudget
from backhaul.core.ports import OperatorEntry

WARNINGS_KEPT = timedelta(days=400)
_SINCE = (
    select(budget_raises)
    .where(budget_raises.c.period >= bindparam("of_period"))
    .order_by(budget_raises.c.number)
)
_WARNED = select(budget_warnings.c.at).where(
    *(one == bindparam(f"of_{one.name}") for one in budget_warnings.primary_key.columns)
)


class SqlBudgets(WriteSession):
    """The half of `core.ports.BudgetLedger` that is about budgets, and how one is raised."""

    def budget_raises(self, since: datetime) -> list[BudgetRaise]:
        with self._beside() as tx:
            return raises_since(tx, since)

    def note_budget_warning(self, budget: EgressBudget, period: datetime, now: datetime) -> bool:
        key = {"route": budget.route, "per": budget.per.value, "unit": budget.unit.value}
        at = {"of_period": period, **{f"of_{name}": value for name, value in key.items()}}
        with self._transaction() as tx:
            if tx.execute(_WARNED, at).scalar() is not None:
                return False
            tx.execute(insert(budget_warnings), {**key, "period": period, "at": now})
            old = budget_warnings.c.period < now - WARNINGS_KEPT
            tx.execute(delete(budget_warnings).where(old))
        return True

    def raise_budget(self, more: BudgetRaise, entry: OperatorEntry) -> None:
        """Allow more in its period, with this line in the operators' journal."""
        values: dict[str, Any] = asdict(more) | {
            "per": more.per.value,
            "unit": more.unit.value,
            "operator": rows.readable(more.operator),
            "reason": rows.readable(more.reason),
        }
        with self._transaction() as tx:
            tx.execute(insert(budget_raises), values)
            add_act(tx, entry)


def raises_since(tx: Connection, since: datetime) -> list[BudgetRaise]:
    """Those of periods that began then or later, oldest first."""
    return [_raise(row) for row in tx.execute(_SINCE, {"of_period": since}).mappings()]


def _raise(row: RowMapping) -> BudgetRaise:
    rows.checked(row, budget_raises.c)
    values = {name: value for name, value in row.items() if name != "number"}
    try:
        per, unit = BudgetPer(row["per"]), BudgetUnit(row["unit"])
    except ValueError as error:
        raise WrongValue(f"budget_raises: {error}") from error
    return BudgetRaise(**{**values, "per": per, "unit": unit})
