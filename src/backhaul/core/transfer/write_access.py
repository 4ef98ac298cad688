"""Why a destination refuses new files, as an error with the command that changes it."""

from __future__ import annotations

import re
from shlex import quote

from backhaul.core.errors import CannotWrite
from backhaul.core.model import Location
from backhaul.core.ports import WriteRefusal
from backhaul.core.text import printable

_HDFS_DENIAL = re.compile(r'user=(?P<user>[^,\s]+), access=\w+, inode="(?P<path>[^"]+)"')


def cannot_write(
    directory: Location, existing: Location, refused: WriteRefusal | None
) -> CannotWrite | None:
    """The error of every transfer into `directory`; None where nothing is refused.

    Args:
        existing: The directory itself, or the nearest one above it.
    """
    if refused is None:
        return None
    message = f"{printable(directory.uri)}: {refused.why}"
    if existing != directory:
        message = (
            f"{printable(directory.uri)} does not exist, and cannot be made in "
            f"{printable(existing.uri)}: {refused.why}"
        )
    if refused.is_readonly:
        return CannotWrite(
            "E_DST_READONLY",
            message,
            hint="mount it read-write; for the service: ReadWritePaths="
            f"{printable(existing.path)} by `systemctl edit backhaul`",
        )
    return CannotWrite("E_DST_DENIED", message, hint=_hint(directory, existing, refused.user))


def file_in_the_way(where: str) -> CannotWrite:
    """The error for a file at `where`, which has to be a directory."""
    return CannotWrite(
        "E_DST_PARENT_FILE",
        f"{printable(where)} is a file, and files are to go into a directory of that name",
        hint="remove the file or choose another destination",
    )


def hdfs_permission_hint(message: str) -> str:
    """The command for the NameNode's `Permission denied: user=..., access=..., inode="...":...`."""
    found = _HDFS_DENIAL.search(message)
    if found is None:
        return "give the agent's HDFS user write permission on this directory"
    return _grant(found["user"], found["path"])


def _hint(directory: Location, existing: Location, user: str) -> str:
    user = user or "USER"
    path = quote(printable(directory.path, 4096))
    if directory.scheme == "hdfs":
        if existing == directory:
            return _grant(user, directory.path)
        return f"as the superuser: hdfs dfs -mkdir -p {path} && hdfs dfs -chown {user} {path}"
    if existing == directory:
        return f"chown {user} {path}, or setfacl -m u:{user}:rwx {path}"
    return f"install -d -o {user} {path}"


def _grant(user: str, path: str) -> str:
    shown = quote(printable(path, 4096))
    return (
        f"hdfs dfs -chown {user} {shown}, or hdfs dfs -setfacl -m user:{user}:rwx {shown}; and see "
        "that this is the user you mean: HADOOP_USER_NAME, [kerberos] or run_as"
    )


def exists(final: Location) -> CannotWrite:
    """The refusal of a name that is taken."""
    return CannotWrite(
        "E_DST_EXISTS",
        f"{final.uri} exists and its route does not replace files",
        hint="remove it, choose another directory, or set on_exists = replace on the route",
    )
