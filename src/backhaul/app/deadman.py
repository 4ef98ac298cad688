"""Ends the process when its main thread, which watches all others, no longer turns itself.

systemd does the same with `WatchdogSec=`; this is for those who run the agent without it, and for
an end that hangs.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

from backhaul.core.agent.thread_watchdog import CHECK_EVERY_S, Heartbeat, HeartbeatMonitor
from backhaul.core.errors import ExitCode
from backhaul.core.ports import Clock

MAIN = "main"
CODE = "E_AGENT_STUCK"


class Deadman(threading.Thread):
    """Runs from `start` to `disarm`; `beat` is for the watched thread.

    Args:
        limit_s: Longest silence.
        kill_workers: What must not outlive this process.
    """

    def __init__(self, clock: Clock, limit_s: float, kill_workers: Callable[[], None]) -> None:
        super().__init__(name="deadman", daemon=True)
        self._monitor = HeartbeatMonitor(clock, limit_s)
        self._limit_s = limit_s
        self._kill_workers = kill_workers
        self._heartbeat = Heartbeat()
        self._is_over = threading.Event()

    def beat(self) -> None:
        self._heartbeat.beat()

    def disarm(self) -> None:
        self._is_over.set()

    def run(self) -> None:
        while not self._is_over.wait(CHECK_EVERY_S):
            if self._monitor.check({MAIN: self._heartbeat}) is not None:
                text = (
                    f"E_AGENT_STUCK: the agent's main thread did nothing for {self._limit_s:.0f} s"
                )
                print(f"backhaul: {text}", file=sys.stderr, flush=True)  # noqa: T201 - the end
                self._kill_workers()
                os._exit(ExitCode.BUG)
