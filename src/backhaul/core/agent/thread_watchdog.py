"""Notices a thread of the agent that hangs: which thread, by how long it gave no heartbeat.

Pure bookkeeping; the agent's main thread checks it about once a second. When a hung worker
process is killed is in `engines.hung_workers`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Protocol, TypeVar

from backhaul.core.ports import Clock

_Name = TypeVar("_Name", bound=Hashable)

CHECK_EVERY_S = 1.0
# More between two checks means that the whole process, or machine, was suspended.
_AWAKE_S = 2 * CHECK_EVERY_S


class Heartbeat:
    """Of one thread: it beats at each step, and rests where a long wait is right."""

    def __init__(self) -> None:
        self.beats = 0
        self.is_resting = True

    def beat(self) -> None:
        """A step is done, and another begins."""
        self.beats += 1
        self.is_resting = False

    def rest(self) -> None:
        """From now on silence means nothing."""
        self.beats += 1
        self.is_resting = True


class Beating(Protocol):
    """What the monitor reads of one thread; as `Heartbeat` has it."""

    beats: int
    is_resting: bool


class HeartbeatMonitor:
    """Counts the silence of each heartbeat, in time in which this process was awake.

    After a machine slept for an hour no heartbeat came for an hour, and nothing hangs: so between
    two checks at most twice their interval counts.

    Args:
        limit_s: Longest silence of a heartbeat that does not rest.
    """

    def __init__(self, clock: Clock, limit_s: float) -> None:
        self._clock = clock
        self._limit_s = limit_s
        self._beats: dict[Hashable, int] = {}
        self._silent_s: dict[Hashable, float] = {}
        self._checked_s = clock.monotonic()

    def check(self, heartbeats: Mapping[_Name, Beating]) -> _Name | None:
        """Name of the first that was silent for too long; None when there is none."""
        now_s = self._clock.monotonic()
        awake_s = min(now_s - self._checked_s, _AWAKE_S)
        self._checked_s = now_s
        for name, heartbeat in heartbeats.items():
            if heartbeat.is_resting or heartbeat.beats != self._beats.get(name):
                self._beats[name] = heartbeat.beats
                self._silent_s[name] = 0.0
                continue
            self._silent_s[name] += awake_s
            if self._silent_s[name] > self._limit_s:
                return name
        return None
