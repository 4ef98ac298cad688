"""Bring a ledger file to the schema of this program, or refuse one from a newer program.

The steps are in `backhaul/migrations/versions`. Alembic takes longer to import than everything else
here, so it is imported only for a file of an older program. A new file gets all tables at once from
`newest.sql`, which `scripts/make_ledger_schema.py` writes: what the steps make, statement for
statement.
"""

from __future__ import annotations

import secrets
import time
from pathlib import Path

from sqlalchemy import Connection, Engine, text

from backhaul.core.errors import ConfigurationError

# Oldest first; a test holds this list and the directory together.
REVISIONS = (
    *("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010"),
    *("0011", "0012", "0013", "0014", "0015", "0016", "0017", "0018", "0019", "0020"),
    *("0021", "0022"),
)
HEAD = REVISIONS[-1]
NEWEST = Path(__file__).with_name("newest.sql")
_STAMP = "alembic_version"


def bring_to_head(engine: Engine, path: Path) -> None:
    """Migrate in one transaction; a power cut leaves the old schema or the new one.

    Raises:
        ConfigurationError: E_LEDGER_NEWER, or E_LEDGER_CORRUPT for a file of something else.
    """
    revision = stamped(engine, path)
    if revision is None and _made(engine):
        return
    if revision != HEAD:
        _upgrade(engine)


def check_current(engine: Engine, path: Path) -> None:
    """For readers, which may not migrate: the schema must be this program's.

    Raises:
        ConfigurationError: E_LEDGER_NEWER, E_LEDGER_OLDER or E_LEDGER_CORRUPT.
    """
    revision = stamped(engine, path)
    if revision != HEAD:
        raise ConfigurationError(
            "E_LEDGER_OLDER",
            f"{path} has schema {revision or 'none'}, this program reads {HEAD}",
            hint="start the agent of this version once: it migrates the ledger",
        )


def stamped(engine: Engine, path: Path) -> str | None:
    """The revision of the file; None when it is empty."""
    with engine.begin() as connection:
        names = _tables(connection)
        if not names:
            return None
        stamps: list[object] = []
        if _STAMP in names:
            rows = connection.execute(text(f"SELECT version_num FROM {_STAMP}"))  # noqa: S608
            stamps = list(rows.scalars())
    if not stamps and names == {_STAMP}:
        return None
    if len(stamps) != 1 or not isinstance(stamps[0], str):
        raise ConfigurationError(
            "E_LEDGER_CORRUPT",
            f"{path} is an SQLite file of something else, no Backhaul ledger, or was edited",
            hint="name another file as the ledger, or restore it from its backup",
        )
    found = stamps[0]
    if found not in REVISIONS:
        raise ConfigurationError(
            "E_LEDGER_NEWER",
            f"{path} has schema {found}, this program knows up to {HEAD}",
            hint="install the version of Backhaul that wrote it, or a newer one",
        )
    return found


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
            text(f"INSERT INTO {_STAMP} (version_num) VALUES (:revision)"),  # noqa: S608
            {"revision": HEAD},
        )
    return True


def _upgrade(engine: Engine) -> None:
    from importlib.resources import files  # noqa: PLC0415

    from alembic import command  # noqa: PLC0415 - slow, see above
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(files("backhaul") / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, HEAD)
