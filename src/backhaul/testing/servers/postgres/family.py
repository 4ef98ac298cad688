"""A server with processes of its own children, such as PostgreSQL: signals to all of them.

Each of PostgreSQL's children is in a session of its own, so no signal to a group reaches them.
"""

from __future__ import annotations

import signal
from pathlib import Path

from backhaul.testing.servers.detached import DetachedProcess


def children(pid: int) -> list[DetachedProcess]:
    """The processes that this one has started and that run; for one that forks, stop it first."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdecimal() and _parent(path) == pid:
            try:
                found.append(DetachedProcess.of("child", int(path.name)))
            except ProcessLookupError:
                continue
    return found


def send(processes: list[DetachedProcess], number: signal.Signals) -> None:
    """Send a signal to those of them that still run; SIGKILL returns when they are gone."""
    for each in processes:
        each.send(number)


def _parent(process: Path) -> int | None:
    try:
        stat = (process / "stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # After the name, which may hold blanks and ")": state, parent.
    return int(stat.rpartition(")")[2].split()[1])
