"""`backhaul verify`, put together: published data proven again, without a byte from S3.

Two questions. Is the evidence as it was sealed? Does the target still hold what the evidence says?
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime

from backhaul.adapters.digests import new_digest
from backhaul.adapters.ledger import (
    EditedLedger,
    EvidenceRow,
    LedgerReader,
    TransferRow,
    open_reader,
)
from backhaul.app.context import Context, make_pool
from backhaul.core.model import Location, TransferState
from backhaul.core.ports import Emit, StoredChecksum, TargetPool, TargetSession
from backhaul.core.transfer.evidence import FileSum, FileSums, Manifest, broken_links, object_line

BATCH = 500  # files in one question to the target


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is not as it should be.

    Attributes:
        kind: Closed set: `evidence` (changed, missing or cut), `missing` (no file), `differs`
            (other bytes), `unknown` (the target cannot tell and the file cannot be read; or
            the transfer has not ended with files).
    """

    kind: str
    transfer_id: str
    what: str


@dataclass(kw_only=True)
class Outcome:
    """What was looked at.

    Attributes:
        replaced: Objects whose path holds what a later transfer published: none of this one's.
        asked: Who told what the target holds, to objects.
    """

    transfers: int = 0
    same: int = 0
    size_bytes: int = 0
    replaced: int = 0
    asked: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return not self.findings

    @property
    def is_empty(self) -> bool:
        """Nothing that was published is among what was selected."""
        return not (self.transfers or self.findings)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What to look at; the parts narrow each other.

    Attributes:
        ids: Starts of transfer ids; empty: all that ended with files.
        since: Only transfers that ended at or after it.
        share: Of the objects, 0 to 1, chosen by chance, one at least; None: all.
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
    found: Callable[[Finding], None],
) -> Outcome:
    """Look at everything selected; findings are told as they are made.

    Args:
        is_read: Read every byte from the target, instead of asking for the checksums it keeps.

    Raises:
        PermanentError: E_NO_SUCH_TRANSFER.
        BackhaulError: The target or the ledger cannot be asked.
    """
    pool = make_pool(context, emit, 1)
    try:
        with closing(open_reader(context.settings.ledger_path)) as reader:
            look = _Look(reader, pool, selection, is_read=is_read, found=found)
            return look.run()
    finally:
        pool.close()


class _Look:
    def __init__(
        self,
        reader: LedgerReader,
        pool: TargetPool,
        selection: Selection,
        *,
        is_read: bool,
        found: Callable[[Finding], None],
    ) -> None:
        self._reader = reader
        self._pool = pool
        self._selection = selection
        self._is_read = is_read
        self._found = found
        self._chance = random.SystemRandom()
        self._outcome = Outcome()
        self._met = self._chosen = 0  # objects
        self._spare: tuple[TransferRow, list[EvidenceRow]] | None = None  # one of those, by chance

    def run(self) -> Outcome:
        for what in broken_links(self._reader.chain(), self._reader.must_be_sealed()):
            transfer_id, _, rest = what.partition(": ")
            self._tell("evidence", transfer_id, rest)
        for transfer_id in self._ids():
            self._transfer(transfer_id)
        if self._spare is not None and not self._chosen:
            self._compare_all(*self._spare)  # a sample is of one object at least
        return self._outcome

    def _ids(self) -> list[str]:
        chosen = self._selection
        if not chosen.ids:
            return self._reader.ended_with_files(since=chosen.since)
        known = (
            None if chosen.since is None else set(self._reader.ended_with_files(since=chosen.since))
        )
        # Two beginnings may be of one id, which is looked at once.
        found = dict.fromkeys(self._reader.id_of(each) for each in chosen.ids)
        return [each for each in found if known is None or each in known]

    def _transfer(self, transfer_id: str) -> None:
        """One transfer; what cannot be read of it was edited, and is a finding."""
        try:
            self._look_at(transfer_id)
        except EditedLedger as error:
            self._tell("evidence", transfer_id, error.message)

    def _look_at(self, transfer_id: str) -> None:
        details = self._reader.show(transfer_id, first_objects=0).transfer
        if details.state not in {TransferState.DONE, TransferState.SUPERSEDED}:
            self._tell("unknown", transfer_id, f"is {details.state}: nothing is published by it")
            return
        self._outcome.transfers += 1
        manifest, beside = Manifest(), FileSums(transfer_id, new_digest)
        was_there = False
        for rows in self._batches(transfer_id):
            for row in rows:
                line = object_line(transfer_id, row.planned, row.staged, row.target)
                manifest.add(line)
                beside.add(line)
            was_there |= self._objects(details, rows)
        sealed = self._reader.sealed(transfer_id)
        if sealed is not None and _manifest_of(sealed.line) != manifest.sum.manifest:
            self._tell("evidence", transfer_id, "its object lines are not those that were sealed")
        elif details.directory is not None and was_there:
            self._beside(transfer_id, details.directory, beside.all())

    def _beside(self, transfer_id: str, directory: Location, expected: Sequence[FileSum]) -> None:
        """The manifest beside the data, where it was left: who reads it trusts it."""
        places = [directory.join(one.name) for one in expected]
        with self._pool.session(directory.filesystem) as session:
            asked = [(place, "CRC32C") for place in places]
            held = self._contents(session, asked)
        if not any(held):
            return
        for place, one, found in zip(places, expected, held, strict=True):
            if found is None:
                self._tell("evidence", transfer_id, f"{place.uri}: is missing beside the data")
            elif found.checksum is None:
                self._tell("unknown", transfer_id, f"{place.uri}: {found.why}")
            elif (found.size_bytes, found.checksum) != (one.size_bytes, one.content):
                self._tell(
                    "evidence",
                    transfer_id,
                    f"{place.uri}: is not what was sealed: edited, or of an attempt that died",
                )

    def _batches(self, transfer_id: str) -> Iterator[Sequence[EvidenceRow]]:
        batch: list[EvidenceRow] = []
        for row in self._reader.objects(transfer_id):
            batch.append(row)
            if len(batch) == BATCH:
                yield batch
                batch = []
        if batch:
            yield batch

    def _objects(self, transfer: TransferRow, rows: Sequence[EvidenceRow]) -> bool:
        """Whether the target was asked about any of them."""
        share = self._selection.share
        chosen = []
        for row in rows:
            if row.staged is None or row.target is None:
                continue
            self._met += 1
            if share is None or self._chance.random() < share:
                chosen.append(row)
            elif not self._chance.randrange(self._met):
                self._spare = (transfer, [row])
        self._chosen += len(chosen)
        return self._compare_all(transfer, chosen)

    def _compare_all(self, transfer: TransferRow, chosen: Sequence[EvidenceRow]) -> bool:
        """Whether any of them is still this transfer's, and so was asked about."""
        targets = [row.target for row in chosen if row.target is not None]
        publishers = self._reader.publishers(targets)
        mine = [
            row
            for row in chosen
            if row.target and publishers.get(row.target, _own(transfer, row)) == transfer.id
        ]
        self._outcome.replaced += len(chosen) - len(mine)
        for filesystem in sorted({row.target.filesystem for row in mine if row.target}):
            there = [row for row in mine if row.target and row.target.filesystem == filesystem]
            with self._pool.session(filesystem) as session:
                held = self._contents(session, [_asked(row) for row in there])
                for row, one in zip(there, held, strict=True):
                    self._compare(transfer.id, row, one)
        return bool(mine)

    def _contents(
        self, session: TargetSession, asked: Sequence[tuple[Location, str]]
    ) -> list[StoredChecksum | None]:
        return session.stored_checksums(
            [location for location, _ in asked],
            algorithms=[algorithm for _, algorithm in asked],
            is_read=self._is_read,
            passes_over=True,
        )

    def _compare(self, transfer_id: str, row: EvidenceRow, held: StoredChecksum | None) -> None:
        if row.staged is None or row.target is None:
            return
        where = row.target.uri
        if held is None:
            self._tell("missing", transfer_id, f"{where}: no file is there")
        elif held.checksum is None:
            self._tell("unknown", transfer_id, f"{where}: {held.why}")
        elif held.size_bytes != row.staged.size_bytes or held.checksum != row.staged.content:
            self._tell(
                "differs",
                transfer_id,
                f"{where}: holds {held.size_bytes} B with {held.checksum} "
                f"(from {held.checksum_source}), proven were {row.staged.size_bytes} B with "
                f"{row.staged.content.hex}",
            )
        else:
            self._outcome.same += 1
            self._outcome.size_bytes += row.staged.size_bytes
            source = held.checksum_source
            self._outcome.asked[source] = self._outcome.asked.get(source, 0) + 1

    def _tell(self, kind: str, transfer_id: str, what: str) -> None:
        finding = Finding(kind=kind, transfer_id=transfer_id, what=what)
        self._outcome.findings.append(finding)
        self._found(finding)


def _own(transfer: TransferRow, row: EvidenceRow) -> str | None:
    """Who answers for a file of which the ledger does not say it: whoever proved it and ended."""
    is_its = transfer.state is TransferState.DONE and row.epoch == transfer.epoch
    return transfer.id if is_its else None


def _asked(row: EvidenceRow) -> tuple[Location, str]:
    """Its place, and in what its content is to be told."""
    if row.target is None or row.staged is None:
        message = "only published files are looked at"
        raise AssertionError(message)
    return row.target, row.staged.content.algorithm


def _manifest_of(line: str) -> str | None:
    try:
        found = json.loads(line)["manifest"]
    except (ValueError, KeyError, TypeError):
        return None
    return str(found)
