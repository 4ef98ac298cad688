"""Paused routes as the agent treats them: parked, handed back, resumed; others go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from backhaul.adapters.ledger import SqlLedger, open_ledger
from backhaul.core import facts as events
from backhaul.core.agent.agent import Agent
from backhaul.core.agent.pausing import lot
from backhaul.core.agent.pausing.lot import PARKED_TIMEOUT_S
from backhaul.core.agent.settings import WorkedQueue
from backhaul.core.agent.stopping import Stop
from backhaul.core.backoff import RetryPolicy
from backhaul.core.errors import LedgerDamaged, OutageError, TransientError
from backhaul.core.ports import Operator, PausedRoute
from backhaul.core.requests.records import RouteWait
from backhaul.testing.fakes import FakeQueue
from tests.unit.test_agent import killed_at
from tests.unit.test_agent_events import notice
from tests.world import World, eventually, location, route

pytestmark = pytest.mark.slow

ALICE = Operator(name="alice@edge1")


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.routes = (
        route(name="a", sources=(("raw", "a/"),)),
        route(name="b", sources=(("raw", "b/"),)),
    )
    made.jumping = ("slot", "poll", "park")
    for key in ("a/1", "b/1"):
        made.store.put(key, b"data")
    open_ledger(made.path, create=True).close()
    return made


@contextmanager
def operator(world: World) -> Iterator[SqlLedger]:
    with closing(open_ledger(world.path, create=False)) as ledger:
        yield ledger


def pause(world: World, name: str = "a", *, for_s: float | None = None) -> None:
    now = world.clock.now()
    until = None if for_s is None else now + timedelta(seconds=for_s)
    with operator(world) as ledger:
        ledger.pause_route(
            PausedRoute(route=name, since=now, until=until, operator=ALICE.name, reason="why"),
            ALICE,
        )


def resume(world: World, name: str = "a") -> None:
    with operator(world) as ledger:
        ledger.resume_route(name, world.clock.now(), ALICE)


def parked(agent: Agent, count: int = 1) -> None:
    eventually(lambda: len(agent.pollers[0].parking) == count)


def receives(world: World, message_id: str) -> int:
    return world.queue._stored[message_id].receive_count


def test_a_transfer_of_a_paused_route_waits_unspent_and_begins_when_it_is_resumed(
    world: World,
) -> None:
    pause(world)
    sent = world.queue.send("raw/a/1, /land/a")
    with world.running() as agent:
        parked(agent)
        (row,) = world.rows()
        assert (row.state, row.code, row.attempt, row.failures) == (
            "waiting",
            "E_ROUTE_PAUSED",
            0,
            0,
        )
        assert row.reason == "route a is paused by alice@edge1: why"
        assert row.route == "a", "it is counted among those that wait on this route"
        assert world.landed() == {}
        before_s = world.clock.monotonic()
        eventually(lambda: world.clock.monotonic() > before_s + 2000)
        assert receives(world, sent) == 1, "the time in the lot costs nothing"
        resume(world)
        eventually(lambda: world.queue.remaining == [])
    (row,) = world.rows()
    assert (row.state, row.attempt) == ("done", 1)
    assert world.landed() == {"a/1": b"data"}
    (paused,) = world.all_of(events.TransferPaused)
    assert (paused.transfer_id, paused.message_id, paused.route) == (row.id, sent, "a")
    (unparked,) = world.all_of(events.MessageUnparked)
    assert (unparked.message_id, unparked.route) == (sent, "a")
    assert [one.routes for one in world.all_of(events.PausedRoutesChanged)] == [("a",), ()]
    assert len(world.all_of(events.MessageReceived)) == 1


def test_other_routes_go_on_past_those_that_are_parked(world: World) -> None:
    pause(world)
    for number in range(5):
        world.queue.send("raw/a/1, /land/a")
        world.queue.send("raw/b/1, /land/b")
        assert number is not None
    with world.running(slots=1) as agent:
        parked(agent, 5)
        eventually(lambda: len(world.queue.deleted) == 5)
        assert world.landed() == {"b/1": b"data"}
        resume(world)
        eventually(lambda: world.queue.remaining == [])
    assert all(row.state == "done" for row in world.rows())


def test_what_is_parked_of_a_second_queue_goes_on_and_off_that_queue(world: World) -> None:
    second = FakeQueue(world.clock, faults=world.faults, name="second", ids="s")
    world.more_queues = [WorkedQueue(queue=second, name="second")]
    pause(world)
    sent = second.send("raw/a/1, /land/a")
    world.queue.send("raw/b/1, /land/b")
    with world.running() as agent:
        eventually(lambda: len(agent.pollers[1].parking) == 1)
        eventually(lambda: world.queue.remaining == [])
        assert len(agent.pollers[0].parking) == 0
        before_s = world.clock.monotonic()
        eventually(lambda: world.clock.monotonic() > before_s + 2000)
        assert second._stored[sent].receive_count == 1
        resume(world)
        eventually(lambda: second.remaining == [])
    assert second.deleted == [sent]
    assert world.landed() == {"a/1": b"data", "b/1": b"data"}
    (unparked,) = world.all_of(events.MessageUnparked)
    assert (unparked.message_id, unparked.queue) == (sent, "second")


def test_a_pause_ends_by_itself(world: World) -> None:
    pause(world, for_s=3600)
    world.queue.send("raw/a/1, /land/a")
    with world.running():
        eventually(lambda: world.queue.remaining == [])
    assert world.clock.now() >= world.rows()[0].first_seen_at + timedelta(seconds=3500)


def test_parked_messages_are_hidden_for_longer_and_for_the_usual_time_when_they_go_on(
    world: World,
) -> None:
    world.jumping = ("slot", "poll")
    pause(world)
    sent = world.queue.send("raw/a/1, /land/a")
    with world.running() as agent:
        parked(agent)
        eventually(lambda: world.queue.invisible_s(sent) > 200)
        assert world.queue.invisible_s(sent) <= PARKED_TIMEOUT_S
        assert agent.pollers[0].keeper._hidden[sent].timeout_s == PARKED_TIMEOUT_S


def test_a_stop_hands_parked_messages_back_at_once(world: World) -> None:
    pause(world)
    several = [world.queue.send("raw/a/1, /land/a") for _ in range(3)]
    with world.running() as agent:
        parked(agent, 3)
    assert agent.totals.returned == 3
    assert [world.queue.invisible_s(one) for one in several] == [0, 0, 0]
    assert {one.message_id for one in world.all_of(events.MessageReturned)} == set(several)
    assert agent.totals.gave_up == 0


def test_what_waits_for_a_slot_is_handed_back_too(world: World) -> None:
    """Resumed, and the agent stops before there is a slot."""
    world.jumping = ("slot", "poll")
    pause(world)
    sent = world.queue.send("raw/a/1, /land/a")
    with world.process() as ports:
        agent = world.agent(ports)
        agent.pollers[0].keeper.start()
        (message,) = world.queue.receive(max_messages=1, wait_s=0, visibility_timeout_s=120)
        agent.pollers[0].keeper.keep(message)
        agent.pollers[0].parking.park(message, RouteWait(route="a"))
        resume(world)
        agent.pollers[0].parking.turn()
        assert agent.pollers[0].parking.next_route
        assert len(agent.pollers[0].parking) == 1
        agent.pollers[0].parking.hand_back_all()
        agent.pollers[0].keeper.close()
    assert world.queue.invisible_s(sent) == 0
    assert len(agent.pollers[0].parking) == 0


def test_a_message_that_is_parked_while_the_agent_stops_is_handed_back(world: World) -> None:
    sent = world.queue.send("raw/a/1, /land/a")
    with world.process() as ports:
        agent = world.agent(ports)
        (message,) = world.queue.receive(max_messages=1, wait_s=0, visibility_timeout_s=120)
        agent.pollers[0].keeper.keep(message)
        agent.request_stop(Stop.DRAIN)
        agent.pollers[0].parking.park(message, RouteWait(route="a"))
    assert world.queue.invisible_s(sent) == 0
    assert agent.pollers[0].keeper.newest(sent) is None


def test_a_drain_hands_parked_messages_back_and_has_given_up(world: World) -> None:
    pause(world)
    sent = world.queue.send("raw/a/1, /land/a")
    world.queue.send("raw/b/1, /land/b")
    agent = world.drain()
    assert (agent.totals.gave_up, agent.totals.done) == (1, 1)
    assert world.queue.remaining == [sent]
    assert world.queue.invisible_s(sent) == 0


def test_a_drain_looks_at_the_queue_although_everything_is_paused(world: World) -> None:
    for name in ("a", "b"):
        pause(world, name)
    assert world.drain().totals.gave_up == 0
    world.queue.send("raw/b/1, /land/b")
    assert world.drain().totals.gave_up == 1


def test_while_everything_is_paused_nothing_is_received(world: World) -> None:
    for name in ("a", "b"):
        pause(world, name)
    with world.running() as agent:
        eventually(lambda: agent.pollers[0].parking.is_everything_paused)
        eventually(lambda: agent.pollers[0].heartbeat.is_resting)
        polls = world.faults.count("queue.receive")
        sent = world.queue.send("raw/b/1, /land/b")
        before_s = world.clock.monotonic()
        eventually(lambda: world.clock.monotonic() > before_s + 1000)
        assert world.faults.count("queue.receive") <= polls + 1
        assert receives(world, sent) <= 1
        resume(world, "b")
        eventually(lambda: world.queue.remaining == [])
    assert [(one.routes, one.is_everything) for one in world.all_of(events.PausedRoutesChanged)][
        :2
    ] == [(("a", "b"), True), (("a",), False)]


def test_while_everything_is_paused_nothing_outlives_its_retention_without_a_letter(
    world: World,
) -> None:
    world.queue = FakeQueue(world.clock, faults=world.faults, retention_s=1000)
    for name in ("a", "b"):
        pause(world, name)
    with world.running(slots=4) as agent:
        eventually(lambda: agent.pollers[0].heartbeat.is_resting)
        for _ in range(20):
            world.queue.send("raw/b/1, /land/b")
        eventually(lambda: world.queue.remaining == [])
    assert world.queue.expired == []
    assert {one.reason.code for one in world.queue.dead_letters if one.reason} == {"E_EXPIRING"}
    assert len(world.queue.dead_letters) == 20


def test_a_queue_whose_messages_cannot_be_saved_is_left_alone_while_everything_is_paused(
    world: World,
) -> None:
    world.queue = FakeQueue(
        world.clock, faults=world.faults, retention_s=1000, has_dead_letters=False
    )
    for name in ("a", "b"):
        pause(world, name)
    with world.running() as agent:
        eventually(lambda: agent.pollers[0].heartbeat.is_resting)
        sent = world.queue.send("raw/b/1, /land/b")
        before_s = world.clock.monotonic()
        eventually(lambda: world.clock.monotonic() > before_s + 700)
        assert receives(world, sent) <= 1


def test_an_error_of_the_ledger_that_ends_the_agent_hands_parked_messages_back(
    world: World,
) -> None:
    pause(world)
    sent = world.queue.send("raw/a/1, /land/a")
    damaged = LedgerDamaged("E_LEDGER_CORRUPT", "damaged")

    def run() -> None:
        with world.running() as agent:
            parked(agent)
            world.faults.always("ledger.paused_routes", damaged)
            eventually(lambda: agent._stopper.is_requested)

    with pytest.raises(LedgerDamaged):
        run()
    assert [one.message_id for one in world.all_of(events.MessageReturned)] == [sent]
    assert world.queue.invisible_s(sent) == 0


def test_what_may_be_visible_in_part_is_finished(world: World) -> None:
    """The agent was killed in the middle of its renames."""
    world.store.put("a/2", b"more")
    world.queue.send("raw/a/, /land")
    killed_at(world, "target.rename", occurrence=2)
    world.clock.advance(200)
    pause(world)
    world.drain()
    assert world.landed() == {"1": b"data", "2": b"more"}
    assert world.all_of(events.TransferPaused) == []


def test_a_failed_transfer_whose_route_is_paused_meanwhile_is_not_tried_again(
    world: World,
) -> None:
    world.queue.send("raw/a/, /land/a")
    world.faults.always("store.list", TransientError("E_X", "x"))

    def pause_then(fact: object) -> None:
        if isinstance(fact, events.AttemptFailed):
            pause(world)

    world.watcher = pause_then
    with world.running() as agent:
        parked(agent)
        (row,) = world.rows()
        assert (row.code, row.attempt, row.failures) == ("E_ROUTE_PAUSED", 1, 1)
        world.faults.never("store.list")
        resume(world)
        eventually(lambda: world.queue.remaining == [])
    (row,) = world.rows()
    assert (row.state, row.attempt, row.failures) == ("done", 2, 1)


def test_a_held_transfer_leaves_its_slot_and_does_not_claim_that_its_dependency_is_back(
    world: World,
) -> None:
    down = OutageError.of("s3", "E_S3_UNREACHABLE", "down")
    world.faults.always("store.list", down)
    world.queue.send("raw/a/, /land/a")
    with world.running() as agent:
        eventually(lambda: world.all_of(events.TransferHeld))
        pause(world)
        parked(agent)
        assert world.all_of(events.TransferResumed) == []
        world.faults.never("store.list")
        resume(world)
        eventually(lambda: world.queue.remaining == [])


def test_a_ledger_that_does_not_say_what_is_paused_holds_the_transfer(world: World) -> None:
    down = OutageError.of("ledger", "E_LEDGER_IO", "down")
    world.faults.always("ledger.paused_routes", down)
    world.queue.send("raw/a/1, /land/a")
    with world.running():
        eventually(lambda: world.all_of(events.TransferHeld))
        assert world.landed() == {}
        assert {one.dependency for one in world.all_of(events.TransferHeld)} == {"ledger"}
        world.faults.never("ledger.paused_routes")
        eventually(lambda: world.queue.remaining == [])
    assert world.rows()[0].failures == 0


def test_a_parked_message_dies_with_a_letter_before_sqs_deletes_it(world: World) -> None:
    world.queue = FakeQueue(world.clock, faults=world.faults, retention_s=1000)
    pause(world)
    sent = world.queue.send("raw/a/1, /land/a")
    with world.running():
        eventually(lambda: world.queue.remaining == [])
    (letter,) = world.queue.dead_letters
    assert letter.reason is not None
    assert letter.reason.code == "E_EXPIRING"
    assert "last: E_ROUTE_PAUSED: route a is paused" in letter.reason.sentence
    assert world.queue.expired == []
    assert letter.message_id == sent


def test_after_twelve_hours_a_parked_message_is_received_anew(world: World) -> None:
    pause(world)
    sent = world.queue.send("raw/a/1, /land/a")
    with world.running(visibility_total_s=4800):
        eventually(lambda: receives(world, sent) >= 2)
        taken_s = world.clock.monotonic()
    assert world.all_of(events.VisibilityWasLost) == []
    returned = world.all_of(events.ParkedMessageReturned)
    assert {(one.message_id, one.route, one.hidden_s) for one in returned} == {(sent, "a", 0)}
    assert taken_s >= 1000 + 4600


def test_what_is_too_much_to_keep_goes_back_hidden(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lot, "PARKED_MOST", 2)
    world.jumping = ("slot", "poll")
    pause(world)
    several = [world.queue.send("raw/a/1, /land/a") for _ in range(4)]
    with world.running() as agent:
        eventually(lambda: len(world.all_of(events.ParkedMessageReturned)) == 2)
        parked(agent, 2)
        returned = world.all_of(events.ParkedMessageReturned)
        assert [one.message_id for one in returned] == several[2:]
        for one in returned:
            assert 2700 <= one.hidden_s <= 4500
            assert agent.pollers[0].keeper.newest(one.message_id) is None


def test_what_is_too_much_for_a_drain_is_given_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lot, "PARKED_MOST", 1)
    pause(world)
    for _ in range(3):
        world.queue.send("raw/a/1, /land/a")
    assert world.drain().totals.gave_up == 3
    assert len(world.queue.remaining) == 3


@pytest.mark.parametrize("keys", [("b/1", "a/1"), ("a/1", "b/1")])
def test_a_paused_record_holds_up_no_other_of_its_message(
    world: World, keys: tuple[str, str]
) -> None:
    world.routes = tuple(
        replace(one, event_destination=f"/land/{one.name}") for one in world.routes
    )
    world.queue.send(notice(*keys))
    pause(world)
    with world.running() as agent:
        parked(agent)
        assert world.landed() == {"b/1": b"data"}
        resume(world)
        eventually(lambda: world.queue.remaining == [])
    assert world.landed() == {"a/1": b"data", "b/1": b"data"}
    assert len(world.all_of(events.TransferDone)) == 2


def test_a_record_that_failed_is_tried_again_while_another_one_is_paused(world: World) -> None:
    world.routes = tuple(
        replace(one, event_destination=f"/land/{one.name}") for one in world.routes
    )
    world.queue.send(notice("a/1", "b/1"))
    pause(world)
    world.faults.always("target.rename", TransientError("E_HDFS_RPC", "no"))
    with world.running() as agent:
        eventually(lambda: world.all_of(events.AttemptFailed))
        world.faults.never("target.rename")
        parked(agent)
        assert world.landed() == {"b/1": b"data"}
    ended = world.all_of(events.DeliveryEnded)
    assert [one.is_parked for one in ended][-2:] == [False, True]


def test_a_message_that_sqs_delivers_again_while_it_is_parked_stays_parked(world: World) -> None:
    world.jumping = ("slot", "poll")
    pause(world)
    sent = world.queue.send("raw/a/1, /land/a")
    with world.running() as agent:
        parked(agent)

        def is_delivered_again() -> bool:
            if receives(world, sent) < 2:
                world.queue.redeliver(sent)  # the agent may have hidden it before its next poll
            return receives(world, sent) >= 2

        eventually(is_delivered_again)

        # Its clock jumps, so it may be delivered more often than that.
        def has_newest_handle() -> bool:
            newest = agent.pollers[0].keeper.newest(sent)
            return newest is not None and newest.receipt_handle == f"{sent}/{receives(world, sent)}"

        eventually(has_newest_handle)
        assert len(agent.pollers[0].parking) == 1
    assert world.queue.invisible_s(sent) == 0, "handed back with the newest handle"


def test_resumed_messages_and_new_ones_take_turns(world: World) -> None:
    pause(world)
    with world.process() as ports:
        agent = world.agent(ports)
        for _ in range(2):
            world.queue.send("raw/a/1, /land/a")
        for message in world.queue.receive(max_messages=2, wait_s=0, visibility_timeout_s=120):
            agent.pollers[0].keeper.keep(message)
            agent.pollers[0].parking.park(message, RouteWait(route="a"))
        agent.pollers[0].parking.turn()
        assert not agent.pollers[0]._start_one()
        assert not agent.pollers[0]._start_one()
        resume(world)
        agent.pollers[0].parking.turn()
        turns = [agent.pollers[0]._start_one() for _ in range(5)]
        agent._slots.shutdown(wait=True)
    assert turns == [True, False, True, False, False]
    assert world.queue.remaining == []


def test_a_queue_that_keeps_no_order_of_routes_is_not_everything(world: World) -> None:
    """A route that is bound to another queue does not count for this one."""
    world.routes = (
        *world.routes[:1],
        replace(world.routes[1], queues=frozenset({"arn:aws:sqs:us-east-1:000000000000:other"})),
    )
    pause(world)
    with world.process() as ports:
        agent = world.agent(ports)
        assert not agent.pollers[0].parking.is_everything_paused, "the ledger was not read yet"
        agent.pollers[0].parking.turn()
        assert agent.pollers[0].parking.is_everything_paused


def test_while_the_ledger_does_not_answer_what_is_known_stays_and_one_warning_is_given(
    world: World,
) -> None:
    down = OutageError.of("ledger", "E_LEDGER_IO", "down")
    pause(world)
    with world.process() as ports:
        agent = world.agent(ports)
        agent.pollers[0].parking.turn()
        for _ in range(2):
            world.faults.always("ledger.paused_routes", down)
            resume(world)
            for _ in range(3):
                agent.pollers[0].parking.turn()
            assert [one.route for one in agent._context.pauses.in_force()] == ["a"]
            world.faults.never("ledger.paused_routes")
            pause(world)
            agent.pollers[0].parking.turn()
    unknown = world.all_of(events.PausedRoutesUnknown)
    assert [(one.code, one.reason) for one in unknown] == [("E_LEDGER_IO", "down")] * 2
    assert [one.routes for one in world.all_of(events.PausedRoutesChanged)] == [("a",)]


def test_retries_of_a_paused_route_do_not_count(world: World) -> None:
    """Paused and resumed more often than there are attempts."""
    world.queue.send("raw/a/1, /land/a")
    for _ in range(6):
        pause(world)
        with world.running(retry=RetryPolicy(max_attempts=2, max_starts=3)) as agent:
            parked(agent)
    resume(world)
    world.drain(retry=RetryPolicy(max_attempts=2, max_starts=3))
    assert world.rows()[0].state == "done"


def test_fifo_groups_of_other_routes_go_on(world: World) -> None:
    world.queue = FakeQueue(world.clock, faults=world.faults, is_fifo=True)
    pause(world)
    world.queue.send("raw/a/1, /land/a", group="a")
    behind = world.queue.send("raw/b/1, /land/b", group="a")
    world.queue.send("raw/b/1, /land/c", group="b")
    with world.running() as agent:
        parked(agent)
        eventually(lambda: world.queue.deleted == ["m-3"])
        assert behind in world.queue.remaining
        resume(world)
        eventually(lambda: world.queue.remaining == [])
    assert world.queue.deleted == ["m-3", "m-1", "m-2"]


def test_a_destination_of_a_paused_route_is_free_for_others(world: World) -> None:
    """It never claimed it."""
    world.routes = (world.routes[0], replace(world.routes[1], destinations=(location("/land"),)))
    pause(world)
    world.queue.send("raw/a/1, /land/x")
    world.queue.send("raw/b/1, /land/x")
    with world.running() as agent:
        parked(agent)
        eventually(lambda: len(world.queue.deleted) == 1)
