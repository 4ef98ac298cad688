"""The worker that an attempt borrows, and the watch over what that worker depends on."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from datetime import timedelta
from types import TracebackType
from typing import Self

from backhaul.core.errors import OutageError
from backhaul.core.facts import LedgerRecordMissed, TransferBlocked, TransferUnblocked
from backhaul.core.model import Assignment, Hold, Location
from backhaul.core.objects import PlannedObject
from backhaul.core.ports import Endpoint, Ports, StageTask, TargetSession
from backhaul.core.transfer.outages import DependencyDown, OutageWatch


class BorrowedWorker:
    """A worker of the pool, from the first call to the end of the block.

    Args:
        wait_most_s: See `OutageWatch`.

    Attributes:
        staging_root: Where a probe of the target writes; None before the claim.
        watch: Decides whether an outage is behind a failure.
    """

    def __init__(
        self, *, ports: Ports, transfer_id: str, job: Assignment, wait_most_s: float
    ) -> None:
        self._ports = ports
        self._id = transfer_id
        self._job = job
        self._stack = ExitStack()
        self._session: TargetSession | None = None
        self._endpoint: Endpoint | None = None
        self.staging_root: Location | None = None
        self.watch = OutageWatch(
            probe=self._probe,
            report=self._report_wait,
            monotonic=ports.clock.monotonic,
            wait_most_s=wait_most_s,
        )

    def __enter__(self) -> Self:
        self._stack.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return self._stack.__exit__(kind, error, traceback)

    @property
    def session(self) -> TargetSession:
        """Its session; the first use takes a worker from the pool.

        Raises:
            BackhaulError: No worker could be started.
        """
        if self._session is None:
            filesystem = self._job.request.destination.filesystem
            self._session = self._stack.enter_context(
                self._ports.pool.session(filesystem, self._job.run_as)
            )
            self._session.watched_by(self.watch)
        return self._session

    @property
    def received(self) -> tuple[int, int]:
        """Bytes from S3, by this worker for this attempt; and those of them that came again."""
        if self._session is None:
            return 0, 0
        progress = self._session.progress
        return progress.received_bytes, progress.repeated_bytes

    def tasks(self, planned: Sequence[PlannedObject]) -> Sequence[StageTask]:
        """These objects as work for it, with the endpoint of S3 that it reads them from."""
        owner, bucket = self._job.source_owner, self._job.request.source.bucket
        self._endpoint = endpoint = self._ports.store.endpoint(bucket, owner=owner)
        return [StageTask(planned=one, endpoint=endpoint) for one in planned]

    def _probe(self) -> Sequence[OutageError]:
        """Without a session nothing has been called yet that could hang."""
        if self._session is None:
            return ()
        return self._session.probe(self.staging_root, self._endpoint)

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
            # The ledger is down: the status lacks the reason, and nothing else changes.
            ports.emit(
                LedgerRecordMissed(transfer_id=self._id, code=outage.code, reason=outage.message)
            )
