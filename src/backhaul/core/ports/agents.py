"""What an agent publishes of itself in the ledger, and what it looks for there now and then."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from backhaul.core.agent_report import AgentIdentity, AgentReport
from backhaul.core.ports.ledger_records import PausedRoute


class AgentLedger(Protocol):
    """What an agent publishes of itself, and which routes it has to leave alone."""

    def beat(
        self, identity: AgentIdentity, report: AgentReport, *, has_ended: bool = False
    ) -> None:
        """Replace this agent's report; the first one registers it. Safe to repeat.

        After the last one another changes nothing: it was under way while the agent ended.

        Args:
            has_ended: It is the last one, of an orderly stop.
        """

    def sum_activity(self, *, most: int) -> bool:
        """Add the oldest changes of state that are not summed up yet to `activity`.

        Each is counted once, whoever calls this and however often.

        Args:
            most: So many changes at once: other calls wait meanwhile.

        Returns:
            True when there may be more.
        """

    def paused_routes(self, now: datetime) -> list[PausedRoute]:
        """The routes that are paused at this time."""

    def repeat_lost_ends(self, now: datetime) -> int:
        """Record once more what this process has ended and still owns: a failover lost that.

        A transfer whose end cannot be recorded any more, as what it builds on is lost, too, waits
        again, unspent. Others may have its destination then. Safe to repeat.

        Returns:
            How many there were.
        """
