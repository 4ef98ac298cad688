"""The short transactions by which members of a ledger see each other, on a connection of their own.

Each is one round trip: several statements in one text, without parameters of the protocol, so that
no pooler keeps anything of them. What decides who is in force runs alone: no other process writes
meanwhile.
"""

# ruff: noqa: S608 - the texts are put together of constants
from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg

from backhaul.adapters.ledger.postgres.engine import open_connection
from backhaul.adapters.ledger.postgres.members import rates
from backhaul.adapters.ledger.postgres.members.in_force import IN_FORCE, ME, NOW
from backhaul.adapters.ledger.postgres.moment import WRITER_SQL, ServerMoment
from backhaul.adapters.ledger.postgres.primary import PrimaryMemory
from backhaul.adapters.ledger.postgres.waits import BeatConnection
from backhaul.core.errors import LedgerDamaged
from backhaul.core.fleet.rate_shares import NO_LIMIT, RateReport, RateSplit, SeenRates

if TYPE_CHECKING:
    from backhaul.adapters.ledger.dialects.database import Database, LedgerTurn
    from backhaul.core.ports.ledger_place import PostgresUrl

MEMBERS_KEPT = 100  # that have ended or died: those seen last
LEADER_ROW = "leader"
# Who reads only, as pg_dump does, waits for neither. One that waits to be alone lets no other past:
# PostgreSQL keeps those that wait for a table in order, those that wait for a row not.
LOCK_ALONE = "LOCK TABLE meta IN EXCLUSIVE MODE"
LOCK_BESIDE = "LOCK TABLE meta IN ROW SHARE MODE"
_BEGIN = f"""
BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '5s';
SET LOCAL idle_in_transaction_session_timeout = '15s';
{WRITER_SQL};
"""
# What is read after it is what the writer before has committed.
_LOCKED = f"{_BEGIN} {LOCK_ALONE};"
_JOIN = f"""
{_LOCKED}
INSERT INTO members (id, kind, host, process, version, beats, beat_at, started_at)
VALUES (%(me)s, %(kind)s, %(host)s, %(process)s, %(version)s, 0, {NOW}, {NOW});
DELETE FROM members WHERE NOT ({IN_FORCE}) AND id NOT IN (
    SELECT id FROM members WHERE NOT ({IN_FORCE}) ORDER BY beat_at DESC LIMIT {MEMBERS_KEPT}
);
COMMIT
"""
# A beat that is lost with its server was seen by nobody who judges by it: none waits for a disk.
_BEAT = f"""
{_BEGIN}
SET LOCAL synchronous_commit TO off;
UPDATE members SET beats = beats + 1, beat_at = {NOW} WHERE id = %(me)s AND {IN_FORCE};
SELECT id, beats, process FROM members WHERE {IN_FORCE};
SELECT value FROM meta WHERE name = '{LEADER_ROW}';
"""
_BEAT_ALONE = f"{_BEAT} COMMIT"
_BEAT_OF_READER = f"{_BEAT} {rates.REPORT}; {rates.READ}; COMMIT"
_JUDGE = f"""
{_LOCKED}
UPDATE members SET judged_at = {NOW}, judged_by = %(me)s
WHERE id = %(peer)s AND beats = %(beats)s AND {IN_FORCE} AND {ME};
COMMIT
"""
# The leader's row is `TERM:ID`, at first `0:`.
_STAND = f"""
{_LOCKED}
UPDATE meta SET value = (split_part(value, ':', 1)::bigint + 1)::text || ':' || %(me)s
WHERE name = '{LEADER_ROW}' AND {ME} AND NOT EXISTS (
    SELECT FROM members WHERE id = split_part(meta.value, ':', 2) AND {IN_FORCE}
);
SELECT value FROM meta WHERE name = '{LEADER_ROW}';
COMMIT
"""
_ENTER = f"{_LOCKED} {rates.ENTER}; COMMIT"
_SPLIT = f"{_LOCKED} {rates.SPLIT}; COMMIT"
_LEAVE = f"""
{_LOCKED}
{rates.LEAVE};
UPDATE members SET ended_at = {NOW} WHERE id = %(me)s AND {IN_FORCE};
COMMIT
"""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a beat has read.

    Attributes:
        beats: Counters of those in force, by id.
        processes: As the column `process`, by id.
        leader: Id of the leader, in force or not; empty: there was none yet.
        server: Its system and timeline: another one after each promotion.
        rates: Of those that read from S3.
    """

    beats: Mapping[str, int]
    processes: Mapping[str, str]
    leader: str
    server: tuple[int, int | None]
    rates: SeenRates = field(default_factory=SeenRates)


class Pulse:
    """Of one member; safe to use from several threads.

    Args:
        database: Whose errors it raises.
        is_agent: As `PrimaryMemory` has it.
    """

    def __init__(self, url: PostgresUrl, database: Database, *, is_agent: bool = False) -> None:
        self._url = url
        self._memory = PrimaryMemory(url.text, url.beside, is_agent=is_agent)
        self._database = database
        self._lock = threading.Lock()
        self._connection: psycopg.Connection[Any] | None = None

    def join(self, me: str, kind: str, host: str, process: str, version: str) -> None:
        """From now on it is in force.

        Raises:
            OutageError: `ledger`; likewise all others here.
            LedgerDamaged: A row is missing; likewise all others that change who leads.
        """
        values = {"me": me, "kind": kind, "host": host, "process": process, "version": version}
        self._run(_JOIN, values)

    def beat(self, me: str, report: RateReport | None = None) -> Seen:
        """Raise the counter, and read what others need to be judged by.

        Args:
            report: Of one that has entered; None: it reads nothing.
        """
        if report is None:
            (moment,), *_, found, leader = self._run(_BEAT_ALONE, {"me": me})
            seen = SeenRates()
        else:
            (moment,), *_, found, leader, shares, limits = self._run(
                _BEAT_OF_READER, {"me": me, **asdict(report)}
            )
            seen = rates.seen_rates(shares, limits)
        at = ServerMoment.of_row(*moment)
        return Seen(
            beats={peer: beats for peer, beats, _ in found},
            processes={peer: process for peer, _, process in found},
            leader=_leader(leader),
            server=(at.system, at.timeline),
            rates=seen,
        )

    def enter(self, me: str) -> None:
        """From now on it has a share of the byte rate; its beats bring a report."""
        self._run(_ENTER, {"me": me})

    def split(self, me: str, plan: RateSplit) -> bool:
        """Grant these shares; False, and nothing: another one is to do that now."""
        is_limited = plan.limit < NO_LIMIT
        values = {
            "me": me,
            "limit": plan.limit if is_limited else None,
            "others": 0 if is_limited else NO_LIMIT,
            "members": list(plan.granted),
            "shares": list(plan.granted.values()),
            "released": sorted(plan.released),
        }
        ((is_done,),) = self._run(_SPLIT, values)[-1]
        return bool(is_done)

    def judge(self, me: str, peer: str, beats: int) -> None:
        """The peer is dead, if its counter still says this, and this process is in force."""
        self._run(_JUDGE, {"me": me, "peer": peer, "beats": beats})

    def stand(self, me: str) -> str:
        """Become the leader, if the last one is not in force; who it is now."""
        found = self._run(_STAND, {"me": me})[-1]
        require_row(len(found), LEADER_ROW, self._database.name)
        return _leader(found)

    def leave(self, me: str) -> None:
        """It has ended, and works on nothing any more."""
        self._run(_LEAVE, {"me": me})

    def close(self) -> None:
        """Release the connection; safe to repeat."""
        with self._lock:
            self._drop()

    def _run(self, sql: str, values: Mapping[str, object]) -> list[list[tuple[Any, ...]]]:
        """The rows of each statement that has any."""
        with self._lock, self._database.mapped():
            try:
                if self._connection is None:
                    self._connection = open_connection(self._url, self._memory, BeatConnection)
                with psycopg.ClientCursor(self._connection) as cursor:
                    cursor.execute(sql.encode(), values)
                    found = []
                    is_more: bool | None = True
                    while is_more:
                        if cursor.description is not None:
                            found.append(cursor.fetchall())
                        is_more = cursor.nextset()
                # What was done on an old primary was done for nobody.
                self._memory.check(ServerMoment.of_row(*found[0][0]))
                return found
            except BaseException:
                self._drop()  # in the middle of a transaction
                raise

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def turn_row(turn: LedgerTurn) -> str:
    """Takes it. A row, and not a table: these are taken in the middle of a transaction."""
    return f"SELECT value FROM meta WHERE name = '{turn}' FOR UPDATE"


def require_row(found: int, row: str, name: str) -> None:
    """There is this row of `meta`, by which those who write keep out of each other's way.

    Args:
        found: How many were found.
        row: Its name.
        name: The ledger as messages name it.

    Raises:
        LedgerDamaged
    """
    if found != 1:
        raise LedgerDamaged(
            "E_LEDGER_CORRUPT",
            f"{name} lacks the row {row} of its table meta",
            hint="it was edited or restored in part: stop all agents on it and see that it is "
            "whole; the first one that starts makes this row anew",
        )


def _leader(rows: list[tuple[Any, ...]]) -> str:
    return str(rows[0][0]).partition(":")[2] if rows else ""
