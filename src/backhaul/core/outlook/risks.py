"""What will break before the backlog is through: a queue's retention, or a deadline.

Pure. A warning comes before the harm, so each is derived from a forecast, and there is none while
that is unknown: what is unknown has alerts of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from backhaul.core.outlook.expectation import ExpectationStatus
from backhaul.core.outlook.forecast import Forecast
from backhaul.core.units import human_span

RETENTION_FROM = 0.9  # of what SQS keeps
LEFT_FROM = timedelta(minutes=5)  # a shorter backlog is a queue at work


class RiskKind(StrEnum):
    """What would break."""

    RETENTION = "retention"
    DEADLINE = "deadline"


@dataclass(frozen=True, kw_only=True)
class Risk:
    """One thing that will break.

    Attributes:
        subject: The same for the same thing, however near it is: a warning is given once.
        queue: Whose forecast it is from.
        until: Then it has happened or has not, and is no risk any more; None: it stays one.
    """

    kind: RiskKind
    queue: str
    until: datetime | None = None
    subject: str
    code: str
    sentence: str
    hint: str


def risks(
    forecasts: Sequence[Forecast], expectations: Sequence[ExpectationStatus]
) -> tuple[Risk, ...]:
    """All of them; those of the retention first, as what SQS deletes is gone."""
    found = [_retention(one) for one in forecasts]
    found += [_deadline(one, status) for one in forecasts for status in expectations]
    return tuple(one for one in found if one is not None)


def known_kinds(
    forecasts: Sequence[Forecast], expectations: Sequence[ExpectationStatus]
) -> frozenset[RiskKind]:
    """Those of which `risks` found all: only of these is none found the same as no risk."""
    if not forecasts or any(one.left is None for one in forecasts):
        return frozenset()
    found = set()
    if all(one.retention_share is not None or _is_short(one) for one in forecasts):
        found.add(RiskKind.RETENTION)
    if all(one.next.found is not None for one in expectations):
        found.add(RiskKind.DEADLINE)
    return frozenset(found)


def _is_short(one: Forecast) -> bool:
    """Its backlog breaks nothing, whatever else is known."""
    return one.left is not None and one.left < LEFT_FROM


def _retention(one: Forecast) -> Risk | None:
    if one.retention_share is None or one.retention is None or one.left is None:
        return None
    if one.retention_share < RETENTION_FROM or _is_short(one):
        return None
    age = f"its oldest message is {human_span(one.oldest_age)} old, and " if one.oldest_age else ""
    return Risk(
        kind=RiskKind.RETENTION,
        queue=one.queue,
        subject=f"retention/{one.queue}",
        code="W_FORECAST_RETENTION",
        sentence=f"{one.queue}: {age}the backlog takes {human_span(one.left)} more at the present"
        f" rate, and SQS keeps a message for {human_span(one.retention)}",
        hint="raise the queue's retention, up to 14 days: aws sqs set-queue-attributes"
        " --queue-url URL --attributes MessageRetentionPeriod=1209600; then more agent.slots or a"
        " higher bandwidth limit",
    )


def _deadline(one: Forecast, status: ExpectationStatus) -> Risk | None:
    """Its data may be at the end of the backlog, and that comes too late."""
    due, done_by = status.next, one.done_by
    if one.left is None or done_by is None or _is_short(one):
        return None
    if due.found is None or due.is_met or due.deadline <= one.at or done_by <= due.deadline:
        return None
    return Risk(
        kind=RiskKind.DEADLINE,
        queue=one.queue,
        until=due.deadline,
        subject=f"deadline/{due.subject}/{due.deadline.isoformat()}",
        code="W_FORECAST_DEADLINE",
        sentence=f"{due.subject} has {due.words} and is due in"
        f" {human_span(due.deadline - one.at)}; the backlog of {one.queue} takes"
        f" {human_span(one.left)} more at the present rate,"
        f" until {done_by.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
        hint="more agent.slots or a higher bandwidth limit; backhaul status shows what is held",
    )
