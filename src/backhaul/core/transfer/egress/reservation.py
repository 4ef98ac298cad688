"""What one attempt may let leave S3: reserved in the budgets before its first byte is copied."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from backhaul.core.model import Assignment
from backhaul.core.ports import Ports, StageTask

OBJECTS_AT_ONCE = 16  # from one look at the budgets to the next one


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

    def recorded(self, size_bytes: int) -> None:
        """The ledger has so many bytes more of this attempt."""
        if self._gate is not None and self._is_made:
            self._gate.recorded(self._id, size_bytes)

    def checked(
        self, pages: Iterator[Sequence[StageTask]], read_bytes: Callable[[], int]
    ) -> Iterator[Sequence[StageTask]]:
        """These pages in pieces, each given away only while the budgets allow it.

        Args:
            read_bytes: Read from S3 in this attempt so far.

        Raises:
            BudgetUsedUp: What was read in vain has used up the rest; the objects in flight are
                all that may leave S3 beyond the budget.
        """
        if self._gate is None or not self._is_made:
            yield from pages
            return
        given = 0
        for page in pages:
            for start in range(0, len(page), OBJECTS_AT_ONCE):
                piece = page[start : start + OBJECTS_AT_ONCE]
                self._gate.check(self._id, max(0, read_bytes() - given))
                given += sum(one.planned.pin.size_bytes for one in piece)
                yield piece
