"""What stands at a final path already: whether it is the planned content, and its proof then."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from backhaul.core.objects import FileStatus, PlannedObject, Proof, StagedObject
from backhaul.core.ports import Published, StoredChecksum


def is_file_of(status: FileStatus | None, size_bytes: int) -> bool:
    """A file of that length stands there."""
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
