"""Who types a command, for the operators' journal.

Under sudo and su the process belongs to another user than the person. The kernel remembers who
logged in (loginuid of audit, kept across sudo); without audit, sudo's own variable is taken. It is
for people: whoever may run commands as the agent's user may also write another name.

Source: proc(5), `/proc/PID/loginuid`; sudo(8), SUDO_USER.
"""

from __future__ import annotations

import os
import pwd
from contextlib import suppress
from pathlib import Path

from backhaul.adapters.system.clock import host_name

_LOGIN_UID = Path("/proc/self/loginuid")
_UNSET = 2**32 - 1  # no login: a service, cron, a container


def operator_name() -> str:
    """`user@host`; a number where the user has no name."""
    user = _logged_in() or os.environ.get("SUDO_USER") or _name_of(os.geteuid())
    return f"{user}@{host_name()}"


def _logged_in() -> str | None:
    with suppress(OSError, ValueError):
        uid = int(_LOGIN_UID.read_text("ascii"))
        return None if uid == _UNSET else _name_of(uid)
    return None


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
