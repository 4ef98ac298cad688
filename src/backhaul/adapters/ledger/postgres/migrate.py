"""Make the tables of a database, and refuse one that another version made.

A schema that is older is changed by `backhaul ledger migrate` alone: several agents may share it.
Who changes it leaves in `meta` what a program must know to work on it, for older programs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlalchemy import select, text

from backhaul.adapters.ledger.dialects import migrate
from backhaul.adapters.ledger.dialects.migrate import HEAD
from backhaul.adapters.ledger.postgres.waits import BoundedConnection
from backhaul.adapters.ledger.schema import meta, upsert
from backhaul.core.errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

__all__ = ["HEAD", "bring_to", "check_current", "stamped", "tables_of"]

COMMAND = "backhaul ledger migrate"
NEEDED_ROW = "schema_needed"  # of `meta`: what `migrate.needed_by` is of the ledger's schema
STEPS_S = 24 * 3600.0  # a step may read and index a whole table
# Two agents may start at the same time: the second one then finds what the first has made.
_ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(5316840977021)"
_PATIENT = "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0"


def bring_to(
    engine: Engine,
    name: str,
    target: str,
    lock: Callable[[Connection], object] = lambda _tx: None,
) -> None:
    """Migrate in one transaction; whatever happens leaves the old schema or the new one.

    Args:
        target: The last step to take.
        lock: Called at its beginning, where tables are there already: nobody writes until its end.

    Raises:
        ConfigurationError: E_LEDGER_NEWER, E_LEDGER_ENCODING, or E_LEDGER_CORRUPT for a database
            of something else.
    """
    _check_encoding(engine, name)
    found = stamped(engine, name)
    if found is not None and found not in migrate.REVISIONS[: migrate.REVISIONS.index(target)]:
        return  # it has that, or more

    def begin(tx: Connection) -> None:
        tx.exec_driver_sql(_ONE_AT_A_TIME)
        lock(tx)
        tx.exec_driver_sql(_PATIENT)
        driver = tx.connection.driver_connection
        if isinstance(driver, BoundedConnection):
            driver.answer_s = STEPS_S

    def note(tx: Connection) -> None:
        row = upsert(tx.dialect.name, meta).values(name=NEEDED_ROW, value=migrate.needed_by(target))
        tx.execute(
            row.on_conflict_do_update(
                index_elements=[meta.c.name], set_={"value": row.excluded.value}
            )
        )

    migrate.upgrade(engine, begin, target=target, note=note)


def check_current(engine: Engine, name: str) -> None:
    """For those who may not migrate: the schema must be one that this program works on.

    Raises:
        ConfigurationError: E_LEDGER_NEWER, E_LEDGER_OLDER or E_LEDGER_CORRUPT.
    """
    hint = f"{COMMAND} --ledger '{name}', which says whether agents have to stop first"
    migrate.require_current(stamped(engine, name), name, hint)


def stamped(engine: Engine, name: str) -> str | None:
    """The revision of the database; None when it is empty."""
    return migrate.stamped(engine, name, "a database", tables_of, _needed)


def _needed(connection: Connection) -> str | None:
    if meta.name not in tables_of(connection):
        return None
    return connection.execute(select(meta.c.value).where(meta.c.name == NEEDED_ROW)).scalar()


def tables_of(connection: Connection) -> set[str]:
    """Names of all that the ledger's schema has, and of others' there."""
    query = "SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = current_schema()"
    return set(connection.execute(text(query)).scalars())


def _check_encoding(engine: Engine, name: str) -> None:
    with engine.begin() as tx:
        encoding = tx.execute(text("SHOW server_encoding")).scalar()
    if encoding != "UTF8":
        raise ConfigurationError(
            "E_LEDGER_ENCODING",
            f"{name} has the encoding {encoding}",
            hint="make a database with ENCODING 'UTF8' and TEMPLATE template0",
        )
