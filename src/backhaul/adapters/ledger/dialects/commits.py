"""Transactions of several threads on one connection: those that meet share one commit.

A commit waits for the disk, SQLite's three or four times, and a ledger has one writer. Threads that
arrive during that wait run one after the other, each below a savepoint of its own, and the last of
them commits for all. A call returns only after the commit that contains its changes, so each thread
can rely on what a commit of its own would give. A single thread shares nothing.

Where several processes write one ledger, a block runs beside those of others, or it is alone. One
beside others has a transaction to itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from backhaul.adapters.ledger.dialects.database import ALONE, TransactionBlock
from backhaul.adapters.ledger.statements import Query
from backhaul.core.errors import OutageError

if TYPE_CHECKING:
    from sqlalchemy import Connection, RootTransaction

    from backhaul.adapters.ledger.dialects.database import Database, LedgerTurn, ServerTransaction

MOST = 32  # transactions with one commit: no thread waits for more of them than that
LOOK_S = 0.05
_Found = TypeVar("_Found")
_SHARED = "shared commits"  # in `Connection.info`


def announce(tx: Connection, what: object) -> None:
    """`SharedCommits.announce`, for who has only the connection."""
    commits: SharedCommits | None = tx.info.get(_SHARED)
    if commits is not None:
        commits.announce(what)


def take_turn(tx: Connection, turn: LedgerTurn) -> None:
    """`SharedCommits.take_turn`, for who has only the connection."""
    commits: SharedCommits | None = tx.info.get(_SHARED)
    if commits is not None:
        commits.take_turn(turn)


def prefetch(tx: Connection, *queries: Query) -> None:
    """`Database.prefetch`, in the middle of a block."""
    commits: SharedCommits | None = tx.info.get(_SHARED)
    if commits is not None:
        commits.prefetch(queries)


class _Group:
    """Transactions with one commit."""

    def __init__(
        self,
        transaction: RootTransaction,
        on_server: ServerTransaction | None,
        first: TransactionBlock,
    ) -> None:
        self.transaction = transaction
        self.on_server = on_server
        self.is_beside = first.is_beside
        self.turn = first.turn
        self.size = 0
        self.undoing: list[Callable[[], None]] = []
        self.own_undoing = 0  # where those of the block under way begin
        self.announced: list[object] = []
        self.own_announced = 0
        self.is_whole = True  # every block of it was kept or undone completely
        self.over = threading.Event()
        self.error: BaseException | None = None

    @property
    def is_closed(self) -> bool:
        """Whether no other block may join it.

        Beside others none may: it could wait for a turn while the group has locked a row of another
        process, for which the holder of that turn waits.
        """
        return self.is_beside or self.size >= MOST


class SharedCommits:
    """The only access to a connection, which belongs to this object.

    Args:
        connection: Begins with the write lock, as `writing_engine` of each database makes it.
        database: Whose connection it is.

    Attributes:
        observe_commit: Called with the seconds that each commit took; must not raise.
        observe_kept: Called with each thing that was announced, after its commit and before any
            thread goes on that has seen it; must not raise, nor use the connection.
    """

    def __init__(self, connection: Connection, database: Database) -> None:
        self._connection = connection
        self._database = database
        self._in_use = threading.Lock()
        self._counting = threading.Lock()
        self._coming = 0  # threads that wait for the connection
        self._group: _Group | None = None
        self.observe_commit: Callable[[float], None] | None = None
        self.observe_kept: Callable[[Any], None] | None = None

    @contextmanager
    def transaction(self, block: TransactionBlock = ALONE) -> Iterator[Connection]:
        """Changes in the block are committed when it is left without an error, else undone.

        The block must not open another: it would wait for itself.

        Args:
            block: Where it is beside others, what it reads and changes is of one transfer that this
                process owns, or it has a `LedgerTurn`.

        Raises:
            SQLAlchemyError, or of the driver: Nothing of the block is kept.
        """
        if not self._database.has_other_writers:
            block = ALONE
        with self._exclusive():
            try:
                group = self._join(block)
                try:
                    yield self._connection
                except BaseException as error:
                    self._undo(group, error)
                    raise
                self._keep(group)
            finally:
                if self._group is not None and (self._coming <= 0 or self._group.is_closed):
                    self._end(self._group)
        self._wait_for(group)

    def by_itself(self, act: Callable[[Connection], _Found]) -> _Found:
        """What `act` returns, which has the connection between two transactions.

        It leaves the connection as it was, or invalidated.
        """
        with self._exclusive():
            if self._group is not None:
                self._end(self._group)
            return act(self._connection)

    def if_lost(self, undo: Callable[[], None]) -> None:
        """In a block: call this, before another thread runs, if the block is not kept."""
        if self._group is not None:
            self._group.undoing.append(undo)

    def announce(self, what: object) -> None:
        """In a block: hand this to `observe_kept` if the block is kept."""
        if self._group is not None and self.observe_kept is not None:
            self._group.announced.append(what)

    def take_turn(self, turn: LedgerTurn) -> None:
        """In a block that runs beside others: they wait here until it is committed.

        Until then it has locked rows of its own transfer alone, and the holder of a turn waits for
        none of these.
        """
        group = self._group
        if group is None or not group.is_beside or group.turn is turn:
            return
        if group.turn is not None:
            raise AssertionError(f"{turn} after {group.turn}: two processes could wait in a ring")
        group.turn = turn
        self._database.take_turn(self._connection, turn)

    def prefetch(self, queries: Sequence[Query]) -> None:
        """In a block: see `Database.prefetch`."""
        self._database.prefetch(self._connection, queries)

    def close(self) -> None:
        """Release the connection; safe to repeat."""
        with self._exclusive():
            if self._group is not None:
                self._end(self._group)
            self._connection.close()

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        # Ctrl-C may come between any two steps of `copy`: then, too, the lock must be released.
        with self._counting:
            self._coming += 1
        is_coming = True
        try:
            with self._in_use:
                with self._counting:
                    self._coming -= 1
                    is_coming = False
                yield
        finally:
            if is_coming:
                with self._counting:
                    self._coming -= 1

    def _join(self, block: TransactionBlock) -> _Group:
        if self._group is not None and block.is_beside:
            self._end(self._group)
        if self._group is not None and self._group.size == 1:
            self._send_rest(self._group)
        if self._group is None:
            transaction = self._begin(block)
            on_server = self._database.begun(self._connection)
            self._group = _Group(transaction, on_server, block)
        else:
            self._database.begin_block(self._connection)
        self._group.is_whole = False
        self._group.size += 1
        self._group.own_undoing = len(self._group.undoing)
        self._group.own_announced = len(self._group.announced)
        return self._group

    def _send_rest(self, group: _Group) -> None:
        """What waits of the first block; where it fails, that block's thread raises the error.

        Those after it send theirs with the end of their savepoint.
        """
        try:
            self._database.end_block(self._connection)
        except self._database.errors as error:
            self._lose(group, error)

    def _begin(self, block: TransactionBlock) -> RootTransaction:
        self._database.prepare(self._connection, block)
        transaction = self._connection.begin()
        # Each time: `info` is that of the driver's connection, and this may be another one.
        self._connection.info[_SHARED] = self
        try:
            self._database.lock(self._connection, is_beside=block.is_beside)
        except BaseException:
            with suppress(*self._database.errors):
                transaction.rollback()
            raise
        return transaction

    def _keep(self, group: _Group) -> None:
        if group.size > 1:
            try:
                self._database.keep_block(self._connection)
            except BaseException as error:
                self._lose(group, error)
                raise
        group.is_whole = True

    def _undo(self, group: _Group, error: BaseException) -> None:
        """Back to where this block began; where that is impossible, the whole group is lost."""
        try:
            # Full disks and failed reads end SQLite's whole transaction by themselves, and a lost
            # connection ends PostgreSQL's.
            if group.size > 1 and self._driver_in_transaction():
                self._database.undo_block(self._connection)
                while len(group.undoing) > group.own_undoing:
                    group.undoing.pop()()
                del group.announced[group.own_announced :]
                group.is_whole = True
                return
        except self._database.errors:
            pass  # `error` is what led here
        self._lose(group, error)

    def _end(self, group: _Group) -> None:
        """Commit, and wake all threads that wait for the group."""
        if not group.is_whole:
            self._lose(group, InterruptedError("in the middle of a block"))
            return
        began_s = time.monotonic()
        try:
            self._commit(group)
        except BaseException as error:  # each thread that waits for the group raises it
            self._lose(group, error)
            if not isinstance(error, Exception):
                raise  # Ctrl-C is for this thread; `_wait_for` raises the others in each
        else:
            self._group = None
            try:
                if self.observe_kept is not None:
                    for what in group.announced:
                        self.observe_kept(what)
            finally:  # without it the other threads would wait for ever
                group.over.set()
            if self.observe_commit is not None:
                self.observe_commit(time.monotonic() - began_s)

    def _commit(self, group: _Group) -> None:
        """COMMIT; where its answer is lost, what became of it decides, and nothing is repeated.

        Die here and the next attempt reads what the ledger has.
        """
        try:
            group.transaction.commit()
        except self._database.errors as error:
            engine = self._connection.engine
            if not self._database.was_committed(engine, group.on_server, error):
                raise
            with suppress(*self._database.errors):
                group.transaction.rollback()  # of SQLAlchemy's alone
            if not self._connection.invalidated:
                self._connection.invalidate()  # the next transaction begins on another one

    def _lose(self, group: _Group, error: BaseException) -> None:
        group.is_whole = False
        group.error = error
        with suppress(*self._database.errors):
            group.transaction.rollback()
        # A COMMIT refused by a reader's lock leaves SQLite's transaction open, while SQLAlchemy
        # considers it ended.
        with suppress(*self._database.errors):
            if not self._connection.closed and not self._connection.invalidated:
                self._connection.connection.rollback()
        for undo in group.undoing:
            undo()
        group.undoing.clear()
        self._group = None
        group.over.set()

    def _driver_in_transaction(self) -> bool:
        if self._connection.closed or self._connection.invalidated:
            return False
        return self._database.is_in_transaction(self._connection.connection.driver_connection)

    def _wait_for(self, group: _Group) -> None:
        while not group.over.wait(LOOK_S):
            # The disk is slow, or the thread that would have ended the group was interrupted. This
            # thread was counted as coming, so a group left open for it is its own to end.
            with self._exclusive():
                open_one = self._group
                if open_one is not None and (open_one is group or self._coming <= 0):
                    self._end(open_one)
        if isinstance(group.error, self._database.errors):
            raise group.error
        if isinstance(group.error, OutageError):
            raise group.error
        if group.error is not None:
            raise self._database.interrupted() from group.error
