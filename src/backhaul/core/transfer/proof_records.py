"""What is proven of the plan in this epoch: counted here, recorded in the ledger in batches.

The proofs of a plan of one page are kept in memory, too, so that publishing and the manifest need
not read them back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from backhaul.core.errors import TransientError
from backhaul.core.objects import ManifestSum, PlannedObject, StagedObject
from backhaul.core.ports import Clock, Ledger
from backhaul.core.transfer.egress.meter import EgressMeter
from backhaul.core.transfer.evidence import Manifest, object_line
from backhaul.core.transfer.plan import Plan

RECORD_BATCH = 500  # proofs per ledger transaction
PUBLISH_BATCH = 500  # proofs read back at a time: renames per call to the worker


class Proofs:
    """The proofs of one attempt.

    Attributes:
        objects: How many objects are proven, in staging or at their final paths.
        adopted: How many of them were at their final paths before.
    """

    def __init__(
        self, *, ledger: Ledger, clock: Clock, transfer_id: str, plan: Plan, meter: EgressMeter
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._id = transfer_id
        self._plan = plan
        self._meter = meter
        self._pending: list[StagedObject] = []
        self._kept: dict[int, StagedObject] = {}
        self.objects = 0
        self.size_bytes = 0
        self.adopted = 0

    def add(self, batch: Sequence[StagedObject]) -> None:
        """Count these; they reach the ledger in batches."""
        now = self._clock.now()
        batch = [replace(one, proven_at=now) for one in batch]
        self._pending.extend(batch)
        if self._plan.is_one_page:
            self._kept.update((one.seq, one) for one in batch)
        self.objects += len(batch)
        self.size_bytes += sum(one.size_bytes for one in batch)
        if len(self._pending) >= RECORD_BATCH:
            self.flush()

    def flush(self) -> None:
        """Put all that are not in the ledger there."""
        read = self._meter.unrecorded()
        self._ledger.record_staged(self._id, self._pending, read)
        self._meter.recorded(read)
        self._pending = []

    def drop(self) -> None:
        """Forget all: the destination is about to be claimed under a higher epoch."""
        self._pending = []
        self._kept.clear()
        self.objects = self.size_bytes = self.adopted = 0

    def intend(self, epoch: int) -> bool:
        """Record the last ones and the intent to publish, in one transaction.

        Returns:
            False when the transfer no longer owns the destination with this epoch.
        """
        read = self._meter.unrecorded()
        is_owner = self._ledger.intend(self._id, epoch, self._pending, self._clock.now(), read)
        if is_owner:
            self._meter.recorded(read)
        self._pending = []
        return is_owner

    def check_whole(self) -> None:
        """Refuse to go on with a plan of which something is not proven.

        Raises:
            TransientError: E_BUG.
            OutageError: `ledger`: a failover has lost pages of the plan, which were not read back.
        """
        planned = self._plan.whole().objects
        if self.objects != planned:
            self._ledger.planned_totals(self._id)
            raise TransientError(
                "E_BUG",
                f"planned {planned} objects, {self.objects} were staged",
                hint="this is a defect in Backhaul; nothing was published",
            )

    def with_plan(self) -> Iterator[Sequence[tuple[PlannedObject, StagedObject]]]:
        """The plan with its proofs, in order."""
        if self._plan.is_one_page:
            yield [(planned, self._kept[planned.seq]) for planned in self._plan.first]
        else:
            yield from self._ledger.staged(self._id, batch=PUBLISH_BATCH)

    def lines(self) -> Iterator[dict[str, Any]]:
        """The manifest's line of each object, in order."""
        for batch in self.with_plan():
            for planned, proof in batch:
                target = self._plan.directory.join(planned.relative)
                yield object_line(self._id, planned, proof, target)

    def manifest(self) -> ManifestSum:
        """What the proofs add up to, before they are sealed."""
        manifest = Manifest()
        for line in self.lines():
            manifest.add(line)
        return manifest.sum
