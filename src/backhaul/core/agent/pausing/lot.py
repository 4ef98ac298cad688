"""Which parked messages are kept, and which may go: decisions without any call. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from backhaul.core.agent.verdicts import HOLD_SHARE, is_expiring
from backhaul.core.ports import Message, QueueFacts
from backhaul.core.requests.records import RouteWait

PARKED_MOST = 200  # each costs a call of SQS every five minutes, and one when the agent stops
PARKED_TIMEOUT_S = 900  # after a crash of the agent it reappears within this time
RETURNED_S = 3600.0  # for how long a message is hidden that is not kept
SPARE_RECEIVES = 2  # with no more than these left, it is hidden for as long as SQS allows
TOTAL_SHARE = 23 / 24  # of SQS's 12 h: then it is received anew, before its handle is refused


@dataclass(frozen=True, kw_only=True)
class ParkedMessage:
    """A message whose transfer may not begin; its visibility is kept."""

    message: Message
    wait: RouteWait


class Parked(Enum):
    """What becomes of a parked message now."""

    STAYS = "stays"
    GOES_ON = "goes on"  # into a slot
    RETURNS = "returns"  # to SQS, to be received anew: its 12 h are nearly over


class ParkingLot:
    """Parked messages, at most `PARKED_MOST`; safe to share only under its owner's lock."""

    def __init__(self) -> None:
        self._parked: dict[str, ParkedMessage] = {}

    def __len__(self) -> int:
        return len(self._parked)

    @property
    def waits(self) -> tuple[RouteWait, ...]:
        """What they wait for, each once."""
        return tuple(dict.fromkeys(one.wait for one in self._parked.values()))

    def add(self, parked: ParkedMessage) -> ParkedMessage | None:
        """Keep it; returns the one that may not be kept, if there are too many.

        That is the one with the fewest receives, which can best afford another one; the newest of
        several.
        """
        self._parked[parked.message.message_id] = parked
        if len(self._parked) <= PARKED_MOST:
            return None
        least = min(reversed(self._parked.values()), key=lambda one: one.message.receive_count)
        return self._parked.pop(least.message.message_id)

    def pop(self) -> ParkedMessage | None:
        """Any of them."""
        return self._parked.popitem()[1] if self._parked else None

    def take(self, fate: Callable[[ParkedMessage], Parked], wanted: Parked) -> list[ParkedMessage]:
        """Those with this fate, the longest parked first; they are not kept any more."""
        found = [one for one in self._parked.values() if fate(one) is wanted]
        for one in found:
            del self._parked[one.message.message_id]
        return found


def fate_of(
    parked: ParkedMessage,
    facts: QueueFacts,
    *,
    is_waiting: bool,
    now: datetime,
    hidden_s: float,
    total_s: float,
) -> Parked:
    """Whether it stays.

    Args:
        is_waiting: Its route is paused, or a budget does not allow it.
        hidden_s: Time since its newest receive; SQS allows `total_s`.
    """
    if not is_waiting:
        return Parked.GOES_ON
    if is_expiring(parked.message, facts, now, HOLD_SHARE):
        return Parked.GOES_ON  # to its death, with a dead letter
    return Parked.RETURNS if hidden_s >= total_s * TOTAL_SHARE else Parked.STAYS


def returned_for_s(
    message: Message,
    until: datetime | None,
    facts: QueueFacts,
    *,
    now: datetime,
    left_s: float,
    chance: float,
) -> int:
    """For how long a message is hidden that is not kept.

    Args:
        until: When what it waits for ends by itself; None: not known.
        left_s: SQS hides it no longer than this.
        chance: 0.0 to 1.0: those returned together come back one after the other.
    """
    limit = facts.max_receive_count
    if limit is not None and limit - message.receive_count <= SPARE_RECEIVES:
        return max(0, int(left_s))
    seconds = RETURNED_S * (0.75 + 0.5 * chance)
    if until is not None:
        ends_in = (until - now) / timedelta(seconds=1)
        seconds = min(seconds, max(0.0, ends_in) + 60 * chance)
    return max(0, int(min(seconds, left_s)))
