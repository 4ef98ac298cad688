"""What happened over time, in equal steps, for plots and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum

from backhaul.adapters.ledger.reading.observing import ActivityReader, ActivityRow

FIVE_MINUTES, HOUR, DAY = timedelta(minutes=5), timedelta(hours=1), timedelta(days=1)
_SPANS_IN_PIECE = 240  # with 50 routes 12,000 rows, which one short transaction can sum up
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class PlotRange(Enum):
    """How far back, the span of the sums that are read, and the steps of plot and table."""

    LAST_HOUR = ("1h", timedelta(hours=1), FIVE_MINUTES, FIVE_MINUTES, FIVE_MINUTES)
    LAST_DAY = ("24h", timedelta(hours=24), FIVE_MINUTES, FIVE_MINUTES, HOUR)
    LAST_WEEK = ("7d", timedelta(days=7), HOUR, HOUR, DAY)
    LAST_QUARTER = ("90d", timedelta(days=90), HOUR, DAY, DAY)

    def __init__(
        self, text: str, length: timedelta, span: timedelta, step: timedelta, row: timedelta
    ) -> None:
        self.text = text
        self.length = length
        self.span = span
        self.step = step
        self.row = row


@dataclass(frozen=True, kw_only=True)
class Step:
    """The sums of one step.

    Attributes:
        lag_mean: Sent to done, of those done that have one; None: none has. Likewise `lag_max`.
    """

    begins_at: datetime
    done: int
    dead: int
    failed: int
    objects: int
    bytes_done: int
    lag_mean: timedelta | None
    lag_max: timedelta | None


def read_steps(
    reader: ActivityReader, chosen: PlotRange, now: datetime, *, route: str | None = None
) -> list[ActivityRow]:
    """The sums as the ledger has them, in transactions that are short."""
    since, until = now - chosen.length, now + chosen.span
    found: list[ActivityRow] = []
    while since < until:
        end = min(since + _SPANS_IN_PIECE * chosen.span, until)
        found += reader.activity_by_time(chosen.span, since, end, route=route)
        since = end
    return found


def in_steps(
    rows: Sequence[ActivityRow], chosen: PlotRange, step: timedelta, now: datetime
) -> list[Step]:
    """Every step of the range, those without anything among them, oldest first."""
    first = _begin(now - chosen.length, step, now)
    sums: dict[datetime, list[ActivityRow]] = {}
    while first <= now:
        sums[first] = []
        first += step
    for row in rows:
        place = _begin(row.begins_at, step, now)
        if place in sums:
            sums[place].append(row)
    return [_step(at, found) for at, found in sums.items()]


def _begin(at: datetime, step: timedelta, now: datetime) -> datetime:
    """The beginning of its step; days begin at midnight in the zone of `now`."""
    offset = now.utcoffset() or timedelta()
    return at - (at + offset - _EPOCH) % step


def _step(at: datetime, rows: Sequence[ActivityRow]) -> Step:
    lags = sum(one.lags for one in rows)
    total = sum((one.lag for one in rows), timedelta())
    return Step(
        begins_at=at,
        done=sum(one.done for one in rows),
        dead=sum(one.dead for one in rows),
        failed=sum(one.failed for one in rows),
        objects=sum(one.objects for one in rows),
        bytes_done=sum(one.bytes_done for one in rows),
        lag_mean=total / lags if lags else None,
        lag_max=max(one.lag_max for one in rows) if lags else None,
    )
