"""Staging roots from their claim until they were seen to be gone: the table `litter`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from itertools import islice
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Insert,
    RowMapping,
    Select,
    and_,
    bindparam,
    literal_column,
    or_,
    select,
)

from backhaul.adapters.ledger import rows, transfers
from backhaul.adapters.ledger.jobs import destinations_of_open_jobs
from backhaul.adapters.ledger.schema import destinations, micros, putting, staging_roots
from backhaul.adapters.ledger.session import WriteSession
from backhaul.adapters.ledger.statements import Query
from backhaul.core.model import Location
from backhaul.core.ports import AbandonedStaging
from backhaul.core.transfer.placing import holds_files

# By ranges of an index: every claim of the last half hour has a row here.
_AROUND = select(staging_roots).where(
    or_(
        staging_roots.c.uri.in_(bindparam("of_uris", expanding=True)),
        and_(
            staging_roots.c.uri >= bindparam("of_first_below"),
            staging_roots.c.uri < bindparam("of_beyond"),
        ),
    )
)
_ABANDONED = (
    select(staging_roots, destinations.c.owner_transfer, destinations.c.owner)
    .join(destinations, destinations.c.uri == staging_roots.c.uri, isouter=True)
    .order_by(staging_roots.c.staging_root)
)
# As `UtcTime` has it: agents on several machines claim and sweep, and their clocks may be hours
# apart. A file is of one machine, whose clock is the caller's.
_SERVER_TIME: ColumnElement[int] = literal_column(
    "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint", BigInteger
)
_AGE = bindparam("of_age_us", type_=BigInteger)
_FORGET = staging_roots.delete().where(
    staging_roots.c.staging_root == bindparam("of_root"),
    staging_roots.c.epoch == bindparam("of_epoch"),
)
_OF_DESTINATION = select(destinations.c.staging_root).where(
    destinations.c.uri == bindparam("of_uri")
)


class SqlStaging(WriteSession):
    """`StagingLedger`."""

    def staging_of(self, transfer_id: str) -> AbandonedStaging | None:
        with self._beside(transfers.by_id_query(transfer_id)) as tx:
            row = transfers.find(tx, transfer_id)
            return None if row is None else recorded_staging(tx, row)

    def abandoned_staging(self, now: datetime, age: timedelta, most: int) -> list[AbandonedStaging]:
        wanted = {"of_age_us": age // timedelta(microseconds=1), "of_now_us": micros(now)}
        with self._transaction() as tx:
            # An application may fill it although no process works on the transfer just now.
            filled = destinations_of_open_jobs(tx)
            # Read no further than `most`: a busy queue leaves a row for each of its messages.
            with tx.execute(_abandoned(tx.dialect.name), wanted) as answer:
                found = (
                    rows.abandoned_staging(row)
                    for row in answer.mappings()
                    if row["uri"] not in filled
                    and (
                        row["owner_transfer"] is None
                        or not self._is_live(row["owner_transfer"], rows.text(row["owner"]))
                    )
                )
                return list(islice(found, most))

    def note_staging(
        self, transfer_id: str, epoch: int, roots: Sequence[Location], now: datetime
    ) -> None:
        with self._beside(transfers.by_id_query(transfer_id)) as tx:
            row = self._mine(tx, transfer_id)
            for root in roots:
                remember(tx, transfer_id, row["canonical"], root, epoch, row["route"], now)

    def note_own_staging(self, left: AbandonedStaging, now: datetime) -> None:
        """Record a root of no transfer and of no destination: only a sweep removes it."""
        root = left.staging_root
        with self._transaction() as tx:
            remember(tx, left.transfer_id, root.uri, root, left.epoch, left.route, now)

    def forget_staging(self, gone: Sequence[AbandonedStaging]) -> None:
        if gone:
            wanted = [{"of_root": one.staging_root.uri, "of_epoch": one.epoch} for one in gone]
            with self._transaction() as tx:
                tx.execute(_FORGET, wanted)


def remember(
    tx: Connection,
    transfer_id: str,
    uri: str,
    root: Location,
    epoch: int,
    route: str | None,
    now: datetime,
) -> None:
    """Record a staging root of the destination `uri`, until it was seen to be gone."""
    values = {
        "staging_root": root.uri,
        "uri": uri,
        "transfer_id": transfer_id,
        "epoch": epoch,
        "claimed_at": now,
        "route": route,
    }
    tx.execute(_remembering(tx.dialect.name, tuple(values)), values)


@cache
def _remembering(dialect: str, columns: tuple[str, ...]) -> Insert:
    statement = putting(dialect, staging_roots, columns)
    is_server = dialect == "postgresql"
    return statement.values(claimed_at=_SERVER_TIME) if is_server else statement


@cache
def _abandoned(dialect: str) -> Select[Any]:
    is_server = dialect == "postgresql"
    now = _SERVER_TIME if is_server else bindparam("of_now_us", type_=BigInteger)
    return _ABANDONED.where(staging_roots.c.claimed_at < now - _AGE)


def around_query(destination: Location) -> Query:
    """The query of `stale_roots`."""
    above = [destination]
    while above[-1].parent != above[-1]:
        above.append(above[-1].parent)
    first_below = destination.join("").uri
    around = {
        "of_uris": [one.uri for one in above],
        "of_first_below": first_below,
        "of_beyond": first_below[:-1] + chr(ord("/") + 1),
    }
    return Query(_AROUND, around)


def stale_roots(
    tx: Connection, destination: Location, root: Location
) -> tuple[AbandonedStaging, ...]:
    """What may be left in other roots of this destination, and of those above and below."""
    return tuple(
        rows.abandoned_staging(row)
        for row in tx.execute(*around_query(destination)).mappings()
        if row["staging_root"] != root.uri
        and holds_files(rows.location(row["staging_root"]), rows.location(row["uri"]))
    )


def recorded_staging(tx: Connection, transfer: RowMapping) -> AbandonedStaging | None:
    """The staging root of what this transfer claimed, until a transfer finishes there."""
    if transfer["canonical"] is None or transfer["epoch"] is None:
        return None
    wanted = {"of_uri": transfer["canonical"]}
    root: str | None = tx.execute(_OF_DESTINATION, wanted).scalar_one_or_none()
    if not root:
        return None
    return AbandonedStaging(
        transfer_id=transfer["id"],
        staging_root=rows.location(root),
        epoch=transfer["epoch"],
        route=transfer["route"],
    )
