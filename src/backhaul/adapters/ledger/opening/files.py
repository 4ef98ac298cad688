"""Opening the ledger's file: for the agent, which makes and migrates it, and for readers."""

from __future__ import annotations

import contextlib
import os
import stat
from contextlib import AbstractContextManager
from pathlib import Path

from sqlalchemy import Engine, text

from backhaul.access import may_read, may_write
from backhaul.adapters.ledger.dialects.migrate import HEAD, Revisions
from backhaul.adapters.ledger.owner import Owner
from backhaul.adapters.ledger.reading.reader import LedgerReader
from backhaul.adapters.ledger.sqlite import migrate
from backhaul.adapters.ledger.sqlite.engine import (
    BUSY_TIMEOUT_S,
    reading_engine,
    writing_engine,
)
from backhaul.adapters.ledger.sqlite.faults import SqliteDatabase, damaged, mapped
from backhaul.adapters.ledger.sqlite.recovery import journal_of, roll_back
from backhaul.adapters.ledger.sqlite.trust import (
    check_place,
    check_trust,
    denied,
    make_empty,
    make_ledger_file,
    opened,
    os_errors,
    real_path,
    require,
)
from backhaul.adapters.ledger.store import SqlLedger

QUICK_CHECK_MAX_BYTES = 16 << 20  # about 0.1 s; a larger file is not read through at start


def open_file(
    path: Path,
    *,
    create: bool,
    host: str | None = None,
    owner: Owner | None = None,
    busy_timeout_s: float = BUSY_TIMEOUT_S,
    migrates: bool = True,
) -> SqlLedger:
    """Open the ledger for writing and bring its schema up to date.

    One `SqlLedger` per file and process: it alone knows which transfers its threads work on.

    Args:
        create: Make the file and its directory (0700) when missing. The file is 0640 in a directory
            that its group may enter and others may not, else 0600.
        host: Name of this node in owner records; default the node's own.
        owner: The writing process; default this one. For tests.
        migrates: False: refuse an older schema, which a running agent may be using.

    Raises:
        ConfigurationError: E_LEDGER_MISSING, E_LEDGER_PLACE, E_LEDGER_DENIED, E_LEDGER_CORRUPT,
            E_LEDGER_NEWER, E_CFG_PERMISSIONS; E_LEDGER_OLDER unless it migrates.
        OutageError: `ledger`: locked, full, read-only or an I/O error.
    """
    with os_errors(path, "written"):
        check_trust(path, is_agent=create)
        path = real_path(path)
        if create:
            make_ledger_file(path)
        require(path)
        if not may_write(path):
            raise denied(path, "written")
        # Before SQLite does: in a directory that all users may write, another user's journal
        # would be rolled back into the ledger.
        make_empty(journal_of(path), stat.S_IMODE(path.stat().st_mode))
        check_trust(path, is_agent=create)
        _align_journal(path)
        is_small = path.stat().st_size <= QUICK_CHECK_MAX_BYTES
    engine = writing_engine(path, busy_timeout_s=busy_timeout_s)
    try:
        with mapped(path):
            if is_small:
                _quick_check(engine, path)
            if migrates:
                migrate.bring_to_head(engine, path)
            else:
                migrate.check_current(engine, path)
            return SqlLedger(engine, SqliteDatabase(path), owner or Owner.current(host))
    except BaseException:
        engine.dispose()
        raise


def migrate_file(path: Path) -> Revisions:
    """As `places.migrate_ledger`, by who holds the lock of agents."""
    with os_errors(path, "read"):
        require(path)
        check_trust(path, is_agent=False)
        roll_back(real_path(path))
    engine = reading_engine(path, busy_timeout_s=BUSY_TIMEOUT_S)
    try:
        with mapped(path, is_reader=True):
            before = migrate.stamped(engine, path)
    finally:
        engine.dispose()
    open_file(path, create=False).close()
    return Revisions(before or "none", HEAD)


def find_file_reader(
    path: Path,
    *,
    busy_timeout_s: float = BUSY_TIMEOUT_S,
    turn: AbstractContextManager[object] | None = None,
) -> LedgerReader | None:
    """The same as `open_file_reader`; None where no file exists yet."""
    with os_errors(path, "read"):
        check_place(path)
        if not path.exists():
            return None
    return open_file_reader(path, busy_timeout_s=busy_timeout_s, turn=turn)


def open_file_reader(
    path: Path,
    *,
    busy_timeout_s: float = BUSY_TIMEOUT_S,
    turn: AbstractContextManager[object] | None = None,
) -> LedgerReader:
    """Open the ledger read-only, beside an agent that writes.

    Args:
        turn: For a process with several readers: as `ReadSession` has it.

    Raises:
        ConfigurationError: E_LEDGER_MISSING, E_LEDGER_PLACE, E_LEDGER_DENIED, E_LEDGER_CORRUPT,
            E_LEDGER_NEWER, E_LEDGER_OLDER.
        OutageError: `ledger`.
    """
    with os_errors(path, "read"):
        require(path)
        if not may_read(path):
            raise denied(path, "read")
        roll_back(real_path(path))
    engine = reading_engine(path, busy_timeout_s=busy_timeout_s)
    try:
        with turn or contextlib.nullcontext(), mapped(path, is_reader=True):
            migrate.check_current(engine, path)
    except BaseException:
        engine.dispose()
        raise
    return LedgerReader(engine, SqliteDatabase(path), turn=turn)


def _align_journal(path: Path) -> None:
    """After a chmod or chgrp of the ledger, give its journal the same mode and group.

    SQLite does that only when it makes the file. Root may do this in a directory of the agent's
    user, who could put another file in the journal's place: only the file that was opened and
    checked is changed, and only if it has no second name.
    """
    ledger = path.stat()
    with (
        contextlib.suppress(FileNotFoundError, PermissionError),  # the owner alone may
        opened(journal_of(path), os.O_RDONLY, {0, os.geteuid(), ledger.st_uid}) as journal,
    ):
        found = os.fstat(journal)
        if found.st_nlink > 1:
            return
        if found.st_gid != ledger.st_gid:
            os.fchown(journal, -1, ledger.st_gid)
        if stat.S_IMODE(found.st_mode) != stat.S_IMODE(ledger.st_mode):
            os.fchmod(journal, stat.S_IMODE(ledger.st_mode))


def _quick_check(engine: Engine, path: Path) -> None:
    with engine.begin() as connection:
        found = connection.execute(text("PRAGMA quick_check(1)")).scalar()
    if found != "ok":
        raise damaged(f"{path} is damaged: {found}")
