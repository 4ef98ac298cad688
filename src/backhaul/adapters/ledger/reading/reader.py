"""The ledger as the commands read it: transfers, their journal and their jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, select

from backhaul.adapters.ledger.reading.evidence import (
    EvidenceReader,
    EvidenceRow,
    ProofTotals,
    find,
    objects_of,
    proof_totals,
)
from backhaul.adapters.ledger.reading.observing import ActivityReader
from backhaul.adapters.ledger.reading.operating import OperatorReader
from backhaul.adapters.ledger.reading.searching import SearchReader
from backhaul.adapters.ledger.reading.transfer_rows import (
    JobRow,
    JournalRow,
    SettledBy,
    TransferRow,
    job_row,
    journal_row,
    settled_by,
    transfer_row,
)
from backhaul.adapters.ledger.schema import jobs, journal, objects, transfers
from backhaul.core.model import TransferState
from backhaul.core.objects import Proof

FIRST_OBJECTS = 20
_SUM_OF_OBJECTS = (
    select(func.coalesce(func.sum(objects.c.size_bytes), 0))
    .where(
        objects.c.transfer_id == transfers.c.id,
        objects.c.proof.is_not(None),
        objects.c.proof != Proof.ADOPTED.value,
    )
    .correlate(transfers)
    .scalar_subquery()
)
# The sum was kept when the transfer ended, unless an earlier version ended it.
_COPIED = func.coalesce(transfers.c.bytes_copied, _SUM_OF_OBJECTS).label("copied_bytes")


@dataclass(frozen=True, kw_only=True)
class TransferDetails:
    """Everything that `show` prints.

    Attributes:
        settled_by: None: its dead letter was not sent again, or no agent has received it yet.
    """

    transfer: TransferRow
    settled_by: SettledBy | None
    jobs: tuple[JobRow, ...]
    journal: tuple[JournalRow, ...]
    proofs: tuple[ProofTotals, ...]
    first_objects: tuple[EvidenceRow, ...]


class LedgerReader(EvidenceReader, ActivityReader, OperatorReader, SearchReader):
    """A ledger file, read-only; made by `ledger.files.open_reader`.

    Raises (any method):
        OutageError: `ledger`: locked too long or an I/O error.
        EditedLedger: E_LEDGER_CORRUPT: a row that Backhaul did not write.
    """

    def history(
        self,
        limit: int = 100,
        states: Sequence[TransferState] = (),
        since: datetime | None = None,
    ) -> list[TransferRow]:
        """The newest transfers first, by the time they were first seen.

        Args:
            states: Only transfers in one of these; empty: in any.
            since: Aware; only transfers that changed state at or after it.
        """
        query = select(transfers, _COPIED).where(*_conditions(states, since))
        query = query.order_by(transfers.c.first_seen_at.desc(), transfers.c.id.desc())
        with self._transaction("the list of transfers") as tx:
            found = tx.execute(query.limit(limit)).mappings().all()
            return [transfer_row(row) for row in found]

    def count(self, states: Sequence[TransferState] = (), since: datetime | None = None) -> int:
        """How many transfers `history` would return without a limit."""
        query = select(func.count()).select_from(transfers).where(*_conditions(states, since))
        with self._transaction("transfers") as tx:
            return int(tx.execute(query).scalar_one())

    def show(self, id_prefix: str, *, first_objects: int = FIRST_OBJECTS) -> TransferDetails:
        """One transfer with its journal, its proofs summed up and its first objects.

        Raises:
            PermanentError: E_NO_SUCH_TRANSFER, as in `id_of`.
        """
        with self._transaction(id_prefix) as tx:
            row = find(tx, id_prefix, _COPIED)
            its_jobs = select(jobs).where(jobs.c.transfer_id == row["id"]).order_by(jobs.c.epoch)
            its_journal = (
                select(journal).where(journal.c.transfer_id == row["id"]).order_by(journal.c.number)
            )
            return TransferDetails(
                transfer=transfer_row(row),
                settled_by=settled_by(tx, row),
                jobs=tuple(map(job_row, tx.execute(its_jobs).mappings())),
                journal=tuple(map(journal_row, tx.execute(its_journal).mappings())),
                proofs=proof_totals(tx, row["id"]),
                first_objects=tuple(objects_of(tx, row, after=-1, most=first_objects)),
            )


def _conditions(
    states: Sequence[TransferState], since: datetime | None
) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if states:
        found.append(transfers.c.state.in_([state.value for state in states]))
    if since is not None:
        found.append(transfers.c.updated_at >= since)
    return found
