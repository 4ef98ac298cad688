"""One limit of time for a whole conversation with another machine."""

from __future__ import annotations

import time

_LEAST_S = 0.01


class Deadline:
    """When all of it must be over, however slowly the other side drips."""

    def __init__(self, seconds: float) -> None:
        self._ends_s = time.monotonic() + seconds

    @property
    def left_s(self) -> float:
        """Seconds left, never 0: that would mean not to block."""
        return max(_LEAST_S, self._ends_s - time.monotonic())

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._ends_s
