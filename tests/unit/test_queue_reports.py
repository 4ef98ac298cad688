"""What an agent of several queues reports of each, and how that is judged and measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from backhaul.adapters.metrics.collector import AgentMetrics
from backhaul.adapters.metrics.figures import LedgerFigures, Scraped
from backhaul.core import facts
from backhaul.core.agent.observer import Observer
from backhaul.core.agent_report import (
    AgentIdentity,
    AgentRecord,
    QueueDepth,
    RunningTransfer,
)
from backhaul.core.health import FAILED_POLLS, HealthState, ObservedAgent, agent_health, health
from backhaul.core.outlook.forecast import Forecast, forecasts
from backhaul.testing.fakes import FakeClock

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Desk:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.observer = Observer(self.clock, slots=4, queues={"a": "us-west-2", "b": "eu-west-1"})

    def fail(self, queue: str, times: int = FAILED_POLLS) -> None:
        for _ in range(times):
            self.observer(
                facts.PollFailed(
                    queue=queue, code="E_AWS_DENIED", reason="no", hint="", retry_in_s=1
                )
            )

    @property
    def record(self) -> AgentRecord:
        identity = AgentIdentity(
            id="i",
            host="edge1",
            owner="edge1:b:1:1",
            version="1",
            queue="a, b",
            region="us-west-2, eu-west-1",
            slots=4,
            started_at=self.clock.now(),
        )
        return AgentRecord(identity=identity, report=self.observer.report(), beats=1)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_each_queue_has_a_record_of_its_own(desk: Desk) -> None:
    desk.observer(facts.QueuePolled(queue="a", messages=1))
    desk.observer(
        facts.MessageReceived(message_id="m", receive_count=1, body_excerpt="", queue="a")
    )
    depth = QueueDepth(visible=3, in_flight=1, delayed=0, retention_s=None, at=NOW)
    desk.observer.measured(depth, "b")
    first, second = desk.record.by_queue
    assert (first.identity.queue, second.identity.region) == ("a", "eu-west-1")
    assert (first.report.in_hand, second.report.in_hand) == (1, 0)
    assert (first.report.depth, second.report.depth) == (None, depth)
    assert desk.record.report.in_hand == 1
    desk.observer(facts.DeliveryEnded(message_id="m", is_parked=False))
    assert desk.record.by_queue[0].report.in_hand == 0


def test_one_that_is_not_polled_is_named_and_the_others_counted(desk: Desk) -> None:
    desk.observer(facts.QueuePolled(queue="a", messages=0))
    assert agent_health(desk.record, desk.clock.now()).state is HealthState.RUNNING
    desk.fail("b")
    found = agent_health(desk.record, desk.clock.now())
    assert found.state is HealthState.NOT_POLLING
    assert found.sentence.startswith("Not polling b for ")
    assert found.sentence.endswith("; of 2 queues 1 polled")
    assert desk.record.report.failed_polls == 0, "of all together: one of them is polled"
    desk.observer(facts.QueuePolled(queue="a", messages=0))
    assert not agent_health(desk.record, desk.clock.now()).is_healthy, "only b clears it"
    desk.observer(facts.QueuePolled(queue="b", messages=0))
    assert agent_health(desk.record, desk.clock.now()).is_healthy


def test_a_queue_that_may_not_be_polled_is_not_overdue(desk: Desk) -> None:
    is_resting = True
    for name in "ab":
        desk.observer(facts.QueuePolled(queue=name, messages=0))
    desk.observer.watch_rest("a", lambda: True)
    desk.observer.watch_rest("b", lambda: is_resting)
    desk.clock.advance(600)
    assert agent_health(desk.record, desk.clock.now()).is_healthy
    is_resting = False
    assert agent_health(desk.record, desk.clock.now()).is_healthy, "it has just begun to poll"
    desk.clock.advance(600)
    found = agent_health(desk.record, desk.clock.now())
    assert (found.state, found.code) == (HealthState.NOT_POLLING, "E_POLL_STUCK")


def test_an_agent_of_both_queues_is_missed_once(desk: Desk) -> None:
    found = health([ObservedAgent(record=desk.record, is_gone=True)], desk.clock.now())
    assert found.state is HealthState.NOT_RUNNING
    assert "the agent of a, b on edge1" in found.sentence


# ---------------------------------------------------------------- forecasts and metrics


class NothingEnded:
    """Sums of a ledger: they are of all queues together."""

    def ended(self, since: datetime) -> Sequence[object]:
        del since
        return ()

    def mean_bytes(self, since: datetime) -> float:
        del since
        return 50.0


def forecasts_of(desk: Desk, *running: RunningTransfer) -> dict[str, Forecast]:
    record = replace(desk.record, report=replace(desk.record.report, running=running))
    found = forecasts(NothingEnded(), [ObservedAgent(record=record)], desk.clock.now())  # type: ignore[arg-type]
    return {one.queue: one for one in found}


def measure(desk: Desk, queue: str, visible: int, in_flight: int = 0) -> None:
    now = desk.clock.now()
    depth = QueueDepth(
        visible=visible, in_flight=in_flight, delayed=0, retention_s=1000, at=now, dead_letters=2
    )
    desk.observer.measured(depth, queue)


def test_the_end_of_each_queue_is_unknown_until_its_own_bytes_move(desk: Desk) -> None:
    measure(desk, "a", 4)
    measure(desk, "b", 0)
    found = forecasts_of(desk)
    assert (found["a"].left, found["a"].per_minute, found["a"].size_bytes) == (None, None, 200)
    assert found["a"].unknown.startswith("several queues share this ledger")
    assert (found["b"].left, found["b"].unknown) == (timedelta(), ""), "an empty one has its end"

    measure(desk, "b", 4)
    moving = RunningTransfer(
        transfer_id="t",
        message_id="m",
        route="r",
        source="s",
        destination="d",
        attempt=1,
        started_at=desk.clock.now(),
        size_bytes_total=100,
        is_planned=True,
        bytes_per_s=10.0,
        queue="b",
    )
    found = forecasts_of(desk, moving)
    assert found["b"].left == timedelta(seconds=(100 + 4 * 50) / 10)
    assert (found["b"].per_minute, found["b"].retention_share) == (None, 0.03)
    assert found["a"].left is None, "what moves is of b"


def test_each_queue_has_its_metrics_under_its_own_label(desk: Desk) -> None:
    measure(desk, "a", 4, 1)
    measure(desk, "b", 0)
    desk.observer(facts.QueuePolled(queue="a", messages=1))
    now = desk.clock.now()
    figures = LedgerFigures(
        agents_alive=1,
        forecasts=(
            *forecasts_of(desk).values(),
            Forecast(queue="of another agent", at=now, size_bytes=7),
        ),
    )
    metrics = AgentMetrics(clock=desk.clock, observer=desk.observer, version="1", routes=())
    text = metrics.render(
        Scraped(
            at=now,
            health=agent_health(desk.record, now),
            report=desk.observer.report(),
            queue="a, b",
            rate_limit_bytes=None,
            figures=figures,
        )
    ).decode()
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if "{queue=" in line)
    assert {name: float(one) for name, one in values.items() if "success" not in name} == {
        'backhaul_queue_visible{queue="a"}': 4,
        'backhaul_queue_visible{queue="b"}': 0,
        'backhaul_queue_in_flight{queue="a"}': 1,
        'backhaul_queue_in_flight{queue="b"}': 0,
        'backhaul_queue_oldest_age_seconds{queue="b"}': 0,
        'backhaul_queue_retention_used_ratio{queue="b"}': 0,
        'backhaul_dead_letters{queue="a"}': 2,
        'backhaul_dead_letters{queue="b"}': 2,
        'backhaul_backlog_bytes{queue="a"}': 250,
        'backhaul_backlog_bytes{queue="b"}': 0,
        'backhaul_backlog_left_seconds{queue="b"}': 0,
        'backhaul_retention_forecast_ratio{queue="b"}': 0,
    }
    polled = [name for name in values if "last_poll_success" in name]
    assert polled == ['backhaul_last_poll_success_timestamp_seconds{queue="a"}']
