"""Notifies by a command: the notification as JSON on its standard input, its exit code counts.

How it is run, and what it inherits: `backhaul.child_process`.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Event

from backhaul.adapters.notify.rendering import as_json, subject
from backhaul.child_process import ProgramEnd, run_program
from backhaul.core.errors import TransientError
from backhaul.core.notification import DELIVERY_S, Notification
from backhaul.core.replies.secret_values import SecretValues
from backhaul.core.text import shown


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
        name = shown(self._command[0])
        try:
            end = run_program(
                self._command,
                as_json(notification).encode("ascii"),
                _variables(notification),
                limit_s=self._limit_s,
                abandon=abandon.is_set,
            )
        except (OSError, ValueError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else str(exc)
            raise TransientError(
                "E_NOTIFY_COMMAND",
                f"{name} cannot be started: {reason}",
                hint="check the path, its mode, and the first line of a script",
            ) from exc
        if end.code is None:
            why = "the agent ended" if end.is_abandoned else f"it ran for {self._limit_s:g} s"
            raise TransientError(
                "E_NOTIFY_TIMEOUT",
                f"{name} was killed: {why}{self._quoted(end)}",
                hint="let the command only hand it on, and end within seconds",
            )
        if end.code != 0:
            raise TransientError(
                "E_NOTIFY_COMMAND",
                f"{name} {end.how}{self._quoted(end)}",
                hint="run it by hand: backhaul notify test"
                f" {notification.name}; its input is described in the manual",
            )
        return ""

    def _quoted(self, end: ProgramEnd) -> str:
        """Its last words, for an error; empty when there are none."""
        said = SecretValues.of_program(self._command).hidden_in(end.last_words)
        return f": {shown(said, 600)}" if said else ""


def _variables(notification: Notification) -> dict[str, str]:
    dead = notification.deaths.count if notification.deaths else 0
    return {
        "BACKHAUL_NOTIFY_NAME": notification.name,
        "BACKHAUL_NOTIFY_ABOUT": ",".join(notification.about),
        "BACKHAUL_NOTIFY_SUBJECT": subject(notification),
        "BACKHAUL_NOTIFY_DEAD": str(dead),
    }
