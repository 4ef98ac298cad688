"""Opening the ledger's file: directory, permissions, schema, and one agent per file."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sqlalchemy import Engine, text

from backhaul.access import (
    distrust,
    distrust_of,
    is_there,
    kind_of,
    link_of_others,
    may_read,
    may_write,
    refusal,
)
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

# What is kept beside the ledger: SQLite's own, then the agent's lock and the byte-rate governor's.
BESIDE = (
    *("-journal", "-wal", "-shm"),
    *(".lock", ".limit", ".rate", ".reserved", ".reserved.lock"),
)
# No retry helps: the path itself has to be another.
_OF_THE_PATH = frozenset(
    {
        *(errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOENT),
        *(errno.ENAMETOOLONG, errno.EINVAL, errno.ELOOP),
    }
)
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
        create: Make the file and its directory (0700) when missing. The file is 0640 in a directory
            that its group may enter and others may not, else 0600.
        host: Name of this node in owner records; default the node's own.
        owner: Who writes; default this process. For tests.

    Raises:
        ConfigurationError: E_LEDGER_MISSING, E_LEDGER_PLACE, E_LEDGER_DENIED, E_LEDGER_CORRUPT,
            E_LEDGER_NEWER, E_CFG_PERMISSIONS.
        OutageError: `ledger`: locked, full, read-only or an I/O error.
    """
    with _os_errors(path, "written"):
        check_trust(path, is_agent=create)
        path = _real(path)
        if create:
            _create(path)
        _require(path)
        if not may_write(path):
            raise _denied(path, "written")
        # Before SQLite does: in a directory that everybody may write, somebody else's journal
        # would be rolled back into the ledger.
        _create_one(_journal_of(path), stat.S_IMODE(path.stat().st_mode))
        check_trust(path, is_agent=create)
        _align_journal(path)
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


def find_reader(path: Path, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> LedgerReader | None:
    """The same as `open_reader`; None where no file exists yet."""
    with _os_errors(path, "read"):
        _check_place(path)
        if not path.exists():
            return None
    return open_reader(path, busy_timeout_s=busy_timeout_s)


def open_reader(path: Path, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> LedgerReader:
    """Open the ledger read-only, beside an agent that writes.

    Raises:
        ConfigurationError: E_LEDGER_MISSING, E_LEDGER_PLACE, E_LEDGER_DENIED, E_LEDGER_CORRUPT,
            E_LEDGER_NEWER, E_LEDGER_OLDER.
        OutageError: `ledger`.
    """
    with _os_errors(path, "read"):
        _require(path)
        if not may_read(path):
            raise _denied(path, "read")
        _check_journal(_real(path))
    engine = reading_engine(path, busy_timeout_s=busy_timeout_s)
    try:
        with mapped(path, is_reader=True):
            migrate.check_current(engine, path)
    except BaseException:
        engine.dispose()
        raise
    return LedgerReader(engine, path)


def _check_journal(path: Path) -> None:
    """Roll back what a killed writer left, where this user may; SQLite's readers may not.

    Raises:
        ConfigurationError: E_LEDGER_DENIED: the journal cannot be read, so SQLite would take it
            for one that must be rolled back.
    """
    journal = _journal_of(path)
    if not journal.exists():
        return
    if not may_read(journal):
        raise _denied(journal, "read")
    refused = distrust(journal, {0, path.stat().st_uid})
    if refused is not None:
        message, hint = refused
        raise ConfigurationError("E_CFG_PERMISSIONS", f"the ledger: {message}", hint=hint)
    if journal.stat().st_size and may_write(path):
        with mapped(path, is_reader=True):
            recover(path)  # only a wait for its turn when a writer is at work


def _align_journal(path: Path) -> None:
    """Let whoever may read the ledger read its journal too, after a chmod or chgrp of the ledger.

    SQLite gives its journal the ledger's mode only when it makes the file. Root may do this in a
    directory of the agent's user, who could put another file in the journal's place: only what was
    opened and looked at is changed, and it has no second name.
    """
    ledger = path.stat()
    with (
        contextlib.suppress(FileNotFoundError, PermissionError),  # the owner alone may
        _opened(_journal_of(path), os.O_RDONLY, {0, os.geteuid(), ledger.st_uid}) as journal,
    ):
        found = os.fstat(journal)
        if found.st_nlink > 1:
            return
        if found.st_gid != ledger.st_gid:
            os.fchown(journal, -1, ledger.st_gid)
        if stat.S_IMODE(found.st_mode) != stat.S_IMODE(ledger.st_mode):
            os.fchmod(journal, stat.S_IMODE(ledger.st_mode))


def _journal_of(path: Path) -> Path:
    return Path(f"{path}-journal")


@contextmanager
def agent_lock(path: Path) -> Iterator[None]:
    """Hold the ledger for the block; the kernel lets go when the process dies.

    Two locks: on `<ledger>.lock`, which names the holder, and on the ledger's own file, which is
    the same one under each of its names. SQLite's locks are of another kind (fcntl), and closing
    the file would drop those of this process: close the ledger before the block ends.

    Raises:
        ConfigurationError: E_CFG_PERMISSIONS, others may change a file that is relied on.
        LedgerLocked: E_LEDGER_IN_USE, another process holds it.
    """
    with ExitStack() as held:
        with _os_errors(path, "written"):
            check_trust(path, is_agent=True)
            real = _real(path)
            real.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            named = held.enter_context(_opened(Path(f"{real}.lock"), os.O_RDWR | os.O_CREAT))
            if not _is_locked(named):
                holder = os.read(named, 32).decode("ascii", "replace").strip() or "unknown"
                raise _in_use(path, f"the agent with pid {holder}")
            os.ftruncate(named, 0)
            os.pwrite(named, b"%d\n" % os.getpid(), 0)
            is_new = not real.exists()
            _create(real)
            file = held.enter_context(_opened(real, os.O_RDONLY))
            if not _is_locked(file):
                raise _in_use(
                    path, f"another agent under another name of the same file ({_holder(file)})"
                )
        try:
            yield
        finally:
            if is_new and os.fstat(file).st_size == 0:
                real.unlink()  # the start failed before there was a ledger


def check_trust(path: Path, *, is_agent: bool) -> None:
    """Refuse a ledger, or a file beside it, that others may change.

    Nobody but its owner may write it, not even a group: who may read a ledger by its group would
    otherwise decide what was copied.

    Args:
        is_agent: The owner must be root or this process's user. Else it may also be the owner of
            the directory, for commands that root runs on a service's ledger, and for readers.

    Raises:
        ConfigurationError: E_CFG_PERMISSIONS, and what `_check_place` refuses.
    """
    _check_place(path)
    real = _real(path)
    owners = {0, os.geteuid()}
    if not is_agent and real.exists() and not real.parent.stat().st_mode & stat.S_IWOTH:
        owners.add(real.parent.stat().st_uid)
    refused = link_of_others(path, owners)
    for name in ("", *BESIDE):
        refused = refused or distrust(real.with_name(f"{real.name}{name}"), owners)
    if refused is not None:
        message, hint = refused
        raise ConfigurationError("E_CFG_PERMISSIONS", f"the ledger: {message}", hint=hint)


@contextmanager
def _opened(path: Path, flags: int, owners: Collection[int] = ()) -> Iterator[int]:
    """A file of the ledger's own, checked once more on its descriptor, which cannot be replaced."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    try:
        refused = distrust_of(os.fstat(descriptor), path, owners or {0, os.geteuid()})
        if refused is not None:
            message, hint = refused
            raise ConfigurationError("E_CFG_PERMISSIONS", f"the ledger: {message}", hint=hint)
        yield descriptor
    finally:
        os.close(descriptor)


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _in_use(path: Path, by: str) -> LedgerLocked:
    return LedgerLocked(
        "E_LEDGER_IN_USE",
        f"{path} is in use by {by}",
        hint="stop that agent; or use another queue and other destinations as well: two ledgers "
        "must not share them",
    )


def _holder(descriptor: int) -> str:
    """`pid 4711`, from the kernel's list of locks (proc_locks(5)); for people."""
    found = os.fstat(descriptor)
    device = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    with contextlib.suppress(OSError):
        for line in Path("/proc/locks").read_text("ascii", "replace").splitlines():
            fields = line.split()
            if fields[1:2] == ["FLOCK"] and device in fields:
                return f"pid {fields[4]}"
    return "pid unknown"


def _real(path: Path) -> Path:
    """The file itself, where `path` is a link to it: SQLite keeps its journal beside that."""
    return Path(os.path.realpath(path))


def _create(path: Path) -> None:
    if path.exists():
        return
    is_new_directory = not path.parent.exists()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    mode = 0o640 if _is_for_its_group(path.parent) else 0o600
    _create_one(path, mode)
    _sync_directory(path.parent)
    if is_new_directory:
        _sync_directory(path.parent.parent)


def _create_one(path: Path, mode: int) -> None:
    """A new, empty file; one that another process made meanwhile stays."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, flags, mode))


def _is_for_its_group(directory: Path) -> bool:
    """Its group may list and enter it, others may not: `install -d -m 0750`."""
    mode = directory.stat().st_mode
    return mode & stat.S_IRWXG == stat.S_IRGRP | stat.S_IXGRP and not mode & stat.S_IRWXO


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_place(path: Path) -> None:
    """Refuse a path at which no ledger can ever be.

    Raises:
        ConfigurationError: E_LEDGER_MISSING: a directory. E_LEDGER_PLACE: below a file; a device
            or the like.
    """
    real = _real(path)
    for above in reversed(real.parents):
        if is_there(above) and not above.is_dir():
            raise _no_place(path, f"{above} is no directory")
    if real.is_dir():
        raise ConfigurationError(
            "E_LEDGER_MISSING",
            f"{path} is a directory",
            hint=f"name the file in it: {path / 'ledger.db'}",
        )
    if is_there(real) and not real.is_file():
        raise _no_place(path, f"{real} is {kind_of(real.stat().st_mode)}")


def _no_place(path: Path, why: str) -> ConfigurationError:
    return ConfigurationError(
        "E_LEDGER_PLACE",
        f"no ledger can be at {path}: {why}",
        hint="name a regular file on a local disk in the setting `ledger`",
    )


def _require(path: Path) -> None:
    _check_place(path)
    if not path.exists():
        raise ConfigurationError(
            "E_LEDGER_MISSING",
            f"{path} does not exist",
            hint="the agent makes it at its first start; check the ledger path in the settings",
        )


def _denied(path: Path, verb: str) -> ConfigurationError:
    message, hint = refusal(path, verb)
    return ConfigurationError("E_LEDGER_DENIED", message, hint=hint)


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
def _os_errors(path: Path, verb: str) -> Iterator[None]:
    try:
        yield
    except PermissionError as exc:
        raise _denied(Path(exc.filename) if exc.filename else path, verb) from exc
    except OSError as exc:
        if exc.errno in _OF_THE_PATH:
            raise _no_place(path, f"{exc.filename or path}: {exc.strerror}") from exc
        raise OutageError.of(
            "ledger",
            "E_LEDGER_IO",
            f"{path}: {exc.strerror}",
            hint="the ledger needs a directory on a healthy local disk; see the setting `ledger`",
        ) from exc
