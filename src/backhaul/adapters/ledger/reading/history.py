"""Lists of transfers and one transfer whole, in pieces that hold up no commit.

A ledger has a million transfers and few indexes, because each index costs every commit. So a list
walks back in time by the transfers' ids, which begin with the time they were made; sums over the
objects of a transfer go forward in its plan. Each piece is a transaction of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice

from sqlalchemy import ColumnElement, func, select

from backhaul.adapters.ledger.paths.packed import LAST_CHARACTER
from backhaul.adapters.ledger.reading.evidence import (
    EvidenceRow,
    ProofTotals,
    find,
    objects_of,
    proof_totals,
)
from backhaul.adapters.ledger.reading.filtering import (
    CLOCK_SLACK,
    EVERYTHING,
    FilterReader,
    HistoryFilter,
    done_of,
    ids_of_state,
)
from backhaul.adapters.ledger.reading.replying import ReplyRow, replies_of
from backhaul.adapters.ledger.reading.transfer_rows import (
    JobRow,
    JournalRow,
    SettledBy,
    TransferRow,
    job_row,
    journal_row,
    settled_by,
    transfer_row,
)
from backhaul.adapters.ledger.schema import jobs, journal, transfers
from backhaul.core.model import TransferState
from backhaul.core.objects import Proof
from backhaul.core.transfer_ids import time_part

FIRST_OBJECTS = 20
ROWS_AT_ONCE = 500  # made into values; some 15 ms
TRANSFERS_AT_ONCE = 10_000  # looked at; some 10 ms
OBJECTS_AT_ONCE = 20_000
COUNT_MOST = 10_000
# The sum was kept when the transfer ended, unless an earlier version ended it.
_KEPT_SUM = func.coalesce(transfers.c.bytes_copied, 0).label("copied_bytes")


@dataclass(frozen=True, kw_only=True)
class TransferDetails:
    """Everything that `show` prints.

    Attributes:
        settled_by: The transfer that a dead one became; None: it was not sent again, or no agent
            has received what was sent.
    """

    transfer: TransferRow
    settled_by: SettledBy | None
    jobs: tuple[JobRow, ...]
    journal: tuple[JournalRow, ...]
    proofs: tuple[ProofTotals, ...]
    first_objects: tuple[EvidenceRow, ...]
    replies: tuple[ReplyRow, ...] = ()


class HistoryReader(FilterReader):
    """What `history` and `show` read.

    Raises (any method):
        OutageError: `ledger`: locked too long or an I/O error.
        EditedLedger: E_LEDGER_CORRUPT: a row that Backhaul did not write.
    """

    def history(
        self,
        limit: int = 100,
        states: Sequence[TransferState] = (),
        since: datetime | None = None,
        *,
        wanted: HistoryFilter = EVERYTHING,
        sums_objects: bool = True,
    ) -> list[TransferRow]:
        """The newest transfers first, by their ids: by the time they were first seen.

        Args:
            states: As in the filter, likewise `since`.
            sums_objects: False: `copied_bytes` of those that have not ended is 0.
        """
        found: list[TransferRow] = []
        wanted = _joined(wanted, states, since)
        conditions = self.conditions(wanted)
        for span in self._spans(wanted, conditions):
            before = LAST_CHARACTER
            while len(found) < limit:
                most = min(ROWS_AT_ONCE, limit - len(found))
                piece = self._rows((*span, *conditions, transfers.c.id < before), most)
                for row, is_unsummed in piece:
                    if is_unsummed and sums_objects:
                        copied_bytes = _copied(self._proofs(row.id))
                        found.append(replace(row, copied_bytes=copied_bytes))
                    else:
                        found.append(row)
                if len(piece) < most:
                    break
                before = piece[-1][0].id
            if len(found) == limit:
                break
        return found

    def count(
        self,
        states: Sequence[TransferState] = (),
        since: datetime | None = None,
        *,
        wanted: HistoryFilter = EVERYTHING,
        most: int = COUNT_MOST,
    ) -> int:
        """How many transfers `history` would return without a limit.

        Returns:
            `most` + 1 where there are more than `most`.
        """
        wanted = _joined(wanted, states, since)
        counted, conditions = 0, self.conditions(wanted)
        ids = ids_of_state(self, wanted)
        if ids is not None:
            return sum(1 for _ in islice(ids, most + 1))
        if wanted == HistoryFilter(route=wanted.route) and wanted.route is not None:
            done = self._count(done_of(wanted.route), most)
            if done > most:  # else those that ended otherwise are counted, too
                return done
        for span in self._spans(wanted, conditions):
            counted += self._count((*span, *conditions), most - counted)
            if counted > most:
                break
        return counted

    def show(self, id_prefix: str, *, first_objects: int = FIRST_OBJECTS) -> TransferDetails:
        """One transfer with its journal, its proofs summed up and its first objects.

        Raises:
            PermanentError: E_NO_SUCH_TRANSFER, as in `id_of`.
        """
        with self._transaction(id_prefix) as tx:
            row = find(tx, id_prefix, _KEPT_SUM)
            its_jobs = select(jobs).where(jobs.c.transfer_id == row["id"]).order_by(jobs.c.epoch)
            its_journal = (
                select(journal).where(journal.c.transfer_id == row["id"]).order_by(journal.c.number)
            )
            details = TransferDetails(
                transfer=transfer_row(row),
                settled_by=settled_by(tx, row),
                jobs=tuple(map(job_row, tx.execute(its_jobs).mappings())),
                journal=tuple(map(journal_row, tx.execute(its_journal).mappings())),
                proofs=(),
                first_objects=tuple(objects_of(tx, row, after=-1, most=first_objects)),
                replies=tuple(replies_of(tx, row["id"])),
            )
        proofs, transfer = self._proofs(details.transfer.id), details.transfer
        if row["bytes_copied"] is None:
            transfer = replace(transfer, copied_bytes=_copied(proofs))
        return replace(details, transfer=transfer, proofs=proofs)

    def _count(self, conditions: Sequence[ColumnElement[bool]], most: int) -> int:
        some = select(transfers.c.id).where(*conditions).limit(most + 1).subquery()
        with self._transaction("transfers") as tx:
            return int(tx.execute(select(func.count()).select_from(some)).scalar_one())

    # ------------------------------------------------------------ pieces of the list

    def _spans(
        self, wanted: HistoryFilter, conditions: Sequence[ColumnElement[bool]]
    ) -> Iterator[tuple[ColumnElement[bool], ...]]:
        """Conditions on ids, newest first, that together are all transfers that may match."""
        if not conditions:
            yield ()
            return
        seen = LAST_CHARACTER  # ids from here on are through
        if wanted.route is not None:
            # Most routes have some of the newest: that is found sooner than in the indexes.
            newest_ones, last = self._piece(LAST_CHARACTER)
            yield newest_ones
            if last is None:
                return
            seen = last
        newest = self.newest_ids(wanted)
        before: str
        if newest is not None:
            ids, before = newest
        else:
            few = self.few_ids(wanted)
            ids, before = ([], seen) if few is None else (few, "")
        ids = [one for one in ids if one < seen]
        for start in range(0, len(ids), ROWS_AT_ONCE):
            yield (transfers.c.id.in_(ids[start : start + ROWS_AT_ONCE]),)
        if not before:
            return
        before = min(before, seen)
        if wanted.until is not None:
            before = min(before, time_part(wanted.until + CLOCK_SLACK))
        following: str | None = before
        while following is not None:
            condition, following = self._piece(following)
            yield condition

    def _piece(self, before: str) -> tuple[tuple[ColumnElement[bool], ...], str | None]:
        """Some transfers with ids before that one, and where the next ones begin; None: nowhere."""
        older = transfers.c.id < before
        edge = select(transfers.c.id).where(older).order_by(transfers.c.id.desc())
        with self._transaction("transfers") as tx:
            last = tx.execute(edge.limit(1).offset(TRANSFERS_AT_ONCE - 1)).scalar()
        return ((older,) if last is None else (older, transfers.c.id >= last)), last

    def _rows(
        self, conditions: Sequence[ColumnElement[bool]], most: int
    ) -> list[tuple[TransferRow, bool]]:
        """With whether the sum of what was copied was not kept."""
        query = select(transfers, _KEPT_SUM).where(*conditions)
        with self._transaction("the list of transfers") as tx:
            found = tx.execute(query.order_by(transfers.c.id.desc()).limit(most)).mappings()
            return [(transfer_row(row), row["bytes_copied"] is None) for row in found]

    # ------------------------------------------------------------ sums over objects

    def _proofs(self, transfer_id: str) -> tuple[ProofTotals, ...]:
        """The objects of a transfer, by proof."""
        totals: dict[Proof | None, ProofTotals] = {}
        after: int | None = -1
        while after is not None:
            with self._transaction(transfer_id) as tx:
                piece, after = proof_totals(tx, transfer_id, after=after, scan=OBJECTS_AT_ONCE)
            for one in piece:
                before = totals.get(one.proof)
                if before is not None:
                    one = replace(  # noqa: PLW2901 - the sum of both
                        one,
                        objects=before.objects + one.objects,
                        size_bytes=before.size_bytes + one.size_bytes,
                    )
                totals[one.proof] = one
        return tuple(sorted(totals.values(), key=lambda one: one.proof or ""))


def _copied(proofs: Sequence[ProofTotals]) -> int:
    """Bytes that were copied and proven; those of adopted files were there before."""
    copied = (one for one in proofs if one.proof not in {None, Proof.ADOPTED})
    return sum(one.size_bytes for one in copied)


def _joined(
    wanted: HistoryFilter, states: Sequence[TransferState], since: datetime | None
) -> HistoryFilter:
    given = {"states": tuple(states) or wanted.states, "since": since or wanted.since}
    return replace(wanted, **given)  # type: ignore[arg-type]
