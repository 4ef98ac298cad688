"""The statements of the ledger's transactions; `store` puts them in order.

Each function runs inside a transaction that its caller began and holds nothing itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Insert,
    RowMapping,
    ScalarSelect,
    Text,
    and_,
    bindparam,
    delete,
    insert,
    not_,
    or_,
    select,
    type_coerce,
    update,
)

from backhaul.adapters.ledger import rows
from backhaul.adapters.ledger.engine import upsert
from backhaul.adapters.ledger.schema import (
    destinations,
    journal,
    litter,
    objects,
    published,
    seals,
    transfers,
)
from backhaul.core.errors import BackhaulError, TakenOver
from backhaul.core.model import HOLD_GAP, Hold, Location, TransferState
from backhaul.core.objects import ManifestSum, PlannedObject, StagedObject
from backhaul.core.ports import AbandonedStaging, Claimed, MessageKey, Published
from backhaul.core.transfer.evidence import seal as digest
from backhaul.core.transfer.evidence import sealing_line
from backhaul.core.transfer.placing import holds_files
from backhaul.core.transfer.placing import staging_root as root_below

CANCELLED = "E_CANCELLED"
_MICROSECOND = timedelta(microseconds=1)
_SECOND_US = 1_000_000

# A finished claim. The staging root may be another one next time.
FREE = {
    "owner_transfer": None,
    "owner": None,
    "staging_root": None,
    "intent_transfer": None,
    "intent_at": None,
}
# Statements are made once: building one costs SQLAlchemy more than running it. What is to be SET
# comes with the parameters.
BY_ID = select(transfers).where(transfers.c.id == bindparam("of_transfer"))
BY_MESSAGE = select(transfers).where(
    transfers.c.queue == bindparam("of_queue"),
    transfers.c.message_id == bindparam("of_message"),
)
# All owned destinations, as many as transfers in flight, and the one that is asked for.
IN_THE_WAY = select(destinations).where(
    or_(destinations.c.uri == bindparam("of_uri"), destinations.c.owner_transfer.is_not(None))
)
CHANGE = update(transfers).where(transfers.c.id == bindparam("of_transfer"))
# Transfers that recorded an intent and no end: as many as died while publishing.
PUBLISHED_PERHAPS = select(transfers.c.id, transfers.c.canonical, transfers.c.directory).where(
    transfers.c.renames_possible, transfers.c.id != bindparam("of_transfer")
)
FREE_OWNER = (
    update(destinations)
    .where(destinations.c.uri == bindparam("of_uri"))
    .values(owner_transfer=None, owner=None)
)
# By ranges of an index: every claim of the last half hour has a row here.
LITTER = select(litter).where(
    or_(
        litter.c.uri.in_(bindparam("of_uris", expanding=True)),
        and_(litter.c.uri >= bindparam("of_first_below"), litter.c.uri < bindparam("of_beyond")),
    )
)
SWEPT = litter.delete().where(
    litter.c.staging_root == bindparam("of_root"), litter.c.epoch == bindparam("of_epoch")
)
OWNED = destinations.c.owner_transfer == bindparam("of_transfer")
RELEASE = update(destinations).where(OWNED).values(owner_transfer=None, owner=None)
COMPARE_AND_SET = update(destinations).where(OWNED, destinations.c.epoch == bindparam("of_epoch"))
# An audit line is the transfer's row as it is after a change of state.
NOTE = insert(journal).from_select(
    ["transfer_id", "at", "state", "epoch", "attempt", "code", "reason"],
    select(
        transfers.c.id,
        transfers.c.updated_at,
        transfers.c.state,
        transfers.c.epoch,
        transfers.c.attempt,
        transfers.c.code,
        transfers.c.reason,
    ).where(transfers.c.id == bindparam("of_transfer")),
)
# The size is part of the condition: a proof of other bytes than planned finds no row.
PROVE = (
    update(objects)
    .where(
        objects.c.transfer_id == bindparam("of_transfer"),
        objects.c.seq == bindparam("of_seq"),
        objects.c.size_bytes == bindparam("of_size"),
    )
    .values(
        epoch=bindparam("epoch"),
        crc32c=bindparam("crc32c"),
        proof=bindparam("proof"),
        algorithm=bindparam("algorithm"),
        checksum=bindparam("checksum"),
        seen_version_id=bindparam("seen_version_id"),
        modified_ms=bindparam("modified_ms"),
        checksum_type=bindparam("checksum_type"),
        target_algorithm=bindparam("target_algorithm"),
        target_checksum=bindparam("target_checksum"),
        asked=bindparam("asked"),
        note=bindparam("note"),
        bytes_read=bindparam("bytes_read"),
        proven_at=bindparam("proven_at"),
    )
)
LAST_SEAL = select(seals.c.seal).order_by(seals.c.number.desc()).limit(1)
PUBLISHED_AT = select(published).where(published.c.uri.in_(bindparam("of_uris", expanding=True)))
PROVEN = select(*rows.PLANNED_COLUMNS, *rows.PROOF_COLUMNS)


def change(tx: Connection, transfer_id: str, values: Mapping[str, Any]) -> None:
    """Change a transfer's row."""
    tx.execute(CHANGE, {"of_transfer": transfer_id, **values})


NOT_HELD: dict[str, Any] = {"held_by": None, "held_since": None, "retry_at": None}


def held(transfer: RowMapping, hold: Hold) -> dict[str, Any]:
    """The columns of a hold; one by the same dependency goes on since its beginning.

    The attempt waited for it until now, or it was held until it began; not when bytes have moved
    for longer than any pause between two tries.
    """
    is_same = transfer["held_by"] == hold.dependency and transfer["held_since"] is not None
    is_waiting = transfer["code"] is not None
    is_near = hold.since - transfer["updated_at"] < HOLD_GAP
    since = transfer["held_since"] if is_same and (is_waiting or is_near) else hold.since
    return {"held_by": hold.dependency, "held_since": since, "retry_at": hold.retry_at}


def move(tx: Connection, transfer_id: str, values: Mapping[str, Any]) -> None:
    """Change a transfer's row and its state, and write the audit line."""
    change(tx, transfer_id, values)
    tx.execute(NOTE, {"of_transfer": transfer_id})


def take(
    tx: Connection, transfer_id: str, owner: str, destination: Location, claimed: Claimed
) -> None:
    """Make the transfer the owner of this destination and of no other."""
    # A crashed attempt under other settings may have left a claim elsewhere.
    release(tx, transfer_id)
    values = {
        "uri": destination.uri,
        "epoch": claimed.epoch,
        "staging_root": claimed.staging_root.uri,
        "owner_transfer": transfer_id,
        "owner": owner,
    }
    tx.execute(_taking(tx.dialect.name), values)


def remember(
    tx: Connection,
    transfer_id: str,
    uri: str,
    root: Location,
    epoch: int,
    route: str | None,
    now: datetime,
) -> None:
    """Note a staging root of the destination `uri` until a sweep has seen it gone."""
    values = {
        "staging_root": root.uri,
        "uri": uri,
        "transfer_id": transfer_id,
        "epoch": epoch,
        "claimed_at": now,
        "route": route,
    }
    tx.execute(_littering(tx.dialect.name), values)


@cache
def _littering(dialect: str) -> Insert:
    statement = upsert(dialect, litter)
    columns = ("uri", "transfer_id", "epoch", "claimed_at", "route")
    return statement.on_conflict_do_update(
        index_elements=[litter.c.staging_root],
        set_={name: statement.excluded[name] for name in columns},
    )


def stale(tx: Connection, destination: Location, root: Location) -> tuple[AbandonedStaging, ...]:
    """What may be left in other roots of this destination, and of those above and below."""
    above = [destination]
    while above[-1].parent != above[-1]:
        above.append(above[-1].parent)
    first_below = destination.join("").uri
    asked = {
        "of_uris": [one.uri for one in above],
        "of_first_below": first_below,
        "of_beyond": first_below[:-1] + chr(ord("/") + 1),
    }
    return tuple(
        rows.left_over(row)
        for row in tx.execute(LITTER, asked).mappings()
        if row["staging_root"] != root.uri
        and holds_files(rows.location(row["staging_root"]), rows.location(row["uri"]))
    )


def rivals(tx: Connection, transfer_id: str, destination: Location) -> list[RowMapping]:
    """Other transfers that may have published here, above or below without recording it."""
    found = tx.execute(PUBLISHED_PERHAPS, {"of_transfer": transfer_id}).mappings()
    return [row for row in found if rows.overlap(rows.location(row["canonical"]), destination)]


def perhaps_published(
    tx: Connection, transfer_id: str, below: Location, uris: Sequence[str]
) -> list[Published]:
    """Proven contents of this transfer at these paths."""
    prefix = below.join("").uri
    relatives = [uri.removeprefix(prefix) for uri in uris if uri.startswith(prefix)]
    if not relatives:
        return []
    found = tx.execute(
        PROVEN.where(
            objects.c.transfer_id == transfer_id,
            objects.c.crc32c.is_not(None),
            objects.c.relative.in_(relatives),
        )
    ).mappings()
    return [
        Published(
            location=below.join(row["relative"]),
            transfer_id=transfer_id,
            pin=rows.pin(row),
            content=rows.content_of(row["crc32c"]),
            modified_ms=row["modified_ms"] or 0,
        )
        for row in map(_checked_proof, found)
    ]


def _checked_proof(row: RowMapping) -> RowMapping:
    rows.checked(row, PROVEN.selected_columns)
    return row


@cache
def _taking(dialect: str) -> Insert:
    columns = ("epoch", "staging_root", "owner_transfer", "owner")
    statement = upsert(dialect, destinations)
    return statement.on_conflict_do_update(
        index_elements=[destinations.c.uri],
        set_={name: statement.excluded[name] for name in columns},
    )


def release(tx: Connection, transfer_id: str) -> None:
    """End the transfer's claim; epoch and staging root stay for whoever comes next."""
    tx.execute(RELEASE, {"of_transfer": transfer_id})


def compare_and_set(
    tx: Connection, transfer_id: str, epoch: int, values: Mapping[str, Any]
) -> bool:
    """Change the destination that the transfer owns with this epoch; False when it owns none."""
    owned = {"of_transfer": transfer_id, "of_epoch": epoch}
    changed = tx.execute(COMPARE_AND_SET, {**owned, **values})
    return changed.rowcount == 1


def by_message(tx: Connection, key: MessageKey) -> RowMapping | None:
    """The transfer of this message."""
    asked = {"of_queue": key.queue, "of_message": key.text}
    found = tx.execute(BY_MESSAGE, asked).mappings().one_or_none()
    return None if found is None else checked_transfer(found)


def current_epoch(transfer_id: str) -> ScalarSelect[int | None]:
    """A subquery, so that every batch of a long reading sees the epoch of its moment."""
    return select(transfers.c.epoch).where(transfers.c.id == transfer_id).scalar_subquery()


def transfer_row(tx: Connection, transfer_id: str) -> RowMapping:
    """The transfer; it must exist."""
    row = tx.execute(BY_ID, {"of_transfer": transfer_id}).mappings().one_or_none()
    if row is None:
        raise out_of_order(f"{transfer_id} is not in the ledger")
    return checked_transfer(row)


def checked_transfer(row: RowMapping) -> RowMapping:
    """A row of `transfers` as it is.

    Raises:
        WrongValue: Backhaul did not write it.
    """
    rows.checked(row, transfers.c)
    return row


def staging_root(
    row: RowMapping | None, destination: Location, staging_anchor: Location, *, is_filled: bool
) -> Location:
    """The destination's root below the anchor; the recorded one while an application fills it.

    Staging of earlier epochs in other places is `stale`, and fenced like any other.
    """
    if is_filled and row is not None and row["staging_root"]:
        return rows.location(row["staging_root"])
    return root_below(staging_anchor, destination)


def leftover(tx: Connection, transfer: RowMapping) -> AbandonedStaging | None:
    """The staging root recorded for what this transfer claimed, until something finishes there."""
    if transfer["canonical"] is None or transfer["epoch"] is None:
        return None
    root: str | None = tx.execute(
        select(destinations.c.staging_root).where(destinations.c.uri == transfer["canonical"])
    ).scalar_one_or_none()
    if not root:
        return None
    return AbandonedStaging(
        transfer_id=transfer["id"],
        staging_root=rows.location(root),
        epoch=transfer["epoch"],
        route=transfer["route"],
    )


def append(
    tx: Connection, transfer_id: str, planned_before: int, page: Sequence[PlannedObject]
) -> dict[str, int]:
    """Add a page to `objects` and answer what it brought."""
    try:
        fresh = rows.new_page(planned_before, page)
    except ValueError as exc:
        raise out_of_order(f"{transfer_id}: {exc}") from exc
    if fresh:
        tx.execute(insert(objects), [rows.planned_values(transfer_id, one) for one in fresh])
    return {
        "objects_planned": len(fresh),
        "bytes_planned": sum(one.pin.size_bytes for one in fresh),
    }


def drop_plan(tx: Connection, transfer_id: str) -> dict[str, Any]:
    """Delete the plan's rows and answer what changes in the transfer's row."""
    tx.execute(delete(objects).where(objects.c.transfer_id == transfer_id))
    return {"objects_planned": 0, "bytes_planned": 0, "markers": 0, "plan_complete": False}


def prove(tx: Connection, transfer_id: str, epoch: int, staged: Sequence[StagedObject]) -> None:
    """Write proofs beside the plan's rows."""
    if not staged:
        return
    found = tx.execute(PROVE, [rows.proof_values(transfer_id, epoch, one) for one in staged])
    if found.rowcount != len(staged):
        raise out_of_order(
            f"{transfer_id}: {len(staged)} proofs, {found.rowcount} fit the plan's sizes"
        )


def publish(tx: Connection, transfer: RowMapping, epoch: int) -> None:
    """Proofs of this epoch into `published`; what is newer there from the same key stays."""
    prefix = rows.location(transfer["directory"]).join("").uri
    of = {"of_transfer": transfer["id"], "of_epoch": epoch, "of_prefix": prefix}
    tx.execute(_publishing(tx.dialect.name), of)


@cache
def _publishing(dialect: str) -> Insert:
    copied = [column.name for column in published.c if column.name not in {"uri", "transfer_id"}]
    proven = select(
        (bindparam("of_prefix", type_=Text) + objects.c.relative).label("uri"),
        objects.c.transfer_id,
        *(objects.c[name] for name in copied),
    ).where(
        objects.c.transfer_id == bindparam("of_transfer"),
        objects.c.epoch == bindparam("of_epoch"),
    )
    statement = upsert(dialect, published).from_select(["uri", "transfer_id", *copied], proven)
    new = statement.excluded
    is_newer_there = and_(
        published.c.bucket == new.bucket,
        published.c.key == new.key,
        _is_later(published.c.last_modified, new.last_modified),
    )
    return statement.on_conflict_do_update(
        index_elements=[published.c.uri],
        set_={name: new[name] for name in ("transfer_id", *copied)},
        where=not_(is_newer_there),
    )


def _is_later(one: ColumnElement[Any], other: ColumnElement[Any]) -> ColumnElement[bool]:
    """As `Pin.is_later_than`; the columns have microseconds."""
    one_us, other_us = type_coerce(one, BigInteger), type_coerce(other, BigInteger)
    fraction_us, other_fraction_us = one_us % _SECOND_US, other_us % _SECOND_US
    has_fractions = and_(fraction_us != 0, other_fraction_us != 0)
    return or_(one_us - fraction_us > other_us, and_(has_fractions, one_us > other_us))


def seal(
    tx: Connection,
    transfer: RowMapping,
    state: TransferState,
    publish_mode: str,
    summed: ManifestSum,
    now: datetime,
) -> None:
    """The sealing line of the transfer's manifest, chained to the one before."""
    previous = rows.text(tx.execute(LAST_SEAL).scalar())
    line = sealing_line(
        transfer["id"],
        summed,
        source=transfer["source"],
        destination=transfer["destination"],
        state=state.value,
        publish=publish_mode,
        finished_at=now,
        previous=previous or "",
    )
    values = {"transfer_id": transfer["id"], "line": line, "seal": digest(line)}
    tx.execute(insert(seals), values)


def ended(transfer: RowMapping, state: TransferState, now: datetime) -> dict[str, Any]:
    """How the transfer's row changes when nobody works on it any more."""
    values: dict[str, Any] = {
        "state": state.value,
        "owner": None,
        "code": None,
        "reason": None,
        **NOT_HELD,
        "updated_at": now,
    }
    if state.is_final:
        since = transfer["started_at"] or transfer["first_seen_at"]
        values |= {"finished_at": now, "duration_us": (now - since) // _MICROSECOND}
    return values


def taken_over(transfer: RowMapping) -> TakenOver:
    """This process is not, or no longer, the one that began the attempt."""
    if transfer["code"] == CANCELLED:
        return TakenOver(CANCELLED, f"{transfer['id']}: {transfer['reason']}")
    return TakenOver(
        "E_TAKEN_OVER",
        f"{transfer['id']} is {transfer['state']}, and another process began its last attempt",
        hint="nothing: that process settles it",
    )


def out_of_order(what: str) -> BackhaulError:
    """A call that no correct caller makes: a bug, never a state of the world."""
    return BackhaulError("E_LEDGER_ORDER", what)
