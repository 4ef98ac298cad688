"""SQLite's errors as Backhaul's: one table, by SQLite's primary result code.

Source: https://sqlite.org/rescode.html; the low byte of an extended code is the primary one.
"""

from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backhaul.adapters.ledger.dialects.database import Database
from backhaul.adapters.ledger.sqlite.trust import os_errors
from backhaul.core.errors import BackhaulError, LedgerDamaged, OutageError

if TYPE_CHECKING:
    from sqlalchemy import Connection

_LOCKED = ("E_LEDGER_LOCKED", "stayed locked by another process")
_FULL = ("E_LEDGER_FULL", "has no room to grow")
_READONLY = ("E_LEDGER_READONLY", "cannot be written")
_IO = ("E_LEDGER_IO", "met an I/O error")

OUTAGES = {
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_PROTOCOL: _LOCKED,
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_TOOBIG: _FULL,
    sqlite3.SQLITE_READONLY: _READONLY,
    sqlite3.SQLITE_PERM: _READONLY,
    sqlite3.SQLITE_AUTH: _READONLY,
    sqlite3.SQLITE_IOERR: _IO,
    sqlite3.SQLITE_CANTOPEN: _IO,
    sqlite3.SQLITE_NOMEM: _IO,
    sqlite3.SQLITE_INTERRUPT: _IO,
    sqlite3.SQLITE_ABORT: _IO,
}
HINTS = {
    "E_LEDGER_LOCKED": "look for a long-running reader, such as sqlite3 or a backup, on the file",
    "E_LEDGER_FULL": "free space on the ledger's file system; Backhaul goes on by itself",
    "E_LEDGER_READONLY": "the agent's user must own the ledger file and its directory",
    "E_LEDGER_IO": "check the disk and the kernel log; the ledger must be on a local disk",
}
DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
# No text in UTF-8; sizes whose sum no ledger can have.
_EDITED = ("Could not decode to UTF-8", "integer overflow")
_CUT_OUT = ("no such table: ", "no such column: ", "no such index: ", " has no column named ")
_PRIMARY = 0xFF


def result_code(error: BaseException) -> int:
    """SQLite's extended result code, 0 where the error has none."""
    origin = getattr(error, "orig", None) or error
    return int(getattr(origin, "sqlite_errorcode", 0) or 0)


def translated(error: BaseException, path: Path, *, is_reader: bool = False) -> BackhaulError:
    """What to raise instead of `error`; anything not in the table is a bug of ours."""
    code = result_code(error) & _PRIMARY
    detail = str(getattr(error, "orig", None) or error).splitlines()[0]
    if is_reader and code == sqlite3.SQLITE_READONLY:
        return _unfinished(path)
    if code in OUTAGES:
        name, what = OUTAGES[code]
        return OutageError.of("ledger", name, f"{path} {what}: {detail}", hint=HINTS[name])
    if detail.startswith(_EDITED):
        return SqliteDatabase(path).edited(detail)
    if code in DAMAGED or any(words in detail for words in _CUT_OUT):
        return damaged(f"{path} is damaged or no Backhaul ledger: {detail}")
    return BackhaulError("E_LEDGER_BUG", f"{path}: {type(error).__name__}: {detail}")


def damaged(what: str) -> LedgerDamaged:
    """The file as a whole cannot be relied on."""
    hint = "stop the agent, keep the file, restore the ledger from its backup"
    return LedgerDamaged("E_LEDGER_CORRUPT", what, hint=hint)


def _unfinished(path: Path) -> OutageError:
    """SQLite: a reader met a change that must be rolled back first, which takes a writer."""
    return OutageError.of(
        "ledger",
        "E_LEDGER_READONLY",
        f"{path} holds the unfinished change of an agent that was killed, and this user may not "
        "roll it back",
        hint="start the agent, which does it; or run this as the agent's user; on a read-only file "
        f"system copy {path.name} and {path.name}-journal elsewhere and name it with --ledger",
    )


class SqliteDatabase(Database):
    """The SQLite file at `path`."""

    driver_errors = (sqlite3.Error,)

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)

    def is_in_transaction(self, driver: Any) -> bool:
        return isinstance(driver, sqlite3.Connection) and driver.in_transaction

    def size_bytes(self, connection: Connection) -> int:  # noqa: ARG002
        with os_errors(self.path, "read"):
            return self.path.stat().st_size

    def interrupted(self) -> Exception:
        lost = sqlite3.OperationalError("the commit was interrupted")
        lost.sqlite_errorcode = sqlite3.SQLITE_INTERRUPT
        return lost

    def translated(self, error: Exception, *, is_reader: bool = False) -> BackhaulError:
        return translated(error, self.path, is_reader=is_reader)


def mapped(path: Path, *, is_reader: bool = False) -> AbstractContextManager[None]:
    """No error of SQLite or SQLAlchemy leaves the block."""
    return SqliteDatabase(path).mapped(is_reader=is_reader)
