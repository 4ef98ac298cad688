"""Replies as commands read them: lists, and how many wait or were given up.

The rows of what was sent are many; those that wait and those given up have an index each, for which
their state is spelled out.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, RowMapping, Select, func, literal_column, select

from backhaul.adapters.ledger import rows
from backhaul.adapters.ledger.schema import WrongValue, replies
from backhaul.adapters.ledger.session import ReadSession
from backhaul.core.ports.replies import ReplyCounts, ReplyState
from backhaul.core.replies.reply import HIVE, ReplyEvent

OF_TRANSFER_MOST = 200
_IDS_AT_ONCE = 500  # as parameters of one statement
_IS_OF = {one: replies.c.state == literal_column(f"'{one}'") for one in ReplyState}


@dataclass(frozen=True, kw_only=True)
class ReplyRow:
    """A reply, and what has become of it.

    Attributes:
        tries: That failed.
        due_at: Of the next try; of one that has ended, of its last one.
        ended_at: When it was sent or given up.
        code: Of the last try that failed, like `reason`; None where the reply was taken.
    """

    key: str
    target: str
    transfer_id: str
    event: str
    state: ReplyState
    tries: int
    created_at: datetime
    due_at: datetime
    ended_at: datetime | None
    code: str | None
    reason: str | None


class ReplyReader(ReadSession):
    """What `backhaul replies` and those who watch read.

    Raises (any method):
        OutageError: `ledger`.
        EditedLedger: E_LEDGER_CORRUPT.
    """

    def replies(
        self,
        *,
        state: ReplyState | None = None,
        target: str | None = None,
        keys: Collection[str] = (),
        most: int,
    ) -> list[ReplyRow]:
        """The newest transfers' first.

        Args:
            keys: Those alone, of whichever target; empty: any.
        """
        query = select(replies)
        if state is not None:
            query = query.where(_IS_OF[state])
        if target is not None:
            query = query.where(replies.c.target == target)
        if keys:
            query = query.where(replies.c.key.in_(list(keys)))
        with self._transaction("the list of replies") as tx:
            return _found(tx, query, most)

    def not_registered(self, transfer_ids: Sequence[str]) -> set[str]:
        """Those of these that are published, and whose partitions Hive does not have yet."""
        found: set[str] = set()
        with self._transaction("replies of transfers") as tx:
            for start in range(0, len(transfer_ids), _IDS_AT_ONCE):
                query = select(replies.c.transfer_id).where(
                    replies.c.transfer_id.in_(transfer_ids[start : start + _IDS_AT_ONCE]),
                    replies.c.target == HIVE,
                    replies.c.event == ReplyEvent.DONE.value,
                    replies.c.state != ReplyState.SENT.value,
                )
                found.update(rows.named(one) for one in tx.execute(query).scalars())
        return found

    def reply_counts(self) -> list[ReplyCounts]:
        """The targets that have some that wait or were given up, by name."""
        counts: dict[str, dict[ReplyState, int]] = {}
        with self._transaction("replies") as tx:
            for state in (ReplyState.WAITING, ReplyState.DEAD):
                query = select(replies.c.target, func.count()).where(_IS_OF[state])
                for target, count in tx.execute(query.group_by(replies.c.target)):
                    counts.setdefault(rows.named(target), {})[state] = int(count)
        return [
            ReplyCounts(
                target=target,
                waiting=found.get(ReplyState.WAITING, 0),
                dead=found.get(ReplyState.DEAD, 0),
            )
            for target, found in sorted(counts.items())
        ]


def replies_of(tx: Connection, transfer_id: str) -> list[ReplyRow]:
    """Those about one transfer."""
    query = select(replies).where(replies.c.transfer_id == transfer_id)
    return _found(tx, query, OF_TRANSFER_MOST)


def _found(tx: Connection, query: Select[tuple[object, ...]], most: int) -> list[ReplyRow]:
    ordered = query.order_by(replies.c.key.desc(), replies.c.target).limit(most)
    return [_reply_row(row) for row in tx.execute(ordered).mappings()]


def _reply_row(row: RowMapping) -> ReplyRow:
    rows.checked(row, replies.c)
    try:
        state = ReplyState(row["state"])
    except ValueError as error:
        raise WrongValue(f"reply {row['key']}: {error}") from error
    names = ("key", "target", "transfer_id", "event", "tries", "created_at", "due_at", "ended_at")
    others = {name: row[name] for name in (*names, "code", "reason")}
    return ReplyRow(state=state, **others)
