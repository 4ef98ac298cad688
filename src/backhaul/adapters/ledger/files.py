"""Opening the ledger's file: directory, permissions, schema, and one agent per file."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine, text

from backhaul.adapters.ledger import migrate
from backhaul.adapters.ledger.engine import (
    BUSY_TIMEOUT_S,
    reading_engine,
    recover,
    writing_engine,
)
from backhaul.adapters.ledger.faults import mapped
from backhaul.adapters.ledger.owner import Owner
from backhaul.adapters.ledger.reader import LedgerReader
from backhaul.adapters.ledger.store import SqlLedger
from backhaul.core.errors import ConfigurationError, LedgerLocked, OutageError

QUICK_CHECK_MAX_BYTES = 16 << 20  # about 0.1 s; a larger file is not read through at start


def open_ledger(
    path: Path,
    *,
    create: bool,
    host: str | None = None,
    owner: Owner | None = None,
    busy_timeout_s: float = BUSY_TIMEOUT_S,
) -> SqlLedger:
    """Open the ledger for writing and bring its schema up to date.

    One `SqlLedger` per file and process: it alone knows which transfers its threads work on.

    Args:
        create: Make the file (0600) and its directory (0700) when missing.
        host: Name of this node in owner records; default the node's own.
        owner: Who writes; default this process. For tests.

    Raises:
        ConfigurationError: E_LEDGER_MISSING, E_LEDGER_DENIED, E_LEDGER_CORRUPT, E_LEDGER_NEWER.
        OutageError: `ledger`: locked, full, read-only or an I/O error.
    """
    with _os_errors(path):
        if create:
            _create(path)
        _require(path)
        is_small = path.stat().st_size <= QUICK_CHECK_MAX_BYTES
    engine = writing_engine(path, busy_timeout_s=busy_timeout_s)
    try:
        with mapped(path):
            if is_small:
                _quick_check(engine, path)
            migrate.bring_to_head(engine, path)
            return SqlLedger(engine, path, owner or Owner.current(host))
    except BaseException:
        engine.dispose()
        raise


def open_reader(path: Path, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> LedgerReader:
    """Open the ledger read-only, beside an agent that writes.

    Raises:
        ConfigurationError: E_LEDGER_MISSING, E_LEDGER_CORRUPT, E_LEDGER_NEWER, E_LEDGER_OLDER.
        OutageError: `ledger`.
    """
    with _os_errors(path):
        _require(path)
        journal = Path(f"{path}-journal")
        if journal.exists() and journal.stat().st_size and os.access(path, os.W_OK):
            with mapped(path):
                recover(path)  # no more than waiting for its turn when a writer is at work
    engine = reading_engine(path, busy_timeout_s=busy_timeout_s)
    try:
        with mapped(path):
            migrate.check_current(engine, path)
    except BaseException:
        engine.dispose()
        raise
    return LedgerReader(engine, path)


@contextmanager
def agent_lock(path: Path) -> Iterator[None]:
    """Hold `<ledger>.lock` for the block; the kernel lets go when the process dies.

    Raises:
        LedgerLocked: E_LEDGER_IN_USE, another process holds it.
    """
    lock = Path(f"{path}.lock")
    with _os_errors(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
            raise LedgerLocked(
                "E_LEDGER_IN_USE",
                f"{path} is in use by the agent with pid {holder}",
                hint="stop that agent, or give this one a ledger of its own",
            ) from exc
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        yield
    finally:
        os.close(descriptor)


def _create(path: Path) -> None:
    if path.exists():
        return
    is_new_directory = not path.parent.exists()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    _sync_directory(path.parent)
    if is_new_directory:
        _sync_directory(path.parent.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _require(path: Path) -> None:
    if not path.is_file():
        raise ConfigurationError(
            "E_LEDGER_MISSING",
            f"{path} does not exist or is no file",
            hint="the agent makes it at its first start; check the ledger path in the settings",
        )


def _quick_check(engine: Engine, path: Path) -> None:
    with engine.begin() as connection:
        found = connection.execute(text("PRAGMA quick_check(1)")).scalar()
    if found != "ok":
        raise ConfigurationError(
            "E_LEDGER_CORRUPT",
            f"{path} is damaged: {found}",
            hint="stop the agent, keep the file, restore the ledger from its backup",
        )


@contextmanager
def _os_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except PermissionError as exc:
        raise ConfigurationError(
            "E_LEDGER_DENIED",
            f"{path}: {exc.strerror}",
            hint="the agent's user must own the ledger file and its directory",
        ) from exc
    except OSError as exc:
        raise OutageError.of(
            "ledger",
            "E_LEDGER_IO",
            f"{path}: {exc.strerror}",
            hint="the ledger needs a directory on a healthy local disk; see the setting `ledger`",
        ) from exc
