"""How many bytes a second may come from S3: which limit is in force, and who may read how much now.

Pure: time comes in as an argument. The state that processes share, one number, is kept by
`adapters.governor`; what the settings look like is `settings.bandwidth`.
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
# What was not used may be made up for: readers that wake up late on a busy machine.
CREDIT_S = 0.25
# Grants are paid for this far ahead at most; a later moment is of the time before a reboot.
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
        """Whether this moment is in it."""
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
class ByHand:
    """What `backhaul limit` set: stronger than the configuration, until then.

    Attributes:
        bytes_per_s: None: no limit.
        until: Aware; None: until it is taken back.
    """

    bytes_per_s: int | None
    until: datetime | None = None


class Why(StrEnum):
    """Where the limit in force comes from."""

    BY_HAND = "by hand"
    WINDOW = "window"
    CONFIGURED = "configured"


@dataclass(frozen=True, kw_only=True)
class InForce:
    """The limit at one moment; None: no limit."""

    bytes_per_s: int | None
    why: Why


def in_force(schedule: Schedule, by_hand: ByHand | None, local: datetime) -> InForce:
    """The limit now.

    Args:
        local: Aware, in the machine's own time zone: windows are hours of its clock.
    """
    if by_hand is not None and (by_hand.until is None or local < by_hand.until):
        return InForce(bytes_per_s=by_hand.bytes_per_s, why=Why.BY_HAND)
    for window in schedule.windows:
        if window.holds(local):
            return InForce(bytes_per_s=window.bytes_per_s, why=Why.WINDOW)
    return InForce(bytes_per_s=schedule.bytes_per_s, why=Why.CONFIGURED)


@dataclass(frozen=True, kw_only=True)
class Grant:
    """What one reader may read now.

    Attributes:
        size_bytes: 0: nothing yet.
        wait_s: After which it is worth asking again.
        paid_until_s: What the bucket is from now on.
    """

    size_bytes: int
    wait_s: float
    paid_until_s: float


def grant(*, paid_until_s: float, now_s: float, wanted_bytes: int, bytes_per_s: int) -> Grant:
    """Some of the bytes wanted, if the line is free.

    The bucket is one moment: until then everything granted is paid for. It may lie a little back,
    which is the credit, or a little ahead, which is the debt of the last grant.

    Args:
        paid_until_s: From the grant before; any value at the start.
        now_s: Of a clock that all readers share and nobody sets.
    """
    if not paid_until_s <= now_s + AHEAD_S:  # nor when it is no number
        paid_until_s = now_s
    paid_until_s = max(paid_until_s, now_s - CREDIT_S)
    if paid_until_s > now_s:
        return Grant(size_bytes=0, wait_s=paid_until_s - now_s, paid_until_s=paid_until_s)
    size = min(wanted_bytes, max(1, int(bytes_per_s * PIECE_S)))
    return Grant(size_bytes=size, wait_s=0.0, paid_until_s=paid_until_s + size / bytes_per_s)


# ---------------------------------------------------------------- YARN applications

# DistCp takes its figure once and never asks again, so what it was given counts against what this
# node's own workers take. It counts for so long after somebody has last seen it run: whoever
# follows it may be restarted meanwhile.
LEASE_S = 600.0
# Of the limit, that this node keeps at least: an application that was submitted under a higher one
# must not stop everything else for the hours that it runs.
KEPT_SHARE = 10


@dataclass(frozen=True, kw_only=True)
class Reservation:
    """What one application may take.

    Attributes:
        until_s: Wall clock; it does not count from then on.
    """

    bytes_per_s: int
    until_s: float


def reserved(found: Iterable[Reservation], now_s: float) -> int:
    """What all applications may take together, bytes per second."""
    return sum(one.bytes_per_s for one in found if one.until_s > now_s)


def for_application(bytes_per_s: int, reserved_bytes_per_s: int) -> int:
    """The most that a new application may have: half of what the others leave."""
    return max(1, (bytes_per_s - reserved_bytes_per_s) // 2)


def for_this_node(bytes_per_s: int, reserved_bytes_per_s: int) -> int:
    """What this node's workers may take beside the applications."""
    return max(1, bytes_per_s // KEPT_SHARE, bytes_per_s - reserved_bytes_per_s)


class RateReservations(Protocol):
    """Shares of the rate for YARN applications, reserved before they are submitted.

    Raises (any method):
        OutageError: `ledger` E_RATE_FILE.
    """

    def reserve(self, tag: str, rate: Callable[[int | None], int]) -> None:
        """Reserve for an application that is about to be submitted.

        Args:
            rate: Given the most that it may take (None: no limit), what it will take.
        """

    def keep(self, tag: str) -> None:
        """It runs."""

    def free(self, tag: str) -> None:
        """Nothing of it runs."""


# ---------------------------------------------------------------- readers


class Allowance(Protocol):
    """Who reads from S3 asks here first."""

    def take(self, wanted_bytes: int, waiting: Callable[[], None]) -> int:
        """Wait until some of these bytes may be read, and say how many: 1 to `wanted_bytes`.

        Args:
            waiting: Called now and then while it waits; what it raises ends the wait.
        """


class Unlimited:
    """Implements `Allowance` where nothing is to be limited."""

    def take(self, wanted_bytes: int, waiting: Callable[[], None]) -> int:
        """All of it, at once."""
        del waiting
        return wanted_bytes
