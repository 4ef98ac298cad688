"""Notifications to systemd: the agent is ready, is alive, is stopping, and how it is.

Datagrams to the socket that `NOTIFY_SOCKET` names; nothing is sent without it.

Source: sd_notify(3).
"""

from __future__ import annotations

import contextlib
import os
import socket

from backhaul.core.text import visible

STATUS_MOST = 400  # characters


class Systemd:
    """The service manager that started this process, if one did.

    Removes `NOTIFY_SOCKET` from the environment: it is not for the workers.
    """

    def __init__(self) -> None:
        address = os.environ.pop("NOTIFY_SOCKET", "")
        os.environ.pop("WATCHDOG_USEC", None)
        os.environ.pop("WATCHDOG_PID", None)
        # "@" is written for the zero byte that begins an abstract address.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket: socket.socket | None = None
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)  # noqa: FBT003 - its own API

    def ready(self) -> None:
        """Messages are received from here on."""
        self._notify(b"READY=1")

    def alive(self) -> None:
        """The scheduler loop has completed a turn; `WatchdogSec=` waits for this."""
        self._notify(b"WATCHDOG=1")

    def stopping(self) -> None:
        """The end has begun."""
        self._notify(b"STOPPING=1")

    def status(self, text: str) -> None:
        """What `systemctl status` shows in a line of its own."""
        self._notify(f"STATUS={visible(text, STATUS_MOST)}".encode())

    def _notify(self, state: bytes) -> None:
        # A manager that does not listen must not stop a transfer.
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.sendto(state, self._address)
