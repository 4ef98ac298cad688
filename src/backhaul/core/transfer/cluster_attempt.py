"""Between one attempt (`runner`) and the cluster (`cluster_stage`): choose, carry, adopt, accept.

The plan is listed and frozen whole before anything is submitted, as the choice needs its totals
and the acceptance needs its names.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Protocol

from backhaul.core.facts import CountersDiffer, EngineChosen, StagingRepaired
from backhaul.core.model import Assignment, EngineName, Location, Source
from backhaul.core.objects import Pin, StagedObject
from backhaul.core.ports import Clock, ClusterJob, Emit, Ledger, StageTask, TargetSession
from backhaul.core.ports.cluster import Cluster, JobCounters
from backhaul.core.transfer import steps as transfer
from backhaul.core.transfer.cluster_jobs import (
    ClusterProgress,
    ClusterStaging,
    Kept,
    NoRoom,
    OwnershipLost,
    no_cluster,
)
from backhaul.core.transfer.engine_choice import (
    MAX_LISTED,
    Choice,
    Load,
    cannot_carry,
    choose,
    copy_job,
    may_be_for_cluster,
)

ASKED = 8  # objects of a plan that S3 is asked about for the kind of their checksums
MAX_BUFFERED = 20  # pages looked at ahead that are kept in memory; more are read again

Chunks = Iterator[Sequence[StageTask]]


class Host(Protocol):
    """What the runner lends of its attempt."""

    @property
    def job(self) -> Assignment: ...
    @property
    def session(self) -> TargetSession: ...
    @property
    def staging_root(self) -> Location: ...
    @property
    def is_object(self) -> bool:
        """A single object is copied."""

    def chunks(self) -> Chunks:
        """What is to be staged, page by page, without what is published already."""

    def unstaged(self) -> Chunks:
        """The frozen plan without what has a proof of this epoch."""

    def names(self) -> Iterator[str]:
        """Of the frozen plan, relative to the target directory."""

    def note(self, batch: Sequence[StagedObject]) -> None:
        """Take proofs."""

    def flush(self) -> None:
        """Put the proofs taken so far into the ledger."""

    def tell(self, news: ClusterProgress) -> None:
        """Show how far it is."""

    def algorithms(self, pin: Pin) -> frozenset[str]:
        """Of the checksums that S3 keeps of this object."""


@dataclass(kw_only=True)
class _Ahead:
    """What a look at the plan has shown so far."""

    load: Load = field(default_factory=Load)
    last_seq: int = -1
    pages: int = 0
    buffer: list[Sequence[StageTask]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    largest: list[tuple[int, int, Pin]] = field(default_factory=list)
    is_flat: bool = True
    is_whole: bool = True
    obstacle: str | None = None


def always_native(job: Assignment, cluster: Cluster | None, obstacle: str | None) -> str | None:
    """Why it is the native engine whatever the load is; None when the load decides.

    Args:
        obstacle: Why DistCp cannot carry the plan.
    """
    if job.engine is EngineName.NATIVE:
        return "engine = native is asked for"
    if job.request.destination.scheme != "hdfs":
        return "the target is not HDFS"
    if job.run_as is not None:
        return f"the route acts for {job.run_as}, and YARN would know the agent alone"
    if obstacle is not None:
        return obstacle
    if job.engine is EngineName.AUTO:
        if cluster is None:
            return "no ResourceManager configured"
        if (missing := cluster.obstacle()) is not None:
            return missing.message
    return None


def engine_for(
    job: Assignment, cluster: Cluster | None, load: Load, obstacle: str | None
) -> Choice:
    """The engine for a complete plan.

    Raises:
        OutageError: `yarn`: DistCp is asked for, and this node cannot submit.
    """
    if load.objects == 0:
        return Choice(engine=EngineName.NATIVE, reason="nothing is left to copy")
    reason = always_native(job, cluster, obstacle)
    if reason is not None:
        return Choice(engine=EngineName.NATIVE, reason=reason)
    if cluster is None:
        raise no_cluster()
    if (missing := cluster.obstacle()) is not None:
        raise missing
    return choose(job.engine, load, cluster.rules)


class ClusterAttempt:
    """The cluster's engine for one attempt."""

    def __init__(
        self,
        host: Host,
        *,
        transfer_id: str,
        cluster: Cluster | None,
        ledger: Ledger,
        clock: Clock,
        emit: Emit,
    ) -> None:
        self._host = host
        self._id = transfer_id
        self._cluster = cluster
        self._ledger = ledger
        self._emit = emit
        self._clock = clock
        self._kept: Kept | None = None
        self._staging_or_none: ClusterStaging | None = None

    # ------------------------------------------------------------ what runs already

    def reattach(
        self, epoch: int, jobs: tuple[ClusterJob, ...], *, has_plan: bool
    ) -> transfer.Event:
        """Keep this transfer's application if it counts, end all others."""
        staging = self._staging
        newest = staging.worth_keeping(jobs)
        if newest is None:
            return transfer.Reattached(is_kept=False)
        if not has_plan or newest.epoch >= epoch:
            staging.end(newest)  # what it brings belongs to a plan that was dropped
            return transfer.Reattached(is_kept=False)
        root = self._host.staging_root
        highest, found = self._host.session.fence_keeping(root, newest.epoch, epoch)
        if highest >= epoch:
            return transfer.Fenced(highest_seen=highest)
        if found is None:
            staging.end(newest)  # somebody has removed what it writes to
            return transfer.Reattached(is_kept=False)
        self._kept = Kept(job=newest, epoch=found)
        return transfer.Reattached(is_kept=True)

    def end(self, jobs: tuple[ClusterJob, ...]) -> None:
        """Kill what may still fill staging of an earlier epoch."""
        for job in jobs:
            self._staging.end(job)

    # ------------------------------------------------------------ this attempt's staging

    def stage(self, epoch: int) -> tuple[transfer.Event | None, Chunks]:
        """Carry the plan, or leave it to the caller: then with what is to be staged."""
        try:
            if self._kept is not None:
                self._adopt(self._kept, epoch)
                return transfer.StagedAll(), iter(())
            seen, rest = self._look(self._host.chunks())
            choice = self._choose(seen)
            self._note(choice)
            if choice.engine is not EngineName.DISTCP:
                return None, self._again(seen, rest)
            self._carry(epoch, seen)
        except NoRoom as error:
            self._kept = None
            self._note(Choice(engine=EngineName.NATIVE, reason=error.message))
            return transfer.NoRoom(), iter(())
        except OwnershipLost:
            return transfer.Intended(is_owner=False), iter(())
        return transfer.StagedAll(), iter(())

    def _adopt(self, kept: Kept, epoch: int) -> None:
        counted = self._staging.follow(epoch, kept.job)
        self._host.session.take_over(self._host.staging_root, kept.epoch, epoch)
        self._accept(epoch, self._host.chunks(), counted)

    def _carry(self, epoch: int, seen: _Ahead) -> None:
        self._host.flush()
        staging = self._staging
        is_listed = not seen.is_whole and seen.is_flat and seen.load.objects <= MAX_LISTED
        job = copy_job(
            transfer_id=self._id,
            epoch=epoch,
            source=self._source,
            keys=tuple(seen.keys) if is_listed else None,
            target=self._host.staging_root.join(str(epoch)).uri,
            load=seen.load,
            rules=staging.rules,
            checksum_type=self._checksum_type(seen),
        )
        submitted = staging.submit(epoch, job)
        counted = staging.follow(epoch, submitted)
        self._accept(epoch, self._host.unstaged(), counted)

    def _checksum_type(self, seen: _Ahead) -> str:
        """What HDFS shall keep of the files: the kind that S3 keeps of most bytes.

        The largest objects stand for all. Where they do not, files are read for their proof.
        """
        by_type = {"CRC32C": 0, "CRC32": 0}
        for size_bytes, _, pin in seen.largest:
            kept = self._host.algorithms(pin)
            for each in by_type:
                if each in kept:
                    by_type[each] += size_bytes
                    break
        return max(by_type, key=lambda each: by_type[each])

    def _accept(self, epoch: int, tasks: Chunks, counted: JobCounters | None) -> None:
        """Prove what is there, copy what is not, remove what was not planned.

        DistCp's counters can only raise a doubt, and every file is looked at anyway.
        """
        directory = self._host.staging_root.join(str(epoch))
        session, verify = self._host.session, self._host.job.verify
        accepted = size_bytes = again = 0
        there = ([replace(task, is_there=True) for task in chunk] for chunk in tasks)
        for batch in session.stage(there, directory, verify):
            accepted += len(batch)
            size_bytes += sum(one.size_bytes for one in batch)
            again += sum(not one.was_there for one in batch)
            self._host.note(batch)
            self._host.tell(ClusterProgress(phase="proving"))
        removed = 0
        files, empty = session.count_files(directory)
        if files != accepted or empty:
            # What came to the prefix after it was listed, and S3A's directory markers.
            removed = session.prune(directory, list(self._host.names()))
        if counted is not None and not counted.agree_with(accepted, size_bytes):
            self._emit(
                CountersDiffer(
                    transfer_id=self._id,
                    counted=str(counted),
                    objects=accepted,
                    size_bytes=size_bytes,
                )
            )
        if again or removed:
            self._emit(StagingRepaired(transfer_id=self._id, objects=again, removed=removed))

    # ------------------------------------------------------------ the choice

    def _look(self, chunks: Chunks) -> tuple[_Ahead, Chunks]:
        """List on until it is clear that this node carries it, or the plan is complete."""
        seen = _Ahead()
        directory = None
        for chunk in chunks:
            seen.pages += 1
            if seen.pages <= MAX_BUFFERED:
                seen.buffer.append(chunk)
            for task in chunk:
                planned = task.planned
                seen.is_whole = seen.is_whole and planned.seq == seen.last_seq + 1
                seen.last_seq = planned.seq
                seen.load = seen.load.plus(planned)
                heapq.heappush(seen.largest, (planned.pin.size_bytes, planned.seq, planned.pin))
                if len(seen.largest) > ASKED:
                    heapq.heappop(seen.largest)
                seen.obstacle = seen.obstacle or cannot_carry(
                    planned, self._source, is_object=self._host.is_object
                )
                above = planned.pin.key.rpartition("/")[0]
                directory = above if directory is None else directory
                seen.is_flat = seen.is_flat and above == directory
                if len(seen.keys) < MAX_LISTED:
                    seen.keys.append(planned.pin.key)
            if not self._may_be_distcp(seen):
                break
        return seen, chunks

    def _may_be_distcp(self, seen: _Ahead) -> bool:
        if self._fixed(seen) is not None:
            return False
        if self._cluster is None:
            return True  # distcp is asked for, and `_choose` says what is missing
        return may_be_for_cluster(self._host.job.engine, seen.load, self._cluster.rules)

    def _fixed(self, seen: _Ahead) -> str | None:
        return always_native(self._host.job, self._cluster, seen.obstacle)

    def _choose(self, seen: _Ahead) -> Choice:
        return engine_for(self._host.job, self._cluster, seen.load, seen.obstacle)

    def _again(self, seen: _Ahead, rest: Chunks) -> Chunks:
        """From the start: what was looked at, then what was not."""
        if seen.pages <= MAX_BUFFERED:
            return chain(seen.buffer, rest)
        self._host.flush()
        return chain(self._until(seen.last_seq), rest)

    def _until(self, last_seq: int) -> Chunks:
        for chunk in self._host.unstaged():
            some = [task for task in chunk if task.planned.seq <= last_seq]
            yield some
            if len(some) < len(chunk):
                return

    def _note(self, choice: Choice) -> None:
        self._ledger.note_engine(self._id, choice.engine.value, choice.reason)
        self._emit(
            EngineChosen(transfer_id=self._id, engine=choice.engine.value, reason=choice.reason)
        )

    # ------------------------------------------------------------ parts

    @property
    def _source(self) -> Source:
        source = self._host.job.request.source
        if self._host.is_object or source.is_prefix:
            return source
        return Source(bucket=source.bucket, key=f"{source.key}/")

    @property
    def _staging(self) -> ClusterStaging:
        if self._cluster is None:
            raise no_cluster()
        if self._staging_or_none is None:
            self._staging_or_none = ClusterStaging(
                cluster=self._cluster,
                ledger=self._ledger,
                clock=self._clock,
                emit=self._emit,
                transfer_id=self._id,
                when_queued=self._host.job.when_queued,
                tell=self._host.tell,
            )
        return self._staging_or_none
