"""An agent's reports to the ledger: when, in which order, and what a failure of one changes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backhaul.core import facts
from backhaul.core.agent.agent import REPORT_AGAIN_S, Agent
from backhaul.core.agent.observer import Observer
from backhaul.core.agent.reporting import DEPTH_EVERY_S, SUMMED_AT_ONCE, SUMS_MOST, Reporter
from backhaul.core.agent_report import REPORT_EVERY_S, AgentIdentity, AgentRecord
from backhaul.core.errors import BackhaulError, OutageError
from backhaul.core.health import HELD_AFTER, Health
from backhaul.core.ports import Ports
from backhaul.testing.fakes import (
    FakeClock,
    FakeQueue,
    Fault,
    Faults,
    MemoryFile,
    MemoryLedger,
)
from tests.world import World, eventually

FULL = OutageError.of("ledger", "E_LEDGER_FULL", "no room", hint="df -h")
DOWN = OutageError.of("sqs", "E_SQS_UNREACHABLE", "no route to host")


def identity(clock: FakeClock) -> AgentIdentity:
    return AgentIdentity(
        id="a" * 32,
        host="edge1",
        owner="edge1:boot:1:1",
        version="1",
        queue="q",
        region="us-east-1",
        slots=4,
        started_at=clock.now(),
    )


class Desk:
    """A reporter with everything around it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.faults = Faults()
        self.file = MemoryFile()
        self.published: list[str] = []
        self.observer = Observer(self.clock, slots=4)
        self.reporter = Reporter(
            identity=identity(self.clock),
            observer=self.observer,
            queues={"q": FakeQueue(self.clock, faults=self.faults)},
            ledger=MemoryLedger(self.file, "me", faults=self.faults),
            clock=self.clock,
            published=self._publish,
        )

    def _publish(self, health: Health) -> None:
        self.published.append(health.sentence)

    @property
    def record(self) -> AgentRecord:
        return self.file.agents["a" * 32]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_each_turn_records_again_what_a_failover_has_lost(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    times: list[object] = []
    monkeypatch.setattr(MemoryLedger, "repeat_lost_ends", lambda _, now: times.append(now))
    desk.reporter.turn()
    assert times == [desk.clock.now()]


def test_a_turn_leaves_a_report_with_the_queues_depth(desk: Desk) -> None:
    desk.reporter.turn()
    record = desk.record
    assert (record.beats, record.ended_at) == (1, None)
    assert record.report.depth is not None
    assert record.report.depth.visible == 0
    assert desk.published == ["Running: waiting for messages"]


def test_the_depth_is_read_twice_a_minute(desk: Desk) -> None:
    for _ in range(7):
        desk.reporter.turn()
        desk.clock.advance(REPORT_EVERY_S)
    assert desk.faults.count("queue.depth") == 1 + int(6 * REPORT_EVERY_S // DEPTH_EVERY_S)
    assert desk.record.beats == 7


def test_a_queue_that_gives_no_depth_keeps_the_last_one_with_its_time(desk: Desk) -> None:
    desk.reporter.turn()
    before = desk.record.report.depth
    desk.clock.advance(DEPTH_EVERY_S)
    desk.faults.at("queue.depth", 1, Fault.FAIL, DOWN)
    desk.reporter.turn()
    assert desk.record.report.depth == before
    assert desk.record.beats == 2
    assert desk.record.report.holds == (), "the polls report an SQS that is down"


def test_a_ledger_that_takes_no_report_is_named_until_it_takes_one(desk: Desk) -> None:
    desk.faults.at("ledger.beat", 1, Fault.FAIL, FULL)
    desk.reporter.turn()
    (hold,) = desk.observer.report().holds
    assert (hold.dependency, hold.code, hold.hint) == ("ledger", "E_LEDGER_FULL", "df -h")
    desk.clock.advance(HELD_AFTER.total_seconds())
    desk.faults.at("ledger.beat", 1, Fault.FAIL, FULL)
    desk.reporter.turn()
    assert desk.published == [  # elsewhere, where the ledger is not needed
        "Running: waiting for messages",
        "Held by ledger for 10 s: E_LEDGER_FULL: no room",
    ]
    desk.reporter.turn()
    assert desk.observer.report().holds == ()


def test_sums_that_fail_are_the_ledgers_failure(desk: Desk) -> None:
    desk.faults.at("ledger.sum_activity", 1, Fault.FAIL, BackhaulError("E_LEDGER_CORRUPT", "odd"))
    desk.reporter.turn()
    assert desk.observer.report().holds[0].code == "E_LEDGER_CORRUPT"


def test_one_turn_sums_no_more_than_some_steps(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []

    def sum_activity(_ledger: MemoryLedger, *, most: int) -> bool:
        steps.append(most)
        return len(steps) < 2 * SUMS_MOST - 3

    monkeypatch.setattr(MemoryLedger, "sum_activity", sum_activity)
    desk.reporter.turn()
    assert steps == [SUMMED_AT_ONCE] * SUMS_MOST
    desk.reporter.turn()
    assert len(steps) == 2 * SUMS_MOST - 3
    desk.reporter.end("")
    assert len(steps) == 2 * SUMS_MOST - 2


def test_the_end_is_the_last_report(desk: Desk) -> None:
    desk.reporter.turn()
    desk.reporter.end("E_POLL_STUCK")
    ended = desk.record
    assert (ended.beats, ended.ended_at) == (2, desk.clock.now())
    assert ended.report.failure == "E_POLL_STUCK"
    desk.clock.advance(1)
    desk.reporter.turn()
    assert desk.record == ended, "a turn that was under way comes too late"


# ---------------------------------------------------------------- in the agent


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.store.put("p/a", b"content of a")
    return world


def reporting(
    world: World, ports: Ports, published: Callable[[Health], None] = lambda _health: None
) -> tuple[Agent, MemoryFile]:
    """An agent whose reports go to a ledger of their own; its waits take no time."""
    file = MemoryFile()
    observer = Observer(world.clock, slots=1)
    agent = world.agent(
        ports,
        reporter=Reporter(
            identity=identity(world.clock),
            observer=observer,
            queues={"q": world.queue},
            ledger=MemoryLedger(file, "me", faults=world.faults),
            clock=world.clock,
            published=published,
        ),
    )
    world.watcher = observer
    return agent, file


def test_an_agent_reports_and_leaves_word_of_its_end(world: World) -> None:
    world.queue.send("raw/p/, /land/d")
    with world.process() as ports:
        agent, file = reporting(world, ports)
        agent.run()
    (record,) = file.agents.values()
    assert record.ended_at is not None
    assert record.report.failure == ""
    assert (record.report.running, record.report.holds, record.report.in_hand) == ((), (), 0)
    assert world.states == ["done"]


@pytest.mark.parametrize(
    ("error", "code"),
    [(BackhaulError("E_LEDGER_NEWER", "newer"), "E_LEDGER_NEWER"), (ValueError("odd"), "E_BUG")],
)
def test_an_agent_that_fails_leaves_the_code_of_its_error(
    world: World, error: Exception, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def receive(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(type(world.queue), "receive", receive)
    with world.process() as ports:
        agent, file = reporting(world, ports)
        with pytest.raises(type(error)):
            agent.run()
    (record,) = file.agents.values()
    assert record.ended_at is not None
    assert record.report.failure == code


def test_reports_that_fail_change_nothing_of_a_transfer(world: World) -> None:
    for call in ("queue.depth", "ledger.beat", "ledger.sum_activity"):
        world.faults.always(call, FULL)
    world.queue.send("raw/p/, /land/d")
    with world.process() as ports:
        agent, file = reporting(world, ports)
        agent.run()
    assert world.states == ["done"]
    assert agent.totals.done == 1
    assert file.agents == {}


def test_a_defect_in_a_report_is_logged_and_ends_nothing(world: World) -> None:
    defect = ValueError("a defect")
    turns: list[float] = []

    def published(_health: Health) -> None:
        turns.append(world.clock.monotonic())
        if len(turns) == 1:
            raise defect

    with world.process() as ports:
        agent, file = reporting(world, ports, published)
        agent._stopper.changed = world.clock.jumping("slot", "report")
        thread = threading.Thread(target=agent._report_until_over, name="report")
        thread.start()
        eventually(lambda: len(turns) >= 3)
        agent._reporting = thread
        agent._report_the_end()
        thread.join(10)
    assert defect in world.facts
    assert turns[1] - turns[0] == pytest.approx(REPORT_AGAIN_S)
    assert turns[2] - turns[1] == pytest.approx(REPORT_EVERY_S)
    (record,) = file.agents.values()
    assert record.ended_at is not None


def test_an_agent_that_never_ran_reports_no_end(world: World) -> None:
    with world.process() as ports:
        agent, file = reporting(world, ports)
        agent._report_the_end()
    assert file.agents == {}


def test_every_delivery_ends_with_a_fact_whatever_became_of_it(world: World) -> None:
    good, bad = world.queue.send("raw/p/, /land/d"), world.queue.send("rubbish")
    world.drain()
    received = [one.message_id for one in world.all_of(facts.MessageReceived)]
    ended = [one.message_id for one in world.all_of(facts.DeliveryEnded)]
    assert sorted(received) == sorted(ended)
    assert {good, bad} == set(ended)


def test_a_delivery_that_a_defect_ends_is_ended_for_the_report_too(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deliver(*_: object) -> None:
        raise ValueError("a defect")

    monkeypatch.setattr("backhaul.core.agent.polling.poller.deliver", deliver)
    message_id = world.queue.send("raw/p/, /land/d")
    with pytest.raises(ValueError, match="a defect"):
        world.drain()
    assert [one.message_id for one in world.all_of(facts.DeliveryEnded)] == [message_id]


def test_a_call_that_is_repeated_says_when_that_is_over(world: World) -> None:
    world.faults.at("queue.delete", 1, Fault.FAIL, DOWN)
    world.faults.at("queue.delete", 2, Fault.FAIL, DOWN)
    world.queue.send("raw/p/, /land/d")
    world.drain()
    retried = world.all_of(facts.CallRetried)
    (ended,) = world.all_of(facts.CallRetriesEnded)
    assert [one.call for one in retried] == [ended.call] * 2
    assert (ended.tries, ended.is_answered) == (2, True)


def test_a_call_that_is_given_up_is_over_as_well(world: World) -> None:
    world.faults.always("queue.send_dead_letter", DOWN)
    world.queue.send("rubbish")
    with world.running() as agent:
        eventually(lambda: world.all_of(facts.CallRetriesEnded))
        del agent
    ended = world.all_of(facts.CallRetriesEnded)[0]
    assert not ended.is_answered


# ---------------------------------------------------------------- looking ahead


def test_it_looks_ahead_once_the_ledger_has_the_report_and_not_at_the_end() -> None:
    desk = Desk()
    looks: list[int] = []
    reporter = Reporter(
        identity=identity(desk.clock),
        observer=desk.observer,
        queues={"q": FakeQueue(desk.clock)},
        ledger=MemoryLedger(desk.file, "me"),
        clock=desk.clock,
        look_ahead=lambda: looks.append(1),
    )
    reporter.turn()
    reporter.turn()
    assert len(looks) == 2
    reporter.end("")
    assert len(looks) == 2


def test_a_ledger_that_cannot_be_read_is_a_hold() -> None:
    desk = Desk()

    def look() -> None:
        raise FULL

    reporter = Reporter(
        identity=identity(desk.clock),
        observer=desk.observer,
        queues={"q": FakeQueue(desk.clock)},
        ledger=MemoryLedger(desk.file, "me"),
        clock=desk.clock,
        look_ahead=look,
    )
    reporter.turn()
    (hold,) = desk.observer.report().holds
    assert (hold.dependency, hold.code) == ("ledger", "E_LEDGER_FULL")
