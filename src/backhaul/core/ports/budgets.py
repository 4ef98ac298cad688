"""What a transfer needs of the budgets, and the budgets of the ledger."""

from __future__ import annotations

from datetime import date, datetime
from typing import Protocol

from backhaul.core.cost.budget import BudgetHold, BudgetRaise, EgressBudget
from backhaul.core.cost.egress import Egress


class BudgetReading(Protocol):
    """What left S3, and what operators allowed besides their budgets.

    Raises (any method):
        OutageError, LedgerDamaged
    """

    def egress_since(self, since: date, route: str | None = None) -> Egress:
        """What left S3 on this day in UTC and after it; None: of every route and of none."""

    def budget_raises(self, since: datetime) -> list[BudgetRaise]:
        """Those of periods that began then or later."""


class BudgetLedger(BudgetReading, Protocol):
    """As an agent uses it."""

    def note_budget_warning(self, budget: EgressBudget, period: datetime, now: datetime) -> bool:
        """Remember that its use was warned of in the period that begins then.

        Returns:
            False: it was already, by this process or another one.
        """


class EgressGate(Protocol):
    """What may leave S3: reserved by each transfer before it copies, and given back at its end."""

    def covers(self, route: str) -> bool:
        """A budget counts what this route copies."""

    def reserve(self, transfer_id: str, route: str, size_bytes: int, *, is_forced: bool) -> None:
        """Reserve what the transfer will copy, in place of what it had reserved before.

        Args:
            is_forced: It is reserved in any case: what is published in part, or runs on YARN
                already, is finished.

        Raises:
            BudgetUsedUp: It does not fit into what is left; nothing is reserved.
            OutageError, LedgerDamaged
        """

    def extend(self, transfer_id: str, size_bytes: int) -> None:
        """Reserve so much more for it, before it reads something once more.

        Raises:
            BudgetUsedUp: It does not fit; what was reserved stays.
            OutageError, LedgerDamaged
        """

    def check(self, transfer_id: str) -> None:
        """While it copies: other processes may have used up what it reserved.

        Raises:
            BudgetUsedUp, OutageError, LedgerDamaged
        """

    def recorded(self, transfer_id: str, size_bytes: int) -> None:
        """The ledger has so much of what it reserved: that is spent, and reserved no more."""

    def release(self, transfer_id: str) -> None:
        """The attempt has ended; safe to repeat."""

    def hold_of(self, route: str, needed_bytes: int = 0) -> BudgetHold | None:
        """Why this route may not copy so much now, as far as is known; no call is made."""

    def refresh(self) -> None:
        """Read what is spent, and warn of what is nearly used up.

        Raises:
            OutageError, LedgerDamaged: What was known stays.
        """

    def holds(self) -> tuple[BudgetHold, ...]:
        """Of the budgets that are used up, as far as is known."""
