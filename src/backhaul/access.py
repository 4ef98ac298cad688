"""Why this user may not open a file, in a sentence with the fix.

Facts of the operating system alone: user, owner, group, mode. Which error they become is decided
where the file is opened.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path


def user_name(uid: int | None = None) -> str:
    """Its name, or its number where it has none; default: the effective user of this process."""
    number = os.geteuid() if uid is None else uid
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def group_name(gid: int) -> str:
    """Its name, or its number where it has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def refusal(path: Path, verb: str = "read") -> tuple[str, str]:
    """Message and hint for a file that this user may not open.

    Args:
        verb: `read` or `written`.
    """
    me = user_name()
    message = f"{path} cannot be {verb} by user {me}"
    real = Path(os.path.realpath(path))
    blocker = _blocker(real, os.R_OK if verb == "read" else os.W_OK)
    if blocker is None:
        return (
            f"{message}, although its mode allows it",
            "look for a mandatory access rule: ausearch -m avc -ts recent, or dmesg",
        )
    try:
        found = blocker.stat()
    except OSError as exc:
        return f"{message}: {blocker}: {exc.strerror}", "check the path and its permissions"
    if verb != "read" and os.statvfs(blocker).f_flag & os.ST_RDONLY:
        return f"{path} is on a read-only file system", f"mount -o remount,rw {_mount(blocker)}"
    owner, group = user_name(found.st_uid), group_name(found.st_gid)
    mode = stat.S_IMODE(found.st_mode)
    message += f": {described(blocker)}"
    hint = f"run it as that user: sudo -u {owner} backhaul ..."
    if mode & (stat.S_IRGRP if verb == "read" else stat.S_IWGRP):
        hint += f"; or join the group: usermod -aG {group} {me}"
    return message, hint


def described(path: Path | str) -> str:
    """`/data has mode 0755 and belongs to root:root`."""
    found = Path(path).stat()
    mode = stat.S_IMODE(found.st_mode)
    owner, group = user_name(found.st_uid), group_name(found.st_gid)
    return f"{path} has mode {mode:04o} and belongs to {owner}:{group}"


def may_read(path: Path) -> bool:
    """Whether the effective user may read what is there."""
    return os.access(path, os.R_OK, effective_ids=True)


def may_write(path: Path) -> bool:
    """Whether the effective user may write what is there; False on a read-only file system."""
    return os.access(path, os.W_OK, effective_ids=True)


def _blocker(path: Path, wanted: int) -> Path | None:
    """The first directory from the root on that may not be entered, else the file itself.

    For a file that does not exist yet, the directory in which it, or its own, would be made.
    """
    for directory in reversed(path.parents):
        if not directory.exists():
            break
        if not os.access(directory, os.X_OK, effective_ids=True):
            return directory
    while not path.exists() and path != path.parent:
        path = path.parent
    return None if os.access(path, wanted, effective_ids=True) else path


def _mount(path: Path) -> Path:
    """The mount point above it."""
    while not path.is_mount():
        path = path.parent
    return path
