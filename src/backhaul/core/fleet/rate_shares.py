"""How the agents of one ledger share one byte rate: fair by demand, and never above the limit.

One of them, the leader, decides for all. It lowers shares first, and raises others only by what
the lowered ones have acknowledged to use no more. Nothing of one that was judged dead is given away
before two of its periods have passed. Pure: what is committed when is the ledger's.

Always: what is granted, and what is reserved for the dead, is the limit at most.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from backhaul.core.fleet.liveness import DEAD_S
from backhaul.core.rate_limit import HIGHEST_BYTES_PER_S, ManualLimit, Schedule, effective_limit

NO_LIMIT = HIGHEST_BYTES_PER_S
RESERVED_S = 2 * DEAD_S  # for one that was judged dead: its workers may read on
IDLE_PART = 10  # who reads nothing keeps a tenth of an equal part, to begin with
STEADY_PART = 8  # of an equal part: shares that are that near to what is fair stay
USED_PART = 0.8  # of its share: who reads so much could use more
SPARE = 1.25  # of what others read: they may read a little more at once
MEASURE_S = 2.0  # at least, between two counts of bytes


@dataclass(frozen=True, kw_only=True)
class RateShare:
    """One reader's part, as the ledger has it; bytes per second.

    Attributes:
        configured: The limit by its own configuration; `NO_LIMIT`: none.
        demand: What it could use; `NO_LIMIT`: more than it has.
        kept: What YARN applications have of it, who keep theirs.
        granted: What it may use.
        bound: What it may still be using: above `granted` until it has acknowledged that.
        is_gone: It was judged dead.
    """

    configured: int = NO_LIMIT
    demand: int = 0
    kept: int = 0
    granted: int = 0
    bound: int = 0
    is_gone: bool = False


@dataclass(frozen=True, kw_only=True)
class SeenRates:
    """What a beat has read of it.

    Attributes:
        shares: By member.
        limit: That the shares are of; `NO_LIMIT`: none; None: nothing was shared yet.
        by_hand: What `backhaul limit` set.
    """

    shares: Mapping[str, RateShare] = field(default_factory=dict)
    limit: int | None = None
    by_hand: ManualLimit | None = None


@dataclass(frozen=True, kw_only=True)
class RateReport:
    """What a reader's beat brings along; as `RateShare` has it.

    Attributes:
        held: The share that it uses.
    """

    configured: int
    demand: int
    kept: int
    held: int


@dataclass(frozen=True, kw_only=True)
class RateSplit:
    """What the leader is to commit at once.

    Attributes:
        limit: `NO_LIMIT`: none.
        granted: By member.
        released: Members whose reservation is over.
    """

    limit: int
    granted: Mapping[str, int]
    released: frozenset[str] = frozenset()


def fair_shares(total: int, wants: Mapping[str, tuple[int, int]]) -> dict[str, int]:
    """Max-min fair: nobody has more while one with less could use more.

    Args:
        wants: The least and the most of each. Where not all can have their least, that is what is
            shared.

    Returns:
        Together at most `total`, and less than it by under one for each where they want more.
    """
    if sum(least for least, _ in wants.values()) > total:
        return fair_shares(total, {one: (0, least) for one, (least, _) in wants.items()})

    def at(level: int) -> dict[str, int]:
        return {one: min(max(level, least), most) for one, (least, most) in wants.items()}

    low, high = 0, total
    while low < high:
        level = (low + high + 1) // 2
        low, high = (level, high) if sum(at(level).values()) <= total else (low, level - 1)
    return at(low)


def fleet_limit(rates: SeenRates, local: datetime) -> int:
    """That of all together: set by hand, or the highest that one of them is configured with.

    Args:
        local: As `effective_limit` has it.
    """
    highest = max((one.configured for one in rates.shares.values() if not one.is_gone), default=0)
    return _effective(highest or NO_LIMIT, rates.by_hand, local)


def own_limit(configured: int, by_hand: ManualLimit | None, local: datetime) -> int:
    """Above which a reader uses no share, whatever it is granted."""
    return _effective(configured, by_hand, local)


def _effective(configured: int, by_hand: ManualLimit | None, local: datetime) -> int:
    schedule = Schedule(bytes_per_s=None if configured >= NO_LIMIT else configured)
    found = effective_limit(schedule, by_hand, local).bytes_per_s
    return NO_LIMIT if found is None else found


def split_rate(limit: int, rates: SeenRates) -> dict[str, int]:
    """What each member is granted from now on.

    Args:
        limit: `NO_LIMIT`: none.
    """
    shares = rates.shares
    live = [one for one, share in shares.items() if not share.is_gone]
    if limit >= NO_LIMIT:
        return {one: share.granted for one, share in shares.items()} | dict.fromkeys(live, NO_LIMIT)
    wants = _wants(limit, shares, live)
    targets = _with_spare(limit, fair_shares(limit, wants), live)
    if limit == rates.limit and _is_steady(limit, shares, wants, targets, live):
        return {one: share.granted for one, share in shares.items()}
    granted = {one: min(share.granted, targets[one]) for one, share in shares.items()}
    room = limit - sum(used_at_most(share, granted[one]) for one, share in shares.items())
    for one in sorted(live, key=lambda name: (granted[name], name)):
        free = used_at_most(shares[one], granted[one])  # up to here it costs nothing
        raised = min(targets[one], free + max(0, room))
        room -= max(0, raised - free)
        granted[one] = max(granted[one], raised)
    return granted


def used_at_most(share: RateShare, granted: int) -> int:
    """What it may use, from the moment when it is granted this until it has acknowledged it."""
    return max(share.bound, granted)


def _wants(
    limit: int, shares: Mapping[str, RateShare], live: list[str]
) -> dict[str, tuple[int, int]]:
    """For `fair_shares`. Who is dead keeps what it had, and is given nothing more."""
    idle = limit // (IDLE_PART * max(1, len(live)))
    wants = {one: (0, min(share.granted, limit)) for one, share in shares.items()}
    for one in live:
        least = min(limit, max(idle, shares[one].kept))
        wants[one] = (least, max(least, min(limit, shares[one].demand)))
    return wants


def _with_spare(limit: int, targets: Mapping[str, int], live: list[str]) -> dict[str, int]:
    """What is left where all have what they could use goes to all alike: they may want it."""
    spare = (limit - sum(targets.values())) // max(1, len(live))
    return {one: share + spare * (one in live) for one, share in targets.items()}


def _is_steady(
    limit: int,
    shares: Mapping[str, RateShare],
    wants: Mapping[str, tuple[int, int]],
    targets: Mapping[str, int],
    live: list[str],
) -> bool:
    """Whether the shares may stay, though demand has moved a little."""
    near = limit // (STEADY_PART * max(1, len(live)))
    is_used_up = sum(share.granted for share in shares.values()) > limit - 2 * len(shares)
    return is_used_up and all(
        shares[one].granted >= wants[one][0] and abs(shares[one].granted - targets[one]) <= near
        for one in live
    )


class RateLeader:
    """What the one that splits knows besides: for how long the dead are reserved for.

    Times are seconds of its own monotonic clock: whoever follows it counts anew.
    """

    def __init__(self) -> None:
        self._gone_s: dict[str, float] = {}

    def plan(self, rates: SeenRates, now_s: float, local: datetime) -> RateSplit | None:
        """What is to be committed; None: all stays as it is."""
        gone = {one for one, share in rates.shares.items() if share.is_gone}
        self._gone_s = {one: self._gone_s.get(one, now_s) for one in gone}
        released = {one for one, since_s in self._gone_s.items() if now_s - since_s >= RESERVED_S}
        shares = {one: share for one, share in rates.shares.items() if one not in released}
        left = SeenRates(shares=shares, limit=rates.limit, by_hand=rates.by_hand)
        limit = fleet_limit(left, local)
        granted = split_rate(limit, left)
        before = {one: share.granted for one, share in shares.items()}
        if granted == before and limit == rates.limit and not released:
            return None
        return RateSplit(limit=limit, granted=granted, released=frozenset(released))


def is_settling(shares: Iterable[RateShare]) -> bool:
    """Whether an acknowledgement is missing by which others are raised."""
    return any(one.bound > max(one.granted, one.kept) for one in shares if not one.is_gone)


class RateSeat(Protocol):
    """Where the processes of one member read under its share.

    Raises (any method):
        OutageError: `ledger` E_RATE_FILE.
    """

    def configured(self) -> int | None:
        """The limit by the configuration now; None: none."""

    def apply(self, bytes_per_s: int | None) -> None:
        """They read no more than this from now on, within a second; None: no limit."""

    def taken(self) -> int:
        """Bytes that they were allowed to read since any moment, under a limit."""

    def kept(self) -> int:
        """Bytes per second that YARN applications have of the share."""


class RateReader:
    """One member's own part: what it could use, and what it uses.

    Args:
        seat: Holds the share for its workers.

    Attributes:
        held: The share that they use.
    """

    def __init__(self, seat: RateSeat) -> None:
        self._seat = seat
        self._taken = seat.taken()
        self._measured_s: float | None = None
        self._demand = 0
        self._configured = NO_LIMIT
        self._applied: int | None = None
        self.held = 0

    def report(self, now_s: float) -> RateReport:
        """For the next beat.

        Args:
            now_s: Of a monotonic clock.
        """
        kept = self._seat.kept()
        configured = self._seat.configured()
        self._configured = NO_LIMIT if configured is None else configured
        if self._measured_s is None:
            self._measured_s = now_s
        passed_s = now_s - self._measured_s
        if passed_s >= MEASURE_S:
            taken = self._seat.taken()
            self._demand = self._wanted(max(0, taken - self._taken) / passed_s, kept)
            self._taken, self._measured_s = taken, now_s
        return RateReport(
            configured=self._configured, demand=self._demand, kept=kept, held=self.held
        )

    def _wanted(self, used: float, kept: int) -> int:
        share = self._applied
        if share is None or not used:
            return kept
        most = self._configured
        if used + kept >= USED_PART * share:
            return most
        return min(most, math.ceil((used + kept) * SPARE))

    def follow(self, granted: int, by_hand: ManualLimit | None, local: datetime) -> None:
        """Use this share from now on; the next report acknowledges it."""
        applied = min(granted, own_limit(self._configured, by_hand, local))
        if applied != self._applied:
            self._seat.apply(None if applied >= NO_LIMIT else applied)
            self._applied = applied
        self.held = granted
