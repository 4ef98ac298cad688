"""Stop requests, and sleep that ends with them. Shared by all threads of the agent."""

from __future__ import annotations

import math
import threading
from enum import IntEnum

from backhaul.core.ports import Clock


class Stop(IntEnum):
    """How urgently to stop."""

    NO = 0
    DRAIN = 1  # receive nothing more, let transfers finish within the grace
    NOW = 2  # hand everything back


class Stopper:
    """How urgently to stop, so far; and the condition on which everything in the agent waits.

    Attributes:
        level: The most urgent stop requested so far.
        changed: Held for any change of what the agent counts, and notified after it.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.level = Stop.NO
        self.changed = threading.Condition()

    @property
    def is_requested(self) -> bool:
        """True after the first request, however urgent."""
        return self.level is not Stop.NO

    def request(self, how: Stop) -> None:
        """Request a stop; safe from a signal handler; the more urgent request wins."""
        with self.changed:
            self.level = max(self.level, how)
            self.changed.notify_all()

    def pause(self, seconds: float) -> bool:
        """Sleep; True when a stop request cut it short."""
        deadline_s = self._clock.monotonic() + seconds
        with self.changed:
            while not self.is_requested:
                left_s = deadline_s - self._clock.monotonic()
                if left_s <= 0:
                    return False
                self.changed.wait(timeout=left_s)
        return True


class OpenPoll:
    """The poll of one queue that is under way, and whether the agent still waits for it.

    Attributes:
        ends_s: When it ends at the latest (monotonic); not later than now: none is under way.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._abandoned_until_s = 0.0
        self.ends_s = 0.0

    def abandon(self) -> None:
        """It is no longer waited for, and may take messages until it ends."""
        self._abandoned_until_s = self.ends_s

    @property
    def hand_back_delay_s(self) -> int:
        """How long a message that is handed back must hide from the abandoned poll; mostly 0."""
        return max(0, math.ceil(self._abandoned_until_s - self._clock.monotonic()))
