"""Servers that outlive the command that started them: who they are, and how to end only them.

Kept as JSON, written anew in one step after each start.
"""

from __future__ import annotations

import json
import os
import select
import signal
from dataclasses import asdict, dataclass
from pathlib import Path

_STOP_GRACE_S = 10.0
# Fields of /proc/PID/stat after the name, which may hold blanks and ")": state is the first.
_START_TIME_FIELD = 19
_ZOMBIE = "Z"


@dataclass(frozen=True, kw_only=True)
class DetachedProcess:
    """A process, so described that another one with its number is not taken for it."""

    name: str
    pid: int
    # Clock ticks from the machine's start to the process's.
    started_ticks: int
    # /proc/sys/kernel/random/boot_id: ticks and process ids begin again at each start.
    boot_id: str

    @classmethod
    def of(cls, name: str, pid: int) -> DetachedProcess:
        """Describe a running process.

        Raises:
            ProcessLookupError: It has ended.
        """
        started = _started_ticks(pid)
        if started is None:
            raise ProcessLookupError(f"{name}: process {pid} has ended")
        return cls(name=name, pid=pid, started_ticks=started, boot_id=_boot_id())

    @property
    def is_alive(self) -> bool:
        """Whether this process, and not another with its number, is running."""
        return self.boot_id == _boot_id() and _started_ticks(self.pid) == self.started_ticks

    def end(self) -> None:
        """SIGTERM, and SIGKILL after 10 s. Safe to repeat; another process is never touched."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            # Looked at only now: from here on the handle cannot come to mean another process.
            if not self.is_alive:
                return
            signal.pidfd_send_signal(handle, signal.SIGTERM)
            signal.pidfd_send_signal(handle, signal.SIGCONT)  # A suspended one takes no other.
            if not _has_ended(handle, _STOP_GRACE_S):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                _has_ended(handle, _STOP_GRACE_S)
        except ProcessLookupError:  # Ended by itself in between.
            return
        finally:
            os.close(handle)


@dataclass(frozen=True, kw_only=True)
class DetachedServer:
    """One server: its processes, where its health is checked, where its log is."""

    name: str
    processes: tuple[DetachedProcess, ...]
    # Web address; for HDFS the NameNode's.
    endpoint: str
    log_path: str


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
            )
            for each in found["servers"]
        )
        return cls(
            servers=servers,
            settings=found["settings"],
            path=tuple(found["path"]),
            is_complete=found["is_complete"],
        )


def _has_ended(handle: int, timeout_s: float) -> bool:
    # A process's descriptor becomes readable when the process ends.
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))


def _started_ticks(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == _ZOMBIE else int(fields[_START_TIME_FIELD])


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
