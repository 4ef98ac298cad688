"""What systemd is told: that the agent is ready, that it is alive, that it stops.

Source: sd_notify(3). Datagrams to the socket that `NOTIFY_SOCKET` names; without it, silence.
"""

from __future__ import annotations

import contextlib
import os
import socket


class Systemd:
    """The way to the service manager that started this process, if one did.

    `NOTIFY_SOCKET` is taken out of the environment: it is not for the workers.
    """

    def __init__(self) -> None:
        address = os.environ.pop("NOTIFY_SOCKET", "")
        os.environ.pop("WATCHDOG_USEC", None)
        os.environ.pop("WATCHDOG_PID", None)
        # "@" stands for the zero byte that begins an abstract address.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket: socket.socket | None = None
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)  # noqa: FBT003 - its own API

    def ready(self) -> None:
        """Messages are received from here on."""
        self._say("READY=1")

    def alive(self) -> None:
        """The scheduler loop turned once more; `WatchdogSec=` waits for this."""
        self._say("WATCHDOG=1")

    def stopping(self) -> None:
        """The end has begun."""
        self._say("STOPPING=1")

    def _say(self, words: str) -> None:
        # A manager that does not listen must not stop a transfer.
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.sendto(words.encode("ascii"), self._address)
