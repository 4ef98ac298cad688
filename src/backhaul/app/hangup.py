"""SIGHUP: reopens the log file and reads the routes again while the agent goes on.

On a terminal it means that the terminal has closed; then it stops the agent, as SIGTERM does.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from backhaul.core.facts import LogReopened
from backhaul.core.ports import Emit


class Hangup:
    """Notes the signal at once and acts on it at the main thread's next heartbeat.

    Attributes:
        stop: Called when the terminal has closed; set once there is an agent to stop.
        reload: Called after the log was reopened; set once there are routes in force.
    """

    def __init__(self, reopen_log: Callable[[], Path | None], emit: Emit) -> None:
        self._reopen_log = reopen_log
        self._emit = emit
        self._is_noted = False
        self._is_on_terminal = os.isatty(0)  # a closed terminal no longer is one
        self.stop: Callable[[], None] = lambda: None
        self.reload: Callable[[], None] = lambda: None

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Within it the signal does not kill the process. An ignored one, as by nohup, stays so."""
        is_main = threading.current_thread() is threading.main_thread()
        if not is_main or signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
            yield
            return
        before = signal.signal(signal.SIGHUP, lambda _number, _frame: self._note())
        try:
            yield
        finally:
            signal.signal(signal.SIGHUP, before)

    def act(self) -> None:
        """Reopen the log and have the routes read again if the signal came since the last call.

        Not in the handler, which may run while a line is being written.
        """
        if not self._is_noted:
            return
        self._is_noted = False
        file = self._reopen_log()
        self._emit(LogReopened(file=str(file) if file is not None else None))
        self.reload()

    def _note(self) -> None:
        if self._is_on_terminal:
            self.stop()
        else:
            self._is_noted = True
