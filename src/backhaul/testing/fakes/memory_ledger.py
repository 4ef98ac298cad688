"""The ledger in memory, for schedules of the simulator: a thousand want one each.

The rules are those of `adapters.ledger`; one suite in `tests/contract` holds both to the port. What
SQLite does with power cuts is tested on SQLite.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from backhaul.core.cost.egress import EgressCount
from backhaul.core.model import Assignment, Hold, Location, TransferState
from backhaul.core.objects import PlannedObject, StagedObject
from backhaul.core.ports import (
    AttemptStart,
    Claimed,
    ClusterJob,
    Holder,
    MessageKey,
    MessageOrigin,
    Published,
)
from backhaul.core.ports.cluster import Application, JobProgress
from backhaul.core.ports.ledger_records import OwnWrites
from backhaul.core.replies.reply import ReplyWish
from backhaul.core.replies.wishes import wishes_again
from backhaul.core.text import redacted
from backhaul.core.transfer.placing import holds_files, staging_root
from backhaul.testing.fakes.memory_agents import MemoryAgents
from backhaul.testing.fakes.memory_ends import MemoryEnds
from backhaul.testing.fakes.memory_file import (
    MemoryDestination,
    MemoryTransfer,
    outage,
)
from backhaul.testing.fakes.memory_plans import MemoryPlans, MemoryStaging


class MemoryLedger(MemoryPlans, MemoryStaging, MemoryAgents, MemoryEnds):
    """Implements `ports.Ledger` for one process on a `MemoryFile`."""

    def begin(
        self,
        key: MessageKey | None,
        new_id: str,
        source: str,
        destination: str,
        now: datetime,
        *,
        origin: MessageOrigin | None = None,
        route: str | None = None,
        replies: Sequence[ReplyWish] | None = None,
    ) -> AttemptStart:
        del origin  # for people
        with self._faults.call("ledger.begin", outage):
            known = None if key is None else self._file.by_key.get(key)
            was_changed = key is not None and self._is_other_body(known, key)
            if key is not None and was_changed:
                key = key.changed
                known = self._file.by_key.get(key)
            if known is None:
                row = MemoryTransfer(
                    id=new_id,
                    key=key,
                    source=redacted(source),
                    destination=redacted(destination),
                    route=route,
                    replies=tuple(replies or ()),
                    first_seen_at=now,
                    updated_at=now,
                    moved_at=now,
                    owner=self._owner,
                )
                self._file.transfers[new_id] = row
                if key is not None:
                    self._file.by_key[key] = new_id
                begun = row.begun(is_live=False)
            else:
                row = self._file.transfers[known]
                is_live = self._is_live(row.id, row.owner)
                if is_live or row.state.is_final:
                    return replace(row.begun(is_live=is_live), was_changed=was_changed)
                row.attempt += 1
                row.updated_at = now
                is_takeover = row.owner not in {None, self._owner}
                row.owner = self._owner
                row.route = route or row.route
                if replies is not None:
                    during_hold = row.replies if row.is_hold_reported else ()
                    row.replies = wishes_again(replies, during_hold)
                code, reason = row.code, row.reason
                row.code = row.reason = None
                self._move(row, TransferState.RECEIVED)
                begun = replace(
                    row.begun(is_live=False), code=code, reason=reason, is_takeover=is_takeover
                )
        self._working[begun.transfer_id] = OwnWrites()  # only once it is committed
        self._ended.pop(begun.transfer_id, None)
        self._unrecorded.discard(begun.transfer_id)
        return replace(begun, was_changed=was_changed)

    def _is_other_body(self, known: str | None, key: MessageKey) -> bool:
        before = None if known is None else self._file.transfers[known].key
        return before is not None and (
            None not in {before.body_digest, key.body_digest}
            and before.body_digest != key.body_digest
        )

    def claim(  # noqa: PLR0913 - the port's
        self,
        transfer_id: str,
        assignment: Assignment,
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
        with self._faults.call("ledger.claim", outage):
            row = self._mine(transfer_id, is_to_claim=True)
            if self._is_in_the_way(transfer_id, destination):
                return None
            there = self._file.destinations.get(destination)
            root = staging_root(staging_anchor, destination)
            self._file.require_newest(min_epoch, root)
            claimed = Claimed(
                epoch=max(min_epoch, self._file.least_epoch(), 1 + (there.epoch if there else 0)),
                staging_root=root,
                stale=tuple(
                    left
                    for left, uri, _ in self._file.staging.values()
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
            self._release(transfer_id)
            for uri, other in self._file.destinations.items():
                if _overlap(uri, destination):
                    other.owner_transfer = other.owner = None
            row.epoch, row.canonical, row.directory = claimed.epoch, destination, directory
            row.assignment = assignment
            self._reply_at_start(row, now)
            row.was_claimed, row.moved_at = True, now
            self._remember(row, root, claimed.epoch, now)
            self._file.destinations[destination] = MemoryDestination(
                epoch=claimed.epoch,
                staging_root=claimed.staging_root,
                owner_transfer=transfer_id,
                owner=self._owner,
            )
            had_plan = row.has_plan
            if first and not had_plan:
                row.drop_plan()
                row.append(first)
                row.has_plan, row.markers = is_complete, markers
            self._move(row, TransferState.STAGING)
        is_replaced = bool(first) and not had_plan
        more = {"objects": 0} if is_replaced else {}
        self._wrote(transfer_id, epoch=claimed.epoch, proven=None, **more)
        return claimed

    def is_full(self, transfer_id: str, assignment: Assignment) -> bool:
        return False

    def admit(self, transfer_id: str, assignment: Assignment) -> float:
        return 0.0

    def _is_in_the_way(self, transfer_id: str, destination: Location) -> bool:
        return any(
            row.owner_transfer not in {None, transfer_id}
            and _overlap(uri, destination)
            and self._is_live(row.owner_transfer or "", row.owner)
            for uri, row in self._file.destinations.items()
        )

    def rivals(self, transfer_id: str, locations: Sequence[Location]) -> list[Published]:
        with self._faults.call("ledger.rivals", outage):
            wanted = set(locations)
            found: list[Published] = []
            for row in self._file.transfers.values():
                if row.directory is None or not row.renames_possible or row.id == transfer_id:
                    continue
                for planned in row.plan:
                    location = row.directory.join(planned.relative)
                    if location in wanted and planned.seq in row.proofs:
                        found.append(row.publication(location, planned))
            return found

    def intend(
        self,
        transfer_id: str,
        epoch: int,
        staged: Sequence[StagedObject],
        now: datetime,
        read: EgressCount | None = None,
    ) -> bool:
        with self._faults.call("ledger.intend", outage):
            row = self._file.transfers.get(transfer_id)
            if row is None or self._owned(row, epoch) is None:
                return False
            self._require_written(row, epoch, self._working.get(row.id, OwnWrites()))
            row.prove(epoch, staged)
            self._add_read(row, read)
            row.renames_possible, row.moved_at = True, now
            row.code = row.reason = row.hold = None
            self._move(row, TransferState.PUBLISHING)
            return True

    def note_published(self, transfer_id: str) -> None:
        with self._faults.call("ledger.note_published", outage):
            row = self._mine(transfer_id)
            if row.epoch is not None:
                self._publish(row, row.epoch)

    def published(self, locations: Sequence[Location]) -> dict[Location, Published]:
        with self._faults.call("ledger.published", outage):
            known = self._file.published
            return {one: known[one] for one in locations if one in known}

    def marker_at(self, location: Location) -> str | None:
        with self._faults.call("ledger.marker_at", outage):
            return self._file.markers.get(location)

    def note_dead_letter(self, transfer_id: str) -> None:
        with self._faults.call("ledger.note_dead_letter", outage):
            row = self._file.transfers.get(transfer_id)
            if row is not None and row.state is TransferState.DEAD:
                row.has_dead_letter = True

    def note_wait(self, transfer_id: str, hold: Hold | None, code: str, reason: str) -> None:
        with self._faults.call("ledger.note_wait", outage):
            row = self._row(transfer_id)
            if row.owner != self._owner:
                return
            row.hold = row.continued(hold)
            row.code, row.reason = (code, redacted(reason)) if hold is not None else (None, None)

    def cancel(self, transfer_id: str) -> bool:
        """By an operator, from beside the agents; False where it is refused."""
        row = self._row(transfer_id)
        if row.state.is_final or row.renames_possible:
            return False
        self._release(transfer_id)
        code, reason = "E_CANCELLED", "cancelled by an operator"
        self._reply_at_end(row, TransferState.DEAD, row.updated_at, code, reason)
        self._end(row, TransferState.DEAD)
        row.code, row.reason = code, reason
        self._file.journal.append((row.updated_at, row.id, row.state, row.code))
        return True

    def published_sequencer(self, destination: Location, bucket: str, key: str) -> str | None:
        with self._faults.call("ledger.published_sequencer", outage):
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
        with self._faults.call("ledger.claim_nonce", outage):
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
        with self._faults.call("ledger.holder", outage):
            row = self._file.transfers.get(transfer_id)
            if row is None:
                return Holder(owner=None, is_cancelled=False)
            return Holder(owner=row.owner, is_cancelled=row.code == "E_CANCELLED")

    def is_mine(self, transfer_id: str) -> bool:
        with self._faults.call("ledger.is_mine", outage):
            row = self._file.transfers.get(transfer_id)
            is_mine = row is not None and row.owner == self._owner
        if not is_mine:
            self._working.pop(transfer_id, None)
        return is_mine

    # There is no YARN where this is used: nothing is submitted, so nothing is open.

    def note_engine(self, transfer_id: str, engine: str, reason: str) -> None:
        """Kept by the real one only."""

    def note_tables(self, transfer_id: str, tables: Sequence[str]) -> None:
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
        read: EgressCount | None = None,
    ) -> bool:
        """There is none."""
        del transfer_id, claim_epoch, epoch, application, progress, now, read
        return False

    def close_job(
        self, transfer_id: str, epoch: int, state: str, reason: str, now: datetime
    ) -> None:
        """There is none."""

    def jobs(self, transfer_id: str) -> list[ClusterJob]:
        """There are none."""
        del transfer_id
        return []


def _overlap(one: Location, other: Location) -> bool:
    return one.is_within(other) or other.is_within(one)
