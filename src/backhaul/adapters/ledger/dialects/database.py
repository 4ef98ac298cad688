"""A database as a session of the ledger sees it: its name, its errors, its transactions.

One error of a driver becomes one error of Backhaul, here and nowhere else. What becomes which is
each database's own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar

from sqlalchemy.exc import MultipleResultsFound, NoResultFound, SQLAlchemyError

from backhaul.adapters.ledger import rows
from backhaul.adapters.ledger.schema import WrongValue
from backhaul.adapters.ledger.statements import Query
from backhaul.core.errors import BackhaulError, LedgerDamaged, PermanentError
from backhaul.core.fleet.standing import Alone, Standing

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection, Engine

    from backhaul.core.model import Location
    from backhaul.core.objects import PlannedObject


class EditedLedger(LedgerDamaged):
    """A row that Backhaul did not write."""


class LedgerTurn(StrEnum):
    """What transactions that run beside each other do one after the other."""

    CLAIM = "turn_claim"  # which destinations are owned, and how many a route has in flight
    SUM = "turn_sum"  # sums over transfers, and the chain of the seals


@dataclass(frozen=True, kw_only=True)
class TransactionBlock:
    """What is known of a block before it begins.

    Attributes:
        is_beside: Other processes may run such blocks at the same time.
        turn: It has it from its beginning.
        queries: Its first statements, in their order. A change among them is made even if the block
            does not come to it, so nothing but an error may keep it from that.
    """

    is_beside: bool = False
    turn: LedgerTurn | None = None
    queries: Sequence[Query] = ()


ALONE = TransactionBlock()


@dataclass(frozen=True, kw_only=True)
class DirectClaim:
    """What `DestinationLedger.claim` is asked for, for a database that can do it in one step.

    Attributes:
        owner: This process, as rows have it.
        staging_root: Where no application fills another one.
        most_of_route: So many of its route are in flight at most, of all processes; None: any.
        first: A page of the plan; empty: the plan is frozen later, or was.
        event: The columns of `replays.event_values`.
        begun_at: When its attempt was begun, as its row has it.
    """

    transfer_id: str
    owner: str
    destination: Location
    directory: Location
    staging_root: Location
    route: str
    most_of_route: int | None
    first: Sequence[PlannedObject]
    is_complete: bool
    markers: int
    event: Mapping[str, Any]
    min_epoch: int
    begun_at: datetime | None
    now: datetime


class ServerTransaction:
    """What is needed to learn later whether a transaction was committed; each database's own."""


class PreparedClaim:
    """A `DirectClaim` as it will be sent; each database's own."""


class Database(ABC):
    """One ledger's database.

    Attributes:
        driver_errors: What its driver raises where SQLAlchemy does not wrap it.
        name: The ledger as messages name it.
        has_other_writers: Whether blocks of other processes may run beside one of this one. Where
            none can, each block is alone and shares its commit.
    """

    has_other_writers: ClassVar[bool] = False
    # Of a path that is a key, as a URI in UTF-8; None: any that HDFS takes.
    key_bytes_most: ClassVar[int | None] = None
    driver_errors: ClassVar[tuple[type[Exception], ...]]
    name: str

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """All that a statement or a commit may raise."""
        return (SQLAlchemyError, *self.driver_errors)

    def prepare(self, connection: Connection, block: TransactionBlock) -> None:  # noqa: B027
        """For a transaction of `lock`; called before it begins with this block."""

    def lock(  # noqa: B027 - SQLite locks as it begins
        self, connection: Connection, *, is_beside: bool
    ) -> None:
        """Wait until this transaction may write; called at its beginning.

        Args:
            is_beside: Until none is alone; else until this is the only one that writes. What is
                read after it is what those before have committed.
        """

    def take_turn(self, connection: Connection, turn: LedgerTurn) -> None:  # noqa: B027
        """In a transaction beside others: from here on, only one of them until it ends.

        What is read after it is what the one before has committed.
        """

    def prefetch(self, connection: Connection, queries: Sequence[Query]) -> None:  # noqa: B027
        """The next statements of the block, in their order; a database may answer all at once."""

    def end_block(self, connection: Connection) -> None:  # noqa: B027 - SQLite sends all at once
        """What waits of this block is sent: an error that it meets is the block's own."""

    def begin_block(self, connection: Connection) -> None:
        """A block after the first of a transaction; no block is in another."""
        connection.exec_driver_sql("SAVEPOINT one")

    def keep_block(self, connection: Connection) -> None:
        """Its changes are the transaction's; an error that they meet is the block's own."""
        connection.exec_driver_sql("RELEASE one")

    def undo_block(self, connection: Connection) -> None:
        """It has changed nothing."""
        connection.exec_driver_sql("ROLLBACK TO one")
        connection.exec_driver_sql("RELEASE one")

    def excludes(self, one: Location, other: Location) -> bool:
        """Whether no two transfers may own these at once: they overlap, or count as if they did."""
        return rows.overlap(one, other)

    def least_epoch(self, connection: Connection) -> int:  # noqa: ARG002 - a file has one history
        """Of a claim in this transaction; above all that a lost server may have given."""
        return 1

    def require_newest(  # noqa: B027 - a file has one history
        self, connection: Connection, epoch: int, staging_root: Location
    ) -> None:
        """Refuse a claim where what is staged shows that a newer server gave epochs, too.

        Args:
            connection: Of the claim's transaction.
            epoch: The least that is wanted: above all that is staged at the destination.
            staging_root: Where that was seen.

        Raises:
            OutageError: `ledger`: E_LEDGER_OLD_PRIMARY.
        """

    def prepare_claim(self, wanted: DirectClaim) -> PreparedClaim | None:  # noqa: ARG002
        """For `claim_directly`, without the connection; None: this database claims by transactions.

        Raises:
            SQLAlchemyError, or of the driver: It has a value that this database cannot have.
        """
        return None

    def claim_directly(self, connection: Connection, claim: PreparedClaim) -> int | None:
        """Claim in one step, where nothing is in the way that has to be considered.

        Args:
            connection: Between two transactions.
            claim: Of `prepare_claim`.

        Returns:
            The claim's epoch; None: claim by a transaction, which finds what there is.

        Raises:
            SQLAlchemyError, or of the driver: Nothing is changed.
            OutageError: `ledger`.
            FencedOff: Others took this process for gone.
        """
        raise NotImplementedError

    def begun(self, connection: Connection) -> ServerTransaction | None:  # noqa: ARG002
        """The transaction that has just begun; None where a failed COMMIT has changed nothing."""
        return None

    def was_committed(
        self,
        engine: Engine,  # noqa: ARG002
        transaction: ServerTransaction | None,  # noqa: ARG002
        error: Exception,  # noqa: ARG002
    ) -> bool:
        """Whether a COMMIT that ended with this error took effect; it may wait for seconds.

        Args:
            engine: For connections of its own: the one that failed is gone.
            transaction: What `begun` returned.
            error: Of `errors`.

        Raises:
            OutageError: `ledger`: that cannot be learnt now.
        """
        return False

    @property
    def standing(self) -> Standing:
        """Of the process that writes."""
        return Alone()

    def close(self) -> None:  # noqa: B027 - most have nothing else to release
        """Its session is over."""

    @abstractmethod
    def is_in_transaction(self, driver: Any) -> bool:
        """Whether this connection of the driver has begun one, whatever SQLAlchemy considers."""

    @abstractmethod
    def size_bytes(self, connection: Connection) -> int:
        """What it takes of its disk."""

    @abstractmethod
    def interrupted(self) -> Exception:
        """What a thread raises whose commit another thread did not carry out."""

    @abstractmethod
    def translated(self, error: Exception, *, is_reader: bool = False) -> BackhaulError:
        """What to raise instead of an error of the driver or of SQLAlchemy."""

    def require_keys(self, directory: Location, planned: Iterable[PlannedObject]) -> None:
        """Refuse paths that this database cannot look for, before anything is copied.

        Raises:
            PermanentError: E_LEDGER_KEY.
        """
        most = self.key_bytes_most
        if most is None:
            return
        base = directory.uri.rstrip("/")
        for path in (base, *(f"{base}/{one.relative}" for one in planned)):
            size = len(path.encode())
            if size > most:
                raise PermanentError(
                    "E_LEDGER_KEY",
                    f"{path[:80]}...: {size} bytes, a ledger on this database takes {most}",
                    hint="shorten the destination, or use a ledger in a file",
                )

    def key(self, text: str) -> str:
        """A text for people that is looked for, too: cut where this database could not keep it."""
        most = self.key_bytes_most
        if most is None or len(text) * 4 <= most:
            return text
        return text.encode()[:most].decode(errors="ignore")

    def edited(self, what: str) -> EditedLedger:
        """What to raise for a row that Backhaul did not write."""
        return EditedLedger(
            "E_LEDGER_CORRUPT",
            f"{self.name} has a row that Backhaul did not write: {what}",
            hint="it was edited: keep the file, restore the ledger from its backup",
        )

    @contextmanager
    def mapped(self, *, is_reader: bool = False) -> Iterator[None]:
        """No error of the driver or of SQLAlchemy leaves the block."""
        try:
            yield
        except (WrongValue, NoResultFound, MultipleResultsFound) as exc:
            raise self.edited(str(exc)) from exc
        except self.errors as exc:
            raise self.translated(exc, is_reader=is_reader) from exc

    @contextmanager
    def mapped_of_reader(self, what: str) -> Iterator[None]:
        """The same where rows become values of the core: what cannot become one was edited."""
        try:
            with self.mapped(is_reader=True):
                yield
        except (ArithmeticError, AttributeError, TypeError, ValueError) as error:
            raise self.edited(f"{what}: {error}") from error
