"""The evidence as commands read it: objects with their proofs, and the chain of sealing lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    RowMapping,
    bindparam,
    func,
    select,
    type_coerce,
)

from backhaul.adapters.ledger import rows
from backhaul.adapters.ledger.paths import packed
from backhaul.adapters.ledger.paths.packed import LAST_CHARACTER
from backhaul.adapters.ledger.schema import micros, moment, objects, seals, transfers
from backhaul.adapters.ledger.session import ReadSession
from backhaul.core.errors import PermanentError
from backhaul.core.model import Location, TransferState
from backhaul.core.objects import PlannedObject, Proof, StagedObject
from backhaul.core.ports import Published
from backhaul.core.transfer.evidence import Ended, Sealed

TRANSFERS_AT_ONCE = 2000  # some 10 ms
_AMBIGUOUS = 4  # how many ids an error names
_QUEUES_MOST = 50
_MESSAGE_ID_LEAST = 4  # characters of a message's id that name its transfer
_OBJECTS = (
    select(*rows.PLANNED_COLUMNS, *rows.PROOF_COLUMNS, objects.c.epoch)
    .where(objects.c.transfer_id == bindparam("of_transfer"), objects.c.seq > bindparam("of_after"))
    .order_by(objects.c.seq)
)
_SEALED = select(
    seals,
    transfers.c.state,
    transfers.c.publish_mode,
    transfers.c.source,
    transfers.c.destination,
    transfers.c.pruned_at.is_not(None).label("is_pruned"),
    type_coerce(transfers.c.finished_at, BigInteger).label("finished_us"),
).outerjoin_from(seals, transfers, transfers.c.id == seals.c.transfer_id)
_KNOWN = select(transfers.c.id).where(transfers.c.id.in_(bindparam("of_ids", expanding=True)))


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


class EvidenceReader(ReadSession):
    """What `verify` and `show --evidence` read."""

    def id_of(self, id_prefix: str) -> str:
        """The whole id.

        Raises:
            PermanentError: E_NO_SUCH_TRANSFER, no transfer or more than one starts like this.
        """
        with self._transaction(id_prefix) as tx:
            found: str = find(tx, id_prefix)["id"]
        return found

    def objects(self, id_prefix: str, *, batch: int = 1000) -> Iterator[EvidenceRow]:
        """Every object of a plan, in order; memory holds one batch.

        Raises:
            PermanentError: E_NO_SUCH_TRANSFER, as in `id_of`.
        """
        with self._transaction(id_prefix) as tx:
            transfer = find(tx, id_prefix)
        after = -1
        while True:
            with self._transaction(id_prefix) as tx:
                page = objects_of(tx, transfer, after=after, most=batch)
            if not page:
                return
            yield from page
            after = page[-1].planned.seq

    def sealed(self, transfer_id: str) -> Sealed | None:
        """The sealing line of a transfer; None where it did not end, or ended before there were."""
        with self._transaction("seals") as tx:
            query = _SEALED.where(seals.c.transfer_id == transfer_id)
            row = tx.execute(query).mappings().one_or_none()
        return None if row is None else _sealed(row)

    def chain(self, *, batch: int = 1000) -> Iterator[Sealed]:
        """Every sealing line, oldest first."""
        query = _SEALED.order_by(seals.c.number).limit(batch)
        after = 0
        while True:
            with self._transaction("seals") as tx:
                page = tx.execute(query.where(seals.c.number > after)).mappings().all()
            if not page:
                return
            yield from map(_sealed, page)
            after = page[-1]["number"]

    def ended_with_files(self, *, since: datetime | None = None) -> list[str]:
        """Ids of transfers that ended DONE or SUPERSEDED, those first that began first.

        Args:
            since: Aware; only those that ended at or after it.
        """
        found: list[str] = []
        since_us = 0 if since is None else micros(since)
        ended_us = type_coerce(transfers.c.finished_at, BigInteger).label("ended_us")
        here = select(transfers.c.id, transfers.c.state, ended_us)
        query = here.order_by(transfers.c.id).limit(TRANSFERS_AT_ONCE)
        after = ""
        while True:
            with self._transaction("transfers") as tx:
                page = tx.execute(query.where(transfers.c.id > after)).all()
                found += [rows.named(one.id) for one in page if _has_ended(one, since_us)]
            if len(page) < TRANSFERS_AT_ONCE:
                return found
            after = page[-1].id

    def publishers(self, locations: Sequence[Location]) -> dict[Location, str]:
        """Which transfer published last at these paths, by id; absent: none that the ledger has."""
        found: dict[Location, str] = {}
        for uris in rows.uri_batches(locations):
            with self._transaction("published") as tx:
                there = packed.rows_at(tx, uris)
                ids = sorted({rows.named(one.transfer_id) for one in there})
                known = set(tx.execute(_KNOWN, {"of_ids": ids}).scalars())
                for one in there:
                    if one.transfer_id in known:
                        found[rows.location(one.uri)] = one.transfer_id
        return found

    def published_by(
        self, transfer_id: str, directory: Location, *, batch: int
    ) -> Iterator[list[Published]]:
        """The files below a directory that this transfer published last, in order."""
        prefix = directory.join("").uri
        high = prefix + LAST_CHARACTER
        after = prefix
        while True:
            with self._transaction("the published files") as tx:
                page = packed.rows_between(tx, after, high, batch)
                mine = [row for row in page if row.transfer_id == transfer_id]
                found = list(map(rows.published_file, mine))
            if found:
                yield found
            if len(page) < batch:
                return
            after = page[-1].uri


def find(tx: Connection, id_prefix: str, *more: Any) -> RowMapping:
    """The transfer whose id starts like this, or that of the message whose id does.

    Args:
        more: Columns to read besides those of `transfers`.

    Raises:
        PermanentError: E_NO_SUCH_TRANSFER.
    """
    query = (
        select(transfers, *more)
        .where(*begins_with(transfers.c.id, id_prefix))
        .order_by(transfers.c.id)
        .limit(_AMBIGUOUS)
    )
    found = tx.execute(query).mappings().all()
    exact = [row for row in found if row["id"] == id_prefix]
    if exact or (id_prefix and len(found) == 1):
        return (exact or found)[0]
    if not found and len(id_prefix) >= _MESSAGE_ID_LEAST:
        found = _of_message(tx, id_prefix, *more)
        if len(found) == 1:
            return found[0]
    if id_prefix and found:
        names = ", ".join(row["id"] for row in found)
        raise PermanentError(
            "E_NO_SUCH_TRANSFER",
            f"more than one transfer starts with {id_prefix}: {names}",
            hint="give more characters of the id, or the whole id of one",
        )
    raise PermanentError(
        "E_NO_SUCH_TRANSFER",
        f"no transfer starts with {id_prefix!r}, and no message's does",
        hint="`backhaul history` lists the ids",
    )


def _of_message(tx: Connection, id_prefix: str, *more: Any) -> list[RowMapping]:
    """Those of the messages whose ids start like this: several records have a transfer each."""
    found: list[RowMapping] = []
    queue = ""
    for _ in range(_QUEUES_MOST):
        next_queue = select(func.min(transfers.c.queue)).where(transfers.c.queue > queue)
        queue = tx.execute(next_queue).scalar() or ""
        if not queue or len(found) >= _AMBIGUOUS:
            break
        is_it = (transfers.c.queue == queue, *begins_with(transfers.c.message_id, id_prefix))
        query = select(transfers, *more).where(*is_it).order_by(transfers.c.message_id)
        found += tx.execute(query.limit(_AMBIGUOUS)).mappings().all()
    return found[:_AMBIGUOUS]


def begins_with(column: ColumnElement[str], prefix: str) -> tuple[ColumnElement[bool], ...]:
    """As a range, which an index finds: texts are compared as UTF-8 bytes."""
    return column >= prefix, column < prefix + LAST_CHARACTER


def objects_of(
    tx: Connection, transfer: RowMapping, *, after: int, most: int
) -> Sequence[EvidenceRow]:
    """Objects of a transfer's plan behind the position `after`."""
    directory = rows.optional_location(transfer["directory"])
    found = []
    wanted = {"of_transfer": transfer["id"], "of_after": after}
    for row in tx.execute(_OBJECTS.limit(most), wanted).mappings():
        rows.checked(row, (*rows.PLANNED_COLUMNS, *rows.PROOF_COLUMNS))
        found.append(
            EvidenceRow(
                planned=rows.planned_object(row),
                staged=None if row["epoch"] is None else rows.staged_object(row),
                target=None if directory is None else directory.join(row["relative"]),
                epoch=row["epoch"],
            )
        )
    return found


def proof_totals(
    tx: Connection, transfer_id: str, *, after: int, scan: int
) -> tuple[tuple[ProofTotals, ...], int | None]:
    """Objects of a transfer's plan behind the position `after`, by proof.

    Args:
        scan: So many objects are looked at.

    Returns:
        The sums of this piece, and its last position; None: there are no more objects.
    """
    wanted = [objects.c.transfer_id == transfer_id, objects.c.seq > after]
    edge = select(objects.c.seq).where(*wanted).order_by(objects.c.seq).offset(scan - 1)
    end = tx.execute(edge.limit(1)).scalar()
    if end is not None:
        wanted.append(objects.c.seq <= end)
    query = (
        select(objects.c.proof, func.count(), func.sum(objects.c.size_bytes))
        .where(*wanted)
        .group_by(objects.c.proof)
    )
    totals = tuple(
        ProofTotals(
            proof=None if proof is None else Proof(proof),
            objects=count,
            size_bytes=int(size_bytes),
        )
        for proof, count, size_bytes in tx.execute(query)
    )
    return totals, end


def _has_ended(row: Any, since_us: int) -> bool:
    """As stored: what is wrong with an edited row is reported of its transfer."""
    if row.state not in {TransferState.DONE, TransferState.SUPERSEDED}:
        return False
    return rows.is_since(row.ended_us, since_us)


def _sealed(row: RowMapping) -> Sealed:
    """From a row of `_SEALED`, unchecked: `verify` compares what an editor put there."""
    ended = None
    if row["state"] is not None:
        ended = Ended(
            state=row["state"],
            publish=row["publish_mode"],
            source=row["source"],
            destination=row["destination"],
            finished_at=_moment(row["finished_us"]),
            is_pruned=row["is_pruned"],
        )
    return Sealed(
        transfer_id=_text(row["transfer_id"]),
        line=_text(row["line"]),
        seal=_text(row["seal"]),
        ended=ended,
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


def _moment(since_epoch_us: Any) -> datetime | None:
    try:
        return moment(since_epoch_us)
    except (ArithmeticError, TypeError):
        return None
