"""What a scrape reads when it comes; everything else was counted before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from backhaul.core.agent_report import AgentReport
from backhaul.core.cost.budget import BudgetState
from backhaul.core.health import Health
from backhaul.core.outlook.expectation import ExpectationStatus
from backhaul.core.outlook.forecast import Forecast
from backhaul.core.outlook.risks import Risk
from backhaul.core.ports.replies import ReplyCounts
from backhaul.core.reconciliation.values import ReconcileResult


@dataclass(frozen=True, kw_only=True)
class LedgerFigures:
    """What only the ledger knows.

    Attributes:
        forecasts: Of each queue that an agent alive works.
        expectations: As they were judged last.
        budgets: In their present periods.
        reconciled: The last reconciliation of each route.
        replies: By target, those that have some that wait or were given up.
        last_done: By route, from before this agent started; to the hour.
    """

    agents_alive: int
    forecasts: tuple[Forecast, ...] = ()
    expectations: tuple[ExpectationStatus, ...] = ()
    risks: tuple[Risk, ...] = ()
    budgets: tuple[BudgetState, ...] = ()
    reconciled: tuple[ReconcileResult, ...] = ()
    replies: tuple[ReplyCounts, ...] = ()
    last_done: Mapping[str, datetime] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Scraped:
    """Everything that a scrape reads when it comes.

    Attributes:
        queue: Empty before the queue has answered; then nothing of it is shown.
        rate_limit_bytes: Per second; None: no limit.
        figures: None while the ledger does not answer.
    """

    at: datetime
    health: Health
    report: AgentReport
    queue: str
    rate_limit_bytes: int | None
    figures: LedgerFigures | None
