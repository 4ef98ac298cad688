"""Frozen plans and the proofs beside their objects: the table `objects`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import (
    Connection,
    RowMapping,
    ScalarSelect,
    Select,
    bindparam,
    delete,
    insert,
    or_,
    select,
    update,
)

from backhaul.adapters.ledger import rows, transfers
from backhaul.adapters.ledger.daily.adding import add_of_transfer
from backhaul.adapters.ledger.schema import objects as table
from backhaul.adapters.ledger.schema import transfers as transfer_table
from backhaul.adapters.ledger.session import WriteSession
from backhaul.adapters.ledger.statements import Query, at_once
from backhaul.core.cost.egress import EgressCount
from backhaul.core.objects import PlannedObject, StagedObject, Totals

Found = TypeVar("Found")

_PLANNED = select(*rows.PLANNED_COLUMNS)
_PROVEN = select(*rows.PLANNED_COLUMNS, *rows.PROOF_COLUMNS)
_EPOCH_OF = select(table.c.epoch).where(
    table.c.transfer_id == bindparam("of_transfer"), table.c.seq == bindparam("of_seq")
)
# The size is part of the condition: a proof of other bytes than planned finds no row.
_PROVE = at_once(
    update(table)
    .where(
        table.c.transfer_id == bindparam("of_transfer"),
        table.c.seq == bindparam("of_seq"),
        table.c.size_bytes == bindparam("of_size"),
    )
    .values(
        epoch=bindparam("epoch"),
        **{column.name: bindparam(column.name) for column in rows.PROOF_COLUMNS},
    )
)


class SqlPlans(WriteSession):
    """`PlanLedger`."""

    def freeze(
        self, transfer_id: str, objects: Sequence[PlannedObject], *, is_complete: bool, markers: int
    ) -> None:
        with self._beside(transfers.by_id_query(transfer_id)) as tx:
            transfer = self._mine(tx, transfer_id)
            if transfer["plan_complete"]:
                return
            if transfer["directory"] is not None:
                self._database.require_keys(rows.location(transfer["directory"]), objects)
            page = append(tx, transfer_id, transfer["objects_planned"], objects)
            sums = {name: transfer[name] + added for name, added in page.items()}
            values = {**sums, "plan_complete": is_complete, "markers": markers}
            transfers.change(tx, transfer_id, values)
        self._wrote(transfer_id, objects=sums["objects_planned"])

    def forget_plan(self, transfer_id: str) -> None:
        with self._beside(transfers.by_id_query(transfer_id)) as tx:
            changes = self._mine(tx, transfer_id)["source_changes"]
            values = {**drop_plan(tx, transfer_id), "source_changes": changes + 1}
            transfers.change(tx, transfer_id, values)
        self._wrote(transfer_id, objects=0, proven=None)

    def plan(
        self, transfer_id: str, *, only_unstaged: bool = False, batch: int = 1000
    ) -> Iterator[Sequence[PlannedObject]]:
        query = _PLANNED
        if only_unstaged:
            current = _current_epoch(transfer_id)
            query = query.where(or_(table.c.epoch.is_(None), table.c.epoch != current))
        yield from self._pages(query, transfer_id, batch, rows.planned_object)

    def planned_totals(self, transfer_id: str) -> Totals:
        with self._beside(transfers.by_id_query(transfer_id)) as tx:
            row = self._begun(tx, transfer_id)
        return Totals(
            objects=row["objects_planned"], size_bytes=row["bytes_planned"], markers=row["markers"]
        )

    def record_staged(
        self, transfer_id: str, staged: Sequence[StagedObject], read: EgressCount | None = None
    ) -> None:
        with self._beside(transfers.by_id_query(transfer_id)) as tx:
            transfer = self._mine(tx, transfer_id)
            if transfer["epoch"] is None:
                raise transfers.out_of_order(f"{transfer_id}: proofs before a claim")
            prove(tx, transfer_id, transfer["epoch"], staged)
            add_of_transfer(tx, transfer, read)
        if staged:
            self._wrote(transfer_id, proven=staged[-1].seq)

    def staged(
        self, transfer_id: str, *, batch: int = 1000
    ) -> Iterator[Sequence[tuple[PlannedObject, StagedObject]]]:
        query = _PROVEN.where(table.c.epoch == _current_epoch(transfer_id))
        yield from self._pages(query, transfer_id, batch, _proven)

    def earlier_proofs(
        self, transfer_id: str, *, batch: int = 1000
    ) -> Iterator[Sequence[tuple[PlannedObject, StagedObject]]]:
        query = _PROVEN.where(table.c.epoch < _current_epoch(transfer_id))
        yield from self._pages(query, transfer_id, batch, _proven)

    def _pages(
        self,
        query: Select[Any],
        transfer_id: str,
        batch: int,
        convert: Callable[[RowMapping], Found],
    ) -> Iterator[Sequence[Found]]:
        """Objects by position; memory holds one batch, and no lock is kept between batches."""
        query = query.where(table.c.transfer_id == transfer_id).order_by(table.c.seq).limit(batch)
        after = -1
        while True:
            next_page = Query(query.where(table.c.seq > after), {})
            with self._beside(next_page) as tx:
                page = tx.execute(*next_page).mappings().all()
                for row in page:
                    rows.checked(row, query.selected_columns)
                found = [convert(row) for row in page]
            if found:
                yield found
            if len(page) < batch:
                return
            after = page[-1]["seq"]


def append(
    tx: Connection, transfer_id: str, planned_before: int, page: Sequence[PlannedObject]
) -> dict[str, int]:
    """Add a page to the plan; positions frozen already are skipped.

    Returns:
        What it adds to the sums in the transfer's row.
    """
    fresh = [planned for planned in page if planned.seq >= planned_before]
    wanted = list(range(planned_before, planned_before + len(fresh)))
    if [planned.seq for planned in fresh] != wanted:
        raise transfers.out_of_order(
            f"{transfer_id}: plan page does not continue at position {planned_before}"
        )
    if fresh:
        tx.execute(insert(table), [rows.planned_values(transfer_id, one) for one in fresh])
    return {
        "objects_planned": len(fresh),
        "bytes_planned": sum(one.pin.size_bytes for one in fresh),
    }


def drop_plan(tx: Connection, transfer_id: str) -> dict[str, Any]:
    """Delete the plan's rows; returns what changes in the transfer's row."""
    tx.execute(delete(table).where(table.c.transfer_id == transfer_id))
    return {"objects_planned": 0, "bytes_planned": 0, "markers": 0, "plan_complete": False}


def prove(tx: Connection, transfer_id: str, epoch: int, staged: Sequence[StagedObject]) -> None:
    """Write proofs beside the plan's rows."""
    if not staged:
        return
    queries = proof_queries(transfer_id, epoch, staged)
    if len(queries) == 1:
        fitting = tx.execute(*queries[0]).rowcount
    else:
        fitting = tx.execute(_PROVE, [one.values for one in queries]).rowcount
    if fitting != len(staged):
        raise transfers.out_of_order(
            f"{transfer_id}: {len(staged)} proofs, {fitting} fit the plan's sizes"
        )


def epoch_query(transfer_id: str, seq: int) -> Query:
    """Of the epoch in which the object at this position was proven."""
    return Query(_EPOCH_OF, {"of_transfer": transfer_id, "of_seq": seq})


def proof_queries(transfer_id: str, epoch: int, staged: Sequence[StagedObject]) -> list[Query]:
    """Those of `prove`; where there are several, by one call."""
    return [Query(_PROVE, rows.proof_values(transfer_id, epoch, one)) for one in staged]


def _current_epoch(transfer_id: str) -> ScalarSelect[int | None]:
    """A subquery, so that every batch of a long reading sees the epoch of its moment."""
    query = select(transfer_table.c.epoch).where(transfer_table.c.id == transfer_id)
    return query.scalar_subquery()


def _proven(row: RowMapping) -> tuple[PlannedObject, StagedObject]:
    return rows.planned_object(row), rows.staged_object(row)
