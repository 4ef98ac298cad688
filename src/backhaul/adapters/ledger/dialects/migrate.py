"""The revisions of the ledger's schema: which one a ledger has, and whether this program takes it.

A program works on the schemas from `OLDEST` to `HEAD`. It works on a newer one, too, of which it
does not know the steps, if the ledger says so: steps that only add (`EXPANDING`) disturb no program
that worked before them. So agents of two versions share a ledger while their nodes are upgraded one
by one: expand, then both, then contract, when no agent of the older version is left.

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
# Steps after which a program that does not know them works on as before. All others need every
# agent to be of a version that knows them.
EXPANDING: frozenset[str] = frozenset()
# The oldest schema that this program works on. Older than `HEAD` where it can do without what the
# steps after it have added, or with what they take away.
OLDEST = HEAD
STAMP = "alembic_version"
_AT_START = "start the agent of this version once: it migrates the ledger"


def needed_by(revision: str) -> str:
    """The revision that a program must know to work on this schema: the newest that more than adds.

    Args:
        revision: One of `REVISIONS`.
    """
    known = REVISIONS[: REVISIONS.index(revision) + 1]
    return next((one for one in reversed(known) if one not in EXPANDING), known[0])


def steps_after(revision: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The steps that are missing: those that only add, and the first that does more with the rest.

    Args:
        revision: Of the ledger; newer than all of `REVISIONS`: no step is missing.
    """
    if revision not in REVISIONS:
        return (), ()
    missing = REVISIONS[REVISIONS.index(revision) + 1 :]
    adding = next((n for n, one in enumerate(missing) if one not in EXPANDING), len(missing))
    return missing[:adding], missing[adding:]


def stamped(
    engine: Engine,
    name: str,
    kind: str,
    tables: Callable[[Connection], set[str]],
    needed: Callable[[Connection], str | None] = lambda _: None,
) -> str | None:
    """The revision of a ledger; None when it is empty.

    Args:
        name: The ledger as messages name it.
        kind: `an SQLite file`, `a database`.
        tables: Names of all tables that are there.
        needed: `needed_by` the ledger's schema, as who migrated it has left it there.

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
        is_known = len(stamps) != 1 or stamps[0] in REVISIONS
        is_usable = is_known or needed(connection) in REVISIONS
    if not stamps and names == {STAMP}:
        return None
    if len(stamps) != 1 or not isinstance(stamps[0], str):
        raise ConfigurationError(
            "E_LEDGER_CORRUPT",
            f"{name} is {kind} of something else, no Backhaul ledger, or was edited",
            hint="name another one as the ledger, or restore it from its backup",
        )
    found = stamps[0]
    if not is_usable:
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
    """For those who may not migrate: the schema must be one that this program works on.

    Args:
        revision: What `stamped` has returned.
        hint: How it is migrated.

    Raises:
        ConfigurationError: E_LEDGER_OLDER.
    """
    is_newer = revision is not None and revision not in REVISIONS
    if not is_newer and revision not in REVISIONS[REVISIONS.index(OLDEST) :]:
        reads = HEAD if OLDEST == HEAD else f"{OLDEST} to {HEAD}"
        raise ConfigurationError(
            "E_LEDGER_OLDER",
            f"{name} has schema {revision or 'none'}, this program reads {reads}",
            hint=hint,
        )


def upgrade(
    engine: Engine,
    lock: Callable[[Connection], object] = lambda _tx: None,
    *,
    target: str = HEAD,
    note: Callable[[Connection], object] = lambda _tx: None,
) -> None:
    """Take the steps that are missing, in one transaction.

    Args:
        lock: Called at its beginning: no other process migrates until its end.
        target: The last step to take.
        note: Called at its end.
    """
    from importlib.resources import files  # noqa: PLC0415

    from alembic import command  # noqa: PLC0415 - slow, see above
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(files("backhaul") / "migrations"))
    with engine.begin() as connection:
        lock(connection)
        config.attributes["connection"] = connection
        command.upgrade(config, target)
        note(connection)
