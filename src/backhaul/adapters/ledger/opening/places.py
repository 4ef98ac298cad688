"""Which kind of ledger it is decides how it is opened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import ModuleType
from typing import TYPE_CHECKING

from backhaul.adapters.ledger.dialects.migrate import Revisions
from backhaul.adapters.ledger.opening import files
from backhaul.adapters.ledger.owner import Owner
from backhaul.adapters.ledger.reading.reader import LedgerReader
from backhaul.adapters.ledger.sqlite.engine import BUSY_TIMEOUT_S
from backhaul.adapters.ledger.sqlite.lock import agent_lock as file_lock
from backhaul.adapters.ledger.store import SqlLedger
from backhaul.core.errors import ConfigurationError
from backhaul.core.ports.ledger_place import LedgerPlace, PostgresUrl

if TYPE_CHECKING:
    from backhaul.adapters.ledger.postgres.examining import Connected, Examined
    from backhaul.adapters.ledger.postgres.members.member import Member
    from backhaul.adapters.ledger.postgres.standbys import Standbys
    from backhaul.core.fleet.rate_shares import RateSeat


def open_ledger(
    place: LedgerPlace,
    *,
    create: bool,
    host: str | None = None,
    owner: Owner | None = None,
    busy_timeout_s: float = BUSY_TIMEOUT_S,
    migrates: bool = True,
    member: Member | None = None,
    seat: RateSeat | None = None,
) -> SqlLedger:
    """Open the ledger for writing and bring its schema up to date.

    One `SqlLedger` per ledger and process: it alone knows which transfers its threads work on.

    Args:
        create: Make it when missing: as `files.open_file` and `servers.open_server` have it.
        host: Name of this node in owner records; default the node's own.
        owner: The writing process; default this one. For tests.
        busy_timeout_s: How long to wait for a lock of a file.
        migrates: False: refuse a file's older schema, which a running agent may be using. That of
            a server is refused in any case.
        member: What `agent_lock` yielded.
        seat: Where this process reads under its share of the byte rate, unless it is the agent.

    Raises:
        ConfigurationError: E_LEDGER_MISSING, E_LEDGER_CORRUPT, E_LEDGER_NEWER; E_LEDGER_OLDER
            unless it migrates a file; and what is a file's or a server's own.
        OutageError: `ledger`.
    """
    if isinstance(place, PostgresUrl):
        ledger: SqlLedger = _servers().open_server(
            place, create=create, host=host, owner=owner, member=member, seat=seat
        )
        return ledger
    return files.open_file(
        place,
        create=create,
        host=host,
        owner=owner,
        busy_timeout_s=busy_timeout_s,
        migrates=migrates,
    )


def open_reader(
    place: LedgerPlace,
    *,
    busy_timeout_s: float = BUSY_TIMEOUT_S,
    turn: AbstractContextManager[object] | None = None,
) -> LedgerReader:
    """Open the ledger read-only, beside an agent that writes.

    Args:
        busy_timeout_s: How long to wait for a lock of a file.
        turn: For a process with several readers: as `ReadSession` has it.

    Raises:
        ConfigurationError: E_LEDGER_MISSING, E_LEDGER_CORRUPT, E_LEDGER_NEWER, E_LEDGER_OLDER; and
            what is a file's or a server's own.
        OutageError: `ledger`.
    """
    if isinstance(place, PostgresUrl):
        reader: LedgerReader = _servers().open_server_reader(place)
        return reader
    return files.open_file_reader(place, busy_timeout_s=busy_timeout_s, turn=turn)


def find_reader(
    place: LedgerPlace,
    *,
    busy_timeout_s: float = BUSY_TIMEOUT_S,
    turn: AbstractContextManager[object] | None = None,
) -> LedgerReader | None:
    """The same as `open_reader`; None where no ledger exists yet."""
    if isinstance(place, PostgresUrl):
        reader: LedgerReader | None = _servers().find_server_reader(place)
        return reader
    return files.find_file_reader(place, busy_timeout_s=busy_timeout_s, turn=turn)


@contextmanager
def agent_lock(
    place: LedgerPlace, host: str | None = None, seat: RateSeat | None = None
) -> Iterator[Member | None]:
    """This process is an agent of the ledger in the block: of a file the only one.

    Args:
        seat: Where it reads under its share of the byte rate of all agents.

    Yields:
        What it is among those of a ledger on PostgreSQL, for `open_ledger`; None where the kernel
        has the locks.

    Raises:
        LedgerLocked: E_LEDGER_IN_USE.
        ConfigurationError, OutageError: As `open_ledger`.
    """
    if isinstance(place, PostgresUrl):
        with _servers().server_member(place, host, seat) as member:
            yield member
    else:
        with file_lock(place):
            yield None


def standbys_of(place: LedgerPlace) -> Standbys | None:
    """Whether a failover of its server may lose commits; None: it is a file.

    Raises:
        ConfigurationError, OutageError: As `open_reader`.
    """
    if not isinstance(place, PostgresUrl):
        return None
    found: Standbys = _servers().standbys_of_server(place)
    return found


def check_schema(url: PostgresUrl) -> None:
    """Whether this version works on the schema, where there is one.

    Raises:
        ConfigurationError: E_LEDGER_OLDER, E_LEDGER_NEWER; and others as `open_reader`.
        OutageError: As there.
    """
    _servers().check_server_schema(url)


def migrate_ledger(place: LedgerPlace) -> Revisions:
    """Bring its schema up to date; nobody may write to it meanwhile.

    Raises:
        LedgerLocked: E_LEDGER_IN_USE.
        ConfigurationError, OutageError: As `open_ledger`.
    """
    if isinstance(place, PostgresUrl):
        changed: Revisions = _servers().migrate_server(place)
        return changed
    with file_lock(place):
        return files.migrate_file(place)


def examined(url: PostgresUrl) -> Examined:
    """The server, and whether its tables are as they were made.

    Raises:
        ConfigurationError, OutageError: As `open_reader`.
    """
    found: Examined = _servers().examine_server(url)
    return found


def connected(url: PostgresUrl) -> Connected:
    """How a login and a round trip went, and what room there is.

    Raises:
        ConfigurationError, OutageError: As `open_reader`.
    """
    found: Connected = _servers().connect_to_server(url)
    return found


def _servers() -> ModuleType:
    """Loaded where it is used: psycopg is an extra, and a file needs none of it."""
    try:
        from backhaul.adapters.ledger.opening import servers  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name != "psycopg":
            raise
        raise ConfigurationError(
            "E_LEDGER_DRIVER",
            "a ledger on PostgreSQL needs the package psycopg, which is not installed",
            hint="pip install 'backhaul[postgres]'",
        ) from error
    return servers


def moving() -> ModuleType:
    """The module that copies a file's records into a database.

    Raises:
        ConfigurationError: E_LEDGER_DRIVER.
    """
    _servers()
    from backhaul.adapters.ledger.opening import moving as found  # noqa: PLC0415

    return found
