"""What operators do to the ledger from beside the agent, as other rooms need it."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from backhaul.core.ports.ledger_records import Operator, PausedRoute


class OperatorLedger(Protocol):
    """Routes paused and resumed; each call writes its line of the operators' journal."""

    def pause_route(self, paused: PausedRoute, by: Operator) -> PausedRoute | None:
        """Pause the route from `paused.since` on.

        Returns:
            The pause that this one replaces.
        """

    def resume_route(self, route: str, now: datetime, by: Operator) -> PausedRoute | None:
        """End its pause.

        Returns:
            The pause that ended; None where it was not paused.
        """
