"""Attempts: begun by a delivery, ended by a failure or the death of a process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, select

from backhaul.adapters.ledger import rows, transfers
from backhaul.adapters.ledger.destinations import release
from backhaul.adapters.ledger.outbox import writing
from backhaul.adapters.ledger.schema import transfers as table
from backhaul.adapters.ledger.session import WriteSession
from backhaul.adapters.ledger.staging import recorded_staging
from backhaul.adapters.ledger.statements import Query
from backhaul.core.errors import BackhaulError, OutageError
from backhaul.core.model import Hold, TransferState
from backhaul.core.ports import (
    AbandonedStaging,
    AttemptStart,
    Holder,
    MessageKey,
    MessageOrigin,
)
from backhaul.core.ports.ledger_records import BEHIND, LOST_END, OwnWrites
from backhaul.core.replies.reply import ReplyWish
from backhaul.core.replies.wishes import wishes_again, wishes_text

# In place of a queue, for transfers that no message requested.
COPY_QUEUE = "copy"
ADOPT_QUEUE = "adopt"  # of `reconcile --adopt`, which is to bring nothing
NO_QUEUES = frozenset({COPY_QUEUE, ADOPT_QUEUE})
_COPIES_NOT_ENDED = select(table).where(
    table.c.queue.in_(sorted(NO_QUEUES)), table.c.finished_at.is_(None)
)

_OWNED_BY = select(table.c.id).where(
    table.c.finished_at.is_(None), table.c.owner == bindparam("of_owner")
)


class SqlAttempts(WriteSession):
    """`AttemptLedger`, and the ends of copies whose process died, or that a failover has lost."""

    def begin(
        self,
        key: MessageKey | None,
        new_id: str,
        source: str,
        destination: str,
        now: datetime,
        *,
        origin: MessageOrigin | None = None,
        route: str | None = None,
        replies: Sequence[ReplyWish] | None = None,
    ) -> AttemptStart:
        texts = (rows.readable(source), rows.readable(destination))
        new = {
            **_new_values(*map(self._database.key, texts), origin=origin),
            "id": new_id,
            "route": route,
            "replies": wishes_text(replies or ()),
            "state": TransferState.RECEIVED.value,
            "attempt": 1,
            "owner": self.owner.text,
            "first_seen_at": now,
            "updated_at": now,
        }
        dialect = self._engine.dialect.name
        queries = () if key is None else (transfers.adding_query(dialect, new, key),)
        with self._beside(*queries) as tx:
            row = transfers.add(tx, new, key)
            was_changed = key is not None and row is not None and _is_other_body(row, key)
            if key is not None and was_changed:
                row = transfers.add(tx, new, key.changed)
            if row is None:
                begun = _first(new_id, now)
            else:
                is_live = self._is_live(row["id"], row["owner"])
                if is_live or TransferState(row["state"]).is_final:
                    return replace(rows.begun(row, is_live=is_live), was_changed=was_changed)
                begun = self._again(tx, row, now, route, replies)
            begun = replace(begun, was_changed=was_changed)
            self._working[begun.transfer_id] = OwnWrites(begun_at=now)
            self._ended.pop(begun.transfer_id, None)
            self._unrecorded.discard(begun.transfer_id)
            self._commits.if_lost(lambda: self._forget(begun.transfer_id))
        return begun

    def _again(
        self,
        tx: Connection,
        row: RowMapping,
        now: datetime,
        route: str | None,
        replies: Sequence[ReplyWish] | None,
    ) -> AttemptStart:
        values: dict[str, Any] = {
            "attempt": row["attempt"] + 1,
            "owner": self.owner.text,
            "retry_at": None,
            "updated_at": now,
        }
        # Once it has claimed, its staging belongs to the user of the claim's route.
        if route is not None and row["epoch"] is None:
            values["route"] = route
        if replies is not None:
            during_hold = writing.wishes(row) if row["is_hold_reported"] else ()
            values["replies"] = wishes_text(wishes_again(replies, during_hold))
        no_error = {"code": None, "reason": None}
        transfers.move(tx, row["id"], TransferState.RECEIVED, values | no_error)
        # The caller sees the last attempt's error, which the row has no longer.
        state = {"state": TransferState.RECEIVED.value}
        begun = rows.begun({**row, **values, **state}, is_live=False)
        return replace(begun, is_takeover=row["owner"] not in {None, self.owner.text})

    def fail(
        self,
        transfer_id: str,
        state: TransferState,
        code: str,
        reason: str,
        now: datetime,
        *,
        refund: bool = False,
        hold: Hold | None = None,
        has_dead_letter: bool = False,
    ) -> None:
        values = {
            "code": code,
            "reason": rows.readable(reason),
            "has_letter": has_dead_letter,
        }
        if transfer_id in self._working:
            self._unrecorded.add(transfer_id)
        failure = partial(
            self._fail,
            *(transfer_id, state, values, now),
            refund=refund,
            hold=hold,
            was_begun=transfer_id in self._unrecorded,
        )
        is_released = False
        try:
            with self._beside(transfers.by_id_query(transfer_id)) as tx:
                self._forget(transfer_id)
                is_released = True
                failure(tx)
        finally:
            if not is_released:  # not even begun: the ledger cannot be written
                self._forget(transfer_id)
        self._unrecorded.discard(transfer_id)
        self._has_ended(transfer_id, partial(self._fail_again, transfer_id, failure))

    def _fail(
        self,
        transfer_id: str,
        state: TransferState,
        values: Mapping[str, Any],
        now: datetime,
        tx: Connection,
        *,
        refund: bool,
        hold: Hold | None,
        was_begun: bool = False,
    ) -> None:
        """End it, if it is this process's.

        Args:
            was_begun: This process began the attempt. Its final state counts although a failover
                has lost that: its message will not come again.
        """
        transfer = transfers.find(tx, transfer_id)
        # A failover of the database may have lost it, also before this call is repeated.
        if transfer is None:
            return
        is_nobodys = transfer["owner"] is None and transfer["finished_at"] is None
        is_lost = was_begun and state.is_final and is_nobodys
        if transfer["owner"] != self.owner.text and not is_lost:
            return
        release(tx, transfer_id)
        counted = {
            "attempt": max(0, transfer["attempt"] - refund),
            "failures": transfer["failures"] + (not refund),
        }
        if hold is not None:
            counted |= transfers.hold_values(transfer, hold)
        if state is TransferState.WAITING and not refund:
            writing.resume(tx, transfer, now)  # what held it has answered
        writing.end(tx, transfer, state, now, {**values, **counted})

    def _fail_again(self, transfer_id: str, failure: Callable[[Connection], None]) -> bool:
        with self._beside(transfers.by_id_query(transfer_id)) as tx:
            if transfer_id not in self._working:  # it may have come back meanwhile
                failure(tx)
        return True

    def repeat_lost_ends(self, now: datetime) -> int:
        if not self._ended:
            return 0
        query = Query(_OWNED_BY, {"of_owner": self.owner.text})
        with self._beside(query) as tx:
            owned = tx.execute(*query).scalars().all()
            # In here: no attempt of this process begins or ends meanwhile.
            lost = [one for one in owned if one in self._ended and one not in self._working]
        values = {"code": BEHIND, "reason": LOST_END, "has_letter": False}
        for transfer_id in lost:
            self._repeat_lost_end(transfer_id, values, now)
        return len(lost)

    def _repeat_lost_end(self, transfer_id: str, values: Mapping[str, Any], now: datetime) -> None:
        again = self._ended.get(transfer_id)
        try:
            if again is None or again():
                return
        except OutageError:
            raise
        except BackhaulError:
            self._ended.pop(transfer_id, None)  # else it would hold up the others for ever
            raise
        waits = partial(
            self._fail,
            *(transfer_id, TransferState.WAITING, values, now),
            refund=True,
            hold=None,
        )
        self._fail_again(transfer_id, waits)

    def note_dead_letter(self, transfer_id: str) -> None:
        with self._beside(transfers.by_id_query(transfer_id)) as tx:
            transfer = transfers.find(tx, transfer_id)
            if transfer is not None and TransferState(transfer["state"]) is TransferState.DEAD:
                transfers.change(tx, transfer_id, {"has_letter": True})

    def note_wait(self, transfer_id: str, hold: Hold | None, code: str, reason: str) -> None:
        with self._beside(transfers.by_id_query(transfer_id)) as tx:
            transfer = self._begun(tx, transfer_id)
            if transfer["owner"] != self.owner.text:
                return
            values = {"code": None, "reason": None, **transfers.NOT_HELD}
            if hold is not None:
                values |= {"code": code, "reason": rows.readable(reason)}
                values |= transfers.hold_values(transfer, hold)
            transfers.change(tx, transfer_id, values)

    def note_engine(self, transfer_id: str, engine: str, reason: str) -> None:
        with self._beside() as tx:
            values = {"engine": engine, "engine_reason": rows.readable(reason)}
            transfers.change(tx, transfer_id, values)

    def note_tables(self, transfer_id: str, tables: Sequence[str]) -> None:
        with self._beside() as tx:
            transfers.change(tx, transfer_id, {"table_format": ", ".join(sorted(tables))})

    def holder(self, transfer_id: str) -> Holder:
        with self._beside(transfers.by_id_query(transfer_id)) as tx:
            row = transfers.find(tx, transfer_id)
        if row is None:
            return Holder(owner=None, is_cancelled=False)
        return Holder(owner=row["owner"], is_cancelled=row["code"] == transfers.CANCELLED)

    def is_mine(self, transfer_id: str) -> bool:
        with self._beside(transfers.by_id_query(transfer_id)) as tx:
            row = transfers.find(tx, transfer_id)
            is_mine: bool = row is not None and row["owner"] == self.owner.text
            if not is_mine:
                # In here: afterwards the transfer may have come back to this process as new work.
                self._forget(transfer_id)
        return is_mine

    def interrupted_copies(self) -> dict[str, AbandonedStaging | None]:
        """Copies whose process died, by id. Messages come back by themselves; these do not."""
        with self._transaction() as tx:
            return {
                row["id"]: recorded_staging(tx, row)
                for row in map(transfers.checked, tx.execute(_COPIES_NOT_ENDED).mappings())
                if not self._is_live(row["id"], row["owner"])
            }

    def abandon(self, transfer_id: str, now: datetime) -> None:
        """State DEAD for an interrupted copy; its destination is free again. Safe to repeat."""
        with self._transaction() as tx:
            transfer = transfers.by_id(tx, transfer_id)
            if transfer["finished_at"] is None and not self._is_live(
                transfer_id, transfer["owner"]
            ):
                is_adopting = transfer["queue"] == ADOPT_QUEUE
                again = "backhaul reconcile --adopt" if is_adopting else "the copy"
                reason = f"its process died; run {again} again"
                end_dead(tx, transfer, "E_ABANDONED", reason, now)


def _first(new_id: str, now: datetime) -> AttemptStart:
    """The first attempt of a new transfer."""
    return AttemptStart(
        transfer_id=new_id,
        state=TransferState.RECEIVED,
        attempt=1,
        is_live=False,
        has_plan=False,
        was_publishing=False,
        first_seen_at=now,
    )


TRACE_MOST = 512  # characters; what is longer is no trace context


def _new_values(source: str, destination: str, *, origin: MessageOrigin | None) -> dict[str, Any]:
    """What people read of a new transfer."""
    values = {"source": source, "destination": destination}
    if origin is None:
        return values
    traces = {
        "traceparent": origin.traceparent,
        "aws_trace_header": origin.aws_trace_header,
        "openlineage_parent": origin.openlineage_parent,
    }
    return {
        **values,
        "sender": rows.readable(origin.sender) or None,
        "sent_at": origin.sent_at,
        **{name: rows.readable(text[:TRACE_MOST]) for name, text in traces.items() if text},
    }


def end_dead(tx: Connection, transfer: RowMapping, code: str, reason: str, now: datetime) -> None:
    """State DEAD from beside the process that works on it; its claim ends."""
    release(tx, transfer["id"])
    values = {"code": code, "reason": reason}
    writing.end(tx, transfer, TransferState.DEAD, now, values)


def _is_other_body(row: RowMapping, key: MessageKey) -> bool:
    """The transfer of this message is of another body; unknown ones are the same."""
    return key.body_digest is not None and row["body_digest"] not in {None, key.body_digest}
