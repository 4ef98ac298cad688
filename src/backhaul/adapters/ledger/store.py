"""The ledger as the agent writes it: `core.ports.Ledger` on one connection.

Every method is one transaction that holds the write lock from its start. What a method decides
it decides inside that transaction, so a second process sees all of it or nothing. Transactions of
several threads may share a commit (`commits`); each method returns only after its own.

Who works on a transfer is known twice: the row names the owner process, for other processes and
for the next start; the set `_working` names the transfers of this process, so that an attempt
whose `fail` could not be recorded (disk full) is not taken for a running one for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import (
    Connection,
    Engine,
    RowMapping,
    Select,
    insert,
    or_,
    select,
)

from backhaul.adapters.ledger import events, rows, steps
from backhaul.adapters.ledger import jobs as job_steps
from backhaul.adapters.ledger.commits import SharedCommits
from backhaul.adapters.ledger.faults import mapped
from backhaul.adapters.ledger.owner import Owner
from backhaul.adapters.ledger.schema import (
    destinations,
    litter,
    meta,
    objects,
    transfers,
)
from backhaul.core.errors import LedgerLocked, PermanentError
from backhaul.core.model import Assignment, Hold, Location, TransferState
from backhaul.core.objects import ManifestSum, PlannedObject, StagedObject, Totals
from backhaul.core.ports import (
    AbandonedStaging,
    AttemptStart,
    Claimed,
    ClusterJob,
    Holder,
    MessageKey,
    Published,
)
from backhaul.core.ports.cluster import Application, JobProgress

Found = TypeVar("Found")

LOOKUP_BATCH = 500  # paths per query; SQLite before 3.32 allows 999 parameters
_MICROSECOND = timedelta(microseconds=1)
COPY_QUEUE = "copy"  # stands for the queue of a transfer that no message asked for


class SqlLedger:
    """`core.ports.Ledger` on SQLite; made by `files.open_ledger`.

    Attributes:
        ledger_id: 16 hex digits drawn when the file was made.
        owner: This process, as other processes see it.
    """

    def __init__(self, engine: Engine, path: Path, owner: Owner) -> None:
        self.owner = owner
        self._path = path
        self._engine = engine
        self._working: set[str] = set()  # changes inside transactions, together with the row
        self._commits = SharedCommits(engine.connect())
        with self._transaction() as tx:
            found = tx.execute(select(meta.c.value).where(meta.c.name == "ledger_id")).scalar_one()
            self.ledger_id = rows.text(found) or ""

    def close(self) -> None:
        """Let go of the file; safe to repeat."""
        self._commits.close()
        self._engine.dispose()

    # ------------------------------------------------------------ a delivery

    def begin(
        self, key: MessageKey | None, new_id: str, source: str, destination: str, now: datetime
    ) -> AttemptStart:
        """Find or make the transfer of this message and count an attempt before any work."""
        with self._transaction() as tx:
            row = None if key is None else steps.by_message(tx, key)
            was_changed = key is not None and row is not None and is_other_body(row, key)
            if key is not None and was_changed:
                key = key.changed
                row = steps.by_message(tx, key)
            if row is not None:
                is_live = self._is_live(row["id"], row["owner"])
                if is_live or TransferState(row["state"]).is_final:
                    return replace(rows.begun(row, is_live=is_live), was_changed=was_changed)
                begun = self._again(tx, row, now)
            else:
                begun = self._make(tx, key, new_id, source, destination, now)
            begun = replace(begun, was_changed=was_changed)
            self._working.add(begun.transfer_id)
            self._commits.if_lost(lambda: self._working.discard(begun.transfer_id))
        return begun

    def _make(
        self,
        tx: Connection,
        key: MessageKey | None,
        new_id: str,
        source: str,
        destination: str,
        now: datetime,
    ) -> AttemptStart:
        values = {
            "id": new_id,
            "queue": key and key.queue,
            "message_id": key and key.text,
            "body_digest": key and key.body_digest,
            "source": rows.readable(source),
            "destination": rows.readable(destination),
            "state": TransferState.RECEIVED.value,
            "attempt": 1,
            "owner": self.owner.text,
            "first_seen_at": now,
            "updated_at": now,
        }
        tx.execute(insert(transfers), values)
        tx.execute(steps.NOTE, {"of_transfer": new_id})
        return AttemptStart(
            transfer_id=new_id,
            state=TransferState.RECEIVED,
            attempt=1,
            is_live=False,
            has_plan=False,
            was_publishing=False,
            first_seen_at=now,
        )

    def _again(self, tx: Connection, row: RowMapping, now: datetime) -> AttemptStart:
        values: dict[str, Any] = {
            "attempt": row["attempt"] + 1,
            "state": TransferState.RECEIVED.value,
            "owner": self.owner.text,
            "code": None,
            "reason": None,
            "retry_at": None,
            "updated_at": now,
        }
        steps.move(tx, row["id"], values)
        last_error = {"code": row["code"], "reason": row["reason"]}
        return rows.begun({**row, **values, **last_error}, is_live=False)

    # ------------------------------------------------------------ the claim

    def claim(  # noqa: PLR0913 - the port's; the first page rides along to save a commit
        self,
        transfer_id: str,
        job: Assignment,
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
        """Take the destination, or None while a live transfer owns it, one above or one below.

        Claiming again within an attempt raises the epoch once more.

        Args:
            first: First page of a new plan; it replaces an incomplete one, and a complete one
                stays. `is_complete` and `markers` as in `freeze`; without `first` they are unused.
        """
        with self._transaction() as tx:
            transfer = self._mine(tx, transfer_id)
            is_taken, row, dead = self._look(tx, transfer_id, destination)
            if is_taken:
                return None
            jobs = job_steps.at(tx, transfer_id, destination)
            is_filled = any(job.transfer_id == transfer_id for job in jobs)
            root = steps.staging_root(row, destination, staging_anchor, is_filled=is_filled)
            claimed = Claimed(
                epoch=max(min_epoch, 1 + (row["epoch"] if row else 0)),
                staging_root=root,
                stale=steps.stale(tx, destination, root),
                has_rivals=bool(steps.rivals(tx, transfer_id, destination)),
                jobs=jobs,
            )
            if dead:
                tx.execute(steps.FREE_OWNER, [{"of_uri": uri} for uri in dead])
            steps.take(tx, transfer_id, self.owner.text, destination, claimed)
            uri, root = destination.uri, claimed.staging_root
            steps.remember(tx, transfer_id, uri, root, claimed.epoch, job.route, now)
            values: dict[str, Any] = {
                "state": TransferState.STAGING.value,
                "epoch": claimed.epoch,
                "canonical": destination.uri,
                "directory": directory.uri,
                "route": job.route,
                **events.asked(job),
                "started_at": transfer["started_at"] or now,
                "updated_at": now,
            }
            if first and not transfer["plan_complete"]:
                if transfer["objects_planned"]:
                    steps.drop_plan(tx, transfer_id)
                page = steps.append(tx, transfer_id, 0, first)
                values |= {**page, "plan_complete": is_complete, "markers": markers}
            steps.move(tx, transfer_id, values)
        return claimed

    def _look(
        self, tx: Connection, transfer_id: str, destination: Location
    ) -> tuple[bool, RowMapping | None, list[str]]:
        """Whether someone live stands in the way, the destination's own row, dead owners' rows."""
        found = tx.execute(steps.IN_THE_WAY, {"of_uri": destination.uri}).mappings()
        own: RowMapping | None = None
        dead: list[str] = []
        for row in found:
            rows.checked(row, destinations.c)
            if row["uri"] == destination.uri:
                own = row
            if row["owner_transfer"] in {None, transfer_id} or not rows.overlap(
                rows.location(row["uri"]), destination
            ):
                continue
            if self._is_live(row["owner_transfer"], row["owner"]):
                return True, own, []
            dead.append(row["uri"])
        return False, own, dead

    def rivals(self, transfer_id: str, locations: Sequence[Location]) -> list[Published]:
        """What other transfers may have renamed to these paths without having recorded the end."""
        found: list[Published] = []
        for start in range(0, len(locations), LOOKUP_BATCH):
            uris = [location.uri for location in locations[start : start + LOOKUP_BATCH]]
            with self._transaction() as tx:
                asked = {"of_transfer": transfer_id}
                for row in tx.execute(steps.PUBLISHED_PERHAPS, asked).mappings().all():
                    below = rows.location(row["directory"])
                    found += steps.perhaps_published(tx, row["id"], below, uris)
        return found

    # ------------------------------------------------------------ the plan

    def forget_plan(self, transfer_id: str) -> None:
        """Drop the frozen plan: the source changed; counts the change."""
        with self._transaction() as tx:
            changes = self._mine(tx, transfer_id)["source_changes"]
            values = {**steps.drop_plan(tx, transfer_id), "source_changes": changes + 1}
            steps.change(tx, transfer_id, values)

    def freeze(
        self, transfer_id: str, objects: Sequence[PlannedObject], *, is_complete: bool, markers: int
    ) -> None:
        """Append to the plan; pins never change once frozen.

        Safe to repeat: positions frozen already are skipped, and a complete plan stays as it is.

        Args:
            objects: Positions go on where the last page ended, without a gap.
            markers: Placeholders skipped so far, in all pages up to this one.
        """
        with self._transaction() as tx:
            transfer = self._mine(tx, transfer_id)
            if transfer["plan_complete"]:
                return
            page = steps.append(tx, transfer_id, transfer["objects_planned"], objects)
            values = {
                "objects_planned": transfer["objects_planned"] + page["objects_planned"],
                "bytes_planned": transfer["bytes_planned"] + page["bytes_planned"],
                "plan_complete": is_complete,
                "markers": markers,
            }
            steps.change(tx, transfer_id, values)

    def plan(
        self, transfer_id: str, *, only_unstaged: bool = False, batch: int = 1000
    ) -> Iterator[Sequence[PlannedObject]]:
        """The frozen plan in order, in batches; each batch is a transaction of its own.

        Args:
            only_unstaged: Leave out what has a proof of the current epoch.
        """
        query = select(*rows.PLANNED_COLUMNS)
        if only_unstaged:
            current = steps.current_epoch(transfer_id)
            query = query.where(or_(objects.c.epoch.is_(None), objects.c.epoch != current))
        yield from self._pages(query, transfer_id, batch, rows.planned_object)

    def planned_totals(self, transfer_id: str) -> Totals:
        """What the frozen plan adds up to."""
        with self._transaction() as tx:
            row = steps.transfer_row(tx, transfer_id)
        return Totals(
            objects=row["objects_planned"],
            size_bytes=row["bytes_planned"],
            markers=row["markers"],
        )

    # ------------------------------------------------------------ the proofs

    def record_staged(self, transfer_id: str, staged: Sequence[StagedObject]) -> None:
        """Note proofs; they belong to the current epoch and replace older ones."""
        with self._transaction() as tx:
            epoch = self._mine(tx, transfer_id)["epoch"]
            if epoch is None:
                raise steps.out_of_order(f"{transfer_id}: proofs before a claim")
            steps.prove(tx, transfer_id, epoch, staged)

    def staged(
        self, transfer_id: str, *, batch: int = 1000
    ) -> Iterator[Sequence[tuple[PlannedObject, StagedObject]]]:
        """Planned objects proven in the current epoch, in order; the others are left out."""
        query = steps.PROVEN.where(objects.c.epoch == steps.current_epoch(transfer_id))
        yield from self._pages(query, transfer_id, batch, _proven)

    def earlier_proofs(
        self, transfer_id: str, *, batch: int = 1000
    ) -> Iterator[Sequence[tuple[PlannedObject, StagedObject]]]:
        """Planned objects with proofs of an epoch before the current one, in order.

        After a crash while publishing they tell what to look for. New proofs may be recorded
        while these are read: what has been passed does not come back.
        """
        query = steps.PROVEN.where(objects.c.epoch < steps.current_epoch(transfer_id))
        yield from self._pages(query, transfer_id, batch, _proven)

    # ------------------------------------------------------------ the end

    def intend(
        self, transfer_id: str, epoch: int, staged: Sequence[StagedObject], now: datetime
    ) -> bool:
        """Record the last proofs and the intent to publish: state PUBLISHING."""
        with self._transaction() as tx:
            intent = {"intent_transfer": transfer_id, "intent_at": now}
            if not steps.compare_and_set(tx, transfer_id, epoch, intent):
                return False
            steps.prove(tx, transfer_id, epoch, staged)
            state = TransferState.PUBLISHING.value
            values = {"state": state, "renames_possible": True, **steps.NOT_HELD}
            values |= {"code": None, "reason": None, "updated_at": now}
            steps.move(tx, transfer_id, values)
        return True

    def note_published(self, transfer_id: str) -> None:
        """What has a proof of the current epoch stands under its final name; safe to repeat."""
        with self._transaction() as tx:
            transfer = self._mine(tx, transfer_id)
            steps.publish(tx, transfer, transfer["epoch"])

    def published(self, locations: Sequence[Location]) -> dict[Location, Published]:
        """What this ledger published last at these paths; paths it never published are absent."""
        found: dict[Location, Published] = {}
        for start in range(0, len(locations), LOOKUP_BATCH):
            uris = [location.uri for location in locations[start : start + LOOKUP_BATCH]]
            with self._transaction() as tx:
                answer = tx.execute(steps.PUBLISHED_AT, {"of_uris": uris})
                for row in answer.mappings():
                    one = rows.published_file(row)
                    found[one.location] = one
        return found

    def finish(
        self,
        transfer_id: str,
        epoch: int,
        state: TransferState,
        publish_mode: str,
        now: datetime,
        *,
        manifest: ManifestSum | None = None,
    ) -> bool:
        """State DONE or SUPERSEDED; proofs of this epoch become the published truth, sealed.

        True again when repeated after it took effect.
        """
        with self._transaction() as tx:
            transfer = steps.transfer_row(tx, transfer_id)
            if not steps.compare_and_set(tx, transfer_id, epoch, steps.FREE):
                return (transfer["state"], transfer["epoch"]) == (state.value, epoch)
            steps.publish(tx, transfer, epoch)
            job_steps.close_all(tx, transfer_id, now)
            if state is TransferState.DONE:
                events.remember(tx, transfer)
            values = {"publish_mode": publish_mode, "renames_possible": False}
            steps.move(tx, transfer_id, values | steps.ended(transfer, state, now))
            if manifest is not None:
                steps.seal(tx, transfer, state, publish_mode, manifest, now)
        self._working.discard(transfer_id)
        return True

    def fail(
        self,
        transfer_id: str,
        state: TransferState,
        code: str,
        reason: str,
        now: datetime,
        *,
        refund: bool = False,
        hold: Hold | None = None,
        has_dead_letter: bool = False,
    ) -> None:
        """State WAITING, HELD or DEAD with its reason; the claim ends.

        Safe to repeat: a transfer that this process no longer owns is left as it is. Without
        `refund` it counts as a failure.
        """
        is_let_go = False
        try:
            with self._transaction() as tx:
                # Recorded or not, nobody works on it from here on; the next delivery may begin.
                self._working.discard(transfer_id)
                is_let_go = True
                transfer = steps.transfer_row(tx, transfer_id)
                if transfer["owner"] != self.owner.text:
                    return
                steps.release(tx, transfer_id)
                values = {
                    "attempt": max(0, transfer["attempt"] - refund),
                    "failures": transfer["failures"] + (not refund),
                    "code": code,
                    "reason": rows.readable(reason),
                    "has_letter": has_dead_letter,
                }
                if hold is not None:
                    values |= steps.held(transfer, hold)
                steps.move(tx, transfer_id, steps.ended(transfer, state, now) | values)
        finally:
            if not is_let_go:  # not even begun: the ledger cannot be written
                self._working.discard(transfer_id)

    def note_dead_letter(self, transfer_id: str) -> None:
        """The dead letter of a transfer that is dead already was sent; no change to any other.

        It belongs to no process, so no owner is looked for.
        """
        with self._transaction() as tx:
            transfer = steps.transfer_row(tx, transfer_id)
            if TransferState(transfer["state"]) is TransferState.DEAD:
                steps.change(tx, transfer_id, {"has_letter": True})

    def note_wait(self, transfer_id: str, hold: Hold | None, code: str, reason: str) -> None:
        """What the attempt under way waits for; None: it moves again.

        No change of state and no line in the journal. Another process's transfer is left alone.
        """
        with self._transaction() as tx:
            transfer = steps.transfer_row(tx, transfer_id)
            if transfer["owner"] != self.owner.text:
                return
            values = {"code": None, "reason": None, **steps.NOT_HELD}
            if hold is not None:
                values |= {"code": code, "reason": rows.readable(reason)}
                values |= steps.held(transfer, hold)
            steps.change(tx, transfer_id, values)

    def cancel(self, transfer_id: str, now: datetime) -> list[ClusterJob]:
        """State DEAD by an operator's word, whoever works on it; his next step here is refused.

        Returns:
            Its open jobs: nobody else ends them now.

        Raises:
            PermanentError: E_ENDED: it has ended already.
            LedgerLocked: E_PUBLISHING: some of it may stand under its final names.
        """
        with self._transaction() as tx:
            transfer = steps.transfer_row(tx, transfer_id)
            state = TransferState(transfer["state"])
            if state.is_final:
                raise PermanentError(
                    "E_ENDED",
                    f"{transfer_id} has ended already: {state}",
                    hint=f"backhaul show {transfer_id}",
                )
            if transfer["renames_possible"]:
                raise LedgerLocked(
                    "E_PUBLISHING",
                    f"{transfer_id} is being published: some of it may be visible",
                    hint="let it end: it is a matter of seconds, or of the target's return",
                )
            steps.release(tx, transfer_id)
            values = {"code": steps.CANCELLED, "reason": "cancelled by an operator"}
            steps.move(tx, transfer_id, steps.ended(transfer, TransferState.DEAD, now) | values)
            return job_steps.of(tx, transfer_id)

    # ------------------------------------------------------------ events and signatures

    def published_sequencer(self, destination: Location, bucket: str, key: str) -> str | None:
        """The newest event of this object that was published at the destination."""
        with self._transaction() as tx:
            return events.newest(tx, destination.uri, bucket, key)

    def claim_nonce(
        self,
        nonce: str,
        key: MessageKey,
        keep_until: datetime,
        now: datetime,
        *,
        redriven_from: str | None = None,
    ) -> bool:
        """Remember a signed message's nonce; False when another message has it."""
        with self._transaction() as tx:
            return events.claim_nonce(tx, nonce, key, keep_until, now, redriven_from)

    # ------------------------------------------------------------ copies, that no message repeats

    def holder(self, transfer_id: str) -> Holder:
        """See the port."""
        with self._transaction() as tx:
            row = steps.transfer_row(tx, transfer_id)
            return Holder(owner=row["owner"], is_cancelled=row["code"] == "E_CANCELLED")

    def is_mine(self, transfer_id: str) -> bool:
        """True while this process is the one that began the attempt under way."""
        with self._transaction() as tx:
            owner: str | None = steps.transfer_row(tx, transfer_id)["owner"]
        if owner == self.owner.text:
            return True
        self._working.discard(transfer_id)  # should it come back to this process, that is new work
        return False

    def staging_of(self, transfer_id: str) -> AbandonedStaging | None:
        """Where this transfer may have staging; None when it never claimed or has finished."""
        with self._transaction() as tx:
            return steps.leftover(tx, steps.transfer_row(tx, transfer_id))

    def abandoned_staging(self, claimed_before: datetime, *, most: int) -> list[AbandonedStaging]:
        """Staging roots claimed before then that no live transfer owns, by file system."""
        query = (
            select(litter, destinations.c.owner_transfer, destinations.c.owner)
            .join(destinations, destinations.c.uri == litter.c.uri, isouter=True)
            .where(litter.c.claimed_at < claimed_before)
            .order_by(litter.c.staging_root)
        )
        with self._transaction() as tx:
            # An application may fill it although nobody works on the transfer just now.
            filled = job_steps.destinations_of_open(tx)
            # Read no further than asked: a busy queue leaves a row for each of its messages.
            with tx.execute(query) as answer:
                found = (
                    rows.left_over(row)
                    for row in answer.mappings()
                    if row["uri"] not in filled
                    and (
                        row["owner_transfer"] is None
                        or not self._is_live(row["owner_transfer"], rows.text(row["owner"]))
                    )
                )
                return list(islice(found, most))

    def note_staging(
        self, transfer_id: str, epoch: int, roots: Sequence[Location], now: datetime
    ) -> None:
        """Remember further staging roots of this claim, before anything is made in them."""
        with self._transaction() as tx:
            row = self._mine(tx, transfer_id)
            for root in roots:
                steps.remember(tx, transfer_id, row["canonical"], root, epoch, row["route"], now)

    def forget_staging(self, lefts: Sequence[AbandonedStaging]) -> None:
        """Nothing is left there up to that epoch; a root claimed again meanwhile stays."""
        gone = [{"of_root": left.staging_root.uri, "of_epoch": left.epoch} for left in lefts]
        if gone:
            with self._transaction() as tx:
                tx.execute(steps.SWEPT, gone)

    def interrupted_copies(self) -> dict[str, AbandonedStaging | None]:
        """Copies whose process died, by id. Messages come back by themselves; these do not."""
        with self._transaction() as tx:
            found = tx.execute(
                select(transfers).where(
                    transfers.c.queue == COPY_QUEUE, transfers.c.finished_at.is_(None)
                )
            ).mappings()
            return {
                row["id"]: steps.leftover(tx, row)
                for row in map(steps.checked_transfer, found)
                if not self._is_live(row["id"], row["owner"])
            }

    def abandon(self, transfer_id: str, now: datetime) -> None:
        """State DEAD for an orphan; its destination is free again. Safe to repeat."""
        with self._transaction() as tx:
            transfer = steps.transfer_row(tx, transfer_id)
            if transfer["finished_at"] is not None or self._is_live(transfer_id, transfer["owner"]):
                return
            steps.release(tx, transfer_id)
            values = {"code": "E_ABANDONED", "reason": "its process died; run the copy again"}
            steps.move(tx, transfer_id, steps.ended(transfer, TransferState.DEAD, now) | values)

    # ------------------------------------------------------------ the cluster's engine

    def note_engine(self, transfer_id: str, engine: str, reason: str) -> None:
        """Which engine was chosen, and why."""
        with self._transaction() as tx:
            values = {"engine": engine, "engine_reason": rows.readable(reason)}
            steps.change(tx, transfer_id, values)

    def open_job(self, transfer_id: str, epoch: int, tag: str, now: datetime) -> bool:
        """Note that an application with this tag may exist; False when nothing may be submitted."""
        with self._transaction() as tx:
            return job_steps.begin(tx, transfer_id, epoch, tag, now)

    def note_job(
        self,
        transfer_id: str,
        claim_epoch: int,
        epoch: int,
        application: Application,
        progress: JobProgress | None,
        now: datetime,
    ) -> bool:
        """Note how far it is; False when the transfer has lost its destination."""
        with self._transaction() as tx:
            if not job_steps.owns(tx, transfer_id, claim_epoch):
                return False
            job_steps.note(tx, transfer_id, epoch, application, progress, now)
        return True

    def close_job(
        self, transfer_id: str, epoch: int, state: str, reason: str, now: datetime
    ) -> None:
        """Nothing of this submission runs or counts any more; safe to repeat."""
        with self._transaction() as tx:
            job_steps.close(tx, transfer_id, epoch, state, reason, now)

    def jobs(self, transfer_id: str) -> list[ClusterJob]:
        """The open ones of this transfer, by epoch."""
        with self._transaction() as tx:
            return job_steps.of(tx, transfer_id)

    # ------------------------------------------------------------ inside

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        # Die in here and SQLite rolls back at the next opening; die after it and all is kept.
        with mapped(self._path), self._commits.transaction() as tx:
            yield tx

    def _is_live(self, transfer_id: str, owner: str | None) -> bool:
        if owner is None:
            return False
        if owner == self.owner.text:
            return transfer_id in self._working
        return self.owner.is_alive(owner)

    def _mine(self, tx: Connection, transfer_id: str) -> RowMapping:
        row = steps.transfer_row(tx, transfer_id)
        if row["owner"] != self.owner.text:
            raise steps.taken_over(row)
        return row

    def _pages(
        self,
        query: Select[Any],
        transfer_id: str,
        batch: int,
        convert: Callable[[RowMapping], Found],
    ) -> Iterator[Sequence[Found]]:
        """Rows of `objects` by position; memory holds one batch and no lock is kept between."""
        after = -1
        while True:
            with self._transaction() as tx:
                page = (
                    tx.execute(
                        query.where(objects.c.transfer_id == transfer_id, objects.c.seq > after)
                        .order_by(objects.c.seq)
                        .limit(batch)
                    )
                    .mappings()
                    .all()
                )
                for row in page:
                    rows.checked(row, query.selected_columns)
                found = [convert(row) for row in page]
            if not page:
                return
            yield found
            if len(page) < batch:
                return
            after = page[-1]["seq"]


def is_other_body(row: RowMapping, key: MessageKey) -> bool:
    """The transfer of this message is of another body; unknown ones are the same."""
    return key.body_digest is not None and row["body_digest"] not in {None, key.body_digest}


def _proven(row: RowMapping) -> tuple[PlannedObject, StagedObject]:
    return rows.planned_object(row), rows.staged_object(row)
