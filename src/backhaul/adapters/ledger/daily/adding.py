"""Adds to the sums by day, inside a transaction that its caller began."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Insert,
    RowMapping,
    Table,
    bindparam,
    func,
    select,
    update,
)

from backhaul.adapters.ledger.daily.tables import egress, endings
from backhaul.adapters.ledger.dialects.commits import take_turn
from backhaul.adapters.ledger.dialects.database import LedgerTurn
from backhaul.adapters.ledger.schema import WrongValue, transfers, upsert
from backhaul.core.cost.egress import Egress, EgressCount, Purpose, sender_of
from backhaul.core.model import TransferState

_PURPOSES = frozenset(one.value for one in Purpose)
_OF_TRANSFER = update(transfers).where(transfers.c.id == bindparam("of_transfer"))
_ADD = _OF_TRANSFER.values(
    egress_copy=transfers.c.egress_copy + bindparam("more_copy"),
    egress_retry=transfers.c.egress_retry + bindparam("more_retry"),
    egress_verify=transfers.c.egress_verify + bindparam("more_verify"),
)
_SINCE = (
    select(egress.c.purpose, func.sum(egress.c.bytes))
    .where(egress.c.day >= bindparam("of_day"))
    .group_by(egress.c.purpose)
)
_SINCE_OF_ROUTE = _SINCE.where(egress.c.route == bindparam("of_route"))


def add_of_transfer(tx: Connection, transfer: RowMapping, read: EgressCount | None) -> None:
    """Add it to the day, and to the transfer's own sums."""
    if read is None or not read.total.size_bytes:
        return
    total = read.total
    more = {"more_copy": total.copy, "more_retry": total.retry, "more_verify": total.verify}
    tx.execute(_ADD, {"of_transfer": transfer["id"], **more})
    add_of_day(tx, transfer["route"] or "", sender_of(transfer["sender"]), read)


def add_of_day(tx: Connection, route: str, sender: str, read: EgressCount) -> None:
    """Add it to the day."""
    key = {"day": read.day.isoformat(), "route": route, "sender": sender}
    added = [
        {**key, "purpose": purpose.value, "engine": engine, "bytes": size_bytes}
        for engine, of_engine in (("native", read.native), ("distcp", read.distcp))
        for purpose, size_bytes in of_engine.by_purpose()
        if size_bytes
    ]
    if added:
        take_turn(tx, LedgerTurn.SUM)
        tx.execute(_adding(tx.dialect.name, egress, ("bytes",)), added)


def add_ending(
    tx: Connection, transfer: Mapping[Any, Any], state: TransferState, now: datetime
) -> None:
    """Count a transfer that has ended in this final state."""
    is_done = state is TransferState.DONE
    values = {
        "day": now.astimezone(UTC).date().isoformat(),
        "route": transfer["route"] or "",
        "sender": sender_of(transfer["sender"]),
        "done": int(state is not TransferState.DEAD),
        "dead": int(state is TransferState.DEAD),
        "objects": transfer["objects_planned"] if is_done else 0,
    }
    take_turn(tx, LedgerTurn.SUM)
    tx.execute(_adding(tx.dialect.name, endings, ("done", "dead", "objects")), values)


def egress_since(tx: Connection, since: date, route: str | None) -> Egress:
    """What left S3 on this day in UTC and after it; None: of every route."""
    found: Sequence[Any]
    of_day = {"of_day": since.isoformat()}
    if route is None:
        found = tx.execute(_SINCE, of_day).all()
    else:
        found = tx.execute(_SINCE_OF_ROUTE, {**of_day, "of_route": route}).all()
    total = Egress()
    for purpose, size_bytes in found:
        total += egress_of(purpose, size_bytes)
    return total


def egress_of(purpose: Any, size_bytes: Any) -> Egress:
    """From a sum over `egress`.

    Raises:
        WrongValue: Backhaul did not write it.
    """
    if purpose not in _PURPOSES:
        raise WrongValue(f"purpose of egress is {purpose!r}: unknown")
    return Egress(**{purpose: amount(egress.c.bytes, size_bytes)})


def amount(column: Column[Any], total: Any) -> int:
    """A sum over this column: an integer, as SQLite has it of integers alone, and not negative.

    Raises:
        WrongValue: Backhaul did not write what was added.
    """
    found = int(total) if isinstance(total, Decimal) else total  # PostgreSQL's sum of integers
    if not isinstance(found, int) or found < 0:
        raise WrongValue(f"a sum over {column.name} of {column.table.name} is {total!r}")
    return found


@cache
def _adding(dialect: str, table: Table, sums: tuple[str, ...]) -> Insert:
    statement = upsert(dialect, table)
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key.columns),
        set_={name: table.c[name] + statement.excluded[name] for name in sums},
    )
