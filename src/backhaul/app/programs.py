"""Programs that the configuration names: whether they are there, trusted, and who runs them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from backhaul.access import user_name
from backhaul.adapters.system.trusted_files import check_trusted
from backhaul.child_process import ProgramUser
from backhaul.core.errors import ConfigurationError
from backhaul.core.text import shown


def check_program(name: str, what: str, *, code: str, may_be_missing: bool = False) -> None:
    """Refuse a program that is not there, or that others could change.

    Args:
        name: Its path, or a name on the PATH.
        may_be_missing: Where it is not there, whoever runs it will report that.
        what: Of the configuration, such as `reply pager`.
        code: Of the first.

    Raises:
        ConfigurationError: `code`; E_CFG_PERMISSIONS.
    """
    found = shutil.which(name)
    if found is None and may_be_missing:
        return
    if found is None:
        reason, hint = f"there is no program {shown(name)}", "check its path"
        if Path(name).is_file():
            reason = f"{shown(name)} cannot be executed"
            hint = f"chmod +x {shown(name)}"
        raise ConfigurationError(code, f"{what}: {reason}", hint=hint)
    check_trusted(Path(found), f"the command of {what}")


def program_user(user: str | None, program: str, what: str, *, code: str) -> ProgramUser | None:
    """Who the program runs as; None: whoever this process is.

    Raises:
        ConfigurationError: `code`: there is no such user, or this process may not become it.
    """
    if user is None:
        return None
    try:
        found = ProgramUser.named(user)
    except KeyError as exc:
        raise ConfigurationError(
            code,
            f"{what}: there is no user {shown(user)} on this machine",
            hint=f"create it: useradd --system {shown(user)}; or correct the name",
        ) from exc
    if found.uid != os.geteuid() and os.geteuid() != 0:
        raise ConfigurationError(
            code,
            f"{what}: user {user_name()} cannot run a command as {user}",
            hint="leave user out, and let sudo do it:"
            f' command = ["sudo", "-n", "-u", "{user}", "{shown(program)}"]',
        )
    return found
