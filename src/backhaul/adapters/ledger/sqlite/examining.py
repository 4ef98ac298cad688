"""What `backhaul doctor` looks at in a ledger's file; nothing is changed."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import text

from backhaul.adapters.ledger.sqlite.engine import reading_engine
from backhaul.adapters.ledger.sqlite.faults import damaged, mapped
from backhaul.adapters.ledger.sqlite.trust import os_errors

_VERSIONS_AT = 18  # of the file's header: the versions of its format for writers and for readers
_WAL = b"\x02\x02"


def check_pages(path: Path, *, busy_timeout_s: float = 5.0) -> None:
    """Read the whole file and check its structure, as SQLite's `quick_check` does.

    Raises:
        LedgerDamaged: E_LEDGER_CORRUPT.
        OutageError: `ledger`.
    """
    engine = reading_engine(path, busy_timeout_s=busy_timeout_s)
    try:
        with mapped(path, is_reader=True), engine.begin() as connection:
            found = connection.execute(text("PRAGMA quick_check(1)")).scalar()
        if found != "ok":
            raise damaged(f"{path} is damaged: {found}")
    finally:
        engine.dispose()


def has_write_ahead_log(path: Path) -> bool:
    """Whether the file's header names WAL mode, which Backhaul never sets.

    Source: https://sqlite.org/fileformat2.html, "File format version numbers".
    """
    with os_errors(path, "read"), path.open("rb") as file:
        file.seek(_VERSIONS_AT)
        return file.read(len(_WAL)) == _WAL
