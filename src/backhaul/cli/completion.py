"""Shell completion: what a Tab offers, and the scripts with which a shell gets it.

A Tab is quick and prints nothing but answers: whatever goes wrong, it has none.
"""

from __future__ import annotations

import os
import tomllib
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    shell_complete,
)

from backhaul.core.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import click

    Completion = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

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
    return [str(one["name"]) for one in _configuration(given).get("route", []) if "name" in one]


def _configuration(given: Path | None) -> dict[str, Any]:
    """As the file has it, without what makes settings of it: that takes half a second."""
    named_by = os.environ.get("BACKHAUL_CONFIG")
    home = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
    every = [SYSTEM_CONFIG, home / "backhaul" / "backhaul.toml"]
    if given or named_by:
        every = [Path(given or named_by or "")]
    for path in every:
        if path.is_file():
            return tomllib.loads(path.read_text("utf-8"))
    return {}


# ---------------------------------------------------------------- ids of transfers

OFFERED_MOST = 50
# Each is bounded by an index, however many transfers there are. An id begins with its time.
_NEWEST = "SELECT * FROM transfers WHERE id >= :low AND id < :high ORDER BY id DESC LIMIT 1000"
_OPEN = "SELECT * FROM transfers WHERE finished_at IS NULL ORDER BY first_seen_at DESC LIMIT 1000"
_DEAD = (
    "SELECT * FROM transfers WHERE state = 'dead' AND settled_at IS NULL"
    " ORDER BY finished_at DESC LIMIT 1000"
)
_OFFER = (
    "SELECT id, state, coalesce(code, ''), source FROM ({}) WHERE id >= :low AND id < :high{}"
    " ORDER BY id DESC LIMIT :most"
)
_WAIT_S = 0.2  # for a ledger that is locked


def _ids(statement: str) -> Completion:
    """Offers what the statement finds, newest first, with state and source."""

    def offer(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        import sqlite3

        taken = ctx.params.get(param.name or "") or ()
        ledger = ctx.params.get("ledger") or _ledger(ctx.params.get("config"))
        uri = f"{Path(ledger).expanduser().absolute().as_uri()}?mode=ro"
        limits = {"low": incomplete, "high": f"{incomplete}\x7f", "most": OFFERED_MOST}
        # By itself, not by the ledger's adapter, whose import takes longer than the whole answer.
        with closing(sqlite3.connect(uri, uri=True, timeout=_WAIT_S)) as connection:
            rows = connection.execute(statement, limits).fetchall()
        return [
            CompletionItem(name, help=printable(" ".join(f"{state} {code} {source}".split()), 100))
            for name, state, code, source in rows
            if name not in taken
        ]

    return offer


complete_ids = _ids(_OFFER.format(_NEWEST, ""))
complete_done_ids = _ids(_OFFER.format(_NEWEST, " AND state = 'done'"))
complete_open_ids = _ids(_OFFER.format(_OPEN, ""))
complete_dead_ids = _ids(_OFFER.format(_DEAD, ""))


def _ledger(config: Path | None) -> Path:
    """Where `Settings.ledger_path` has it."""
    named = os.environ.get("BACKHAUL_LEDGER") or _configuration(config).get("ledger")
    if named:
        return Path(named)
    if state := os.environ.get("STATE_DIRECTORY"):
        return Path(state.split(":", 1)[0]) / "ledger.db"
    return Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state") / "backhaul" / "ledger.db"
