"""How a connection to SQLite is made, behind SQLAlchemy.

Rollback journal, truncated: WAL has a bug below SQLite 3.51.3 and Enterprise Linux ships older.
`synchronous=EXTRA` also syncs the directory, so a commit that returned survives a power cut.
Source: https://sqlite.org/pragma.html.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.pool import StaticPool

BUSY_TIMEOUT_S = 30.0
CACHE_KIB = 16_384  # a large plan must not spill an open transaction page by page


def writing_engine(path: Path, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> Engine:
    """One connection for the one writer; every transaction takes the write lock at its start.

    The file must exist; `opening.files.open_file` makes it.
    """
    pragmas = (
        f"busy_timeout={round(busy_timeout_s * 1000)}",
        "journal_mode=TRUNCATE",
        "synchronous=EXTRA",
        "foreign_keys=ON",
        f"cache_size=-{CACHE_KIB}",
    )
    return _engine(path, "rw", "BEGIN IMMEDIATE", pragmas)


def reading_engine(path: Path, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> Engine:
    """A connection that cannot write, for use while an agent does."""
    return _engine(path, "ro", "BEGIN", (f"busy_timeout={round(busy_timeout_s * 1000)}",))


def recover(path: Path) -> None:
    """Roll back what a killed writer left half-written; a read-only connection may not."""
    connection = sqlite3.connect(file_uri(path, "mode=rw"), uri=True, timeout=BUSY_TIMEOUT_S)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    finally:
        connection.close()


def file_uri(path: Path, how: str) -> str:
    """As SQLite takes it.

    Args:
        how: Its parameters, such as `mode=ro`.
    """
    # As bytes: a name may hold some that are no UTF-8.
    return f"file:{quote(os.fsencode(path.absolute()))}?{how}"


def _engine(path: Path, mode: str, begin: str, pragmas: tuple[str, ...]) -> Engine:
    def connect() -> sqlite3.Connection:
        # isolation_level None: the driver begins nothing on its own, the event below does.
        connection = sqlite3.connect(
            file_uri(path, f"mode={mode}"), uri=True, isolation_level=None, check_same_thread=False
        )
        try:
            for pragma in pragmas:
                connection.execute(f"PRAGMA {pragma}").fetchall()
        except BaseException:
            connection.close()
            raise
        return connection

    engine = create_engine("sqlite://", creator=connect, poolclass=StaticPool)

    def on_begin(connection: Any) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine, "begin", on_begin)
    return engine
