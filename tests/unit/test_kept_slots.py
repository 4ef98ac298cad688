"""Slots that are kept for routes, over all queues of one agent."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backhaul.core.agent.polling.kept import KeptSlots
from backhaul.core.agent.settings import WorkedQueue
from backhaul.core.facts import DeliveryEnded, MessageReceived
from backhaul.testing.fakes import FakeQueue
from tests.world import World, location, route

SLOTS = 4
MESSAGES = 12


def admitted(slots: KeptSlots, routes: str) -> list[str]:
    """Those of these that may have a slot, each of which takes it."""
    found = []
    for one in routes:
        if slots.admits()(one):
            slots.take(one)
            found.append(one)
    return found


def test_others_leave_what_is_kept_and_the_route_itself_has_it() -> None:
    slots = KeptSlots(SLOTS, lambda: {"k": 2})
    assert admitted(slots, "xxxx") == ["x", "x"]
    assert admitted(slots, "kxk") == ["k", "k"]
    slots.leave("k")
    assert not slots.admits()("x")
    assert slots.admits()("k")


def test_what_is_used_is_kept_no_more() -> None:
    slots = KeptSlots(SLOTS, lambda: {"k": 2})
    assert admitted(slots, "kkxx") == ["k", "k", "x", "x"]


def test_one_slot_is_left_to_others_also_where_fewer_slots_are_there_than_kept() -> None:
    """As after a reload of routes, which does not change the slots of a running agent."""
    slots = KeptSlots(2, lambda: {"k": 5})
    assert admitted(slots, "xx") == ["x"]


@given(
    st.dictionaries(st.sampled_from("klm"), st.integers(min_value=1, max_value=3)),
    st.lists(st.tuples(st.booleans(), st.sampled_from("klmxy")), max_size=200),
)
def test_a_route_has_its_slots_whatever_the_others_do(
    kept: dict[str, int], steps: list[tuple[bool, str]]
) -> None:
    total = sum(kept.values()) + 1
    slots, busy = KeptSlots(total, lambda: kept), Counter[str]()
    for is_end, one in steps:
        if is_end and busy[one]:
            slots.leave(one)
            busy[one] -= 1
        elif not is_end and busy.total() < total and slots.admits()(one):
            slots.take(one)
            busy[one] += 1
        # Each could have all that is kept for it, one after the other, with nobody ending.
        free = total - busy.total()
        assert free >= sum(max(0, least - busy[name]) for name, least in kept.items())
        assert busy or slots.admits()("x"), "others are never kept out for good"


# ---------------------------------------------------------------- with an agent


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.store.put("p/a", b"content of a")
    made.store.put("k/a", b"content of a")
    made.routes = (
        route(name="x", sources=(("raw", "p/"),), destinations=(location("/land/x"),)),
        route(name="k", sources=(("raw", "k/"),), destinations=(location("/land/k"),), min_slots=1),
    )
    return made


def most_at_once(world: World, ids: set[str]) -> int:
    """Of these messages in slots at the same time."""
    now, most = set[str](), 0
    for fact in world.facts:
        if isinstance(fact, MessageReceived) and fact.message_id in ids:
            now.add(fact.message_id)
        elif isinstance(fact, DeliveryEnded):
            now.discard(fact.message_id)
        most = max(most, len(now))
    return most


def test_a_flood_of_another_route_leaves_the_slot_free(world: World) -> None:
    flood = {world.queue.send(f"raw/p/a, /land/x/{number}") for number in range(MESSAGES)}
    kept = world.queue.send("raw/k/a, /land/k")
    agent = world.drain(slots=2)
    assert agent.totals.done == MESSAGES + 1
    assert world.queue.remaining == []
    assert most_at_once(world, flood) == 1
    started = [one.message_id for one in world.all_of(MessageReceived)]
    assert started.index(kept) < MESSAGES, "it did not wait for the whole flood"


def test_messages_of_no_route_and_of_no_text_are_not_kept_out(world: World) -> None:
    world.queue.send("nothing of use")
    world.queue.send("other/p/a, /land/x")
    agent = world.drain(slots=2)
    assert agent.totals.dead == 2
    assert world.queue.remaining == []


def test_the_slot_is_kept_over_all_queues(world: World) -> None:
    second = FakeQueue(world.clock, faults=world.faults, name="second", ids="s")
    world.more_queues = [WorkedQueue(queue=second, name="second")]
    flood = set()
    for number in range(MESSAGES):
        flood.add(world.queue.send(f"raw/p/a, /land/x/a{number}"))
        flood.add(second.send(f"raw/p/a, /land/x/b{number}"))
    second.send("raw/k/a, /land/k")
    agent = world.drain(slots=3)
    assert agent.totals.done == 2 * MESSAGES + 1
    assert (world.queue.remaining, second.remaining) == ([], [])
    assert most_at_once(world, flood) <= 2
