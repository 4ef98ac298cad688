"""Drops object rows of transfers that ended long ago, in steps that hold up no commit for long.

What stays of such a transfer is what answers for it: its row, its journal, its jobs, its sealing
line with the digest of the object lines, and in `published` the files that are still its own, with
length and CRC. So `where`, `verify`, `reconcile`, the order of versions and receipts are as
before; what goes is how each object was proven.

A transfer is marked in the step that drops its first rows. A step that was cut off by a death has
not happened; `pruning` of `meta` names the transfer of which rows are left for the next step, and
`pruning_bytes` has what those that went had copied.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    case,
    delete,
    exists,
    func,
    not_,
    or_,
    select,
    update,
)

from backhaul.adapters.ledger.schema import (
    destinations,
    jobs,
    meta,
    objects,
    put,
    replies,
    seals,
    transfers,
)
from backhaul.adapters.ledger.session import ReadSession, WriteSession
from backhaul.adapters.ledger.statements import at_once
from backhaul.core.model import TransferState
from backhaul.core.objects import Proof
from backhaul.core.ports.replies import ReplyState

LOOKED_AT = 500  # transfers in one step
UNFINISHED = "pruning"  # in `meta`: the transfer of which a step has left rows
UNFINISHED_BYTES = "pruning_bytes"
_WITH_FILES = (TransferState.DONE.value, TransferState.SUPERSEDED.value)
_UNFINISHED = select(meta.c.value).where(meta.c.name == UNFINISHED)
_FORGET_UNFINISHED = delete(meta).where(meta.c.name.in_((UNFINISHED, UNFINISHED_BYTES)))
_UNFINISHED_BYTES = select(meta.c.value).where(meta.c.name == UNFINISHED_BYTES)
_FIRST = select(func.min(objects.c.seq)).where(objects.c.transfer_id == bindparam("of_transfer"))
_SOME = (objects.c.transfer_id == bindparam("of_transfer"), objects.c.seq < bindparam("of_end"))
_DROP_SOME = at_once(delete(objects).where(*_SOME))
_DROP_ALL = at_once(
    delete(objects).where(objects.c.transfer_id.in_(bindparam("of_ids", expanding=True)))
)
# What lists sum up from the objects where it was not kept.
_COPIED = select(
    func.coalesce(
        func.sum(case((objects.c.proof != Proof.ADOPTED.value, objects.c.size_bytes), else_=0)), 0
    )
)
_COPIED_OF_SOME = _COPIED.where(*_SOME)
_COPIED_OF_ALL = _COPIED.where(objects.c.transfer_id == transfers.c.id).scalar_subquery()
_MARK = (
    update(transfers)
    .where(transfers.c.id.in_(bindparam("of_ids", expanding=True)))
    .values(pruned_at=bindparam("pruned_at"), pruned_by=bindparam("pruned_by"))
)
_KEEP_SUMS = (
    update(transfers)
    .where(
        transfers.c.id.in_(bindparam("of_ids", expanding=True)), transfers.c.bytes_copied.is_(None)
    )
    .values(bytes_copied=_COPIED_OF_ALL)
)
_KEEP_SUM = (
    update(transfers)
    .where(transfers.c.id == bindparam("of_id"), transfers.c.bytes_copied.is_(None))
    .values(bytes_copied=bindparam("of_bytes"))
)


@dataclass(frozen=True, kw_only=True)
class PruneRule:
    """What is dropped.

    Attributes:
        before: Aware; transfers that ended before it.
        name: As `show` has it: who or which setting wanted it.
    """

    before: datetime
    name: str


@dataclass(frozen=True, kw_only=True)
class PruneStep:
    """What one step did.

    Attributes:
        transfers: Marked now.
        objects: Rows that were dropped.
        size_bytes: Of the data of the transfers marked: not of what became free.
        after: Where the next step begins; None: there is nothing more.
        held_s: How long others could not write.
    """

    transfers: int
    objects: int
    size_bytes: int
    after: str | None
    held_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Prunable:
    """What steps would drop; `size_bytes` of the data, which is not touched.

    Rows that a step before has left of a transfer are counted, and the transfer is not.
    """

    transfers: int
    objects: int
    size_bytes: int


def may_go(before: datetime) -> ColumnElement[bool]:
    """The object rows of such a transfer are needed no longer.

    It has ended; its files, if it brought some, are sealed; if it died, nothing is left to do
    about it. Nothing counts on its plan: it may not be publishing still, owns no
    directory, and has no application on the cluster.
    """
    is_sealed = exists().where(seals.c.transfer_id == transfers.c.id)
    return and_(
        transfers.c.finished_at < before,
        transfers.c.pruned_at.is_(None),
        transfers.c.objects_planned > 0,
        or_(
            and_(transfers.c.state.in_(_WITH_FILES), is_sealed),
            and_(
                transfers.c.state == TransferState.DEAD.value, transfers.c.settled_at.is_not(None)
            ),
        ),
        not_(transfers.c.renames_possible),
        not_(exists().where(destinations.c.owner_transfer == transfers.c.id)),
        not_(exists().where(jobs.c.transfer_id == transfers.c.id, jobs.c.closed_at.is_(None))),
    )


class SqlPruning(WriteSession):
    """What `ledger prune` and the agent do to it."""

    def prune(self, rule: PruneRule, now: datetime, *, after: str = "", most: int) -> PruneStep:
        """One step, in one transaction.

        Args:
            after: The position that the step before it returned; empty: from the beginning.
            most: Object rows to drop.
        """
        with self._transaction() as tx:
            began_s = time.monotonic()
            step = self._prune(tx, rule, now, after, most)
        return replace(step, held_s=time.monotonic() - began_s)

    def _prune(
        self, tx: Connection, rule: PruneRule, now: datetime, after: str, most: int
    ) -> PruneStep:
        dropped = self._rest(tx, most)
        if dropped >= most:
            return PruneStep(transfers=0, objects=dropped, size_bytes=0, after=after)
        page = tx.execute(_page(after)).all()
        if not page:
            return PruneStep(transfers=0, objects=dropped, size_bytes=0, after=None)
        last: str = page[-1].id
        _drop_sent_replies(tx, after, last, rule.before)
        found = tx.execute(_candidates(rule.before, after, last)).all()
        chosen = _fitting(found, most - dropped)
        dropped += _mark_and_drop(tx, [one.id for one in chosen], rule, now, most - dropped)
        after_next: str | None = last
        if len(chosen) < len(found) or dropped >= most:
            after_next = chosen[-1].id if chosen else after
        elif len(page) < LOOKED_AT or all(one.first_seen_at >= rule.before for one in page):
            after_next = None  # ids are in the order of time: those behind are too young
        return PruneStep(
            transfers=len(chosen),
            objects=dropped,
            size_bytes=sum(one.bytes_planned for one in chosen),
            after=after_next,
        )

    @staticmethod
    def _rest(tx: Connection, most: int) -> int:
        """Of a transfer that is marked already."""
        transfer_id = tx.execute(_UNFINISHED).scalar()
        return 0 if transfer_id is None else _drop(tx, transfer_id, most)


def _drop_sent_replies(tx: Connection, after: str, last: str, before: datetime) -> None:
    """Of the transfers of this page; those that wait or were given up stay."""
    of_page = and_(replies.c.transfer_id > after, replies.c.transfer_id <= last)
    is_old = and_(replies.c.state == ReplyState.SENT.value, replies.c.ended_at < before)
    tx.execute(delete(replies).where(of_page, is_old))


def _fitting(found: Sequence[Any], most: int) -> Sequence[Any]:
    """As many as have no more objects than that together; a single one may have more."""
    total = 0
    for number, one in enumerate(found):
        total += one.objects_planned
        if total > most:
            return found[: max(number, 1)]
    return found


class PruneReader(ReadSession):
    """What `ledger prune` would drop."""

    def prunable(self, before: datetime) -> Prunable:
        """Counted in pieces, so that no commit waits long."""
        with self._transaction("meta") as tx:
            left = select(func.count()).where(
                objects.c.transfer_id == _UNFINISHED.scalar_subquery()
            )
            found = [0, int(tx.execute(left).scalar_one()), 0]
        after = ""
        while True:
            with self._transaction("transfers") as tx:
                page = tx.execute(_page(after)).all()
                if not page:
                    break
                last: str = page[-1].id
                some = _candidates(before, after, last).subquery()
                sums = select(
                    func.count(),
                    func.coalesce(func.sum(some.c.objects_planned), 0),
                    func.coalesce(func.sum(some.c.bytes_planned), 0),
                )
                for number, one in enumerate(tx.execute(sums).one()):
                    found[number] += int(one)
            if len(page) < LOOKED_AT:
                break
            after = last
        return Prunable(transfers=found[0], objects=found[1], size_bytes=found[2])


def _page(after: str) -> Select[Any]:
    here = select(transfers.c.id, transfers.c.first_seen_at).where(transfers.c.id > after)
    return here.order_by(transfers.c.id).limit(LOOKED_AT)


def _candidates(before: datetime, after: str, last: str) -> Select[Any]:
    columns = (transfers.c.id, transfers.c.objects_planned, transfers.c.bytes_planned)
    here = (transfers.c.id > after, transfers.c.id <= last)
    return select(*columns).where(*here, may_go(before)).order_by(transfers.c.id)


def _mark_and_drop(
    tx: Connection, ids: list[str], rule: PruneRule, now: datetime, most: int
) -> int:
    if not ids:
        return 0
    tx.execute(_MARK, {"of_ids": ids, "pruned_at": now, "pruned_by": rule.name})
    if len(ids) == 1:
        return _drop(tx, ids[0], most)
    tx.execute(_KEEP_SUMS, {"of_ids": ids})
    return tx.execute(_DROP_ALL, {"of_ids": ids}).rowcount


def _drop(tx: Connection, transfer_id: str, most: int) -> int:
    """Some rows of one plan, from its beginning; notes whether there may be more."""
    first = tx.execute(_FIRST, {"of_transfer": transfer_id}).scalar()
    dropped, copied = 0, int(tx.execute(_UNFINISHED_BYTES).scalar() or 0)
    if first is not None:
        some = {"of_transfer": transfer_id, "of_end": first + most}
        copied += int(tx.execute(_COPIED_OF_SOME, some).scalar_one())
        dropped = tx.execute(_DROP_SOME, some).rowcount
    if dropped >= most:
        put(tx, meta, {"name": UNFINISHED, "value": transfer_id})
        put(tx, meta, {"name": UNFINISHED_BYTES, "value": str(copied)})
    else:
        tx.execute(_KEEP_SUM, {"of_id": transfer_id, "of_bytes": copied})
        tx.execute(_FORGET_UNFINISHED)
    return dropped
