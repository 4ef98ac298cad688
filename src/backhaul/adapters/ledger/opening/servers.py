"""Opening a ledger on PostgreSQL: for the agent, which makes and migrates it, and for readers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from backhaul.adapters.ledger.dialects.migrate import Revisions
from backhaul.adapters.ledger.owner import Owner
from backhaul.adapters.ledger.postgres import migrate
from backhaul.adapters.ledger.postgres.engine import reading_engine, writing_engine
from backhaul.adapters.ledger.postgres.examining import (
    Connected,
    Examined,
    connected,
    examined,
)
from backhaul.adapters.ledger.postgres.faults import PostgresDatabase
from backhaul.adapters.ledger.postgres.lineage import timelines_before
from backhaul.adapters.ledger.postgres.members.member import AGENT, COMMAND, Member
from backhaul.adapters.ledger.postgres.standbys import Standbys, seen
from backhaul.adapters.ledger.postgres.upgrade import change_schema, make_rows
from backhaul.adapters.ledger.reading.reader import LedgerReader
from backhaul.adapters.ledger.store import SqlLedger
from backhaul.core.errors import ConfigurationError
from backhaul.core.ports.ledger_place import PostgresUrl

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from backhaul.core.fleet.rate_shares import RateSeat


def open_server(
    url: PostgresUrl,
    *,
    create: bool,
    host: str | None = None,
    owner: Owner | None = None,
    member: Member | None = None,
    seat: RateSeat | None = None,
) -> SqlLedger:
    """As `places.open_ledger`.

    Args:
        create: Make the tables in an empty database.
        host: As there, likewise `owner`.
        member: The agent; None: a command, which is a member of its own until it is closed.
        seat: Of a command that reads from S3.

    Raises:
        ConfigurationError: E_LEDGER_MISSING, E_LEDGER_CORRUPT, E_LEDGER_NEWER, E_LEDGER_OLDER,
            E_LEDGER_ENCODING, E_LEDGER_ADDRESS.
        OutageError: `ledger`: away, locked, full, read-only, no login, no connection.
    """
    database = PostgresDatabase(url)
    engine = writing_engine(url, is_agent=member is not None)
    try:
        with database.mapped():
            if not create:
                _require_tables(engine, database)
            before = _make(engine, database)
            if member is None:
                process = owner or Owner.current(host)
                member = Member(url, database, COMMAND, process, seat=seat)
                database = PostgresDatabase(url, member, leaves=True, timelines_before=before)
                member.join()
                member.keep()
                # While it was none, the schema may have changed; from now on it does not.
                migrate.check_current(engine, database.name)
            else:
                database = PostgresDatabase(url, member, timelines_before=before)
            return SqlLedger(engine, database, member)
    except BaseException:
        engine.dispose()
        database.close()
        raise


@contextmanager
def server_member(
    url: PostgresUrl, host: str | None, seat: RateSeat | None = None
) -> Iterator[Member]:
    """This process is one of the ledger's agents in the block.

    Args:
        seat: Holds its share of the byte rate.

    Raises:
        ConfigurationError, OutageError: As `open_server`.
    """
    database = PostgresDatabase(url)
    engine = writing_engine(url, is_agent=True)
    try:
        with database.mapped():
            _make(engine, database)
    finally:
        engine.dispose()
    # `open_server` looks at the schema again, once no step can be taken without this member.
    member = Member(url, database, AGENT, Owner.current(host), seat=seat)
    try:
        member.join()
        member.keep()
        yield member
    finally:
        member.leave()


def _make(engine: Engine, database: PostgresDatabase) -> int:
    """Set up an empty database; an older one stays as it is. Returns the timelines before."""
    if migrate.stamped(engine, database.name) is None:
        migrate.bring_to(engine, database.name, migrate.HEAD)
    migrate.check_current(engine, database.name)
    with engine.begin() as tx:
        make_rows(tx)
        return timelines_before(tx)


def check_server_schema(url: PostgresUrl) -> None:
    """As `places.check_schema`."""
    database = PostgresDatabase(url)
    engine = reading_engine(url)
    try:
        with database.mapped(is_reader=True):
            if migrate.stamped(engine, database.name) is not None:
                migrate.check_current(engine, database.name)
    finally:
        engine.dispose()


def migrate_server(url: PostgresUrl) -> Revisions:
    """As `places.migrate_ledger`."""
    database = PostgresDatabase(url)
    engine = writing_engine(url)
    try:
        with database.mapped():
            found = _require_tables(engine, database)
            return change_schema(engine, database.name, found)
    finally:
        engine.dispose()


def open_server_reader(url: PostgresUrl) -> LedgerReader:
    """As `places.open_reader`; readers need no turns here: none holds up a commit."""
    database = PostgresDatabase(url)
    engine = reading_engine(url)
    try:
        with database.mapped(is_reader=True):
            migrate.check_current(engine, database.name)
    except BaseException:
        engine.dispose()
        raise
    return LedgerReader(engine, database)


def find_server_reader(url: PostgresUrl) -> LedgerReader | None:
    """The same; None where the database is there, and has no tables yet."""
    database = PostgresDatabase(url)
    engine = reading_engine(url)
    try:
        with database.mapped(is_reader=True):
            is_made = migrate.stamped(engine, database.name) is not None
    finally:
        engine.dispose()
    return open_server_reader(url) if is_made else None


def standbys_of_server(url: PostgresUrl) -> Standbys:
    """As `places.standbys_of`."""
    with _reading(url) as connection:
        return seen(connection)


def examine_server(url: PostgresUrl) -> Examined:
    """As `places.examined`."""
    with _reading(url) as connection:
        return examined(connection)


def connect_to_server(url: PostgresUrl) -> Connected:
    """As `places.connected`."""
    began_s = time.monotonic()
    with _reading(url) as connection:
        return connected(connection, time.monotonic() - began_s)


@contextmanager
def _reading(url: PostgresUrl) -> Iterator[Connection]:
    """A transaction in a database of any schema."""
    database = PostgresDatabase(url)
    engine = reading_engine(url)
    try:
        with database.mapped(is_reader=True), engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def _require_tables(engine: Engine, database: PostgresDatabase) -> str:
    """The revision that it has."""
    found = migrate.stamped(engine, database.name)
    if found is None:
        raise ConfigurationError(
            "E_LEDGER_MISSING",
            f"{database.name} has no tables yet",
            hint="the agent makes them at its first start; check the setting `ledger`",
        )
    return found
