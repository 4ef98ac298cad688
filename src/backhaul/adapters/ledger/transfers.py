"""The rows of `transfers`, and the line that `journal` gets at each change of their state.

Each function runs inside a transaction that its caller began. Statements are made once: building
one costs SQLAlchemy more than running it. What is to be SET comes with the parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import (
    Connection,
    Insert,
    RowMapping,
    Text,
    bindparam,
    insert,
    literal_column,
    or_,
    select,
    update,
)

from backhaul.adapters.ledger import rows
from backhaul.adapters.ledger.daily.adding import add_ending
from backhaul.adapters.ledger.schema import journal, transfers, upsert
from backhaul.adapters.ledger.statements import Query, at_once
from backhaul.core.errors import BackhaulError, TakenOver
from backhaul.core.model import HOLD_GAP, Hold, TransferState
from backhaul.core.ports import MessageKey, Settlement

CANCELLED = "E_CANCELLED"
NOT_HELD: dict[str, Any] = {"held_by": None, "held_since": None, "retry_at": None}

_MICROSECOND = timedelta(microseconds=1)
_BY_ID = select(transfers).where(transfers.c.id == bindparam("of_transfer"))
_BY_MESSAGE = (
    select(transfers)
    .where(
        transfers.c.queue == bindparam("of_queue"),
        transfers.c.message_id == bindparam("of_message"),
    )
    .with_for_update()
)
_CHANGE = update(transfers).where(transfers.c.id == bindparam("of_transfer"))
# Spelled out: SQLite compares it with the condition of the index.
_SETTLE = update(transfers).where(
    transfers.c.state == literal_column("'dead'"),
    transfers.c.settled_at.is_(None),
    transfers.c.source == bindparam("of_source"),
    or_(
        transfers.c.destination == bindparam("of_destination"),
        transfers.c.canonical == bindparam("of_canonical"),
    ),
    # What died after the other one had listed its source may have been to bring more.
    transfers.c.finished_at <= bindparam("of_first_seen"),
    or_(
        bindparam("of_sequencer", type_=Text).is_(None),
        transfers.c.sequencer <= bindparam("of_sequencer"),
    ),
)
# A line of the journal is the transfer's row as it is after a change of state.
_IN_JOURNAL = ("id", "updated_at", "state", "epoch", "attempt", "code", "reason")
_JOURNAL = insert(journal).from_select(
    ["transfer_id", "at", *_IN_JOURNAL[2:]],
    select(*(transfers.c[name] for name in _IN_JOURNAL)).where(
        transfers.c.id == bindparam("of_transfer")
    ),
)


def by_id_query(transfer_id: str) -> Query:
    """The query of `find` and `by_id`."""
    return Query(_BY_ID, {"of_transfer": transfer_id})


def find(tx: Connection, transfer_id: str) -> RowMapping | None:
    """The transfer."""
    row = tx.execute(*by_id_query(transfer_id)).mappings().one_or_none()
    return None if row is None else checked(row)


def by_id(tx: Connection, transfer_id: str) -> RowMapping:
    """The transfer; it must exist."""
    row = find(tx, transfer_id)
    if row is None:
        raise out_of_order(f"{transfer_id} is not in the ledger")
    return row


@cache
def _adding(dialect: str) -> Insert:
    statement = upsert(dialect, transfers)
    statement = statement.on_conflict_do_nothing(index_elements=["queue", "message_id"])
    return at_once(statement).execution_options(preserve_rowcount=True)


def by_message(tx: Connection, key: MessageKey) -> RowMapping | None:
    """The transfer of this message, which other processes cannot change until `tx` ends."""
    parameters = {"of_queue": key.queue, "of_message": key.text}
    found = tx.execute(_BY_MESSAGE, parameters).mappings().one_or_none()
    return None if found is None else checked(found)


def checked(row: RowMapping) -> RowMapping:
    """A row of `transfers` as it is.

    Raises:
        WrongValue: Backhaul did not write it.
    """
    rows.checked(row, transfers.c)
    return row


def adding_query(dialect: str, values: Mapping[str, Any], key: MessageKey) -> Query:
    """The first query of `add`."""
    of_message = {"queue": key.queue, "message_id": key.text, "body_digest": key.body_digest}
    return Query(_adding(dialect), {**values, **of_message})


def add(tx: Connection, values: Mapping[str, Any], key: MessageKey | None) -> RowMapping | None:
    """A new transfer, with its first line in the journal, unless its message has one.

    Two processes may receive a message at once: the second waits for the first one's commit.

    Args:
        key: Of its message; None: it has none.

    Returns:
        That of its message, which other processes cannot change until this transaction ends; None:
        it is the new one.
    """
    if key is not None:
        if tx.execute(*adding_query(tx.dialect.name, values, key)).rowcount != 1:
            return by_message(tx, key)
    else:
        tx.execute(insert(transfers), values)
    tx.execute(_JOURNAL, {"of_transfer": values["id"]})
    return None


def change(tx: Connection, transfer_id: str, values: Mapping[str, Any]) -> None:
    """Change a transfer's row and not its state."""
    tx.execute(_CHANGE, {"of_transfer": transfer_id, **values})


def change_if(
    tx: Connection, transfer_id: str, state: TransferState, values: Mapping[str, Any]
) -> None:
    """`change`, unless the transfer is in another state, or unknown."""
    tx.execute(
        _CHANGE.where(transfers.c.state == bindparam("of_state")),
        {"of_transfer": transfer_id, "of_state": state.value, **values},
    )


def move(tx: Connection, transfer_id: str, state: TransferState, values: Mapping[str, Any]) -> None:
    """Change a transfer's state with its row, and write the line of the journal."""
    change(tx, transfer_id, {**values, "state": state.value})
    tx.execute(_JOURNAL, {"of_transfer": transfer_id})


def settle_others(tx: Connection, transfer: RowMapping, now: datetime) -> None:
    """Settle the dead that were to bring what this one has brought: those before it, none newer."""
    same = {
        "of_first_seen": transfer["first_seen_at"],
        "of_sequencer": transfer["sequencer"],
        "of_source": transfer["source"],
        "of_destination": transfer["destination"],
        "of_canonical": transfer["canonical"],
    }
    by_this = {"settled_how": Settlement.BROUGHT.value, "settled_transfer": transfer["id"]}
    tx.execute(_SETTLE, {**same, **by_this, "settled_at": now})


def end(
    tx: Connection,
    transfer: Mapping[Any, Any],
    state: TransferState,
    now: datetime,
    values: Mapping[str, Any],
) -> None:
    """`move` for a state in which no process works on it; `outbox.writing.end` is to be called."""
    ended = {"owner": None, "code": None, "reason": None, **NOT_HELD, "updated_at": now}
    if state.is_final:
        since = transfer["started_at"] or transfer["first_seen_at"]
        ended |= {"finished_at": now, "duration_us": (now - since) // _MICROSECOND}
        add_ending(tx, transfer, state, now)
    move(tx, transfer["id"], state, {**ended, **values})


def hold_values(transfer: RowMapping, hold: Hold) -> dict[str, Any]:
    """The columns of a hold; one by the same dependency continues the earlier one.

    It does while the transfer waited for that dependency until now, or was held until its attempt
    began; not when bytes have moved for longer than any pause between two tries.
    """
    is_same = transfer["held_by"] == hold.dependency and transfer["held_since"] is not None
    is_waiting = transfer["code"] is not None
    is_near = hold.since - transfer["updated_at"] < HOLD_GAP
    since = transfer["held_since"] if is_same and (is_waiting or is_near) else hold.since
    return {"held_by": hold.dependency, "held_since": since, "retry_at": hold.retry_at}


def taken_over(transfer: RowMapping) -> TakenOver:
    """This process is not, or no longer, the one that began the attempt."""
    if transfer["code"] == CANCELLED:
        return TakenOver(CANCELLED, f"{transfer['id']}: {transfer['reason']}")
    return TakenOver(
        "E_TAKEN_OVER",
        f"{transfer['id']} is {transfer['state']}, and another process began its last attempt",
        hint="nothing: that process settles it",
    )


def lost(transfer_id: str) -> TakenOver:
    """This process began it, and its row is gone: its message will begin it anew."""
    return TakenOver(
        "E_TAKEN_OVER",
        f"{transfer_id} is in the ledger no more: the server that answers now has lost it",
        hint="nothing: its message comes back, and begins it anew",
    )


def out_of_order(what: str) -> BackhaulError:
    """A call that no correct caller makes: a bug, never a state of the world."""
    return BackhaulError("E_LEDGER_ORDER", what)
