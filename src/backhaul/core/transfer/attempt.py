"""The heart: one attempt of one transfer, in the order that keeps the data safe.

    resolve → claim → adopt → fence → stage → intend → publish → tidy → record

Each step must be *known* to have succeeded before the next one starts, and each may be repeated.
The comments in `Attempt._work` show what becomes of the data when the process dies there.
The properties are S1 to S6 in docs/reliability.md.

Every effect goes through a port, in the calling thread. Bytes never pass through here: a worker
process moves them. What a failure means for the message is `outcome`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from backhaul.core.errors import BackhaulError, NoVerdict, SourceChanged, TakenOver
from backhaul.core.model import STAGING_NAME, Assignment, EvidencePlace, TransferState
from backhaul.core.ports import AttemptStart, Ports, StageTask
from backhaul.core.requests.policy import Policy
from backhaul.core.transfer.attempt_facts import AttemptReport
from backhaul.core.transfer.borrowed_worker import BorrowedWorker
from backhaul.core.transfer.cluster.attempt import ClusterAttempt
from backhaul.core.transfer.cluster.jobs import NoContainer, OwnershipLost
from backhaul.core.transfer.egress.meter import EgressMeter
from backhaul.core.transfer.outages import WAIT_MOST_S
from backhaul.core.transfer.outcome import (
    DONE,
    WAIT,
    Budget,
    Verdict,
    after_failure,
)
from backhaul.core.transfer.placing import staging_anchor
from backhaul.core.transfer.plan import Plan
from backhaul.core.transfer.proof_records import Proofs
from backhaul.core.transfer.publishing import Publisher, PublishOutcome
from backhaul.core.transfer.readers.completion_marker import CompletionMarker
from backhaul.core.transfer.reuse import Reuse
from backhaul.core.transfer.staging import Staging

CHECK_OWNER_EVERY_S = 5.0  # while bytes come in


class Attempt:
    """One attempt of one transfer.

    Args:
        policy: Called again at resolution and right before publishing, so that a route removed
            meanwhile counts (S5).
        message_id: None for `backhaul copy`.
        wait_most_s: See `OutageWatch`.
    """

    def __init__(
        self,
        *,
        ports: Ports,
        policy: Callable[[], Policy],
        begun: AttemptStart,
        job: Assignment,
        budget: Budget,
        message_id: str | None,
        wait_most_s: float = WAIT_MOST_S,
    ) -> None:
        self._ports = ports
        self._id = begun.transfer_id
        self._job = job
        self._budget = budget
        self._worker = worker = BorrowedWorker(
            ports=ports, transfer_id=self._id, job=job, wait_most_s=wait_most_s
        )
        self._plan = plan = Plan(ports=ports, policy=policy, job=job, begun=begun)
        meter = EgressMeter(ports=ports, begun=begun, route=job.route, worker=worker)
        self._proofs = proofs = Proofs(
            ledger=ports.ledger, clock=ports.clock, transfer_id=self._id, plan=plan, meter=meter
        )
        self._report = AttemptReport(
            ports=ports,
            begun=begun,
            job=job,
            message_id=message_id,
            plan=plan,
            proofs=proofs,
            worker=worker,
            meter=meter,
        )
        self._cluster = ClusterAttempt(
            ports=ports,
            transfer_id=self._id,
            job=job,
            plan=plan,
            proofs=proofs,
            worker=worker,
            meter=meter,
            report=self._report.cluster_progress,
        )
        self._claimed: Staging | None = None

    def run(self) -> Verdict:
        """Work until it is decided what becomes of the message.

        Every `BackhaulError` becomes a verdict, except those of the ledger below.

        Raises:
            NoVerdict: The ledger is damaged, or others have taken over.
            TakenOver: Another process has begun the transfer since.
            OutageError: `ledger`: a changed source could not be recorded.
        """
        self._report.started()
        with self._plan.reservation.until_its_end(), self._worker, self._report.until_its_end():
            try:
                verdict = self._work()
            except OwnershipLost:
                verdict = WAIT
            except NoVerdict:
                raise
            except BackhaulError as error:
                verdict = self._failed(self._worker.watch.judged(error))
            if isinstance(verdict.error, SourceChanged):
                self._ports.ledger.forget_plan(self._id)
            return verdict

    def _work(self) -> Verdict:
        """The promise, step by step."""
        # A frozen plan is not listed again. What does not fit into a budget does not begin.
        self._plan.resolve()
        # One turn, unless a lost ledger or YARN makes it claim again under a higher epoch.
        min_epoch: int | None = 1
        while min_epoch is not None:
            # Die before the intent and nothing was published: the next attempt claims a higher
            # epoch, whose fence removes this one's staging, so that a rename by a process that
            # went on unnoticed finds no source.
            if not self._claim(min_epoch):
                return WAIT  # another live transfer owns the destination
            if self._plan.is_overtaken:
                return self._finish(PublishOutcome.SUPERSEDED, is_intended=False)
            # Look before the fence: what an earlier attempt published need not be copied again.
            if self._plan.may_be_published and self._adopt_renamed():
                return self._finish(PublishOutcome.ADOPTED, is_intended=False)
            min_epoch = self._fence() or self._stage()
        # Die between the intent and the record and renames may have happened: the next attempt
        # looks at the final paths first, and adopts what is proven to be there.
        if not self._intend():
            return WAIT
        return self._finish(self._publish(), is_intended=True)

    # ------------------------------------------------------------ claim

    def _claim(self, min_epoch: int) -> bool:
        """Own the destination under a new epoch; False while another live transfer does."""
        plan = self._plan
        plan.check_target()
        session = self._worker.session
        existing = session.existing_ancestor(plan.directory)
        anchor = staging_anchor(self._job.anchor, plan.directory, existing, is_tree=plan.is_tree)
        claimed = plan.claim(anchor, min_epoch)
        if claimed is not None and not claimed.staging_root.is_within(anchor.join(STAGING_NAME)):
            # An application of an earlier attempt fills staging that is in the wrong place by now.
            self._cluster.end(claimed.jobs)
            claimed = plan.claim(anchor, claimed.epoch + 1)
        if claimed is None:
            return False
        self._worker.staging_root = claimed.staging_root
        plan.check_overtaken()
        self._claimed = Staging(
            claimed,
            ports=self._ports,
            session=session,
            transfer_id=self._id,
            job=self._job,
            plan=plan,
            may_hold_files=existing == plan.directory,
        )
        return True

    @property
    def _staging(self) -> Staging:
        if self._claimed is None:
            raise AssertionError("staging is known only after the claim")
        return self._claimed

    @property
    def _reuse(self) -> Reuse:
        return Reuse(
            ports=self._ports,
            worker=self._worker,
            transfer_id=self._id,
            job=self._job,
            plan=self._plan,
            proofs=self._proofs,
        )

    @property
    def _marker(self) -> CompletionMarker:
        return CompletionMarker(
            ledger=self._ports.ledger,
            session=self._worker.session,
            job=self._job,
            directory=self._plan.directory,
            names=self._plan.names,
            may_be_published=self._plan.may_be_published,
        )

    def _adopt_renamed(self) -> bool:
        """Whether everything is at its final path already, renamed by an earlier attempt.

        Where files of Backhaul's own belong beside the data, publishing has to leave them first.
        """
        is_alone = self._job.evidence is not EvidencePlace.BESIDE
        return self._reuse.adopt_renamed() and is_alone and self._marker.is_there()

    # ------------------------------------------------------------ fence

    def _fence(self) -> int | None:
        """After this, nothing of a lower epoch can be renamed to the destination.

        Returns:
            The epoch to claim instead. Only after a lost ledger: epochs started again below what
            staging shows.
        """
        staging = self._staging
        highest = 0
        if staging.jobs:
            # What an application of an earlier epoch fills is not to be removed unseen.
            highest = self._cluster.reattach(staging)
            staging.remove_abandoned()
        if highest < staging.epoch and not self._cluster.is_following:
            highest = staging.fence()
        return highest + 1 if highest >= staging.epoch else None

    # ------------------------------------------------------------ stage

    def _stage(self) -> int | None:
        """Copy and prove every object that has no proof in this epoch.

        Returns:
            The epoch to claim instead, when YARN gave no container in time: its fence removes what
            the application may have left, and this node carries the bytes.
        """
        staging, pages = self._staging, self._pages()
        self._plan.reservation.is_forced |= self._cluster.is_following
        if self._cluster.may_carry(staging):
            try:
                rest = self._cluster.stage(staging, pages)
            except NoContainer:
                # The plan was listed and frozen whole, or DistCp could not have been chosen.
                self._plan.is_frozen = True
                self._proofs.drop()
                return staging.epoch + 1
        else:
            rest = pages
        if rest is not None:
            self._stage_here(rest)
        self._proofs.check_whole()
        self._marker.stage(staging.directory)
        return None

    def _pages(self) -> Iterator[Sequence[StageTask]]:
        """What is to be staged, page by page, without what is at its final path already."""
        staging = self._staging
        for planned in self._plan.pages():
            self._report.planned()
            rest = self._reuse.without_published(planned, may_hold_files=staging.may_hold_files)
            if staging.may_hold_files:
                staging.placing.prepare(one.relative for one in rest)
            yield self._worker.tasks(rest)

    def _stage_here(self, pages: Iterator[Sequence[StageTask]]) -> None:
        """By this node's worker."""
        clock, session = self._ports.clock, self._worker.session
        reservation = self._plan.reservation
        pages, more = reservation.checked(pages), reservation.more
        checked_s = clock.monotonic()
        for batch in session.stage(pages, self._staging.directory, self._job.verify, more):
            self._proofs.add(batch)
            reservation.check()
            self._report.progress("staging")
            now_s = clock.monotonic()
            if now_s - checked_s > CHECK_OWNER_EVERY_S:
                checked_s = now_s
                self._check_owner()

    def _check_owner(self) -> None:
        """Cancelled, or taken over while this process was paused: then no byte more."""
        if not self._ports.ledger.is_mine(self._id):
            raise TakenOver(
                "E_TAKEN_OVER",
                f"{self._id} was cancelled, or another process began it anew",
                hint="nothing: what becomes of it is decided already",
            )

    # ------------------------------------------------------------ publish

    def _intend(self) -> bool:
        """Record that renames may exist from here on, if policy and ownership still allow them."""
        self._plan.check_policy()
        return self._proofs.intend(self._staging.epoch)

    def _publish(self) -> PublishOutcome:
        """Rename from staging to the final paths."""
        self._report.progress("publishing")
        return Publisher(
            ledger=self._ports.ledger,
            session=self._worker.session,
            transfer_id=self._id,
            job=self._job,
            plan=self._plan,
            proofs=self._proofs,
            staging=self._staging,
            marker=self._marker,
        ).publish()

    # ------------------------------------------------------------ the end

    def _finish(self, outcome: PublishOutcome, *, is_intended: bool) -> Verdict:
        """Remove staging while the destination is still owned, then record the end.

        Die after the record and the message is only deleted when it comes again: no attempt would
        remove staging that is left. Only after the record may the message be deleted.
        """
        self._staging.remove()
        return DONE if self._record(outcome, is_intended=is_intended) else WAIT

    def _record(self, outcome: PublishOutcome, *, is_intended: bool) -> bool:
        """Record DONE or SUPERSEDED; False when the destination is not owned any more."""
        is_superseded = outcome is PublishOutcome.SUPERSEDED
        state = TransferState.SUPERSEDED if is_superseded else TransferState.DONE
        manifest = self._proofs.manifest()
        is_owner = self._ports.ledger.finish(
            self._id,
            self._staging.epoch,
            state,
            outcome.value,
            self._ports.clock.now(),
            manifest=manifest,
            marker=None if is_superseded else self._marker.location,
            is_intended=is_intended,
        )
        if is_owner:
            self._report.done(outcome, manifest)
        return is_owner

    def _failed(self, error: BackhaulError) -> Verdict:
        verdict = after_failure(error, self._budget)
        # No later attempt, or none for weeks, whose fence would remove this staging.
        if verdict.is_for_long and self._claimed is not None:
            self._claimed.remove()
        return verdict
