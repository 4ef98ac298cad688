"""Which server a transaction is on, and its own number there: asked as it begins, for no trip more.

A promotion begins a new timeline at once, so an old primary that came back is one with a lower
timeline. `pg_control_checkpoint()` would lag behind until the next checkpoint.
Source: https://www.postgresql.org/docs/15/functions-admin.html#FUNCTIONS-ADMIN-BACKUP,
https://www.postgresql.org/docs/15/functions-info.html#FUNCTIONS-INFO-CONTROLDATA.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backhaul.adapters.ledger.dialects.database import ServerTransaction

if TYPE_CHECKING:
    from sqlalchemy import Connection

_FILE = "pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn())"
_TIMELINE_DIGITS = 8  # of the name of a file of the write-ahead log, in hexadecimal
TIMELINE = f"left({_FILE}, {_TIMELINE_DIGITS})"  # of a primary; compare `timeline_digits`
SYSTEM = "SELECT system_identifier FROM pg_catalog.pg_control_system()"
_OF_SERVER = f"""
  CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL ELSE {_FILE} END, ({SYSTEM})"""
# `txid_current` and not its successor, which PostgreSQL 12 has not.
WRITER_SQL = f"""SELECT pg_catalog.txid_current(), pg_catalog.pg_backend_pid(), {_OF_SERVER},
  CASE WHEN NOT pg_catalog.pg_is_in_recovery()
       THEN pg_catalog.pg_current_wal_flush_lsn()::text END"""
READER_SQL = f"SELECT NULL, NULL, {_OF_SERVER}"

COUNTER_BITS = 40  # of an epoch; those above are its timeline
_MOMENT = "moment"  # in `Connection.info`


@dataclass(frozen=True, kw_only=True)
class ServerMoment(ServerTransaction):
    """What the server said as a transaction began.

    Attributes:
        system: The cluster's identifier, drawn by `initdb`; its standbys have the same.
        timeline: Raised by each promotion; None: a standby.
        number: Of the transaction; None: it only reads.
        process: Of the server, that carries it out; None: it only reads.
        flushed: How far the log was on disk as it began, which no crash of the server takes back;
            None: it only reads, or a standby.
    """

    system: int
    timeline: int | None
    number: int | None = None
    process: int | None = None
    flushed: str | None = None

    @classmethod
    def of_row(
        cls,
        number: int | None,
        process: int | None,
        file: str | None,
        system: int,
        flushed: str | None = None,
    ) -> ServerMoment:
        """What `WRITER_SQL` or `READER_SQL` found."""
        timeline = None if file is None else int(file[:_TIMELINE_DIGITS], 16)
        return cls(
            system=system, timeline=timeline, number=number, process=process, flushed=flushed
        )

    @property
    def timeline_digits(self) -> str:
        """As the server writes it in names of files; of a primary."""
        return f"{self.timeline or 0:0{_TIMELINE_DIGITS}X}"

    def least_epoch(self, timelines_before: int) -> int:
        """Of a claim on this timeline: above all that were made on the timelines before it.

        A promoted standby may lack claims that the old primary had confirmed; without this it would
        give their epochs a second time.

        Args:
            timelines_before: Of the clusters that had this ledger before: a new one begins at 1.
        """
        return ((timelines_before + (self.timeline or 0)) << COUNTER_BITS) + 1


def remember(connection: Connection, moment: ServerMoment) -> None:
    """For `current`, until the next transaction of this connection."""
    connection.info[_MOMENT] = moment


def last(connection: Connection) -> ServerMoment | None:
    """Of its last transaction; None: there was none."""
    return connection.info.get(_MOMENT)


def current(connection: Connection) -> ServerMoment:
    """Of the transaction under way."""
    moment: ServerMoment = connection.info[_MOMENT]
    return moment
