"""A ledger's records from its file into a database, all of them or none.

One transaction loads and verifies: an end at any moment before its commit leaves the database as it
was, and the next try begins anew. Tables and their constraints are there before the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import Column, Connection, Table, column, delete, func, select

from backhaul.adapters.ledger.dialects.database import LedgerTurn
from backhaul.adapters.ledger.fleet.tables import members
from backhaul.adapters.ledger.opening.files import open_file_reader
from backhaul.adapters.ledger.opening.servers import server_member
from backhaul.adapters.ledger.owner import Owner
from backhaul.adapters.ledger.postgres import migrate
from backhaul.adapters.ledger.postgres.engine import writing_engine
from backhaul.adapters.ledger.postgres.faults import PostgresDatabase
from backhaul.adapters.ledger.postgres.lineage import LINEAGE_ROW
from backhaul.adapters.ledger.postgres.members.member import Member
from backhaul.adapters.ledger.postgres.members.pulse import LEADER_ROW
from backhaul.adapters.ledger.postgres.waits import BoundedConnection
from backhaul.adapters.ledger.schema import Flag, destinations, meta, metadata, transfers
from backhaul.adapters.ledger.sqlite.engine import reading_engine
from backhaul.adapters.ledger.sqlite.faults import mapped
from backhaul.adapters.ledger.sqlite.lock import agent_lock
from backhaul.core.errors import BackhaulError, BadArgument, LedgerDamaged, LedgerLocked
from backhaul.core.ports.ledger_place import PostgresUrl

ROWS_AT_ONCE = 1000  # read into memory
# Keys to other tables are checked when all rows of a table are there; a server that is gone is
# noticed by the line's own bounds.
ANSWER_S = 3600.0
GONE = "gone/"  # before the text of an owner whose process is of no member
# Of `meta`: the database's own.
_SERVER_ROWS = frozenset({*LedgerTurn, LEADER_ROW, LINEAGE_ROW, migrate.NEEDED_ROW})
# What a process works on, and how a row shows that it still does.
_WORKED_ON = {transfers.name: "finished_at", destinations.name: "owner_transfer"}
# A row may wait for the file longer than a transaction of an agent may.
_PATIENT = "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = '60s'"
Row = tuple[Any, ...]


@dataclass(frozen=True)
class TableSum:
    """What a table holds.

    Attributes:
        digest: The sum of the SHA-256 of its rows, 64 hex digits; their order does not count.
    """

    rows: int
    digest: str


@dataclass(frozen=True, kw_only=True)
class MovedLedger:
    """Records that are in the database now, and were verified there.

    Attributes:
        tables: By name; `meta` without the rows of those who write.
        was_there: An earlier copy of the same records was found; nothing was written.
    """

    tables: dict[str, TableSum]
    was_there: bool


def move_ledger(source: Path, target: PostgresUrl, progress: Callable[[str], None]) -> MovedLedger:
    """Copy all records; no agent may work on either ledger, and none can begin meanwhile.

    Args:
        progress: Gets the name of each table as it is begun.

    Raises:
        LedgerLocked: E_LEDGER_IN_USE: an agent or a command works on one of the two.
        BadArgument: E_LEDGER_OCCUPIED: the database has other records.
        BackhaulError: E_LEDGER_COPY: what arrived is not what was sent; nothing was kept.
        ConfigurationError, OutageError: As `open_ledger`, of either.
    """
    open_file_reader(source).close()  # refuses what is no ledger of this version
    with agent_lock(source), server_member(target, None) as member:
        database = PostgresDatabase(target, member)
        reading, writing = reading_engine(source), writing_engine(target)
        try:
            with database.mapped():
                migrate.check_current(writing, database.name)
                with _begun(reading.connect(), source) as file, writing.begin() as tx:
                    database.lock(tx, is_beside=False)
                    _require_alone(member, target)
                    tx.exec_driver_sql(_PATIENT)
                    _driver(tx).answer_s = ANSWER_S
                    return _move(_File(file, source), tx, target, progress)
        finally:
            reading.dispose()
            writing.dispose()


@contextmanager
def _begun(connection: Connection, source: Path) -> Iterator[Connection]:
    with connection, mapped(source, is_reader=True), connection.begin():
        yield connection


class _File:
    """The records of the file, as the database is to have them."""

    def __init__(self, connection: Connection, path: Path) -> None:
        self.path = path
        self._connection = connection
        self._me = Owner.current()

    def rows(self, table: Table) -> Iterator[Row]:
        """Raises LedgerLocked where another process works on one of them."""
        columns = list(table.columns)
        with mapped(self.path, is_reader=True):
            for rows in self._connection.execute(_plain(table)).partitions(ROWS_AT_ONCE):
                for row in rows:
                    if _is_of_the_server(table, row):
                        continue
                    yield self._left(
                        table, columns, [_value(*of) for of in zip(columns, row, strict=True)]
                    )

    def _left(self, table: Table, columns: Sequence[Column[Any]], row: list[Any]) -> Row:
        """Without an owner that works on it: its agent is gone, its host may be another one's."""
        if table.name in _WORKED_ON:
            names = [one.name for one in columns]
            place, shown = names.index("owner"), row[names.index(_WORKED_ON[table.name])]
            is_open = (shown is None) == (table.name == transfers.name)
            owner = row[place]
            if owner and is_open and not owner.startswith(GONE):
                if self._me.sees(owner):
                    raise LedgerLocked(
                        "E_LEDGER_IN_USE",
                        f"{self.path} is in use by the process {owner}",
                        hint="wait until that command has ended, or stop it",
                    )
                if table is destinations:
                    # Free for the next claim, which gives a higher epoch: two that its agent owned
                    # may be one too many for the database (`postgres.spans`).
                    row[place] = row[names.index("owner_transfer")] = None
                else:
                    row[place] = f"{GONE}{owner}"
        return tuple(row)


def _require_alone(member: Member, target: PostgresUrl) -> None:
    """Nobody else may write before the lock is given back: they would wait in vain."""
    if member.has_peers:
        raise LedgerLocked(
            "E_LEDGER_IN_USE",
            f"{target} is in use by another agent or command",
            hint="stop all agents on it; one that was killed is known to be gone after 40 s",
        )


def _move(
    file: _File, tx: Connection, target: PostgresUrl, progress: Callable[[str], None]
) -> MovedLedger:
    if any(tx.execute(select(one).limit(1)).first() for one in _tables() if one is not meta):
        return _found(file, tx, target, progress)
    tx.execute(delete(meta).where(meta.c.name.not_in(_SERVER_ROWS)))
    sums = {}
    for table in _tables():
        progress(table.name)
        sent = _load(file, tx, table)
        sums[table.name] = _sum(_stored(tx, table))
        if sums[table.name] != sent:
            raise BackhaulError(
                "E_LEDGER_COPY",
                f"{target} has {sums[table.name].rows} rows in {table.name} that are not the "
                f"{sent.rows} of {file.path}; nothing was copied",
                hint="look for triggers or rules on that table, and copy into a new database",
            )
    return MovedLedger(tables=sums, was_there=False)


def _found(
    file: _File, tx: Connection, target: PostgresUrl, progress: Callable[[str], None]
) -> MovedLedger:
    """An earlier copy, which a lost answer may have hidden."""
    sums = {}
    for table in _tables():
        progress(table.name)
        sums[table.name] = _sum(_stored(tx, table))
        if sums[table.name] != _sum(file.rows(table)):
            raise BadArgument(
                "E_LEDGER_OCCUPIED",
                f"{target} already has records, and those in {table.name} are not those of "
                f"{file.path}",
                hint="copy into a new database; records of two ledgers cannot be put together",
            )
    return MovedLedger(tables=sums, was_there=True)


def _load(file: _File, tx: Connection, table: Table) -> TableSum:
    names = sql.SQL(", ").join(sql.Identifier(one.name) for one in table.columns)
    into = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table.name), names)
    try:
        with _driver(tx).cursor() as cursor, cursor.copy(into) as copy:

            def sent() -> Iterator[Row]:
                for row in file.rows(table):
                    copy.write_row(row)
                    yield row

            found = _sum(sent())
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        raise LedgerDamaged(
            "E_LEDGER_CORRUPT",
            f"{file.path} has a row in {table.name} that Backhaul did not write: "
            f"{error.diag.message_primary or error}",
            hint=f"backhaul ledger check --ledger {file.path}",
        ) from error
    numbered = table.autoincrement_column
    if numbered is not None:
        last = select(func.max(numbered)).scalar_subquery()
        sequence = func.pg_get_serial_sequence(table.name, numbered.name)
        tx.execute(select(func.setval(sequence, func.coalesce(last, 1), last.is_not(None))))
    return found


def _stored(tx: Connection, table: Table) -> Iterator[Row]:
    names = sql.SQL(", ").join(sql.Identifier(one.name) for one in table.columns)
    query = sql.SQL("SELECT {} FROM {}").format(names, sql.Identifier(table.name))
    with _driver(tx).cursor(name="copied") as cursor:
        cursor.itersize = ROWS_AT_ONCE
        for row in cursor.execute(query):
            if not _is_of_the_server(table, row):
                yield tuple(row)


def _driver(tx: Connection) -> BoundedConnection:
    found = tx.connection.driver_connection
    if not isinstance(found, BoundedConnection):
        raise AssertionError("a bounded connection")  # noqa: TRY004 - `writing_engine` makes it
    return found


def _is_of_the_server(table: Table, row: Sequence[Any]) -> bool:
    return table is meta and row[0] in _SERVER_ROWS


def _plain(table: Table) -> Any:
    """All rows as the driver has them."""
    return select(*(column(one.name) for one in table.columns)).select_from(table)


def _value(of: Column[Any], value: Any) -> Any:
    if isinstance(of.type, Flag) and value is not None:
        return bool(value)
    # Rows of early versions may have it, and PostgreSQL takes none.
    return value.replace("\0", "\u2400") if isinstance(value, str) else value


def _sum(rows: Iterator[Row]) -> TableSum:
    count = total = 0
    for row in rows:
        count += 1
        total += int.from_bytes(sha256(repr(row).encode()).digest(), "big")
    return TableSum(count, f"{total % (1 << 256):064x}")


def _tables() -> Sequence[Table]:
    """Those that others refer to come first."""
    return [one for one in metadata.sorted_tables if one is not members]  # its own
