"""Who PostgreSQL runs as, and PgBouncer of the testbed: both refuse root, and so does `initdb`."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from pathlib import Path

from backhaul.testing.servers.errors import ServerFailed, ServerUnavailable

# On every machine, so that none has to be made.
UNPRIVILEGED = "nobody"
_TIMEOUT_S = 10


def lowered() -> list[str]:
    """What goes before a command so that it does not run as root; nothing where we are not root.

    The signal by which the kernel ends a server with its starting process is kept: a change of
    user would clear it.

    Raises:
        ServerUnavailable: There is no `setpriv`, or no such user.
    """
    if os.geteuid() != 0:
        return []
    program = shutil.which("setpriv")
    if program is None:
        raise ServerUnavailable("PostgreSQL refuses root; install: apt-get install util-linux")
    user = _user()
    return [
        program,
        f"--reuid={user.pw_uid}",
        f"--regid={user.pw_gid}",
        *("--clear-groups", "--no-new-privs", "--pdeathsig=keep"),
    ]


def give(path: Path) -> None:
    """Make it the server's own: only its user may read and write it, and root."""
    path.chmod(0o700 if path.is_dir() else 0o600)
    if os.geteuid() == 0:
        user = _user()
        os.chown(path, user.pw_uid, user.pw_gid)


def require_reach(directory: Path) -> None:
    """Check that the server's user gets to this directory.

    Raises:
        ServerFailed: A directory on the way is closed to it, as root's own are.
    """
    command = lowered()
    if (
        command
        and subprocess.run(
            [*command, "test", "-w", directory, "-a", "-x", directory],
            cwd="/",
            timeout=_TIMEOUT_S,
            check=False,
        ).returncode
    ):
        raise ServerFailed(
            f"PostgreSQL does not run as root, and {UNPRIVILEGED}, as whom it runs instead, cannot "
            f"reach {directory}; choose a directory below one that all may search, or none"
        )


def _user() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(UNPRIVILEGED)
    except KeyError as exc:
        raise ServerUnavailable(
            f"PostgreSQL refuses root, and there is no user {UNPRIVILEGED}"
        ) from exc
