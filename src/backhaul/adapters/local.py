"""A mounted file system as target: laptops, demos, NFS landing zones.

Durable in the order that matters: a file is fsynced before it counts, its directory before and
after the rename that publishes it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from backhaul.core.errors import (
    BackhaulError,
    CannotWrite,
    OutageError,
    PermanentError,
    TargetExists,
    TargetMissing,
    TransientError,
)
from backhaul.core.model import FileStatus
from backhaul.core.ports import Entry, Held

READ_BYTES = 1 << 20
# On the way, so that the last fsync stays short: a worker that seems to do nothing is killed.
SYNC_BYTES = 256 << 20
MKDIRS_TRIES = 5


class LocalTarget:
    """`file://`; implements `ports.TargetFs`."""

    keeps_checksums = False

    def held(self, paths: Sequence[str]) -> list[Held | None]:
        """Nothing: what a mounted file holds is known by reading it."""
        found = [self.status(path) for path in paths]
        return [
            None
            if one is None or one.is_directory
            else Held(
                size_bytes=one.size_bytes,
                modified_ms=one.modified_ms,
                why="a mounted file system keeps no checksums",
            )
            for one in found
        ]

    def check_reachable(self) -> None:
        """A mount answers or hangs; the first real call shows it."""

    def status(self, path: str) -> FileStatus | None:
        try:
            found = os.stat(path)  # noqa: PTH116 - paths are plain strings here
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _translate(error, path) from error
        return FileStatus(
            is_directory=stat.S_ISDIR(found.st_mode),
            size_bytes=found.st_size,
            modified_ms=found.st_mtime_ns // 1_000_000,
        )

    def check_place(self, path: str) -> None:
        """Refuse a directory that a symbolic link puts somewhere else than its name says."""
        real = os.path.realpath(path)
        if real != path:
            raise CannotWrite(
                "E_DST_MOUNT",
                f"file://{path} is a way to file://{real}: a symbolic link leads out of it",
                hint="name the real directory, in the route and in the message",
            )

    def names(self, path: str) -> list[str]:
        try:
            return os.listdir(path)  # noqa: PTH208 - names, not paths
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _translate(error, path) from error

    def entries(self, path: str) -> list[Entry]:
        try:
            with os.scandir(path) as found:
                return [
                    Entry(name=one.name, is_directory=one.is_dir(follow_symlinks=False))
                    for one in found
                ]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _translate(error, path) from error

    def create(self, path: str, size_bytes: int) -> LocalWriter:
        del size_bytes
        try:
            return LocalWriter(path, os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except OSError as error:
            raise _translate(error, path) from error

    def read(self, path: str) -> Iterator[bytes]:
        try:
            with Path(path).open("rb", buffering=0) as file:
                # What was just written is still in this node's memory, and would say nothing of
                # the disk, or of the server of a network mount.
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                while data := file.read(READ_BYTES):
                    yield data
        except OSError as error:
            raise _translate(error, path) from error

    def mkdir(self, path: str) -> None:
        try:
            os.mkdir(path)  # noqa: PTH102
        except FileExistsError as error:
            if not os.path.isdir(path):  # noqa: PTH112
                raise _translate(error, path) from error
        except OSError as error:
            raise _translate(error, path) from error

    def mkdirs(self, path: str) -> None:
        for turn in range(MKDIRS_TRIES):
            try:
                os.makedirs(path, exist_ok=True)  # noqa: PTH103
            except FileNotFoundError as error:
                # Another transfer removed an empty `.backhaul` between two of our mkdirs.
                if turn == MKDIRS_TRIES - 1:
                    raise _translate(error, path) from error
            except FileExistsError as error:
                raise CannotWrite(
                    "E_DST_PARENT_FILE",
                    f"file://{path}: a file stands where a directory is needed",
                    hint="remove the file or choose another destination",
                ) from error
            except OSError as error:
                raise _translate(error, path) from error
            else:
                return

    def rename(self, source: str, target: str, *, replace: bool) -> None:
        try:
            if replace:
                os.replace(source, target)  # noqa: PTH105
            elif os.path.isdir(source):  # noqa: PTH112
                # POSIX would put it in an empty directory's place.
                if os.path.lexists(target):
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
                os.rename(source, target)  # noqa: PTH104
            else:
                # link + unlink is the portable rename that never replaces.
                os.link(source, target)
                os.unlink(source)  # noqa: PTH108
        except OSError as error:
            raise _translate(error, target if os.path.lexists(source) else source) from error

    def remove(self, path: str) -> None:
        try:
            if os.path.isdir(path) and not os.path.islink(path):  # noqa: PTH112, PTH114
                shutil.rmtree(path)
            else:
                os.unlink(path)  # noqa: PTH108
        except FileNotFoundError:
            return
        except OSError as error:
            raise _translate(error, path) from error

    def remove_empty(self, path: str) -> None:
        with contextlib.suppress(OSError):
            os.rmdir(path)  # noqa: PTH106

    def sync_directory(self, path: str) -> None:
        try:
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise _translate(error, path) from error
        try:
            os.fsync(handle)
        except OSError as error:
            if error.errno != errno.EINVAL:  # some network file systems cannot sync directories
                raise _translate(error, path) from error
        finally:
            os.close(handle)


class LocalWriter:
    """An open file; implements `ports.TargetWriter`."""

    def __init__(self, path: str, handle: int) -> None:
        self._path = path
        self._handle = handle
        self._unsynced_bytes = 0

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._handle, view) :]
            self._unsynced_bytes += len(data)
            if self._unsynced_bytes >= SYNC_BYTES:
                os.fdatasync(self._handle)
                self._unsynced_bytes = 0
        except OSError as error:
            raise _translate(error, self._path) from error

    def close(self) -> None:
        handle, self._handle = self._handle, -1
        if handle < 0:
            return
        try:
            os.fsync(handle)
        except OSError as error:
            raise _translate(error, self._path) from error
        finally:
            os.close(handle)

    def __del__(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)


def _translate(error: OSError, path: str) -> BackhaulError:
    """Errno to what happens next; the words are the operator's."""
    where = f"file://{path}: {error.strerror}"
    match error.errno:
        case errno.ENOENT:
            return TargetMissing("E_DST_MISSING", where)
        case errno.EEXIST | errno.ENOTEMPTY | errno.EISDIR:
            return TargetExists("E_DST_EXISTS", where, hint="remove it or choose another directory")
        case errno.ENOTDIR:
            return CannotWrite(
                "E_DST_PARENT_FILE", where, hint="a file stands where a directory is needed"
            )
        case errno.EACCES | errno.EPERM:
            return CannotWrite(
                "E_DST_DENIED", where, hint="let the agent's user write to this directory"
            )
        case errno.EROFS:
            return CannotWrite("E_DST_READONLY", where, hint="mount the file system read-write")
        case errno.ENOSPC | errno.EDQUOT:
            return OutageError.of(
                "target", "E_DST_FULL", where, hint="free space; the transfer waits and goes on"
            )
        case errno.ENAMETOOLONG:
            return PermanentError("E_DST_LIMIT", where, hint="shorten the name")
        case errno.EXDEV:
            return CannotWrite(
                "E_DST_MOUNT",
                where,
                hint="staging and destination must be on one file system: end the route's "
                "destination below the mount point",
            )
        case _:
            return TransientError("E_DST_IO", where)
