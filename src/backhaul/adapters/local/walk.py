"""Directories of a mounted file system, opened by absolute path without following a link.

A path that is checked first and used afterwards may lead elsewhere in between: a user who may write
above it swaps a directory for a link. Here the kernel checks each component while it walks, and
what follows is done relative to the descriptor of the directory that was reached. Nothing is
cached: a descriptor that outlives its call would still reach staging that was fenced and renamed.

openat2 walks a whole path in one call (Linux 5.6). Without it, or where a seccomp filter refuses
it, each level is opened with O_NOFOLLOW, one call for each.

Source: openat2(2), open(2), path_resolution(7).
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Sequence

from backhaul.core.errors import PermanentError

OPENAT2 = 437  # on every architecture that CPython's wheels are built for
NO_SYMLINKS = 0x02 | 0x04  # RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS
BENEATH = 0x08  # RESOLVE_BENEATH: no `..` and no absolute path leaves the start
AT_FDCWD = -100  # of no effect on an absolute path
PATH_MAX = 4096  # bytes, the NUL at the end included
# O_PATH needs no right to list the directory, and opens no device or FIFO.
SEARCH = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


_NO_NAMES = frozenset({"", ".", ".."})


class _OpenHow(ctypes.Structure):
    """`struct open_how` of <linux/openat2.h>."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


_SIZE = ctypes.sizeof(_OpenHow)


class Descriptor:
    """An open file that is closed after the block; cheaper than a generator."""

    __slots__ = ("_number",)

    def __init__(self, number: int) -> None:
        self._number = number

    def __enter__(self) -> int:
        return self._number

    def __exit__(self, *_: object) -> None:
        os.close(self._number)


class Walker:
    """Opens directories; no component of a path may be a symbolic link.

    Args:
        has_openat2: False walks level by level; None: as this kernel allows.

    Raises (any method):
        OSError: ELOOP for a link on the way or at the end, and whatever open(2) raises.
    """

    def __init__(self, *, has_openat2: bool | None = None) -> None:
        # Declared types, and structures that are made once, halve the cost of a call.
        self._syscall = ctypes.CDLL(None, use_errno=True).syscall
        self._syscall.restype = ctypes.c_long
        number, pointer = ctypes.c_long, ctypes.c_void_p
        self._syscall.argtypes = (number, number, ctypes.c_char_p, pointer, ctypes.c_size_t)
        self._hows: dict[tuple[int, int], _OpenHow] = {}  # few: by flags and resolve
        self.has_openat2 = self._works() if has_openat2 is None else has_openat2

    def opened(self, path: str, flags: int = SEARCH) -> Descriptor:
        """An absolute path's directory, closed after the block."""
        return Descriptor(self.open(path, flags))

    def open(self, path: str, flags: int = SEARCH) -> int:
        """Like `opened`, but the caller closes it."""
        parts = components(path)
        encoded = os.fsencode(path)
        if len(encoded) >= PATH_MAX:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        if self.has_openat2:
            return self._openat2(encoded, flags, NO_SYMLINKS)
        root = os.open("/", SEARCH if parts else flags)
        if not parts:
            return root
        try:
            return self._level_by_level(root, parts, flags)
        finally:
            os.close(root)

    def below(self, start: int, parts: Sequence[str], flags: int = SEARCH) -> int:
        """A directory below an open one; the caller closes it.

        Args:
            parts: Names, at least one, none of them `.` or `..`.
        """
        if self.has_openat2:
            return self._openat2(os.fsencode("/".join(parts)), flags, NO_SYMLINKS | BENEATH, start)
        return self._level_by_level(start, parts, flags)

    def _works(self) -> bool:
        try:
            os.close(self._openat2(b"/", SEARCH, NO_SYMLINKS))
        except OSError:
            return False  # ENOSYS of an old kernel, EPERM of a seccomp filter
        return True

    def _openat2(self, path: bytes, flags: int, resolve: int, start: int = AT_FDCWD) -> int:
        how = self._hows.get((flags, resolve))
        if how is None:
            # Without O_NOFOLLOW a link at the end is ELOOP, as one on the way is.
            how = _OpenHow(flags=flags & ~os.O_NOFOLLOW, mode=0, resolve=resolve)
            self._hows[flags, resolve] = how
        where = ctypes.byref(how)
        while True:
            found: int = self._syscall(OPENAT2, start, path, where, _SIZE)
            if found >= 0:
                return found
            number = ctypes.get_errno()
            if number not in {errno.EINTR, errno.EAGAIN}:
                raise OSError(number, os.strerror(number))

    @staticmethod
    def _level_by_level(start: int, parts: Sequence[str], flags: int) -> int:
        here = start
        try:
            for number, name in enumerate(parts, start=1):
                above = here
                here = _open_level(above, name, flags if number == len(parts) else SEARCH)
                if above != start:
                    os.close(above)
        except BaseException:
            if here != start:
                os.close(here)
            raise
        return here


def components(path: str) -> list[str]:
    """The names of an absolute path.

    Raises:
        PermanentError: E_DST_DOT_SEG: it is relative, or a component is empty, `.` or `..`.
    """
    if path == "/":
        return []
    parts = path.split("/")
    if parts[0] or "\0" in path or not _NO_NAMES.isdisjoint(parts[1:]):
        raise PermanentError("E_DST_DOT_SEG", f"no absolute path in its plain form: {path!r}")
    return parts[1:]


def is_link(directory: int, name: str) -> bool:
    """Whether that entry of an open directory is a symbolic link."""
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _open_level(directory: int, name: str, flags: int) -> int:
    try:
        return os.open(name, flags, dir_fd=directory)
    except NotADirectoryError:
        if is_link(directory, name):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from None
        raise
