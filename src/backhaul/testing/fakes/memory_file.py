"""What the ledger in memory keeps, and how one process uses it.

Commits may fail, and the outcome of a commit may be unknown (`Faults`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any

from backhaul.core.agent_report import AgentRecord
from backhaul.core.cost.budget import BudgetPer, BudgetRaise, BudgetUnit
from backhaul.core.cost.egress import Egress, EgressCount
from backhaul.core.errors import BackhaulError, OutageError, TakenOver
from backhaul.core.model import HOLD_GAP, Assignment, Hold, Location, TransferState
from backhaul.core.objects import PlannedObject, StagedObject
from backhaul.core.ports import (
    AbandonedStaging,
    AttemptStart,
    MessageKey,
    OperatorEntry,
    PausedRoute,
    Published,
)
from backhaul.core.ports.ledger_records import OwnWrites
from backhaul.core.ports.replies import ReplyState
from backhaul.core.replies.reply import Reply, ReplyWish
from backhaul.testing.fakes.faults import Faults


@dataclass(kw_only=True)
class MemoryTransfer:
    """One row of `transfers` with its plan."""

    id: str
    key: MessageKey | None
    source: str = ""
    destination: str = ""
    route: str | None = None
    replies: tuple[ReplyWish, ...] = ()
    holds_reported: int = 0
    is_hold_reported: bool = False
    was_claimed: bool = False
    assignment: Assignment | None = None
    first_seen_at: datetime
    state: TransferState = TransferState.RECEIVED
    attempt: int = 1
    owner: str | None = None
    failures: int = 0
    source_changes: int = 0
    code: str | None = None
    reason: str | None = None
    hold: Hold | None = None
    has_dead_letter: bool = False
    updated_at: datetime
    moved_at: datetime
    epoch: int | None = None
    canonical: Location | None = None
    directory: Location | None = None
    has_plan: bool = False
    renames_possible: bool = False
    markers: int = 0
    egress: Egress = field(default_factory=Egress)
    plan: list[PlannedObject] = field(default_factory=list)
    proofs: dict[int, tuple[int, StagedObject]] = field(default_factory=dict)

    def proven(self, seq: int) -> int | None:
        """The epoch of the object's proof."""
        found = self.proofs.get(seq)
        return None if found is None else found[0]

    def begun(self, *, is_live: bool) -> AttemptStart:
        """What a delivery gets."""
        return AttemptStart(
            transfer_id=self.id,
            state=self.state,
            attempt=self.attempt,
            is_live=is_live,
            has_plan=self.has_plan,
            was_publishing=self.renames_possible,
            first_seen_at=self.first_seen_at,
            directory=self.directory,
            destination=self.canonical,
            failures=self.failures,
            source_changes=self.source_changes,
            code=self.code,
            reason=self.reason,
            has_dead_letter=self.has_dead_letter,
            egress=self.egress,
        )

    def continued(self, hold: Hold | None) -> Hold | None:
        """The hold, since the beginning of an earlier one by the same dependency."""
        before = self.hold
        if before is None or hold is None or before.dependency != hold.dependency:
            return hold
        is_near = hold.since - self.updated_at < HOLD_GAP
        return replace(hold, since=before.since) if self.code is not None or is_near else hold

    def drop_plan(self) -> None:
        """Without its proofs there is no plan."""
        self.plan, self.proofs, self.markers, self.has_plan = [], {}, 0, False

    def append(self, page: Sequence[PlannedObject]) -> None:
        """Add what is not frozen yet."""
        before = len(self.plan)
        fresh = [one for one in page if one.seq >= before]
        if [one.seq for one in fresh] != list(range(before, before + len(fresh))):
            raise out_of_order(f"{self.id}: plan page does not continue at position {before}")
        self.plan = [*self.plan, *fresh]

    def prove(self, epoch: int, staged: Sequence[StagedObject]) -> None:
        """Record proofs of planned objects."""
        sizes = {one.seq: one.pin.size_bytes for one in self.plan}
        fits = [one for one in staged if sizes.get(one.seq) == one.size_bytes]
        if len(fits) != len(staged):
            raise out_of_order(f"{self.id}: {len(staged)} proofs, {len(fits)} fit the plan's sizes")
        self.proofs.update((one.seq, (epoch, one)) for one in staged)

    def publication(self, location: Location, planned: PlannedObject) -> Published:
        """A proven object at its final path."""
        proof = self.proofs[planned.seq][1]
        return Published(
            location=location,
            transfer_id=self.id,
            pin=planned.pin,
            content=proof.content,
            modified_ms=proof.modified_ms,
        )


@dataclass(kw_only=True)
class MemoryDestination:
    """One row of `destinations`."""

    epoch: int
    staging_root: Location | None
    owner_transfer: str | None
    owner: str | None


@dataclass(kw_only=True)
class MemoryReply:
    """One row of `replies`."""

    reply: Reply
    nth_hold: int
    state: ReplyState = ReplyState.WAITING
    tries: int = 0
    due_at: datetime
    code: str | None = None


@dataclass(kw_only=True)
class MemoryFile:
    """What all processes on one ledger share.

    Attributes:
        clock: Of the database, for what agents on several machines compare; None: there is one
            machine, and its clock is the caller's.
        journal: Ends and failures of transfers: when, which, its state and code.
        egress: What left S3, by day, route and engine.
        summed_to: So many of them are in `activity`, by span, its beginning, and route.
        least_epoch: Of a claim that is made now.
        require_newest: Raises where the server that keeps this may not claim above an epoch, which
            was found in staging at a path.
        after_change: Called with a transfer's id and its state before and after each commit that
            moves it; for checks.
    """

    clock: Callable[[], datetime] | None = None
    transfers: dict[str, MemoryTransfer] = field(default_factory=dict)
    by_key: dict[MessageKey, str] = field(default_factory=dict)
    destinations: dict[Location, MemoryDestination] = field(default_factory=dict)
    published: dict[Location, Published] = field(default_factory=dict)
    markers: dict[Location, str] = field(default_factory=dict)  # path to transfer
    sequencers: dict[tuple[Location, str, str], str] = field(default_factory=dict)
    nonces: dict[str, tuple[tuple[str, str], datetime]] = field(default_factory=dict)
    staging: dict[Location, tuple[AbandonedStaging, Location, datetime]] = field(
        default_factory=dict
    )
    replies: dict[tuple[str, str], MemoryReply] = field(default_factory=dict)
    agents: dict[str, AgentRecord] = field(default_factory=dict)
    paused: dict[str, PausedRoute] = field(default_factory=dict)
    acts: list[OperatorEntry] = field(default_factory=list)
    egress: dict[tuple[date, str, str], Egress] = field(default_factory=dict)
    raises: list[BudgetRaise] = field(default_factory=list)
    budget_warnings: set[tuple[str, BudgetPer, BudgetUnit, datetime]] = field(default_factory=set)
    journal: list[tuple[datetime, str, TransferState, str | None]] = field(default_factory=list)
    summed_to: int = 0
    activity: dict[tuple[timedelta, datetime, str], Counter[str]] = field(default_factory=dict)
    after_change: Callable[[MemoryTransfer, TransferState, TransferState], None] = (
        lambda _row, _before, _after: None
    )
    least_epoch: Callable[[], int] = lambda: 1
    require_newest: Callable[[int, Location], None] = lambda _epoch, _root: None

    def time_of(self, now: datetime) -> datetime:
        """Of a row that is written at `now` by the caller's clock."""
        return now if self.clock is None else self.clock()


class MemorySession:
    """What the capabilities of `MemoryLedger` share: one process on a `MemoryFile`.

    Args:
        owner: The name of this process.
        is_alive: Whether another owner may still act, judged from this process.
    """

    def __init__(
        self,
        file: MemoryFile,
        owner: str,
        *,
        is_alive: Callable[[str], bool] = lambda _owner: True,
        faults: Faults | None = None,
    ) -> None:
        self._file = file
        self._owner = owner
        self._owner_is_alive = is_alive
        self._faults = faults or Faults()
        self._working: dict[str, OwnWrites] = {}
        self._ended: dict[str, Callable[[], bool]] = {}
        self._unrecorded: set[str] = set()

    def _row(self, transfer_id: str) -> MemoryTransfer:
        row = self._file.transfers.get(transfer_id)
        if row is None and transfer_id in self._working:
            raise TakenOver("E_TAKEN_OVER", f"{transfer_id} is in the ledger no more")
        if row is None:
            raise out_of_order(f"{transfer_id} is not in the ledger")
        if (written := self._working.get(transfer_id)) is not None:
            written.require_pages(transfer_id, len(row.plan))
        return row

    def _mine(self, transfer_id: str, *, is_to_claim: bool = False) -> MemoryTransfer:
        row = self._row(transfer_id)
        if row.owner != self._owner:
            if row.code == "E_CANCELLED":
                raise TakenOver(row.code, f"{transfer_id}: {row.reason}")
            raise TakenOver(
                "E_TAKEN_OVER",
                f"{transfer_id} is {row.state.value}, and another process began its last attempt",
            )
        written = self._working.get(transfer_id)
        if written is not None and not is_to_claim:
            written.require(transfer_id, row.epoch, len(row.plan))
        return row

    def _wrote(self, transfer_id: str, **changes: Any) -> None:
        if (written := self._working.get(transfer_id)) is not None:
            self._working[transfer_id] = replace(written, **changes)

    def _is_live(self, transfer_id: str, owner: str | None) -> bool:
        if owner is None:
            return False
        if owner == self._owner:
            return transfer_id in self._working
        return self._owner_is_alive(owner)

    def _add_read(self, row: MemoryTransfer, read: EgressCount | None) -> None:
        if read is not None:
            row.egress += read.total
            route = (row.assignment.route if row.assignment is not None else row.route) or ""
            self._add_egress(route, read)

    def _add_egress(self, route: str, read: EgressCount) -> None:
        sums = self._file.egress
        for engine, egress in (("native", read.native), ("distcp", read.distcp)):
            key = (read.day, route, engine)
            sums[key] = sums.get(key, Egress()) + egress

    def _release(self, transfer_id: str) -> None:
        for there in self._file.destinations.values():
            if there.owner_transfer == transfer_id:
                there.owner_transfer = there.owner = None

    def _end(self, row: MemoryTransfer, state: TransferState) -> None:
        row.owner = row.code = row.reason = row.hold = None
        self._move(row, state)

    def _move(self, row: MemoryTransfer, state: TransferState) -> None:
        before, row.state = row.state, state
        self._file.after_change(row, before, state)


def out_of_order(what: str) -> BackhaulError:
    """A call that no correct caller makes."""
    return BackhaulError("E_LEDGER_ORDER", what)


def outage(name: str) -> OutageError:
    """How a call of this name fails."""
    return OutageError.of("ledger", "E_LEDGER_IO", f"{name} was not answered")
