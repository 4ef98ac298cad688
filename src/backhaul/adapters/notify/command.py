"""Notifies by a command: the notification as JSON on its standard input, its exit code counts.

No shell. The command is a process group of its own, which is killed when its time is over, and it
inherits no secret: of the environment only what every program needs.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from threading import Event

from backhaul.adapters.notify.rendering import as_json, subject
from backhaul.core.errors import TransientError
from backhaul.core.notification import DELIVERY_S, Notification
from backhaul.core.text import shown

KEPT = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR")
_LOOK_S = 0.1
_END_S = 1.0
_TAIL_BYTES = 4096
_READ_BYTES = 65_536
_SHOWN = 300  # characters of its output


class CommandSender:
    """Implements `core.ports.notify.NotificationSender`.

    Args:
        limit_s: The command and all that it starts are killed then.
    """

    def __init__(self, command: Sequence[str], limit_s: float = DELIVERY_S) -> None:
        self._command = tuple(command)
        self._limit_s = limit_s

    def send(self, notification: Notification, abandon: Event) -> str:
        """See the port.

        Raises:
            TransientError: E_NOTIFY_COMMAND: it cannot be started, or ends with another code than
                0. E_NOTIFY_TIMEOUT.
        """
        deadline_s = time.monotonic() + self._limit_s
        process = self._started(notification)
        output = _RunningCommand(process)
        try:
            while not output.has_ended(_LOOK_S):
                if abandon.is_set() or time.monotonic() >= deadline_s:
                    raise self._stopped(output, is_abandoned=abandon.is_set())
        finally:
            output.close()
        if process.returncode != 0:
            raise TransientError(
                "E_NOTIFY_COMMAND",
                f"{self._name} {_ended_by(process.returncode)}{output.quoted}",
                hint="run it by hand: backhaul notify test"
                f" {notification.name}; its input is described in the manual",
            )
        return ""

    @property
    def _name(self) -> str:
        return shown(self._command[0])

    def _started(self, notification: Notification) -> subprocess.Popen[bytes]:
        """The process, with its input already complete: nothing here waits until it reads."""
        try:
            with open(os.memfd_create("notification"), "w+b") as given:  # noqa: PTH123
                given.write(as_json(notification).encode("ascii"))
                given.seek(0)
                return subprocess.Popen(
                    self._command,
                    stdin=given,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    cwd="/",
                    env=_environment(notification),
                    start_new_session=True,
                )
        except (OSError, ValueError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else str(exc)
            raise TransientError(
                "E_NOTIFY_COMMAND",
                f"{self._name} cannot be started: {reason}",
                hint="check the path, its mode, and the first line of a script",
            ) from exc

    def _stopped(self, output: _RunningCommand, *, is_abandoned: bool) -> TransientError:
        why = "the agent ended" if is_abandoned else f"it ran for {self._limit_s:g} s"
        return TransientError(
            "E_NOTIFY_TIMEOUT",
            f"{self._name} was killed: {why}{output.quoted}",
            hint="let the command only hand it on, and end within seconds",
        )


class _RunningCommand:
    """A process and the last bytes that it writes; it may write without end."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._tail = b""
        self._selector = selectors.DefaultSelector()
        self._pipe = process.stdout
        if self._pipe is not None:
            os.set_blocking(self._pipe.fileno(), False)
            self._selector.register(self._pipe, selectors.EVENT_READ)

    def has_ended(self, wait_s: float) -> bool:
        """Read what is there, and look at the process; a child of it may keep the pipe open."""
        if not self._selector.get_map():  # it has closed its output and goes on
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(wait_s)
        elif self._selector.select(wait_s):
            self._read()
        has_ended = self._process.poll() is not None
        if has_ended:
            self._read()
        return has_ended

    def close(self) -> None:
        """Kill its group, unless it has ended, and close the pipe."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):  # in a call that no signal ends
                self._process.wait(_END_S)
        self._selector.close()
        if self._pipe is not None:
            self._pipe.close()

    @property
    def quoted(self) -> str:
        """Its last words, for an error; empty when there are none."""
        words = " ".join(self._tail.decode("utf-8", "replace").split())
        return f": {shown(words[-_SHOWN:], 2 * _SHOWN)}" if words else ""

    def _read(self) -> None:
        if self._pipe is None or not self._selector.get_map():
            return
        with contextlib.suppress(BlockingIOError):
            found = os.read(self._pipe.fileno(), _READ_BYTES)
            self._tail = (self._tail + found)[-_TAIL_BYTES:]
            if not found:
                self._selector.unregister(self._pipe)


def _environment(notification: Notification) -> dict[str, str]:
    dead = notification.deaths.count if notification.deaths else 0
    return {
        **{name: value for name, value in os.environ.items() if name in KEPT},
        "BACKHAUL_NOTIFY_NAME": notification.name,
        "BACKHAUL_NOTIFY_ABOUT": ",".join(notification.about),
        "BACKHAUL_NOTIFY_SUBJECT": subject(notification),
        "BACKHAUL_NOTIFY_DEAD": str(dead),
    }


def _ended_by(code: int) -> str:
    if code >= 0:
        return f"ended with {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
