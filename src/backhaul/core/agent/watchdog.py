"""Notices a thread of the agent that gives no sign of life: who beats, and for how long not.

Pure bookkeeping, looked at by the agent's main thread about once a second. What a worker process
does not do in time is noticed by the pool that lent it: `engines.pool`.
"""

from __future__ import annotations

from backhaul.core.ports import Clock

LOOK_S = 1.0
_AWAKE_S = (
    2 * LOOK_S
)  # more between two looks means that the whole process, or machine, stood still


class Pulse:
    """Of one thread: it beats at each step, and rests where waiting for long is right."""

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


class Watch:
    """Counts the silence of each pulse, in time in which this process was awake.

    A machine that slept for an hour has not heard a beat for an hour, and nothing hangs: so no more
    than two looks' worth counts between two looks.

    Args:
        limit_s: Longest silence of a pulse that does not rest.
    """

    def __init__(self, clock: Clock, limit_s: float) -> None:
        self._clock = clock
        self._limit_s = limit_s
        self._heard: dict[str, int] = {}
        self._silent_s: dict[str, float] = {}
        self._looked_s = clock.monotonic()

    def look(self, pulses: dict[str, Pulse]) -> str | None:
        """The first that was silent for too long; None when all is well."""
        now_s = self._clock.monotonic()
        awake_s = min(now_s - self._looked_s, _AWAKE_S)
        self._looked_s = now_s
        for name, pulse in pulses.items():
            if pulse.is_resting or pulse.beats != self._heard.get(name):
                self._heard[name] = pulse.beats
                self._silent_s[name] = 0.0
                continue
            self._silent_s[name] += awake_s
            if self._silent_s[name] > self._limit_s:
                return name
        return None
