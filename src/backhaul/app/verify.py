"""`backhaul verify`: proves published data again, without a byte from S3.

It checks that the evidence is as it was sealed, and that the target still holds what it records.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice

from backhaul.adapters.digests import new_digest
from backhaul.adapters.ledger import (
    EditedLedger,
    EvidenceRow,
    LedgerReader,
    TransferRow,
    open_reader,
)
from backhaul.app.context import Context
from backhaul.app.ids import by_place
from backhaul.app.ports import make_pool
from backhaul.core.checksums import Checksum
from backhaul.core.model import Location, TransferState
from backhaul.core.ports import Emit, Published, StoredChecksum, TargetPool
from backhaul.core.transfer.evidence import (
    FileSum,
    FileSums,
    Manifest,
    broken_links,
    object_line,
    sealed_manifest,
)

BATCH = 500  # files in one call to the target


@dataclass(frozen=True, kw_only=True)
class VerifyFinding:
    """One thing that is not as it should be.

    Attributes:
        kind: Closed set: `evidence` (changed, missing or cut), `missing` (no file), `differs`
            (other bytes), `unknown` (no checksum from the target and the file is unreadable, or
            the transfer has published nothing).
    """

    kind: str
    transfer_id: str
    what: str


@dataclass(kw_only=True)
class VerifyTotals:
    """What was checked.

    Attributes:
        replaced: Objects whose path now holds what a later transfer published.
        sources: Where the target's checksums came from, to objects.
    """

    transfers: int = 0
    same: int = 0
    size_bytes: int = 0
    replaced: int = 0
    findings: int = 0
    sources: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What to check; the parts narrow each other.

    Attributes:
        ids: Starts of transfer ids; empty: all that ended with files.
        since: Only transfers that ended at or after it.
        share: Of the objects, 0 to 1, chosen at random, at least one; None: all.
    """

    ids: tuple[str, ...] = ()
    since: datetime | None = None
    share: float | None = None


def run_verify(
    context: Context,
    selection: Selection,
    *,
    is_read: bool,
    emit: Emit,
    found: Callable[[VerifyFinding], None],
) -> VerifyTotals:
    """Check everything selected; each finding is reported as it is made.

    Args:
        is_read: Read every byte from the target, instead of using the checksums it stores.

    Raises:
        PermanentError: E_NO_SUCH_TRANSFER.
        BackhaulError: The target or the ledger is unavailable.
    """
    path = context.settings.ledger_place
    selection = replace(selection, ids=tuple(by_place(path, one) for one in selection.ids))
    pool = make_pool(context, emit, 1)
    try:
        with closing(open_reader(path)) as reader:
            return _Check(reader, pool, selection, is_read=is_read, found=found).run()
    finally:
        pool.close()


@dataclass(frozen=True, kw_only=True)
class _Published:
    """A file with what the ledger knows of it.

    Attributes:
        epoch: Of its proof; None: its proof was dropped, and `published` of the ledger has it.
    """

    target: Location
    size_bytes: int
    content: Checksum
    epoch: int | None


class _Check:
    def __init__(
        self,
        reader: LedgerReader,
        pool: TargetPool,
        selection: Selection,
        *,
        is_read: bool,
        found: Callable[[VerifyFinding], None],
    ) -> None:
        self._reader = reader
        self._pool = pool
        self._selection = selection
        self._is_read = is_read
        self._found = found
        self._random = random.SystemRandom()
        self._totals = VerifyTotals()
        self._met = self._chosen = 0  # objects
        self._spare: tuple[TransferRow, _Published] | None = None  # one not chosen, at random

    def run(self) -> VerifyTotals:
        for text in broken_links(self._reader.chain()):
            transfer_id, _, what = text.partition(": ")
            self._report("evidence", transfer_id, what)
        for transfer_id in self._reader.unsealed():
            self._report("evidence", transfer_id, "has no sealing line")
        for transfer_id in self._selected_ids():
            try:
                self._check_transfer(transfer_id)
            except EditedLedger as error:  # a value that Backhaul never writes
                self._report("evidence", transfer_id, error.message)
        if self._spare is not None and not self._chosen:
            transfer, one = self._spare  # a sample has at least one object
            self._compare(transfer, [one])
        return self._totals

    def _selected_ids(self) -> list[str]:
        ids, since = self._selection.ids, self._selection.since
        # Two beginnings may match one id, which is checked once.
        named = list(dict.fromkeys(self._reader.id_of(each) for each in ids))
        if named and since is None:
            return named
        ended = self._reader.ended_with_files(since=since)
        return [each for each in named if each in set(ended)] if named else ended

    def _check_transfer(self, transfer_id: str) -> None:
        transfer = self._reader.show(transfer_id, first_objects=0).transfer
        if transfer.state not in {TransferState.DONE, TransferState.SUPERSEDED}:
            self._report("unknown", transfer_id, f"is {transfer.state}: it has published nothing")
            return
        self._totals.transfers += 1
        if transfer.pruned_at is not None and transfer.directory is not None:
            self._check_pruned(transfer, transfer.directory)
            return
        manifest, beside = Manifest(), FileSums(transfer_id, new_digest)
        is_present = False
        for rows in _batches(self._reader.objects(transfer_id)):
            for row in rows:
                line = object_line(transfer_id, row.planned, row.staged, row.target)
                manifest.add(line)
                beside.add(line)
            proven = [one for one in map(_proven, rows) if one is not None]
            is_present |= self._compare(transfer, self._sample(transfer, proven))
        sealed = self._reader.sealed(transfer_id)
        is_sealed_so = sealed is None or sealed_manifest(sealed.line) == manifest.sum.manifest
        if not is_sealed_so and self._is_pruned(transfer_id):
            return  # meanwhile; the files that were looked at have been compared
        if not is_sealed_so:
            self._report("evidence", transfer_id, "its object lines differ from those sealed")
        elif transfer.directory is not None and is_present:
            self._check_beside(transfer_id, transfer.directory, beside.all())

    def _is_pruned(self, transfer_id: str) -> bool:
        shown = self._reader.show(transfer_id, first_objects=0)
        return shown.transfer.pruned_at is not None

    def _check_pruned(self, transfer: TransferRow, directory: Location) -> None:
        """Its object lines were dropped; the files that are still its own have length and CRC."""
        own = 0
        for files in self._own_files(transfer, directory):
            listed = [
                _Published(
                    target=one.location,
                    size_bytes=one.pin.size_bytes,
                    content=one.content,
                    epoch=None,
                )
                for one in files
            ]
            own += len(listed)
            self._compare(transfer, self._sample(transfer, listed))
        if self._selection.share is None:
            self._totals.replaced += transfer.objects_planned - own

    def _own_files(
        self, transfer: TransferRow, directory: Location
    ) -> Iterable[Sequence[Published]]:
        """What this transfer published last; for one object without a walk over the directory."""
        if transfer.canonical is None or transfer.canonical == directory:
            return self._reader.published_by(transfer.id, directory, batch=BATCH)
        there = self._reader.published_at(transfer.canonical.uri)
        return [[there]] if there is not None and there.transfer_id == transfer.id else []

    def _check_beside(
        self, transfer_id: str, directory: Location, expected: Sequence[FileSum]
    ) -> None:
        """The manifest beside the data, where there is one: its readers trust it."""
        wanted = [(directory.join(one.name), "CRC32C") for one in expected]
        stored = self._stored(wanted)
        if not any(stored):
            return
        for (place, _), one, found in zip(wanted, expected, stored, strict=True):
            if found is None:
                self._report("evidence", transfer_id, f"{place.uri}: is missing beside the data")
            elif found.checksum is None:
                self._report("unknown", transfer_id, f"{place.uri}: {found.why}")
            elif (found.size_bytes, found.checksum) != (one.size_bytes, one.content):
                what = (
                    f"{place.uri}: differs from what was sealed: edited, or of an attempt that died"
                )
                self._report("evidence", transfer_id, what)

    def _sample(self, transfer: TransferRow, files: Sequence[_Published]) -> list[_Published]:
        share = self._selection.share
        chosen = []
        for one in files:
            self._met += 1
            if share is None or self._random.random() < share:
                chosen.append(one)
            elif not self._random.randrange(self._met):
                self._spare = (transfer, one)
        self._chosen += len(chosen)
        return chosen

    def _compare(self, transfer: TransferRow, chosen: Sequence[_Published]) -> bool:
        """With what the target holds; whether any of them is still this transfer's."""
        publishers = self._reader.publishers([one.target for one in chosen])
        own = [
            one
            for one in chosen
            if publishers.get(one.target, _publisher(transfer, one)) == transfer.id
        ]
        self._totals.replaced += len(chosen) - len(own)
        wanted = [(one.target, one.content.algorithm) for one in own]
        for one, stored in zip(own, self._stored(wanted), strict=True):
            self._compare_one(transfer.id, one, stored)
        return bool(own)

    def _stored(self, wanted: Sequence[tuple[Location, str]]) -> list[StoredChecksum | None]:
        """What the target holds of these files, each in its algorithm; None where there is none."""
        found: dict[int, StoredChecksum | None] = {}
        for filesystem in sorted({place.filesystem for place, _ in wanted}):
            numbers = [n for n, (place, _) in enumerate(wanted) if place.filesystem == filesystem]
            with self._pool.session(filesystem) as session:
                stored = session.stored_checksums(
                    [wanted[n][0] for n in numbers],
                    algorithms=[wanted[n][1] for n in numbers],
                    is_read=self._is_read,
                    passes_over=True,
                )
            found.update(zip(numbers, stored, strict=True))
        return [found[n] for n in range(len(wanted))]

    def _compare_one(
        self, transfer_id: str, one: _Published, stored: StoredChecksum | None
    ) -> None:
        where = one.target.uri
        if stored is None:
            self._report("missing", transfer_id, f"{where}: the file does not exist")
        elif stored.checksum is None:
            self._report("unknown", transfer_id, f"{where}: {stored.why}")
        elif stored.size_bytes != one.size_bytes or stored.checksum != one.content:
            self._report(
                "differs",
                transfer_id,
                f"{where}: holds {stored.size_bytes} B with {stored.checksum} "
                f"(from {stored.checksum_source}); the proof has {one.size_bytes} B with "
                f"{one.content}",
            )
        else:
            self._totals.same += 1
            self._totals.size_bytes += one.size_bytes
            self._totals.sources[stored.checksum_source] += 1

    def _report(self, kind: str, transfer_id: str, what: str) -> None:
        self._totals.findings += 1
        self._found(VerifyFinding(kind=kind, transfer_id=transfer_id, what=what))


def _batches(rows: Iterator[EvidenceRow]) -> Iterator[list[EvidenceRow]]:
    while batch := list(islice(rows, BATCH)):
        yield batch


def _proven(row: EvidenceRow) -> _Published | None:
    if row.staged is None or row.target is None:
        return None
    return _Published(
        target=row.target,
        size_bytes=row.staged.size_bytes,
        content=row.staged.content,
        epoch=row.epoch,
    )


def _publisher(transfer: TransferRow, one: _Published) -> str | None:
    """Of a file that the ledger does not list: the transfer whose last attempt proved it."""
    is_its = transfer.state is TransferState.DONE and one.epoch == transfer.epoch
    return transfer.id if is_its else None
