"""Plans, proofs and staging of the ledger in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from backhaul.core.cost.egress import EgressCount
from backhaul.core.model import Location
from backhaul.core.objects import PlannedObject, StagedObject, Totals
from backhaul.core.ports import AbandonedStaging
from backhaul.testing.fakes.memory_file import (
    MemorySession,
    MemoryTransfer,
    out_of_order,
    outage,
)

Item = TypeVar("Item")


class MemoryPlans(MemorySession):
    """`PlanLedger`."""

    def forget_plan(self, transfer_id: str) -> None:
        with self._faults.call("ledger.forget_plan", outage):
            row = self._mine(transfer_id)
            row.drop_plan()
            row.source_changes += 1
        self._wrote(transfer_id, objects=0, proven=None)

    def freeze(
        self, transfer_id: str, objects: Sequence[PlannedObject], *, is_complete: bool, markers: int
    ) -> None:
        with self._faults.call("ledger.freeze", outage):
            row = self._mine(transfer_id)
            if row.has_plan:
                return
            row.append(objects)
            row.has_plan, row.markers = is_complete, markers
            planned = len(row.plan)
        self._wrote(transfer_id, objects=planned)

    def plan(
        self, transfer_id: str, *, only_unstaged: bool = False, batch: int = 1000
    ) -> Iterator[Sequence[PlannedObject]]:
        yield from self._pages(
            "ledger.plan",
            transfer_id,
            batch,
            lambda _row, one: one,
            lambda row, one: not only_unstaged or row.proven(one.seq) != row.epoch,
        )

    def planned_totals(self, transfer_id: str) -> Totals:
        with self._faults.call("ledger.planned_totals", outage):
            row = self._row(transfer_id)
            size_bytes = sum(one.pin.size_bytes for one in row.plan)
            return Totals(objects=len(row.plan), size_bytes=size_bytes, markers=row.markers)

    def record_staged(
        self, transfer_id: str, staged: Sequence[StagedObject], read: EgressCount | None = None
    ) -> None:
        with self._faults.call("ledger.record_staged", outage):
            row = self._mine(transfer_id)
            if row.epoch is None:
                raise out_of_order(f"{transfer_id}: proofs before a claim")
            row.prove(row.epoch, staged)
            self._add_read(row, read)
        if staged:
            self._wrote(transfer_id, proven=staged[-1].seq)

    def staged(
        self, transfer_id: str, *, batch: int = 1000
    ) -> Iterator[Sequence[tuple[PlannedObject, StagedObject]]]:
        yield from self._pages(
            "ledger.staged",
            transfer_id,
            batch,
            lambda row, one: (one, row.proofs[one.seq][1]),
            lambda row, one: row.epoch is not None and row.proven(one.seq) == row.epoch,
        )

    def earlier_proofs(
        self, transfer_id: str, *, batch: int = 1000
    ) -> Iterator[Sequence[tuple[PlannedObject, StagedObject]]]:
        yield from self._pages(
            "ledger.earlier_proofs",
            transfer_id,
            batch,
            lambda row, one: (one, row.proofs[one.seq][1]),
            lambda row, one: (row.proven(one.seq) or row.epoch or 0) < (row.epoch or 0),
        )

    def _pages(
        self,
        name: str,
        transfer_id: str,
        batch: int,
        take: Callable[[MemoryTransfer, PlannedObject], Item],
        is_wanted: Callable[[MemoryTransfer, PlannedObject], bool],
    ) -> Iterator[list[Item]]:
        after = -1
        while True:
            with self._faults.call(name, outage):
                row = self._file.transfers.get(transfer_id)
                plan = [] if row is None else row.plan
                wanted = [
                    one
                    for one in plan
                    if row is not None and one.seq > after and is_wanted(row, one)
                ][:batch]
                page = [] if row is None else [take(row, one) for one in wanted]
            if page:
                yield page
            if len(page) < batch:
                return
            after = wanted[-1].seq


class MemoryStaging(MemorySession):
    """`StagingLedger`."""

    def staging_of(self, transfer_id: str) -> AbandonedStaging | None:
        with self._faults.call("ledger.staging_of", outage):
            row = self._file.transfers.get(transfer_id)
            if row is None:
                return None
            if row.canonical is None or row.epoch is None:
                return None
            there = self._file.destinations.get(row.canonical)
            if there is None or there.staging_root is None:
                return None
            return AbandonedStaging(
                transfer_id=transfer_id, staging_root=there.staging_root, epoch=row.epoch
            )

    def abandoned_staging(self, now: datetime, age: timedelta, most: int) -> list[AbandonedStaging]:
        with self._faults.call("ledger.abandoned_staging", outage):
            claimed_before = self._file.time_of(now) - age
            found = [
                left
                for left, uri, claimed_at in self._file.staging.values()
                if claimed_at < claimed_before and not self._is_owned(uri)
            ]
            return sorted(found, key=lambda left: left.staging_root)[:most]

    def _is_owned(self, uri: Location) -> bool:
        there = self._file.destinations.get(uri)
        return (
            there is not None
            and there.owner_transfer is not None
            and self._is_live(there.owner_transfer, there.owner)
        )

    def note_staging(
        self, transfer_id: str, epoch: int, roots: Sequence[Location], now: datetime
    ) -> None:
        with self._faults.call("ledger.note_staging", outage):
            row = self._mine(transfer_id)
            if row.canonical is None:
                raise out_of_order(f"{transfer_id} has claimed nothing")
            for root in roots:
                self._remember(row, root, epoch, now)

    def _remember(self, row: MemoryTransfer, root: Location, epoch: int, now: datetime) -> None:
        assert row.canonical is not None  # noqa: S101 - it has claimed
        route = row.assignment.route if row.assignment else None
        left = AbandonedStaging(transfer_id=row.id, staging_root=root, epoch=epoch, route=route)
        self._file.staging[root] = (left, row.canonical, self._file.time_of(now))

    def forget_staging(self, gone: Sequence[AbandonedStaging]) -> None:
        with self._faults.call("ledger.forget_staging", outage):
            for left in gone:
                known = self._file.staging.get(left.staging_root)
                if known is not None and known[0].epoch == left.epoch:
                    del self._file.staging[left.staging_root]
