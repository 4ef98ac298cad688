"""How transfers end, and end once more where a failover lost that, in the ledger in memory."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial

from backhaul.core.errors import BackhaulError, OutageError
from backhaul.core.model import Hold, Location, TransferState
from backhaul.core.objects import ManifestSum
from backhaul.core.ports.ledger_records import BEHIND, LOST_END, OwnWrites, behind
from backhaul.core.text import redacted
from backhaul.testing.fakes.memory_file import MemoryDestination, MemoryTransfer, outage
from backhaul.testing.fakes.memory_replies import MemoryReplies


class MemoryEnds(MemoryReplies):
    """The ends of `AttemptLedger` and `DestinationLedger`."""

    def finish(
        self,
        transfer_id: str,
        epoch: int,
        state: TransferState,
        publish_mode: str,
        now: datetime,
        *,
        manifest: ManifestSum | None = None,
        marker: Location | None = None,
        is_intended: bool = True,
    ) -> bool:
        end = partial(
            self._finish,
            *(transfer_id, epoch, state, now),
            manifest=manifest,
            marker=marker,
            is_intended=is_intended,
            written=self._working.get(transfer_id, OwnWrites()),
        )
        with self._faults.call("ledger.finish", outage):
            is_new = end()
        if is_new:
            self._working.pop(transfer_id, None)
            self._ended[transfer_id] = partial(self._finish_again, transfer_id, end)
        return is_new is not None

    def _finish_again(self, transfer_id: str, end: Callable[[], bool | None]) -> bool:
        with self._faults.call("ledger.repeat_lost_end", outage):
            if transfer_id in self._working:
                return True
            try:
                return end() is not None
            except OutageError as error:
                if error.code == BEHIND:
                    return False
                raise

    def _finish(
        self,
        transfer_id: str,
        epoch: int,
        state: TransferState,
        now: datetime,
        *,
        manifest: ManifestSum | None,
        marker: Location | None,
        is_intended: bool,
        written: OwnWrites,
    ) -> bool | None:
        """False: that was recorded before; None: it cannot be."""
        row = self._row(transfer_id)
        owned = self._owned(row, epoch)
        if owned is None:
            return False if (row.state, row.epoch) == (state, epoch) else None
        if is_intended and row.state is not TransferState.PUBLISHING:
            return None
        if not is_intended and state is TransferState.DONE:
            self._require_written(row, epoch, written)
        owned.owner_transfer = owned.owner = owned.staging_root = None
        self._publish(row, epoch)
        row.renames_possible = False
        self._remember_event(row, state)
        if marker is not None:
            self._file.markers[marker] = row.id
        digest = manifest.manifest if manifest is not None else None
        self._reply_at_end(row, state, now, digest=digest)
        self._end(row, state)
        self._file.journal.append((now, row.id, state, None))
        return True

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
        if self._working.pop(transfer_id, None) is not None:
            self._unrecorded.add(transfer_id)
        record = partial(
            self._record_failure,
            *(state, code, reason, now),
            refund=refund,
            hold=hold,
            has_dead_letter=has_dead_letter,
        )
        is_final = state.is_final and transfer_id in self._unrecorded
        failure = partial(self._fail, transfer_id, record, is_final=is_final)
        with self._faults.call("ledger.fail", outage):
            failure()
        self._unrecorded.discard(transfer_id)
        self._ended[transfer_id] = partial(self._fail_again, transfer_id, failure)

    def _fail(
        self, transfer_id: str, record: Callable[[MemoryTransfer], None], *, is_final: bool
    ) -> None:
        row = self._file.transfers.get(transfer_id)
        if row is None:
            return
        is_lost = row.owner is None and not row.state.is_final
        if row.owner == self._owner or (is_final and is_lost):
            record(row)

    def _record_failure(
        self,
        state: TransferState,
        code: str,
        reason: str,
        now: datetime,
        row: MemoryTransfer,
        *,
        refund: bool,
        hold: Hold | None,
        has_dead_letter: bool,
    ) -> None:
        self._release(row.id)
        row.attempt = max(0, row.attempt - refund)
        row.failures += not refund
        continued = row.continued(hold)
        if state.is_final:
            self._reply_at_end(row, state, now, code, redacted(reason))
        elif state is TransferState.WAITING and not refund:
            self._reply_resumed(row, now)
        self._end(row, state)
        row.code, row.reason = code, redacted(reason)
        row.hold, row.updated_at = continued, now
        row.has_dead_letter = has_dead_letter
        if state is not TransferState.HELD:
            self._file.journal.append((now, row.id, state, code))

    def _fail_again(self, transfer_id: str, failure: Callable[[], None]) -> bool:
        with self._faults.call("ledger.repeat_lost_end", outage):
            if transfer_id not in self._working:
                failure()
        return True

    def repeat_lost_ends(self, now: datetime) -> int:
        if not self._ended:
            return 0
        with self._faults.call("ledger.repeat_lost_ends", outage):
            owned = [
                one.id
                for one in self._file.transfers.values()
                if one.owner == self._owner and not one.state.is_final
            ]
            lost = [one for one in owned if one in self._ended and one not in self._working]
        for transfer_id in lost:
            self._repeat_lost_end(transfer_id, now)
        return len(lost)

    def _repeat_lost_end(self, transfer_id: str, now: datetime) -> None:
        again = self._ended.get(transfer_id)
        try:
            if again is None or again():
                return
        except OutageError:
            raise
        except BackhaulError:
            self._ended.pop(transfer_id, None)
            raise
        waits = partial(
            self._record_failure,
            *(TransferState.WAITING, BEHIND, LOST_END, now),
            refund=True,
            hold=None,
            has_dead_letter=False,
        )
        self._fail_again(transfer_id, partial(self._fail, transfer_id, waits, is_final=False))

    def _publish(self, row: MemoryTransfer, epoch: int) -> None:
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
            self._file.published[location] = row.publication(location, planned)

    def _remember_event(self, row: MemoryTransfer, state: TransferState) -> None:
        request = None if row.assignment is None else row.assignment.request
        if request is None or request.event is None or request.event.sequencer is None:
            return
        if state is TransferState.DONE and row.canonical is not None:
            of = (row.canonical, request.source.bucket, request.event.key)
            self._file.sequencers[of] = request.event.sequencer

    def _require_written(self, row: MemoryTransfer, epoch: int, written: OwnWrites) -> None:
        written.require_pages(row.id, len(row.plan))
        if written.proven is not None and row.proven(written.proven) != epoch:
            raise behind(f"{row.id}: its last proofs")

    def _owned(self, row: MemoryTransfer, epoch: int) -> MemoryDestination | None:
        """The destination that the transfer owns with this epoch."""
        for there in self._file.destinations.values():
            if (there.owner_transfer, there.epoch) == (row.id, epoch):
                return there
        return None
