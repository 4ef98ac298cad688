"""Whether another agent is still there, judged by its counter of beats and by the own clock alone.

No wall clock takes part, and no time is compared between two machines. Whoever has not looked for a
while begins anew, so that nobody is judged over an outage of the database.
"""

from __future__ import annotations

from dataclasses import dataclass

BEAT_S = 5.0  # an agent raises its counter so often, and others look as often
DEAD_S = 30.0  # a counter that stands still for so long is that of an agent that is gone
LOOKS_LEAST = 3
GAP_S = 15.0  # between two looks; after a longer one the watch begins anew


@dataclass(kw_only=True)
class PeerWatch:
    """What this process has seen of one other agent."""

    beats: int | None = None
    looks: int = 0
    since_s: float = 0.0
    last_s: float = 0.0
    has_moved: bool = False

    def see(self, beats: int, at_s: float) -> None:
        """A look at its counter, which began at this time of the own monotonic clock."""
        is_gap = self.looks > 0 and at_s - self.last_s > GAP_S
        if beats != self.beats or is_gap:
            self.has_moved = self.has_moved or (self.beats is not None and beats != self.beats)
            self.beats, self.since_s, self.looks = beats, at_s, 0
        self.looks += 1
        self.last_s = at_s

    @property
    def is_dead(self) -> bool:
        """Its counter stood still for the whole time, at enough looks."""
        return self.looks >= LOOKS_LEAST and self.last_s - self.since_s >= DEAD_S
