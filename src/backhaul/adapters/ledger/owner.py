"""Which process owns a transfer, and whether that process is still running.

An owner is written down as `host:boot_id:pid:starttime`, so that a pid used again after a crash
or a reboot is never taken for the old process. Source: proc(5), `/proc/PID/stat` fields 3 and 22.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

_PROC = Path("/proc")
_STATE, _START = 0, 19  # fields 3 and 22, counted after the command name
_GONE = frozenset("ZXx")  # killed and not yet collected by its parent: it runs no line any more


class LedgerOwner(Protocol):
    """Who writes a ledger, as its rows name it."""

    @property
    def text(self) -> str:
        """What the rows have."""

    def is_alive(self, text: str) -> bool:
        """Whether the owner written down as `text` may still act; called in a transaction."""


@dataclass(frozen=True, kw_only=True)
class Owner:
    """One process on one boot of one host."""

    host: str
    boot_id: str
    pid: int
    start: int

    @classmethod
    def current(cls, host: str | None = None) -> Owner:
        """This process.

        Args:
            host: The name to write down; default the node's own.
        """
        pid = os.getpid()
        return cls(
            host=host or platform.node(), boot_id=_boot_id(), pid=pid, start=_start_of(pid) or 0
        )

    @property
    def text(self) -> str:
        """`edge1:8f0c…:4711:183221`."""
        return f"{self.host}:{self.boot_id}:{self.pid}:{self.start}"

    def is_alive(self, text: str) -> bool:
        """Whether the owner written down as `text` may still act, judged from this process.

        What cannot be judged from here counts as alive: waiting is safe, two owners are not.
        """
        return self.sees(text) is not False

    def sees(self, text: str) -> bool | None:
        """Whether that process is there; None where that cannot be seen from here.

        That is so for another host, for a text that is no owner, and where the kernel hides the
        processes of other users (`hidepid` of /proc).
        """
        parts = text.rsplit(":", 3)
        if len(parts) != len(("host", "boot_id", "pid", "start")):
            return None
        host, boot_id, pid, start = parts
        if host != self.host:
            return None
        if boot_id != self.boot_id or not pid.isdecimal():
            return False
        try:
            found = _start_of(int(pid))
        except PermissionError:
            return None
        if found is None and not _shows_others() and _is_taken(int(pid)):
            return None
        return str(found) == start


def _boot_id() -> str:
    return (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _shows_others() -> bool:
    """False where only this user's own processes are shown: process 1 is somebody else's."""
    return (_PROC / "1" / "stat").exists()


def _is_taken(pid: int) -> bool:
    """Whether any process has this number, shown or not."""
    try:
        os.kill(pid, 0)  # signal 0 only asks
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _start_of(pid: int) -> int | None:
    """Start time in clock ticks since boot; None when no such process runs."""
    try:
        stat = (_PROC / str(pid) / "stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command name may hold blanks and parentheses; nothing after it can.
    fields = stat[stat.rindex(b")") + 2 :].decode("ascii").split()
    return None if fields[_STATE] in _GONE else int(fields[_START])
