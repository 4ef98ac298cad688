"""Claims: which transfer owns which destination, and its end by intent and finish.

A claim is one transaction, and no two processes make one at once: SELECT `_IN_THE_WAY`, which
`_look` judges, then `_take`'s INSERT … ON CONFLICT (uri) DO UPDATE (`schema.put`), without a
condition. PostgreSQL makes the plain ones in one statement (`postgres/direct_claim.py`), with a
condition for all that is considered here: what a claim considers or writes changes there, too.
`_IF_STILL_OWNER` is for `intend` and `finish` only. A constraint of PostgreSQL, by which `_look`
judges, too, is the second defence: what it refuses is a destination that is not free.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, select, union_all, update

from backhaul.adapters.ledger import jobs, publications, replays, rows, staging, transfers
from backhaul.adapters.ledger.daily.adding import add_of_transfer
from backhaul.adapters.ledger.dialects.commits import prefetch, take_turn
from backhaul.adapters.ledger.dialects.database import DirectClaim, LedgerTurn
from backhaul.adapters.ledger.outbox import writing
from backhaul.adapters.ledger.plans import append, drop_plan, epoch_query, proof_queries, prove
from backhaul.adapters.ledger.schema import destinations, put
from backhaul.adapters.ledger.schema import transfers as transfers_table
from backhaul.adapters.ledger.session import WriteSession
from backhaul.adapters.ledger.statements import Query, at_once
from backhaul.core.cost.egress import EgressCount
from backhaul.core.errors import DestinationBusy, OutageError
from backhaul.core.model import Assignment, Location, TransferState
from backhaul.core.objects import ManifestSum, PlannedObject, StagedObject
from backhaul.core.ports import Claimed
from backhaul.core.ports.ledger_records import BEHIND, OwnWrites, behind
from backhaul.core.transfer.placing import staging_root

_NO_OWNER: dict[str, Any] = {"owner_transfer": None, "owner": None}
# A finished claim. The staging root may be another one next time.
_FINISHED = {**_NO_OWNER, "staging_root": None, "intent_transfer": None, "intent_at": None}
# All owned destinations, as many as transfers in flight, and the wanted one. Not by OR: for that,
# SQLite would read through every destination that there ever was.
_IN_THE_WAY = union_all(
    select(destinations).where(destinations.c.uri == bindparam("of_uri")),
    select(destinations).where(
        destinations.c.owner_transfer.is_not(None), destinations.c.uri != bindparam("of_uri")
    ),
)
_OF_ROUTE = (
    select(transfers_table.c.id, destinations.c.owner)
    .join(transfers_table, transfers_table.c.id == destinations.c.owner_transfer)
    .where(
        transfers_table.c.route == bindparam("of_route"),
        transfers_table.c.id != bindparam("of_transfer"),
    )
)
_OF_TRANSFER = destinations.c.owner_transfer == bindparam("of_transfer")
_RELEASE = update(destinations).where(_OF_TRANSFER).values(_NO_OWNER)
_RELEASE_DEAD = (
    update(destinations).where(destinations.c.uri == bindparam("of_uri")).values(_NO_OWNER)
)
_IF_STILL_OWNER = at_once(
    update(destinations).where(_OF_TRANSFER, destinations.c.epoch == bindparam("of_epoch"))
)


class _NotOwned(Exception):
    """What was sent with the comparison has to be undone."""


@dataclass(frozen=True, kw_only=True)
class _End:
    """What `finish` was called with, and what that builds on."""

    epoch: int
    state: TransferState
    publish_mode: str
    now: datetime
    manifest: ManifestSum | None
    marker: Location | None
    is_intended: bool
    written: OwnWrites


class SqlDestinations(WriteSession):
    """`DestinationLedger`."""

    def claim(  # noqa: PLR0913 - the port's
        self,
        transfer_id: str,
        assignment: Assignment,
        destination: Location,
        staging_anchor: Location,
        *,
        directory: Location,
        first: Sequence[PlannedObject] = (),
        is_complete: bool = False,
        markers: int = 0,
        min_epoch: int,
        now: datetime,
    ) -> Claimed | None:
        self._database.require_keys(destination, ())
        self._database.require_keys(directory, first)
        root = staging_root(staging_anchor, destination)
        wanted = DirectClaim(
            transfer_id=transfer_id,
            owner=self.owner.text,
            destination=destination,
            directory=directory,
            staging_root=root,
            route=assignment.route,
            most_of_route=assignment.limits.in_flight,
            first=first,
            is_complete=is_complete,
            markers=markers,
            event=replays.event_values(assignment),
            min_epoch=min_epoch,
            begun_at=self._written(transfer_id).begun_at,
            now=now,
        )
        if (epoch := self._claim_directly(wanted)) is not None:
            return Claimed(epoch=epoch, staging_root=root)
        queries = [
            transfers.by_id_query(transfer_id),
            _in_the_way_query(destination),
            *self._of_route_queries(transfer_id, assignment),
            jobs.OPEN_QUERY,
            staging.around_query(destination),
            publications.rivals_query(transfer_id),
        ]
        with suppress(DestinationBusy), self._beside(*queries, turn=LedgerTurn.CLAIM) as tx:
            transfer = self._mine(tx, transfer_id, is_to_claim=True)
            is_taken, row, dead = self._look(tx, transfer_id, destination)
            if is_taken or self._is_full(tx, transfer_id, assignment):
                return None
            open_jobs = jobs.open_jobs_at(tx, transfer_id, destination)
            self._database.require_newest(tx, min_epoch, root)
            is_filled = any(job.transfer_id == transfer_id for job in open_jobs)
            if is_filled and row is not None and row["staging_root"]:
                root = rows.location(row["staging_root"])
            claimed = Claimed(
                epoch=max(
                    min_epoch, self._database.least_epoch(tx), 1 + (row["epoch"] if row else 0)
                ),
                staging_root=root,
                stale=staging.stale_roots(tx, destination, root),
                has_rivals=publications.has_rivals(tx, transfer_id, destination),
                jobs=open_jobs,
            )
            if dead:
                tx.execute(_RELEASE_DEAD, [{"of_uri": uri} for uri in dead])
            self._take(tx, transfer_id, destination, claimed)
            staging.remember(
                tx, transfer_id, destination.uri, root, claimed.epoch, assignment.route, now
            )
            values: dict[str, Any] = {
                "epoch": claimed.epoch,
                "canonical": destination.uri,
                "directory": directory.uri,
                "route": assignment.route,
                **wanted.event,
                "started_at": transfer["started_at"] or now,
                "updated_at": now,
            }
            if first and not transfer["plan_complete"]:
                if transfer["objects_planned"]:
                    drop_plan(tx, transfer_id)
                page = append(tx, transfer_id, 0, first)
                values |= {**page, "plan_complete": is_complete, "markers": markers}
            transfers.move(tx, transfer_id, TransferState.STAGING, values)
            writing.start(tx, transfer, claimed.epoch, now, route=assignment.route)
            # Where the commit fails, the attempt ends, and with it what it builds on.
            replaced = {"objects": 0} if "objects_planned" in values else {}
            self._wrote(transfer_id, epoch=claimed.epoch, proven=None, **replaced)
            return claimed
        return None

    def _claim_directly(self, wanted: DirectClaim) -> int | None:
        """The claim's epoch; None: something has to be considered."""
        if not self._written(wanted.transfer_id).is_at_beginning:
            return None  # of a second claim in one attempt, what was written before is compared
        if [one.seq for one in wanted.first] != list(range(len(wanted.first))):
            return None  # it will be refused
        with self._database.mapped():
            claim = self._database.prepare_claim(wanted)
            if claim is None:
                return None
            epoch = self._commits.by_itself(
                lambda connection: self._database.claim_directly(connection, claim)
            )
        if epoch is not None:
            self._wrote(wanted.transfer_id, epoch=epoch)
        return epoch

    def is_full(self, transfer_id: str, assignment: Assignment) -> bool:
        queries = self._of_route_queries(transfer_id, assignment)
        if not queries:
            return False
        with self._beside(*queries) as tx:
            return self._is_full(tx, transfer_id, assignment)

    def _look(
        self, tx: Connection, transfer_id: str, destination: Location
    ) -> tuple[bool, RowMapping | None, list[str]]:
        """Whether a live transfer is in the way, the destination's own row, dead owners' URIs.

        In the way is what this database does not let be owned beside the destination.
        """
        own: RowMapping | None = None
        dead: list[str] = []
        for row in tx.execute(*_in_the_way_query(destination)).mappings():
            rows.checked(row, destinations.c)
            if row["uri"] == destination.uri:
                own = row
            if row["owner_transfer"] in {None, transfer_id} or not self._database.excludes(
                rows.location(row["uri"]), destination
            ):
                continue
            if self._is_live(row["owner_transfer"], row["owner"]):
                return True, own, []
            dead.append(row["uri"])
        return False, own, dead

    def _is_full(self, tx: Connection, transfer_id: str, assignment: Assignment) -> bool:
        """Whether the route's limit is reached by all agents on this ledger together.

        Exact, as no two processes claim at once. One agent alone counts earlier, in
        `core.requests.admission`.
        """
        most = assignment.limits.in_flight
        queries = self._of_route_queries(transfer_id, assignment)
        if most is None or not queries:
            return False
        owners = [one for query in queries for one in tx.execute(*query).all()]
        return sum(self._is_live(one.id, one.owner) for one in owners) >= most

    def _of_route_queries(self, transfer_id: str, assignment: Assignment) -> list[Query]:
        """Who of a route with a limit is in flight; nothing where this ledger does not count it."""
        if assignment.limits.in_flight is None or not self.standing.is_shared:
            return []
        return [Query(_OF_ROUTE, {"of_route": assignment.route, "of_transfer": transfer_id})]

    def _take(
        self, tx: Connection, transfer_id: str, destination: Location, claimed: Claimed
    ) -> None:
        """Make the transfer the owner of this destination and of no other.

        The upsert has no condition: `_look` found the way free in this same transaction, and no
        other one claims until it ends.
        """
        # A crashed attempt under other settings may have left a claim elsewhere.
        release(tx, transfer_id)
        values = {
            "uri": destination.uri,
            "epoch": claimed.epoch,
            "staging_root": claimed.staging_root.uri,
            "owner_transfer": transfer_id,
            "owner": self.owner.text,
        }
        put(tx, destinations, values)

    def intend(
        self,
        transfer_id: str,
        epoch: int,
        staged: Sequence[StagedObject],
        now: datetime,
        read: EgressCount | None = None,
    ) -> bool:
        intent = {"intent_transfer": transfer_id, "intent_at": now}
        is_counted = read is not None and read.total.size_bytes > 0
        proofs = proof_queries(transfer_id, epoch, staged)
        queries = [
            _comparing_query(transfer_id, epoch, intent),
            *self._written_queries(transfer_id),
            *(proofs if len(proofs) == 1 else ()),
            *([transfers.by_id_query(transfer_id)] if is_counted else ()),
        ]
        turn = LedgerTurn.SUM if is_counted else None
        with suppress(_NotOwned), self._beside(*queries, turn=turn) as tx:
            if not _compare_and_set(tx, transfer_id, epoch, intent):
                raise _NotOwned
            _require_written(tx, transfer_id, epoch, self._written(transfer_id))
            prove(tx, transfer_id, epoch, staged)
            if is_counted:
                add_of_transfer(tx, transfers.by_id(tx, transfer_id), read)
            values = {"renames_possible": True, "code": None, "reason": None, "updated_at": now}
            values |= transfers.NOT_HELD
            transfers.move(tx, transfer_id, TransferState.PUBLISHING, values)
            return True
        return False

    def _written_queries(self, transfer_id: str) -> list[Query]:
        """Those of `_require_written`; none where everything came with the claim."""
        written = self._written(transfer_id)
        queries = [transfers.by_id_query(transfer_id)] if written.objects else []
        if written.proven is not None:
            queries.append(epoch_query(transfer_id, written.proven))
        return queries

    def finish(
        self,
        transfer_id: str,
        epoch: int,
        state: TransferState,
        publish_mode: str,
        now: datetime,
        *,
        manifest: ManifestSum | None = None,
        marker: Location | None = None,
        is_intended: bool = True,
    ) -> bool:
        wanted = _End(
            epoch=epoch,
            state=state,
            publish_mode=publish_mode,
            now=now,
            manifest=manifest,
            marker=marker,
            is_intended=is_intended,
            written=self._written(transfer_id),
        )
        queries = [
            transfers.by_id_query(transfer_id),
            _comparing_query(transfer_id, epoch, _FINISHED),
        ]
        with suppress(_NotOwned):
            with self._beside(*queries) as tx:
                is_new = self._finish(tx, transfer_id, wanted)
            if is_new:
                self._forget(transfer_id)
                self._has_ended(transfer_id, partial(self._finish_again, transfer_id, wanted))
            return True
        return False

    def _finish_again(self, transfer_id: str, wanted: _End) -> bool:
        """What `_has_ended` wants."""
        try:
            with self._beside() as tx:
                if transfer_id not in self._working:  # it may have come back meanwhile
                    self._finish(tx, transfer_id, wanted)
        except _NotOwned:
            return False
        except OutageError as error:
            if error.code == BEHIND:
                return False
            raise
        return True

    def _finish(self, tx: Connection, transfer_id: str, wanted: _End) -> bool:
        """False: that was recorded before.

        Raises:
            _NotOwned
            OutageError: `ledger`: a failover has lost what it builds on.
        """
        transfer = self._begun(tx, transfer_id)
        if not _compare_and_set(tx, transfer_id, wanted.epoch, _FINISHED):
            if (transfer["state"], transfer["epoch"]) == (wanted.state.value, wanted.epoch):
                return False
            raise _NotOwned
        # A failover may have kept the claim and lost the intent, and the proofs with it.
        if wanted.is_intended and transfer["state"] != TransferState.PUBLISHING.value:
            raise _NotOwned
        # What is adopted has proofs and no intent; what is superseded needs neither.
        if not wanted.is_intended and wanted.state is TransferState.DONE:
            _require_written(tx, transfer_id, wanted.epoch, wanted.written)
        take_turn(tx, LedgerTurn.SUM)
        prefetch(tx, publications.LAST_SEAL, publications.publishing_query(transfer))
        manifest, now = wanted.manifest, wanted.now
        previous = publications.last_seal(tx) if manifest is not None else ""
        publications.publish(tx, transfer, wanted.epoch)
        if wanted.marker is not None:
            publications.note_marker(tx, transfer_id, wanted.marker, now)
        jobs.close_all(tx, transfer_id, now)
        if wanted.state is TransferState.DONE:
            replays.remember_event(tx, transfer)
            transfers.settle_others(tx, transfer, now)
        values = {
            "publish_mode": wanted.publish_mode,
            "completion_marker": None if wanted.marker is None else wanted.marker.uri,
            "renames_possible": False,
            "bytes_copied": manifest.copied_bytes if manifest is not None else None,
        }
        digest = manifest.manifest if manifest is not None else None
        ended = {**transfer, "epoch": wanted.epoch}
        writing.end(tx, ended, wanted.state, now, values, digest=digest)
        if manifest is not None:
            publications.seal(
                tx, transfer, wanted.state, wanted.publish_mode, manifest, now, previous=previous
            )
        return True


def _require_written(tx: Connection, transfer_id: str, epoch: int, written: OwnWrites) -> None:
    """Nothing is published or adopted whose plan or proofs a failover has lost in part.

    What came with the claim is there, as its epoch is.

    Raises:
        OutageError: `ledger`: E_LEDGER_BEHIND.
    """
    if written.objects:
        row = transfers.by_id(tx, transfer_id)
        written.require_pages(transfer_id, row["objects_planned"])
    if written.proven is not None:
        query = epoch_query(transfer_id, written.proven)
        if tx.execute(*query).scalar() != epoch:
            raise behind(f"{transfer_id}: its last proofs")


def release(tx: Connection, transfer_id: str) -> None:
    """End the transfer's claim; epoch and staging root stay for the next one."""
    tx.execute(_RELEASE, {"of_transfer": transfer_id})


def _in_the_way_query(destination: Location) -> Query:
    return Query(_IN_THE_WAY, {"of_uri": destination.uri})


def _comparing_query(transfer_id: str, epoch: int, values: Mapping[str, Any]) -> Query:
    """The query of `_compare_and_set`."""
    owned = {"of_transfer": transfer_id, "of_epoch": epoch}
    return Query(_IF_STILL_OWNER, {**owned, **values})


def _compare_and_set(
    tx: Connection, transfer_id: str, epoch: int, values: Mapping[str, Any]
) -> bool:
    """Change the destination that the transfer owns with this epoch; False when it owns none."""
    return tx.execute(*_comparing_query(transfer_id, epoch, values)).rowcount == 1
