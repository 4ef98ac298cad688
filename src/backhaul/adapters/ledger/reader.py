"""The ledger as the commands read it: read-only, beside an agent that writes.

Every query is a short transaction: in a rollback journal a reader holds up the writer's commit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, RowMapping, Select, func, select

from backhaul.adapters.ledger import rows
from backhaul.adapters.ledger.faults import edited, mapped
from backhaul.adapters.ledger.schema import (
    jobs,
    journal,
    meta,
    moment,
    objects,
    published,
    seals,
    transfers,
)
from backhaul.adapters.ledger.sealing import SEALED, as_sealed
from backhaul.core.errors import PermanentError
from backhaul.core.model import Location, TransferState
from backhaul.core.objects import PlannedObject, Proof, StagedObject
from backhaul.core.transfer.evidence import Sealed

FIRST_OBJECTS = 20
LOOKUP_BATCH = 500  # paths in one query
_AMBIGUOUS = 4  # how many ids an error names


@dataclass(frozen=True, kw_only=True)
class TransferRow:
    """One transfer as `history` shows it.

    Attributes:
        source: As asked for; likewise `destination`.
        canonical: What was claimed; None before the first claim.
        directory: Where the objects' relative paths are appended; None likewise.
        policy: Digest of the policy that decided at the last claim.
        owner: `host:boot_id:pid:starttime` of the process at work, None when there is none.
        engine: Which was chosen, with its reason; None where nothing was to be chosen.
        held_by: The dependency that it waits for, where `code` is set; else the last one it waited
            for, or None. Likewise `held_since`.
        retry_at: When a held transfer tries again; None while a worker waits by itself.
        copied_bytes: Of the objects that were copied and proven so far; `bytes_planned` counts
            those that were there already, too.
        duration: First claim to end; None while not final.
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
class ProofTotals:
    """Objects and bytes that share one proof; None is the share without one yet."""

    proof: Proof | None
    objects: int
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class EvidenceRow:
    """One object of a plan with its proof.

    Attributes:
        target: Its final path; None before the transfer's first claim.
        epoch: Of the proof; None while there is none.
    """

    planned: PlannedObject
    staged: StagedObject | None
    target: Location | None
    epoch: int | None


@dataclass(frozen=True, kw_only=True)
class JobRow:
    """One submission to YARN.

    Attributes:
        state: `submitting`, `queued`, `running`, `succeeded`, `failed`, `killed` or `unknown`.
        maps_done: As last seen while it ran; likewise `maps` and `size_bytes`.
        counters: DistCp's own, final; None where nobody told them.
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
    """Everything `show` tells."""

    transfer: TransferRow
    jobs: tuple[JobRow, ...]
    journal: tuple[JournalRow, ...]
    proofs: tuple[ProofTotals, ...]
    first_objects: tuple[EvidenceRow, ...]


class LedgerReader:
    """Questions to a ledger file; made by `files.open_reader`.

    Raises (any method):
        OutageError: `ledger`: locked too long or an I/O error.
        EditedLedger: E_LEDGER_CORRUPT: somebody edited it.
    """

    def __init__(self, engine: Engine, path: Path) -> None:
        self._engine = engine
        self._path = path

    def close(self) -> None:
        """Let go of the file; safe to repeat."""
        self._engine.dispose()

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
        with self._written_by_backhaul("the list of transfers"), self._transaction() as tx:
            found = tx.execute(query.limit(limit)).mappings().all()
            return [_transfer_row(row) for row in found]

    def count(self, states: Sequence[TransferState] = (), since: datetime | None = None) -> int:
        """How many transfers `history` would return without a limit."""
        query = select(func.count()).select_from(transfers).where(*_conditions(states, since))
        with self._transaction() as tx:
            return int(tx.execute(query).scalar_one())

    def id_of(self, id_prefix: str) -> str:
        """The whole id.

        Raises:
            PermanentError: E_NO_SUCH_TRANSFER, no transfer or more than one starts like this.
        """
        with self._written_by_backhaul(id_prefix), self._transaction() as tx:
            found: str = _one(tx, id_prefix)["id"]
        return found

    def show(self, id_prefix: str, *, first_objects: int = FIRST_OBJECTS) -> TransferDetails:
        """One transfer with its journal, its proofs summed up and its first objects.

        Raises:
            PermanentError: E_NO_SUCH_TRANSFER, no transfer or more than one starts like this.
        """
        with self._written_by_backhaul(id_prefix), self._transaction() as tx:
            row = _one(tx, id_prefix)
            lines = tx.execute(
                select(journal).where(journal.c.transfer_id == row["id"]).order_by(journal.c.number)
            ).mappings()
            submitted = (
                tx.execute(
                    select(jobs).where(jobs.c.transfer_id == row["id"]).order_by(jobs.c.epoch)
                )
                .mappings()
                .all()
            )
            sums = tx.execute(
                select(objects.c.proof, func.count().label("count"), func.sum(objects.c.size_bytes))
                .where(objects.c.transfer_id == row["id"])
                .group_by(objects.c.proof)
                .order_by(objects.c.proof)
            )
            return TransferDetails(
                transfer=_transfer_row(row),
                jobs=tuple(_job_row(line) for line in submitted),
                journal=tuple(_journal_row(line) for line in lines),
                proofs=tuple(
                    ProofTotals(
                        proof=None if proof is None else Proof(proof),
                        objects=count,
                        size_bytes=int(size_bytes),
                    )
                    for proof, count, size_bytes in sums
                ),
                first_objects=tuple(_evidence(tx, row, after=-1, limit=first_objects)),
            )

    def objects(self, id_prefix: str, *, batch: int = 1000) -> Iterator[EvidenceRow]:
        """Every object of a plan, in order, with bounded memory.

        Raises:
            PermanentError: E_NO_SUCH_TRANSFER, as in `show`.
        """
        with self._written_by_backhaul(id_prefix), self._transaction() as tx:
            row = _one(tx, id_prefix)
        after = -1
        while True:
            with self._written_by_backhaul(id_prefix), self._transaction() as tx:
                page = _evidence(tx, row, after=after, limit=batch)
            if not page:
                return
            yield from page
            after = page[-1].planned.seq

    def sealed(self, transfer_id: str) -> Sealed | None:
        """The sealing line of a transfer; None where it did not end, or ended before there were."""
        with self._transaction() as tx:
            row = tx.execute(SEALED.where(seals.c.transfer_id == transfer_id)).mappings()
            found = row.one_or_none()
        return None if found is None else as_sealed(found)

    def chain(self, *, batch: int = 1000) -> Iterator[Sealed]:
        """Every sealing line, oldest first."""
        after = 0
        while True:
            with self._transaction() as tx:
                page = (
                    tx.execute(
                        SEALED.where(seals.c.number > after).order_by(seals.c.number).limit(batch)
                    )
                    .mappings()
                    .all()
                )
            if not page:
                return
            yield from (as_sealed(row) for row in page)
            after = page[-1]["number"]

    def ended_with_files(self, *, since: datetime | None = None) -> list[str]:
        """Ids of transfers that ended DONE or SUPERSEDED, oldest first.

        Args:
            since: Aware; only those that ended at or after it.
        """
        with self._transaction() as tx:
            return [rows.named(one) for one in tx.execute(self._ended(since)).scalars()]

    def must_be_sealed(self) -> list[str]:
        """Ids of ended transfers that have a sealing line unless somebody took it away."""
        with self._written_by_backhaul("meta"), self._transaction() as tx:
            text = tx.execute(select(meta.c.value).where(meta.c.name == "sealed_from_us")).scalar()
            begun = moment(int(text or 0))
            return [rows.named(one) for one in tx.execute(self._ended(begun)).scalars()]

    @staticmethod
    def _ended(since: datetime | None) -> Select[Any]:
        final = (TransferState.DONE.value, TransferState.SUPERSEDED.value)
        query = select(transfers.c.id).where(transfers.c.state.in_(final))
        if since is not None:
            query = query.where(transfers.c.finished_at >= since)
        return query.order_by(transfers.c.finished_at, transfers.c.id)

    def publishers(self, locations: Sequence[Location]) -> dict[Location, str]:
        """Which transfer published last at these paths, by id; absent: none that the ledger has."""
        found: dict[Location, str] = {}
        for start in range(0, len(locations), LOOKUP_BATCH):
            uris = [one.uri for one in locations[start : start + LOOKUP_BATCH]]
            query = select(published.c.uri, published.c.transfer_id).join(
                transfers, transfers.c.id == published.c.transfer_id
            )
            with self._transaction() as tx:
                for uri, transfer_id in tx.execute(query.where(published.c.uri.in_(uris))):
                    found[rows.location(uri)] = rows.named(transfer_id)
        return found

    @contextmanager
    def _written_by_backhaul(self, what: str) -> Iterator[None]:
        """Rows become the core's nouns in here.

        Raises:
            EditedLedger: E_LEDGER_CORRUPT.
        """
        try:
            yield
        except (ArithmeticError, AttributeError, TypeError, ValueError) as error:
            raise edited(self._path, f"{what}: {error}") from error

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with mapped(self._path, is_reader=True), self._engine.begin() as connection:
            yield connection


_COPIED = (
    select(func.coalesce(func.sum(objects.c.size_bytes), 0))
    .where(
        objects.c.transfer_id == transfers.c.id,
        objects.c.proof.is_not(None),
        objects.c.proof != Proof.ADOPTED.value,
    )
    .correlate(transfers)
    .scalar_subquery()
    .label("copied_bytes")
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


def _one(tx: Connection, id_prefix: str) -> RowMapping:
    found = (
        tx.execute(
            select(transfers, _COPIED)
            .where(func.substr(transfers.c.id, 1, len(id_prefix)) == id_prefix)
            .order_by(transfers.c.id)
            .limit(_AMBIGUOUS)
        )
        .mappings()
        .all()
    )
    exact = [row for row in found if row["id"] == id_prefix]
    if exact or (id_prefix and len(found) == 1):
        return (exact or found)[0]
    if id_prefix and found:
        names = ", ".join(row["id"] for row in found)
        raise PermanentError(
            "E_NO_SUCH_TRANSFER",
            f"more than one transfer starts with {id_prefix}: {names}",
            hint="give more characters of the id",
        )
    raise PermanentError(
        "E_NO_SUCH_TRANSFER",
        f"no transfer starts with {id_prefix!r}",
        hint="`backhaul history` lists the ids",
    )


def _evidence(
    tx: Connection, transfer: RowMapping, *, after: int, limit: int
) -> Sequence[EvidenceRow]:
    found = tx.execute(
        select(*rows.PLANNED_COLUMNS, *rows.PROOF_COLUMNS, objects.c.epoch)
        .where(objects.c.transfer_id == transfer["id"], objects.c.seq > after)
        .order_by(objects.c.seq)
        .limit(limit)
    ).mappings()
    directory = rows.optional_location(transfer["directory"])
    return [
        EvidenceRow(
            planned=rows.planned_object(row),
            staged=None if row["epoch"] is None else rows.staged_object(row),
            target=None if directory is None else directory.join(row["relative"]),
            epoch=row["epoch"],
        )
        for row in map(_checked_object, found)
    ]


def _checked_object(row: RowMapping) -> RowMapping:
    rows.checked(row, (*rows.PLANNED_COLUMNS, *rows.PROOF_COLUMNS))
    return row


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
    return JournalRow(
        at=row["at"],
        state=TransferState(row["state"]),
        epoch=row["epoch"],
        attempt=row["attempt"],
        code=row["code"],
        reason=row["reason"],
    )
