"""One process's use of the ledger: its transactions, and the transfers that it works on.

What a call decides it decides inside its transaction, so a second process sees all of it or none.
A transaction is alone, or beside others that are about transfers of other processes: no process is
judged to be gone while one is open, so whose a transfer is does not change meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, select

from backhaul.adapters.ledger import rows, transfers
from backhaul.adapters.ledger.dialects.commits import SharedCommits
from backhaul.adapters.ledger.dialects.database import ALONE, Database, LedgerTurn, TransactionBlock
from backhaul.adapters.ledger.owner import LedgerOwner
from backhaul.adapters.ledger.schema import meta
from backhaul.adapters.ledger.statements import Query
from backhaul.core.ports.ledger_records import OwnWrites

ENDED_KEPT = 1000  # a failover loses seconds


class WriteSession:
    """What the capabilities of `SqlLedger` share: one connection and one owner.

    The process at work on a transfer is recorded twice: the row names it for other processes and
    for the next start; `_working` has the transfers of this process, so that an attempt whose
    `fail` could not be recorded (disk full) does not count as a running one for ever.

    Attributes:
        ledger_id: 16 hex digits drawn when the ledger was made.
        owner: This process, as other processes see it.
        standing: What it may do beside them.
    """

    def __init__(self, engine: Engine, database: Database, owner: LedgerOwner) -> None:
        self.owner = owner
        self.standing = database.standing
        self._database = database
        self._engine = engine
        # Keys change inside transactions, together with the row.
        self._working: dict[str, OwnWrites] = {}
        # Those that it let go of, whose end could not be recorded yet.
        self._unrecorded: set[str] = set()
        # The last that it has ended, on a ledger with others, and how their end is recorded again.
        self._ended: dict[str, Callable[[], bool]] = {}
        self._commits = SharedCommits(engine.connect(), database)
        with self._transaction() as tx:
            found = tx.execute(select(meta.c.value).where(meta.c.name == "ledger_id")).scalar_one()
            self.ledger_id = rows.text(found) or ""

    def close(self) -> None:
        """Release the database; safe to repeat."""
        self._commits.close()
        self._engine.dispose()
        self._database.close()

    def observe_commits(self, receiver: Callable[[float], None]) -> None:
        """From now on `receiver` gets the seconds of each commit; it must not raise.

        A claim that is made in one step has no commit of its own to be timed.
        """
        self._commits.observe_commit = receiver

    @contextmanager
    def _transaction(self, block: TransactionBlock = ALONE) -> Iterator[Connection]:
        # Die in here and the next opening rolls back; die after it and all is kept.
        with self._database.mapped(), self._commits.transaction(block) as tx:
            yield tx

    def _beside(
        self, *queries: Query, turn: LedgerTurn | None = None
    ) -> AbstractContextManager[Connection]:
        """A transaction beside those of other processes, see `TransactionBlock`.

        Args:
            queries: Statements that it begins with, in their order: one round trip for all of them.
        """
        return self._transaction(TransactionBlock(is_beside=True, turn=turn, queries=queries))

    def _is_live(self, transfer_id: str, owner: str | None) -> bool:
        """Whether a process, this one or another, works on the transfer right now."""
        if owner is None:
            return False
        if owner == self.owner.text:
            return transfer_id in self._working
        return self.owner.is_alive(owner)

    def _mine(self, tx: Connection, transfer_id: str, *, is_to_claim: bool = False) -> RowMapping:
        """The transfer, which this process must own, with all that it wrote before.

        Args:
            is_to_claim: A claim that was lost does no harm: it is about to be made again.

        Raises:
            TakenOver
            OutageError: `ledger`: a failover of the database has lost some of it.
        """
        row = self._begun(tx, transfer_id)
        if row["owner"] != self.owner.text:
            raise transfers.taken_over(row)
        written = self._working.get(transfer_id)
        if written is not None and not is_to_claim:
            written.require(transfer_id, row["epoch"], row["objects_planned"])
        return row

    def _forget(self, transfer_id: str) -> None:
        """This process works on it no more."""
        self._working.pop(transfer_id, None)

    def _has_ended(self, transfer_id: str, again: Callable[[], bool]) -> None:
        """Its end is committed.

        Args:
            again: Records it once more, should a failover lose it; False: that is impossible.
        """
        if self.standing.is_shared and transfer_id not in self._working:
            self._ended.pop(transfer_id, None)
            self._ended[transfer_id] = again
            for oldest in list(self._ended)[:-ENDED_KEPT]:
                self._ended.pop(oldest, None)

    def _written(self, transfer_id: str) -> OwnWrites:
        """What the attempt under way builds on; empty: none is."""
        return self._working.get(transfer_id, OwnWrites())

    def _wrote(self, transfer_id: str, **changes: Any) -> None:
        """What the attempt under way builds on from now on; with the commit, or after it."""
        if (written := self._working.get(transfer_id)) is not None:
            self._working[transfer_id] = replace(written, **changes)

    def _begun(self, tx: Connection, transfer_id: str) -> RowMapping:
        """The transfer, which must be in the ledger.

        Raises:
            TakenOver: This process began it, and a failover of the database has lost the commit.
            OutageError: `ledger`: or has lost pages of its plan.
        """
        written = self._working.get(transfer_id)
        if (row := transfers.find(tx, transfer_id)) is not None:
            if written is not None:
                written.require_pages(transfer_id, row["objects_planned"])
            return row
        if written is not None:
            raise transfers.lost(transfer_id)
        return transfers.by_id(tx, transfer_id)


class ReadSession:
    """A connection that cannot write, beside an agent that does.

    Every query is a short transaction: in a rollback journal a reader holds up the writer's commit.

    Args:
        turn: Held while a transaction runs. Readers of one process have to share one: SQLite lets a
            second reader of the same process in although a writer waits for the first, so readers
            that overlap would hold up a commit for ever.
    """

    def __init__(
        self,
        engine: Engine,
        database: Database,
        *,
        turn: AbstractContextManager[object] | None = None,
    ) -> None:
        self._engine = engine
        self._database = database
        self._turn = turn or nullcontext()

    def close(self) -> None:
        """Release the database; safe to repeat."""
        self._engine.dispose()

    def size_bytes(self) -> int:
        """Of the file, or of the database with all that is in it."""
        with self._transaction("the size of the ledger") as tx:
            return self._database.size_bytes(tx)

    @contextmanager
    def _transaction(self, what: str) -> Iterator[Connection]:
        """In the block rows become values of the core; `what` names them in an error."""
        with (
            self._turn,
            self._database.mapped_of_reader(what),
            self._engine.begin() as connection,
        ):
            yield connection
