"""When the backlog is through: within a fifth on a steady load, and unknown where it is."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backhaul.core.agent_report import (
    AgentIdentity,
    AgentRecord,
    AgentReport,
    DependencyHold,
    QueueDepth,
    RunningTransfer,
)
from backhaul.core.health import ObservedAgent
from backhaul.core.outlook.expectation import (
    Arrived,
    ExpectationRecord,
    ExpectationState,
    ExpectationStatus,
    Wanted,
)
from backhaul.core.outlook.forecast import COUNTS_OLD, LONGEST, Forecast, forecast, forecasts
from backhaul.core.outlook.risks import RiskKind, known_kinds, risks

NOW = datetime(2026, 12, 1, 12, 2, tzinfo=UTC)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
FIVE = 5 * MINUTE


@dataclass(frozen=True, kw_only=True)
class Sum:
    """What ended within five minutes."""

    begins_at: datetime
    done: int = 0
    dead: int = 0


def running(**other: Any) -> RunningTransfer:
    known: dict[str, Any] = {
        "transfer_id": "t1",
        "message_id": "m1",
        "route": "r",
        "source": "s3://b/",
        "destination": "/d",
        "attempt": 1,
        "started_at": NOW - MINUTE,
    }
    return RunningTransfer(**known | other)


def agent(started: timedelta = HOUR, queue: str = "q", **report: Any) -> AgentRecord:
    identity = AgentIdentity(
        id="a",
        host="edge1",
        owner="edge1:b:1:2",
        version="1",
        queue=queue,
        region="us-east-1",
        slots=4,
        started_at=NOW - started,
    )
    known: dict[str, Any] = {"at": NOW, "depth": depth(30)}
    return AgentRecord(identity=identity, report=AgentReport(**known | report), beats=1)


def depth(visible: int, in_flight: int = 0, **other: Any) -> QueueDepth:
    known: dict[str, Any] = {"delayed": 0, "retention_s": 4 * 86_400, "at": NOW}
    return QueueDepth(visible=visible, in_flight=in_flight, **known | other)


def spans(*ended: int) -> list[Sum]:
    """Of the newest five minutes, which began two minutes ago, and those before."""
    first = NOW - 2 * MINUTE
    return [Sum(begins_at=first - n * FIVE, done=one) for n, one in enumerate(ended) if one][::-1]


def of(*agents: AgentRecord, ended: Sequence[Sum] = (), mean: float | None = None) -> Forecast:
    return forecast("q", agents or (agent(),), ended, mean, NOW)


# ---------------------------------------------------------------- a steady load


@dataclass
class Plant:
    """A queue that is worked at a steady rate, as the ledger and SQS show it."""

    per_hour: float
    mean_bytes: int
    backlog: int
    slots: int = 4
    started_at: datetime = NOW
    ended: Counter[datetime] = field(default_factory=Counter)
    all_ended: int = 0

    def until(self, now: datetime) -> Forecast:
        """Work on, and look: what is in the queue has a count that is half a minute old."""
        epoch = datetime(2026, 1, 1, tzinfo=UTC)
        worked = (now - self.started_at) / HOUR * self.per_hour
        for number in range(self.all_ended, math.floor(worked)):
            at = self.started_at + (number + 1) / self.per_hour * HOUR
            self.ended[at - (at - epoch) % FIVE] += 1
        self.all_ended = math.floor(worked)
        part = worked - self.all_ended
        under_way = [
            running(
                transfer_id=f"t{slot}",
                is_planned=True,
                size_bytes=round(self.mean_bytes * part),
                size_bytes_total=self.mean_bytes,
            )
            for slot in range(self.slots)
        ]
        report = AgentReport(
            at=now - 2 * SECOND,
            depth=depth(self.left - self.slots, self.slots, at=now - 30 * SECOND),
            running=tuple(under_way),
            bytes_per_s=self.per_hour / 3600 * self.mean_bytes,
        )
        identity = agent().identity
        record = AgentRecord(
            identity=AgentIdentity(**{**vars(identity), "started_at": self.started_at}),
            report=report,
            beats=1,
        )
        sums = [Sum(begins_at=at, done=count) for at, count in sorted(self.ended.items())]
        recent = [one for one in sums if one.begins_at >= now - 75 * MINUTE]
        mean = self.mean_bytes if self.all_ended else None
        return forecast("q", [record], recent, mean, now)

    @property
    def left(self) -> int:
        return self.backlog - self.all_ended

    def truth(self) -> timedelta:
        return self.left / self.per_hour * HOUR


@pytest.mark.parametrize("offset_s", [0, 1, 77, 150, 299])
@pytest.mark.parametrize(
    ("per_hour", "mean_bytes"),
    [(36_000.0, 50_000), (720.0, 10**9), (60.0, 10**10), (6.0, 10**12), (1.5, 5 * 10**12)],
)
def test_a_steady_load_ends_within_a_fifth_of_what_is_said(
    per_hour: float, mean_bytes: int, offset_s: int
) -> None:
    began = NOW + offset_s * SECOND
    plant = Plant(
        per_hour=per_hour,
        mean_bytes=mean_bytes,
        backlog=round(per_hour * 30) + 20,
        started_at=began,
    )
    known = 0
    for minute in (3, 6, 11, 16, 31, 61, 120, 200, 600):
        now = began + minute * MINUTE
        found = plant.until(now)
        if found.left is None:
            assert found.unknown
            continue
        known += 1
        truth = plant.truth() / HOUR
        assert found.left / HOUR == pytest.approx(truth, rel=0.2), (minute, found)
        assert found.size_bytes is not None
        assert found.size_bytes == pytest.approx(plant.left * mean_bytes, rel=0.2)
    assert known >= 4, "it is known once anything has ended"


# ---------------------------------------------------------------- the rate


def test_the_rate_is_that_of_a_quarter_of_an_hour() -> None:
    found = of(agent(depth=depth(30, 6)), ended=spans(4, 10, 10, 99, 99))
    assert found.per_minute == pytest.approx(24 / 12)
    assert found.left == 18 * MINUTE
    assert found.done_by == NOW + 18 * MINUTE


def test_the_dead_have_ended_too() -> None:
    found = of(ended=[Sum(begins_at=NOW - 10 * MINUTE, dead=30)])
    assert found.per_minute == pytest.approx(3)


def test_where_few_ended_it_is_the_rate_of_an_hour() -> None:
    found = of(agent(2 * HOUR), ended=spans(1, 0, 1, 0, 0, 0, 0, 4))
    assert found.per_minute == pytest.approx(6 / 37)


def test_the_time_before_the_agent_started_does_not_count() -> None:
    found = of(agent(MINUTE + SECOND), ended=spans(60))
    assert found.per_minute == pytest.approx(60 / (61 / 60))
    assert of(agent(SECOND), ended=spans(60)).per_minute == 60, "at least a minute"


def test_where_hardly_anything_ends_bytes_are_the_rate() -> None:
    moving = running(is_planned=True, size_bytes=400, size_bytes_total=1000)
    record = agent(depth=depth(2, 1), running=(moving,), bytes_per_s=10.0)
    found = of(record, ended=spans(1), mean=700.0)
    assert found.size_bytes == 2 * 700 + 600
    assert found.left == timedelta(seconds=200)
    assert of(record, ended=spans(1)).left == 3 / (1 / 2) * MINUTE, "its bytes are not known"


# ---------------------------------------------------------------- bytes


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        ({"is_planned": True, "size_bytes": 30, "size_bytes_total": 100}, 70),
        ({"is_planned": True, "size_bytes": 110, "size_bytes_total": 100}, 0),
        ({"event_bytes": 5000}, 5000),
        ({"event_bytes": 5000, "size_bytes_total": 6000, "size_bytes": 1000}, 5000),
        ({}, 700),
        ({"size_bytes": 200}, 500),
    ],
)
def test_what_is_under_way_has_its_own_size(one: dict[str, Any], expected: int) -> None:
    record = agent(depth=depth(2, 1), running=(running(**one),))
    assert of(record, mean=700.0).size_bytes == 2 * 700 + expected


def test_without_a_mean_only_known_sizes_make_a_sum() -> None:
    planned = running(is_planned=True, size_bytes_total=100)
    assert of(agent(depth=depth(0, 1), running=(planned,))).size_bytes == 100
    assert of(agent(depth=depth(0, 1), running=(running(),))).size_bytes is None
    assert of(agent(depth=depth(1, 1), running=(planned,))).size_bytes is None


def test_messages_of_paused_routes_are_not_in_the_backlog() -> None:
    found = of(agent(depth=depth(10, 7), parked=5), mean=10.0)
    assert (found.messages, found.size_bytes) == (12, 120)
    assert of(agent(depth=depth(0, 1), parked=5)).messages == 0


# ---------------------------------------------------------------- unknown


HELD = DependencyHold(
    dependency="hdfs", since=NOW - HOUR, code="E", reason="down", hint="", transfers=1
)


@pytest.mark.parametrize(
    ("report", "ended", "reason"),
    [
        ({"depth": None}, spans(50), "SQS has not given its counts yet"),
        (
            {"depth": depth(3, at=NOW - COUNTS_OLD - MINUTE)},
            spans(50),
            "SQS's counts are 6 min old",
        ),
        ({}, [], "no rate yet: nothing has ended within an hour"),
        ({"is_stopping": True}, spans(50), "the agent is stopping"),
        ({"is_everything_paused": True}, spans(50), "every route is paused"),
        ({"holds": (HELD,)}, spans(50), "held by hdfs"),
        (
            {"holds": (HELD,), "running": (running(waits_for="hdfs"),)},
            spans(50),
            "held by hdfs",
        ),
    ],
)
def test_what_is_unknown_has_its_reason(
    report: dict[str, Any], ended: list[Sum], reason: str
) -> None:
    found = of(agent(**report), ended=ended)
    assert (found.left, found.done_by, found.unknown) == (None, None, reason)
    assert found.retention_share is None


@pytest.mark.parametrize("bytes_per_s", [2.0, 1 / 30, 5e-324])
def test_where_hardly_anything_moves_the_time_is_unknown(bytes_per_s: float) -> None:
    huge = running(is_planned=True, size_bytes_total=1 << 40)
    found = of(agent(depth=depth(0, 1), running=(huge,), bytes_per_s=bytes_per_s))
    assert (found.left, found.done_by) == (None, None)
    assert found.unknown.startswith("hardly anything moves")
    assert risks([found], [status(NOW + HOUR)]) == ()


def test_ten_years_are_still_a_time() -> None:
    huge = running(is_planned=True, size_bytes_total=round(LONGEST.total_seconds()))
    found = of(agent(depth=depth(0, 1), running=(huge,), bytes_per_s=1.0))
    assert (found.left, found.done_by) == (LONGEST, NOW + LONGEST)
    many = of(agent(depth=depth(10**8)), ended=spans(1))
    assert many.unknown.startswith("hardly anything moves")


def test_a_hold_of_some_is_no_standstill() -> None:
    both = (running(waits_for="hdfs"), running(transfer_id="t2"))
    assert of(agent(holds=(HELD,), running=both), ended=spans(50)).unknown == ""


def test_without_an_agent_nothing_is_known() -> None:
    found = forecast("q", [], spans(50), 1.0, NOW)
    assert (found.left, found.unknown, found.per_minute) == (None, "no agent is alive", None)
    assert (found.messages, found.size_bytes) == (None, None)


def test_an_empty_queue_is_done() -> None:
    found = of(agent(depth=depth(0)))
    assert (found.left, found.done_by, found.unknown) == (timedelta(), NOW, "")
    assert (found.messages, found.size_bytes) == (0, 0)


def test_of_two_queues_only_bytes_show_a_rate() -> None:
    still = forecast("q", [agent()], spans(50), 100.0, NOW, is_alone=False)
    assert still.unknown.startswith("several queues share this ledger")
    assert (still.per_minute, forecast("q", [agent()], [], 100.0, NOW).per_minute) == (None, 0)
    moving = agent(bytes_per_s=10.0)
    found = forecast("q", [moving], spans(50), 100.0, NOW, is_alone=False)
    assert found.left == timedelta(seconds=300)


# ---------------------------------------------------------------- of all queues


class Sums:
    """A ledger's sums."""

    def __init__(self, *ended: Sum) -> None:
        self._ended = ended

    def ended(self, since: datetime) -> Sequence[Sum]:
        assert since <= NOW - HOUR
        return self._ended

    def mean_bytes(self, since: datetime) -> float | None:
        assert since == NOW - timedelta(days=1)
        return 10.0


def test_every_queue_that_is_worked_has_its_forecast() -> None:
    gone = AgentReport(at=NOW - HOUR, depth=depth(5))
    agents = [
        ObservedAgent(record=agent(queue="b")),
        ObservedAgent(record=agent(queue="a", depth=depth(0))),
        ObservedAgent(record=AgentRecord(identity=agent(queue="c").identity, report=gone, beats=1)),
    ]
    found = forecasts(Sums(*spans(50)), agents, NOW)
    assert [(one.queue, one.messages) for one in found] == [("a", 0), ("b", 30)]
    assert found[1].unknown.startswith("several queues")
    (alone,) = forecasts(Sums(*spans(50)), agents[:1], NOW)
    assert alone.left == 30 / (50 / 2) * MINUTE
    assert forecasts(Sums(), agents[2:], NOW) == ()


# ---------------------------------------------------------------- what will not wait


def test_the_retention_counts_from_the_oldest_message_to_the_end_of_the_backlog() -> None:
    short = depth(3000, retention_s=7200)
    found = of(agent(depth=short, oldest_sent_at=NOW - HOUR), ended=spans(50, 150))
    assert found.left == 3000 / (200 / 7) * MINUTE
    assert found.retention_share == pytest.approx((60 + 105) / 120)
    (risk,) = risks([found], [])
    assert (risk.kind, risk.subject, risk.code) == (
        RiskKind.RETENTION,
        "retention/q",
        "W_FORECAST_RETENTION",
    )
    assert risk.sentence == (
        "q: its oldest message is 60 min old, and the backlog takes 105 min more at the present"
        " rate, and SQS keeps a message for 2 h"
    )
    assert "MessageRetentionPeriod" in risk.hint


@pytest.mark.parametrize(
    ("visible", "age", "is_risk"),
    [
        (3000, timedelta(), True),  # 105 minutes of 120
        (3000, 20 * MINUTE, True),
        (2000, 30 * MINUTE, False),  # 70 + 30
        (2400, 30 * MINUTE, True),  # 84 + 30
        (100, 118 * MINUTE, False),  # under five minutes: it is at work
    ],
)
def test_from_nine_tenths_of_the_retention_it_is_at_risk(
    visible: int, age: timedelta, *, is_risk: bool
) -> None:
    record = agent(
        depth=depth(visible, retention_s=7000), oldest_sent_at=NOW - age if age else None
    )
    found = risks([of(record, ended=spans(50, 150))], [])
    assert bool(found) == is_risk


def test_of_which_kinds_all_risks_are_known() -> None:
    known = of(agent(depth=depth(3000, retention_s=7000)), ended=spans(50, 150))
    assert known_kinds([known], []) == set(RiskKind)
    unknown = of(agent(depth=depth(10**6)))
    for none in ([], [unknown], [known, unknown]):
        assert known_kinds(none, []) == set()
    due = status(NOW + 2 * HOUR)
    uncounted = replace(due, next=replace(due.next, found=None))
    assert known_kinds([known], [due]) == set(RiskKind)
    assert known_kinds([known], [due, uncounted]) == {RiskKind.RETENTION}
    assert risks([known], [uncounted]) == risks([known], [])
    no_retention = agent(depth=depth(10**6, retention_s=None))
    assert known_kinds([of(no_retention, ended=spans(50))], []) == {RiskKind.DEADLINE}
    short = agent(depth=depth(3, retention_s=None))
    assert known_kinds([of(short, ended=spans(50))], []) == set(RiskKind)


def test_what_is_unknown_is_no_risk() -> None:
    assert risks([of(agent(depth=depth(10**6)))], []) == ()
    no_retention = agent(depth=depth(10**6, retention_s=None))
    assert risks([of(no_retention, ended=spans(50))], []) == ()


def status(deadline: datetime, objects: int = 3) -> ExpectationStatus:
    record = ExpectationRecord(
        route="r",
        name="daily",
        deadline=deadline,
        due="2026-12-01 14:00 UTC",
        place="hdfs://nn/landing/day=1",
        state=ExpectationState.DUE,
        wanted=Wanted(objects=24),
        found=Arrived(objects=objects),
    )
    return ExpectationStatus(next=record, last=None)


def test_a_deadline_is_at_risk_while_its_data_may_be_at_the_end_of_the_backlog() -> None:
    found = of(agent(depth=depth(600)), ended=spans(5, 25))
    assert found.left == 140 * MINUTE
    (risk,) = risks([found], [status(NOW + 2 * HOUR)])
    assert (risk.kind, risk.code) == (RiskKind.DEADLINE, "W_FORECAST_DEADLINE")
    assert risk.subject == "deadline/r/daily/2026-12-01T14:02:00+00:00"
    assert risk.sentence == (
        "r/daily has 3 of 24 objects in hdfs://nn/landing/day=1 and is due in 2 h; the backlog of"
        " q takes 2 h more at the present rate, until 2026-12-01 14:22 UTC"
    )
    for well in (
        status(NOW + 3 * HOUR),  # in time
        status(NOW + HOUR, objects=24),  # there
        status(NOW - MINUTE),  # judged, not foreseen
    ):
        assert risks([found], [well]) == ()
    assert risks([of(agent(depth=depth(10)), ended=spans(5, 25))], [status(NOW + MINUTE)]) == ()
    assert risks([of(agent(depth=depth(600)))], [status(NOW + MINUTE)]) == ()
