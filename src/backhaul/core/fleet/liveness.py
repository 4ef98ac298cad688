"""Which of the processes on one ledger are there, judged by their counters and the own clock alone.

Each raises a counter in the ledger every `BEAT_S`, and reads those of the others with it. A wall
clock takes no part, and no time of one machine is compared with that of another. A process that has
not beaten for a while begins to watch anew, so none is judged over an outage of the ledger. So does
one that finds another server in its place: that was promoted and may have lost beats, and a counter
that was set back reaches its old number again, as if it had not moved.

Why it is right: a process whose last good beat *began* over `TRUST_S` ago does nothing that
another may not see (`is_trusted`); the others judge it after `DEAD_S`, counted from the *end* of
the beat that read its counter first to the *beginning* of the one that reads it unchanged. So each
stops before it is judged, by more than `DEAD_S - TRUST_S`, whatever its beats take. Where a process
does not even notice that time passes (it was suspended), the epochs decide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

BEAT_S = 5.0
DEAD_S = 30.0  # a counter that stands still for so long is that of a process that is gone
BEATS_LEAST = 3  # own good beats that have seen it stand still
GAP_S = 15.0  # between two own good beats; after a longer one every watch begins anew
TRUST_S = 20.0  # since the beginning of the last own good beat


@dataclass(frozen=True, kw_only=True)
class SilentPeer:
    """One to be judged dead, if its counter still says so.

    Attributes:
        peer: Its id.
        beats: Its counter, as it has stood still.
    """

    peer: str
    beats: int


@dataclass(frozen=True, kw_only=True)
class _Watch:
    """Of one peer: its counter, since when it stands still, and how many own beats have seen it."""

    beats: int
    since_s: float
    looks: int = 0


class Liveness:
    """What one process knows of its peers. No I/O: times are seconds of its own monotonic clock.

    It is told of good beats only: those that were committed, by a process that is in force.
    """

    def __init__(self) -> None:
        self._watches: Mapping[str, _Watch] = {}
        self._began_s: float | None = None  # of the last good beat
        self._server: object = None

    def beat(
        self, began_s: float, ended_s: float, peers: Mapping[str, int], server: object = None
    ) -> list[SilentPeer]:
        """A good beat; returns the peers to be judged dead.

        Args:
            began_s: Before the beat was sent.
            ended_s: After its answer was here.
            peers: The counters that it read, by id, without the own one.
            server: Which one answered; another one after each promotion.
        """
        before = self._watches
        has_gap = self._began_s is None or ended_s - self._began_s > GAP_S
        if has_gap or server != self._server:
            before = {}
        self._began_s, self._server = began_s, server
        watches = {}
        for peer, beats in peers.items():
            known = before.get(peer)
            if known is None or known.beats != beats:
                known = _Watch(beats=beats, since_s=ended_s)
            watches[peer] = replace(known, looks=known.looks + 1)
        self._watches = watches  # at once: other threads read it
        return [
            SilentPeer(peer=peer, beats=one.beats)
            for peer, one in watches.items()
            if one.looks >= BEATS_LEAST and began_s - one.since_s >= DEAD_S
        ]

    def is_trusted(self, now_s: float) -> bool:
        """Whether no other can have judged this process dead by now."""
        return self._began_s is not None and now_s - self._began_s <= TRUST_S

    def left_s(self, peer: str, now_s: float) -> float:
        """Until this peer is judged, should it be gone: the rest of its watch."""
        watch = self._watches.get(peer)
        return DEAD_S if watch is None else max(0.0, watch.since_s + DEAD_S - now_s)
