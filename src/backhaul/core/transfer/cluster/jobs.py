"""One attempt's dealings with the cluster's engine: submit, follow, adopt, accept, end.

The tag of an epoch is in the ledger before the client starts, and one epoch submits once. So
whatever dies, the next attempt finds the application by its tag, or knows that there is none:

* Die before or while the client lists: nothing runs; the next epoch submits anew.
* Die after the submission: the application goes on. The next attempt claims a higher epoch, keeps
  the staging that the application writes to, and follows it. Once it has ended, that staging is
  renamed to the new epoch's: an attempt that still uses the old one finds nothing to publish (S6).
* No answer proves nothing: the transfer is held, the application left alone.

DistCp's report is no proof of the data: the worker checks and proves every planned file, as it does
for the native engine, and copies natively what is missing or differs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from backhaul.core.errors import OutageError, TransientError
from backhaul.core.facts import ApplicationEnded, ApplicationFollowed
from backhaul.core.model import QueuedTooLong
from backhaul.core.ports import Clock, ClusterJob, Emit, Ledger, Ports
from backhaul.core.ports.cluster import (
    Application,
    AppState,
    Cluster,
    ClusterRules,
    CopyJob,
    JobCounters,
    JobProgress,
)
from backhaul.core.transfer.cluster.engine_choice import epoch_tag, no_cluster, transfer_tag
from backhaul.core.transfer.egress.meter import EgressMeter

LOOKS = 3  # times that an application is not found before there is none
FORGOTTEN_S = 60.0  # the same, for one that was seen: YARN may be recovering
END_LOOKS = 60  # looks at an application that was killed before it counts as not ending
# After these the client cannot have submitted anything.
NEVER_RAN = frozenset({"E_HADOOP_MISSING", "E_HADOOP_COMMAND"})
OUTAGE_MOST_S = 120.0  # without an answer for longer the transfer is held


class OwnershipLost(TransientError):
    """The destination belongs to another transfer now; what was submitted has been killed."""


class NoContainer(TransientError):
    """The application waited too long for a container; it has been killed."""


@dataclass(frozen=True, kw_only=True)
class ClusterProgress:
    """How far the cluster has come, for people.

    Attributes:
        phase: `listing`, `queued`, `copying` or `proving`.
    """

    phase: str
    size_bytes: int = 0
    objects: int = 0
    detail: str = ""


class ClusterJobs:
    """The cluster's part of one attempt.

    Args:
        report: Called with how far it is.
    """

    def __init__(
        self,
        *,
        cluster: Cluster,
        ledger: Ledger,
        clock: Clock,
        emit: Emit,
        transfer_id: str,
        when_queued: QueuedTooLong,
        meter: EgressMeter,
        report: Callable[[ClusterProgress], None],
    ) -> None:
        self._cluster = cluster
        self._ledger = ledger
        self._clock = clock
        self._emit = emit
        self._id = transfer_id
        self._when_queued = when_queued
        self._meter = meter
        self._counted_bytes = 0  # of the application that is followed
        self._report = report
        self._followed: str | None = None

    @property
    def rules(self) -> ClusterRules:
        """What the cluster's jobs are made by."""
        return self._cluster.rules

    # ------------------------------------------------------------ applications of earlier epochs

    def worth_keeping(self, jobs: tuple[ClusterJob, ...]) -> ClusterJob | None:
        """The newest of this transfer's own, if it runs or has succeeded; all others are ended."""
        own = [job for job in jobs if job.transfer_id == self._id]
        newest = max(own, key=lambda job: job.epoch, default=None)
        for job in jobs:
            if job is not newest:
                self.end(job)
        if newest is None:
            return None
        found = self._find(newest)
        if found is None or found.state in {AppState.FAILED, AppState.KILLED}:
            if found is not None:
                self._count_lost(newest, found)
            self._close(newest, found.state if found else None, "found so by a later attempt")
            return None
        return newest

    def end(self, job: ClusterJob) -> None:
        """Kill every application of this epoch, wait until none runs, and forget the job."""
        end_job(self._cluster, self._ledger, self._clock, job)
        self._emit(
            ApplicationEnded(
                transfer_id=job.transfer_id,
                application=job.application_id or "",
                state="killed",
                reason="it is not wanted any more",
            )
        )

    # ------------------------------------------------------------ a new one

    def submit(self, claim_epoch: int, job: CopyJob) -> ClusterJob:
        """Commit the tag, then submit; the application is found by it."""
        self._cluster.check_reachable()
        opened = ClusterJob(transfer_id=self._id, epoch=claim_epoch, application_id=None)
        if not self._ledger.open_job(self._id, claim_epoch, job.tags[1], self._clock.now()):
            raise OwnershipLost("E_OWNER_LOST", "the destination was claimed by another transfer")
        self._report(ClusterProgress(phase="listing"))
        try:
            self._cluster.submit(job, lambda: self._report(ClusterProgress(phase="listing")))
        except OutageError as error:
            if error.code in NEVER_RAN:
                self._close(opened, None, error.message)
            raise  # else nothing is known; the next attempt looks
        except TransientError as error:
            if error.code == "E_STOPPED" or self._find(opened) is not None:
                if error.code == "E_STOPPED":
                    raise
                return opened  # the client failed after it had submitted: the application counts
            self._close(opened, None, error.message)
            raise
        return opened

    def _end_strays(self, job: ClusterJob) -> None:
        """One of an earlier epoch that was given up as unknown to YARN may have come back."""
        tag = epoch_tag(job.transfer_id, job.epoch)
        for one in self._cluster.find(transfer_tag(job.transfer_id)):
            if tag not in one.tags and not one.state.is_over:
                self._cluster.kill(one.id)

    # ------------------------------------------------------------ following

    def follow(self, claim_epoch: int, job: ClusterJob) -> JobCounters | None:
        """Return once the application has succeeded, with what it counted; None: unknown.

        Raises:
            NoContainer: E_YARN_QUEUE, and the route wants this node to take over.
            TransientError: It failed, was killed, is unknown to YARN, or waited too long.
            OwnershipLost: It was killed, as this transfer could not publish what it brings.
        """
        last: JobProgress | None = None
        self._counted_bytes = job.size_bytes
        self._meter.continue_yarn(job.size_bytes)
        started_s = self._clock.monotonic()
        while True:
            found = self._find(job)
            if found is None:
                self._close(job, None, "unknown to YARN")
                raise TransientError(
                    "E_YARN_FORGOTTEN",
                    f"YARN knows no application tagged {epoch_tag(job.transfer_id, job.epoch)}",
                    hint="a ResourceManager that was restarted without recovery forgets what ran;"
                    " the transfer starts again in new staging",
                )
            if found.state.is_over:
                counted = self._ended(claim_epoch, job, found, last)
                self._end_strays(job)
                return counted
            progress = self._progress(found)
            self._report_state(found, progress)
            last = progress or last
            self._note(claim_epoch, job, found, progress)
            # A manager with access control hides the time of submission from other users.
            waited_s = max(found.waited_s, self._clock.monotonic() - started_s)
            if found.state is AppState.QUEUED and waited_s > self._cluster.rules.queue_timeout_s:
                self._give_up_waiting(job, replace(found, waited_s=waited_s))
            self._cluster.pause(self._cluster.rules.poll_s)

    def _note(
        self, claim_epoch: int, job: ClusterJob, found: Application, progress: JobProgress | None
    ) -> None:
        if progress is not None:
            self._count(progress.size_bytes)
        now, read = self._clock.now(), self._meter.unrecorded()
        if not self._ledger.note_job(self._id, claim_epoch, job.epoch, found, progress, now, read):
            self.end(job)
            raise OwnershipLost("E_OWNER_LOST", "the destination was claimed by another transfer")
        self._meter.recorded(read)

    def _count(self, size_bytes: int) -> None:
        """Its mappers have copied so much in all; a look may miss what an earlier one knew."""
        more = size_bytes - self._counted_bytes
        if more > 0:
            self._counted_bytes = size_bytes
            self._meter.add_yarn(more)

    def _count_lost(self, job: ClusterJob, found: Application) -> None:
        """One that ended without success while nobody followed it has read, too."""
        counters = self._cluster.counters(found)
        if counters is not None and counters.size_bytes > job.size_bytes:
            self._meter.add_lost_yarn(job.size_bytes, counters.size_bytes - job.size_bytes)

    def _ended(
        self, claim_epoch: int, job: ClusterJob, found: Application, last: JobProgress | None
    ) -> JobCounters | None:
        """What it counted, where it succeeded.

        Args:
            last: What its master reported last.
        """
        is_success = found.state is AppState.SUCCEEDED
        counted = self._counted(found, last)
        if counted is not None:
            self._count(counted.size_bytes)
        self._emit(
            ApplicationEnded(
                transfer_id=job.transfer_id,
                application=found.id,
                state=found.state.value,
                reason=found.diagnostics,
                counters=str(counted or "unknown") if is_success else None,
            )
        )
        if is_success:
            if counted is not None:
                last = last or JobProgress(maps_done=0, maps=0, size_bytes=0)
                last = replace(last, maps_done=last.maps, size_bytes=counted.size_bytes)
                last = replace(last, counters=counted)
            self._note(claim_epoch, job, found, last)
            return counted
        self._close(job, found.state, found.diagnostics)
        raise TransientError(
            "E_DISTCP_FAILED",
            f"{found.id} {found.state}: {found.diagnostics or 'no diagnostics'}",
            hint=f"its logs: yarn logs -applicationId {found.id}; nothing of it was published",
        )

    def _give_up_waiting(self, job: ClusterJob, found: Application) -> None:
        self.end(job)
        reason = f"{found.id} waited {found.waited_s:.0f} s for a first container and was killed"
        if self._when_queued is QueuedTooLong.NATIVE:
            raise NoContainer("E_YARN_QUEUE", reason)
        raise TransientError(
            "E_YARN_QUEUE",
            reason,
            hint="give the queue more room, name another one in [distcp] queue, or raise"
            " queue_timeout_s",
        )

    def _find(self, job: ClusterJob) -> Application | None:
        """The application of this epoch; None once YARN has denied it several times."""
        tag = epoch_tag(job.transfer_id, job.epoch)
        started_s = self._clock.monotonic()
        was_seen = self._followed is not None or job.application_id is not None
        misses = 0
        while True:
            try:
                found = self._cluster.find(tag)
            except OutageError:
                if not was_seen or self._clock.monotonic() > started_s + OUTAGE_MOST_S:
                    raise
            else:
                if found:
                    self._note_found(job, found[0])
                    return found[0]
                misses += 1
                forgotten_s = started_s + (FORGOTTEN_S if was_seen else 0)
                if misses >= LOOKS and self._clock.monotonic() >= forgotten_s:
                    return None
            self._cluster.pause(self._cluster.rules.poll_s)

    def _note_found(self, job: ClusterJob, found: Application) -> None:
        if self._followed != found.id:
            self._followed = found.id
            self._emit(
                ApplicationFollowed(
                    transfer_id=job.transfer_id,
                    application=found.id,
                    tag=epoch_tag(job.transfer_id, job.epoch),
                    state=found.state.value,
                    tracking_url=found.tracking_url,
                )
            )

    def _counted(self, found: Application, last: JobProgress | None) -> JobCounters | None:
        """From its master, where all maps were seen done; else from the history server."""
        if last is not None and last.counters is not None:
            return last.counters
        return self._cluster.counters(found)

    def _progress(self, found: Application) -> JobProgress | None:
        return self._cluster.progress(found) if found.state is AppState.RUNNING else None

    def _report_state(self, found: Application, progress: JobProgress | None) -> None:
        if found.state is AppState.QUEUED:
            self._report(ClusterProgress(phase="queued", detail=found.tracking_url))
            return
        maps = (
            f"maps {progress.maps_done} of {progress.maps}" if progress else f"{found.progress:.0%}"
        )
        self._report(
            ClusterProgress(
                phase="copying",
                size_bytes=progress.size_bytes if progress else 0,
                objects=progress.objects if progress else 0,
                detail=f"{maps}, {found.tracking_url}",
            )
        )

    def _close(self, job: ClusterJob, state: AppState | None, reason: str) -> None:
        word = state.value if state else "unknown"
        self._ledger.close_job(job.transfer_id, job.epoch, word, reason, self._clock.now())


def end_job(cluster: Cluster, ledger: Ledger, clock: Clock, job: ClusterJob) -> None:
    """Kill the applications of this epoch, wait until none runs, and close it in the ledger.

    Raises:
        OutageError: YARN does not answer, or the application does not end; the job stays open.
    """
    tag = epoch_tag(job.transfer_id, job.epoch)
    for _ in range(END_LOOKS):
        running = [one for one in cluster.find(tag) if not one.state.is_over]
        if not running:
            ledger.close_job(
                job.transfer_id, job.epoch, "killed", "not wanted any more", clock.now()
            )
            return
        for one in running:
            cluster.kill(one.id)
        cluster.pause(cluster.rules.poll_s)
    raise OutageError.of(
        "yarn",
        "E_YARN_KILL",
        f"an application tagged {tag} was killed and does not end",
        hint=f"look at it: yarn application -list -appTags {tag}",
    )


def discard(ports: Ports, transfer_id: str, user: str | None) -> None:
    """End what a transfer that is given up left behind: applications, then staging.

    Args:
        user: Whom its route acts for.

    Raises:
        BackhaulError: Something of it may be left.
    """
    for job in ports.ledger.jobs(transfer_id):
        if ports.cluster is None:
            raise no_cluster()
        end_job(ports.cluster, ports.ledger, ports.clock, job)
    left = ports.ledger.staging_of(transfer_id)
    if left is not None:
        with ports.pool.session(left.staging_root.filesystem, user) as session:
            session.remove_staging(left.staging_root, up_to=left.epoch)
