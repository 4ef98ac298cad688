"""The file system of `ports.TargetFs` that is mounted on this node.

A file is fsynced before it counts, its directory before and after the rename that publishes it.
Every operation walks from `/` to its directory without following a link (`walk`) and does the rest
relative to that descriptor, so nothing is written, renamed or removed through a path that was
swapped meanwhile.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import stat
from collections.abc import Iterator, Sequence

from backhaul.access import described, user_name
from backhaul.adapters.local import renaming
from backhaul.adapters.local.faults import (
    Translated,
    file_for_directory,
    symbolic_link_in,
    translate,
)
from backhaul.adapters.local.inheritance import inherited_from
from backhaul.adapters.local.removal import remove_entry
from backhaul.adapters.local.staging import STAGING, Ownership, mode_of
from backhaul.adapters.local.walk import LIST, SEARCH, Descriptor, Walker, components
from backhaul.core.errors import TransientError
from backhaul.core.objects import FileStatus
from backhaul.core.ports import Entry, Inherited, StoredChecksum, WriteRefusal
from backhaul.core.transfer.write_access import file_in_the_way

READ_BYTES = 1 << 20
# Between two syncs of a file, so that the last one is short: a worker without progress is killed.
SYNC_BYTES = 256 << 20
MKDIRS_TRIES = 5
_CREATE = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a FIFO must not wait for its writer.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class LocalTarget:
    """`file://`; implements `ports.TargetFs`.

    Args:
        walker: Opens directories; default as the kernel allows.
    """

    keeps_checksums = False

    def __init__(self, walker: Walker | None = None) -> None:
        self._walker = walker or Walker()
        self._ownership = Ownership()

    def stored_checksums(self, paths: Sequence[str]) -> list[StoredChecksum | None]:
        """Sizes without checksums: a mounted file has to be read."""
        found = [self.status(path) for path in paths]
        return [
            None
            if one is None or not one.is_file
            else StoredChecksum(
                size_bytes=one.size_bytes,
                modified_ms=one.modified_ms,
                why="a mounted file system keeps no checksums",
            )
            for one in found
        ]

    def check_reachable(self) -> None:
        """Does nothing: a mount answers or hangs, as the first real call shows."""

    def write_refusal(self, path: str) -> WriteRefusal | None:
        """By mode, ACL and mount, for the effective user."""
        with Translated(path), self._directory(path) as directory:
            return _refusal(directory, path)

    def status(self, path: str) -> FileStatus | None:
        """Of the entry itself: no link is followed."""
        try:
            with self._entry(path) as (directory, name):
                found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise translate(error, path) from error
        return _file_status(found)

    def check_place(self, path: str) -> None:
        """Refuse a path with a symbolic link: a second name of a directory gets a second owner."""
        with Translated(path), self._entry(path) as (directory, name):
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if stat.S_ISLNK(found.st_mode):
            raise symbolic_link_in(path)

    def names(self, path: str) -> list[str]:
        return [one.name for one in self.entries(path)]

    def entries(self, path: str) -> list[Entry]:
        try:
            with self._directory(path, LIST) as directory, os.scandir(directory) as found:
                return [
                    Entry(name=one.name, is_directory=one.is_dir(follow_symlinks=False))
                    for one in found
                ]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise translate(error, path) from error

    def statuses(self, path: str) -> Iterator[tuple[str, FileStatus]]:
        try:
            with self._directory(path, LIST) as directory, os.scandir(directory) as found:
                for one in found:
                    try:
                        yield one.name, _file_status(one.stat(follow_symlinks=False))
                    except FileNotFoundError:
                        continue  # removed meanwhile
        except FileNotFoundError:
            return
        except OSError as error:
            raise translate(error, path) from error

    def create(self, path: str, size_bytes: int) -> LocalWriter:
        del size_bytes
        with Translated(path), self._entry(path) as (directory, name):
            return LocalWriter(path, os.open(name, _CREATE, 0o666, dir_fd=directory))

    def correct_mode(self, path: str) -> None:
        """Does nothing: no other client writes here."""

    def read(self, path: str) -> Iterator[bytes]:
        with Translated(path):
            with self._entry(path) as (directory, name):
                handle = os.open(name, _READ, dir_fd=directory)
            with open(handle, "rb", buffering=0) as file:  # noqa: PTH123 - a descriptor
                if not stat.S_ISREG(os.fstat(handle).st_mode):
                    raise TransientError("E_DST_IO", f"file://{path} is no regular file")
                # Read from the disk, or from the server of a network mount: what was just written
                # is still in this node's memory.
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
                while data := file.read(READ_BYTES):
                    yield data

    def mkdir(self, path: str) -> None:
        with Translated(path):
            self._mkdir(path)

    def mkdirs(self, path: str) -> None:
        with Translated(path):
            for tries_left in reversed(range(MKDIRS_TRIES)):
                try:
                    self._mkdirs(path)
                except FileNotFoundError:
                    # Another transfer removed an empty `.backhaul` between two of our mkdirs.
                    if not tries_left:
                        raise
                else:
                    return

    def rename(self, source: str, target: str, *, replace: bool) -> None:
        try:
            with self._entry(source) as (from_dir, name), self._entry(target) as (to_dir, final):
                renaming.rename(from_dir, name, to_dir, final, replace=replace)
        except OSError as error:
            raise translate(error, target if os.path.lexists(source) else source) from error

    def remove(self, path: str) -> None:
        gone = contextlib.suppress(FileNotFoundError)
        with Translated(path), gone, self._entry(path) as (directory, name):
            remove_entry(directory, name)

    def remove_empty(self, path: str) -> None:
        with contextlib.suppress(OSError), self._entry(path) as (directory, name):
            os.rmdir(name, dir_fd=directory)

    def sync_directory(self, path: str) -> None:
        with Translated(path), self._directory(path, LIST) as directory:
            try:
                os.fsync(directory)
            except OSError as error:
                if error.errno != errno.EINVAL:  # some network file systems sync no directories
                    raise

    def inherited(self, paths: Sequence[str]) -> list[Inherited | None]:
        return [self._inherited(path) for path in paths]

    def _inherited(self, path: str) -> Inherited | None:
        try:
            with self._directory(path) as directory:
                refused = _refusal(directory, path)
                return dataclasses.replace(inherited_from(directory), refused=refused)
        except FileNotFoundError:
            return None
        except NotADirectoryError as error:
            raise file_in_the_way(f"file://{path}") from error
        except OSError as error:
            raise translate(error, path) from error

    def set_policies(self, path: str, wanted: Inherited) -> None:
        """Does nothing: a mounted file system has none."""

    # ------------------------------------------------------------ walking

    def _entry(self, path: str) -> _Entry:
        """The open directory that has the path's last name, and that name."""
        above, _, name = path.rpartition("/")
        if name in {"", ".", ".."} or "\0" in name:
            components(path)  # refuses all but the root
            name = "."
        return _Entry(self._open(above or "/", SEARCH), name)

    def _directory(self, path: str, flags: int = SEARCH) -> Descriptor:
        return Descriptor(self._open(path, flags))

    def _open(self, path: str, flags: int) -> int:
        """Open a directory; those of staging must be our own.

        `.backhaul` is always checked. A directory in it can be another user's only where a group
        may write it, so a destination's is checked where epochs are listed, made and removed.
        """
        if STAGING not in path:
            return self._walker.open(path, flags)
        above, found, below = f"{path}/".partition(f"/{STAGING}/")
        if not found:
            return self._walker.open(path, flags)
        components(path)
        staging, rest = f"{above}/{STAGING}", below.split("/")[:-1]
        here = self._walker.open(staging, SEARCH if rest else flags)
        try:
            self._check_ours(here, staging, above)
            if not rest:
                return here
            descriptor = self._walker.below(here, rest, flags)
        except BaseException:
            os.close(here)
            raise
        os.close(here)
        if len(rest) > 1:
            return descriptor
        try:
            self._check_ours(descriptor, path, above)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _check_ours(self, directory: int, path: str, above: str) -> None:
        self._ownership.check(directory, path, lambda: self._walker.opened(above or "/"))

    def _mkdir(self, path: str) -> None:
        parts = components(path)
        with self._entry(path) as (directory, name):
            try:
                os.mkdir(name, mode_of(parts), dir_fd=directory)
            except FileExistsError:
                mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
                if stat.S_ISLNK(mode):
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from None
                if not stat.S_ISDIR(mode):
                    raise

    def _mkdirs(self, path: str) -> None:
        missing: list[str] = []
        while True:
            try:
                os.close(self._open(path, SEARCH))
            except FileNotFoundError:
                missing.append(path)
                path = path.rpartition("/")[0] or "/"
            else:
                break
        for one in reversed(missing):
            try:
                self._mkdir(one)
            except FileExistsError as error:
                raise file_for_directory(one) from error


class _Entry:
    """A name in an open directory, which is closed after the block."""

    __slots__ = ("_directory", "_name")

    def __init__(self, directory: int, name: str) -> None:
        self._directory = directory
        self._name = name

    def __enter__(self) -> tuple[int, str]:
        return self._directory, self._name

    def __exit__(self, *_: object) -> None:
        os.close(self._directory)


def _refusal(directory: int, path: str) -> WriteRefusal | None:
    here = f"/proc/self/fd/{directory}"
    if os.access(here, os.W_OK | os.X_OK, effective_ids=True):
        return None
    is_readonly = bool(os.statvfs(here).f_flag & os.ST_RDONLY)
    why = "the file system is mounted read-only" if is_readonly else described(path)
    return WriteRefusal(user=user_name(), why=why, is_readonly=is_readonly)


def _file_status(found: os.stat_result) -> FileStatus:
    is_directory = stat.S_ISDIR(found.st_mode)
    return FileStatus(
        is_directory=is_directory,
        size_bytes=found.st_size,
        modified_ms=found.st_mtime_ns // 1_000_000,
        is_special=not is_directory and not stat.S_ISREG(found.st_mode),
    )


class LocalWriter:
    """An open file; implements `ports.TargetWriter`."""

    def __init__(self, path: str, handle: int) -> None:
        self._path = path
        self._handle = handle
        self._unsynced_bytes = 0

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        with Translated(self._path):
            while view:
                view = view[os.write(self._handle, view) :]
            self._unsynced_bytes += len(data)
            if self._unsynced_bytes >= SYNC_BYTES:
                os.fdatasync(self._handle)
                self._unsynced_bytes = 0

    def close(self) -> None:
        handle, self._handle = self._handle, -1
        if handle < 0:
            return
        try:
            with Translated(self._path):
                os.fsync(handle)
        finally:
            os.close(handle)

    def __del__(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
