"""Servers that outlive the command that started them: who they are, and how to end only them.

Kept as JSON, written anew in one step after each start.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from backhaul.testing.servers.detached import DetachedProcess


@dataclass(frozen=True, kw_only=True)
class DetachedServer:
    """One server: its processes, where its health is checked, where its log is."""

    name: str
    processes: tuple[DetachedProcess, ...]
    # Web address; for HDFS the NameNode's.
    endpoint: str
    log_path: str
    # Of its data, removed with the bed; None in a state that an earlier version wrote.
    directory: str | None = None


@dataclass(frozen=True, kw_only=True)
class State:
    """All servers of one `up`, and the variables that lead to them."""

    servers: tuple[DetachedServer, ...]
    settings: dict[str, str]
    # Directories to put before PATH.
    path: tuple[str, ...]
    is_complete: bool

    def write(self, path: Path) -> None:
        """Replace the file in one step."""
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(".new")
        scratch.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
        scratch.replace(path)

    @classmethod
    def read(cls, path: Path) -> State | None:
        """What `write` wrote; None when there is no such file."""
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        servers = tuple(
            DetachedServer(
                name=each["name"],
                processes=tuple(DetachedProcess(**process) for process in each["processes"]),
                endpoint=each["endpoint"],
                log_path=each["log_path"],
                directory=each.get("directory"),
            )
            for each in found["servers"]
        )
        return cls(
            servers=servers,
            settings=found["settings"],
            path=tuple(found["path"]),
            is_complete=found["is_complete"],
        )
