"""What an observer knows of the polls of one queue, and what it reports of all of them together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from backhaul.core import facts
from backhaul.core.agent_report import QueueDepth, QueueReport
from backhaul.core.ports import Clock

Date = Callable[[float], datetime]  # of a monotonic time
NAMES = ("queue", "region")


class QueueWatch:
    """One queue; safe to share only under the observer's lock. Times are monotonic.

    Attributes:
        is_resting: Whether its poller need not poll now, such as while all slots are busy; None:
            not known, and the observer knows by the slots.
    """

    def __init__(self, clock: Clock, region: str = "") -> None:
        self._clock = clock
        self.region = region
        self.is_resting: Callable[[], bool] | None = None
        self.is_everything_paused = False
        self.depth: QueueDepth | None = None
        self._polled_s: float | None = None
        self._failing_s: float | None = None
        self._failed_polls = 0
        self._poll_error = ("", "", "")
        self._has_more = False
        self._newest_sent_at: datetime | None = None
        self._awake_s = clock.monotonic()

    @property
    def is_failing(self) -> bool:
        """Its last poll failed."""
        return self._failed_polls > 0

    def polled(self, fact: facts.QueuePolled) -> None:
        """SQS answered."""
        self._has_more = fact.messages > 0
        self._polled_s, self._failing_s = self._clock.monotonic(), None
        self._failed_polls, self._poll_error = 0, ("", "", "")

    def poll_failed(self, fact: facts.PollFailed) -> None:
        """It did not."""
        if self._failing_s is None:
            self._failing_s = self._clock.monotonic()
        self._failed_polls += 1
        self._poll_error = (fact.code, fact.reason, fact.hint)

    def received(self, sent_at: datetime | None) -> None:
        """A message of it got a slot."""
        self._newest_sent_at = sent_at or self._newest_sent_at

    def oldest_sent_at(self, hidden: Sequence[datetime | None]) -> datetime | None:
        """Of its messages that this agent has, and of the newest receive while there are more."""
        known = [one for one in hidden if one is not None]
        has_more = self._has_more and (self.depth is None or self.depth.visible > 0)
        if has_more and self._newest_sent_at is not None:
            known.append(self._newest_sent_at)
        return min(known, default=None)

    def polls(self, date: Date) -> dict[str, Any]:
        """Fields of a report."""
        code, reason, hint = self._poll_error
        return {
            "last_poll_at": None if self._polled_s is None else date(self._polled_s),
            "failing_since": None if self._failing_s is None else date(self._failing_s),
            "failed_polls": self._failed_polls,
            "poll_code": code,
            "poll_reason": reason,
            "poll_hint": hint,
            "is_everything_paused": self.is_everything_paused,
            "depth": self.depth,
        }

    def awake_since(self, date: Date) -> datetime | None:
        """Since when it could have been polled; None: it could not."""
        if self.is_resting is None or self.is_resting():
            self._awake_s = self._clock.monotonic()
            return None
        return date(self._awake_s)


def together(queues: Sequence[QueueReport]) -> dict[str, Any]:
    """What a report of the agent says of the polls of several queues: at least one is well."""
    best = min(queues, key=lambda one: one.failed_polls)
    known = {
        field.name: getattr(best, field.name)
        for field in fields(QueueReport)
        if field.name not in {*NAMES, "in_hand", "parked", "slot_free_since"}
    }
    depths = [one.depth for one in queues if one.depth is not None]
    return known | {
        "last_poll_at": max((one.last_poll_at for one in queues if one.last_poll_at), default=None),
        "oldest_sent_at": min(
            (one.oldest_sent_at for one in queues if one.oldest_sent_at), default=None
        ),
        "is_everything_paused": all(one.is_everything_paused for one in queues),
        "depth": _sum(depths) if depths else None,
    }


def _sum(depths: Sequence[QueueDepth]) -> QueueDepth:
    dead = [one.dead_letters for one in depths if one.dead_letters is not None]
    return QueueDepth(
        visible=sum(one.visible for one in depths),
        in_flight=sum(one.in_flight for one in depths),
        delayed=sum(one.delayed for one in depths),
        retention_s=None,
        at=min(one.at for one in depths),
        dead_letters=sum(dead) if dead else None,
    )
