"""`backhaul budget`: what is spent of each budget, and how an operator allows more."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from backhaul.adapters.ledger import LedgerReader, find_reader, open_ledger
from backhaul.adapters.system.clock import host_name
from backhaul.app.actions import Warn, failures_noted
from backhaul.app.budget_states import states_of
from backhaul.core.cost.budget import (
    USD,
    BudgetRaise,
    BudgetState,
    BudgetUnit,
    EgressBudget,
    advice,
    period_at,
    refusal,
)
from backhaul.core.errors import BadArgument
from backhaul.core.ports import Act, Operator, OperatorEntry
from backhaul.core.transfer.egress.budgets import unspent
from backhaul.settings.model import Settings

HELD = "E_BUDGET_USED"
OPEN_MOST = 500


@dataclass(frozen=True, kw_only=True)
class BudgetView:
    """A budget as it is now.

    Attributes:
        held_transfers: How many wait for it; `OPEN_MOST` at most are looked at.
        sentence: Why transfers wait, as it was when they were last tried; empty where none do.
    """

    state: BudgetState
    at: datetime
    held_transfers: int = 0
    sentence: str = ""

    @property
    def hint(self) -> str:
        """What an operator can do; empty where nothing waits."""
        return advice(self.state, 0) if self.sentence else ""

    @property
    def command(self) -> str:
        """How an operator allows more."""
        return f"backhaul budget raise {self.state.budget.raise_name} AMOUNT"

    @property
    def as_json(self) -> dict[str, Any]:
        """For programs; dollars as decimals."""
        state, budget = self.state, self.state.budget
        return {
            "route": budget.route or None,
            "unit": budget.unit.value,
            "per": budget.per.value,
            "begins_at": state.period.begins_at.isoformat(),
            "ends_at": state.period.ends_at.isoformat(),
            "amount": _number(budget, budget.amount),
            "raised": _number(budget, state.raised),
            "spent": _number(budget, state.spent),
            "left": _number(budget, state.left),
            "share": round(state.share, 4),
            "forecast": _number(budget, state.forecast(self.at)),
            "is_held": state.is_spent,
            "held_transfers": self.held_transfers,
            "sentence": self.sentence,
            "hint": self.hint,
        }


def read_budgets(settings: Settings, now: datetime) -> list[BudgetView]:
    """Each budget of the configuration, that over all routes first.

    Raises:
        ConfigurationError, OutageError: The ledger.
    """
    budgets, price = settings.budgets, settings.cost.price
    reader = find_reader(settings.ledger_place) if budgets else None
    if reader is None:
        return [BudgetView(state=unspent(one, now).state(price), at=now) for one in budgets]
    with closing(reader):
        return budget_views(settings, reader, now)


def budget_views(settings: Settings, reader: LedgerReader, now: datetime) -> list[BudgetView]:
    """The same, by an open reader.

    Raises:
        OutageError, LedgerDamaged
    """
    budgets, price = settings.budgets, settings.cost.price
    if not budgets:
        return []
    waiting = Counter[str]()
    reasons: dict[str, str] = {}
    for one in reader.open_transfers(most=OPEN_MOST):
        if one.code == HELD:
            waiting[one.route] += 1
            reasons.setdefault(one.route, one.reason or "")
    return [_view(state, now, waiting, reasons) for state in states_of(reader, budgets, price, now)]


def raise_budget(
    settings: Settings, by: Operator, route: str, amount: str, *, reason: str, warn: Warn
) -> BudgetView:
    """Allow more in the present period alone; agents go on within some seconds.

    Args:
        route: Empty: the budget over all routes.
        amount: As it was typed; what is added, in the budget's unit.

    Raises:
        BadArgument: E_NO_BUDGET, E_BUDGET_AMOUNT.
        ConfigurationError, OutageError: The ledger.
    """
    now = datetime.now(UTC)
    budget = _of_route(settings, route)
    more = BudgetRaise(
        route=route,
        period=period_at(budget.per, now).begins_at,
        per=budget.per,
        unit=budget.unit,
        amount=parse_amount(budget.unit, amount),
        at=now,
        operator=by.name,
        reason=reason,
    )
    subject = f"{budget.owner} by {budget.words(more.amount)} {budget.when}"
    subject += f": {reason}" if reason else ""
    path = settings.ledger_place
    with failures_noted(path, by, Act.BUDGET, subject, warn):
        ledger = open_ledger(path, create=False, host=host_name())
        with closing(ledger):
            ledger.raise_budget(more, OperatorEntry(at=now, by=by, act=Act.BUDGET, subject=subject))
    view = next(one for one in read_budgets(settings, now) if one.state.budget == budget)
    # The reasons in the ledger are those of before.
    return view if view.state.is_spent else replace(view, sentence="")


def parse_amount(unit: BudgetUnit, text: str) -> int:
    """`20GiB` or bytes, `12.50` or `$12.50`, in the budget's unit.

    Raises:
        BadArgument: E_BUDGET_AMOUNT.
    """
    from backhaul.settings.sizes import parse_size

    try:
        if unit is BudgetUnit.USD:
            found: object = round(float(text.strip().removeprefix("$")) * USD)
        else:
            found = parse_size(text)
    except (ValueError, OverflowError):
        found = None
    if not isinstance(found, int) or not 0 < found < 1 << 62:
        raise BadArgument(
            "E_BUDGET_AMOUNT",
            f"{text[:60]!r} is no amount for a budget in {unit}",
            hint="write what is added, such as 12.50"
            if unit is BudgetUnit.USD
            else "write what is added, such as 500GiB",
        )
    return found


def _of_route(settings: Settings, route: str) -> EgressBudget:
    budgets = settings.budgets
    found = next((one for one in budgets if one.route == route), None)
    if found is not None:
        return found
    named = ", ".join(one.raise_name for one in budgets) or "none"
    what = f"route {route} has no budget" if route else "there is no budget over all routes"
    raise BadArgument(
        "E_NO_BUDGET", f"{what}; there are: {named}", hint="what has no budget is not held by one"
    )


def _view(
    state: BudgetState, now: datetime, waiting: Counter[str], reasons: dict[str, str]
) -> BudgetView:
    route = state.budget.route
    held = sum(waiting.values()) if not route else waiting[route]
    sentence = refusal(state, 0, 0) if state.is_spent else ""
    if not sentence and route:
        sentence = reasons.get(route, "")
    return BudgetView(state=state, at=now, held_transfers=held, sentence=sentence)


def _number(budget: EgressBudget, amount: int) -> float:
    return amount if budget.unit is BudgetUnit.BYTES else round(amount / USD, 6)
