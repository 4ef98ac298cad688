"""Routes that all agents of a ledger fill together: who looks, and what the others cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from backhaul.adapters.ledger import SqlLedger
from backhaul.core import facts as events
from backhaul.core.agent import context as context_module
from backhaul.core.fleet.standing import Alone
from backhaul.core.model import Assignment, Limits
from backhaul.core.ports import Ports
from backhaul.core.requests.admission import FULL_LOOK_S, FULL_PARKED_MOST, FULL_S, FullRoutes
from backhaul.testing.fakes import FakeClock
from tests.world import World, eventually, route


class _Shared(Alone):
    is_shared = True


class FleetWorld(World):
    """The ledger has agents of other nodes, which fill route `a` while `is_full`."""

    is_full = True
    looks = 0

    def ports(self, ledger: SqlLedger) -> Ports:
        return replace(super().ports(ledger), standing=_Shared())

    def count(self, _transfer_id: str, assignment: Assignment) -> bool:
        self.looks += 1
        return self.is_full and assignment.route == "a"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FleetWorld:
    made = FleetWorld(tmp_path)
    limits = Limits(in_flight=1)
    made.routes = (
        route(name="a", sources=(("raw", "a/"),), limits=limits),
        route(name="b", sources=(("raw", "b/"),), limits=limits),
    )
    made.jumping = ("slot", "poll", "park")
    for key in ("a/1", "b/1"):
        made.store.put(key, b"data")
    monkeypatch.setattr(SqlLedger, "is_full", made.count)
    return made


def receives(world: World, message_id: str) -> int:
    return world.queue._stored[message_id].receive_count


def test_a_message_of_a_full_route_gives_its_slot_away_and_costs_no_list(
    world: FleetWorld,
) -> None:
    sent = [world.queue.send(f"raw/a/1, /land/{number}") for number in range(5)]
    world.queue.send("raw/b/1, /land/b")
    with world.running(slots=1) as agent:
        eventually(lambda: world.landed() == {"b/1": b"data"})
        eventually(lambda: len(agent.pollers[0].parking) == len(sent))
        lists, began_s = world.faults.count("store.list"), world.clock.monotonic()
        begun, looks = world.faults.count("ledger.begin"), world.looks
        eventually(lambda: world.clock.monotonic() > began_s + 600)
        passed_s = world.clock.monotonic() - began_s
        assert world.faults.count("store.list") == lists
        most = passed_s / FULL_S[0] + 2
        assert 0 < world.looks - looks <= most, "one of them looks, once in a while"
        assert world.faults.count("ledger.begin") - begun <= most
        assert [receives(world, one) for one in sent] == [1] * len(sent)
        assert {row.failures for row in world.rows()} == {0}
        world.is_full = False
        eventually(lambda: world.queue.remaining == [])
    assert len(world.landed()) == len(sent) + 1
    assert {row.state.value for row in world.rows()} == {"done"}


def test_more_than_so_many_wait_in_their_slots_and_the_queue_keeps_the_rest(
    world: FleetWorld,
) -> None:
    sent = [world.queue.send(f"raw/a/1, /land/{n}") for n in range(FULL_PARKED_MOST + 20)]
    with world.running(slots=2) as agent:
        eventually(lambda: len(agent.pollers[0].parking) >= FULL_PARKED_MOST - 2)
        began_s = world.clock.monotonic()
        eventually(lambda: world.clock.monotonic() > began_s + 100)
        assert len(agent.pollers[0].parking) <= FULL_PARKED_MOST
        assert max(receives(world, one) for one in sent) == 1
        world.is_full = False
        eventually(lambda: world.queue.remaining == [], timeout_s=30)
    assert len(world.landed()) == len(sent)


def test_in_a_drain_they_wait_in_their_slots(world: FleetWorld) -> None:
    world.queue.send("raw/a/1, /land/a")

    def soon(fact: object) -> None:
        if isinstance(fact, events.TransferWaiting):
            world.is_full = False

    world.watcher = soon
    agent = world.drain()
    assert (agent.totals.done, agent.totals.gave_up) == (1, 0)
    (waiting,) = world.all_of(events.TransferWaiting)
    assert FULL_S[0] <= waiting.retry_in_s <= FULL_S[1]


def test_one_of_those_that_wait_looks_and_its_answer_is_that_of_all() -> None:
    clock = FakeClock()
    full = FullRoutes(clock)
    assert full.may_look("a")
    full.note_full("a", 20)
    assert not full.may_look("a")
    assert full.may_look("b")
    clock.advance(20)
    assert full.may_look("a")
    assert not full.may_look("a")  # the answer is not there yet
    clock.advance(FULL_LOOK_S)
    assert full.may_look("a")  # it never came
    full.note_free("a")
    assert full.left_s("a") == 0
    assert full.may_look("a")
    assert full.may_look("a")


def test_what_is_left_elsewhere_is_counted_by_message_and_owner(
    world: FleetWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context_module, "ELSEWHERE_KEPT", 2)
    with world.process() as ports:
        times = world.agent(ports)._context.times_elsewhere
        assert [times("m1", "edge2:a") for _ in range(3)] == [0, 1, 2]
        assert times("m1", "edge3:b") == 0, "another watch begins"
        assert [times("m2", "edge2:a"), times("m1", "edge3:b")] == [0, 1]
        assert times("m3", "edge2:a") == 0
        assert times("m1", "edge3:b") == 2, "what was met last is kept"
        assert times("m2", "edge2:a") == 0


def test_a_route_that_has_had_its_minute_waits_as_long_as_the_ledger_finds(
    world: FleetWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger counts for all agents, so this one's own count refuses nothing."""
    left_s, asked = 45.0, []

    def admit(_ledger: SqlLedger, transfer_id: str, _assignment: Assignment) -> float:
        asked.append(transfer_id)
        return left_s

    monkeypatch.setattr(SqlLedger, "admit", admit)
    limits = Limits(per_minute=1)
    world.routes = (
        route(name="a", sources=(("raw", "a/"),), limits=limits),
        route(name="b", sources=(("raw", "b/"),)),
    )
    sent = [world.queue.send(f"raw/a/1, /land/{number}") for number in range(3)]
    world.queue.send("raw/b/1, /land/b")
    with world.running(slots=1) as agent:
        eventually(lambda: world.landed() == {"b/1": b"data"})
        eventually(lambda: len(agent.pollers[0].parking) == len(sent))
        lists, began_s, before = (
            world.faults.count("store.list"),
            world.clock.monotonic(),
            len(asked),
        )
        eventually(lambda: world.clock.monotonic() > began_s + 10 * left_s)
        passed_s = world.clock.monotonic() - began_s
        assert 0 < len(asked) - before <= passed_s / left_s + 2
        assert world.faults.count("store.list") == lists
        left_s = 0.0
        eventually(lambda: world.queue.remaining == [])
    assert len(world.landed()) == len(sent) + 1
    assert {row.failures for row in world.rows()} == {0}
