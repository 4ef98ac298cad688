"""The statements about submissions to YARN; `store` puts them in its transactions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from backhaul.adapters.ledger import rows
from backhaul.adapters.ledger.schema import destinations, jobs
from backhaul.core.model import Location
from backhaul.core.ports import ClusterJob
from backhaul.core.ports.cluster import Application, JobProgress

OPEN = select(jobs.c.transfer_id, jobs.c.epoch, jobs.c.application_id, jobs.c.destination).where(
    jobs.c.closed_at.is_(None)
)
_IN_ORDER = OPEN.order_by(jobs.c.transfer_id, jobs.c.epoch)
_CLOSE_ALL = update(jobs).where(
    jobs.c.transfer_id == bindparam("of_transfer"), jobs.c.closed_at.is_(None)
)
_OWNED = select(destinations.c.uri).where(
    destinations.c.owner_transfer == bindparam("of_transfer"),
    destinations.c.epoch == bindparam("of_epoch"),
)


def at(tx: Connection, transfer_id: str, destination: Location) -> tuple[ClusterJob, ...]:
    """Open jobs of this transfer, and of any at this destination, above it or below it."""
    return tuple(
        _job(row)
        for row in tx.execute(_IN_ORDER).mappings()
        if row["transfer_id"] == transfer_id
        or rows.overlap(rows.location(row["destination"]), destination)
    )


def of(tx: Connection, transfer_id: str) -> list[ClusterJob]:
    """Open jobs of this transfer, by epoch."""
    found = tx.execute(OPEN.where(jobs.c.transfer_id == transfer_id).order_by(jobs.c.epoch))
    return [_job(row) for row in found.mappings()]


def destinations_of_open(tx: Connection) -> set[str]:
    """URIs of destinations whose staging an application may fill."""
    return {row["destination"] for row in tx.execute(OPEN).mappings()}


def begin(tx: Connection, transfer_id: str, epoch: int, tag: str, now: datetime) -> bool:
    """A new open job of the transfer that owns its destination; one for each epoch."""
    destination = tx.execute(_OWNED, {"of_transfer": transfer_id, "of_epoch": epoch}).scalar()
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
            tx.execute(insert(jobs), values)
    except IntegrityError:
        return False
    return True


def owns(tx: Connection, transfer_id: str, epoch: int) -> bool:
    """Whether the transfer owns its destination with this epoch."""
    owned = {"of_transfer": transfer_id, "of_epoch": epoch}
    return tx.execute(_OWNED, owned).scalar() is not None


def note(
    tx: Connection,
    transfer_id: str,
    epoch: int,
    application: Application,
    progress: JobProgress | None,
    now: datetime,
) -> None:
    """How far it is."""
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
    tx.execute(_one(transfer_id, epoch).values(values))


def close(
    tx: Connection, transfer_id: str, epoch: int, state: str, reason: str, now: datetime
) -> None:
    """Nothing of it runs or counts any more."""
    values = {"state": state, "reason": rows.readable(reason)[:1000], "updated_at": now}
    still_open = _one(transfer_id, epoch).where(jobs.c.closed_at.is_(None))
    tx.execute(still_open.values(**values, closed_at=now))


def close_all(tx: Connection, transfer_id: str, now: datetime) -> None:
    """The transfer has published what they brought."""
    values = {"state": "succeeded", "updated_at": now, "closed_at": now}
    tx.execute(_CLOSE_ALL, {"of_transfer": transfer_id, **values})


def _one(transfer_id: str, epoch: int) -> Any:
    return update(jobs).where(jobs.c.transfer_id == transfer_id, jobs.c.epoch == epoch)


def _job(row: Any) -> ClusterJob:
    rows.checked(row, OPEN.selected_columns)
    return ClusterJob(
        transfer_id=row["transfer_id"],
        epoch=row["epoch"],
        application_id=row["application_id"],
    )
