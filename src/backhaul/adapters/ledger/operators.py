"""What operators do: transfers ended, routes paused, and a line of their journal for each act.

An act that changes the ledger has its line in the same transaction: neither is there without the
other. The line of an act elsewhere, such as on a queue, is written after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from backhaul.adapters.ledger import rows, transfers
from backhaul.adapters.ledger.agents import paused_route
from backhaul.adapters.ledger.attempts import end_dead
from backhaul.adapters.ledger.jobs import open_jobs
from backhaul.adapters.ledger.schema import operator_actions, paused_routes, put, replies
from backhaul.adapters.ledger.schema import transfers as table
from backhaul.adapters.ledger.session import WriteSession
from backhaul.adapters.ledger.statements import at_once
from backhaul.core.errors import LedgerLocked, PermanentError
from backhaul.core.model import TransferState
from backhaul.core.ports import (
    Act,
    ClusterJob,
    Operator,
    OperatorEntry,
    PausedRoute,
    SentAgain,
    Settlement,
)
from backhaul.core.ports.replies import ReplyState

SUBJECT_MOST = 1000  # characters
_IS_IT = (replies.c.key == bindparam("of_key"), replies.c.target == bindparam("of_target"))
_DROP = at_once(delete(replies).where(*_IS_IT, replies.c.state != ReplyState.SENT.value))
_RESEND = at_once(
    update(replies)
    .where(*_IS_IT)
    .values(
        state=ReplyState.WAITING.value,
        tries=0,
        tried_since=bindparam("now"),
        due_at=bindparam("now"),
        ended_at=None,
    )
)
_PLANNED = select(table.c.bytes_planned).where(table.c.id == bindparam("of_transfer"))


class SqlOperators(WriteSession):
    """`OperatorLedger`, and what else commands do from beside the agent."""

    def cancel(self, transfer_id: str, now: datetime, by: Operator) -> list[ClusterJob]:
        """State DEAD by an operator; the next call of the process at work raises `TakenOver`.

        Returns:
            Its open jobs: the caller has to end them.

        Raises:
            PermanentError: E_ENDED: it has ended already.
            LedgerLocked: E_PUBLISHING: some of it may be at its final paths.
        """
        with self._transaction() as tx:
            transfer = transfers.by_id(tx, transfer_id)
            state = TransferState(transfer["state"])
            if state.is_final:
                raise PermanentError(
                    "E_ENDED",
                    f"{transfer_id} has ended already: {state}",
                    hint=f"backhaul show {transfer_id}",
                )
            if transfer["renames_possible"]:
                raise LedgerLocked(
                    "E_PUBLISHING",
                    f"{transfer_id} is being published: some of it may be visible",
                    hint="let it end: it is a matter of seconds, or of the target's return",
                )
            end_dead(tx, transfer, transfers.CANCELLED, "cancelled by an operator", now)
            entry = OperatorEntry(
                at=now,
                by=by,
                act=Act.CANCEL,
                subject=transfer_id,
                transfers=1,
                size_bytes=transfer["bytes_planned"],
            )
            add_act(tx, entry)
            return open_jobs(tx, transfer_id)

    def pause_route(self, paused: PausedRoute, by: Operator) -> PausedRoute | None:
        with self._transaction() as tx:
            before = _find(tx, paused.route, paused.since)
            put(tx, paused_routes, {**asdict(paused), "reason": rows.readable(paused.reason)})
            add_act(
                tx, OperatorEntry(at=paused.since, by=by, act=Act.PAUSE, subject=_pause(paused))
            )
        return before

    def resume_route(self, route: str, now: datetime, by: Operator) -> PausedRoute | None:
        with self._transaction() as tx:
            before = _find(tx, route, now)
            tx.execute(delete(paused_routes).where(paused_routes.c.route == route))
            add_act(tx, OperatorEntry(at=now, by=by, act=Act.RESUME, subject=route))
        return before

    def note_act(
        self,
        entry: OperatorEntry,
        sent_again: Sequence[SentAgain] = (),
        *,
        deleted: Sequence[str] = (),
    ) -> None:
        """Add a line to the operators' journal, which counts what these transfers planned.

        Args:
            sent_again: Dead letters that went back to their queue: the transfers that died name
                the new messages from now on, and are settled.
            deleted: Transfers whose dead letters were deleted: they are settled.
        """
        settled = [(one.transfer_id, _sent_again(one, entry.at)) for one in sent_again]
        settled += [(one, _settled(Settlement.DELETED, entry.at)) for one in deleted]
        with self._transaction() as tx:
            size_bytes = entry.size_bytes
            for transfer_id, values in settled:
                transfers.change_if(tx, transfer_id, TransferState.DEAD, values)
                planned = tx.execute(_PLANNED, {"of_transfer": transfer_id}).scalar()
                size_bytes += int(planned or 0)
            add_act(tx, replace(entry, size_bytes=size_bytes))

    def drop_replies(
        self, chosen: Sequence[tuple[str, str]], entry: OperatorEntry
    ) -> set[tuple[str, str]]:
        """Forget these replies, (key, target) each, unless they were sent; returns which."""
        with self._transaction() as tx:
            found = {
                (key, target)
                for key, target in chosen
                if tx.execute(_DROP, {"of_key": key, "of_target": target}).rowcount
            }
            add_act(tx, entry)
        return found

    def resend_replies(
        self, chosen: Sequence[tuple[str, str]], entry: OperatorEntry
    ) -> set[tuple[str, str]]:
        """Let these replies, (key, target) each, be delivered again; returns which.

        One that waits is due at once.
        """
        again = {"now": entry.at}
        with self._transaction() as tx:
            found = {
                (key, target)
                for key, target in chosen
                if tx.execute(_RESEND, {"of_key": key, "of_target": target, **again}).rowcount
            }
            add_act(tx, entry)
        return found


def _settled(how: Settlement, at: datetime) -> dict[str, Any]:
    return {"settled_at": at, "settled_how": how.value}


def _sent_again(one: SentAgain, at: datetime) -> dict[str, Any]:
    now = {"sent_again_as": one.message_id, "sent_again_at": at}
    return now | _settled(Settlement.SENT_AGAIN, at)


def _find(tx: Connection, route: str, now: datetime) -> PausedRoute | None:
    query = select(paused_routes).where(paused_routes.c.route == route)
    row = tx.execute(query).mappings().one_or_none()
    found = None if row is None else paused_route(row)
    return found if found is not None and found.is_in_force(now) else None


def _pause(paused: PausedRoute) -> str:
    until = "" if paused.until is None else f" until {paused.until:%Y-%m-%d %H:%M:%S} UTC"
    return f"{paused.route}{until}" + (f": {paused.reason}" if paused.reason else "")


def add_act(tx: Connection, entry: OperatorEntry) -> None:
    """A line of the operators' journal."""
    values: dict[str, Any] = {
        "at": entry.at,
        "operator": rows.readable(entry.by.name),
        "origin": entry.by.origin.value,
        "action": entry.act.value,
        "subject": rows.readable(entry.subject)[:SUBJECT_MOST],
        "transfers": entry.transfers,
        "size_bytes": entry.size_bytes,
        "outcome": rows.readable(entry.outcome)[:SUBJECT_MOST],
    }
    tx.execute(insert(operator_actions), values)
