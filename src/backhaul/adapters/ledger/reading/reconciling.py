"""The ledger as `reconcile` reads it: what was published, in order; what is open or died.

Every query is bounded in rows and reads an index, so that none holds up a commit for long.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cached_property
from typing import Any

from sqlalchemy import and_, bindparam, case, func, select, tuple_

from backhaul.adapters.ledger import rows
from backhaul.adapters.ledger.attempts import ADOPT_QUEUE
from backhaul.adapters.ledger.paths import packed
from backhaul.adapters.ledger.paths.block import PublishedRow
from backhaul.adapters.ledger.reconciling.results import (
    SENT_KEPT,
    UNKNOWN_KEPT,
    SentObject,
)
from backhaul.adapters.ledger.reconciling.tables import reconcile_sent, reconciliations
from backhaul.adapters.ledger.schema import WrongValue, transfers
from backhaul.adapters.ledger.session import ReadSession
from backhaul.core.model import Location, TransferState
from backhaul.core.ports import Published
from backhaul.core.reconciliation.values import ProvenFile, ReconcileResult

PROVEN_AT_ONCE = 2000  # rows; some 10 ms
MARK_EVERY = 20_000  # published files; some 20 ms
TRANSFERS_AT_ONCE = 5000
SENT_AT_ONCE = 2000
_SENT = tuple(one.name for one in fields(SentObject))
COVERS_MOST = 200_000  # of each kind, some 100 MB at the worst
_ROUTES_KEPT = 20_000
_ENDED_WELL = (TransferState.DONE.value, TransferState.SUPERSEDED.value)
_ROUTES = select(transfers.c.id, transfers.c.route).where(
    transfers.c.id.in_(bindparam("of_ids", expanding=True))
)
# Of one object: the prefix that it is in.
_PREFIX = case(
    (transfers.c.canonical == transfers.c.directory, transfers.c.source),
    else_=func.rtrim(transfers.c.source, func.replace(transfers.c.source, "/", "")),
)
_COVER = (
    *("id", "source", "destination", "canonical", "directory", "state", "code"),
    *("first_seen_at", "finished_at"),
)
_COVER_COLUMNS = tuple(transfers.c[name] for name in _COVER)
_OF_ROUTE = (transfers.c.route, transfers.c.queue)


@dataclass(frozen=True, kw_only=True)
class UnfinishedTransfer:
    """A transfer that is open, or died; fields as in `TransferRow`."""

    id: str
    source: str
    destination: str
    canonical: str | None
    directory: str | None
    state: TransferState
    code: str | None
    first_seen_at: datetime
    finished_at: datetime | None


class ReconciledReader(ReadSession):
    """What was found last; each call is one short transaction."""

    def last_reconciled(self) -> list[ReconcileResult]:
        """The last complete reconciliation of each route."""
        query = select(reconciliations).order_by(reconciliations.c.route)
        with self._transaction("reconciliations") as tx:
            return [_result(row) for row in tx.execute(query).mappings()]


class ReconcileReader(ReconciledReader):
    """What was published and what was not."""

    @cached_property
    def _routes(self) -> dict[str, str | None]:
        """Of transfers that were looked up."""
        return {}

    def proven_between(
        self, filesystem: str, after: str, until: str, *, most: int = PROVEN_AT_ONCE
    ) -> list[ProvenFile]:
        """Published files with a path behind `after` and before `until`, in order."""
        with self._transaction("what was published") as tx:
            rows = packed.rows_between(tx, filesystem + after, filesystem + until, most)
            found = list(map(_plain, rows))
        return self._proven(found, filesystem)

    def proven_marks(self, filesystem: str, after: str, until: str) -> Iterator[str]:
        """About every `MARK_EVERY`th path in between, in order: ranges of about the same size."""
        while True:
            with self._transaction("what was published") as tx:
                found = packed.mark(tx, filesystem + after, filesystem + until, MARK_EVERY)
            if found is None:
                return
            after = found[len(filesystem) :]
            yield after

    def proven_at(self, filesystem: str, paths: Sequence[str]) -> dict[str, ProvenFile]:
        """What was published at these paths."""
        found: dict[str, ProvenFile] = {}
        for start in range(0, len(paths), rows.LOOKUP_BATCH):
            uris = [filesystem + one for one in paths[start : start + rows.LOOKUP_BATCH]]
            with self._transaction("what was published") as tx:
                every = list(map(_plain, packed.rows_at(tx, uris)))
            found.update((one.path, one) for one in self._proven(every, filesystem))
        return found

    def contents_at(self, locations: Sequence[Location]) -> dict[Location, Published]:
        """What was published at these paths, with the checksums of its proof."""
        found: dict[Location, Published] = {}
        for uris in rows.uri_batches(locations):
            with self._transaction("what was published") as tx:
                for row in packed.rows_at(tx, uris):
                    one = rows.published_file(row)
                    found[one.location] = one
        return found

    def _proven(self, found: Sequence[PublishedRow], filesystem: str) -> list[ProvenFile]:
        routes = self._routes_of({one.transfer_id for one in found})
        start = len(filesystem)
        return [
            ProvenFile(
                one.uri[start:],
                one.bucket,
                one.key,
                one.size_bytes,
                one.etag,
                one.last_modified,
                one.version_id,
                one.modified_ms,
                one.transfer_id,
                routes[one.transfer_id],
            )
            for one in found
        ]

    def _routes_of(self, ids: set[str]) -> dict[str, str | None]:
        known = self._routes
        if len(known) > _ROUTES_KEPT:
            known.clear()
        unknown = [one for one in ids if one not in known]
        for start in range(0, len(unknown), rows.LOOKUP_BATCH):
            with self._transaction("routes") as tx:
                wanted = {"of_ids": unknown[start : start + rows.LOOKUP_BATCH]}
                known.update((one, route) for one, route in tx.execute(_ROUTES, wanted))
        return {one: known.get(one) for one in ids}

    def brought_by(self, route: str) -> Iterator[tuple[str, str]]:
        """Each prefix that transfers of the route brought, as requested, with the directory's URI.

        Only of transfers that ended well. Some come more than once.
        """
        after = ""
        edge = select(transfers.c.id).order_by(transfers.c.id).offset(TRANSFERS_AT_ONCE - 1)
        while True:
            with self._transaction("transfers") as tx:
                end = tx.execute(edge.where(transfers.c.id > after).limit(1)).scalar()
                wanted = [
                    transfers.c.id > after,
                    transfers.c.route == route,
                    transfers.c.directory.is_not(None),
                    transfers.c.state.in_(_ENDED_WELL),
                ]
                if end is not None:
                    wanted.append(transfers.c.id <= end)
                query = select(_PREFIX, transfers.c.directory).where(*wanted).distinct()
                found = tx.execute(query).all()
            yield from found
            if end is None:
                return
            after = end

    def open_of(self, route: str) -> list[UnfinishedTransfer]:
        """Transfers of the route that are to bring something and have not ended.

        At most `COVERS_MOST`.
        """
        found: list[UnfinishedTransfer] = []
        key = tuple_(transfers.c.first_seen_at, transfers.c.id)
        query = (
            select(*_COVER_COLUMNS)
            .where(transfers.c.finished_at.is_(None))
            .order_by(transfers.c.first_seen_at, transfers.c.id)
            .limit(TRANSFERS_AT_ONCE)
        )
        following = query
        while len(found) < COVERS_MOST:
            with self._transaction("open transfers") as tx:
                page = tx.execute(following.add_columns(*_OF_ROUTE)).mappings().all()
            found += [_unfinished(one) for one in page if _is_to_bring(one, route)]
            if len(page) < TRANSFERS_AT_ONCE:
                break
            last = page[-1]
            following = query.where(key > (last["first_seen_at"], last["id"]))
        return found

    def dead_of(self, route: str, since: datetime | None = None) -> list[UnfinishedTransfer]:
        """Transfers of the route that died, the newest first; at most `COVERS_MOST`.

        Args:
            since: Only those that died at or after it.
        """
        found: list[UnfinishedTransfer] = []
        key = tuple_(transfers.c.finished_at, transfers.c.id)
        query = (
            select(*_COVER_COLUMNS)
            .where(transfers.c.state == TransferState.DEAD.value)
            .order_by(transfers.c.finished_at.desc(), transfers.c.id.desc())
            .limit(TRANSFERS_AT_ONCE)
        )
        if since is not None:
            query = query.where(transfers.c.finished_at >= since)
        following = query
        while len(found) < COVERS_MOST:
            with self._transaction("dead transfers") as tx:
                page = tx.execute(following.add_columns(*_OF_ROUTE)).mappings().all()
            found += [_unfinished(one) for one in page if _is_to_bring(one, route)]
            if len(page) < TRANSFERS_AT_ONCE:
                break
            last = page[-1]
            following = query.where(key < (last["finished_at"], last["id"]))
        return found

    def sent_of(self, route: str, now: datetime) -> list[SentObject]:
        """Messages that were left for objects of the route, and whose transfers have not ended.

        Those that the agent has not received are among them; at most `COVERS_MOST`.
        """
        query = (
            select(*reconcile_sent.c, transfers.c.state)
            .outerjoin_from(
                reconcile_sent,
                transfers,
                and_(
                    transfers.c.queue == reconcile_sent.c.queue,
                    transfers.c.message_id == reconcile_sent.c.message_id,
                ),
            )
            .where(reconcile_sent.c.route == route, reconcile_sent.c.uri > bindparam("of_after"))
            .order_by(reconcile_sent.c.uri)
            .limit(SENT_AT_ONCE)
        )
        found: list[SentObject] = []
        after = ""
        while len(found) < COVERS_MOST:
            with self._transaction("what was sent") as tx:
                page = tx.execute(query, {"of_after": after}).mappings().all()
                for row in page:
                    rows.checked(row, reconcile_sent.c)
                    one = SentObject(**{name: row[name] for name in _SENT})
                    if _is_pending(one, row["state"], now):
                        found.append(one)
            if len(page) < SENT_AT_ONCE:
                break
            after = page[-1]["uri"]
        return found


def _is_pending(one: SentObject, state: str | None, now: datetime) -> bool:
    if state is not None:
        return not TransferState(state).is_final
    kept = UNKNOWN_KEPT if one.message_id is None else SENT_KEPT
    return one.sent_at > now - kept


def _result(row: Any) -> ReconcileResult:
    rows.checked(row, reconciliations.c)
    totals = {
        str(name): (int(objects), int(size_bytes))
        for name, (objects, size_bytes) in json.loads(row["totals"]).items()
    }
    return ReconcileResult(
        route=row["route"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        totals=totals,
    )


def _plain(row: PublishedRow) -> PublishedRow:
    """The row, if its values are what Backhaul writes.

    Raises:
        WrongValue: One of them is not.
    """
    if not row.is_well_formed:
        raise WrongValue(f"{row!r} is no published file")
    return row


def _is_to_bring(row: Any, route: str) -> bool:
    """One of the route; what adopts is to bring nothing, so it explains nothing that is missing.

    Not a condition of the query: there may be many others before the next one of the route.
    """
    is_its: bool = row["route"] == route
    return is_its and row["queue"] != ADOPT_QUEUE


def _unfinished(row: Any) -> UnfinishedTransfer:
    rows.checked(row, _COVER_COLUMNS)
    values = {name: row[name] for name in _COVER}
    return UnfinishedTransfer(**{**values, "state": TransferState(row["state"])})
