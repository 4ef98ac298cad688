"""Replies, in the ledger in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from backhaul.core.model import TransferState
from backhaul.core.ports.replies import MOVES_AFTER, DueReply, ReplyState
from backhaul.core.replies.reply import SUPERSEDED, Reply, ReplyEvent, reply_key
from backhaul.core.replies.wishes import replies_at_end, replies_resumed, replies_to, wishes_held
from backhaul.testing.fakes.memory_file import MemoryReply, MemorySession, MemoryTransfer, outage


class MemoryReplies(MemorySession):
    """`ReplyLedger`."""

    _reply_receiver: Callable[[DueReply], None] | None = None

    def observe_replies(self, receiver: Callable[[DueReply], None]) -> None:
        self._reply_receiver = receiver

    def _reply_at_end(
        self,
        row: MemoryTransfer,
        state: TransferState,
        now: datetime,
        code: str | None = None,
        reason: str | None = None,
        digest: str | None = None,
    ) -> None:
        """In the block of the call that ends it."""
        event = ReplyEvent.DEAD if state is TransferState.DEAD else ReplyEvent.DONE
        if state is TransferState.SUPERSEDED:
            code, reason, digest = SUPERSEDED, "superseded", None
        reply = self._reply(row, event, now, code=code, reason=reason, digest=digest)
        hold, has_held = row.holds_reported, self._has_held(row)
        self._add_replies(row, replies_at_end(reply, row.replies, hold=hold, has_held=has_held))
        row.is_hold_reported = False

    def _reply_at_start(self, row: MemoryTransfer, now: datetime) -> None:
        if not row.was_claimed:
            reply = self._reply(row, ReplyEvent.STARTED, now)
            self._add_replies(row, replies_to(reply, row.replies))

    def _reply_resumed(self, row: MemoryTransfer, now: datetime) -> int:
        reply = self._reply(row, ReplyEvent.RESUMED, now)
        hold, has_held = row.holds_reported, self._has_held(row)
        found = replies_resumed(reply, row.replies, hold=hold, has_held=has_held)
        self._add_replies(row, found)
        row.is_hold_reported = False
        return len(found)

    def report_holds(self, now: datetime) -> int:
        with self._faults.call("ledger.report_holds", outage):
            written = 0
            for row in tuple(self._file.transfers.values()):
                if row.state.is_final:
                    continue
                is_held = row.state is TransferState.HELD or row.code is not None
                if is_held and row.hold is not None:
                    written += self._report_hold(row, row.hold.since, now)
                elif (
                    row.is_hold_reported
                    and row.state in {TransferState.STAGING, TransferState.PUBLISHING}
                    and now - row.moved_at >= MOVES_AFTER
                ):
                    written += self._reply_resumed(row, now)
            return written

    def _report_hold(self, row: MemoryTransfer, since: datetime, now: datetime) -> int:
        has_held = self._has_held(row)
        due = [one for one in wishes_held(row.replies, since, now) if one.target not in has_held]
        if due:
            row.holds_reported += not row.is_hold_reported
            row.is_hold_reported = True
            nth = row.holds_reported
            reply = self._reply(
                row, ReplyEvent.HELD, now, code=row.code, reason=row.reason, nth=nth
            )
            self._add_replies(row, replies_to(reply, due))
        return len(due)

    def _has_held(self, row: MemoryTransfer) -> frozenset[str]:
        return frozenset(
            one.reply.target
            for one in tuple(self._file.replies.values())
            if row.is_hold_reported
            and one.reply.transfer_id == row.id
            and one.reply.event is ReplyEvent.HELD
            and one.nth_hold == row.holds_reported
        )

    def _add_replies(self, row: MemoryTransfer, found: Sequence[Reply]) -> None:
        for one in found:
            self._file.replies[one.key, one.target] = MemoryReply(
                reply=one, nth_hold=row.holds_reported, due_at=one.at
            )
            if self._reply_receiver is not None:
                self._reply_receiver(DueReply(reply=one, tries=0, tried_since=one.at))

    def _reply(
        self,
        row: MemoryTransfer,
        event: ReplyEvent,
        now: datetime,
        *,
        code: str | None = None,
        reason: str | None = None,
        digest: str | None = None,
        nth: int = 1,
    ) -> Reply:
        epoch = row.epoch or 0
        return Reply(
            key=reply_key(row.id, epoch, event, nth),
            target="",
            event=event,
            at=now,
            transfer_id=row.id,
            epoch=epoch,
            code=code,
            reason=reason,
            route=(row.assignment.route if row.assignment is not None else row.route) or "",
            source=row.source,
            destination=row.destination,
            objects=len(row.plan) if row.has_plan else None,
            size_bytes=sum(one.pin.size_bytes for one in row.plan) if row.has_plan else None,
            digest=digest,
            message_id=row.key.message_id if row.key is not None else None,
        )

    def due_reply_targets(self, now: datetime) -> list[str]:
        with self._faults.call("ledger.due_reply_targets", outage):
            return sorted({one.reply.target for one in self._due(now)})

    def due_replies(self, target: str, now: datetime, *, most: int) -> list[DueReply]:
        with self._faults.call("ledger.due_replies", outage):
            found = [one for one in self._due(now) if one.reply.target == target]
            found.sort(key=lambda one: (one.due_at, one.reply.key))
            return [
                DueReply(reply=one.reply, tries=one.tries, tried_since=one.reply.at)
                for one in found[:most]
            ]

    def _due(self, now: datetime) -> list[MemoryReply]:
        return [
            one
            for one in tuple(self._file.replies.values())
            if one.state is ReplyState.WAITING and one.due_at <= now
        ]

    def note_replies_sent(self, target: str, sent: Mapping[str, datetime], now: datetime) -> None:
        del now
        with self._faults.call("ledger.note_replies_sent", outage):
            for key, tried_since in sent.items():
                row = self._file.replies[key, target]
                if row.reply.at == tried_since:
                    row.state = ReplyState.SENT

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
        del reason, now
        with self._faults.call("ledger.note_reply_failed", outage):
            row = self._file.replies[key, target]
            if row.state is ReplyState.WAITING:
                row.tries, row.code = row.tries + 1, code
                row.state = ReplyState.WAITING if due_at is not None else ReplyState.DEAD
                row.due_at = due_at or row.due_at
