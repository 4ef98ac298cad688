"""The ledger in memory, with commits that fail and commits whose outcome is unknown.

The rules are those of `adapters.ledger.store`; one suite in `tests/contract` holds both to the
port. A simulated schedule makes some hundred calls to a ledger, and a thousand schedules want one
each: that is what this is for. What SQLite does with power cuts is tested on SQLite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeVar

from backhaul.core.errors import BackhaulError, OutageError, TakenOver
from backhaul.core.model import HOLD_GAP, Assignment, Hold, Location, TransferState
from backhaul.core.objects import ManifestSum, PlannedObject, StagedObject, Totals
from backhaul.core.ports import (
    AbandonedStaging,
    AttemptStart,
    Claimed,
    ClusterJob,
    Holder,
    MessageKey,
    Published,
)
from backhaul.core.ports.cluster import Application, JobProgress
from backhaul.core.text import redacted
from backhaul.core.transfer.placing import holds_files, staging_root
from backhaul.testing.fakes.faults import Faults

Item = TypeVar("Item")


@dataclass(kw_only=True)
class Transfer:
    """One row of `transfers` with its plan."""

    id: str
    key: MessageKey | None
    job: Assignment | None = None
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
    epoch: int | None = None
    canonical: Location | None = None
    directory: Location | None = None
    has_plan: bool = False
    renames_possible: bool = False
    markers: int = 0
    plan: list[PlannedObject] = field(default_factory=list)
    proofs: dict[int, tuple[int, StagedObject]] = field(default_factory=dict)

    def proven(self, seq: int) -> int | None:
        """The epoch of the object's proof."""
        found = self.proofs.get(seq)
        return None if found is None else found[0]


@dataclass(kw_only=True)
class Destination:
    """One row of `destinations`."""

    epoch: int
    staging_root: Location | None
    owner_transfer: str | None
    owner: str | None


@dataclass(kw_only=True)
class MemoryFile:
    """What all processes on one ledger share.

    Attributes:
        after_change: Called with a transfer's id and its state before and after each commit that
            moves it; for checks.
    """

    transfers: dict[str, Transfer] = field(default_factory=dict)
    by_key: dict[MessageKey, str] = field(default_factory=dict)
    destinations: dict[Location, Destination] = field(default_factory=dict)
    published: dict[Location, Published] = field(default_factory=dict)
    sequencers: dict[tuple[Location, str, str], str] = field(default_factory=dict)
    nonces: dict[str, tuple[tuple[str, str], datetime]] = field(default_factory=dict)
    litter: dict[Location, tuple[AbandonedStaging, Location, datetime]] = field(
        default_factory=dict
    )
    after_change: Callable[[Transfer, TransferState, TransferState], None] = (
        lambda _row, _before, _after: None
    )


class MemoryLedger:
    """Implements `ports.Ledger` for one process on a `MemoryFile`.

    Args:
        owner: Who writes.
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
        self._working: set[str] = set()

    # ------------------------------------------------------------ a delivery

    def begin(
        self, key: MessageKey | None, new_id: str, source: str, destination: str, now: datetime
    ) -> AttemptStart:
        """See the port."""
        with self._faults.call("ledger.begin", _outage):
            known = None if key is None else self._file.by_key.get(key)
            was_changed = key is not None and self._is_other_body(known, key)
            if key is not None and was_changed:
                key = key.changed
                known = self._file.by_key.get(key)
            if known is None:
                row = Transfer(
                    id=new_id, key=key, first_seen_at=now, updated_at=now, owner=self._owner
                )
                self._file.transfers[new_id] = row
                if key is not None:
                    self._file.by_key[key] = new_id
                begun = _begun(row, is_live=False)
            else:
                row = self._file.transfers[known]
                is_live = self._is_live(row.id, row.owner)
                if is_live or row.state.is_final:
                    return replace(_begun(row, is_live=is_live), was_changed=was_changed)
                row.attempt += 1
                row.updated_at = now
                row.owner = self._owner
                code, reason = row.code, row.reason
                row.code = row.reason = None
                self._move(row, TransferState.RECEIVED)
                begun = replace(_begun(row, is_live=False), code=code, reason=reason)
        self._working.add(begun.transfer_id)  # only once it is committed
        return replace(begun, was_changed=was_changed)

    def _is_other_body(self, known: str | None, key: MessageKey) -> bool:
        before = None if known is None else self._file.transfers[known].key
        return before is not None and (
            None not in {before.body_digest, key.body_digest}
            and before.body_digest != key.body_digest
        )

    # ------------------------------------------------------------ the claim

    def claim(  # noqa: PLR0913 - the port's
        self,
        transfer_id: str,
        job: Assignment,
        destination: Location,
        staging_anchor: Location,
        *,
        directory: Location,
        first: Sequence[PlannedObject] = (),
        is_complete: bool = False,
        markers: int = 0,
        min_epoch: int,
        now: datetime,
    ) -> Claimed | None:
        """See the port."""
        with self._faults.call("ledger.claim", _outage):
            row = self._mine(transfer_id)
            if self._is_in_the_way(transfer_id, destination):
                return None
            there = self._file.destinations.get(destination)
            root = staging_root(staging_anchor, destination)
            claimed = Claimed(
                epoch=max(min_epoch, 1 + (there.epoch if there else 0)),
                staging_root=root,
                stale=tuple(
                    left
                    for left, uri, _ in self._file.litter.values()
                    if left.staging_root != root
                    and _overlap(uri, destination)
                    and holds_files(left.staging_root, uri)
                ),
                has_rivals=any(
                    one.renames_possible
                    and one.id != transfer_id
                    and one.canonical is not None
                    and _overlap(one.canonical, destination)
                    for one in self._file.transfers.values()
                ),
            )
            self._let_go(transfer_id)
            for uri, other in self._file.destinations.items():
                if _overlap(uri, destination):
                    other.owner_transfer = other.owner = None
            left = AbandonedStaging(
                transfer_id=transfer_id, staging_root=root, epoch=claimed.epoch, route=job.route
            )
            self._file.litter[root] = (left, destination, now)
            self._file.destinations[destination] = Destination(
                epoch=claimed.epoch,
                staging_root=claimed.staging_root,
                owner_transfer=transfer_id,
                owner=self._owner,
            )
            row.epoch, row.canonical, row.directory = claimed.epoch, destination, directory
            row.job = job
            if first and not row.has_plan:
                _drop_plan(row)
                _append(row, first)
                row.has_plan, row.markers = is_complete, markers
            self._move(row, TransferState.STAGING)
            return claimed

    def _is_in_the_way(self, transfer_id: str, destination: Location) -> bool:
        return any(
            row.owner_transfer not in {None, transfer_id}
            and _overlap(uri, destination)
            and self._is_live(row.owner_transfer or "", row.owner)
            for uri, row in self._file.destinations.items()
        )

    def rivals(self, transfer_id: str, locations: Sequence[Location]) -> list[Published]:
        """See the port."""
        with self._faults.call("ledger.rivals", _outage):
            asked = set(locations)
            found: list[Published] = []
            for row in self._file.transfers.values():
                if row.directory is None or not row.renames_possible or row.id == transfer_id:
                    continue
                for planned in row.plan:
                    location = row.directory.join(planned.relative)
                    if location in asked and planned.seq in row.proofs:
                        proof = row.proofs[planned.seq][1]
                        found.append(_published(location, row.id, planned, proof))
            return found

    # ------------------------------------------------------------ the plan

    def forget_plan(self, transfer_id: str) -> None:
        """See the port."""
        with self._faults.call("ledger.forget_plan", _outage):
            row = self._mine(transfer_id)
            _drop_plan(row)
            row.source_changes += 1

    def freeze(
        self, transfer_id: str, objects: Sequence[PlannedObject], *, is_complete: bool, markers: int
    ) -> None:
        """See the port."""
        with self._faults.call("ledger.freeze", _outage):
            row = self._mine(transfer_id)
            if row.has_plan:
                return
            _append(row, objects)
            row.has_plan, row.markers = is_complete, markers

    def plan(
        self, transfer_id: str, *, only_unstaged: bool = False, batch: int = 1000
    ) -> Iterator[Sequence[PlannedObject]]:
        """See the port."""
        yield from self._pages(
            "ledger.plan",
            transfer_id,
            batch,
            lambda _row, one: one,
            lambda row, one: not only_unstaged or row.proven(one.seq) != row.epoch,
        )

    def planned_totals(self, transfer_id: str) -> Totals:
        """See the port."""
        with self._faults.call("ledger.planned_totals", _outage):
            row = self._row(transfer_id)
            size_bytes = sum(one.pin.size_bytes for one in row.plan)
            return Totals(objects=len(row.plan), size_bytes=size_bytes, markers=row.markers)

    # ------------------------------------------------------------ the proofs

    def record_staged(self, transfer_id: str, staged: Sequence[StagedObject]) -> None:
        """See the port."""
        with self._faults.call("ledger.record_staged", _outage):
            row = self._mine(transfer_id)
            if row.epoch is None:
                raise _out_of_order(f"{transfer_id}: proofs before a claim")
            _prove(row, row.epoch, staged)

    def staged(
        self, transfer_id: str, *, batch: int = 1000
    ) -> Iterator[Sequence[tuple[PlannedObject, StagedObject]]]:
        """See the port."""
        yield from self._pages(
            "ledger.staged",
            transfer_id,
            batch,
            lambda row, one: (one, row.proofs[one.seq][1]),
            lambda row, one: row.epoch is not None and row.proven(one.seq) == row.epoch,
        )

    def earlier_proofs(
        self, transfer_id: str, *, batch: int = 1000
    ) -> Iterator[Sequence[tuple[PlannedObject, StagedObject]]]:
        """See the port."""
        yield from self._pages(
            "ledger.earlier_proofs",
            transfer_id,
            batch,
            lambda row, one: (one, row.proofs[one.seq][1]),
            lambda row, one: (row.proven(one.seq) or row.epoch or 0) < (row.epoch or 0),
        )

    # ------------------------------------------------------------ the end

    def intend(
        self, transfer_id: str, epoch: int, staged: Sequence[StagedObject], now: datetime
    ) -> bool:
        """See the port."""
        with self._faults.call("ledger.intend", _outage):
            row = self._row(transfer_id)
            if self._owned(row, epoch) is None:
                return False
            _prove(row, epoch, staged)
            row.renames_possible = True
            row.code = row.reason = row.hold = None
            self._move(row, TransferState.PUBLISHING)
            return True

    def note_published(self, transfer_id: str) -> None:
        """See the port."""
        with self._faults.call("ledger.note_published", _outage):
            row = self._mine(transfer_id)
            if row.epoch is not None:
                self._publish(row, row.epoch)

    def published(self, locations: Sequence[Location]) -> dict[Location, Published]:
        """See the port."""
        with self._faults.call("ledger.published", _outage):
            known = self._file.published
            return {one: known[one] for one in locations if one in known}

    def finish(
        self,
        transfer_id: str,
        epoch: int,
        state: TransferState,
        publish_mode: str,
        now: datetime,
        *,
        manifest: ManifestSum | None = None,
    ) -> bool:
        """See the port."""
        with self._faults.call("ledger.finish", _outage):
            row = self._row(transfer_id)
            owned = self._owned(row, epoch)
            if owned is None:
                return (row.state, row.epoch) == (state, epoch)
            owned.owner_transfer = owned.owner = owned.staging_root = None
            self._publish(row, epoch)
            row.renames_possible = False
            self._remember_event(row, state)
            self._end(row, state)
        self._working.discard(transfer_id)
        return True

    def _publish(self, row: Transfer, epoch: int) -> None:
        for planned in row.plan:
            if row.directory is None or row.proven(planned.seq) != epoch:
                continue
            location = row.directory.join(planned.relative)
            before = self._file.published.get(location)
            pin = planned.pin
            if (
                before is not None
                and (before.pin.bucket, before.pin.key) == (pin.bucket, pin.key)
                and before.pin.is_later_than(pin)
            ):
                continue
            proof = row.proofs[planned.seq][1]
            self._file.published[location] = _published(location, row.id, planned, proof)

    def fail(
        self,
        transfer_id: str,
        state: TransferState,
        code: str,
        reason: str,
        now: datetime,
        *,
        refund: bool = False,
        hold: Hold | None = None,
        has_dead_letter: bool = False,
    ) -> None:
        """See the port."""
        # Recorded or not, nobody works on it from here on; the next delivery may begin.
        self._working.discard(transfer_id)
        with self._faults.call("ledger.fail", _outage):
            row = self._row(transfer_id)
            if row.owner != self._owner:
                return
            self._let_go(transfer_id)
            row.attempt = max(0, row.attempt - refund)
            row.failures += not refund
            continued = _continued(row, hold)
            self._end(row, state)
            row.code, row.reason = code, redacted(reason)
            row.hold, row.updated_at = continued, now
            row.has_dead_letter = has_dead_letter

    def note_dead_letter(self, transfer_id: str) -> None:
        """See the port."""
        with self._faults.call("ledger.note_dead_letter", _outage):
            row = self._row(transfer_id)
            if row.state is TransferState.DEAD:
                row.has_dead_letter = True

    def note_wait(self, transfer_id: str, hold: Hold | None, code: str, reason: str) -> None:
        """See the port."""
        with self._faults.call("ledger.note_wait", _outage):
            row = self._row(transfer_id)
            if row.owner != self._owner:
                return
            row.hold = _continued(row, hold)
            row.code, row.reason = (code, redacted(reason)) if hold is not None else (None, None)

    def cancel(self, transfer_id: str) -> bool:
        """An operator's word, from beside the agents; False where it is refused."""
        row = self._row(transfer_id)
        if row.state.is_final or row.renames_possible:
            return False
        self._let_go(transfer_id)
        self._end(row, TransferState.DEAD)
        row.code, row.reason = "E_CANCELLED", "cancelled by an operator"
        return True

    def _remember_event(self, row: Transfer, state: TransferState) -> None:
        request = None if row.job is None else row.job.request
        if request is None or request.event is None or request.event.sequencer is None:
            return
        if state is TransferState.DONE and row.canonical is not None:
            of = (row.canonical, request.source.bucket, request.event.key)
            self._file.sequencers[of] = request.event.sequencer

    def published_sequencer(self, destination: Location, bucket: str, key: str) -> str | None:
        """See the port."""
        with self._faults.call("ledger.published_sequencer", _outage):
            return self._file.sequencers.get((destination, bucket, key))

    def claim_nonce(
        self,
        nonce: str,
        key: MessageKey,
        keep_until: datetime,
        now: datetime,
        *,
        redriven_from: str | None = None,
    ) -> bool:
        """See the port."""
        with self._faults.call("ledger.claim_nonce", _outage):
            nonces = self._file.nonces
            for old in [one for one, (_, until) in nonces.items() if until < now]:
                del nonces[old]
            message = (key.queue, key.message_id)
            dead = self._file.transfers.get(redriven_from or "")
            if (
                dead is not None
                and dead.state is TransferState.DEAD
                and dead.key is not None
                and nonce in nonces
                and nonces[nonce][0] == (dead.key.queue, dead.key.message_id)
            ):
                del nonces[nonce]
            return nonces.setdefault(nonce, (message, keep_until))[0] == message

    def holder(self, transfer_id: str) -> Holder:
        """See the port."""
        with self._faults.call("ledger.holder", _outage):
            row = self._row(transfer_id)
            return Holder(owner=row.owner, is_cancelled=row.code == "E_CANCELLED")

    def is_mine(self, transfer_id: str) -> bool:
        """See the port."""
        with self._faults.call("ledger.is_mine", _outage):
            is_mine = self._row(transfer_id).owner == self._owner
        if not is_mine:
            self._working.discard(transfer_id)
        return is_mine

    # There is no YARN where this is used: nothing is submitted, so nothing is open.

    def note_engine(self, transfer_id: str, engine: str, reason: str) -> None:
        """Kept by the real one only."""

    def open_job(self, transfer_id: str, epoch: int, tag: str, now: datetime) -> bool:
        """Nothing may be submitted."""
        del transfer_id, epoch, tag, now
        return False

    def note_job(
        self,
        transfer_id: str,
        claim_epoch: int,
        epoch: int,
        application: Application,
        progress: JobProgress | None,
        now: datetime,
    ) -> bool:
        """There is none."""
        del transfer_id, claim_epoch, epoch, application, progress, now
        return False

    def close_job(
        self, transfer_id: str, epoch: int, state: str, reason: str, now: datetime
    ) -> None:
        """There is none."""

    def jobs(self, transfer_id: str) -> list[ClusterJob]:
        """There are none."""
        del transfer_id
        return []

    def staging_of(self, transfer_id: str) -> AbandonedStaging | None:
        """See the port."""
        with self._faults.call("ledger.staging_of", _outage):
            row = self._row(transfer_id)
            if row.canonical is None or row.epoch is None:
                return None
            there = self._file.destinations.get(row.canonical)
            if there is None or there.staging_root is None:
                return None
            return AbandonedStaging(
                transfer_id=transfer_id, staging_root=there.staging_root, epoch=row.epoch
            )

    def abandoned_staging(self, claimed_before: datetime, *, most: int) -> list[AbandonedStaging]:
        """See the port."""
        with self._faults.call("ledger.abandoned_staging", _outage):
            found = [
                left
                for left, uri, claimed_at in self._file.litter.values()
                if claimed_at < claimed_before and not self._is_owned(uri)
            ]
            return sorted(found, key=lambda left: left.staging_root)[:most]

    def _is_owned(self, uri: Location) -> bool:
        there = self._file.destinations.get(uri)
        return (
            there is not None
            and there.owner_transfer is not None
            and self._is_live(there.owner_transfer, there.owner)
        )

    def note_staging(
        self, transfer_id: str, epoch: int, roots: Sequence[Location], now: datetime
    ) -> None:
        """See the port."""
        with self._faults.call("ledger.note_staging", _outage):
            row = self._mine(transfer_id)
            if row.canonical is None:
                raise _out_of_order(f"{transfer_id} has claimed nothing")
            for root in roots:
                left = AbandonedStaging(
                    transfer_id=transfer_id,
                    staging_root=root,
                    epoch=epoch,
                    route=row.job.route if row.job else None,
                )
                self._file.litter[root] = (left, row.canonical, now)

    def forget_staging(self, lefts: Sequence[AbandonedStaging]) -> None:
        """See the port."""
        with self._faults.call("ledger.forget_staging", _outage):
            for left in lefts:
                known = self._file.litter.get(left.staging_root)
                if known is not None and known[0].epoch == left.epoch:
                    del self._file.litter[left.staging_root]

    # ------------------------------------------------------------ inside

    def _row(self, transfer_id: str) -> Transfer:
        row = self._file.transfers.get(transfer_id)
        if row is None:
            raise _out_of_order(f"{transfer_id} is not in the ledger")
        return row

    def _mine(self, transfer_id: str) -> Transfer:
        row = self._row(transfer_id)
        if row.owner != self._owner:
            if row.code == "E_CANCELLED":
                raise TakenOver(row.code, f"{transfer_id}: {row.reason}")
            raise TakenOver(
                "E_TAKEN_OVER",
                f"{transfer_id} is {row.state.value}, and another process began its last attempt",
            )
        return row

    def _owned(self, row: Transfer, epoch: int) -> Destination | None:
        """The destination that the transfer owns with this epoch."""
        for there in self._file.destinations.values():
            if (there.owner_transfer, there.epoch) == (row.id, epoch):
                return there
        return None

    def _is_live(self, transfer_id: str, owner: str | None) -> bool:
        if owner is None:
            return False
        if owner == self._owner:
            return transfer_id in self._working
        return self._owner_is_alive(owner)

    def _let_go(self, transfer_id: str) -> None:
        for there in self._file.destinations.values():
            if there.owner_transfer == transfer_id:
                there.owner_transfer = there.owner = None

    def _end(self, row: Transfer, state: TransferState) -> None:
        row.owner = row.code = row.reason = row.hold = None
        self._move(row, state)

    def _move(self, row: Transfer, state: TransferState) -> None:
        before, row.state = row.state, state
        self._file.after_change(row, before, state)

    def _pages(
        self,
        name: str,
        transfer_id: str,
        batch: int,
        take: Callable[[Transfer, PlannedObject], Item],
        is_wanted: Callable[[Transfer, PlannedObject], bool],
    ) -> Iterator[list[Item]]:
        after = -1
        while True:
            with self._faults.call(name, _outage):
                row = self._file.transfers.get(transfer_id)
                plan = [] if row is None else row.plan
                wanted = [
                    one
                    for one in plan
                    if row is not None and one.seq > after and is_wanted(row, one)
                ][:batch]
                page = [] if row is None else [take(row, one) for one in wanted]
            if page:
                yield page
            if len(page) < batch:
                return
            after = wanted[-1].seq


def _begun(row: Transfer, *, is_live: bool) -> AttemptStart:
    return AttemptStart(
        transfer_id=row.id,
        state=row.state,
        attempt=row.attempt,
        is_live=is_live,
        has_plan=row.has_plan,
        was_publishing=row.renames_possible,
        first_seen_at=row.first_seen_at,
        directory=row.directory,
        destination=row.canonical,
        failures=row.failures,
        source_changes=row.source_changes,
        code=row.code,
        reason=row.reason,
        has_dead_letter=row.has_dead_letter,
    )


def _published(
    location: Location, transfer_id: str, planned: PlannedObject, proof: StagedObject
) -> Published:
    return Published(
        location=location,
        transfer_id=transfer_id,
        pin=planned.pin,
        content=proof.content,
        modified_ms=proof.modified_ms,
    )


def _continued(row: Transfer, hold: Hold | None) -> Hold | None:
    before = row.hold
    if before is None or hold is None or before.dependency != hold.dependency:
        return hold
    is_near = hold.since - row.updated_at < HOLD_GAP
    return replace(hold, since=before.since) if row.code is not None or is_near else hold


def _overlap(one: Location, other: Location) -> bool:
    return one.is_within(other) or other.is_within(one)


def _drop_plan(row: Transfer) -> None:
    row.plan, row.proofs, row.markers, row.has_plan = [], {}, 0, False


def _append(row: Transfer, page: Sequence[PlannedObject]) -> None:
    fresh = [one for one in page if one.seq >= len(row.plan)]
    wanted = list(range(len(row.plan), len(row.plan) + len(fresh)))
    if [one.seq for one in fresh] != wanted:
        raise _out_of_order(f"{row.id}: plan page does not go on at position {len(row.plan)}")
    row.plan = [*row.plan, *fresh]


def _prove(row: Transfer, epoch: int, staged: Sequence[StagedObject]) -> None:
    sizes = {one.seq: one.pin.size_bytes for one in row.plan}
    fits = [one for one in staged if sizes.get(one.seq) == one.size_bytes]
    if len(fits) != len(staged):
        raise _out_of_order(f"{row.id}: {len(staged)} proofs, {len(fits)} fit the plan's sizes")
    row.proofs.update((one.seq, (epoch, one)) for one in staged)


def _out_of_order(what: str) -> BackhaulError:
    return BackhaulError("E_LEDGER_ORDER", what)


def _outage(name: str) -> OutageError:
    return OutageError.of("ledger", "E_LEDGER_IO", f"{name} was not answered")
