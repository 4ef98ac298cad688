"""Budgets as the ledger has them: what commands, metrics and pages show."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import datetime

from backhaul.adapters.ledger import find_reader
from backhaul.core.cost.budget import BudgetState, EgressBudget, period_at, refusal
from backhaul.core.cost.prices import EgressPrice
from backhaul.core.ports import BudgetReading
from backhaul.core.transfer.egress.budgets import egress_of, state_of, worth_of
from backhaul.settings.model import Settings


def states_of(
    reader: BudgetReading, budgets: Sequence[EgressBudget], price: EgressPrice, now: datetime
) -> list[BudgetState]:
    """By the ledger; what transfers under way have reserved only their agent knows."""
    found = []
    for budget in budgets:
        period = period_at(budget.per, now)
        own, every, month = egress_of(reader, budget, now)
        raises = reader.budget_raises(period.begins_at)
        found.append(
            state_of(
                budget,
                period,
                own_bytes=own,
                all_bytes=every,
                earlier_bytes=month - every,
                raised=sum(one.amount for one in raises if one.concerns(budget, period)),
                reserved_bytes=0,
                price=price,
            )
        )
    return found


def verdict_on(settings: Settings, route: str, size_bytes: int, now: datetime) -> str:
    """Whether so many bytes of this route fit now, and what is left; empty without a budget.

    Raises:
        ConfigurationError, OutageError: The ledger.
    """
    budgets = [one for one in settings.budgets if one.covers(route)]
    reader = find_reader(settings.ledger_path) if budgets else None
    if reader is None:
        states = [
            BudgetState(budget=one, period=period_at(one.per, now), spent=0) for one in budgets
        ]
        return _verdict(states, settings.cost.price, size_bytes, [0] * len(states))
    with closing(reader):
        states = states_of(reader, budgets, settings.cost.price, now)
        month = [egress_of(reader, one, now)[2] for one in budgets]
    return _verdict(states, settings.cost.price, size_bytes, month)


def _verdict(
    states: Sequence[BudgetState], price: EgressPrice, size_bytes: int, month: Sequence[int]
) -> str:
    fits = []
    for state, month_bytes in zip(states, month, strict=True):
        needed = worth_of(state.budget, month_bytes, size_bytes, price)
        if size_bytes and (state.is_spent or needed > state.left):
            return f"held: {refusal(state, needed, size_bytes)}"
        fits.append(f"{state.budget.owner}, {state.budget.words(state.left)} left")
    return f"fits into {' and '.join(fits)}" if fits else ""
