"""Refusing a `.backhaul` of another user: below it Backhaul creates, renames and removes freely.

Its name is no secret, so any user who may write to the directory above could have put one there: a
link, or a directory with numbered directories in it, which the fence would remove.

Source: docs/decisions/0002 for what staging guarantees; inode(7) for owner and mode.
"""

from __future__ import annotations

import os
import stat
import uuid
from collections.abc import Callable

from backhaul.access import group_name
from backhaul.adapters.local.walk import Descriptor
from backhaul.core.errors import CannotWrite

STAGING = ".backhaul"
PRIVATE = 0o700  # of `.backhaul` and each directory in it; what is published is one level deeper


def mode_of(parts: list[str]) -> int:
    """The mode for mkdir(2) of the last of these names; the umask and ACLs apply."""
    return PRIVATE if STAGING in parts[-2:] else 0o777


class Ownership:
    """Recognises directories that this process made.

    Files usually belong to the effective user. An NFS server may map all users to one, so where
    owner and user differ, one file is created and removed to see whom it belongs to.
    """

    def __init__(self) -> None:
        self._users: dict[int, int] = {}  # by device; there are few

    def check(self, directory: int, path: str, above: Callable[[], Descriptor]) -> None:
        """Refuse a directory of staging that others own or may write.

        Its group may write it only where that is this process's own, as distributions make one
        for each user. Backhaul makes these directories with mode 0700.

        Args:
            directory: Open, any flags; `path` is for the message.
            above: Opens the directory that `.backhaul` is in.

        Raises:
            CannotWrite: E_DST_STAGING.
        """
        found = os.fstat(directory)
        if found.st_mode & stat.S_IWOTH:
            raise _refused(
                f"everybody may write it (mode {stat.S_IMODE(found.st_mode):04o})",
                path,
                f"check what is in it, then: chmod 0700 {path}",
            )
        if found.st_mode & stat.S_IWGRP and found.st_gid != os.getegid():
            raise _refused(
                f"its group {group_name(found.st_gid)} may write it "
                f"(mode {stat.S_IMODE(found.st_mode):04o})",
                path,
                f"check what is in it, then: chmod 0700 {path}",
            )
        if found.st_uid in {0, os.geteuid()}:
            return
        with above() as place:
            ours = self._user_on(place)
        if found.st_uid != ours:
            raise _refused(
                f"it belongs to user {found.st_uid}, and this process is user {os.geteuid()}",
                path,
                "remove it, or run all agents of this destination as one user",
            )

    def _user_on(self, directory: int) -> int:
        device = os.fstat(directory).st_dev
        if device not in self._users:
            self._users[device] = _owner_of_new_file(directory)
        return self._users[device]


def _owner_of_new_file(directory: int) -> int:
    name = f"{STAGING}-{uuid.uuid4().hex}"
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(name, flags, 0o600, dir_fd=directory)
    try:
        return os.fstat(file).st_uid
    finally:
        os.close(file)
        os.unlink(name, dir_fd=directory)


def _refused(why: str, path: str, hint: str) -> CannotWrite:
    return CannotWrite(
        "E_DST_STAGING", f"file://{path} cannot be trusted with staging: {why}", hint=hint
    )
