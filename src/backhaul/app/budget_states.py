"""Budgets as the ledger has them: what commands, metrics and pages show."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import datetime

from backhaul.adapters.ledger import find_reader
from backhaul.core.cost.budget import BudgetState, EgressBudget, refusal
from backhaul.core.cost.prices import EgressPrice
from backhaul.core.ports import BudgetReading
from backhaul.core.transfer.egress.budgets import BudgetFigures, figures_of, unspent, worth_of
from backhaul.settings.model import Settings


def states_of(
    reader: BudgetReading, budgets: Sequence[EgressBudget], price: EgressPrice, now: datetime
) -> list[BudgetState]:
    """By the ledger; what transfers under way have reserved only their agent knows."""
    return [figures_of(reader, one, now).state(price) for one in budgets]


def verdict_on(settings: Settings, route: str, size_bytes: int, now: datetime) -> str:
    """Whether so many bytes of this route fit now, and what is left; empty without a budget.

    Raises:
        ConfigurationError, OutageError: The ledger.
    """
    budgets = [one for one in settings.budgets if one.covers(route)]
    reader = find_reader(settings.ledger_place) if budgets else None
    if reader is None:
        return _verdict([unspent(one, now) for one in budgets], settings.cost.price, size_bytes)
    with closing(reader):
        figures = [figures_of(reader, one, now) for one in budgets]
    return _verdict(figures, settings.cost.price, size_bytes)


def _verdict(figures: Sequence[BudgetFigures], price: EgressPrice, size_bytes: int) -> str:
    fits = []
    for one in figures:
        state = one.state(price)
        needed = worth_of(state.budget, one.month_bytes, size_bytes, price)
        if size_bytes and (state.is_spent or needed > state.left):
            return f"held: {refusal(state, needed, size_bytes)}"
        fits.append(f"{state.budget.owner}, {state.budget.words(state.left)} left")
    return f"fits into {' and '.join(fits)}" if fits else ""
