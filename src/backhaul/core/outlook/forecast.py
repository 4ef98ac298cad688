"""When the backlog is through: its bytes, the time at the present rate, and what will not wait.

Pure, and the one place where it is computed: `status`, `top`, `check`, the metrics, the dashboard
and the warnings all show what `forecast` returns. It never guesses: where the rate, the counts or
the agent are unknown, the time is unknown, too, with the reason in words.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from backhaul.core.agent_report import AgentRecord, QueueDepth, RunningTransfer
from backhaul.core.health import ObservedAgent
from backhaul.core.units import human_span

WINDOW, LONG_WINDOW = timedelta(minutes=15), timedelta(hours=1)
SHORTEST = timedelta(minutes=1)  # a rate over less than that is chance
MEAN_OVER = timedelta(days=1)
ENOUGH = 5  # ended messages that make a rate; with fewer, bytes per second are more steady
COUNTS_OLD = timedelta(minutes=5)  # SQS is asked every 30 s
LONGEST = timedelta(days=3650)  # a longer time says only that hardly anything moves


class EndedSum(Protocol):
    """What ended within five minutes; the ledger's sums have this form."""

    @property
    def begins_at(self) -> datetime:
        """Of the five minutes."""

    @property
    def done(self) -> int:
        """Transfers."""

    @property
    def dead(self) -> int:
        """Likewise."""


class SumsReader(Protocol):
    """What the ledger knows of the past; each call is one short transaction."""

    def ended(self, since: datetime) -> Sequence[EndedSum]:
        """Over all routes, of each five minutes that begin at or after this moment."""

    def mean_bytes(self, since: datetime) -> float | None:
        """Of the transfers done since then, to the hour; None where there were none."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Of one queue.

    Attributes:
        messages: Visible or in flight, those of paused routes apart; None: SQS gave no counts.
        size_bytes: What is left to copy of them: sizes that are known, and the mean for others.
        per_minute: Messages that ended, over the window that was used, 0 where none did; None:
            unknown.
        left: Until the last of them has ended, at the present rate; None: unknown.
        unknown: Why; empty where `left` is known.
        oldest_age: Of the oldest known message.
        retention_share: Its age once the backlog is through, divided by the queue's retention.
    """

    queue: str
    at: datetime
    messages: int | None = None
    size_bytes: int | None = None
    per_minute: float | None = None
    left: timedelta | None = None
    unknown: str = ""
    oldest_age: timedelta | None = None
    retention: timedelta | None = None
    retention_share: float | None = None

    @property
    def done_by(self) -> datetime | None:
        """When the backlog is through; None: unknown."""
        return None if self.left is None else self.at + self.left


@dataclass(frozen=True, kw_only=True)
class _Rate:
    """What ended within a window; `minutes` is the part of it in which the agent worked."""

    messages: int
    minutes: float

    @property
    def per_minute(self) -> float:
        return self.messages / self.minutes


def forecasts(
    reader: SumsReader, agents: Sequence[ObservedAgent], now: datetime
) -> tuple[Forecast, ...]:
    """Of each queue that an agent alive works, by name: what every page and metric shows."""
    by_queue: dict[str, list[AgentRecord]] = defaultdict(list)
    for one in agents:
        if one.is_alive(now):
            for record in one.record.by_queue:
                by_queue[record.identity.queue].append(record)
    if not by_queue:
        return ()
    ended = reader.ended(now - LONG_WINDOW - WINDOW)
    mean_bytes = reader.mean_bytes(now - MEAN_OVER)
    is_alone = len(by_queue) == 1
    return tuple(
        forecast(name, records, ended, mean_bytes, now, is_alone=is_alone)
        for name, records in sorted(by_queue.items())
    )


def forecast(
    queue: str,
    agents: Sequence[AgentRecord],
    ended: Sequence[EndedSum],
    mean_bytes: float | None,
    now: datetime,
    *,
    is_alone: bool = True,
) -> Forecast:
    """When the backlog of a queue is through.

    Args:
        agents: Those alive that work this queue.
        ended: Sums of five minutes each of the last hour, oldest first, of all routes.
        mean_bytes: Of a transfer within a day; None: none was done.
        is_alone: No agent of another queue is alive on this ledger: `ended` is of this queue.
    """
    depth = max(
        (one.report.depth for one in agents if one.report.depth is not None),
        key=lambda one: one.at,
        default=None,
    )
    sent = [one.report.oldest_sent_at for one in agents if one.report.oldest_sent_at is not None]
    oldest_age = max(timedelta(), now - min(sent)) if sent else None
    retention = timedelta(seconds=depth.retention_s) if depth and depth.retention_s else None
    messages = size_bytes = None
    if depth is not None:
        parked = sum(one.report.parked for one in agents)
        messages = max(0, depth.visible + depth.in_flight - parked)
        size_bytes = _size_bytes(depth, messages, agents, mean_bytes)
    rate = _rate(agents, ended) if is_alone else None
    left, unknown = _left(depth, messages, size_bytes, rate, agents, now, is_alone=is_alone)
    share = None
    if left is not None and retention is not None:
        share = (left + (oldest_age or timedelta())) / retention
    return Forecast(
        queue=queue,
        at=now,
        messages=messages,
        size_bytes=size_bytes,
        per_minute=_per_minute(rate, is_known=is_alone and bool(agents)),
        left=left,
        unknown=unknown,
        oldest_age=oldest_age,
        retention=retention,
        retention_share=share,
    )


def _size_bytes(
    depth: QueueDepth, messages: int, agents: Sequence[AgentRecord], mean_bytes: float | None
) -> int | None:
    """Known sizes of what is under way, and the mean for each other message; None: unknown."""
    running = [one for record in agents for one in record.report.running]
    known = [_missing_bytes(one, mean_bytes) for one in running]
    # SQS counts roughly, and a report may be newer: what runs is there in any case.
    others = max(depth.visible, messages - len(running))
    if (others and mean_bytes is None) or None in known:
        return None
    return round(others * (mean_bytes or 0.0) + sum(one or 0.0 for one in known))


def _missing_bytes(one: RunningTransfer, mean_bytes: float | None) -> float | None:
    if one.is_planned:
        total: float | None = one.size_bytes_total
    else:
        total = one.event_bytes if one.event_bytes is not None else mean_bytes
        if total is not None:
            total = max(total, one.size_bytes_total)
    return None if total is None else max(0.0, total - one.size_bytes)


def _rate(agents: Sequence[AgentRecord], ended: Sequence[EndedSum]) -> _Rate | None:
    """Over a quarter of an hour, or over an hour where too few ended; None: nothing ended.

    The time before the agent started is no part of it: the sums are of whole spans.
    """
    if not agents:
        return None
    seen = max(one.report.at for one in agents)
    started = min(one.identity.started_at for one in agents)
    found = None
    for window in (WINDOW, LONG_WINDOW):
        recent = [one for one in ended if one.begins_at >= seen - window and one.done + one.dead]
        if not recent:
            continue
        covered = max(SHORTEST, seen - max(started, min(one.begins_at for one in recent)))
        messages = sum(one.done + one.dead for one in recent)
        found = _Rate(messages=messages, minutes=covered / timedelta(minutes=1))
        if messages >= ENOUGH:
            break
    return found


def _per_minute(rate: _Rate | None, *, is_known: bool) -> float | None:
    if rate is not None:
        return rate.per_minute
    return 0.0 if is_known else None


def _left(
    depth: QueueDepth | None,
    messages: int | None,
    size_bytes: int | None,
    rate: _Rate | None,
    agents: Sequence[AgentRecord],
    now: datetime,
    *,
    is_alone: bool,
) -> tuple[timedelta | None, str]:
    """The time, or why it is unknown."""
    if not agents:
        return None, "no agent is alive"
    if depth is None or messages is None:
        return None, "SQS has not given its counts yet"
    if now - depth.at > COUNTS_OLD:
        return None, f"SQS's counts are {human_span(now - depth.at)} old"
    if messages == 0:
        return timedelta(), ""
    if reason := _standstill(agents):
        return None, reason
    bytes_per_s = sum(one.report.bytes_per_s for one in agents)
    is_steady = rate is not None and rate.messages >= ENOUGH
    if not is_steady and bytes_per_s > 0 and size_bytes is not None:
        return _time_left(size_bytes / bytes_per_s)
    if rate is not None:
        return _time_left(60 * messages / rate.per_minute)
    if not is_alone:
        return None, "several queues share this ledger, and its sums are of all of them"
    return None, "no rate yet: nothing has ended within an hour"


def _time_left(seconds: float) -> tuple[timedelta | None, str]:
    if seconds > LONGEST.total_seconds():
        return None, "hardly anything moves: at the present rate it takes more than ten years"
    return timedelta(seconds=seconds), ""


def _standstill(agents: Sequence[AgentRecord]) -> str:
    """Why nothing goes on at present, so that no past rate counts; empty: something does."""
    reports = [one.report for one in agents]
    if all(one.is_stopping for one in reports):
        return "the agent is stopping"
    if all(one.is_everything_paused for one in reports):
        return "every route is paused"
    running = [one for report in reports for one in report.running]
    held = sorted({one.dependency for report in reports for one in report.holds})
    if held and all(one.waits_for for one in running):
        return f"held by {', '.join(held)}"
    return ""
