"""A small file beside the ledger, shared by processes and users, and trusted only from some owners.

The file belongs to this user, to root or to the ledger's owner, no other user may write it, and no
link is followed to it. A new content replaces the whole file at once.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from backhaul.access import distrust, distrust_of, link_of_others
from backhaul.core.errors import ConfigurationError

# Reading damaged or hand-edited JSON.
DAMAGED = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)

Content = TypeVar("Content")


class SharedFile:
    """`LEDGER.suffix`.

    Raises (any method):
        ConfigurationError: E_CFG_PERMISSIONS: another user could have written it.
        OSError: As the system raises it.
    """

    def __init__(self, ledger: Path, suffix: str) -> None:
        self._named = ledger
        self._ledger = Path(os.path.realpath(ledger))  # one set of files, whatever link names it
        self.path = self._ledger.with_name(f"{self._ledger.name}.{suffix}")

    def check_trusted(self) -> None:
        """Refuse the file, or a link on the way to the ledger, that another user made."""
        owners = self._owners()
        _refuse(link_of_others(self._named, owners) or distrust(self.path, owners))

    def open(self, flags: int) -> int:
        """A descriptor, which the caller closes."""
        flags |= os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(self.path, flags, 0o600)
        try:
            _refuse(distrust_of(os.fstat(descriptor), self.path, self._owners()))
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def read(self) -> str:
        """The whole content."""
        with open(self.open(os.O_RDONLY), encoding="utf-8") as file:  # noqa: PTH123
            return file.read()

    def replace(self, content: str, *, for_owner: bool = False) -> None:
        """Write the file anew and sync it.

        Root may do this in a directory of the agent's user, who may put links there and swap the
        directory itself. So the new file has a name that cannot be guessed, it is created only
        where nothing is, and its directory is opened once.

        Args:
            for_owner: It belongs to the directory's owner also when root writes it, and only the
                owner's group may read it. Otherwise the umask decides who may read it.
        """
        fresh = f"{self.path.name}.{secrets.token_hex(8)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        directory = os.open(self.path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            descriptor = os.open(fresh, flags, 0o600 if for_owner else 0o644, dir_fd=directory)
            try:
                with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123
                    file.write(content)
                    file.flush()
                    if for_owner:
                        _give_to_owner_of(directory, descriptor)
                    os.fsync(descriptor)
                os.replace(fresh, self.path.name, src_dir_fd=directory, dst_dir_fd=directory)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(fresh, dir_fd=directory)
                raise
        finally:
            os.close(directory)

    def _owners(self) -> set[int]:
        """Users who may own it; before there is a ledger, also the owner of its directory."""
        owners = {0, os.geteuid()}
        with contextlib.suppress(OSError):
            place = self._ledger if self._ledger.exists() else self._ledger.parent
            owners.add(place.stat().st_uid)
        return owners


class Watched(Generic[Content]):
    """What a file holds, read again only when the file has changed; for all threads.

    Args:
        read: What it raises leaves the content that was read before.
    """

    def __init__(self, path: Path, read: Callable[[], Content]) -> None:
        self._path = path
        self._read = read
        self._version: object = ()
        self._content: Content

    def get(self) -> Content:
        """Raises what `read` raises."""
        version = self._current_version()
        if version != self._version:
            # In this order: another thread that calls this meanwhile reads the file itself.
            self._content, self._version = self._read(), version
        return self._content

    def _current_version(self) -> object:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns


def _give_to_owner_of(directory: int, descriptor: int) -> None:
    if os.geteuid() == 0:
        owner = os.fstat(directory)
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    os.fchmod(descriptor, 0o640)  # whatever root's umask


def _refuse(refused: tuple[str, str] | None) -> None:
    if refused is not None:
        message, hint = refused
        raise ConfigurationError("E_CFG_PERMISSIONS", message, hint=hint)
