"""The worker's work in the calling thread: the real stager and operations, on fakes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Concatenate

from backhaul.core.checksums import Digest
from backhaul.core.errors import BackhaulError, OutageError, TransientError
from backhaul.core.model import Location, VerifyLevel
from backhaul.core.objects import StagedObject
from backhaul.core.ports import (
    Endpoint,
    Progress,
    SourceReader,
    StageTask,
    TargetFs,
    Watch,
)
from backhaul.engines.calls import Arguments, Result, TargetCalls
from backhaul.engines.counter import Counter
from backhaul.engines.native import Cancelled, Stager
from backhaul.engines.operations import PARALLEL, TargetOperations
from backhaul.engines.tuning import Tuning
from backhaul.testing.fakes.faults import Faults

PATIENCE_S = 120.0


@dataclass(kw_only=True)
class InlinePool:
    """Implements `ports.TargetPool`.

    Attributes:
        targets: File system URI (`Location.filesystem`) to the target behind it.
        new_event: Makes what a stager waits on between tries; a `FakeEvent` takes no time.
        parallel: Threads for several paths at once; 1 keeps everything in the calling thread.
        is_aborted: Set by `abort`; every call of a session is refused then.
        down: What a probe finds.
        interleave: Of so many objects that a staging call has open, how many are staged next:
            before the next chunk is pulled, and during each call made meanwhile. None: all of
            them before, none during a call.
        still_s: For how long nothing has moved when a staging call begins.
    """

    targets: Mapping[str, TargetFs]
    reader: SourceReader
    new_digest: Callable[[str], Digest]
    faults: Faults
    tuning: Tuning
    new_event: Callable[[], threading.Event] = threading.Event
    parallel: int = PARALLEL
    is_aborted: bool = False
    down: Callable[[], Sequence[OutageError]] = tuple
    interleave: Callable[[int], int] | None = None
    still_s: float = 0.0

    @contextmanager
    def session(self, filesystem: str, user: str | None = None) -> Iterator[InlineSession]:
        """See the port."""
        with self.faults.call("pool.session"):
            session = self.lend(self.targets[filesystem])
        yield session

    def lend(self, target: TargetFs) -> InlineSession:
        """A session on this target."""
        return InlineSession(self, target)

    def abort(self) -> None:
        """As killing all workers: every later call fails."""
        self.is_aborted = True


class InlineSession(TargetCalls):
    """Implements `ports.TargetSession`."""

    def __init__(self, pool: InlinePool, target: TargetFs) -> None:
        self._pool = pool
        self._target = target
        self._counter = Counter()
        self._operations = TargetOperations(
            target,
            pool.new_digest,
            self._counter,
            lambda: pool.reader,
            parallel=pool.parallel,
        )
        self._started_bytes = 0
        self._objects = 0
        self._staging: _OpenStaging | None = None
        self._watch: Watch | None = None

    @property
    def progress(self) -> Progress:
        moved = self._counter.size_bytes - self._started_bytes
        return Progress(
            size_bytes=moved,
            objects=self._objects,
            received_bytes=self._counter.received_bytes,
            repeated_bytes=self._counter.repeated_bytes,
        )

    def _call(
        self,
        operation: Callable[Concatenate[TargetOperations, Arguments], Result],
        /,
        *arguments: Arguments.args,
        **named: Arguments.kwargs,
    ) -> Result:
        self._refuse_aborted()
        self._stage_during_a_call()
        return operation(self._operations, *arguments, **named)

    def stage(
        self,
        tasks: Iterator[Sequence[StageTask]],
        directory: Location,
        verify: VerifyLevel,
        more: Callable[[int], None] | None = None,
    ) -> Iterator[Sequence[StagedObject]]:
        """See the port; one batch per object."""
        for still_s in (self._pool.still_s, 0.0):
            if self._watch is not None and (error := self._watch.look(still_s, PATIENCE_S)):
                raise error
        self._started_bytes, self._objects = self._counter.size_bytes, 0

        def ask(size_bytes: int) -> None:
            if more is not None:
                try:
                    more(size_bytes)
                except BackhaulError as error:
                    staging.error = error
                    raise Cancelled from error

        stager = Stager(
            reader=self._pool.reader,
            target=self._target,
            new_digest=self._pool.new_digest,
            tuning=self._pool.tuning,
            counter=self._counter,
            directory=directory.path,
            verify=verify,
        )
        stager.more = ask
        stager.cancelled = self._pool.new_event()
        staging = self._staging = _OpenStaging(stager)
        interleave = self._pool.interleave
        try:
            for chunk in tasks:
                # What arrived while the agent listed and called comes first.
                yield from self._arrived(staging)
                staging.open.extend(chunk)
                count = len(staging.open)
                yield from self._stage_some(count if interleave is None else interleave(count))
            yield from self._arrived(staging)
            yield from self._stage_some(len(staging.open))
            stager.sync_directories()
        finally:
            self._staging = None
            stager.close()

    def _stage_some(self, count: int) -> Iterator[Sequence[StagedObject]]:
        for _ in range(count):
            self._refuse_aborted()
            staging = self._staging
            if staging is not None and staging.open:
                self._objects += 1
                yield (self._staged(staging),)

    @staticmethod
    def _staged(staging: _OpenStaging) -> StagedObject:
        """One object more; as in a worker, what the caller refuses does not reach the stager."""
        try:
            return staging.stager.stage(staging.open.popleft())
        except Cancelled:
            if staging.error is None:
                raise
            raise staging.error from None

    def _arrived(self, staging: _OpenStaging) -> Iterator[Sequence[StagedObject]]:
        while staging.arrived:
            self._objects += 1
            yield (staging.arrived.popleft(),)
        if staging.error is not None:
            raise staging.error

    def _stage_during_a_call(self) -> None:
        """As a worker does: what it proves meanwhile waits until the agent reads."""
        staging, interleave = self._staging, self._pool.interleave
        if staging is None or interleave is None or staging.error is not None:
            return
        try:
            for _ in range(interleave(len(staging.open))):
                self._arrive(staging, self._staged(staging))
        except BackhaulError as error:
            staging.error = error  # it ends with this, once the call has its answer

    def _arrive(self, staging: _OpenStaging, staged: StagedObject) -> None:
        staging.arrived.append(staged)

    def watched_by(self, watch: Watch) -> None:
        """Calls here end at once: it looks when a staging call begins, and once that moves."""
        self._watch = watch

    def probe(
        self, staging_root: Location | None, endpoint: Endpoint | None
    ) -> Sequence[OutageError]:
        """See the port; what `InlinePool.down` returns."""
        return self._pool.down()

    def _refuse_aborted(self) -> None:
        if self._pool.is_aborted:
            raise TransientError("E_WORKER_DIED", "the pool was aborted")


@dataclass
class _OpenStaging:
    """A staging call under way.

    Attributes:
        open: Not staged yet.
        arrived: Proofs that came during calls, before their staging call was resumed.
        error: What it ends with, once it is resumed.
    """

    stager: Stager
    open: deque[StageTask] = field(default_factory=deque)
    arrived: deque[StagedObject] = field(default_factory=deque)
    error: BackhaulError | None = None
