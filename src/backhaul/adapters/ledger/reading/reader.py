"""The ledger as the commands read it: transfers, their journal and their jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, func, select

from backhaul.adapters.ledger import rows
from backhaul.adapters.ledger.reading.evidence import (
    EvidenceReader,
    EvidenceRow,
    ProofTotals,
    find,
    objects_of,
    proof_totals,
)
from backhaul.adapters.ledger.reading.observing import ActivityReader
from backhaul.adapters.ledger.schema import jobs, journal, objects, transfers
from backhaul.core.model import Location, TransferState
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
class TransferRow:
    """One transfer as `history` shows it.

    Attributes:
        source: As requested; likewise `destination`.
        canonical: What was claimed; None before the first claim.
        directory: Where the objects' relative paths are appended; None likewise.
        policy: Digest of the policy that decided at the last claim.
        owner: `host:boot_id:pid:starttime` of the process at work, None when there is none.
        engine: The chosen one, with its reason; None where there was no choice.
        held_by: The dependency that it waits for, where `code` is set; else the last one it waited
            for, or None. Likewise `held_since`.
        retry_at: When a held transfer tries again; None while a worker waits by itself.
        copied_bytes: Of the objects that were copied and proven so far; `bytes_planned` counts
            those that were there already, too.
        duration: First claim to end; None while not final.
        sender: SQS's SenderId; `sent_at` by SQS's clock; None: of `copy`, or not known.
        traceparent: The message's, as sent; likewise `aws_trace_header`.
    """

    id: str
    queue: str | None
    message_id: str | None
    source: str
    destination: str
    canonical: Location | None
    directory: Location | None
    route: str | None
    policy: str | None
    state: TransferState
    attempt: int
    failures: int
    source_changes: int
    epoch: int | None
    owner: str | None
    sender: str | None
    sent_at: datetime | None
    traceparent: str | None
    aws_trace_header: str | None
    plan_complete: bool
    renames_possible: bool
    objects_planned: int
    bytes_planned: int
    copied_bytes: int
    markers: int
    publish_mode: str | None
    engine: str | None
    engine_reason: str | None
    code: str | None
    reason: str | None
    held_by: str | None
    held_since: datetime | None
    retry_at: datetime | None
    first_seen_at: datetime
    started_at: datetime | None
    updated_at: datetime
    finished_at: datetime | None
    duration: timedelta | None


@dataclass(frozen=True, kw_only=True)
class JournalRow:
    """One change of state."""

    at: datetime
    state: TransferState
    epoch: int | None
    attempt: int
    code: str | None
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class JobRow:
    """One submission to YARN.

    Attributes:
        state: `submitting`, `queued`, `running`, `succeeded`, `failed`, `killed` or `unknown`.
        maps_done: As last seen while it ran; likewise `maps` and `size_bytes`.
        counters: DistCp's own, final; None where YARN did not report them.
    """

    epoch: int
    tag: str
    application_id: str | None
    state: str
    reason: str | None
    tracking_url: str | None
    maps_done: int | None
    maps: int | None
    size_bytes: int | None
    counters: str | None
    opened_at: datetime
    updated_at: datetime
    closed_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class TransferDetails:
    """Everything that `show` prints."""

    transfer: TransferRow
    jobs: tuple[JobRow, ...]
    journal: tuple[JournalRow, ...]
    proofs: tuple[ProofTotals, ...]
    first_objects: tuple[EvidenceRow, ...]


class LedgerReader(EvidenceReader, ActivityReader):
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
            return [_transfer_row(row) for row in found]

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
                transfer=_transfer_row(row),
                jobs=tuple(map(_job_row, tx.execute(its_jobs).mappings())),
                journal=tuple(map(_journal_row, tx.execute(its_journal).mappings())),
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


def _transfer_row(row: RowMapping) -> TransferRow:
    rows.checked(row, transfers.c)
    duration_us = row["duration_us"]
    values: dict[str, Any] = {
        **row,
        "canonical": rows.optional_location(row["canonical"]),
        "directory": rows.optional_location(row["directory"]),
        "state": TransferState(row["state"]),
        "duration": None if duration_us is None else timedelta(microseconds=duration_us),
    }
    return TransferRow(**{field.name: values[field.name] for field in fields(TransferRow)})


def _job_row(row: RowMapping) -> JobRow:
    rows.checked(row, jobs.c)
    return JobRow(**{field.name: row[field.name] for field in fields(JobRow)})


def _journal_row(row: RowMapping) -> JournalRow:
    rows.checked(row, journal.c)
    values = {field.name: row[field.name] for field in fields(JournalRow)}
    return JournalRow(**{**values, "state": TransferState(row["state"])})
