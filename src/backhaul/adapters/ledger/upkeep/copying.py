"""A copy of the ledger as it is at one moment, made while an agent works.

The file is read below one shared lock of SQLite's, so it is a whole one and stays as it is: its
journal is empty then, and a commit that comes meanwhile waits. That is what SQLite's own backup
does, too, where another process writes, but page by page: six times as long for the commits. The
copy is made durable and checked when the lock is gone, and has its name only after that.

For a process that has the ledger open nowhere else.

Source: https://sqlite.org/lockingv3.html, https://sqlite.org/backup.html, fcntl(2) on closing.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from backhaul.access import may_read
from backhaul.adapters.ledger.sqlite.engine import BUSY_TIMEOUT_S, file_uri
from backhaul.adapters.ledger.sqlite.faults import mapped
from backhaul.adapters.ledger.sqlite.recovery import roll_back
from backhaul.adapters.ledger.sqlite.trust import (
    BESIDE,
    check_trust,
    denied,
    opened,
    os_errors,
    real_path,
    require,
)
from backhaul.core.errors import CannotWrite, LedgerLocked, PermanentError, TargetExists
from backhaul.core.units import human_bytes

BYTES_AT_ONCE = 64 << 20  # between two looks at signals
FREE_MORE = 1 << 20  # beside the copy itself
# The kernel cannot copy between these two files.
_NO_RANGES = frozenset({errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF})
# Which moment the copy is of, at no cost: each change of a transfer adds a line to the journal.
_MOMENT = ("PRAGMA page_count", "PRAGMA freelist_count", "SELECT max(number) FROM journal")
_COUNTED = ("transfers", "objects")


@dataclass(frozen=True, kw_only=True)
class LedgerCopy:
    """A copy that was checked.

    Attributes:
        transfers: How many are in it; likewise `objects`.
    """

    path: Path
    size_bytes: int
    transfers: int
    objects: int


def copy_ledger(path: Path, file: Path, *, replaces: bool = False) -> LedgerCopy:
    """Copy the ledger at `path` to `file`, 0600, durable and checked; or leave nothing there.

    Args:
        replaces: Put the copy in the place of an earlier file.

    Raises:
        TargetExists: E_BACKUP_EXISTS: a file is there, or it is the ledger itself.
        CannotWrite: E_BACKUP_WRITE: no directory, no permission, no room.
        LedgerLocked: E_BACKUP_BUSY: another process makes the same copy.
        PermanentError: E_BACKUP_DAMAGED: the copy is not sound; an earlier file stays.
        ConfigurationError, OutageError: The ledger.
    """
    with os_errors(path, "read"):
        require(path)
        check_trust(path, is_agent=False)
        path = real_path(path)
        if not may_read(path):
            raise denied(path, "read")
        roll_back(path)
    partial = file.with_name(f".{file.name}.partial")
    with _writing(file):
        _check_place(path, file, replaces=replaces)
        with _partial_file(partial) as descriptor:
            moment = _copied(path, descriptor)
            os.fsync(descriptor)
            # So that what is checked comes from the disk.
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            found = _checked(partial, file, moment)
            _name(partial, file, replaces=replaces)
    return found


def _check_place(path: Path, file: Path, *, replaces: bool) -> None:
    own = {Path(f"{path}{name}") for name in ("", *BESIDE)}
    if Path(os.path.realpath(file)) in own or (file.exists() and file.samefile(path)):
        raise TargetExists(
            "E_BACKUP_EXISTS",
            f"{file} is the ledger itself or belongs to it",
            hint="name another file, best on another disk",
        )
    if file.is_dir():
        raise _unwritable(file, "is a directory", hint=f"name a file in it: {file / 'ledger.db'}")
    if not replaces and os.path.lexists(file):
        raise _is_there(file)
    free = os.statvfs(file.parent)
    free_bytes, needed_bytes = free.f_bavail * free.f_frsize, path.stat().st_size + FREE_MORE
    if free_bytes < needed_bytes:
        raise _unwritable(
            file,
            f"needs {human_bytes(needed_bytes)}, and {human_bytes(free_bytes)} are free there",
            hint="make room, or name a file on a larger disk",
        )


@contextmanager
def _partial_file(path: Path) -> Iterator[int]:
    """An empty file for this process alone; it is gone after the block, unless it was renamed."""
    with opened(path, os.O_RDWR | os.O_CREAT) as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LedgerLocked(
                "E_BACKUP_BUSY",
                f"another process writes {path}",
                hint="wait until that backup is done",
            ) from None
        try:
            os.fchmod(descriptor, 0o600)
            os.ftruncate(descriptor, 0)  # what a killed process left
            yield descriptor
        finally:
            with suppress(FileNotFoundError):
                path.unlink()


def _copied(path: Path, copy: int) -> list[object]:
    """The whole file, below one lock; returns which moment it is of."""
    with (
        mapped(path, is_reader=True),
        _reading(path) as source,  # closed last: that drops all of this process's locks on it
        closing(_connect(path, "mode=ro")) as connection,
    ):
        connection.execute("BEGIN")
        moment = _moment(connection)  # takes the shared lock, until the end of the transaction
        _copy_bytes(source, copy)
        connection.execute("COMMIT")
    return moment


@contextmanager
def _reading(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _copy_bytes(source: int, copy: int) -> None:
    """By the kernel, which on some file systems shares the blocks; else through this process."""
    size_bytes = os.fstat(source).st_size
    done = 0
    while done < size_bytes:
        _progress()
        try:
            count = os.copy_file_range(source, copy, BYTES_AT_ONCE, done, done)
        except OSError as error:
            if error.errno not in _NO_RANGES:
                raise
            count = os.pwrite(copy, os.pread(source, BYTES_AT_ONCE, done), done)
        if not count:
            raise OSError(errno.EIO, "the ledger became shorter while it was copied")
        done += count


def _progress() -> None:
    """Before each piece."""


def _moment(connection: sqlite3.Connection) -> list[object]:
    return [connection.execute(one).fetchone()[0] for one in _MOMENT]


def _checked(partial: Path, file: Path, moment: list[object]) -> LedgerCopy:
    """Raises E_BACKUP_DAMAGED unless it is sound and of that moment."""
    try:
        with closing(_connect(partial, "mode=ro&immutable=1")) as copy:
            found = [row[0] for row in copy.execute("PRAGMA quick_check(3)")]
            if found == ["ok"] and _moment(copy) != moment:
                found = ["it does not hold what the ledger held"]
            counts = {
                name: copy.execute(f"SELECT count(*) FROM {name}").fetchone()[0]  # noqa: S608
                for name in _COUNTED
            }
    except sqlite3.Error as error:
        found, counts = [str(error)], {}
    if found != ["ok"]:
        raise PermanentError(
            "E_BACKUP_DAMAGED",
            f"the copy for {file} is not sound, and was removed: {'; '.join(found)}",
            hint="look at the ledger: backhaul ledger check --full; and at the disk of the copy",
        )
    return LedgerCopy(path=file, size_bytes=partial.stat().st_size, **counts)


def _name(partial: Path, file: Path, *, replaces: bool) -> None:
    """Give the copy its name, durably; a file that came meanwhile stays unless it is replaced."""
    if replaces:
        partial.replace(file)
    else:
        try:
            os.link(partial, file)  # unlike a rename, it never replaces
        except FileExistsError:
            raise _is_there(file) from None
        except OSError:  # a file system without links
            if os.path.lexists(file):
                raise _is_there(file) from None
            partial.replace(file)
    directory = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextmanager
def _writing(file: Path) -> Iterator[None]:
    """No OSError of the copy's place leaves the block."""
    try:
        yield
    except FileNotFoundError as error:
        hint = f"mkdir -p {file.parent}" if not file.parent.exists() else ""
        raise _unwritable(file, error.strerror or "is gone", hint=hint) from error
    except OSError as error:
        raise _unwritable(file, error.strerror or str(error)) from error


def _unwritable(file: Path, why: str, *, hint: str = "") -> CannotWrite:
    hint = hint or "name a file in a directory that this user may write, with room for the ledger"
    return CannotWrite("E_BACKUP_WRITE", f"no backup at {file}: {why}", hint=hint)


def _is_there(file: Path) -> TargetExists:
    return TargetExists(
        "E_BACKUP_EXISTS",
        f"{file} is there already",
        hint="name another file, or give --overwrite",
    )


def _connect(path: Path, how: str) -> sqlite3.Connection:
    return sqlite3.connect(
        file_uri(path, how), uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_S
    )
