"""What became of a COMMIT whose answer was lost: the server is asked on a new connection.

    aborted                  that is the answer; nothing is repeated
    committed                likewise, if the server has made no checkpoint since it began
    in progress and idle     the COMMIT never arrived: that session is ended, so it is aborted
    in progress and waiting  for a synchronous standby: unknown until that is back
    another timeline         promoted meanwhile: numbers of transactions mean something else there
    no server in `LOOK_S`    unknown

After a crash a number may be given again: PostgreSQL recovers none of which nothing had come to its
disk, and here all changes go there with the COMMIT. What is committed may then be the transaction
of another, and ours lost. Each recovery from a crash ends with a checkpoint, before any client
connects.

Unknown is an outage: the attempt ends unspent, and the next one reads what the ledger has for its
transfer. It finds there the step with its epoch, or not, and decides anew.
Source: https://www.postgresql.org/docs/15/functions-info.html#FUNCTIONS-PG-SNAPSHOT, `txid_status`,
and #FUNCTIONS-INFO-CONTROLDATA, `pg_control_checkpoint`. `tests/contract/test_ledger_lost_commits`
has a server that crashes and gives a number again.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from backhaul.adapters.ledger.postgres.moment import ServerMoment, current
from backhaul.core.errors import OutageError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

LOOK_S = 8.0
AGAIN_S = 0.25
_STATUS = text("SELECT pg_catalog.txid_status(:number)")
_NO_CHECKPOINT_SINCE = text(
    "SELECT checkpoint_lsn < CAST(:flushed AS pg_lsn) FROM pg_catalog.pg_control_checkpoint()"
)
# Of the same user, so no privilege is needed to see and to end it. `backend_xid` has 32 bits.
_SESSION = """
    FROM pg_catalog.pg_stat_activity
    WHERE pid = :process AND backend_xid::text = (CAST(:number AS bigint) & 4294967295)::text"""
_WAITS = text(f"SELECT wait_event = 'SyncRep' {_SESSION}")
_LOST_CLAIM = text("""
    SELECT
      (SELECT destinations.epoch FROM destinations JOIN transfers
       ON transfers.id = owner_transfer AND transfers.epoch = destinations.epoch
       WHERE owner_transfer = :transfer AND transfers.owner = :owner AND state = 'staging'),
      EXISTS (SELECT FROM pg_catalog.pg_stat_activity
              WHERE wait_event = 'SyncRep' AND pid <> pg_catalog.pg_backend_pid()
              AND strpos(query, :mark) > 0)""")
_END_IDLE = text(
    f"SELECT pg_catalog.pg_terminate_backend(pid) {_SESSION} AND state = 'idle in transaction'"
)


def is_answer(error: Exception) -> bool:
    """Whether the server itself refused the COMMIT, so that nothing was changed."""
    state = getattr(getattr(error, "orig", None) or error, "sqlstate", None)
    return state is not None and not state.startswith(("08", "57P"))


@dataclass(frozen=True, kw_only=True)
class LostClaim:
    """What is there of a claim whose answer was lost.

    Attributes:
        epoch: It was made; None: not, or not yet.
        is_waiting: Its COMMIT waits for a standby.
    """

    epoch: int | None = None
    is_waiting: bool = False


def of_lost_claim(engine: Engine, mark: str, transfer_id: str, owner: str) -> LostClaim:
    """Look for a claim of an attempt that had made none before.

    Args:
        engine: Of `writing_engine`, for a connection of its own.
        mark: In the first line of its text.
        owner: Who begins no other attempt at this transfer meanwhile.
    """
    values = {"mark": mark, "transfer": transfer_id, "owner": owner}
    try:
        with engine.connect() as connection, connection.begin():
            epoch, is_waiting = connection.execute(_LOST_CLAIM, values).one()
            return LostClaim(epoch=epoch, is_waiting=is_waiting)
    except (SQLAlchemyError, psycopg.Error, OutageError):
        return LostClaim()  # the caller's next transaction meets that, too, and raises it


class _Unfinished(Exception):
    """The transaction is in progress."""


class _NotToBeLearnt(Exception):
    """What the server says of this number may be about another transaction."""


def was_committed(
    engine: Engine,
    transaction: ServerMoment,
    name: str,
) -> bool:
    """Whether the transaction took effect.

    Args:
        engine: Of `writing_engine`.
        name: The ledger as messages name it.

    Raises:
        OutageError: `ledger`: E_LEDGER_STANDBY: the COMMIT waits for it. E_LEDGER_AWAY: nothing
            could be learnt.
    """
    until_s = time.monotonic() + LOOK_S
    while True:
        waits, why = False, "it is still in progress"
        try:
            with engine.connect() as connection, connection.begin():
                return _look(connection, transaction)
        except _NotToBeLearnt as unknown:
            why = str(unknown)
            break
        except _Unfinished as unfinished:
            waits = bool(unfinished.args[0])
        except (SQLAlchemyError, psycopg.Error, OutageError) as error:
            why = str(error).splitlines()[0]
        if time.monotonic() > until_s:
            break
        time.sleep(AGAIN_S)
    if waits:
        raise waits_for_standby(name)
    raise OutageError.of(
        "ledger",
        "E_LEDGER_AWAY",
        f"{name}: the answer to a COMMIT was lost, and whether it took effect is not known: {why}",
        hint="nothing, once PostgreSQL is reached: each transfer goes on from what the ledger has",
    )


def waits_for_standby(name: str) -> OutageError:
    """A COMMIT has its place in the log of the primary, and no standby has confirmed it."""
    return OutageError.of(
        "ledger",
        "E_LEDGER_STANDBY",
        f"{name}: COMMIT waits for a synchronous standby that does not answer",
        hint="start that standby, or take it out of synchronous_standby_names and reload; Backhaul "
        "goes on by itself",
    )


def _look(connection: Connection, transaction: ServerMoment) -> bool:
    at = current(connection)
    if (at.system, at.timeline) != (transaction.system, transaction.timeline):
        raise _NotToBeLearnt("another server answers now")
    values = {"number": transaction.number, "process": transaction.process}
    status = connection.execute(_STATUS, {"number": transaction.number}).scalar()
    if status == "in progress":
        waits = connection.execute(_WAITS, values).scalar()
        connection.execute(_END_IDLE, values)
        raise _Unfinished(waits)
    if status is None:
        raise _NotToBeLearnt("it is too long ago")
    if status != "committed":
        return False
    since = {"flushed": transaction.flushed}
    if not connection.execute(_NO_CHECKPOINT_SINCE, since).scalar():
        raise _NotToBeLearnt("the server made a checkpoint since, as after a crash")
    return True
