"""How many bytes a second may come from S3: the limit in force, and how much a reader may read now.

Pure: time comes in as an argument. The state that processes share, one number, is kept by
`adapters.system.governor`; the form of the settings is in `settings.model`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

LOWEST_BYTES_PER_S = 64 * 1024
HIGHEST_BYTES_PER_S = 2**63 - 1  # what the files beside the ledger and SQLite hold
MINUTES_A_DAY = 24 * 60

# One grant at most: short enough that a lower limit holds at once, and a reader that is killed
# takes no more with it.
PIECE_S = 0.1
# Unused capacity may be caught up on: readers wake up late on a busy machine.
CREDIT_S = 0.25
# Grants are paid for this far ahead at most; a later moment is from before a reboot.
AHEAD_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Window:
    """A limit for some hours of some days, by the machine's own clock.

    Attributes:
        days: 0 is Monday. A window over midnight belongs to the day on which it begins.
        start_minute: Of the day, 0 to 1439.
        stop_minute: The first minute after it, 1 to 1440.
        bytes_per_s: None: no limit.
    """

    days: frozenset[int]
    start_minute: int
    stop_minute: int
    bytes_per_s: int | None

    def holds(self, local: datetime) -> bool:
        """True when this moment is in it."""
        minute = local.hour * 60 + local.minute
        today = local.weekday() in self.days
        if self.start_minute < self.stop_minute:
            return today and self.start_minute <= minute < self.stop_minute
        yesterday = (local.weekday() - 1) % 7 in self.days
        return (today and minute >= self.start_minute) or (yesterday and minute < self.stop_minute)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The configured limits: the first window that holds, else `bytes_per_s`."""

    bytes_per_s: int | None = None
    windows: tuple[Window, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ManualLimit:
    """The limit that `backhaul limit` set; it overrides the configuration.

    Attributes:
        bytes_per_s: None: no limit.
        until: Aware; None: until it is removed.
    """

    bytes_per_s: int | None
    until: datetime | None = None


class LimitSource(StrEnum):
    """Where the limit in force comes from."""

    BY_HAND = "by hand"
    WINDOW = "window"
    CONFIGURED = "configured"
    SHARE = "share"  # of the limit of all agents together


@dataclass(frozen=True, kw_only=True)
class EffectiveLimit:
    """The limit at one moment; None: no limit."""

    bytes_per_s: int | None
    why: LimitSource


def effective_limit(
    schedule: Schedule, by_hand: ManualLimit | None, local: datetime
) -> EffectiveLimit:
    """The limit now.

    Args:
        local: Aware, in the machine's own time zone: windows are hours of its clock.
    """
    if by_hand is not None and (by_hand.until is None or local < by_hand.until):
        return EffectiveLimit(bytes_per_s=by_hand.bytes_per_s, why=LimitSource.BY_HAND)
    for window in schedule.windows:
        if window.holds(local):
            return EffectiveLimit(bytes_per_s=window.bytes_per_s, why=LimitSource.WINDOW)
    return EffectiveLimit(bytes_per_s=schedule.bytes_per_s, why=LimitSource.CONFIGURED)


@dataclass(frozen=True, kw_only=True)
class Grant:
    """What one reader may read now.

    Attributes:
        size_bytes: 0: nothing yet.
        wait_s: After this a new request may succeed.
        paid_until_s: The new state of the bucket.
    """

    size_bytes: int
    wait_s: float
    paid_until_s: float


def grant(*, paid_until_s: float, now_s: float, wanted_bytes: int, bytes_per_s: int) -> Grant:
    """Some of the bytes wanted, if the rate allows any now.

    A token bucket, whose state is one point in time: until then the rate is used up by what was
    granted. A point in the past is credit, one in the future is the debt of the last grant.

    Args:
        paid_until_s: From the grant before; any value at the start.
        now_s: Of a monotonic clock that all readers share.
    """
    if not paid_until_s <= now_s + AHEAD_S:  # nor when it is no number
        paid_until_s = now_s
    paid_until_s = max(paid_until_s, now_s - CREDIT_S)
    if paid_until_s > now_s:
        return Grant(size_bytes=0, wait_s=paid_until_s - now_s, paid_until_s=paid_until_s)
    size = min(wanted_bytes, max(1, int(bytes_per_s * PIECE_S)))
    return Grant(size_bytes=size, wait_s=0.0, paid_until_s=paid_until_s + size / bytes_per_s)


# ---------------------------------------------------------------- YARN applications

# DistCp gets its rate once and keeps it, so that counts against what this node's own workers may
# use. It counts for this long after the application was last seen running: the agent that follows
# it may be restarted meanwhile.
LEASE_S = 600.0
# At least 1/KEPT_SHARE of the limit stays with this node: an application that was submitted under a
# higher limit must not stop everything else for the hours that it runs.
KEPT_SHARE = 10


@dataclass(frozen=True, kw_only=True)
class Reservation:
    """The rate reserved for one application.

    Attributes:
        until_s: Wall clock; it does not count from then on.
    """

    bytes_per_s: int
    until_s: float


def reserved(found: Iterable[Reservation], now_s: float) -> int:
    """Rate of all applications together, bytes per second."""
    return sum(one.bytes_per_s for one in found if one.until_s > now_s)


def for_application(bytes_per_s: int, reserved_bytes_per_s: int) -> int:
    """Highest rate of a new application: half of what the others leave."""
    return max(1, (bytes_per_s - reserved_bytes_per_s) // 2)


def for_this_node(bytes_per_s: int, reserved_bytes_per_s: int) -> int:
    """Rate of this node's workers beside the applications; 0 where its share is nothing yet."""
    return max(min(1, bytes_per_s), bytes_per_s // KEPT_SHARE, bytes_per_s - reserved_bytes_per_s)


class RateReservations(Protocol):
    """Shares of the rate for YARN applications, reserved before they are submitted.

    Raises (any method):
        OutageError: `ledger` E_RATE_FILE.
    """

    def reserve(self, tag: str, rate: Callable[[int | None], int]) -> None:
        """Reserve for an application that is about to be submitted.

        Args:
            rate: Maps the highest rate it may have (None: no limit) to the rate it will use.
        """

    def keep(self, tag: str) -> None:
        """It runs: prolong the reservation."""

    def free(self, tag: str) -> None:
        """It is over: end the reservation."""


# ---------------------------------------------------------------- readers


class Allowance(Protocol):
    """Permission to read from S3, requested before each read."""

    def take(self, wanted_bytes: int, waiting: Callable[[], None]) -> int:
        """Wait until some of these bytes may be read; returns how many: 1 to `wanted_bytes`.

        Args:
            waiting: Called repeatedly while it waits; an exception from it ends the wait.
        """


class Unlimited:
    """Implements `Allowance` without a limit."""

    def take(self, wanted_bytes: int, waiting: Callable[[], None]) -> int:
        """All of it, at once."""
        del waiting
        return wanted_bytes
