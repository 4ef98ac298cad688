"""In a worker: a thread that would read more than was reserved waits for the agent's answer."""

from __future__ import annotations

import threading
from collections.abc import Callable

from backhaul.engines.native import Cancelled
from backhaul.engines.wire import StageMore


class Asking:
    """Of one staging call; called from its threads.

    Args:
        send: To the agent, which answers with `StageAllowed`, or cancels the call.
    """

    def __init__(self, number: int, send: Callable[[StageMore], None]) -> None:
        self._number = number
        self._send = send
        self._lock = threading.Lock()
        self._orders = 0
        self._waiting: dict[int, threading.Event] = {}
        self._is_cancelled = False

    def more(self, size_bytes: int) -> None:
        """Return once so many bytes more may be read.

        Raises:
            Cancelled: They may not, or the call was given up.
        """
        answered = threading.Event()
        with self._lock:
            if self._is_cancelled:
                raise Cancelled
            self._orders += 1
            order = self._orders
            self._waiting[order] = answered
        self._send(StageMore(number=self._number, order=order, size_bytes=size_bytes))
        answered.wait()
        if self._is_cancelled:
            raise Cancelled

    def allowed(self, order: int) -> None:
        """The agent has answered; maybe when the call was given up already."""
        with self._lock:
            answered = self._waiting.pop(order, None)
        if answered is not None:
            answered.set()

    def cancel(self) -> None:
        """No answer will come."""
        with self._lock:
            self._is_cancelled = True
            for answered in self._waiting.values():
                answered.set()
            self._waiting.clear()
