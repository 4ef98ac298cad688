"""What an agent of several queues reports of each, and how that is judged and measured."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from backhaul.core import facts
from backhaul.core.agent.observer import Observer
from backhaul.core.agent_report import AgentIdentity, AgentRecord, QueueDepth
from backhaul.core.health import FAILED_POLLS, HealthState, ObservedAgent, agent_health, health
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
