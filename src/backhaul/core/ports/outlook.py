"""What the outlook needs of the ledger: counts of what was published, and what was judged."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from backhaul.core.health import ObservedAgent
from backhaul.core.outlook.counting import Count
from backhaul.core.outlook.expectation import ArrivalQuery, ExpectationRecord
from backhaul.core.outlook.forecast import SumsReader


class OutlookReader(SumsReader, Protocol):
    """Reads beside the agent; each call is short transactions, however much there is.

    Raises (any method):
        OutageError: `ledger`.
    """

    def agents(self) -> list[ObservedAgent]:
        """The newest starts first."""

    def count_arrivals(self, query: ArrivalQuery, so_far: Count | None) -> Count:
        """One piece more of what was published, until it is enough; None: the first piece."""

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
