"""Errno of a mounted file system to what happens next; the words are the operator's."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

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

_SHOWN = 4096  # characters of a path


def translate(error: OSError, path: str) -> BackhaulError:
    """What to raise instead of `error`, which met this absolute path."""
    number = error.errno or 0
    if number == errno.ELOOP:
        return link_on_the_way(path)
    if isinstance(error, NoHardLinks):
        return _no_links(f"file://{path}")
    return _KINDS.get(number, _other)(f"file://{path}: {error.strerror}")


def _missing(where: str) -> BackhaulError:
    return TargetMissing("E_DST_MISSING", where)


def _exists(where: str) -> BackhaulError:
    return TargetExists("E_DST_EXISTS", where, hint="remove it or choose another directory")


def _no_directory(where: str) -> BackhaulError:
    return CannotWrite("E_DST_PARENT_FILE", where, hint="a file stands where a directory is needed")


def _denied(where: str) -> BackhaulError:
    return CannotWrite("E_DST_DENIED", where, hint="let the agent's user write to this directory")


def _read_only(where: str) -> BackhaulError:
    return CannotWrite("E_DST_READONLY", where, hint="mount the file system read-write")


def _full(where: str) -> BackhaulError:
    return OutageError.of(
        "target", "E_DST_FULL", where, hint="free space; the transfer waits and goes on"
    )


def _no_links(where: str) -> BackhaulError:
    return CannotWrite(
        "E_DST_NO_LINKS",
        f"{where}: this file system has no hard links, and no rename that replaces nothing: a "
        "file cannot be published there unless it may replace another",
        hint='on_exists = "replace" on the route; or a destination that does not exist yet, which '
        "a prefix is published to in one rename",
    )


def _too_long(where: str) -> BackhaulError:
    return PermanentError("E_DST_LIMIT", where, hint="shorten the name")


def _two_mounts(where: str) -> BackhaulError:
    return CannotWrite(
        "E_DST_MOUNT",
        where,
        hint="staging and destination must be on one file system: end the route's "
        "destination below the mount point",
    )


def _away(where: str) -> BackhaulError:
    return OutageError.of(
        "target",
        "E_DST_AWAY",
        where,
        hint="look at the mount and its server; the transfer waits and goes on",
    )


def _other(where: str) -> BackhaulError:
    return TransientError("E_DST_IO", where)


_KINDS: dict[int, Callable[[str], BackhaulError]] = {
    errno.ENOENT: _missing,
    errno.EEXIST: _exists,
    errno.ENOTEMPTY: _exists,
    errno.EISDIR: _exists,
    errno.ENOTDIR: _no_directory,
    errno.EACCES: _denied,
    errno.EPERM: _denied,
    errno.EROFS: _read_only,
    errno.ENOSPC: _full,
    errno.EDQUOT: _full,
    errno.ENAMETOOLONG: _too_long,
    errno.EXDEV: _two_mounts,
    errno.ESTALE: _away,  # of NFS: the server forgot the handle
    errno.ENOTCONN: _away,  # of FUSE: its process is gone
    errno.ETIMEDOUT: _away,
    errno.EHOSTDOWN: _away,
    errno.EHOSTUNREACH: _away,
}


def link_on_the_way(path: str) -> CannotWrite:
    """A component of `path` is a symbolic link; the first one is named, with where it leads."""
    return CannotWrite(
        "E_DST_MOUNT",
        f"file://{path} is a way to file://{printable(_behind(path), _SHOWN)}: a symbolic link "
        f"leads out of it, {_first_link(path)}",
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


def _behind(path: str) -> str:
    try:
        return os.path.realpath(path)
    except OSError:
        return "?"
