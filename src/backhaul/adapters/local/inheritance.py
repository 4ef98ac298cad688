"""What files inherit from a mounted directory: its group, by the setgid bit, and ACLs.

Source: inode(7) for set-group-ID directories, acl(5) for default ACLs.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from backhaul.core.ports import Inherited

_DEFAULT_ACL = "system.posix_acl_default"
_NONE = frozenset({errno.ENODATA, errno.ENOTSUP, errno.ENOSYS, errno.ENOENT})


def inherited_from(directory: int) -> Inherited:
    """Of an open directory; O_PATH is enough.

    Raises:
        OSError: As the system raises it.
    """
    found = os.fstat(directory)
    group = str(found.st_gid) if found.st_mode & stat.S_ISGID else ""
    try:
        acl = os.getxattr(f"/proc/self/fd/{directory}", _DEFAULT_ACL).hex()
    except OSError as error:
        if error.errno not in _NONE:
            raise
        acl = ""
    return Inherited(group=group, acl=(acl,) if acl else (), is_mount=_is_mount(directory, found))


def _is_mount(directory: int, found: os.stat_result) -> bool:
    """Whether it is a mount point: no file can be renamed into it, on the same device neither.

    False for a directory that may not be entered, where this cannot be known.
    """
    try:
        above = os.open("..", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
    except PermissionError:
        return False
    try:
        is_other_device = os.fstat(above).st_dev != found.st_dev
        return is_other_device or _mount_id(above) != _mount_id(directory)
    finally:
        os.close(above)


def _mount_id(directory: int) -> bytes:
    """Source: proc_pid_fdinfo(5)."""
    try:
        shown = Path(f"/proc/self/fdinfo/{directory}").read_bytes()
    except OSError:
        return b""
    return next((line for line in shown.splitlines() if line.startswith(b"mnt_id:")), b"")
