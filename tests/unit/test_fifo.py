"""FIFO queues: the messages of a group come one after the other, whatever becomes of each."""

from __future__ import annotations

from pathlib import Path

import pytest

from backhaul.core import facts as events
from backhaul.core.agent.observing.queue_warnings import warnings
from backhaul.core.backoff import RetryPolicy
from backhaul.core.errors import IntegrityError
from backhaul.testing.fakes import FakeQueue, Fault
from tests.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.queue = FakeQueue(made.clock, faults=made.faults, is_fifo=True)
    for name in ("a", "b", "c"):
        made.store.put(f"p/{name}", name.encode())
    return made


def send_requests(world: World, *names: str, group: str = "g") -> list[str]:
    return [world.queue.send(f"raw/p/{name}, /land/{group}", group=group) for name in names]


def started(world: World) -> list[str | None]:
    return [fact.message_id for fact in world.all_of(events.AttemptStarted)]


def test_messages_of_a_group_are_worked_on_in_order_although_slots_are_free(world: World) -> None:
    ids = send_requests(world, "a", "b", "c")
    world.drain(slots=4)
    assert started(world) == ids
    assert world.queue.deleted == ids
    steps = [call for call, _ in world.faults.log if call in {"ledger.begin", "queue.delete"}]
    assert steps == ["ledger.begin", "queue.delete"] * 3


def test_message_that_fails_for_a_while_is_not_overtaken(world: World) -> None:
    first, second = send_requests(world, "a", "b")
    for time in (1, 2):  # as often as one attempt tries
        world.faults.at("store.get", time, Fault.FAIL, IntegrityError("E_CHECKSUM", "flipped"))
    world.drain(slots=4)
    assert world.queue.deleted == [first, second]
    assert started(world) == [first, first, second]


def test_poison_message_ends_dead_and_its_group_goes_on(world: World) -> None:
    gone, after, other = *send_requests(world, "none", "b"), *send_requests(world, "c", group="h")
    world.drain(slots=4)
    (letter,) = world.queue.dead_letters
    assert (letter.message_id, letter.group) == (gone, "g")
    assert world.landed() == {"g/b": b"b", "h/c": b"c"}
    assert set(world.queue.deleted) == {gone, after, other}
    assert world.queue.deleted.index(gone) < world.queue.deleted.index(after)


def test_message_that_fails_every_time_ends_dead_and_its_group_goes_on(world: World) -> None:
    poison, after = send_requests(world, "a", "b")
    seen: list[str] = []
    emit = world.emit

    def watch(fact: object) -> None:
        emit(fact)
        if isinstance(fact, events.AttemptStarted):
            seen.append(fact.message_id or "")
            is_poison = fact.message_id == poison
            if is_poison:
                world.faults.always("store.get", IntegrityError("E_CHECKSUM", "flipped"))
            else:
                world.faults.never("store.get")

    world.emit = watch  # type: ignore[method-assign]
    world.drain(slots=4, retry=RetryPolicy(max_attempts=3, base_s=10))
    assert seen == [poison] * 3 + [after]
    assert [letter.message_id for letter in world.queue.dead_letters] == [poison]
    assert world.landed() == {"g/b": b"b"}


def test_fifo_queue_without_dead_letters_is_warned_of_what_that_holds_up(world: World) -> None:
    alone = FakeQueue(world.clock, is_fifo=True, has_dead_letters=False)
    (found,) = warnings(alone.facts)
    assert found.code == "W_NO_DLQ"
    assert found.reason.endswith("holds up its group")
