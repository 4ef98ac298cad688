"""Files that must be trusted: who may write or read them, and the disk under the ledger.

A configuration that another user can write is that user's policy, a keytab that others can read is
their login, and a ledger on a network file system has neither the locks nor the syncs on which the
guarantees rest.

Source: proc(5), mountinfo; open(2), "O_SYNC"; https://sqlite.org/faq.html#q5.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from backhaul.access import is_there, link_of_others, user_name
from backhaul.core.errors import ConfigurationError

_SYSTEM = Path("/etc/backhaul")
_NETWORK = re.compile(
    r"nfs\d*|cifs|smb\d*|smbfs|9p|afs|ceph|gfs2?|glusterfs|lustre|ocfs2|beegfs|fuse\.(sshfs|"
    r"glusterfs|ceph|s3fs|goofys|mount-s3|gcsfuse|rclone|hdfs|hadoop-fuse-dfs|davfs2)"
)
_GONE_WITH_THE_MACHINE = frozenset({"tmpfs", "ramfs", "overlay", "devtmpfs"})
_ESCAPE = re.compile(r"\\([0-7]{3})")


def check_trusted(path: Path, what: str, *, is_secret: bool = False) -> None:
    """Refuse a file that another user may change or, where it is a secret, read.

    This user or root must own it. Its group may write it only where that is this user's own group,
    as distributions make one for each user.

    Args:
        what: For the error: `the configuration`, `the keytab`.

    Raises:
        ConfigurationError: E_CFG_PERMISSIONS.
    """
    try:
        real = path.resolve(strict=True)
        found = real.stat()
    except (OSError, RuntimeError):
        return  # missing, or not accessible: opening it gives the better error
    if path.absolute().is_relative_to(_SYSTEM) and not real.is_relative_to(_SYSTEM):
        raise _refused(f"{what} {path} is a link to {real}", f"put the file into {_SYSTEM} itself")
    if found.st_uid not in {0, os.geteuid()}:
        raise _refused(
            f"{what} {real} belongs to user {found.st_uid}, who could change it",
            f"chown root {real}",
        )
    refused = link_of_others(path, {0, os.geteuid()})
    if refused is not None:
        message, hint = refused
        raise _refused(f"{what}: {message}", hint)
    may_write = stat.S_IWOTH | (0 if found.st_gid == os.getegid() else stat.S_IWGRP)
    may_read = stat.S_IROTH if is_secret else 0
    if found.st_mode & (may_write | may_read):
        verb = "written" if found.st_mode & may_write else "read"
        raise _refused(
            f"{what} {real} can be {verb} by others (mode {stat.S_IMODE(found.st_mode):04o})",
            f"chmod {'0600' if is_secret else '0644'} {real}",
        )
    _check_directory(real.parent, what)


def check_private(path: Path, what: str) -> None:
    """As `check_trusted` for a secret that not even a group may read.

    Raises:
        ConfigurationError: E_CFG_PERMISSIONS.
    """
    try:
        found = path.stat()
    except OSError:
        return  # opening it gives the better error
    if found.st_uid not in {0, os.geteuid()}:
        owner = user_name(found.st_uid)
        raise _refused(
            f"{what} {path} belongs to {owner}",
            f"run this as that user: sudo -u {owner} backhaul ...; or: chown root {path}",
        )
    check_trusted(path, what, is_secret=True)
    mode = stat.S_IMODE(found.st_mode)
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise _refused(
            f"{what} {path} is open to its group (mode {mode:04o})",
            f"chmod 0600 {path}; and make a new key if somebody may have read it",
        )


def check_ledger_directory(path: Path) -> str:
    """Refuse a directory on a network file system, or one that everybody may write.

    Returns:
        The type of a file system whose content goes with the machine, such as `tmpfs`; else empty.

    Raises:
        ConfigurationError: E_LEDGER_PLACE, E_CFG_PERMISSIONS.
    """
    directory = path.absolute().parent
    while not is_there(directory) and directory != directory.parent:
        directory = directory.parent
    directory = directory.resolve()
    kind = filesystem_type(directory)
    if _NETWORK.fullmatch(kind):
        raise ConfigurationError(
            "E_LEDGER_PLACE",
            f"the ledger {path} would be on {kind}, a network file system",
            hint="put it on a local disk: the guarantees rest on SQLite's locks and syncs",
        )
    _check_directory(directory, "the ledger's directory")
    return kind if kind in _GONE_WITH_THE_MACHINE else ""


def network_filesystem(path: Path) -> str:
    """The type of the network file system that a file is on; empty where it is on none."""
    kind = filesystem_type(path.absolute().resolve())
    return kind if _NETWORK.fullmatch(kind) else ""


def filesystem_type(path: Path, mounts: str | None = None) -> str:
    """Type of the file system that holds an absolute, real path, such as `ext4`; empty if unknown.

    Args:
        mounts: The text of /proc/self/mountinfo; default: of this machine.
    """
    if mounts is None:
        try:
            mounts = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
        except OSError:
            return ""
    best, kind = -1, ""
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split()
        if len(fields) < 5 or not right:  # noqa: PLR2004 - the mount point is the fifth
            continue
        point = Path(_ESCAPE.sub(lambda found: chr(int(found[1], 8)), fields[4]))
        # Of several mounts on one directory the last covers the others.
        if path.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), right.split()[0]
    return kind


def _check_directory(directory: Path, what: str) -> None:
    mode = directory.stat().st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise _refused(
            f"{what}: everybody may write {directory} (mode {stat.S_IMODE(mode):04o})",
            f"chmod o-w {directory}",
        )


def _refused(message: str, hint: str) -> ConfigurationError:
    return ConfigurationError("E_CFG_PERMISSIONS", message, hint=hint)
