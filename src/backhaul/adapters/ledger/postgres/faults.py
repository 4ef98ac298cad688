"""PostgreSQL's errors as Backhaul's: by SQLSTATE, and by their words where there is none.

A connection that does not come about has no SQLSTATE in libpq, only a text.
Source: https://www.postgresql.org/docs/15/errcodes-appendix.html.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.exc import PendingRollbackError

from backhaul.adapters.ledger.dialects.database import (
    Database,
    DirectClaim,
    LedgerTurn,
    PreparedClaim,
    ServerTransaction,
    TransactionBlock,
)
from backhaul.adapters.ledger.postgres import direct_claim, outcome
from backhaul.adapters.ledger.postgres.deferred import driver_of, noted, prefetch
from backhaul.adapters.ledger.postgres.direct_claim import ClaimText
from backhaul.adapters.ledger.postgres.engine import lock_as_it_begins
from backhaul.adapters.ledger.postgres.lineage import newest_timeline
from backhaul.adapters.ledger.postgres.members.member import locked
from backhaul.adapters.ledger.postgres.members.pulse import turn_row
from backhaul.adapters.ledger.postgres.moment import COUNTER_BITS, ServerMoment, current
from backhaul.adapters.ledger.postgres.spans import spans_overlap
from backhaul.adapters.ledger.statements import Query
from backhaul.core.errors import (
    BackhaulError,
    DestinationBusy,
    LedgerDamaged,
    OutageError,
    PermanentError,
)
from backhaul.core.fleet.standing import Alone, Standing
from backhaul.core.ports.ledger_place import PostgresUrl

if TYPE_CHECKING:
    from backhaul.adapters.ledger.postgres.members.member import Member
    from backhaul.core.model import Location

_AWAY = ("E_LEDGER_AWAY", "cannot be reached")
_LOCKED = ("E_LEDGER_LOCKED", "stayed locked by another process")
_FULL = ("E_LEDGER_FULL", "has no room to grow")
_READONLY = ("E_LEDGER_READONLY", "cannot be written")
_LOGIN = ("E_LEDGER_LOGIN", "refuses this user")
_BUSY = ("E_LEDGER_CONNECTIONS", "has no connection left")
_IO = ("E_LEDGER_IO", "met an I/O error")

# The longest prefix of a SQLSTATE counts.
OUTAGES = {
    "08": _AWAY,
    "25006": _READONLY,
    "25P03": _AWAY,
    "28": _LOGIN,
    "3D000": _LOGIN,
    "40": _LOCKED,
    "42501": _LOGIN,
    "53": _IO,
    "53100": _FULL,
    "53300": _BUSY,
    "55": _LOCKED,
    "57": _AWAY,
    "57014": _LOCKED,
    "58": _IO,
}
HINTS = {
    "E_LEDGER_AWAY": "check that PostgreSQL runs and that this node reaches it; Backhaul goes on "
    "by itself",
    "E_LEDGER_LOCKED": "look into pg_stat_activity for a transaction that stays open",
    "E_LEDGER_FULL": "free space on the disk of PostgreSQL; Backhaul goes on by itself",
    "E_LEDGER_READONLY": "the address must lead to the primary: a standby, or a primary that was "
    "replaced, takes no change",
    "E_LEDGER_LOGIN": "check user and database in the setting `ledger`, the file that PGPASSFILE "
    "names, pg_hba.conf, and that the user may create tables in its schema",
    "E_LEDGER_CONNECTIONS": "raise max_connections of PostgreSQL, or the pool of its pooler",
    "E_LEDGER_IO": "look into PostgreSQL's log",
}
_BY_WORDS = (
    ("password", _LOGIN),
    ("authentication", _LOGIN),
    ("pg_hba.conf", _LOGIN),
    ("does not exist", _LOGIN),
    ("no such database", _LOGIN),
    ("permission denied for database", _LOGIN),
    ("too many", _BUSY),
    ("connection slots", _BUSY),
    ("no more connections", _BUSY),
    ("read-only", _READONLY),
)
_DAMAGED = ("XX001", "XX002", "42P01", "42703")
_TOO_LARGE = "54000"
_OVERLAP = "23P01"  # of the constraint `no_overlap`
_BLOCK = "SAVEPOINT one"


class PostgresDatabase(Database):
    """The database at an address.

    Args:
        member: Whose transactions these are; None: nothing is written but tables.
        leaves: Its session is all that the member is for.
        timelines_before: As `lineage.timelines_before` found it.
    """

    driver_errors = (psycopg.Error,)
    has_other_writers = True
    # A key of a B-tree is at most 2,704 bytes, and the longest of ours has an object's key, too.
    key_bytes_most = 1500

    def __init__(
        self,
        url: PostgresUrl,
        member: Member | None = None,
        *,
        leaves: bool = False,
        timelines_before: int = 0,
    ) -> None:
        self.url = url
        self._member = member
        self._leaves = leaves
        self._timelines_before = timelines_before
        self.name = str(url)
        self._waits_for_standby = False  # a COMMIT of this process, which keeps the lock

    def excludes(self, one: Location, other: Location) -> bool:
        return spans_overlap(one.uri, other.uri)

    def least_epoch(self, connection: Connection) -> int:
        return current(connection).least_epoch(self._timelines_before)

    def require_newest(self, connection: Connection, epoch: int, staging_root: Location) -> None:
        if epoch < current(connection).least_epoch(self._timelines_before + 1):
            return  # it is of this timeline or an older one: nothing has to be read
        newest = newest_timeline(connection, self._timelines_before)
        if epoch >> COUNTER_BITS > newest:
            raise OutageError.of(
                "ledger",
                "E_LEDGER_OLD_PRIMARY",
                f"{self.name} has given no epoch above timeline {newest}, and {staging_root.uri} "
                f"has one of timeline {epoch >> COUNTER_BITS}: another server took writes after it",
                hint="stop that server, or make it a standby of the new one by pg_rewind; Backhaul "
                "goes on by itself. Only if the newer ledger is lost for good: stop all agents, "
                f"remove {staging_root.uri}, and start them",
            )

    def prepare_claim(self, wanted: DirectClaim) -> ClaimText:
        if self._member is None:
            raise AssertionError("only a member writes")
        return direct_claim.prepared(wanted, self._member.id)

    def claim_directly(self, connection: Connection, claim: PreparedClaim) -> int | None:
        if not isinstance(claim, ClaimText):
            raise TypeError(f"a claim of another database: {claim}")
        self.standing.require()
        try:
            epoch = direct_claim.claim_directly(
                connection, claim, timelines_before=self._timelines_before
            )
        except direct_claim.ClaimWaits as waits:
            self._waits_for_standby = True
            raise outcome.waits_for_standby(self.name) from waits
        if epoch is not None:
            self._waits_for_standby = False
        return epoch

    def begun(self, connection: Connection) -> ServerTransaction | None:
        self._waits_for_standby = False  # it got the lock
        return current(connection)

    def was_committed(
        self, engine: Engine, transaction: ServerTransaction | None, error: Exception
    ) -> bool:
        if not isinstance(transaction, ServerMoment) or outcome.is_answer(error):
            return False
        try:
            return outcome.was_committed(engine, transaction, self.name)
        except OutageError as unknown:
            self._waits_for_standby = unknown.code == "E_LEDGER_STANDBY"
            raise unknown from error

    @property
    def standing(self) -> Standing:
        return Alone() if self._member is None else self._member

    def prepare(self, connection: Connection, block: TransactionBlock) -> None:
        turn = [] if block.turn is None else [turn_row(block.turn)]
        lock_as_it_begins(connection, locked(is_beside=block.is_beside), turn, block.queries)

    def lock(self, connection: Connection, *, is_beside: bool) -> None:
        if self._member is None:
            raise AssertionError("only a member writes")
        self._member.check(connection, is_beside=is_beside)
        driver_of(connection).is_deferring = True

    def take_turn(self, connection: Connection, turn: LedgerTurn) -> None:
        driver_of(connection).defer(turn_row(turn), None)

    def prefetch(self, connection: Connection, queries: Sequence[Query]) -> None:
        texts = noted(connection, queries)
        prefetch(connection, texts, driver_of(connection).answers(texts))

    def end_block(self, connection: Connection) -> None:
        driver_of(connection).send_deferred()

    def begin_block(self, connection: Connection) -> None:
        driver_of(connection).defer(_BLOCK, None)

    def undo_block(self, connection: Connection) -> None:
        driver_of(connection).forget()
        if _BLOCK not in driver_of(connection).take_deferred():
            super().undo_block(connection)

    def close(self) -> None:
        if self._leaves and self._member is not None:
            self._member.leave()

    def is_in_transaction(self, driver: Any) -> bool:
        idle = {TransactionStatus.IDLE, TransactionStatus.UNKNOWN}
        return (
            isinstance(driver, psycopg.Connection)
            and not driver.closed
            and driver.info.transaction_status not in idle
        )

    def size_bytes(self, connection: Connection) -> int:
        size = select(func.pg_database_size(func.current_database()))
        return int(connection.execute(size).scalar_one())

    def interrupted(self) -> Exception:
        return psycopg.OperationalError("the commit was interrupted")

    def translated(self, error: Exception, *, is_reader: bool = False) -> BackhaulError:  # noqa: ARG002
        origin = getattr(error, "orig", None) or error
        state = getattr(origin, "sqlstate", None) or ""
        detail = _detail(origin)
        if state == _TOO_LARGE:
            return PermanentError(
                "E_LEDGER_KEY",
                f"{self.name} cannot hold a path of this length: {detail}",
                hint="shorten the destination",
            )
        if state == _OVERLAP:
            return DestinationBusy("E_DST_BUSY", f"{self.name} has an owner there: {detail}")
        if state in _DAMAGED:
            return LedgerDamaged(
                "E_LEDGER_CORRUPT",
                f"{self.name} is damaged or no Backhaul ledger: {detail}",
                hint="stop the agent, restore the ledger from its backup",
            )
        if state == "42501" and "function" in detail:
            return OutageError.of(
                "ledger",
                "E_LEDGER_LOGIN",
                f"{self.name}: {detail}",
                hint="as a superuser: GRANT EXECUTE ON FUNCTION with its name TO this user",
            )
        found = _by_state(state)
        if isinstance(error, PendingRollbackError):
            # The connection was lost under a block before this one, which shares its commit.
            found = _AWAY
        if found is None and isinstance(origin, psycopg.OperationalError):
            found = next((to for word, to in _BY_WORDS if word in detail), _AWAY)
        if found is None:
            return BackhaulError("E_LEDGER_BUG", f"{self.name}: {type(origin).__name__}: {detail}")
        code, what = found
        if code == "E_LEDGER_LOCKED" and self._waits_for_standby:
            return outcome.waits_for_standby(self.name)
        return OutageError.of("ledger", code, f"{self.name} {what}: {detail}", hint=HINTS[code])


def _by_state(state: str) -> tuple[str, str] | None:
    return next((OUTAGES[state[:n]] for n in (5, 2) if state[:n] in OUTAGES), None)


def _detail(error: BaseException) -> str:
    """Its last line, which has what the server said; libpq names each address in those before."""
    found = str(error).splitlines()
    lines = [line.strip() for line in found if line.strip() and "Is the server running" not in line]
    diagnosis = getattr(getattr(error, "diag", None), "message_primary", None)
    last = lines[-1] if lines else type(error).__name__
    return diagnosis or last.removeprefix("connection failed: ")
