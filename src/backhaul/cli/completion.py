"""Shell completion: what a Tab offers, and the scripts with which a shell gets it.

A Tab is quick and prints nothing but answers: whatever goes wrong, it has none.
"""

from __future__ import annotations

import os
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
