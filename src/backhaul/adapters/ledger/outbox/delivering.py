"""`ReplyLedger`: what the agent's senders read of `replies`, and what they note."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, bindparam, literal_column, select, update

from backhaul.adapters.ledger import rows, transfers
from backhaul.adapters.ledger.outbox import writing
from backhaul.adapters.ledger.schema import WrongValue, replies
from backhaul.adapters.ledger.schema import transfers as transfers_table
from backhaul.adapters.ledger.session import WriteSession
from backhaul.core.model import TransferState
from backhaul.core.ports.replies import MOVES_AFTER, DueReply, ReplyState
from backhaul.core.replies.wishes import reply_from

# Spelled out: SQLite compares it with the condition of the index.
_IS_WAITING = replies.c.state == literal_column(f"'{ReplyState.WAITING.value}'")
# The next target by name: as many look-ups as there are targets, however many replies wait.
_NEXT_TARGET = (
    select(replies.c.target, replies.c.due_at)
    .where(_IS_WAITING, replies.c.target > bindparam("after"))
    .order_by(replies.c.target, replies.c.due_at)
    .limit(1)
)
_DUE = (
    select(replies)
    .where(
        _IS_WAITING,
        replies.c.target == bindparam("of_target"),
        replies.c.due_at <= bindparam("now"),
    )
    .order_by(replies.c.due_at, replies.c.key)
    .limit(bindparam("most"))
)
_IS_IT = (replies.c.target == bindparam("of_target"), replies.c.key == bindparam("of_key"))
_SENT = update(replies).where(*_IS_IT, replies.c.tried_since == bindparam("of_try"))
_FAILED = update(replies).where(*_IS_IT, _IS_WAITING)
_OPEN = select(transfers_table).where(
    transfers_table.c.finished_at.is_(None), transfers_table.c.replies.is_not(None)
)
_AT_WORK = frozenset({TransferState.STAGING.value, TransferState.PUBLISHING.value})


class SqlReplies(WriteSession):
    """`core.ports.replies.ReplyLedger`."""

    def report_holds(self, now: datetime) -> int:
        written = 0
        with self._transaction() as tx:
            for row in map(transfers.checked, tx.execute(_OPEN).mappings().all()):
                if _is_held(row):
                    written += writing.report_hold(tx, row, now)
                elif row["is_hold_reported"] and _moves(row, now):
                    written += writing.resume(tx, row, now)
        return written

    def observe_replies(self, receiver: Callable[[DueReply], None]) -> None:
        self._commits.observe_kept = receiver

    def due_reply_targets(self, now: datetime) -> list[str]:
        found: list[str] = []
        with self._beside() as tx:
            first = tx.execute(_NEXT_TARGET, {"after": ""}).one_or_none()
            while first is not None:
                target = rows.named(first.target)
                if first.due_at <= now:
                    found.append(target)
                first = tx.execute(_NEXT_TARGET, {"after": target}).one_or_none()
        return found

    def due_replies(self, target: str, now: datetime, *, most: int) -> list[DueReply]:
        wanted = {"of_target": target, "now": now, "most": most}
        with self._beside() as tx:
            return [due_reply(row) for row in tx.execute(_DUE, wanted).mappings()]

    def note_replies_sent(self, target: str, sent: Mapping[str, datetime], now: datetime) -> None:
        values = {"state": ReplyState.SENT.value, "ended_at": now, "code": None, "reason": None}
        found = [
            {"of_target": target, "of_key": key, "of_try": tried_since, **values}
            for key, tried_since in sent.items()
        ]
        with self._beside() as tx:
            tx.execute(_SENT, found)

    def note_reply_failed(
        self,
        target: str,
        key: str,
        code: str,
        reason: str,
        now: datetime,
        *,
        due_at: datetime | None,
    ) -> None:
        values: dict[str, Any] = {
            "tries": replies.c.tries + 1,
            "code": code,
            "reason": rows.readable(reason),
        }
        if due_at is None:
            values |= {"state": ReplyState.DEAD.value, "ended_at": now}
        else:
            values["due_at"] = due_at
        with self._beside() as tx:
            tx.execute(_FAILED.values(values), {"of_target": target, "of_key": key})


def _is_held(row: RowMapping) -> bool:
    """`held_since` is kept while an attempt tries again; it waits by its state, or by its code."""
    waits = row["state"] == TransferState.HELD.value or row["code"] is not None
    return waits and row["held_since"] is not None


def _moves(row: RowMapping, now: datetime) -> bool:
    """Its attempt has claimed, and nothing has held it since for longer than a try takes."""
    return row["state"] in _AT_WORK and now - row["updated_at"] >= MOVES_AFTER


def due_reply(row: RowMapping) -> DueReply:
    """From a row of `replies`.

    Raises:
        WrongValue: Backhaul did not write it.
    """
    rows.checked(row, replies.c)
    try:
        reply = reply_from(json.loads(row["body"]), row["target"])
    except ValueError as error:
        raise WrongValue(f"reply {row['key']}: {error}") from error
    return DueReply(reply=reply, tries=row["tries"], tried_since=row["tried_since"])
