"""The revisions of the ledger's schema: which one a ledger has, and whether this program takes it.

The steps are in `backhaul/migrations/versions`. Alembic takes longer to import than everything else
here, so it is imported only where there is something to migrate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

from backhaul.core.errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

# Oldest first; a test holds this list and the directory together.
REVISIONS = (
    *("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010"),
    *("0011", "0012", "0013", "0014", "0015", "0016", "0017", "0018", "0019", "0020"),
    *("0021", "0022", "0023", "0025"),
)
HEAD = REVISIONS[-1]
STAMP = "alembic_version"
_AT_START = "start the agent of this version once: it migrates the ledger"


def stamped(
    engine: Engine, name: str, kind: str, tables: Callable[[Connection], set[str]]
) -> str | None:
    """The revision of a ledger; None when it is empty.

    Args:
        name: The ledger as messages name it.
        kind: `an SQLite file`, `a database`.
        tables: Names of all tables that are there.

    Raises:
        ConfigurationError: E_LEDGER_NEWER, or E_LEDGER_CORRUPT for what holds something else.
    """
    with engine.begin() as connection:
        names = tables(connection)
        if not names:
            return None
        stamps: list[object] = []
        if STAMP in names:
            rows = connection.execute(text(f"SELECT version_num FROM {STAMP}"))  # noqa: S608
            stamps = list(rows.scalars())
    if not stamps and names == {STAMP}:
        return None
    if len(stamps) != 1 or not isinstance(stamps[0], str):
        raise ConfigurationError(
            "E_LEDGER_CORRUPT",
            f"{name} is {kind} of something else, no Backhaul ledger, or was edited",
            hint="name another one as the ledger, or restore it from its backup",
        )
    found = stamps[0]
    if found not in REVISIONS:
        raise ConfigurationError(
            "E_LEDGER_NEWER",
            f"{name} has schema {found}, this program knows up to {HEAD}",
            hint="install the version of Backhaul that wrote it, or a newer one",
        )
    return found


@dataclass(frozen=True)
class Revisions:
    """Of a ledger before and after it was migrated; the same two where there was nothing to do."""

    before: str
    after: str


def require_current(revision: str | None, name: str, hint: str = _AT_START) -> None:
    """For those who may not migrate: the schema must be this program's.

    Args:
        hint: How it is migrated.

    Raises:
        ConfigurationError: E_LEDGER_OLDER.
    """
    if revision != HEAD:
        raise ConfigurationError(
            "E_LEDGER_OLDER",
            f"{name} has schema {revision or 'none'}, this program reads {HEAD}",
            hint=hint,
        )


def upgrade(engine: Engine, lock: Callable[[Connection], object] = lambda _tx: None) -> None:
    """Take all steps that are missing, in one transaction.

    Args:
        lock: Called at its beginning: no other process migrates until its end.
    """
    from importlib.resources import files  # noqa: PLC0415

    from alembic import command  # noqa: PLC0415 - slow, see above
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(files("backhaul") / "migrations"))
    with engine.begin() as connection:
        lock(connection)
        config.attributes["connection"] = connection
        command.upgrade(config, HEAD)
