"""What a process needs around it: time, chance, and a receiver of facts."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Time from outside, so that tests own it."""

    def now(self) -> datetime:
        """Wall clock, aware UTC; for records only, never for deadlines."""

    def monotonic(self) -> float:
        """Seconds that never step; for deadlines."""


class Randomness(Protocol):
    """Chance and names from outside, so that a seed replays exactly."""

    def uniform(self, low: float, high: float) -> float:
        """A float in [low, high]."""

    def transfer_id(self) -> str:
        """A fresh id, 16 characters of [0-9a-z], sorting by time of creation."""


class Emit(Protocol):
    """Turns facts into log lines, metrics and progress; never raises."""

    def __call__(self, fact: object) -> None: ...
