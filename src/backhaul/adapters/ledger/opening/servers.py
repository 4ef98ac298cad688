"""Opening a ledger on PostgreSQL: for the agent, which makes and migrates it, and for readers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from backhaul.adapters.ledger.owner import Owner
from backhaul.adapters.ledger.postgres import migrate
from backhaul.adapters.ledger.postgres.engine import reading_engine, writing_engine
from backhaul.adapters.ledger.postgres.faults import PostgresDatabase
from backhaul.adapters.ledger.postgres.seat import AgentSeat, make_rows
from backhaul.adapters.ledger.postgres.standbys import Standbys, seen
from backhaul.adapters.ledger.reading.reader import LedgerReader
from backhaul.adapters.ledger.store import SqlLedger
from backhaul.core.errors import ConfigurationError
from backhaul.core.ports.ledger_place import PostgresUrl

if TYPE_CHECKING:
    from sqlalchemy import Engine


def open_server(
    url: PostgresUrl,
    *,
    create: bool,
    host: str | None = None,
    owner: Owner | None = None,
    migrates: bool = True,
    seat: AgentSeat | None = None,
) -> SqlLedger:
    """As `places.open_ledger`.

    Args:
        create: Make the tables in an empty database.
        host: As there, likewise `owner`, `migrates` and `seat`.

    Raises:
        ConfigurationError: E_LEDGER_MISSING, E_LEDGER_CORRUPT, E_LEDGER_NEWER, E_LEDGER_ENCODING,
            E_LEDGER_ADDRESS; E_LEDGER_OLDER unless it migrates.
        OutageError: `ledger`: away, locked, full, read-only, no login, no connection.
    """
    database = PostgresDatabase(url, seat)
    engine = writing_engine(url, is_agent=seat is not None)
    try:
        with database.mapped():
            if not create:
                _require_tables(engine, database)
            _make(engine, database, migrates=migrates)
            return SqlLedger(engine, database, owner or Owner.current(host))
    except BaseException:
        engine.dispose()
        raise


@contextmanager
def server_seat(url: PostgresUrl, host: str | None) -> Iterator[AgentSeat]:
    """This process is the ledger's one agent in the block.

    It waits until the last agent is known to be gone: at most `watch.DEAD_S` and a look more.

    Raises:
        LedgerLocked: E_LEDGER_IN_USE.
        ConfigurationError, OutageError: As `open_server`.
    """
    database = PostgresDatabase(url)
    engine = writing_engine(url, is_agent=True)
    try:
        with database.mapped():
            if migrate.stamped(engine, database.name) is None:
                migrate.bring_to_head(engine, database.name)
            with engine.begin() as tx:  # whoever made the tables may have died before this
                make_rows(tx)
        seat = AgentSeat(engine, database, Owner.current(host))
        seat.take()
    except BaseException:
        engine.dispose()
        raise
    try:
        yield seat
    finally:
        seat.give_back()


def _make(engine: Engine, database: PostgresDatabase, *, migrates: bool) -> None:
    if migrates:
        migrate.bring_to_head(engine, database.name)
    else:
        migrate.check_current(engine, database.name)
    with engine.begin() as tx:
        make_rows(tx)


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
    database = PostgresDatabase(url)
    engine = reading_engine(url)
    try:
        with database.mapped(is_reader=True), engine.begin() as connection:
            return seen(connection)
    finally:
        engine.dispose()


def _require_tables(engine: Engine, database: PostgresDatabase) -> None:
    if migrate.stamped(engine, database.name) is None:
        raise ConfigurationError(
            "E_LEDGER_MISSING",
            f"{database.name} has no tables yet",
            hint="the agent makes them at its first start; check the setting `ledger`",
        )
