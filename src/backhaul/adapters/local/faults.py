"""From the errno of a mounted file system to Backhaul's errors."""

from __future__ import annotations

import errno
import os

from backhaul.adapters.local.renaming import NoHardLinks
from backhaul.core.errors import (
    BackhaulError,
    CannotWrite,
    OutageError,
    PermanentError,
    TargetExists,
    TargetMissing,
    TransientError,
)
from backhaul.core.text import printable

_MAX_SHOWN = 4096  # characters of a path


class Translated:
    """Raises Backhaul's error for an OSError of the block; cheaper than a generator.

    Args:
        path: The absolute path that the block works on.
    """

    __slots__ = ("_path",)

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, OSError):
            raise translate(error, self._path) from error


def translate(error: OSError, path: str) -> BackhaulError:  # noqa: PLR0911 - one table
    """What to raise instead of `error`, which this absolute path met."""
    message = f"file://{path}: {error.strerror}"
    if isinstance(error, NoHardLinks):
        return CannotWrite(
            "E_DST_NO_LINKS",
            f"file://{path}: this file system has no hard links, and no rename that replaces "
            "nothing: a file cannot be published there unless it may replace another",
            hint='on_exists = "replace" on the route; or a destination that does not exist yet, '
            "which a prefix is published to in one rename",
        )
    match error.errno:
        case errno.ELOOP:
            return symbolic_link_in(path)
        case errno.ENOENT:
            return TargetMissing("E_DST_MISSING", message)
        case errno.EEXIST | errno.ENOTEMPTY | errno.EISDIR:
            return TargetExists(
                "E_DST_EXISTS", message, hint="remove it or choose another directory"
            )
        case errno.ENOTDIR:
            return file_for_directory(path)
        case errno.EACCES | errno.EPERM:
            hint = "let the agent's user write to this directory"
            return CannotWrite("E_DST_DENIED", message, hint=hint)
        case errno.EROFS:
            return CannotWrite("E_DST_READONLY", message, hint="mount the file system read-write")
        case errno.ENOSPC | errno.EDQUOT:
            hint = "free space; the transfer waits and continues"
            return OutageError.of("target", "E_DST_FULL", message, hint=hint)
        case errno.ENAMETOOLONG:
            return PermanentError("E_DST_LIMIT", message, hint="shorten the name")
        case errno.EXDEV:
            return CannotWrite(
                "E_DST_MOUNT",
                message,
                hint="staging and destination must be on one file system: end the route's "
                "destination below the mount point",
            )
        # ESTALE: the NFS server has forgotten the handle. ENOTCONN: the FUSE process has ended.
        case errno.ESTALE | errno.ENOTCONN | errno.ETIMEDOUT | errno.EHOSTDOWN | errno.EHOSTUNREACH:
            hint = "check the mount and its server; the transfer waits and continues"
            return OutageError.of("target", "E_DST_AWAY", message, hint=hint)
        case _:
            return TransientError("E_DST_IO", message)


def file_for_directory(path: str) -> CannotWrite:
    """A file has the name of a directory that is needed: of `path` or of one above it."""
    return CannotWrite(
        "E_DST_PARENT_FILE",
        f"file://{path}: a file has the name of a directory that is needed",
        hint="remove the file or choose another destination",
    )


def symbolic_link_in(path: str) -> CannotWrite:
    """A component of `path` is a symbolic link; the first one is named, with its destination."""
    return CannotWrite(
        "E_DST_MOUNT",
        f"file://{path} leads to file://{printable(_resolved(path), _MAX_SHOWN)}: it goes through "
        f"a symbolic link, {_first_link(path)}",
        hint="name the real directory, in the route and in the message; below a route's "
        "directory Backhaul follows no link",
    )


def _first_link(path: str) -> str:
    parts = path.split("/")
    for end in range(2, len(parts) + 1):
        above = "/".join(parts[:end])
        if os.path.islink(above):  # noqa: PTH114 - paths are plain strings here
            return above
    return path  # swapped back meanwhile


def _resolved(path: str) -> str:
    try:
        return os.path.realpath(path)
    except OSError:
        return "?"
