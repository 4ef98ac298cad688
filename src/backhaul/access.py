"""Why this user may not open a file, or must not trust it: one sentence, and the fix.

Only from the operating system: user, owner, group, mode. Callers turn it into their errors.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Collection
from pathlib import Path

MAX_STEPS = 1000  # names and links on the way to a file
_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def mount_point(path: str) -> str:
    """Where the file system of this absolute path is mounted."""
    while not os.path.ismount(path):
        path = path.rpartition("/")[0] or "/"
    return path


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


def is_there(path: Path) -> bool:
    """True when the path exists; False below a directory that this user may not enter.

    `Path.exists` raises PermissionError there.
    """
    return os.path.exists(path)  # noqa: PTH110


def may_read(path: Path) -> bool:
    """True when the effective user may read it."""
    return os.access(path, os.R_OK, effective_ids=True)


def may_write(path: Path) -> bool:
    """True when the effective user may write it; False on a read-only file system."""
    return os.access(path, os.W_OK, effective_ids=True)


def _blocker(path: Path, wanted: int) -> Path | None:
    """The topmost directory that may not be entered, else the file itself; None: no obstacle.

    For a file that does not exist yet, the existing directory in which it would be made.
    """
    for directory in reversed(path.parents):
        if not is_there(directory):
            break
        if not os.access(directory, os.X_OK, effective_ids=True):
            return directory
    while not is_there(path) and path != path.parent:
        path = path.parent
    return None if os.access(path, wanted, effective_ids=True) else path


def _mount(path: Path) -> Path:
    """The mount point above it."""
    while not path.is_mount():
        path = path.parent
    return path


def distrust(path: Path, owners: Collection[int]) -> tuple[str, str] | None:
    """Why a file must not be trusted: message and hint. None where it may be, or is not there.

    A symbolic link is not followed: its target is another file.

    Args:
        owners: Users who may own it.
    """
    try:
        found = path.lstat()
    except OSError:
        return None  # opening it gives the better error
    return distrust_of(found, path, owners)


def distrust_of(
    found: os.stat_result, path: Path, owners: Collection[int]
) -> tuple[str, str] | None:
    """The same for an open file; `path` names it in the message."""
    if not stat.S_ISREG(found.st_mode):
        remove = "rmdir" if stat.S_ISDIR(found.st_mode) else "rm"
        return (
            f"{path} is {kind_of(found.st_mode)}",
            f"look at who put it there, then: {remove} {path}",
        )
    if found.st_uid not in owners:
        owner = user_name(found.st_uid)
        run_as = f"run this as that user: sudo -u {owner} ..."
        return (
            f"{path} belongs to {owner}, who could change it",
            f"{run_as}; or, if it is to be yours: chown {user_name()} {path}",
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        mode = stat.S_IMODE(found.st_mode)
        return f"{path} can be written by others (mode {mode:04o})", f"chmod go-w {path}"
    return None


def kind_of(mode: int) -> str:
    """The kind of a file that is not regular: `a directory`."""
    return _KINDS.get(stat.S_IFMT(mode), "no regular file")


def link_of_others(path: Path, owners: Collection[int]) -> tuple[str, str] | None:
    """Why the path to a file must not be trusted: a symbolic link of another user.

    In a directory that everybody may write, such as /tmp, they choose where it leads.
    """
    here, *parts = path.absolute().parts
    todo, where = list(parts), Path(here)
    for _ in range(MAX_STEPS):
        if not todo:
            break
        name = todo.pop(0)
        below = where.parent if name == ".." else where / name
        try:
            found = below.lstat()
            goal = below.readlink() if stat.S_ISLNK(found.st_mode) else None
        except OSError:
            break  # the rest is not there
        if goal is None:
            where = below
            continue
        if found.st_uid not in owners:
            whose = f"a symbolic link of {user_name(found.st_uid)} to {goal}"
            return (
                f"{below}, on the way to {path}, is {whose}",
                f"look at who put it there, then: rm {below}; or name the real file",
            )
        todo = [*(goal.parts[1:] if goal.is_absolute() else goal.parts), *todo]
        where = Path("/") if goal.is_absolute() else where
    return None
