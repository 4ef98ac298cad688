"""Submissions to YARN: the table `jobs`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, Update, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from backhaul.adapters.ledger import rows, transfers
from backhaul.adapters.ledger.daily.adding import add_of_transfer
from backhaul.adapters.ledger.schema import destinations
from backhaul.adapters.ledger.schema import jobs as table
from backhaul.adapters.ledger.session import WriteSession
from backhaul.adapters.ledger.statements import Query, at_once
from backhaul.core.cost.egress import EgressCount
from backhaul.core.model import Location
from backhaul.core.ports import ClusterJob
from backhaul.core.ports.cluster import Application, JobProgress

_OPEN = (
    select(
        table.c.transfer_id,
        table.c.epoch,
        table.c.application_id,
        table.c.destination,
        table.c.size_bytes,
    )
    .where(table.c.closed_at.is_(None))
    .order_by(table.c.transfer_id, table.c.epoch)
)
OPEN_QUERY = Query(_OPEN, {})  # what `open_jobs_at` queries
_CLOSE_ALL = update(table).where(
    table.c.transfer_id == bindparam("of_transfer"), table.c.closed_at.is_(None)
)
_OWNED = select(destinations.c.uri).where(
    destinations.c.owner_transfer == bindparam("of_transfer"),
    destinations.c.epoch == bindparam("of_epoch"),
)


class SqlJobs(WriteSession):
    """`JobLedger`."""

    def open_job(self, transfer_id: str, epoch: int, tag: str, now: datetime) -> bool:
        with self._transaction() as tx:
            destination = _owned_destination(tx, transfer_id, epoch)
            if destination is None:
                return False
            values = {
                "transfer_id": transfer_id,
                "epoch": epoch,
                "tag": tag,
                "destination": destination,
                "state": "submitting",
                "opened_at": now,
                "updated_at": now,
            }
            try:
                with tx.begin_nested():
                    tx.execute(at_once(insert(table)), values)
            except IntegrityError:
                return False
        return True

    def note_job(
        self,
        transfer_id: str,
        claim_epoch: int,
        epoch: int,
        application: Application,
        progress: JobProgress | None,
        now: datetime,
        read: EgressCount | None = None,
    ) -> bool:
        values: dict[str, Any] = {
            "application_id": application.id,
            "state": application.state.value,
            "tracking_url": application.tracking_url,
            "updated_at": now,
        }
        if progress is not None:
            values |= {
                "maps_done": progress.maps_done,
                "maps": progress.maps,
                "size_bytes": progress.size_bytes,
            }
            if progress.counters is not None:
                values["counters"] = str(progress.counters)
        with self._transaction() as tx:
            if _owned_destination(tx, transfer_id, claim_epoch) is None:
                return False
            tx.execute(_one(transfer_id, epoch).values(values))
            if read is not None and read.total.size_bytes:
                add_of_transfer(tx, transfers.by_id(tx, transfer_id), read)
        return True

    def close_job(
        self, transfer_id: str, epoch: int, state: str, reason: str, now: datetime
    ) -> None:
        text = rows.readable(reason)[:1000]
        values = {"state": state, "reason": text, "updated_at": now, "closed_at": now}
        with self._transaction() as tx:
            tx.execute(_one(transfer_id, epoch).where(table.c.closed_at.is_(None)).values(values))

    def jobs(self, transfer_id: str) -> list[ClusterJob]:
        with self._transaction() as tx:
            return open_jobs(tx, transfer_id)


def open_jobs(tx: Connection, transfer_id: str) -> list[ClusterJob]:
    """Of this transfer, by epoch."""
    found = tx.execute(_OPEN.where(table.c.transfer_id == transfer_id))
    return [_job(row) for row in found.mappings()]


def open_jobs_at(tx: Connection, transfer_id: str, destination: Location) -> tuple[ClusterJob, ...]:
    """Of this transfer, and of any at this destination, above it or below it."""
    return tuple(
        _job(row)
        for row in tx.execute(*OPEN_QUERY).mappings()
        if row["transfer_id"] == transfer_id
        or rows.overlap(rows.location(row["destination"]), destination)
    )


def destinations_of_open_jobs(tx: Connection) -> set[str]:
    """URIs of destinations whose staging an application may fill."""
    return {row["destination"] for row in tx.execute(_OPEN).mappings()}


def close_all(tx: Connection, transfer_id: str, now: datetime) -> None:
    """The transfer has published what its jobs copied."""
    values = {"state": "succeeded", "updated_at": now, "closed_at": now}
    tx.execute(_CLOSE_ALL, {"of_transfer": transfer_id, **values})


def _owned_destination(tx: Connection, transfer_id: str, epoch: int) -> str | None:
    """URI of the destination that the transfer owns with this epoch."""
    owned = {"of_transfer": transfer_id, "of_epoch": epoch}
    uri: str | None = tx.execute(_OWNED, owned).scalar()
    return uri


def _one(transfer_id: str, epoch: int) -> Update:
    return update(table).where(table.c.transfer_id == transfer_id, table.c.epoch == epoch)


def _job(row: RowMapping) -> ClusterJob:
    rows.checked(row, _OPEN.selected_columns)
    return ClusterJob(
        transfer_id=row["transfer_id"],
        epoch=row["epoch"],
        application_id=row["application_id"],
        size_bytes=row["size_bytes"] or 0,
    )
