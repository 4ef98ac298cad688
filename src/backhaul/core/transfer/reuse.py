"""Files that are at their final paths already: which of them are the planned content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from backhaul.core.errors import PermanentError
from backhaul.core.model import Assignment, Location, OnExists
from backhaul.core.objects import FileStatus, PlannedObject, Proof, StagedObject
from backhaul.core.ports import Ports, Published, StoredChecksum
from backhaul.core.transfer.borrowed_worker import BorrowedWorker
from backhaul.core.transfer.plan import Plan
from backhaul.core.transfer.proof_records import Proofs
from backhaul.core.transfer.write_access import exists


def is_file_of(status: FileStatus | None, size_bytes: int) -> bool:
    """The path has a file of that length."""
    return status is not None and status.is_file and status.size_bytes == size_bytes


def is_untouched(before: Published, status: FileStatus | None) -> bool:
    """The file that the ledger published there, as it was then."""
    return (
        is_file_of(status, before.pin.size_bytes)
        and status is not None
        and status.modified_ms == before.modified_ms
    )


def still_holds(planned: PlannedObject, before: Published, status: FileStatus | None) -> bool:
    """The ledger published this very pin here and the file has not been touched since."""
    return before.pin.identity == planned.pin.identity and is_untouched(before, status)


def is_own(transfer_id: str, before: Published | None, status: FileStatus | None) -> bool:
    """This transfer renamed that very file there, before its source changed and it began anew."""
    return before is not None and before.transfer_id == transfer_id and is_untouched(before, status)


def may_be_same(planned: PlannedObject, before: Published | None) -> bool:
    """Unknown here, or known from the same pin and touched since: no other content is known."""
    return before is None or before.pin.identity == planned.pin.identity


def adopt(planned: PlannedObject, before: Published) -> StagedObject:
    """The proof of a file that this ledger published and that was not touched since."""
    return StagedObject(
        seq=planned.seq,
        size_bytes=planned.pin.size_bytes,
        content=before.content,
        proof=Proof.ADOPTED,
        version_id=before.pin.version_id,
        modified_ms=before.modified_ms,
        target_checksum=before.content,
        checksum_source="ledger",
        note=f"published by {before.transfer_id}",
    )


def as_adopted(proof: StagedObject, held: StoredChecksum, note: str, now: datetime) -> StagedObject:
    """A proof of bytes that were found at their final path."""
    return replace(
        proof,
        proof=Proof.ADOPTED,
        target_checksum=held.checksum,
        checksum_source=held.checksum_source,
        note=note,
        bytes_read=0,
        proven_at=now,
    )


class Reuse:
    """Adopts files at the final paths that hold the planned content already."""

    def __init__(
        self,
        *,
        ports: Ports,
        worker: BorrowedWorker,
        transfer_id: str,
        job: Assignment,
        plan: Plan,
        proofs: Proofs,
    ) -> None:
        self._ledger = ports.ledger
        self._clock = ports.clock
        self._worker = worker
        self._id = transfer_id
        self._on_exists = job.on_exists
        self._adopts_only = job.adopts_only
        self._plan = plan
        self._proofs = proofs

    def adopt_renamed(self) -> bool:
        """Adopt what an earlier attempt renamed before it died: same length, same checksum.

        Returns:
            True when every planned object is proven at its final path.
        """
        adopted = 0
        now = self._clock.now()
        for batch in self._ledger.earlier_proofs(self._id):
            same = self._same(batch, now)
            if same:
                self._ledger.record_staged(self._id, same)
                adopted += len(same)
        self._proofs.adopted = self._proofs.objects = adopted
        is_complete = adopted == self._plan.whole().objects
        if adopted and not is_complete:
            # Should the source change now, these are still known as this transfer's own.
            self._ledger.note_published(self._id)
        return is_complete

    def _same(
        self, batch: Sequence[tuple[PlannedObject, StagedObject]], now: datetime
    ) -> list[StagedObject]:
        session = self._worker.session
        finals = [self._plan.directory.join(planned.relative) for planned, _ in batch]
        statuses = session.status(finals)
        candidates = [
            (final, proof)
            for final, status, (planned, proof) in zip(finals, statuses, batch, strict=True)
            if is_file_of(status, planned.pin.size_bytes)
        ]
        stored = session.stored_checksums(
            [final for final, _ in candidates],
            algorithms=[proof.content.algorithm for _, proof in candidates],
        )
        return [
            as_adopted(proof, one, "published by an earlier attempt", now)
            for (_, proof), one in zip(candidates, stored, strict=True)
            if one is not None and one.checksum == proof.content
        ]

    def without_published(
        self, planned: Sequence[PlannedObject], *, may_hold_files: bool
    ) -> Sequence[PlannedObject]:
        """Leave out, and adopt, what is at its final path with this very pin.

        Args:
            may_hold_files: The target directory existed when it was claimed.

        Raises:
            CannotWrite: E_DST_EXISTS, under `on_exists = fail`.
            PermanentError: E_ADOPT_UNPROVEN, where nothing may be copied.
        """
        rest = self._unpublished(planned, may_hold_files=may_hold_files)
        if rest and self._adopts_only:
            raise _unproven(self._plan.directory.join(rest[0].relative))
        return rest

    def _unpublished(
        self, planned: Sequence[PlannedObject], *, may_hold_files: bool
    ) -> Sequence[PlannedObject]:
        finals = [self._plan.directory.join(one.relative) for one in planned]
        known = self._ledger.published(finals)
        if self._plan.is_one_page:
            self._plan.published = known
        # Below a directory that did not exist there is no file but what was published since.
        looked_up = finals if may_hold_files else [final for final in finals if final in known]
        if not looked_up:
            return planned
        statuses = dict(zip(looked_up, self._worker.session.status(looked_up), strict=True))
        rest: list[PlannedObject] = []
        adopted: list[StagedObject] = []
        unknown: list[tuple[PlannedObject, Location]] = []
        for one, final in zip(planned, finals, strict=True):
            status, before = statuses.get(final), known.get(final)
            if before is not None and still_holds(one, before, status):
                adopted.append(adopt(one, before))
            elif self._is_refused(before, status):
                raise exists(final)
            elif is_file_of(status, one.pin.size_bytes) and self._may_be_same(one, before):
                unknown.append((one, final))
            else:
                rest.append(one)
        if unknown:
            proven = self._match_existing(unknown)
            adopted += proven
            seqs = {each.seq for each in proven}
            rest += [one for one, _ in unknown if one.seq not in seqs]
            rest.sort(key=lambda one: one.seq)
        if adopted:
            self._proofs.adopted += len(adopted)
            self._proofs.add(adopted)
        return rest

    def _may_be_same(self, planned: PlannedObject, before: Published | None) -> bool:
        """Where nothing may be copied, its checksum decides whatever was there before."""
        return self._adopts_only or may_be_same(planned, before)

    def _is_refused(self, before: Published | None, status: FileStatus | None) -> bool:
        is_strict = self._on_exists is OnExists.FAIL
        return is_strict and status is not None and not is_own(self._id, before, status)

    def _match_existing(
        self, unknown: Sequence[tuple[PlannedObject, Location]]
    ) -> list[StagedObject]:
        """Files of the right length that this ledger does not know, by S3's checksum."""
        tasks = self._worker.tasks([one for one, _ in unknown])
        finals = [final for _, final in unknown]
        found = self._worker.session.match_existing(tasks, finals)
        return [one for one in found if one is not None]


def _unproven(final: Location) -> PermanentError:
    return PermanentError(
        "E_ADOPT_UNPROVEN",
        f"{final.uri} is not there, or no checksum of S3 proves what it holds",
        hint="nothing was copied or changed: send a message for it, which copies it",
    )
