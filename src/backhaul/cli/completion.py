"""Shell completion: what a Tab offers, and the scripts with which a shell gets it.

A Tab is quick and prints nothing but answers: whatever goes wrong, it has none.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    shell_complete,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import click

SYSTEM_CONFIG = Path("/etc/backhaul/backhaul.toml")
PROGRAM = "backhaul"
VARIABLE = "_BACKHAUL_COMPLETE"
SHELLS: dict[str, type[ShellComplete]] = {
    "bash": BashComplete,
    "zsh": ZshComplete,
    "fish": FishComplete,
}


def script(group: click.Command, shell: str) -> str:
    """What this shell has to read once; a package puts it where the shell looks."""
    # Not by its own `source`, which starts Bash to learn its version.
    return ShellComplete.source(SHELLS[shell](group, {}, PROGRAM, VARIABLE)) + "\n"


def complete(group: click.Command) -> None:
    """Answer the shell that has asked by `_BACKHAUL_COMPLETE`."""
    shell_complete(group, {}, PROGRAM, VARIABLE, os.environ[VARIABLE])


def named(values: Sequence[tuple[str, str]], incomplete: str) -> list[CompletionItem]:
    """Those values that begin like this, each with its help."""
    return [CompletionItem(name, help=text) for name, text in values if name.startswith(incomplete)]


def complete_routes(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Names of the configured routes."""
    del param
    return named([(name, "") for name in _route_names(ctx.params.get("config"))], incomplete)


def _route_names(given: Path | None) -> list[str]:
    """As the file has them, without what makes settings of it: that takes half a second."""
    named_by = os.environ.get("BACKHAUL_CONFIG")
    home = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
    every = [SYSTEM_CONFIG, home / "backhaul" / "backhaul.toml"]
    if given or named_by:
        every = [Path(given or named_by or "")]
    for path in every:
        if path.is_file():
            routes = tomllib.loads(path.read_text("utf-8")).get("route", [])
            return [str(one["name"]) for one in routes if "name" in one]
    return []
