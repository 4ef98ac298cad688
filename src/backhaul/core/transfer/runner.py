"""Carries out the commands of `transfer`: the thin shell between decisions and effects.

One `TransferRunner.run` is one attempt, in the calling thread. Every effect goes through a port;
every failure comes back to `transfer.step` as an event. Bytes never pass through here: a worker
process moves them (`ports.TargetSession`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from backhaul.core.errors import (
    BackhaulError,
    CannotWrite,
    LedgerDamaged,
    OutageError,
    SourceChanged,
    TakenOver,
    TransientError,
)
from backhaul.core.facts import (
    AttemptStarted,
    LedgerRecordMissed,
    TransferBlocked,
    TransferDone,
    TransferProgress,
    TransferUnblocked,
)
from backhaul.core.model import (
    STAGING_NAME,
    Assignment,
    EngineName,
    EvidencePlace,
    Hold,
    Location,
    OnExists,
    PublishMode,
    Source,
    TransferState,
)
from backhaul.core.objects import FileStatus, ManifestSum, Pin, PlannedObject, StagedObject, Totals
from backhaul.core.ports import (
    AbandonedStaging,
    AttemptStart,
    Claimed,
    Clock,
    ClusterJob,
    Emit,
    Endpoint,
    Ledger,
    ListPage,
    ObjectStore,
    Published,
    StageTask,
    TargetPool,
    TargetSession,
)
from backhaul.core.ports.cluster import Cluster
from backhaul.core.requests.paths import target_relative
from backhaul.core.requests.policy import Policy
from backhaul.core.transfer import cluster_jobs as cluster_stage
from backhaul.core.transfer import steps as transfer
from backhaul.core.transfer.cluster_attempt import ClusterAttempt
from backhaul.core.transfer.cluster_jobs import ClusterProgress
from backhaul.core.transfer.evidence import Manifest, files, object_line
from backhaul.core.transfer.outages import WAIT_MOST_S, DependencyDown, OutageWatch
from backhaul.core.transfer.overtaken import claims_to_be_old, is_overtaken, state_of_event
from backhaul.core.transfer.placing import Placing, other_roots, staging_anchor
from backhaul.core.transfer.planning import Planner, resolve
from backhaul.core.transfer.publishing import Publisher, exists
from backhaul.core.transfer.reuse import (
    adopt,
    as_adopted,
    is_file_of,
    is_own,
    may_be_same,
    still_holds,
)

RECORD_BATCH = 500  # proofs per ledger transaction
PUBLISH_BATCH = 500  # proofs read back at a time: renames per call to the worker
TIDY_TRIES = 2
LOOK_EVERY_S = 5.0  # while bytes come in, at who owns the transfer
NO_PROGRESS = ClusterProgress(phase="")


@dataclass(frozen=True, kw_only=True)
class Ports:
    """The effects one attempt needs."""

    store: ObjectStore
    ledger: Ledger
    pool: TargetPool
    clock: Clock
    emit: Emit
    cluster: Cluster | None = None


def discard(ports: Ports, transfer_id: str, user: str | None) -> None:
    """End what a transfer that is given up left behind: applications, then staging.

    Args:
        user: Whom its route acts for.

    Raises:
        BackhaulError: Something of it may be left.
    """
    cluster_stage.discard(ports.ledger, ports.cluster, ports.clock, ports.pool, transfer_id, user)


class TransferRunner:
    """One attempt of one transfer.

    Args:
        policy: Asked again at resolution and right before publishing, so that a route removed
            meanwhile counts (S5).
        abort: Returns True once the attempt must stop where it is.
        wait_most_s: See `OutageWatch`.
    """

    def __init__(
        self,
        *,
        ports: Ports,
        policy: Callable[[], Policy],
        begun: AttemptStart,
        job: Assignment,
        budget: transfer.Budget,
        message_id: str | None,
        wait_most_s: float = WAIT_MOST_S,
    ) -> None:
        self._ports = ports
        self._policy = policy
        self._begun = begun
        self._id = begun.transfer_id
        self._job = job
        self._message_id = message_id
        self._attempt = transfer.Attempt(
            job=job,
            budget=budget,
            has_plan=begun.has_plan,
            was_publishing=begun.was_publishing,
            directory=begun.directory,
            destination=begun.destination,
        )
        self._stack = ExitStack()
        self._session_or_none: TargetSession | None = None
        self._staging_root: Location | None = None
        self._placing_or_none: Placing | None = None
        self._stale: Sequence[AbandonedStaging] = ()
        self._has_rivals = False
        self._was_outdated = False
        self._planner: Planner | None = None
        self._pages: Iterator[ListPage] = iter(())
        self._first: list[PlannedObject] = []
        self._ahead: list[PlannedObject] = []
        self._pending: list[StagedObject] = []
        # A plan of one page is kept in memory, so that publishing need not read it back. What the
        # ledger published below a destination cannot change while this transfer owns it.
        self._proofs: dict[int, StagedObject] = {}
        self._known: dict[Location, Published] = {}
        self._may_hold_files = True
        self._totals = Totals()
        self._counts = _Counts()
        self._endpoint: Endpoint | None = None
        self._watch = OutageWatch(
            probe=self._probe,
            report=self._report_wait,
            monotonic=ports.clock.monotonic,
            wait_most_s=wait_most_s,
        )
        self._jobs: tuple[ClusterJob, ...] = ()
        self._cluster = ClusterAttempt(
            self,
            transfer_id=self._id,
            cluster=ports.cluster,
            ledger=ports.ledger,
            clock=ports.clock,
            emit=ports.emit,
        )

    def run(self) -> transfer.Verdict:
        """Work until the attempt is settled; a `BackhaulError` becomes a verdict, a bug escapes."""
        job = self._job
        self._started_s = self._ports.clock.monotonic()
        self._ports.emit(
            AttemptStarted(
                transfer_id=self._id,
                message_id=self._message_id,
                attempt=self._begun.attempt,
                source=job.request.source.uri,
                destination=job.request.destination.uri,
                route=job.route,
            )
        )
        with self._stack:
            command = transfer.start(self._attempt)
            while not isinstance(command, transfer.Settle):
                try:
                    event = self._perform(command)
                except LedgerDamaged:
                    raise  # no message's fault, and none is judged by such a ledger
                except BackhaulError as error:
                    event = transfer.Failed(error=self._watch.judged(error))
                self._attempt, command = transfer.step(self._attempt, event)
            return self._settle(command.verdict)

    def _settle(self, verdict: transfer.Verdict) -> transfer.Verdict:
        if isinstance(verdict.error, SourceChanged):
            self._ports.ledger.forget_plan(self._id)
        return verdict

    def _perform(self, command: transfer.Command) -> transfer.Event:
        match command:
            case transfer.Resolve():
                return self._resolve()
            case transfer.Claim(min_epoch=min_epoch):
                return self._claim(min_epoch)
            case transfer.Recover():
                return self._recover()
            case transfer.Reattach(epoch=epoch):
                found = self._cluster.reattach(epoch, self._jobs, has_plan=self._attempt.has_plan)
                self._remove_stale()
                return found
            case transfer.Fence(epoch=epoch):
                return self._fence(epoch)
            case transfer.Stage(epoch=epoch):
                return self._stage(epoch)
            case transfer.Intend(epoch=epoch):
                return self._intend(epoch)
            case transfer.Publish(epoch=epoch):
                return self._publish(epoch)
            case transfer.Record(epoch=epoch, mode=mode, is_superseded=is_superseded):
                return self._record(epoch, mode, is_superseded=is_superseded)
            case transfer.Tidy(epoch=epoch):
                return self._tidy(epoch)
            case transfer.Settle():  # pragma: no cover - `run` ends before this
                message = "settle is not an effect"
                raise AssertionError(message)

    # ------------------------------------------------------------ resolve and claim

    def _resolve(self) -> transfer.Event:
        job = self._job
        directory = job.request.destination
        target = self._event_target
        if target is not None and self._is_outdated(target):
            self._was_outdated = True
            return transfer.Resolved(directory=directory, destination=target)
        found = resolve(
            self._ports.store,
            job.request.source,
            owner=job.source_owner,
            event=job.request.event,
        )
        self._policy().check_resolved(job, found.source)
        self._planner = Planner(
            source=found.source,
            is_object=found.is_object,
            directory=directory,
            name_map=job.name_map,
            limits=job.limits,
        )
        self._pages = found.pages
        self._first = self._next_page()
        # One page ahead, so that a plan of one page is frozen whole together with the claim.
        self._ahead = self._next_page() if not found.is_object else []
        destination = directory
        if found.is_object:
            destination = directory.join(self._first[0].relative)
        return transfer.Resolved(directory=directory, destination=destination)

    def _next_page(self) -> list[PlannedObject]:
        """The next non-empty page of the plan; empty at its end, after checking the totals."""
        planner = self._listing
        for page in self._pages:
            planned = planner.add(page.pins)
            if planned:
                return planned
        planner.finish()
        return []

    def _claim(self, min_epoch: int) -> transfer.Event:
        job = self._job
        attempt = self._attempt
        if attempt.directory is None or attempt.destination is None:
            raise AssertionError("a claim needs a resolved destination")
        self._policy().check_target(job, attempt.destination)
        existing = self._session.existing_ancestor(attempt.directory)
        self._may_hold_files = existing == attempt.directory
        is_tree = attempt.destination == attempt.directory
        anchor = staging_anchor(job.anchor, attempt.directory, existing, is_tree=is_tree)
        claimed = self._claim_at(anchor, attempt.directory, attempt.destination, min_epoch)
        if claimed is not None and not claimed.staging_root.is_within(anchor.join(STAGING_NAME)):
            # An application of an earlier attempt fills staging that is in the wrong place by now.
            self._cluster.end(claimed.jobs)
            min_epoch = claimed.epoch + 1
            claimed = self._claim_at(anchor, attempt.directory, attempt.destination, min_epoch)
        if claimed is None:
            return transfer.ClaimBusy()
        self._staging_root = claimed.staging_root
        self._jobs = claimed.jobs
        self._stale = claimed.stale
        self._has_rivals = claimed.has_rivals
        if self._is_outdated(attempt.destination):
            self._first = []  # nothing of the plan is copied, so there is nothing to prove
            return transfer.Outdated(epoch=claimed.epoch)
        return transfer.ClaimGranted(epoch=claimed.epoch, has_jobs=bool(claimed.jobs))

    def _claim_at(
        self, anchor: Location, directory: Location, destination: Location, min_epoch: int
    ) -> Claimed | None:
        return self._ports.ledger.claim(
            self._id,
            self._job,
            destination,
            anchor,
            directory=directory,
            first=self._first,
            is_complete=not self._ahead,
            markers=self._markers,
            min_epoch=min_epoch,
            now=self._ports.clock.now(),
        )

    @property
    def _event_target(self) -> Location | None:
        """What an event's transfer will own, known without asking S3; None without an event."""
        request, name_map = self._job.request, self._job.name_map
        if request.event is None or request.source.is_prefix:
            return request.destination if request.event is not None else None
        name = request.source.key.rsplit("/", 1)[-1]
        return request.destination.join(target_relative(request.destination, name, name_map))

    def _is_outdated(self, target: Location) -> bool:
        """An event whose object is published there already, as new as S3 has it or newer."""
        ports, job = self._ports, self._job
        if self._was_outdated:
            return True  # nothing goes back at the target, so it stays true whatever S3 has now
        if self._begun.was_publishing or not claims_to_be_old(ports.ledger, job, target):
            return False
        if not job.request.source.is_prefix and self._first:
            now: Pin | None = self._first[0].pin
        else:
            now = state_of_event(ports.store, job)
        return is_overtaken(ports.ledger, ports.store, job, target, now)

    @property
    def _session(self) -> TargetSession:
        if self._session_or_none is None:
            filesystem = self._job.request.destination.filesystem
            self._session_or_none = self._stack.enter_context(
                self._ports.pool.session(filesystem, self._job.run_as)
            )
            self._session_or_none.watched_by(self._watch)
        return self._session_or_none

    @property
    def _root(self) -> Location:
        if self._staging_root is None:
            raise AssertionError("staging is known only after the claim")
        return self._staging_root

    @property
    def _directory(self) -> Location:
        if self._attempt.directory is None:
            raise AssertionError("the directory is known only after resolution")
        return self._attempt.directory

    @property
    def _destination(self) -> Location:
        if self._attempt.destination is None:
            raise AssertionError("the destination is known only after resolution")
        return self._attempt.destination

    @property
    def _listing(self) -> Planner:
        if self._planner is None:
            raise AssertionError("what was frozen whole is not listed again")
        return self._planner

    @property
    def _resolved_source(self) -> Source:
        """What the source turned out to be; known from the plan, too: it owns a tree or a file."""
        source = self._job.request.source
        is_tree = self._attempt.destination == self._attempt.directory
        if source.is_prefix or not is_tree:
            return source
        return Source(bucket=source.bucket, key=f"{source.key}/")

    # ------------------------------------------------------------ dependencies that are down

    def _probe(self) -> Sequence[OutageError]:
        """Without a session nothing has been called yet that could hang."""
        session = self._session_or_none
        return () if session is None else session.probe(self._staging_root, self._endpoint)

    def _report_wait(self, away: DependencyDown | None) -> None:
        """Show in log and ledger what the worker waits for."""
        ports = self._ports
        try:
            if away is None:
                ports.emit(TransferUnblocked(transfer_id=self._id))
                ports.ledger.note_wait(self._id, None, "", "")
                return
            error = away.error
            ports.emit(
                TransferBlocked(
                    transfer_id=self._id,
                    dependency=error.dependency,
                    code=error.code,
                    reason=error.message,
                    hint=error.hint,
                    still_s=away.still_s,
                )
            )
            since = ports.clock.now() - timedelta(seconds=away.still_s)
            hold = Hold(dependency=error.dependency, since=since)
            ports.ledger.note_wait(self._id, hold, error.code, error.message)
        except OutageError as outage:
            # The ledger's: people see less, and nothing else changes.
            ports.emit(
                LedgerRecordMissed(transfer_id=self._id, code=outage.code, reason=outage.message)
            )

    # ------------------------------------------------------------ recover

    def _recover(self) -> transfer.Event:
        """Adopt what an earlier attempt renamed before it died: same length, same CRC32C."""
        ledger = self._ports.ledger
        adopted = 0
        now = self._ports.clock.now()
        for batch in ledger.earlier_proofs(self._id):
            finals = [self._directory.join(planned.relative) for planned, _ in batch]
            statuses = self._session.status(finals)
            candidates = [
                (final, proof)
                for final, status, (planned, proof) in zip(finals, statuses, batch, strict=True)
                if is_file_of(status, planned.pin.size_bytes)
            ]
            held = self._session.stored_checksums(
                [final for final, _ in candidates],
                algorithms=[proof.content.algorithm for _, proof in candidates],
            )
            same = [
                as_adopted(proof, one, "published by an earlier attempt", now)
                for (_, proof), one in zip(candidates, held, strict=True)
                if one is not None and one.checksum == proof.content
            ]
            if same:
                ledger.record_staged(self._id, same)
                adopted += len(same)
        self._counts.adopted = self._counts.objects = adopted
        self._totals = ledger.planned_totals(self._id)
        is_complete = adopted == self._totals.objects
        if adopted and not is_complete:
            # Should the source change now, these are still known as this transfer's own.
            ledger.note_published(self._id)
        return transfer.Recovered(is_complete=is_complete)

    # ------------------------------------------------------------ fence

    def _remove_stale(self) -> None:
        for left in self._stale:
            self._session.remove_staging(left.staging_root, up_to=left.epoch)
        self._stale = ()

    def _fence(self, epoch: int) -> transfer.Event:
        """Nothing may be renamed any more by whoever owned this destination, or a part of it."""
        self._remove_stale()
        self._remove_forgotten()
        return transfer.Fenced(highest_seen=self._session.fence(self._root, epoch))

    def _remove_forgotten(self) -> None:
        """Staging of this destination that a ledger remembered which is lost: wherever it may be.

        In this epoch's own root the fence finds it. At every fence: that an earlier one got past
        this is recorded nowhere, and its epoch does not show it.
        """
        directory = self._root.parent.parent
        elsewhere = other_roots(self._job.anchor, directory, self._destination)
        if not elsewhere:
            return
        for root, status in zip(elsewhere, self._statuses(elsewhere), strict=True):
            if status is not None:
                self._session.remove_staging(root)

    def _statuses(self, roots: Sequence[Location]) -> Sequence[FileStatus | None]:
        """None, too, for a root that is closed to the route's user.

        Who cannot enter a directory renames nothing out of it.
        """
        try:
            return self._session.status(roots)
        except CannotWrite:
            if len(roots) == 1:
                return [None]
            return [one for root in roots for one in self._statuses([root])]

    # ------------------------------------------------------------ stage

    @property
    def _placing(self) -> Placing:
        """Of the epoch that is staged or published."""
        if self._placing_or_none is None:
            raise AssertionError("where files go is known only once they are staged")
        return self._placing_or_none

    def _place(self, epoch: int) -> Placing:
        return Placing(
            session=self._session,
            ledger=self._ports.ledger,
            transfer_id=self._id,
            directory=self._directory,
            destination=self._destination,
            staged=self._root.join(str(epoch)),
            epoch=epoch,
            now=self._ports.clock.now,
        )

    def _stage(self, epoch: int) -> transfer.Event:
        self._placing_or_none = self._place(epoch)
        if self._is_native:
            chunks = self.chunks()
        else:
            event, chunks = self._cluster.stage(epoch)
            if isinstance(event, transfer.StagedAll):
                return self._all_staged()
            if event is not None:
                return event
        directory = self._root.join(str(epoch))
        looked_s = self._ports.clock.monotonic()
        for batch in self._session.stage(chunks, directory, self._job.verify):
            self.note(batch)
            self._emit_progress("staging")
            now_s = self._ports.clock.monotonic()
            if now_s - looked_s > LOOK_EVERY_S:
                looked_s = now_s
                self._look_who_owns_it()
        return self._all_staged()

    def _look_who_owns_it(self) -> None:
        """Cancelled, or taken over while this process stood still: then no byte more."""
        if not self._ports.ledger.is_mine(self._id):
            raise TakenOver(
                "E_TAKEN_OVER",
                f"{self._id} was cancelled, or another process began it anew",
                hint="nothing: what becomes of it is decided already",
            )

    @property
    def _is_native(self) -> bool:
        """Nothing is to be chosen: no look ahead, no word in the ledger."""
        if self._jobs and not self._attempt.is_native:
            return False  # an application may be followed, whatever the route says by now
        asked = self._job.engine
        nobody = asked is EngineName.AUTO and self._ports.cluster is None
        return self._attempt.is_native or asked is EngineName.NATIVE or nobody

    def _all_staged(self) -> transfer.Event:
        if self._attempt.has_plan:
            self._totals = self._ports.ledger.planned_totals(self._id)
        else:
            self._totals = self._listing.totals
        if self._counts.objects != self._totals.objects:
            raise TransientError(
                "E_BUG",
                f"planned {self._totals.objects} objects, {self._counts.objects} were staged",
                hint="this is a defect in Backhaul; nothing was published",
            )
        return transfer.StagedAll()

    def chunks(self) -> Iterator[Sequence[StageTask]]:
        """The work of this attempt, page by page; a new plan is frozen just ahead of it."""
        for planned in self._planned():
            rest = self._without_published(planned)
            if self._may_hold_files:
                self._placing.prepare(one.relative for one in rest)
            yield self._tasks(rest)

    def _tasks(self, planned: Sequence[PlannedObject]) -> Sequence[StageTask]:
        owner, bucket = self._job.source_owner, self._job.request.source.bucket
        self._endpoint = endpoint = self._ports.store.endpoint(bucket, owner=owner)
        return [StageTask(planned=one, endpoint=endpoint) for one in planned]

    # ------------------------------------------------------------ for `cluster_attempt`

    @property
    def job(self) -> Assignment:
        return self._job

    @property
    def session(self) -> TargetSession:
        return self._session

    @property
    def staging_root(self) -> Location:
        return self._root

    @property
    def is_object(self) -> bool:
        return self._attempt.destination != self._attempt.directory

    def unstaged(self) -> Iterator[Sequence[StageTask]]:
        for planned in self._ports.ledger.plan(self._id, only_unstaged=True):
            yield self._tasks(planned)

    def names(self) -> Iterator[str]:
        for planned in self._ports.ledger.plan(self._id):
            yield from (one.relative for one in planned)

    def flush(self) -> None:
        self._ports.ledger.record_staged(self._id, self._pending)
        self._pending = []

    def tell(self, news: ClusterProgress) -> None:
        self._emit_progress(news.phase, news)

    def algorithms(self, pin: Pin) -> frozenset[str]:
        return self._ports.store.algorithms(pin, owner=self._job.source_owner)

    # ------------------------------------------------------------ the plan

    def _planned(self) -> Iterator[Sequence[PlannedObject]]:
        limits = self._job.limits
        if self._attempt.has_plan:
            return self._frozen()
        if limits.objects is None and limits.size_bytes is None:
            return self._freezing()
        return self._limited()

    def _limited(self) -> Iterator[Sequence[PlannedObject]]:
        """A route with limits: the whole plan is counted before the first byte is copied."""
        if not self._ahead:
            yield from self._freezing()
            return
        for _ in self._freezing():
            pass
        self._counts.is_planned = True
        yield from self._ports.ledger.plan(self._id, only_unstaged=True)

    def _frozen(self) -> Iterator[Sequence[PlannedObject]]:
        self._totals = self._ports.ledger.planned_totals(self._id)
        self._counts.is_planned = True
        yield from self._ports.ledger.plan(self._id, only_unstaged=True)

    def _freezing(self) -> Iterator[Sequence[PlannedObject]]:
        # The claim froze the first page in its own transaction.
        page = self._first
        while page:
            self._totals = self._listing.totals
            self._counts.is_planned = not self._ahead
            yield page
            page, self._ahead = self._ahead, self._next_page() if self._ahead else []
            if page:
                self._ports.ledger.freeze(
                    self._id, page, is_complete=not self._ahead, markers=self._markers
                )

    @property
    def _markers(self) -> int:
        return 0 if self._planner is None else self._planner.markers

    def _without_published(self, planned: Sequence[PlannedObject]) -> Sequence[PlannedObject]:
        """Leave out what already stands at its final path with this very pin."""
        finals = [self._directory.join(one.relative) for one in planned]
        known = self._ports.ledger.published(finals)
        if self._is_one_page:
            self._known = known
        is_strict = self._job.on_exists is OnExists.FAIL
        # Nothing can stand below a directory that was not there when it became ours.
        ask = finals if self._may_hold_files else [final for final in finals if final in known]
        if not ask:
            return planned
        statuses = dict(zip(ask, self._session.status(ask), strict=True))
        rest: list[PlannedObject] = []
        adopted: list[StagedObject] = []
        unknown: list[tuple[PlannedObject, Location]] = []
        for one, final in zip(planned, finals, strict=True):
            status, before = statuses.get(final), known.get(final)
            if before is not None and still_holds(one, before, status):
                adopted.append(adopt(one, before))
            elif is_strict and status is not None and not is_own(self._id, before, status):
                raise exists(final)
            elif is_file_of(status, one.pin.size_bytes) and may_be_same(one, before):
                unknown.append((one, final))
            else:
                rest.append(one)
        if unknown:
            proven = self._match_existing(unknown)
            adopted += proven
            seqs = {each.seq for each in proven}
            rest += [one for one, _ in unknown if one.seq not in seqs]
            rest.sort(key=lambda one: one.seq)
        if adopted:
            self._counts.adopted += len(adopted)
            self.note(adopted)
        return rest

    def _match_existing(
        self, there: Sequence[tuple[PlannedObject, Location]]
    ) -> list[StagedObject]:
        """Files of the right length that this ledger does not know: S3's checksum may know them."""
        tasks = self._tasks([one for one, _ in there])
        found = self._session.match_existing(tasks, [final for _, final in there])
        return [one for one in found if one is not None]

    @property
    def _is_one_page(self) -> bool:
        return (
            not self._attempt.has_plan
            and not self._ahead
            and len(self._first) == (self._planner.objects if self._planner else -1)
        )

    def note(self, batch: Sequence[StagedObject]) -> None:
        """Take proofs; they reach the ledger in batches."""
        now = self._ports.clock.now()
        batch = [replace(one, proven_at=now) for one in batch]
        self._pending.extend(batch)
        if self._is_one_page:
            self._proofs.update((one.seq, one) for one in batch)
        self._counts.objects += len(batch)
        self._counts.size_bytes += sum(one.size_bytes for one in batch)
        if len(self._pending) >= RECORD_BATCH:
            self._ports.ledger.record_staged(self._id, self._pending)
            self._pending = []

    def _emit_progress(self, phase: str, news: ClusterProgress = NO_PROGRESS) -> None:
        counts, totals = self._counts, self._totals
        moved = news.size_bytes
        if news is NO_PROGRESS:
            moved = self._session.progress.size_bytes
        self._ports.emit(
            TransferProgress(
                transfer_id=self._id,
                phase=phase,
                objects=max(news.objects, counts.objects),
                size_bytes=max(moved, counts.size_bytes),
                objects_total=totals.objects,
                size_bytes_total=totals.size_bytes,
                is_planned=counts.is_planned,
                detail=news.detail,
            )
        )

    # ------------------------------------------------------------ publish

    def _intend(self, epoch: int) -> transfer.Event:
        """The last look at policy and ownership, then the intent: after this, renames may exist."""
        policy = self._policy()
        policy.check_resolved(self._job, self._resolved_source)
        policy.check_target(self._job, self._destination)
        is_owner = self._ports.ledger.intend(
            self._id, epoch, self._pending, self._ports.clock.now()
        )
        self._pending = []
        return transfer.Intended(is_owner=is_owner)

    def _publish(self, epoch: int) -> transfer.Event:
        staged_dir = self._root.join(str(epoch))
        self._emit_progress("publishing")
        is_single = self._attempt.destination != self._attempt.directory
        if not is_single and self._job.publish is not PublishMode.PER_FILE:
            is_untouched = self._counts.adopted == 0
            if is_untouched:
                self._leave_evidence(staged_dir)  # it appears with the tree
            if is_untouched and self._session.publish_tree(staged_dir, self._directory):
                return transfer.PublishedAll(mode="tree", is_superseded=False)
            is_rest = self._counts.adopted < self._totals.objects
            if self._job.publish is PublishMode.ATOMIC_DIR and is_rest:
                raise CannotWrite(
                    "E_DST_EXISTS",
                    f"{self._directory.uri} exists, and publish = atomic-dir wants it absent",
                    hint="choose a new directory per run, or publish = auto",
                )
        if not self._may_hold_files:
            self._placing.check(
                planned.relative for batch in self._proven() for planned, _ in batch
            )
        moved, superseded = self._publish_files(staged_dir)
        # Die here and the next attempt adopts the files and writes this again.
        self._leave_evidence(self._directory)
        mode = "file" if is_single else "per-file"
        if not moved:
            mode = "superseded" if superseded else "adopted"
        return transfer.PublishedAll(mode=mode, is_superseded=bool(superseded and not moved))

    def _publish_files(self, staged_dir: Location) -> tuple[int, int]:
        publisher = Publisher(
            ledger=self._ports.ledger,
            session=self._session,
            transfer_id=self._id,
            directory=self._directory,
            on_exists=self._job.on_exists,
            proven=self._proven,
            known=self._known if self._is_one_page else None,
            has_rivals=self._has_rivals,
        )
        return publisher.publish(staged_dir)

    def _proven(self) -> Iterator[Sequence[tuple[PlannedObject, StagedObject]]]:
        """The plan with its proofs, in order."""
        if self._is_one_page:
            yield [(planned, self._proofs[planned.seq]) for planned in self._first]
        else:
            yield from self._ports.ledger.staged(self._id, batch=PUBLISH_BATCH)

    # ------------------------------------------------------------ the end

    def _object_lines(self) -> Iterator[dict[str, Any]]:
        for batch in self._proven():
            for planned, proof in batch:
                target = self._directory.join(planned.relative)
                yield object_line(self._id, planned, proof, target)

    def _manifest(self) -> ManifestSum:
        """What the proofs of this attempt add up to, before they are sealed."""
        manifest = Manifest()
        for line in self._object_lines():
            manifest.add(line)
        return manifest.sum

    def _leave_evidence(self, directory: Location) -> None:
        """The manifest beside the data, where the route asks for it."""
        if self._job.evidence is EvidencePlace.BESIDE:
            for name, content in files(self._id, self._object_lines()):
                self._session.write_whole(directory.join(name), content)

    def _record(self, epoch: int, mode: str, *, is_superseded: bool) -> transfer.Event:
        state = TransferState.SUPERSEDED if is_superseded else TransferState.DONE
        clock = self._ports.clock
        manifest = self._manifest()
        is_owner = self._ports.ledger.finish(
            self._id, epoch, state, mode, clock.now(), manifest=manifest
        )
        if is_owner:
            totals = self._totals
            self._ports.emit(
                TransferDone(
                    transfer_id=self._id,
                    message_id=self._message_id,
                    source=self._job.request.source.uri,
                    destination=self._job.request.destination.uri,
                    objects=totals.objects,
                    size_bytes=totals.size_bytes,
                    copied_bytes=manifest.copied_bytes,
                    placeholders=totals.markers,
                    adopted=self._counts.adopted,
                    publish=mode,
                    is_superseded=is_superseded,
                    duration_s=clock.monotonic() - self._started_s,
                    proof_levels=manifest.proof_levels,
                    checksum_sources=manifest.checksum_sources,
                    manifest=manifest.manifest,
                )
            )
        return transfer.Recorded(is_owner=is_owner)

    def _tidy(self, epoch: int) -> transfer.Event:
        for _ in range(TIDY_TRIES):
            try:
                self._session.remove_staging(self._root, up_to=epoch)
                self._remove_stale()  # where nothing had to be fenced
            except BackhaulError:
                # The outcome is decided; what is left is hidden, and fenced by the next claim of
                # this destination.
                continue
            break
        return transfer.Tidied()


@dataclass(kw_only=True)
class _Counts:
    """Running totals of this attempt."""

    objects: int = 0
    size_bytes: int = 0
    adopted: int = 0
    is_planned: bool = field(default=False)


def unexpected(error: Exception) -> TransientError:
    """A bug, as an error that spends an attempt; the only place that accepts any exception."""
    return TransientError(
        "E_BUG",
        f"unexpected {type(error).__name__}: {error}",
        hint="this is a defect in Backhaul; the log has the traceback",
    )
