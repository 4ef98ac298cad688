"""How the senders of one queue share its slots."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backhaul.core.agent.polling.senders import (
    KNOWN_S,
    LOOK_FOR_S,
    LOOK_LEAST,
    LOOK_MOST,
    LOOK_MOST_CHARS,
    LOOK_PER_SLOT,
    LOOK_REACH,
    Hand,
    sender_of,
)
from backhaul.core.facts import AttemptStarted, MessageReceived, QueuePolled
from backhaul.core.ports import Message
from tests.world import World, eventually

SLOTS = 4
BATCH = 10


def message(sender: str, number: int = 0, group: str | None = None) -> Message:
    return Message(
        queue="q",
        message_id=f"{sender}-{number}",
        receipt_handle="h",
        body="",
        sender_id=sender,
        receive_count=1,
        sent_at=None,
        received_monotonic_s=0.0,
        group=group,
    )


class Queue:
    """A backlog in its order, received and worked as the poller does it; every slot takes alike."""

    def __init__(self, senders: Iterable[str], slots: int = SLOTS) -> None:
        self.hand = Hand(slots)
        self.left = deque(message(one, number) for number, one in enumerate(senders))
        self.running: deque[Message] = deque()
        self.started: list[str] = []
        self._slots = slots

    def receive(self) -> None:
        while self.left:
            free = self._slots - len(self.running)
            most = min(BATCH, max(0, free - len(self.hand)) + self.hand.look_for(0.0))
            if most <= 0:
                return
            for _ in range(min(most, len(self.left))):
                self.hand.add(self.left.popleft(), 0.0)
            self.start()

    def start(self) -> None:
        while len(self.running) < self._slots and (one := self.hand.next()) is not None:
            self.hand.take(one)
            self.running.append(one.message)
            self.started.append(one.message.sender_id)

    def end_one(self) -> None:
        self.hand.leave(self.running.popleft())

    def work(self) -> list[str]:
        """Until nothing is left; returns the sender of each message, in the order of starts."""
        while self.left or self.hand or self.running:
            self.start()
            self.receive()
            self.end_one()
        return self.started


def until_last_of(sender: str, started: list[str]) -> Counter[str]:
    """Started while the sender still had messages."""
    last = max(place for place, one in enumerate(started) if one == sender)
    return Counter(started[: last + 1])


@pytest.mark.parametrize("slots", [2, 4, 8])
def test_a_flood_leaves_another_sender_its_share(slots: int) -> None:
    """Four messages of one for each of the other: in hand is room for the rest of them."""
    found = until_last_of("b", Queue("aaaab" * 2 * slots, slots).work())
    assert found["b"] == 2 * slots
    assert found["a"] <= 2 * found["b"] + slots  # those that ran before the other one was known


def test_one_sender_is_received_for_free_slots_alone() -> None:
    queue = Queue("a" * 50)
    queue.receive()
    assert (len(queue.running), len(queue.hand), len(queue.left)) == (SLOTS, 0, 46)


def test_what_is_in_hand_is_bounded_and_of_the_flood_alone() -> None:
    queue = Queue("ab" + "a" * 1000)
    queue.receive()
    while any(one.sender_id == "b" for one in queue.running):
        queue.end_one()
        queue.start()
    queue.receive()
    assert queue.hand.reach == SLOTS * LOOK_PER_SLOT
    assert len(queue.hand) == queue.hand.reach
    assert [Hand(one).reach for one in (1, 64)] == [LOOK_LEAST, LOOK_REACH]


@pytest.mark.parametrize(
    ("seconds", "most"),
    [(0.0, LOOK_MOST), (1.0, LOOK_MOST), (10.0, SLOTS * 30), (3600.0, SLOTS * LOOK_PER_SLOT)],
)
def test_in_hand_is_what_the_slots_work_off_within_minutes(seconds: float, most: int) -> None:
    hand = Hand(SLOTS)
    for _ in range(3):
        hand.note_time(seconds)
    assert LOOK_FOR_S == 300.0
    assert hand.most == most
    assert hand.left == SLOTS * LOOK_PER_SLOT, "for a route that keeps slots"


def test_a_sender_that_sends_seldom_does_not_fill_the_hand() -> None:
    """Other agents would have nothing to do."""
    queue = Queue("ab" + "a" * 1000)
    queue.hand.note_time(1.0)
    while queue.left:
        queue.start()
        queue.receive()
        assert len(queue.hand) <= queue.hand.reach
        queue.end_one()


def test_the_time_of_a_message_follows_what_is_worked() -> None:
    hand = Hand(SLOTS)
    hand.note_time(3600.0)
    for _ in range(100):
        hand.note_time(1.0)
    assert hand.most == LOOK_MOST


def test_long_bodies_in_hand_are_bounded_by_their_size() -> None:
    hand = of_three_slots("aaa", "")
    hand.note_time(1.0)
    body = "x" * (LOOK_MOST_CHARS // 10)
    for number in range(10):
        assert hand.look_for(0.0) > 0
        assert hand.left > 0
        hand.add(replace(message("a", number), body=body), 0.0)
    hand.add(replace(message("a", 10), body=body), 0.0)
    assert hand.look_for(0.0) == hand.left == 0


@pytest.mark.parametrize("slots", [2, 4, 8])
def test_short_transfers_leave_another_sender_its_share_of_a_long_backlog(slots: int) -> None:
    queue = Queue("aaaaaab" * 100, slots)
    queue.hand.note_time(1.0)
    found = until_last_of("b", queue.work())
    assert found["b"] == 100
    assert found["a"] <= 2 * found["b"] + slots


def test_nothing_more_is_requested_once_the_other_sender_is_found() -> None:
    queue = Queue("ab" + "a" * 10 + "b" * 50)
    queue.receive()
    in_hand = len(queue.hand)
    assert Counter(one.sender_id for one in queue.running)["b"] >= 1
    queue.receive()
    assert len(queue.hand) == in_hand < queue.hand.most


@pytest.mark.parametrize(
    ("busy", "in_hand"),
    [
        ("aab", "a"),  # where b's slot ends, a would have three and b none
        ("aa", ""),
    ],
)
def test_the_other_sender_is_looked_for_before_a_slot_ends(busy: str, in_hand: str) -> None:
    assert of_three_slots(busy, in_hand).look_for(0.0) > 0


@pytest.mark.parametrize(
    ("busy", "in_hand"),
    [
        ("aab", "ab"),
        ("abb", "a"),  # where b's ends, two of a and one of b
        ("ab", "a"),  # a slot is free: a has it, and that is fair
        ("ab", ""),
        ("a", "b"),
    ],
)
def test_nobody_is_looked_for_while_the_next_slot_is_fair(busy: str, in_hand: str) -> None:
    assert of_three_slots(busy, in_hand).look_for(0.0) == 0


def of_three_slots(busy: str, in_hand: str) -> Hand:
    """With two senders that are known, `a` and `b`."""
    hand = Hand(3)
    for number, sender in enumerate("ab"):
        hand.add(message(sender, number), 0.0)
    hand.take_back()
    for number, sender in enumerate(busy):
        hand.take_parked(message(sender, number), "")
    for number, sender in enumerate(in_hand):
        hand.add(message(sender, 10 + number), 0.0)
    return hand


def test_a_sender_that_sends_no_more_is_forgotten() -> None:
    hand = Hand(SLOTS)
    hand.add(message("b"), 0.0)
    hand.add(message("a"), 0.0)
    for _ in range(2):
        one = hand.next()
        assert one is not None
        hand.take(one)
        if one.message.sender_id == "b":
            hand.leave(one.message)
    assert hand.look_for(KNOWN_S) == hand.most
    hand.add(message("a", 1), KNOWN_S + 1)
    assert hand.look_for(KNOWN_S + 1) == 0


def test_of_one_sender_the_order_is_kept() -> None:
    hand = Hand(SLOTS)
    for number in range(5):
        hand.add(message("a", number), 0.0)
    taken = []
    while (one := hand.next()) is not None:
        hand.take(one)
        taken.append(one.message.message_id)
    assert taken == [f"a-{number}" for number in range(5)]


def test_who_is_one_sender() -> None:
    assert sender_of(message("AROAX:one"), is_fifo=False) == sender_of(
        message("AROAX:two"), is_fifo=False
    )
    fair = {sender_of(message("AROAX:one", group=one), is_fifo=False) for one in ("t1", "t2")}
    assert len(fair) == 2
    assert sender_of(message("a", group="t1"), is_fifo=True) == sender_of(
        message("b", group="t2"), is_fifo=True
    )


@given(
    st.text(alphabet="abcd", min_size=1, max_size=120),
    st.integers(min_value=1, max_value=6),
)
def test_nobody_in_hand_waits_for_ever(senders: str, slots: int) -> None:
    """Of those in hand none is passed by another sender that has as many slots, twice in a row."""
    queue = Queue(senders, slots)
    passed: Counter[str] = Counter()
    while queue.left or queue.hand or queue.running:
        queue.start()
        queue.receive()
        before = len(queue.started)
        queue.end_one()
        waiting = {one.sender_id for one in queue.hand.waiting}
        queue.start()
        for served in queue.started[before:]:
            passed.update(waiting - {served})
            passed[served] = 0
        # Each other sender comes at most so often before it: once with each slot it may have.
        assert max(passed.values(), default=0) <= slots + len(set(senders))
    assert Counter(queue.started) == Counter(senders)


@given(st.lists(st.sampled_from("aab"), min_size=20, max_size=200))
def test_a_slot_goes_to_who_has_fewest(senders: list[str]) -> None:
    queue = Queue(senders)
    while queue.left or queue.hand or queue.running:
        queue.start()
        queue.receive()
        queue.end_one()
        busy = Counter(one.sender_id for one in queue.running)
        waiting = {one.sender_id for one in queue.hand.waiting}
        before = len(queue.started)
        queue.start()
        if waiting and len(queue.started) == before + 1:
            assert busy[queue.started[-1]] == min(busy[one] for one in waiting)


# ---------------------------------------------------------------- with an agent


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.store.put("p/a", b"content of a")
    return made


def send(world: World, senders: str) -> dict[str, str]:
    """Returns the sender of each message by its id."""
    return {
        world.queue.send(f"raw/p/a, /land/{number}", sender_id=one): one
        for number, one in enumerate(senders)
    }


def test_an_agent_works_two_senders_by_turns(world: World) -> None:
    sent = send(world, "aaaab" * 4)
    agent = world.drain()
    assert agent.totals.done == 20
    started = [sent[one.message_id] for one in world.all_of(MessageReceived)]
    found = until_last_of("b", started)
    assert found["a"] <= 2 * found["b"] + 2


def test_messages_in_hand_are_handed_back_unspent_by_a_stop(world: World) -> None:
    sent = send(world, "ab" + "a" * 40)
    stopped = []

    def stop(fact: object) -> None:
        if isinstance(fact, AttemptStarted) and len(world.all_of(AttemptStarted)) == 3:
            stopped.append(world.facts.count)

    world.watcher = stop
    with world.running() as agent:
        eventually(lambda: stopped)
    assert agent.busy == 0
    assert len(world.queue.remaining) + agent.totals.done == len(sent)
    assert all(world.queue.invisible_s(one) == 0 for one in world.queue.remaining)


def test_a_look_for_other_senders_does_not_wait(world: World) -> None:
    send(world, "ab" + "a" * 3)
    began_s = world.clock.monotonic()
    world.drain(poll_wait_s=20)
    assert world.all_of(QueuePolled)
    # One long poll at the end, that finds the queue drained.
    assert world.clock.monotonic() - began_s < 2 * 20
