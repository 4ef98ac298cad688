"""A process that may be no child of this one: who it is, and how to end only it."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
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
    # What asks it to end: SIGTERM lets PostgreSQL wait for its clients.
    stop_signal: int = signal.SIGTERM

    @classmethod
    def of(cls, name: str, pid: int, stop_signal: int = signal.SIGTERM) -> DetachedProcess:
        """Describe a running process.

        Raises:
            ProcessLookupError: It has ended.
        """
        started = _started_ticks(pid)
        if started is None:
            raise ProcessLookupError(f"{name}: process {pid} has ended")
        return cls(
            name=name,
            pid=pid,
            started_ticks=started,
            boot_id=_boot_id(),
            stop_signal=stop_signal,
        )

    @property
    def is_alive(self) -> bool:
        """Whether this process, and not another with its number, is running."""
        return self.boot_id == _boot_id() and _started_ticks(self.pid) == self.started_ticks

    def end(self) -> None:
        """Ask it to end, and SIGKILL after 10 s. Safe to repeat; no other process is touched."""
        with self._handle() as handle:
            if handle is None:
                return
            signal.pidfd_send_signal(handle, self.stop_signal)
            signal.pidfd_send_signal(handle, signal.SIGCONT)  # A suspended one takes no other.
            if not _has_ended(handle, _STOP_GRACE_S):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                _has_ended(handle, _STOP_GRACE_S)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, where it is running; wait for its end where that is SIGKILL."""
        with self._handle() as handle:
            if handle is None:
                return
            signal.pidfd_send_signal(handle, number)
            if number == signal.SIGKILL:
                _has_ended(handle, _STOP_GRACE_S)

    @contextmanager
    def _handle(self) -> Iterator[int | None]:
        """A descriptor that cannot come to mean another process; None when it has ended."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            yield None
            return
        try:
            with suppress(ProcessLookupError):  # Ended by itself in between.
                # Looked at only now: from here on the number cannot be another's.
                yield handle if self.is_alive else None
        finally:
            os.close(handle)


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
