"""What one attempt may let leave S3: reserved in the budgets before it is requested.

The whole plan is, before its first byte is copied; and what has to be read once more, before that.
So what this process reads stays within its budgets, however many objects a worker has in hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from backhaul.core.model import Assignment
from backhaul.core.ports import Ports, StageTask


class EgressReservation:
    """Of one attempt; without a budget that counts its route, nothing happens here.

    Attributes:
        is_needed: A budget counts the route, and bytes may be copied.
        is_forced: What is published in part, or runs on YARN already, is finished in any case.
    """

    def __init__(self, ports: Ports, transfer_id: str, job: Assignment) -> None:
        self._gate = gate = ports.budgets
        self._id = transfer_id
        self._route = job.route
        self._is_made = False
        self.is_needed = gate is not None and not job.adopts_only and gate.covers(job.route)
        self.is_forced = False

    def make(self, size_bytes: int) -> None:
        """Reserve the whole plan, once.

        Raises:
            BudgetUsedUp: It does not fit: no byte is copied.
            OutageError, LedgerDamaged
        """
        if self._gate is None or not self.is_needed or self._is_made:
            return
        self._gate.reserve(self._id, self._route, size_bytes, is_forced=self.is_forced)
        self._is_made = True

    @contextmanager
    def until_its_end(self) -> Iterator[None]:
        """Around the attempt: what it did not use is given back."""
        try:
            yield
        finally:
            if self._gate is not None:
                self._gate.release(self._id)

    @property
    def more(self) -> Callable[[int], None] | None:
        """For the worker, see `TargetSession.stage`: what is read once more is reserved, too.

        It raises BudgetUsedUp where that does not fit: those bytes are not read.
        """
        return self._extend if self.is_needed else None

    def _extend(self, size_bytes: int) -> None:
        if self._gate is not None:
            self._gate.extend(self._id, size_bytes)

    def check(self) -> None:
        """While bytes come in: another process may have used up what is reserved here.

        Raises:
            BudgetUsedUp: No further object is begun.
            OutageError, LedgerDamaged
        """
        if self._gate is not None and self._is_made:
            self._gate.check(self._id)

    def checked(self, pages: Iterator[Sequence[StageTask]]) -> Iterator[Sequence[StageTask]]:
        """These pages, each given to the worker only while the budgets allow it; see `check`."""
        for page in pages:
            self.check()
            yield page
