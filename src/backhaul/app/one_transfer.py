"""Everything that a page shows of one transfer, however large it is."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from backhaul.adapters.ledger import EvidenceRow, JobRow, JournalRow, ProofTotals, TransferRow
from backhaul.adapters.ledger.reading.reader import LedgerReader
from backhaul.core.objects import Proof

JOURNAL_MOST, JOBS_MOST, OBJECTS_MOST = 200, 50, 20
ACTIONS_SCANNED = 5000
COUNTING_S = 0.3
PIECE = 10_000  # objects


@dataclass(frozen=True, kw_only=True)
class ActOnTransfer:
    """What an operator did with the transfer."""

    at: datetime
    operator: str
    action: str
    outcome: str


@dataclass(frozen=True, kw_only=True)
class OneTransfer:
    """A transfer with what happened to it.

    Attributes:
        journal: Its newest changes of state, oldest first; `is_journal_cut`: there are older ones.
        proofs: Sums by proof; `counted` objects are in them, all unless `is_counting_cut`.
        objects: The first ones with their proofs.
        seal: The manifest's, once it has ended; None before, and where there is none.
    """

    row: TransferRow
    journal: list[JournalRow]
    is_journal_cut: bool
    jobs: list[JobRow]
    proofs: tuple[ProofTotals, ...]
    counted: int
    is_counting_cut: bool
    objects: tuple[EvidenceRow, ...]
    seal: str | None
    acts: tuple[ActOnTransfer, ...]


def read_one(
    reader: LedgerReader, id_prefix: str, *, monotonic: Callable[[], float] = time.monotonic
) -> OneTransfer:
    """In short transactions; sums over very many objects end when their time is used up.

    Raises:
        PermanentError: E_NO_SUCH_TRANSFER.
    """
    row = reader.transfer(id_prefix)
    journal = reader.journal_of(row.id, most=JOURNAL_MOST + 1)
    proofs, is_cut = _proofs(reader, row.id, monotonic)
    sealed = reader.sealed(row.id) if row.finished_at is not None else None
    return OneTransfer(
        row=row,
        journal=journal[-JOURNAL_MOST:],
        is_journal_cut=len(journal) > JOURNAL_MOST,
        jobs=reader.jobs_of(row.id, most=JOBS_MOST),
        proofs=proofs,
        counted=sum(one.objects for one in proofs),
        is_counting_cut=is_cut,
        objects=tuple(reader.first_objects(row.id, most=OBJECTS_MOST)),
        seal=sealed.seal if sealed is not None else None,
        acts=tuple(
            ActOnTransfer(at=at, operator=who, action=what, outcome=how)
            for at, who, what, how in reader.actions_on(row.id, scan=ACTIONS_SCANNED)
        ),
    )


def _proofs(
    reader: LedgerReader, transfer_id: str, monotonic: Callable[[], float]
) -> tuple[tuple[ProofTotals, ...], bool]:
    ends_at = monotonic() + COUNTING_S
    sums: dict[Proof | None, list[int]] = defaultdict(lambda: [0, 0])
    after: int | None = -1
    while after is not None:
        part, after = reader.proofs_of(transfer_id, after=after, scan=PIECE)
        for one in part:
            sums[one.proof][0] += one.objects
            sums[one.proof][1] += one.size_bytes
        if monotonic() > ends_at:
            break
    totals = (
        ProofTotals(proof=proof, objects=count, size_bytes=size_bytes)
        for proof, (count, size_bytes) in sums.items()
    )
    ordered = sorted(totals, key=lambda one: (one.proof is None, -one.objects))
    return tuple(ordered), after is not None
