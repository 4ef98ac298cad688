"""Which class a path has: one decision from what S3, the ledger and the target have there.

The first rule that fits wins. What is the same is so whatever else there is; a transfer that is
bringing an object explains everything else; what is never copied cannot be missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from backhaul.core.model import STAGING_NAME
from backhaul.core.reconciliation.values import (
    ComparedPath,
    Cover,
    ObjectClass,
    ProvenFile,
    Row,
    SourceObject,
    TargetFile,
)
from backhaul.core.requests.paths import OWN_PREFIX
from backhaul.core.text import printable

SECOND_US = 1_000_000
CLOCKS_APART_US = 5 * 60 * SECOND_US  # an object from further in the future is remarked upon

FindCover = Callable[[SourceObject], Cover | None]


@dataclass(frozen=True, kw_only=True)
class Judge:
    """What the classes depend on besides the row.

    Attributes:
        now_us: This machine's clock, microseconds since 1970. It is read for each object that may
            be too young: a comparison may last for hours, and what is listed at its end is judged
            by the time at its end.
        settle_us: An object younger than this is not missing yet.
        route: The one that is reconciled; None: files of every route are its own.
        cover: The transfer that covers an object and is open, or else dead; None: there is none.
        listed_us: Until when the objects are known, where they are from an inventory; None: until
            now.
        is_marker: Whether a transfer left its completion marker at this path.
    """

    now_us: Callable[[], int]
    settle_us: int
    cover: FindCover
    route: str | None = None
    listed_us: int | None = None
    is_marker: Callable[[str], bool] = lambda path: False  # noqa: ARG005

    def compare(self, row: Row) -> ComparedPath:
        """The row with its class."""
        _, source, proof, target = row
        if source is None:
            return self._without_source(row, proof, target)
        if proof is not None and target is not None and _is_same(source, proof, target):
            return ComparedPath(row, ObjectClass.SAME, "", proof.transfer_id)
        if proof is not None and target is not None and self._is_outdated(source, proof, target):
            why = f"transfer {proof.transfer_id} brought a state that is newer than the inventory"
            return ComparedPath(row, ObjectClass.TOO_YOUNG, why, proof.transfer_id)
        if source.excluded:
            return ComparedPath(row, ObjectClass.EXCLUDED, source.excluded)
        cover = self.cover(source)
        if cover is not None and cover.is_open:
            why = cover.note or f"transfer {cover.transfer_id} is {cover.state}"
            return ComparedPath(row, ObjectClass.IN_FLIGHT, why, cover.transfer_id)
        found = _difference(row, source, proof, target)
        if found.found is ObjectClass.UNPROVED or was_there(source, proof):
            return found
        return self._explained(found, source, cover)

    def _without_source(
        self, row: Row, proof: ProvenFile | None, target: TargetFile | None
    ) -> ComparedPath:
        transfer_id = "" if proof is None else proof.transfer_id
        if target is None:
            why = "neither S3 nor the target has it any more"
            return ComparedPath(row, ObjectClass.EXCLUDED, why, transfer_id)
        if is_own(target.path):
            return ComparedPath(row, ObjectClass.EXCLUDED, "Backhaul's own file", transfer_id)
        route = None if proof is None else proof.route
        if route is not None and self.route not in {None, route}:
            why = f"route {printable(route, 80)} brought it"
            return ComparedPath(row, ObjectClass.EXCLUDED, why, transfer_id)
        if self._is_unlisted(proof, target):
            why = "written after the inventory was taken"
            return ComparedPath(row, ObjectClass.TOO_YOUNG, why, transfer_id)
        if proof is None:
            if target.size_bytes == 0 and self.is_marker(target.path):
                why = "completion marker that a transfer published"
                return ComparedPath(row, ObjectClass.EXCLUDED, why)
            why = "no object of S3 belongs here, and no transfer brought it"
            return ComparedPath(row, ObjectClass.EXTRA, why)
        why = f"transfer {transfer_id} brought it; S3 has no object that belongs here"
        if not _is_untouched(proof, target):
            why += ", and the file was changed since"
        return ComparedPath(row, ObjectClass.EXTRA, why, transfer_id)

    def _is_unlisted(self, proof: ProvenFile | None, target: TargetFile) -> bool:
        """Whether an inventory was taken before the object, or the file, was written."""
        written_us = target.modified_ms * 1000 if proof is None else proof.modified_us
        return self.listed_us is not None and written_us >= self.listed_us

    def _is_outdated(self, source: SourceObject, proof: ProvenFile, target: TargetFile) -> bool:
        """Whether the target holds a state of the object that was written after the inventory."""
        is_newer = proof.modified_us > source.modified_us
        is_its = _is_of(source, proof) and _is_untouched(proof, target)
        return is_newer and is_its and self._is_unlisted(proof, target)

    def _explained(
        self, found: ComparedPath, source: SourceObject, cover: Cover | None
    ) -> ComparedPath:
        """A difference that has a reason of its own: the object is new, or its transfer died."""
        age_us = self.now_us() - source.modified_us
        if age_us < self.settle_us:
            why = f"written {max(age_us, 0) // SECOND_US} s ago"
            if age_us < -CLOCKS_APART_US:
                why = f"S3's clock is {-age_us // SECOND_US:,} s ahead of this machine's"
            return found._replace(found=ObjectClass.TOO_YOUNG, why=why)
        if cover is not None and (cover.ended_us or 0) >= source.modified_us:
            why = f"transfer {cover.transfer_id} died: {cover.code}"
            return found._replace(found=ObjectClass.DEAD, why=why, transfer_id=cover.transfer_id)
        return found


def is_own(path: str) -> bool:
    """Whether a file is Backhaul's own: evidence beside the data, or staging."""
    return path.rpartition("/")[2].startswith(OWN_PREFIX) or f"/{STAGING_NAME}/" in path


def _is_same(source: SourceObject, proof: ProvenFile, target: TargetFile) -> bool:
    return (
        source.etag == proof.etag
        and source.size_bytes == proof.size_bytes
        and source.key == proof.key
        and source.bucket == proof.bucket
        and _is_untouched(proof, target)
    )


def _is_untouched(proof: ProvenFile, target: TargetFile) -> bool:
    """Whether the file is still the one that was proven, by length and modification time."""
    return target.size_bytes == proof.size_bytes and proof.modified_ms in {0, target.modified_ms}


def _is_of(source: SourceObject, proof: ProvenFile) -> bool:
    """Whether the proof is of this object, in whatever state."""
    return (source.bucket, source.key) == (proof.bucket, proof.key)


def was_there(source: SourceObject, proof: ProvenFile | None) -> bool:
    """Whether this very state of the object was published before: it is no longer on its way."""
    return (
        proof is not None
        and _is_of(source, proof)
        and (source.etag, source.size_bytes) == (proof.etag, proof.size_bytes)
    )


def _difference(
    row: Row, source: SourceObject, proof: ProvenFile | None, target: TargetFile | None
) -> ComparedPath:
    """How S3 and the target differ, without what may explain it."""
    transfer_id = "" if proof is None else proof.transfer_id
    if target is None:
        why = "no transfer brought it"
        if was_there(source, proof):
            why = f"transfer {transfer_id} brought it, and it was removed from the target since"
        return ComparedPath(row, ObjectClass.MISSING, why, transfer_id)
    if target.is_special:
        return ComparedPath(row, ObjectClass.DIFFERS, "no regular file is there", transfer_id)
    if proof is not None and _is_untouched(proof, target):
        return _other_state(row, source, proof)
    if target.size_bytes != source.size_bytes:
        why = f"S3 has {source.size_bytes:,} B, the target {target.size_bytes:,} B"
        return ComparedPath(row, ObjectClass.DIFFERS, why, transfer_id)
    why = "no transfer brought it; only its length was compared"
    if proof is not None:
        why = f"changed on the target after transfer {transfer_id} brought it"
    return ComparedPath(row, ObjectClass.UNPROVED, why, transfer_id)


def _other_state(row: Row, source: SourceObject, proof: ProvenFile) -> ComparedPath:
    """The target holds exactly what was proven, and S3 has something else there."""
    transfer_id = proof.transfer_id
    if not _is_of(source, proof):
        why = f"holds {printable(f's3://{proof.bucket}/{proof.key}')}"
        return ComparedPath(row, ObjectClass.DIFFERS, why, transfer_id)
    if source.modified_us < proof.modified_us:
        why = f"S3 went back to an earlier state than transfer {transfer_id} brought"
        return ComparedPath(row, ObjectClass.DIFFERS, why, transfer_id)
    why = f"transfer {transfer_id} brought an earlier state"
    return ComparedPath(row, ObjectClass.SUPERSEDED, why, transfer_id)
