"""While the ledger does not see the agent, nothing is received: said once, and not for ever."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from backhaul.core import facts
from backhaul.core.agent.polling.shares import SlotShare
from backhaul.core.agent.settings import WorkedQueue
from backhaul.core.errors import OutageError
from backhaul.core.fleet.standing import Alone
from backhaul.core.ports import Ports
from backhaul.testing.fakes import FakeQueue
from tests.world import World, eventually


class Unseen(Alone):
    """A process whose beats the ledger does not take, for so many looks."""

    def __init__(self, looks: float = float("inf")) -> None:
        self.looks = looks

    def require(self) -> None:
        self.looks -= 1
        if self.looks >= 0:
            raise OutageError.of("ledger", "E_LEDGER_SILENT", "no beat", hint="look")


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.store.put("p/a", b"content of a")
    return made


def unseen(world: World, standing: Unseen) -> None:
    """The agents of this world are such a process."""
    process = world.process

    @contextmanager
    def in_a_fleet() -> Iterator[Ports]:
        with process() as ports:
            yield replace(ports, standing=standing)

    world.process = in_a_fleet  # type: ignore[method-assign]


def test_a_drain_gives_up_on_a_ledger_that_stays_away(world: World) -> None:
    unseen(world, Unseen())
    message_id = world.queue.send("raw/p/, /land/d")
    began_s = world.clock.monotonic()
    with pytest.raises(OutageError, match="E_LEDGER_SILENT"):
        world.drain(drain_patience_s=60)
    assert 60 < world.clock.monotonic() - began_s < 90
    assert world.faults.count("queue.receive") == 0
    assert world.queue.remaining == [message_id]
    assert [(one.queue, one.code, one.hint) for one in world.all_of(facts.ReceivingHeld)] == [
        ("work", "E_LEDGER_SILENT", "look")
    ]
    assert world.all_of(facts.PollFailed) == []


def test_it_goes_on_once_it_is_seen_and_a_later_outage_is_another_one(world: World) -> None:
    standing = Unseen(3)
    unseen(world, standing)
    world.queue.send("raw/p/, /land/d")
    with world.running():
        eventually(lambda: world.queue.deleted)
        standing.looks = 3
        eventually(lambda: len(world.all_of(facts.ReceivingResumed)) == 2)
    assert len(world.all_of(facts.ReceivingHeld)) == 2
    assert world.all_of(facts.ReceivingResumed)[0].seconds == pytest.approx(15, abs=1)
    assert world.all_of(facts.PollFailed) == []


def test_stop_ends_the_wait(world: World) -> None:
    unseen(world, Unseen())
    with world.running():
        eventually(lambda: world.all_of(facts.ReceivingHeld))
    assert len(world.all_of(facts.AgentStopped)) == 1


def test_slots_are_not_kept_for_a_queue_that_is_held(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = FakeQueue(world.clock, faults=world.faults, name="second", ids="s")
    world.more_queues = [WorkedQueue(queue=second, name="second")]
    unseen(world, Unseen())
    with world.process() as ports:
        agent = world.agent(ports, drain=True, drain_patience_s=30)
        shares: list[SlotShare] = [one._share for one in agent.pollers]
        kept: list[int] = []
        pause = agent._stopper.pause
        for one in shares:
            one.wants = 1

        def counting(seconds: float) -> bool:
            kept.append(sum(one.promised for one in shares))
            return pause(seconds)

        monkeypatch.setattr(agent._stopper, "pause", counting)
        with pytest.raises(OutageError):
            agent.run()
    assert kept
    assert set(kept) == {0}
