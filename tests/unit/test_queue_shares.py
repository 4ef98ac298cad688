"""How several queues share the slots of one agent."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from backhaul.core.agent.context import QUEUE_TRIES
from backhaul.core.agent.polling.opening import OpenedByPoll
from backhaul.core.agent.polling.shares import Room, SlotShares
from backhaul.core.agent.settings import WorkedQueue
from backhaul.core.errors import BackhaulError, NotAllowed, OutageError
from backhaul.core.facts import MessageReceived, PollFailed, QueuePolled, TransferDone
from backhaul.core.ports import Message, Queue
from backhaul.testing.fakes import FakeQueue
from tests.world import World, eventually


def test_one_queue_may_take_all_that_is_free() -> None:
    shares = SlotShares(4)
    (only,) = shares.shares
    assert shares.room(only) == Room(slots=4, most=4)
    for _ in range(4):
        shares.take(only)
    assert shares.room(only) == Room(slots=0, most=0)


def test_what_an_idle_queue_does_not_use_the_others_have() -> None:
    shares = SlotShares(4, (0, 0))
    busy, idle = shares.shares
    busy.wants = 10
    assert shares.room(busy) == Room(slots=4, most=4)
    for _ in range(4):
        shares.take(busy)
    # No slot is free, and yet the idle one looks, for one message.
    assert shares.room(idle) == Room(slots=0, most=1)
    idle.waiting = 1
    assert shares.room(idle).most == 0


def test_the_next_slot_is_of_the_queue_that_has_fewer() -> None:
    shares = SlotShares(4, (0, 0))
    flooded, late = shares.shares
    flooded.wants = 10
    for _ in range(4):
        shares.take(flooded)
    late.wants = 1
    flooded.busy -= 1
    assert shares.room(flooded).slots == 0
    assert shares.room(late).slots == 1


def test_equals_take_turns() -> None:
    shares = SlotShares(1, (0, 0))
    one, other = shares.shares
    one.wants = other.wants = 10
    turns = []
    for _ in range(6):
        (winner,) = [share for share in (one, other) if shares.room(share).slots]
        shares.take(winner)
        turns.append(winner is one)
        winner.busy -= 1
    assert turns in ([True, False] * 3, [False, True] * 3)


@pytest.mark.parametrize("queues", [2, 3, 5])
def test_shares_are_within_two_to_one_under_saturation(queues: int) -> None:
    shares = SlotShares(7, [0] * queues)
    for share in shares.shares:
        share.wants = 10
    served: Counter[int] = Counter()
    running: list[int] = []
    for _ in range(500):
        for number, share in enumerate(shares.shares):
            for _ in range(shares.room(share).slots):
                shares.take(share)
                running.append(number)
                served[number] += 1
        ended = running.pop(0)
        shares.shares[ended].busy -= 1
    assert max(served.values()) <= 2 * min(served.values())


def test_slots_of_its_own_stay_free_for_a_queue() -> None:
    shares = SlotShares(4, (0, 1))
    flooded, kept = shares.shares
    flooded.wants = 10
    assert shares.room(flooded).slots == 3
    for _ in range(3):
        shares.take(flooded)
    assert shares.room(flooded).slots == 0
    kept.wants = 1
    assert shares.room(kept).slots == 1


# ---------------------------------------------------------------- with an agent


def _second(world: World, **more: object) -> FakeQueue:
    return FakeQueue(world.clock, faults=world.faults, name="second", ids="s", **more)  # type: ignore[arg-type]


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.store.put("p/a", b"content of a")
    return made


def test_both_queues_are_drained_by_turns(world: World) -> None:
    second = _second(world)
    world.more_queues = [WorkedQueue(queue=second, name="second")]
    for number in range(4):
        world.queue.send(f"raw/p/a, /land/first{number}")
        second.send(f"raw/p/a, /land/second{number}")
    agent = world.drain()
    assert agent.totals.done == 8
    assert (world.queue.remaining, second.remaining) == ([], [])
    received = [one.queue for one in world.all_of(MessageReceived)]
    assert Counter(received) == {"work": 4, "second": 4}
    # With one slot they come by turns: none is more than one message ahead for long.
    ahead = [received[: end + 1].count("work") * 2 - (end + 1) for end in range(8)]
    assert max(ahead) <= 3
    assert min(ahead) >= -3


def test_a_queue_that_cannot_be_opened_stops_no_other(world: World) -> None:
    def refuse() -> Queue:
        raise NotAllowed("E_AWS_DENIED", "not for you")

    second = _second(world)
    world.more_queues = [WorkedQueue(queue=OpenedByPoll(second.facts, refuse), name="second")]
    world.queue.send("raw/p/a, /land/d")
    with pytest.raises(OutageError) as caught:
        world.drain(drain_patience_s=30)
    assert caught.value.code == "E_AWS_DENIED"
    assert world.queue.remaining == []
    assert {one.queue for one in world.all_of(PollFailed)} == {"second"}
    assert {one.queue for one in world.all_of(QueuePolled)} == {"work"}


def test_a_queue_is_opened_by_the_first_poll_that_may(world: World) -> None:
    second = _second(world)
    answers: list[BackhaulError | None] = [NotAllowed("E_AWS_DENIED", "not yet"), None]

    def try_it() -> Queue:
        if (error := answers.pop(0)) is not None:
            raise error
        return second

    named = replace(second.facts, arn="second", dead_letter_url=None)
    found = OpenedByPoll(named, try_it)
    assert (found.is_open, found.facts.arn) == (False, "second")
    with pytest.raises(OutageError, match="is not open yet"):
        found.depth()
    with pytest.raises(OutageError, match="not yet"):
        found.receive(max_messages=1, wait_s=0, visibility_timeout_s=60)
    second.send("raw/p/a, /land/d")
    (message,) = found.receive(max_messages=1, wait_s=0, visibility_timeout_s=60)
    assert found.is_open
    assert found.facts is second.facts
    assert found.depth().in_flight == 1
    found.extend(message, 60)
    found.delete(message)
    assert second.remaining == []


def test_a_queue_that_is_down_gives_its_slot_to_others_after_some_tries(world: World) -> None:
    """Its message was carried; it is deleted by its next delivery, from the ledger."""
    second = _second(world)
    world.more_queues = [WorkedQueue(queue=second, name="second")]
    sent = second.send("raw/p/a, /land/d")
    tries = []

    def refuse(message: Message) -> None:
        tries.append(message.message_id)
        if len(tries) <= QUEUE_TRIES:
            raise OutageError.of("sqs", "E_SQS_UNREACHABLE", "down")
        FakeQueue.delete(second, message)

    second.delete = refuse  # type: ignore[method-assign]
    with world.running() as agent:
        eventually(lambda: len(tries) == QUEUE_TRIES)
        eventually(lambda: agent.busy == 0)
        second.redeliver(sent)
        eventually(lambda: second.remaining == [])
    assert len(world.all_of(TransferDone)) == 1
