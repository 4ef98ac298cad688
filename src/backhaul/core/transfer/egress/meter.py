"""What one attempt has read from S3, by purpose, and how it gets into the ledger.

Most of it is recorded with the proofs and with the intent, so that it costs no commit. While bytes
come in it is recorded every few seconds, and what is left at the end of an attempt with that: a
process that is killed loses what came since. What was recorded is reported as a fact, so metrics
count what the ledger counts.

What earlier attempts had read is the beginning of the plan: attempts go through it in its order. So
an attempt reads for the first time what it reads beyond that, and all before once more.
"""

from __future__ import annotations

from backhaul.core.cost.egress import Egress, EgressCount, EgressRecorded
from backhaul.core.errors import OutageError
from backhaul.core.facts import LedgerRecordMissed
from backhaul.core.ports import AttemptStart, Ports
from backhaul.core.transfer.borrowed_worker import BorrowedWorker

NOTE_EVERY_S = 5.0


class EgressMeter:
    """Counts for one attempt."""

    def __init__(
        self, *, ports: Ports, begun: AttemptStart, route: str, worker: BorrowedWorker
    ) -> None:
        self._ports = ports
        self._id = begun.transfer_id
        self._route = route
        self._worker = worker
        self._copied_before = begun.egress.copy
        self._lost_bytes = 0  # not recorded yet, and not of what this attempt has reserved
        self._first_bytes = 0  # of the plan, read by this attempt or by what it continues
        self._received_bytes = self._repeated_bytes = 0  # by the worker, as counted so far
        self._native, self._distcp = Egress(), Egress()
        self._recorded = EgressCount(at=begun.first_seen_at)
        self._noted_s = ports.clock.monotonic()

    @property
    def size_bytes(self) -> int:
        """Read by this attempt so far."""
        self._update()
        return self._native.size_bytes + self._distcp.size_bytes

    def continue_yarn(self, size_bytes: int) -> None:
        """An application is followed of which an earlier attempt has counted so much."""
        self._first_bytes += size_bytes

    def add_yarn(self, size_bytes: int) -> None:
        """Mappers of the application that is followed have read so many bytes more."""
        self._distcp += self._split(size_bytes)

    def add_lost_yarn(self, counted_bytes: int, size_bytes: int) -> None:
        """One that ended in vain had read so many bytes more than an earlier attempt counted."""
        fresh = min(size_bytes, max(0, counted_bytes + size_bytes - self._copied_before))
        self._distcp += Egress(copy=fresh, retry=size_bytes - fresh)
        self._copied_before += fresh
        self._lost_bytes += size_bytes

    def unrecorded(self) -> EgressCount:
        """What is not in the ledger; `recorded` gets it back once it is."""
        self._update()
        return EgressCount(
            at=self._ports.clock.now(),
            native=self._native - self._recorded.native,
            distcp=self._distcp - self._recorded.distcp,
        )

    def recorded(self, count: EgressCount) -> None:
        """The ledger has this now."""
        if not count.total.size_bytes:
            return
        self._noted_s = self._ports.clock.monotonic()
        if self._ports.budgets is not None:
            self._ports.budgets.recorded(self._id, count.total.size_bytes - self._lost_bytes)
        self._lost_bytes = 0
        before = self._recorded
        self._recorded = EgressCount(
            at=count.at,
            native=before.native + count.native,
            distcp=before.distcp + count.distcp,
        )
        self._ports.emit(
            EgressRecorded(
                transfer_id=self._id,
                route=self._route,
                native=count.native,
                distcp=count.distcp,
            )
        )

    def note_if_due(self) -> None:
        """Record it when nothing was for some seconds; where that fails it is tried again."""
        if self._ports.clock.monotonic() - self._noted_s > NOTE_EVERY_S:
            self._note()

    def note_rest(self) -> None:
        """At the end of the attempt; where that fails it is lost, and the log says so."""
        error = self._note()
        if error is not None:
            self._ports.emit(
                LedgerRecordMissed(transfer_id=self._id, code=error.code, reason=error.message)
            )

    def _note(self) -> OutageError | None:
        count = self.unrecorded()
        if not count.total.size_bytes:
            return None
        try:
            self._ports.ledger.note_egress(self._id, count)
        except OutageError as error:
            return error
        self.recorded(count)
        return None

    def _update(self) -> None:
        received, repeated = self._worker.received
        again = repeated - self._repeated_bytes
        first = received - self._received_bytes - again
        self._received_bytes, self._repeated_bytes = received, repeated
        self._native += self._split(first) + Egress(retry=again)

    def _split(self, size_bytes: int) -> Egress:
        """What this attempt reads once: for the first time, or an earlier one had read it."""
        self._first_bytes += size_bytes
        beyond = self._first_bytes - self._copied_before
        fresh = min(size_bytes, max(0, beyond))
        return Egress(copy=fresh, retry=size_bytes - fresh)
