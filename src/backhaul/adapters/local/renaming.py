"""Renaming a file or directory relative to open directories, without replacing another.

Source: rename(2), link(2).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
from functools import cache
from typing import Any

NOREPLACE = 1  # RENAME_NOREPLACE
# The kernel, the C library or the file system has no such rename: NFS, some FUSE file systems.
_HAS_NONE = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
_HAS_NO_LINKS = frozenset({errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK})


class NoHardLinks(OSError):
    """This file system can neither rename nor link a file without replacing another."""


def rename(from_dir: int, name: str, to_dir: int, final: str, *, replace: bool) -> None:
    """Move a regular file or a directory; `from_dir` and `to_dir` are descriptors.

    Raises:
        NoHardLinks: The file system can do it only with `replace`.
        OSError: EEXIST, ELOOP for a link, and whatever rename(2) raises.
    """
    mode = os.stat(name, dir_fd=from_dir, follow_symlinks=False).st_mode
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        # It was swapped: what is published was written as a file or directory.
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    if replace:
        os.replace(name, final, src_dir_fd=from_dir, dst_dir_fd=to_dir)
    elif not rename_exclusively(from_dir, name, to_dir, final):
        move = _move_directory if stat.S_ISDIR(mode) else _move_file
        move(from_dir, name, to_dir, final)


def rename_exclusively(from_dir: int, name: str, to_dir: int, final: str) -> bool:
    """Rename in one call that never replaces; False where this system has none."""
    call = _renameat2()
    if call is None:
        return False
    if call(from_dir, os.fsencode(name), to_dir, os.fsencode(final), NOREPLACE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _HAS_NONE:
        return False
    raise OSError(number, os.strerror(number))


@cache
def _renameat2() -> Any:
    """The C library's function; None before glibc 2.28."""
    return getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)


def _move_directory(from_dir: int, name: str, to_dir: int, final: str) -> None:
    # rename(2) replaces an empty directory.
    with contextlib.suppress(FileNotFoundError):
        os.stat(final, dir_fd=to_dir, follow_symlinks=False)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    os.rename(name, final, src_dir_fd=from_dir, dst_dir_fd=to_dir)


def _move_file(from_dir: int, name: str, to_dir: int, final: str) -> None:
    try:
        os.link(name, final, src_dir_fd=from_dir, dst_dir_fd=to_dir, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _HAS_NO_LINKS:
            raise
        raise NoHardLinks(error.errno, error.strerror) from error
    os.unlink(name, dir_fd=from_dir)
