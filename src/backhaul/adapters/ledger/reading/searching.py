"""Looking for transfers, and at one of them, in pieces that hold up no commit.

A ledger has a million transfers and few indexes, because each index costs every commit. So a
search walks back in time by the transfers' ids, some thousand rows in one transaction; `app.search`
makes as many of them as there is time for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, and_, case, exists, func, literal, or_, select

from backhaul.adapters.ledger import rows
from backhaul.adapters.ledger.paths import packed
from backhaul.adapters.ledger.paths.packed import LAST_CHARACTER
from backhaul.adapters.ledger.reading.evidence import (
    EvidenceRow,
    ProofTotals,
    begins_with,
    find,
    objects_of,
    proof_totals,
)
from backhaul.adapters.ledger.reading.transfer_rows import (
    JobRow,
    JournalRow,
    TransferRow,
    job_row,
    journal_row,
    transfer_row,
)
from backhaul.adapters.ledger.schema import (
    jobs,
    journal,
    objects,
    operator_actions,
    seals,
    transfers,
)
from backhaul.adapters.ledger.session import ReadSession
from backhaul.core.model import TransferState

if TYPE_CHECKING:
    from sqlalchemy import RowMapping

QUEUES_MOST = FILESYSTEMS_MOST = 50
ANCESTORS_MOST = 64
_FOUND = (
    *("id", "message_id", "route", "source", "destination", "canonical", "directory", "state"),
    *("attempt", "code", "reason", "objects_planned", "bytes_planned", "sender"),
    *("first_seen_at", "updated_at", "finished_at"),
)
FOUND_COLUMNS = tuple(transfers.c[name] for name in _FOUND)
_S3, _S3A = "s3://", "s3a://"
# `bucket/key`, however the message has written it.
_SOURCE = case(
    (transfers.c.source.startswith(_S3), func.substr(transfers.c.source, len(_S3) + 1)),
    (transfers.c.source.startswith(_S3A), func.substr(transfers.c.source, len(_S3A) + 1)),
    else_=transfers.c.source,
)


@dataclass(frozen=True, kw_only=True)
class FoundTransfer:
    """A transfer that a search has found; fields as in `TransferRow`."""

    id: str
    message_id: str | None
    route: str | None
    source: str
    destination: str
    canonical: str | None
    directory: str | None
    state: TransferState
    attempt: int
    code: str | None
    reason: str | None
    objects_planned: int
    bytes_planned: int
    sender: str | None
    first_seen_at: datetime
    updated_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class TransferFilter:
    """What a transfer must be; each condition that is given has to hold.

    Attributes:
        since: Aware; of the time when it was first seen. `until` is not included.
        sender: Part of SQS's SenderId.
        source: `bucket/key` or its beginning: the source is it, above it or below it.
        path: Absolute path on the target, likewise.
        digest: Beginning of the message body's SHA-256, the policy's digest or the seal.
        text: Part of source or destination; ASCII letters in any case.
    """

    states: tuple[TransferState, ...] = ()
    route: str | None = None
    code: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    sender: str | None = None
    source: str | None = None
    path: str | None = None
    digest: str | None = None
    text: str | None = None


@dataclass(frozen=True, kw_only=True)
class SearchedPart:
    """What one piece of a search has found, newest first.

    Attributes:
        last: Id of the oldest transfer that was looked at, and when it was first seen; None: there
            is none further back.
    """

    found: tuple[FoundTransfer, ...]
    last: tuple[str, datetime] | None


class SearchReader(ReadSession):
    """Each call is one short transaction.

    Raises (any method):
        OutageError: `ledger`: locked too long or an I/O error.
        EditedLedger: E_LEDGER_CORRUPT: a row that Backhaul did not write.
    """

    def search_back(
        self, wanted: TransferFilter, *, low: str, before: str, scan: int, most: int
    ) -> SearchedPart:
        """The newest transfers with ids in [low, before), as far as this piece goes.

        Args:
            scan: So many transfers are looked at.
            most: So many are returned; then the piece ends with the last of them.
        """
        span = (transfers.c.id >= low, transfers.c.id < before)
        of_time = (transfers.c.id, transfers.c.first_seen_at)
        newest = transfers.c.id.desc()
        edge = select(*of_time).where(*span).order_by(newest).limit(1)
        with self._transaction("the search") as tx:
            end = tx.execute(edge.offset(scan - 1)).one_or_none()
            lowest = low if end is None else end[0]
            query = (
                select(*FOUND_COLUMNS)
                .where(transfers.c.id >= lowest, transfers.c.id < before, *_conditions(wanted))
                .order_by(newest)
                .limit(most)
            )
            found = tuple(map(found_transfer, tx.execute(query).mappings()))
        if len(found) == most:
            return SearchedPart(found=found, last=(found[-1].id, found[-1].first_seen_at))
        return SearchedPart(found=found, last=None if end is None else (end[0], end[1]))

    def of_message(self, message_id: str, *, most: int) -> list[FoundTransfer]:
        """Transfers of the message whose id begins like this, records of it included."""
        found: list[FoundTransfer] = []
        queue = ""
        with self._transaction("the transfers of a message") as tx:
            for _ in range(QUEUES_MOST):
                next_queue = select(func.min(transfers.c.queue)).where(transfers.c.queue > queue)
                queue = tx.execute(next_queue).scalar() or ""
                if not queue:
                    break
                query = (
                    select(*FOUND_COLUMNS)
                    .where(
                        transfers.c.queue == queue, *begins_with(transfers.c.message_id, message_id)
                    )
                    .order_by(transfers.c.message_id)
                    .limit(most - len(found))
                )
                found += map(found_transfer, tx.execute(query).mappings())
        return found

    def with_id(self, id_prefix: str, *, most: int) -> list[FoundTransfer]:
        """Transfers whose id begins like this, newest first."""
        query = (
            select(*FOUND_COLUMNS)
            .where(*begins_with(transfers.c.id, id_prefix))
            .order_by(transfers.c.id.desc())
            .limit(most)
        )
        with self._transaction(id_prefix) as tx:
            return list(map(found_transfer, tx.execute(query).mappings()))

    def filesystems(self) -> list[str]:
        """`hdfs://host:port` and `file://`: all on which a file was published."""
        found: list[str] = []
        after = ""
        with self._transaction("the published files") as tx:
            for _ in range(FILESYSTEMS_MOST):
                uri = packed.first_behind(tx, after)
                if uri is None:
                    break
                found.append(rows.location(uri).filesystem)
                after = f"{found[-1]}/{LAST_CHARACTER}"
        return found

    def publisher_of(self, uri: str) -> FoundTransfer | None:
        """The transfer that published last at this very path; None: none that the ledger has."""
        with self._transaction("the published file") as tx:
            there = packed.row_at(tx, uri)
            if there is None:
                return None
            query = select(*FOUND_COLUMNS).where(transfers.c.id == there.transfer_id)
            row = tx.execute(query).mappings().one_or_none()
            return None if row is None else found_transfer(row)

    def has_object(
        self,
        transfer_id: str,
        *,
        after: int,
        scan: int,
        key: str | None = None,
        relative: str | None = None,
    ) -> tuple[bool, int | None]:
        """Whether an object behind position `after` has this key or relative path, or begins so.

        Returns:
            The answer so far, and the last position that was looked at; None: there are no more.
        """
        wanted = [objects.c.transfer_id == transfer_id, objects.c.seq > after]
        edge = select(objects.c.seq).where(*wanted).order_by(objects.c.seq).offset(scan - 1)
        column, text = (objects.c.key, key) if key is not None else (objects.c.relative, relative)
        with self._transaction("the objects of a transfer") as tx:
            end = tx.execute(edge.limit(1)).scalar()
            if end is not None:
                wanted.append(objects.c.seq <= end)
            match = func.substr(column, 1, len(text or "")) == text
            is_there = tx.execute(select(exists().where(*wanted, match))).scalar_one()
        return bool(is_there), end

    # ---------------------------------------------------------------- one transfer

    def transfer(self, id_prefix: str) -> TransferRow:
        """Without the sum over its objects: `copied_bytes` is 0 until it has ended.

        Raises:
            PermanentError: E_NO_SUCH_TRANSFER, as in `id_of`.
        """
        copied = func.coalesce(transfers.c.bytes_copied, 0).label("copied_bytes")
        with self._transaction(id_prefix) as tx:
            return transfer_row(find(tx, id_prefix, copied))

    def journal_of(self, transfer_id: str, *, most: int) -> list[JournalRow]:
        """Its newest changes of state, oldest first."""
        query = (
            select(journal)
            .where(journal.c.transfer_id == transfer_id)
            .order_by(journal.c.number.desc())
            .limit(most)
        )
        with self._transaction("the journal") as tx:
            return list(map(journal_row, tx.execute(query).mappings()))[::-1]

    def jobs_of(self, transfer_id: str, *, most: int) -> list[JobRow]:
        """Its newest submissions to YARN, oldest first."""
        query = (
            select(jobs)
            .where(jobs.c.transfer_id == transfer_id)
            .order_by(jobs.c.epoch.desc())
            .limit(most)
        )
        with self._transaction("the jobs") as tx:
            return list(map(job_row, tx.execute(query).mappings()))[::-1]

    def proofs_of(
        self, transfer_id: str, *, after: int, scan: int
    ) -> tuple[tuple[ProofTotals, ...], int | None]:
        """Objects behind the position `after`, by proof.

        Returns:
            The sums of this piece, and its last position; None: there are no more objects.
        """
        with self._transaction("the proofs") as tx:
            return proof_totals(tx, transfer_id, after=after, scan=scan)

    def first_objects(self, transfer_id: str, *, most: int) -> Sequence[EvidenceRow]:
        """Of its plan."""
        with self._transaction(transfer_id) as tx:
            return objects_of(tx, find(tx, transfer_id), after=-1, most=most)

    def actions_on(self, transfer_id: str, *, scan: int) -> list[tuple[datetime, str, str, str]]:
        """What operators did with it: when, who, what, and how it ended; newest first.

        Args:
            scan: So many of the newest actions are looked at.
        """
        newest = (
            select(operator_actions).order_by(operator_actions.c.number.desc()).limit(scan)
        ).subquery()
        query = select(newest.c.at, newest.c.operator, newest.c.action, newest.c.outcome).where(
            newest.c.subject.icontains(transfer_id, autoescape=True)
        )
        with self._transaction("the operators' actions") as tx:
            return [(at, who, what, how) for at, who, what, how in tx.execute(query)]


def found_transfer(row: RowMapping) -> FoundTransfer:
    """From a row of `FOUND_COLUMNS`, checked."""
    rows.checked(row, FOUND_COLUMNS)
    values = {field.name: row[field.name] for field in fields(FoundTransfer)}
    return FoundTransfer(**{**values, "state": TransferState(row["state"])})


def _conditions(wanted: TransferFilter) -> list[ColumnElement[bool]]:
    of = transfers.c
    found: list[ColumnElement[bool]] = []
    if wanted.states:
        found.append(of.state.in_([state.value for state in wanted.states]))
    if wanted.route is not None:
        found.append(of.route == wanted.route)
    if wanted.code is not None:
        found.append(of.code == wanted.code)
    if wanted.since is not None:
        found.append(of.first_seen_at >= wanted.since)
    if wanted.until is not None:
        found.append(of.first_seen_at < wanted.until)
    if wanted.sender is not None:
        found.append(of.sender.icontains(wanted.sender, autoescape=True))
    if wanted.source is not None:
        found.append(_on_one_line(_SOURCE, wanted.source))
    if wanted.path is not None:
        found.append(_on_one_path(wanted.path))
    if wanted.digest is not None:
        found.append(_with_digest(wanted.digest))
    if wanted.text is not None:
        ends = (of.source, of.destination)
        within = (one.icontains(wanted.text, autoescape=True) for one in ends)
        found.append(or_(*within))
    return found


def _on_one_line(column: ColumnElement[Any], text: str) -> ColumnElement[bool]:
    """One of the two begins with the other, byte for byte."""
    return or_(
        func.substr(literal(text), 1, func.length(column)) == column,
        func.substr(column, 1, len(text)) == text,
    )


def _on_one_path(path: str) -> ColumnElement[bool]:
    """The destination is this path, above it or below it, on any file system; or it seems so."""
    names = path.strip("/").split("/")
    above = ["/" + "/".join(names[:count]) for count in range(len(names), 0, -1)]
    destination = func.coalesce(transfers.c.canonical, transfers.c.destination)
    return or_(
        *(destination.endswith(one, autoescape=True) for one in above[:ANCESTORS_MOST]),
        *(destination.endswith(f"{one}/", autoescape=True) for one in above[:ANCESTORS_MOST]),
        destination.icontains(f"{above[0]}/", autoescape=True),
    )


def _with_digest(digest: str) -> ColumnElement[bool]:
    of_seal = exists().where(
        and_(seals.c.transfer_id == transfers.c.id, *begins_with(seals.c.seal, digest))
    )
    of_body, of_policy = (
        and_(*begins_with(column, digest))
        for column in (transfers.c.body_digest, transfers.c.policy)
    )
    return or_(of_body, of_policy, of_seal)


LOWEST_ID, HIGHEST_ID = "", LAST_CHARACTER
