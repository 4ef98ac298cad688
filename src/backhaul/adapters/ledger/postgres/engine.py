"""How a connection to PostgreSQL is made, behind SQLAlchemy.

All settings are those of one transaction: a pooler in transaction mode hands the session to others
after it, and refuses or drops start-up options. For the same reason no statement is prepared.

Source: https://www.postgresql.org/docs/15/libpq-connect.html (keepalives and timeouts),
https://www.postgresql.org/docs/15/runtime-config-client.html (those of a transaction).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.adapt import Loader
from sqlalchemy import Column, Engine, create_engine, event
from sqlalchemy.dialects.postgresql.base import PGTypeCompiler
from sqlalchemy.pool import NullPool, QueuePool

from backhaul.adapters.ledger.postgres.address import connection_values, single_hosts
from backhaul.adapters.ledger.postgres.deferred import (
    DeferringConnection,
    JoinedCursor,
    defer_changes,
    driver_of,
    noted,
    prefetch,
)
from backhaul.adapters.ledger.postgres.moment import (
    READER_SQL,
    WRITER_SQL,
    ServerMoment,
    last,
    remember,
)
from backhaul.adapters.ledger.postgres.primary import PrimaryMemory
from backhaul.adapters.ledger.postgres.waits import BoundedConnection, LastResult, StatementAnswer
from backhaul.core.errors import OutageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg.abc import Buffer
    from sqlalchemy import Connection

    from backhaul.adapters.ledger.statements import Query
    from backhaul.core.ports.ledger_place import PostgresUrl

LOCK_S = 5
STATEMENT_S = 15
IDLE_S = 15  # a client that is gone keeps its locks so long at most
READERS_MOST = 5  # connections of one process
# Unless the address has them.
_DEFAULTS = {
    "application_name": "backhaul",
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,  # milliseconds
    "target_session_attrs": "read-write",
}
_LOCK = "lock"  # in the options of a connection, and in its `info` what was found by it
_MEMORY = "memory"  # in its `info`
_AHEAD = "ahead"  # in the options of a connection: what follows the lock
# Rows of each statement that has any.
Begun = list[list[tuple[Any, ...]]]
BEGIN_TO_WRITE = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
TIMEOUTS = (
    f"SET LOCAL lock_timeout = '{LOCK_S}s'; "
    f"SET LOCAL statement_timeout = '{STATEMENT_S}s'; "
    f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE_S}s'"
)


def writing_engine(url: PostgresUrl, *, is_agent: bool = False) -> Engine:
    """For the writer, which keeps one connection; what it begins is at READ COMMITTED.

    It waits for its turn by `PostgresDatabase.lock`; each statement after that sees what the writer
    before has committed.

    Args:
        is_agent: It notes the newest primary that it has seen.
    """
    memory = PrimaryMemory(url.text, url.beside, is_agent=is_agent)
    engine = _engine(url, BEGIN_TO_WRITE, WRITER_SQL, memory, NullPool)
    defer_changes(engine)
    return engine


def reading_engine(url: PostgresUrl) -> Engine:
    """For readers: each transaction sees one moment and cannot write."""
    return _engine(
        url,
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        READER_SQL,
        PrimaryMemory(url.text, url.beside, is_agent=False),
        QueuePool,
        pool_size=1,
        max_overflow=READERS_MOST - 1,
        pool_pre_ping=True,
    )


class _WholeNumber(Loader):
    """No column is numeric; sums of whole numbers are, and are as whole."""

    def load(self, data: Buffer) -> int:
        return int(bytes(data))


class _ByteOrder(PGTypeCompiler):
    """Texts of columns are compared as UTF-8 bytes, whatever the database's collation."""

    def visit_TEXT(self, type_: Any, **kw: Any) -> str:  # noqa: N802 - SQLAlchemy's name
        plain = super().visit_TEXT(type_, **kw)
        is_column = isinstance(kw.get("type_expression"), Column)
        return f'{plain} COLLATE "C"' if is_column else plain


def open_connection(
    url: PostgresUrl, memory: PrimaryMemory, kind: type[BoundedConnection] = BoundedConnection
) -> psycopg.Connection[Any]:
    """A connection that begins nothing on its own, to the newest primary of the address.

    Args:
        kind: How long it waits for an answer.

    Raises:
        psycopg.Error
        ConfigurationError: As `connection_values`.
        OutageError: `ledger`: as `PrimaryMemory` has it.
    """
    values = connection_values(url)
    hosts = single_hosts(values)
    return _connection(values, kind) if len(hosts) == 1 else _newest(hosts, memory, kind)


def _engine(
    url: PostgresUrl,
    begin: str,
    moment: str,
    memory: PrimaryMemory,
    pool: type[Any],
    **options: Any,
) -> Engine:
    connection_values(url)  # what is wrong with it is found here

    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: open_connection(url, memory, DeferringConnection),
        poolclass=pool,
        use_native_hstore=False,
        **options,
    )
    engine.dialect.type_compiler_instance = _ByteOrder(engine.dialect)

    def on_begin(connection: Connection) -> None:
        try:
            at = _begin(connection, f"{begin}; {TIMEOUTS}; {moment}")
            memory.check(at)
        except BaseException:
            # SQLAlchemy does not know of a transaction yet. The next one begins on a connection of
            # its own, which may lead to another server.
            if not connection.invalidated:
                connection.invalidate()
            raise
        remember(connection, at)
        connection.info[_MEMORY] = memory

    event.listen(engine, "begin", on_begin)
    return engine


def last_moment(connection: Connection) -> ServerMoment | None:
    """Of its last transaction, where its server is still no old primary; between transactions."""
    if connection.closed or connection.invalidated:
        return None
    moment = last(connection)
    if moment is not None:
        memory: PrimaryMemory = connection.info[_MEMORY]
        try:
            memory.check(moment)
        except OutageError:
            return None
    return moment


def _begin(connection: Connection, text: str) -> ServerMoment:
    """With the lock of the ledger where the connection is to have it."""
    options = connection.get_execution_options()
    lock = options.get(_LOCK)
    if lock is None:
        return ServerMoment.of_row(*connection.exec_driver_sql(text).one())
    turn, queries = options[_AHEAD]
    texts = noted(connection, queries)
    answers = _answers(connection, "; ".join([text, lock, *turn, *texts]))
    prefetch(connection, texts, answers)
    ahead = len(turn) + len(texts)
    moment, *begun = _rows(answers[: len(answers) - ahead])
    connection.info[_LOCK] = begun
    return ServerMoment.of_row(*moment[0])


def lock_as_it_begins(
    connection: Connection, text: str, turn: Sequence[str] = (), queries: Sequence[Query] = ()
) -> None:
    """Let the next transaction of this connection begin with these statements, in one round trip.

    Args:
        text: See `begun_with`.
        turn: Statements after it.
        queries: Sent after that; see `prefetch`.
    """
    connection.execution_options(**{_LOCK: text, _AHEAD: (turn, queries)})


def begun_with(connection: Connection, text: str) -> Begun:
    """What these statements have found: as the transaction began, or now."""
    begun: Begun | None = connection.info.pop(_LOCK, None)
    return _rows(_answers(connection, text)) if begun is None else begun


def _answers(connection: Connection, text: str) -> list[StatementAnswer]:
    """Not through SQLAlchemy, which forgets those before a last one without rows."""
    return driver_of(connection).answers([text])


def _rows(answers: Sequence[StatementAnswer]) -> Begun:
    return [one.rows for one in answers if one.description is not None]


def _connection(values: dict[str, Any], kind: type[BoundedConnection]) -> BoundedConnection:
    # autocommit: the driver begins nothing on its own, the engine's event does.
    is_writer = issubclass(kind, DeferringConnection)
    connection = kind.connect(
        **{**_DEFAULTS, **values},
        client_encoding="utf8",
        autocommit=True,
        prepare_threshold=None,
        cursor_factory=JoinedCursor if is_writer else LastResult,
    )
    connection.adapters.register_loader("numeric", _WholeNumber)
    return connection


def _newest(
    hosts: list[dict[str, Any]], memory: PrimaryMemory, kind: type[BoundedConnection]
) -> BoundedConnection:
    """The first of several servers that takes writes and is no old primary.

    libpq would take the first that takes writes; after a failover that may be the old one.

    Raises:
        OutageError: E_LEDGER_OLD_PRIMARY and the like, where only such servers are there.
        OperationalError: Of the last one, where none takes this user's writes.
    """
    refusal: Exception | None = None
    for host in hosts:
        try:
            connection = _connection(host, kind)
        except psycopg.OperationalError as error:
            refusal = refusal if isinstance(refusal, OutageError) else error
            continue
        try:
            memory.check(ServerMoment.of_row(*connection.execute(READER_SQL).fetchall()[0]))
        except OutageError as error:
            refusal = error
            connection.close()
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise refusal or psycopg.OperationalError("no server is named")
