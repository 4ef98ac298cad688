"""The rows of `replies`, written inside the transaction of what they are about.

`end` is the only way to make a transfer final, so that no end is without its replies, and no reply
without its end. A transfer that wants none costs nothing here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select

from backhaul.adapters.ledger import transfers
from backhaul.adapters.ledger.dialects.commits import announce
from backhaul.adapters.ledger.schema import WrongValue, replies
from backhaul.core.model import TransferState
from backhaul.core.ports.replies import DueReply, ReplyState
from backhaul.core.replies.reply import SUPERSEDED, Reply, ReplyEvent, ReplyWish, reply_key
from backhaul.core.replies.wishes import (
    replies_at_end,
    replies_resumed,
    replies_to,
    wishes_held,
    wishes_of,
)

SUPERSEDED_REASON = "newer data from this source is at the destination already"
Row = Mapping[Any, Any]
_INSERT = insert(replies)
_HOLD_OVER = {"is_hold_reported": False}
_HELD = select(replies.c.key, replies.c.target).where(
    replies.c.transfer_id == bindparam("of_transfer"), replies.c.event == ReplyEvent.HELD.value
)


def wishes(transfer: Row) -> tuple[ReplyWish, ...]:
    """What replies the transfer wants.

    Raises:
        WrongValue: The column has what Backhaul never writes.
    """
    try:
        return wishes_of(transfer["replies"])
    except ValueError as error:
        raise WrongValue(f"replies of {transfer['id']}: {error}") from error


def end(
    tx: Connection,
    transfer: Row,
    state: TransferState,
    now: datetime,
    values: Mapping[str, Any],
    *,
    digest: str | None = None,
) -> None:
    """`transfers.end`, and the replies where the state is final.

    Args:
        transfer: Its row as it was before.
        digest: Of the manifest of what was published.
    """
    if state.is_final and transfer["replies"] is not None:
        values = {**values, **_HOLD_OVER}
        _write(tx, _at_end(tx, transfer, state, now, values, digest), now)
    transfers.end(tx, transfer, state, now, values)


def _at_end(
    tx: Connection,
    transfer: Row,
    state: TransferState,
    now: datetime,
    values: Mapping[str, Any],
    digest: str | None,
) -> list[Reply]:
    code, reason = values.get("code"), values.get("reason")
    event = ReplyEvent.DEAD if state is TransferState.DEAD else ReplyEvent.DONE
    if state is TransferState.SUPERSEDED:
        code, reason, digest = SUPERSEDED, SUPERSEDED_REASON, None
    reply = _reply(transfer, event, now, code=code, reason=reason, digest=digest)
    hold = transfer["holds_reported"]
    has_held = _has_held(tx, transfer) if transfer["is_hold_reported"] else ()
    return replies_at_end(reply, wishes(transfer), hold=hold, has_held=has_held)


def start(tx: Connection, transfer: Row, epoch: int, now: datetime, *, route: str) -> None:
    """The first claim, of this epoch."""
    if transfer["replies"] is None or transfer["started_at"] is not None:
        return
    reply = _reply({**transfer, "epoch": epoch, "route": route}, ReplyEvent.STARTED, now)
    _write(tx, replies_to(reply, wishes(transfer)), now)


def resume(tx: Connection, transfer: Row, now: datetime) -> int:
    """It moves again: the replies to those that were sent that it is held; returns how many."""
    if not transfer["is_hold_reported"]:
        return 0
    reply = _reply(transfer, ReplyEvent.RESUMED, now)
    hold, has_held = transfer["holds_reported"], _has_held(tx, transfer)
    found = replies_resumed(reply, wishes(transfer), hold=hold, has_held=has_held)
    _write(tx, found, now)
    transfers.change(tx, transfer["id"], _HOLD_OVER)
    return len(found)


def report_hold(tx: Connection, transfer: Row, now: datetime) -> int:
    """The replies HELD that are due and not written; returns how many."""
    due = wishes_held(wishes(transfer), transfer["held_since"], now)
    is_new = not transfer["is_hold_reported"]
    has_held = _has_held(tx, transfer) if due and not is_new else ()
    due = [one for one in due if one.target not in has_held]
    if due:
        number = transfer["holds_reported"] + is_new
        code, reason = transfer["code"], transfer["reason"]
        reply = _reply(transfer, ReplyEvent.HELD, now, code=code, reason=reason, nth=number)
        _write(tx, replies_to(reply, due), now)
        noted = {"holds_reported": number, "is_hold_reported": True}
        transfers.change(tx, transfer["id"], noted)
    return len(due)


def _has_held(tx: Connection, transfer: Row) -> frozenset[str]:
    """Who was sent HELD of the hold that is reported; its epoch may be another by now."""
    end = reply_key("", 0, ReplyEvent.HELD, transfer["holds_reported"]).removeprefix("-0")
    found = tx.execute(_HELD, {"of_transfer": transfer["id"]})
    return frozenset(target for key, target in found if key.endswith(end))


def _reply(
    transfer: Row,
    event: ReplyEvent,
    now: datetime,
    *,
    code: str | None = None,
    reason: str | None = None,
    digest: str | None = None,
    nth: int = 1,
) -> Reply:
    """For no target yet."""
    epoch, is_planned = transfer["epoch"] or 0, transfer["plan_complete"]
    return Reply(
        key=reply_key(transfer["id"], epoch, event, nth),
        target="",
        event=event,
        at=now,
        transfer_id=transfer["id"],
        epoch=epoch,
        code=code,
        reason=reason,
        route=transfer["route"] or "",
        source=transfer["source"],
        destination=transfer["destination"],
        objects=transfer["objects_planned"] if is_planned else None,
        size_bytes=transfer["bytes_planned"] if is_planned else None,
        digest=digest,
        message_id=_message_id(transfer["message_id"]),
    )


def _message_id(text: str | None) -> str | None:
    """Without what `MessageKey` adds; SQS's ids are UUIDs."""
    return None if text is None else re.split("[#!]", text, maxsplit=1)[0]


def _write(tx: Connection, found: Sequence[Reply], now: datetime) -> None:
    if not found:
        return
    tx.execute(
        _INSERT,
        [
            {
                "key": one.key,
                "target": one.target,
                "transfer_id": one.transfer_id,
                "event": one.event.value,
                "body": one.body(),
                "state": ReplyState.WAITING.value,
                "tries": 0,
                "created_at": now,
                "tried_since": now,
                "due_at": now,
            }
            for one in found
        ],
    )
    for one in found:
        announce(tx, DueReply(reply=one, tries=0, tried_since=now))
