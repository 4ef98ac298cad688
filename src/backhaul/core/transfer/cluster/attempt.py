"""One attempt by DistCp: choose the engine, carry the plan, accept what came.

The plan is listed and frozen whole before anything is submitted, as the choice needs its totals
and the acceptance needs its names. `cluster.jobs` deals with the applications themselves.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from backhaul.core.facts import CountersDiffer, EngineChosen, StagingRepaired
from backhaul.core.model import Assignment, EngineName
from backhaul.core.objects import Pin
from backhaul.core.ports import ClusterJob, Ports, StageTask
from backhaul.core.ports.cluster import JobCounters
from backhaul.core.transfer.borrowed_worker import BorrowedWorker
from backhaul.core.transfer.cluster.engine_choice import (
    MAX_LISTED,
    Choice,
    Load,
    always_native,
    cannot_carry,
    copy_job,
    engine_for,
    may_be_for_cluster,
    no_cluster,
)
from backhaul.core.transfer.cluster.jobs import (
    ClusterJobs,
    ClusterProgress,
    NoContainer,
)
from backhaul.core.transfer.egress.meter import EgressMeter
from backhaul.core.transfer.plan import Plan
from backhaul.core.transfer.proof_records import Proofs
from backhaul.core.transfer.staging import Staging

SAMPLED = 8  # objects of a plan whose kind of checksum S3 is queried for
MAX_BUFFERED = 20  # pages looked at ahead that are kept in memory; more are read again

Pages = Iterator[Sequence[StageTask]]


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


class ClusterAttempt:
    """The cluster's engine for one attempt.

    Args:
        report: Called with how far it is.

    Attributes:
        is_following: An application of an earlier epoch is kept: what it brings becomes this
            epoch's, and its staging is not fenced.
    """

    def __init__(
        self,
        *,
        ports: Ports,
        transfer_id: str,
        job: Assignment,
        plan: Plan,
        proofs: Proofs,
        worker: BorrowedWorker,
        meter: EgressMeter,
        report: Callable[[ClusterProgress], None],
    ) -> None:
        self._cluster = ports.cluster
        self._ledger = ports.ledger
        self._store = ports.store
        self._emit = ports.emit
        self._clock = ports.clock
        self._id = transfer_id
        self._job = job
        self._plan = plan
        self._proofs = proofs
        self._worker = worker
        self._meter = meter
        self._report = report
        self._kept: tuple[ClusterJob, int] | None = None  # and the epoch that its staging has now
        self._is_native = False  # YARN had no container: this node carries the bytes
        self._jobs_or_none: ClusterJobs | None = None

    # ------------------------------------------------------------ what runs already

    @property
    def is_following(self) -> bool:
        return self._kept is not None

    def reattach(self, staging: Staging) -> int:
        """Keep this transfer's application if it counts, end all others.

        Returns:
            The highest epoch found in staging, where one was kept and it had to be looked at; when
            it is not below this one, the destination must be claimed above it. Else 0.
        """
        jobs, epoch = self._jobs, staging.epoch
        newest = jobs.worth_keeping(staging.jobs)
        if newest is None:
            return 0
        if not self._plan.is_frozen or newest.epoch >= epoch:
            jobs.end(newest)  # what it brings belongs to a plan that was dropped
            return 0
        highest, found = self._worker.session.fence_keeping(staging.root, newest.epoch, epoch)
        if highest >= epoch:
            return highest
        if found is None:
            jobs.end(newest)  # the directory that it writes to was removed
            return 0
        self._kept = newest, found
        return 0

    def end(self, jobs: tuple[ClusterJob, ...]) -> None:
        """Kill what may still fill staging of an earlier epoch."""
        for job in jobs:
            self._jobs.end(job)

    # ------------------------------------------------------------ this attempt's staging

    def may_carry(self, staging: Staging) -> bool:
        """False where there is no choice: nothing is looked at ahead, and none is recorded."""
        if self._is_native:
            return False
        if staging.jobs:
            return True  # an application may be followed, whatever engine the route has by now
        wanted = self._job.engine
        return wanted is not EngineName.NATIVE and not (
            wanted is EngineName.AUTO and self._cluster is None
        )

    def stage(self, staging: Staging, pages: Pages) -> Pages | None:
        """Carry the plan, or leave it to this node.

        Args:
            pages: What is to be staged; a new plan is frozen as it is read.

        Returns:
            What this node is to stage; None when every object is proven.

        Raises:
            NoContainer: YARN gave none in time; from now on this node carries the plan.
            OwnershipLost: The destination was claimed by another transfer.
        """
        try:
            if self._kept is not None:
                self._adopt(*self._kept, staging, pages)
                return None
            seen, rest = self._look(pages)
            choice = engine_for(self._job, self._cluster, seen.load, seen.obstacle)
            self._note(choice)
            if choice.engine is not EngineName.DISTCP:
                return self._again(seen, rest)
            self._carry(staging, seen)
        except NoContainer as error:
            self._kept = None
            self._is_native = True
            self._note(Choice(engine=EngineName.NATIVE, reason=error.message))
            raise
        return None

    def _adopt(self, kept: ClusterJob, found: int, staging: Staging, pages: Pages) -> None:
        counted = self._jobs.follow(staging.epoch, kept)
        self._worker.session.take_over(staging.root, found, staging.epoch)
        self._accept(staging, pages, counted)

    def _carry(self, staging: Staging, seen: _Ahead) -> None:
        self._proofs.flush()
        jobs, epoch = self._jobs, staging.epoch
        is_listed = not seen.is_whole and seen.is_flat and seen.load.objects <= MAX_LISTED
        job = copy_job(
            transfer_id=self._id,
            epoch=epoch,
            source=self._plan.source,
            keys=tuple(seen.keys) if is_listed else None,
            target=staging.directory.uri,
            load=seen.load,
            rules=jobs.rules,
            checksum_type=self._checksum_type(seen),
        )
        counted = jobs.follow(epoch, jobs.submit(epoch, job))
        self._accept(staging, self._unstaged(), counted)

    def _unstaged(self) -> Pages:
        for planned in self._plan.unstaged():
            yield self._worker.tasks(planned)

    def _checksum_type(self, seen: _Ahead) -> str:
        """What HDFS shall keep of the files: the kind that S3 keeps of most bytes.

        Sampled from the largest objects. Files of another kind are read for their proof.
        """
        by_type = {"CRC32C": 0, "CRC32": 0}
        for size_bytes, _, pin in seen.largest:
            kept = self._store.algorithms(pin, owner=self._job.source_owner)
            for each in by_type:
                if each in kept:
                    by_type[each] += size_bytes
                    break
        return max(by_type, key=lambda each: by_type[each])

    def _accept(self, staging: Staging, pages: Pages, counted: JobCounters | None) -> None:
        """Prove what is there, copy what is not, remove what was not planned.

        DistCp's counters can only raise a doubt, and every file is looked at anyway.
        """
        directory, session = staging.directory, self._worker.session
        accepted = size_bytes = again = 0
        there = ([replace(task, is_there=True) for task in page] for page in pages)
        for batch in session.stage(there, directory, self._job.verify):
            accepted += len(batch)
            size_bytes += sum(one.size_bytes for one in batch)
            again += sum(not one.was_there for one in batch)
            self._proofs.add(batch)
            self._report(ClusterProgress(phase="proving"))
        removed = 0
        files, empty = session.count_files(directory)
        if files != accepted or empty:
            # What came to the prefix after it was listed, and S3A's directory markers.
            removed = session.prune(directory, list(self._plan.names()))
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

    def _look(self, pages: Pages) -> tuple[_Ahead, Pages]:
        """List on until it is clear that this node carries it, or the plan is complete."""
        seen = _Ahead()
        directory = None
        for page in pages:
            seen.pages += 1
            if seen.pages <= MAX_BUFFERED:
                seen.buffer.append(page)
            for task in page:
                planned = task.planned
                seen.is_whole = seen.is_whole and planned.seq == seen.last_seq + 1
                seen.last_seq = planned.seq
                seen.load = seen.load.plus(planned)
                heapq.heappush(seen.largest, (planned.pin.size_bytes, planned.seq, planned.pin))
                if len(seen.largest) > SAMPLED:
                    heapq.heappop(seen.largest)
                seen.obstacle = seen.obstacle or cannot_carry(
                    planned, self._plan.source, is_object=not self._plan.is_tree
                )
                above = planned.pin.key.rpartition("/")[0]
                directory = above if directory is None else directory
                seen.is_flat = seen.is_flat and above == directory
                if len(seen.keys) < MAX_LISTED:
                    seen.keys.append(planned.pin.key)
            if not self._may_be_distcp(seen):
                break
        return seen, pages

    def _may_be_distcp(self, seen: _Ahead) -> bool:
        if always_native(self._job, self._cluster, seen.obstacle) is not None:
            return False
        if self._cluster is None:
            return True  # engine = distcp, and `engine_for` raises with what is missing
        return may_be_for_cluster(self._job.engine, seen.load, self._cluster.rules)

    def _again(self, seen: _Ahead, rest: Pages) -> Pages:
        """From the start: what was looked at, then what was not."""
        if seen.pages <= MAX_BUFFERED:
            return chain(seen.buffer, rest)
        self._proofs.flush()
        return chain(self._until(seen.last_seq), rest)

    def _until(self, last_seq: int) -> Pages:
        for page in self._unstaged():
            some = [task for task in page if task.planned.seq <= last_seq]
            yield some
            if len(some) < len(page):
                return

    def _note(self, choice: Choice) -> None:
        self._ledger.note_engine(self._id, choice.engine.value, choice.reason)
        self._emit(
            EngineChosen(transfer_id=self._id, engine=choice.engine.value, reason=choice.reason)
        )

    @property
    def _jobs(self) -> ClusterJobs:
        if self._cluster is None:
            raise no_cluster()
        if self._jobs_or_none is None:
            self._jobs_or_none = ClusterJobs(
                cluster=self._cluster,
                ledger=self._ledger,
                clock=self._clock,
                emit=self._emit,
                transfer_id=self._id,
                when_queued=self._job.when_queued,
                meter=self._meter,
                report=self._report,
            )
        return self._jobs_or_none
