"""What was published: the tables `published` and `seals`, and what unfinished publishing may add.

Paths are looked up by `paths.packed`: older rows of `published` are packed.

Sealing lines are read in `reading.evidence`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Insert,
    Row,
    RowMapping,
    Text,
    and_,
    bindparam,
    insert,
    literal_column,
    not_,
    or_,
    select,
    type_coerce,
)

from backhaul.adapters.ledger import rows
from backhaul.adapters.ledger.paths import packed
from backhaul.adapters.ledger.paths.block import PublishedRow
from backhaul.adapters.ledger.schema import (
    completion_markers,
    objects,
    put,
    seals,
    transfers,
    upsert,
)
from backhaul.adapters.ledger.schema import published as table
from backhaul.adapters.ledger.session import WriteSession
from backhaul.adapters.ledger.statements import Query
from backhaul.core.model import Location, TransferState
from backhaul.core.objects import ManifestSum
from backhaul.core.ports import Published
from backhaul.core.transfer.evidence import seal as digest
from backhaul.core.transfer.evidence import sealing_line

PROVEN_AT_ONCE = 10_000
_SECOND_US = 1_000_000
# Transfers that recorded an intent and no end: as many as died while publishing. Spelled as the
# index has it: for SQLAlchemy's `= 1`, SQLite would read through all transfers at each claim.
_UNFINISHED = select(transfers.c.id, transfers.c.canonical, transfers.c.directory).where(
    literal_column("transfers.renames_possible"), transfers.c.id != bindparam("of_transfer")
)
_MODIFIED = table.c.last_modified
_URI = bindparam("of_prefix", type_=Text) + objects.c.relative
_PROVEN = (
    select(
        _URI.label("uri"),
        objects.c.bucket,
        objects.c.key,
        type_coerce(objects.c.last_modified, BigInteger).label("last_modified_us"),
    )
    .where(
        objects.c.transfer_id == bindparam("of_transfer"),
        objects.c.epoch == bindparam("of_epoch"),
    )
    .order_by(_URI)
)
_PROVEN_AT = select(*rows.PLANNED_COLUMNS, *rows.PROOF_COLUMNS).where(
    objects.c.transfer_id == bindparam("of_transfer"),
    objects.c.crc32c.is_not(None),
    objects.c.relative.in_(bindparam("of_relatives", expanding=True)),
)
_MARKER_AT = select(completion_markers.c.transfer_id).where(
    completion_markers.c.uri == bindparam("of_uri")
)
LAST_SEAL = Query(select(seals.c.seal).order_by(seals.c.number.desc()).limit(1), {})


class SqlPublications(WriteSession):
    """`PublicationLedger`."""

    def published(self, locations: Sequence[Location]) -> dict[Location, Published]:
        found: dict[Location, Published] = {}
        for uris in rows.uri_batches(locations):
            with self._beside(*packed.queries_at(uris)) as tx:
                for row in packed.rows_at(tx, uris):
                    one = rows.published_file(row)
                    found[one.location] = one
        return found

    def rivals(self, transfer_id: str, locations: Sequence[Location]) -> list[Published]:
        found: list[Published] = []
        for uris in rows.uri_batches(locations):
            with self._beside(rivals_query(transfer_id)) as tx:
                unfinished = tx.execute(*rivals_query(transfer_id))
                for row in unfinished.mappings().all():
                    found += _perhaps_published(tx, row, uris)
        return found

    def note_published(self, transfer_id: str) -> None:
        with self._beside() as tx:
            transfer = self._mine(tx, transfer_id)
            publish(tx, transfer, transfer["epoch"])

    def marker_at(self, location: Location) -> str | None:
        query = Query(_MARKER_AT, {"of_uri": location.uri})
        with self._beside(query) as tx:
            return rows.text(tx.execute(*query).scalar())


def note_marker(tx: Connection, transfer_id: str, location: Location, now: datetime) -> None:
    """It is the transfer's from now on."""
    values = {"uri": location.uri, "transfer_id": transfer_id, "published_at": now}
    put(tx, completion_markers, values)


def rivals_query(transfer_id: str) -> Query:
    """The query of `has_rivals`."""
    return Query(_UNFINISHED, {"of_transfer": transfer_id})


def has_rivals(tx: Connection, transfer_id: str, destination: Location) -> bool:
    """Whether another transfer may have published here, above or below without recording it."""
    return any(
        rows.overlap(rows.location(row["canonical"]), destination)
        for row in tx.execute(*rivals_query(transfer_id)).mappings()
    )


def _perhaps_published(
    tx: Connection, transfer: RowMapping, uris: Sequence[str]
) -> list[Published]:
    """Proven contents of this transfer at these paths."""
    directory = rows.location(transfer["directory"])
    prefix = directory.join("").uri
    relatives = [uri.removeprefix(prefix) for uri in uris if uri.startswith(prefix)]
    if not relatives:
        return []
    wanted = {"of_transfer": transfer["id"], "of_relatives": relatives}
    found = []
    for row in tx.execute(_PROVEN_AT, wanted).mappings():
        rows.checked(row, _PROVEN_AT.selected_columns)
        found.append(
            Published(
                location=directory.join(row["relative"]),
                transfer_id=transfer["id"],
                pin=rows.pin(row),
                content=rows.content_of(row["crc32c"]),
                modified_ms=row["modified_ms"] or 0,
            )
        )
    return found


def publishing_query(transfer: RowMapping) -> Query:
    """The first query of `publish`."""
    return packed.block_before_query(_behind(_prefix(transfer)))


def _prefix(transfer: RowMapping) -> str:
    return rows.location(transfer["directory"]).join("").uri


def _behind(prefix: str) -> str:
    return prefix + packed.LAST_CHARACTER


def publish(tx: Connection, transfer: RowMapping, epoch: int) -> None:
    """Proofs of this epoch into `published`; what is newer there from the same key stays."""
    prefix = _prefix(transfer)
    of = {"of_transfer": transfer["id"], "of_epoch": epoch, "of_prefix": prefix}
    if packed.has_packed(tx, prefix, _behind(prefix)):
        _unpack_newer(tx, of)
    tx.execute(_publishing(tx.dialect.name), of)


def _unpack_newer(tx: Connection, of: Mapping[str, Any]) -> None:
    """As rows again, where they may stay: which is newer is decided between rows.

    All others are replaced: a row counts before what a block has at its path. As rows again, a
    million of them took a minute in which nobody else could write.
    """
    for page in tx.execute(_PROVEN, of).partitions(PROVEN_AT_ONCE):
        proven = {str(row.uri): row for row in page}
        newer = [
            row._asdict() for row in packed.packed_at(tx, proven) if _may_stay(row, proven[row.uri])
        ]
        if newer:
            tx.execute(_adding(tx.dialect.name), newer)


def _may_stay(there: PublishedRow, new: Row[Any]) -> bool:
    """Wherever `_publishing` keeps it, and perhaps where it does not."""
    is_same = (there.bucket, there.key) == (new.bucket, new.key)
    return is_same and there.last_modified > new.last_modified_us


@cache
def _adding(dialect: str) -> Insert:
    """Times as they are in blocks: as numbers."""
    values = {
        column: bindparam(column.name, type_=BigInteger if column is _MODIFIED else column.type)
        for column in table.c
    }
    return upsert(dialect, table).values(values).on_conflict_do_nothing()


@cache
def _publishing(dialect: str) -> Insert:
    copied = [column.name for column in table.c if column.name not in {"uri", "transfer_id"}]
    proven = select(
        _URI.label("uri"),
        objects.c.transfer_id,
        *(objects.c[name] for name in copied),
    ).where(
        objects.c.transfer_id == bindparam("of_transfer"),
        objects.c.epoch == bindparam("of_epoch"),
    )
    statement = upsert(dialect, table).from_select(["uri", "transfer_id", *copied], proven)
    new = statement.excluded
    is_newer_there = and_(
        table.c.bucket == new.bucket,
        table.c.key == new.key,
        _is_later(table.c.last_modified, new.last_modified),
    )
    return statement.on_conflict_do_update(
        index_elements=[table.c.uri],
        set_={name: new[name] for name in ("transfer_id", *copied)},
        where=not_(is_newer_there),
    )


def _is_later(one: ColumnElement[Any], other: ColumnElement[Any]) -> ColumnElement[bool]:
    """As `Pin.is_later_than`; the columns have microseconds."""
    one_us, other_us = type_coerce(one, BigInteger), type_coerce(other, BigInteger)
    fraction_us, other_fraction_us = one_us % _SECOND_US, other_us % _SECOND_US
    has_fractions = and_(fraction_us != 0, other_fraction_us != 0)
    return or_(one_us - fraction_us > other_us, and_(has_fractions, one_us > other_us))


def last_seal(tx: Connection) -> str:
    """To chain the next one to; empty: there is none."""
    return rows.text(tx.execute(*LAST_SEAL).scalar()) or ""


def seal(
    tx: Connection,
    transfer: RowMapping,
    state: TransferState,
    publish_mode: str,
    summed: ManifestSum,
    now: datetime,
    *,
    previous: str,
) -> None:
    """The sealing line of the transfer's manifest, chained to the one before; in `LedgerTurn.SUM`.

    Args:
        previous: `last_seal`.
    """
    line = sealing_line(
        transfer["id"],
        summed,
        source=transfer["source"],
        destination=transfer["destination"],
        state=state.value,
        publish=publish_mode,
        finished_at=now,
        previous=previous,
    )
    values = {"transfer_id": transfer["id"], "line": line, "seal": digest(line)}
    tx.execute(insert(seals), values)
