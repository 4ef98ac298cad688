"""Bring a database to the schema of this program, or refuse one from a newer program."""

from __future__ import annotations

from sqlalchemy import Connection, Engine, text

from backhaul.adapters.ledger.dialects import migrate
from backhaul.adapters.ledger.dialects.migrate import HEAD
from backhaul.core.errors import ConfigurationError

__all__ = ["HEAD", "bring_to_head", "check_current", "stamped"]

# Two agents may start at the same time: the second one then finds what the first has made.
_ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(5316840977021)"


def bring_to_head(engine: Engine, name: str) -> None:
    """Migrate in one transaction; whatever happens leaves the old schema or the new one.

    Raises:
        ConfigurationError: E_LEDGER_NEWER, E_LEDGER_ENCODING, or E_LEDGER_CORRUPT for a database
            of something else.
    """
    _check_encoding(engine, name)
    if stamped(engine, name) != migrate.HEAD:
        migrate.upgrade(engine, lambda tx: tx.execute(text(_ONE_AT_A_TIME)))


def check_current(engine: Engine, name: str) -> None:
    """For readers, which may not migrate: the schema must be this program's.

    Raises:
        ConfigurationError: E_LEDGER_NEWER, E_LEDGER_OLDER or E_LEDGER_CORRUPT.
    """
    migrate.require_current(stamped(engine, name), name)


def stamped(engine: Engine, name: str) -> str | None:
    """The revision of the database; None when it is empty."""
    return migrate.stamped(engine, name, "a database", _tables)


def _tables(connection: Connection) -> set[str]:
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
