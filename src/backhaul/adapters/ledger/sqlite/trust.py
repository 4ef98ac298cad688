"""Which file can be a ledger: at a possible path, and changed by its owner alone."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from backhaul.access import distrust, distrust_of, is_there, kind_of, link_of_others, refusal
from backhaul.core.errors import ConfigurationError, OutageError

# Files beside the ledger: SQLite's own, then the agent's lock and the byte-rate governor's.
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


def check_trust(path: Path, *, is_agent: bool) -> None:
    """Refuse a ledger, or a file beside it, that others may change.

    Only its owner may write it, not even a group: a user who may read a ledger by its group would
    otherwise decide what was copied.

    Args:
        is_agent: The owner must be root or this process's user. Else it may also be the owner of
            the directory, for commands that root runs on a service's ledger, and for readers.

    Raises:
        ConfigurationError: E_CFG_PERMISSIONS, and what `check_place` refuses.
    """
    check_place(path)
    real = real_path(path)
    owners = {0, os.geteuid()}
    if not is_agent and real.exists() and not real.parent.stat().st_mode & stat.S_IWOTH:
        owners.add(real.parent.stat().st_uid)
    refuse(link_of_others(path, owners))
    for name in ("", *BESIDE):
        refuse(distrust(real.with_name(f"{real.name}{name}"), owners))


def refuse(found: tuple[str, str] | None) -> None:
    """Raise what `access.distrust` found.

    Raises:
        ConfigurationError: E_CFG_PERMISSIONS.
    """
    if found is not None:
        message, hint = found
        raise ConfigurationError("E_CFG_PERMISSIONS", f"the ledger: {message}", hint=hint)


@contextmanager
def opened(path: Path, flags: int, owners: Collection[int] = ()) -> Iterator[int]:
    """A file of the ledger's own, checked once more on its descriptor, which cannot be replaced."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    try:
        refuse(distrust_of(os.fstat(descriptor), path, owners or {0, os.geteuid()}))
        yield descriptor
    finally:
        os.close(descriptor)


def real_path(path: Path) -> Path:
    """The file itself, where `path` is a link to it: SQLite keeps its journal beside that."""
    return Path(os.path.realpath(path))


def make_ledger_file(path: Path) -> None:
    """A new, empty file with its directory; one that exists stays as it is."""
    if path.exists():
        return
    is_new_directory = not path.parent.exists()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    mode = 0o640 if _is_for_its_group(path.parent) else 0o600
    make_empty(path, mode)
    _sync_directory(path.parent)
    if is_new_directory:
        _sync_directory(path.parent.parent)


def make_empty(path: Path, mode: int) -> None:
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


def check_place(path: Path) -> None:
    """Refuse a path at which no ledger can ever be.

    Raises:
        ConfigurationError: E_LEDGER_MISSING: a directory. E_LEDGER_PLACE: below a file; a device
            or the like.
    """
    real = real_path(path)
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


def require(path: Path) -> None:
    """The file has to exist.

    Raises:
        ConfigurationError: E_LEDGER_MISSING, and what `check_place` refuses.
    """
    check_place(path)
    if not path.exists():
        raise ConfigurationError(
            "E_LEDGER_MISSING",
            f"{path} does not exist",
            hint="the agent makes it at its first start; check the ledger path in the settings",
        )


def denied(path: Path, verb: str) -> ConfigurationError:
    """This user may not read or write it; the hint names what is in the way."""
    message, hint = refusal(path, verb)
    return ConfigurationError("E_LEDGER_DENIED", message, hint=hint)


@contextmanager
def os_errors(path: Path, verb: str) -> Iterator[None]:
    """No OSError leaves the block.

    Args:
        verb: `read` or `written`: what was to be done with the file.
    """
    try:
        yield
    except PermissionError as exc:
        raise denied(Path(exc.filename) if exc.filename else path, verb) from exc
    except OSError as exc:
        if exc.errno in _OF_THE_PATH:
            raise _no_place(path, f"{exc.filename or path}: {exc.strerror}") from exc
        raise OutageError.of(
            "ledger",
            "E_LEDGER_IO",
            f"{path}: {exc.strerror}",
            hint="the ledger needs a directory on a healthy local disk; see the setting `ledger`",
        ) from exc
