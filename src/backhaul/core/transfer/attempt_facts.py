"""The facts that an attempt emits of itself: that it began, how far it is, that it is done.

The words are in `adapters.system.log`; holds are emitted by `core.agent.attempts`, and the waits of
a worker that the outage watch reports by `borrowed_worker`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from backhaul.core.facts import (
    AttemptStarted,
    AttemptUnpublished,
    TransferDone,
    TransferProgress,
)
from backhaul.core.model import Assignment
from backhaul.core.objects import ManifestSum
from backhaul.core.ports import AttemptStart, Ports
from backhaul.core.transfer.borrowed_worker import BorrowedWorker
from backhaul.core.transfer.cluster.jobs import ClusterProgress
from backhaul.core.transfer.egress.meter import EgressMeter
from backhaul.core.transfer.plan import Plan
from backhaul.core.transfer.proof_records import Proofs
from backhaul.core.transfer.publishing import PublishOutcome


class AttemptReport:
    """Emits the facts of one attempt; its duration counts from here."""

    def __init__(
        self,
        *,
        ports: Ports,
        begun: AttemptStart,
        job: Assignment,
        message_id: str | None,
        plan: Plan,
        proofs: Proofs,
        worker: BorrowedWorker,
        meter: EgressMeter,
    ) -> None:
        self._ports = ports
        self._begun = begun
        self._job = job
        self._message_id = message_id
        self._plan = plan
        self._proofs = proofs
        self._worker = worker
        self._meter = meter
        self._started_s = 0.0
        self._is_planned = False
        self._is_done = False

    def started(self) -> None:
        job, event = self._job, self._job.request.event
        self._started_s = self._ports.clock.monotonic()
        self._ports.emit(
            AttemptStarted(
                transfer_id=self._begun.transfer_id,
                message_id=self._message_id,
                attempt=self._begun.attempt,
                source=job.request.source.uri,
                destination=job.request.destination.uri,
                route=job.route,
                is_takeover=self._begun.is_takeover,
                event_bytes=event.size_bytes if event else None,
            )
        )

    @contextmanager
    def until_its_end(self) -> Iterator[None]:
        """Around the work: what it read from S3 is counted, in vain or not, however it ends."""
        try:
            yield
        finally:
            self._meter.note_rest()
            if not self._is_done and (read_bytes := self._meter.size_bytes):
                self._ports.emit(
                    AttemptUnpublished(transfer_id=self._begun.transfer_id, read_bytes=read_bytes)
                )

    def planned(self) -> None:
        """What is known of its size before a byte is read; once, whatever is listed later."""
        if not self._is_planned:
            self._is_planned = True
            self.progress("planning")

    def progress(self, phase: str) -> None:
        """How far the worker and the proofs are."""
        self._progress(phase, self._worker.session.progress.size_bytes)

    def cluster_progress(self, cluster: ClusterProgress) -> None:
        """How far YARN and the proofs are."""
        self._progress(cluster.phase, cluster.size_bytes, cluster.objects, cluster.detail)

    def _progress(self, phase: str, size_bytes: int, objects: int = 0, detail: str = "") -> None:
        self._meter.note_if_due()
        proofs, totals = self._proofs, self._plan.totals
        self._ports.emit(
            TransferProgress(
                transfer_id=self._begun.transfer_id,
                phase=phase,
                objects=max(objects, proofs.objects),
                size_bytes=max(size_bytes, proofs.size_bytes),
                objects_total=totals.objects,
                size_bytes_total=totals.size_bytes,
                is_planned=self._plan.is_counted,
                detail=detail,
            )
        )

    def done(self, outcome: PublishOutcome, manifest: ManifestSum) -> None:
        job, totals = self._job, self._plan.totals
        self._is_done = True
        self._ports.emit(
            TransferDone(
                transfer_id=self._begun.transfer_id,
                message_id=self._message_id,
                source=job.request.source.uri,
                destination=job.request.destination.uri,
                objects=totals.objects,
                size_bytes=totals.size_bytes,
                copied_bytes=manifest.copied_bytes,
                placeholders=totals.markers,
                adopted=self._proofs.adopted,
                publish=outcome.value,
                is_superseded=outcome is PublishOutcome.SUPERSEDED,
                duration_s=self._ports.clock.monotonic() - self._started_s,
                proof_levels=manifest.proof_levels,
                checksum_sources=manifest.checksum_sources,
                manifest=manifest.manifest,
                read_bytes=self._meter.size_bytes,
            )
        )
