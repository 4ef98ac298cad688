"""Bring a ledger file to the schema of this program, or refuse one from a newer program.

A new file gets all tables at once from `newest.sql`, which `scripts/make_ledger_schema.py` writes:
what the steps make, statement for statement.
"""

from __future__ import annotations

import secrets
import time
from pathlib import Path

from sqlalchemy import Connection, Engine, text

from backhaul.adapters.ledger.dialects.migrate import (
    HEAD,
    STAMP,
    require_current,
    upgrade,
)
from backhaul.adapters.ledger.dialects.migrate import stamped as revision_of

NEWEST = Path(__file__).with_name("newest.sql")


def bring_to_head(engine: Engine, path: Path) -> None:
    """Migrate in one transaction; a power cut leaves the old schema or the new one.

    Raises:
        ConfigurationError: E_LEDGER_NEWER, or E_LEDGER_CORRUPT for a file of something else.
    """
    revision = stamped(engine, path)
    if revision is None and _made(engine):
        return
    if revision != HEAD:
        upgrade(engine)


def check_current(engine: Engine, path: Path) -> None:
    """For readers, which may not migrate: the schema must be this program's.

    Raises:
        ConfigurationError: E_LEDGER_NEWER, E_LEDGER_OLDER or E_LEDGER_CORRUPT.
    """
    require_current(stamped(engine, path), str(path))


def stamped(engine: Engine, path: Path) -> str | None:
    """The revision of the file; None when it is empty."""
    return revision_of(engine, str(path), "an SQLite file", _tables)


def _tables(connection: Connection) -> set[str]:
    """Without SQLite's own."""
    query = (
        "SELECT name FROM sqlite_master WHERE type = 'table' AND substr(name, 1, 7) <> 'sqlite_'"
    )
    return set(connection.execute(text(query)).scalars())


def _made(engine: Engine) -> bool:
    """Make all tables in one transaction; False: another process has, or began to."""
    statements = NEWEST.read_text("utf-8").split(";\n")[:-1]
    values = {
        "ledger_id": secrets.token_hex(8),
        "sealed_from_us": str(time.time_ns() // 1000),
        "activity_summed_to": "0",
    }
    with engine.begin() as connection:
        if _tables(connection):
            return False
        for statement in statements:
            connection.exec_driver_sql(statement)
        connection.execute(
            text("INSERT INTO meta (name, value) VALUES (:name, :value)"),
            [{"name": name, "value": value} for name, value in values.items()],
        )
        connection.execute(
            text(f"INSERT INTO {STAMP} (version_num) VALUES (:revision)"),  # noqa: S608
            {"revision": HEAD},
        )
    return True
