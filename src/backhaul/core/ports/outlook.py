"""What the outlook needs of the ledger: counts of what was published, and what was judged."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from backhaul.core.health import ObservedAgent
from backhaul.core.outlook.expectation import ArrivalQuery, Arrived, ExpectationRecord
from backhaul.core.outlook.forecast import SumsReader


class OutlookReader(SumsReader, Protocol):
    """Reads beside the agent; each transaction is short, however much is counted.

    Raises (any method):
        OutageError: `ledger`.
    """

    def agents(self) -> list[ObservedAgent]:
        """The newest starts first."""

    def arrived(self, query: ArrivalQuery) -> Arrived:
        """What was published, counted until it is enough."""

    def expectations(self) -> list[ExpectationRecord]:
        """The newest deadlines of each expectation, those that are due among them."""


class OutlookLedger(Protocol):
    """The ledger, as the agent's watch uses it.

    Raises (any method):
        OutageError: `ledger`.
    """

    def reading(self) -> AbstractContextManager[OutlookReader]:
        """A reader until the end of the block."""

    def note_expectation(self, record: ExpectationRecord) -> bool:
        """Keep this record in place of the one before.

        Returns:
            False: it was in this state already, by this process or another one.
        """

    def forget_expectations(self, records: Sequence[ExpectationRecord]) -> None:
        """Those that the configuration has no more, or that were judged by a wrong clock."""
