"""Kept messages stay invisible: at a third, never beyond the total, with the newest handle."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from backhaul.core.agent.visibility import VisibilityKeeper, extension_s
from backhaul.core.errors import BackhaulError, OutageError, VisibilityLost
from backhaul.core.facts import VisibilityWasLost
from backhaul.core.ports import Message
from backhaul.testing.fakes import Fault
from tests.world import World, eventually, keeper_of


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def keeper(world: World) -> Iterator[VisibilityKeeper]:
    made = keeper_of(world)
    made.start()
    yield made
    made.close()


def received(world: World, message_id: str | None = None) -> Message:
    if message_id is None:
        world.queue.send("x")
    else:
        world.queue.redeliver(message_id)
    (message,) = world.queue.receive(max_messages=1, wait_s=0, visibility_timeout_s=120)
    return message


def extended(world: World, times: int) -> None:
    eventually(lambda: world.faults.count("queue.extend") >= times)
    assert world.faults.count("queue.extend") == times


# ---------------------------------------------------------------- how far


@pytest.mark.parametrize(
    ("age_s", "expected_s"),
    [(0, 120), (43_000, 120), (43_020, 120), (43_021, 119), (43_139, 1), (43_140, 0), (50_000, 0)],
)
def test_extension_never_goes_beyond_the_total(age_s: int, expected_s: int) -> None:
    seconds = extension_s(
        now_s=1000.0 + age_s, received_s=1000.0, visibility_timeout_s=120, total_s=43_200
    )
    assert seconds == expected_s


# ---------------------------------------------------------------- when


def test_message_is_extended_at_a_third(world: World, keeper: VisibilityKeeper) -> None:
    message = received(world)
    keeper.keep(message)
    world.clock.advance(39.9)
    assert world.faults.count("queue.extend") == 0
    world.clock.advance(0.1)
    extended(world, 1)

    eventually(lambda: world.queue.invisible_s(message.message_id) == 120)


def test_message_stays_invisible_for_hours(world: World, keeper: VisibilityKeeper) -> None:
    message = received(world)
    keeper.keep(message)
    for times in range(1, 300):
        world.clock.advance(40)
        extended(world, times)
        eventually(lambda: world.queue.invisible_s(message.message_id) > 80)

    assert world.queue.receive(max_messages=1, wait_s=0, visibility_timeout_s=1) == []


def test_released_message_is_extended_no_more(world: World, keeper: VisibilityKeeper) -> None:
    kept, released = received(world), received(world)
    keeper.keep(kept)
    keeper.keep(released)
    assert keeper.release(released.message_id) == released
    world.clock.advance(40)
    extended(world, 1)

    assert world.queue.invisible_s(released.message_id) == 80
    assert keeper.release(released.message_id) is None


def test_all_can_be_released_at_once(world: World, keeper: VisibilityKeeper) -> None:
    messages = [received(world), received(world)]
    for message in messages:
        keeper.keep(message)

    assert keeper.release_all() == messages
    assert keeper.release_all() == []


def test_closed_keeper_extends_nothing(world: World) -> None:
    keeper = keeper_of(world)
    keeper.start()
    keeper.keep(received(world))
    keeper.close()
    world.clock.advance(119)

    assert world.faults.count("queue.extend") == 0


def test_keeper_that_never_started_can_be_closed(world: World) -> None:
    keeper_of(world).close()


# ---------------------------------------------------------------- handles


def test_newer_handle_replaces_the_older_one(world: World, keeper: VisibilityKeeper) -> None:
    first = received(world)
    assert keeper.keep(first) is True
    second = received(world, first.message_id)
    assert keeper.keep(second) is False
    world.clock.advance(40)
    extended(world, 1)

    assert keeper.release(first.message_id) == second
    assert world.all_of(VisibilityWasLost) == []


def test_refused_handle_is_reported_once_and_left(world: World, keeper: VisibilityKeeper) -> None:
    message = received(world)
    keeper.keep(message)
    received(world, message.message_id)  # someone else's now
    world.clock.advance(40)
    eventually(lambda: world.all_of(VisibilityWasLost))
    world.clock.advance(400)

    assert len(world.all_of(VisibilityWasLost)) == 1
    assert world.faults.count("queue.extend") == 1


def test_lost_message_that_comes_again_is_kept_again(
    world: World, keeper: VisibilityKeeper
) -> None:
    message = received(world)
    keeper.keep(message)
    newer = received(world, message.message_id)
    world.clock.advance(40)
    eventually(lambda: world.all_of(VisibilityWasLost))
    assert keeper.keep(newer) is False
    extended(world, 2)

    assert keeper.release(message.message_id) == newer


def test_refusal_of_an_older_handle_is_no_loss(world: World) -> None:
    """The newer delivery arrives while SQS refuses the older handle."""
    keeper = keeper_of(world)
    first = received(world)
    keeper.keep(first)
    kept = keeper._hidden[first.message_id]
    keeper.keep(received(world, first.message_id))
    keeper._extend([(kept, first)])

    assert not kept.is_lost
    assert world.all_of(VisibilityWasLost) == []


def test_loss_after_the_release_is_nobodys(world: World) -> None:
    keeper = keeper_of(world)
    message = received(world)
    keeper.keep(message)
    kept = keeper._hidden[message.message_id]
    keeper.release(message.message_id)
    world.faults.at("queue.extend", 1, Fault.FAIL, VisibilityLost("E_VISIBILITY_LOST", "gone"))
    keeper._extend([(kept, message)])

    assert world.all_of(VisibilityWasLost) == []


# ---------------------------------------------------------------- limits and outages


def test_total_used_up_is_a_loss_without_a_call(world: World) -> None:
    keeper = keeper_of(world, total_s=160)
    keeper.start()
    message = received(world)
    keeper.keep(message)
    world.clock.advance(40)  # 60 s left of the total without its margin
    extended(world, 1)
    assert world.queue.invisible_s(message.message_id) == 60
    world.clock.advance(60)
    eventually(lambda: world.all_of(VisibilityWasLost))
    keeper.close()

    assert world.faults.count("queue.extend") == 1
    assert "E_SQS_TWELVE_HOURS" in world.all_of(VisibilityWasLost)[0].reason


def test_unanswered_extension_is_tried_again_soon(world: World, keeper: VisibilityKeeper) -> None:
    world.faults.at("queue.extend", 1, Fault.FAIL)
    message = received(world)
    keeper.keep(message)
    world.clock.advance(40)
    extended(world, 1)
    eventually(lambda: keeper._hidden[message.message_id].due_s == world.clock.monotonic() + 5)
    world.clock.advance(5)
    extended(world, 2)

    eventually(lambda: world.queue.invisible_s(message.message_id) == 120)
    assert world.all_of(VisibilityWasLost) == []


# ---------------------------------------------------------------- parked messages


def test_a_message_may_be_hidden_for_longer_at_once_and_each_time(
    world: World, keeper: VisibilityKeeper
) -> None:
    message = received(world)
    keeper.keep(message)
    keeper.hide_for(message.message_id, 900)
    extended(world, 1)
    eventually(lambda: world.queue.invisible_s(message.message_id) == 900)
    keeper.hide_for(message.message_id, 900)  # no change
    world.clock.advance(299)
    extended(world, 1)
    world.clock.advance(1)
    extended(world, 2)
    keeper.hide_for(message.message_id, 120)
    extended(world, 3)
    eventually(lambda: world.queue.invisible_s(message.message_id) == 120)


def test_a_message_that_is_not_kept_is_not_hidden(world: World, keeper: VisibilityKeeper) -> None:
    message = received(world)
    keeper.hide_for(message.message_id, 900)
    assert keeper.newest(message.message_id) is None
    keeper.keep(message)
    assert keeper.newest(message.message_id) is message
    extended(world, 0)


def test_a_release_waits_for_the_extension_under_way(
    world: World, keeper: VisibilityKeeper
) -> None:
    """Else it came after the message was shown, and hid it again."""
    message = received(world)
    keeper.keep(message)
    world.clock.advance(20)
    other = received(world)
    keeper.keep(other)
    is_under_way, may_end, order = threading.Event(), threading.Event(), list[str]()

    def stop_there(call: str) -> None:
        if call == "queue.extend" and not is_under_way.is_set():
            is_under_way.set()
            assert may_end.wait(10)
            order.append("extended")

    world.faults.after_effect = stop_there
    world.clock.advance(20)
    assert is_under_way.wait(10)

    def release() -> None:
        keeper.release(message.message_id)
        order.append("released")

    releasing = threading.Thread(target=release)
    releasing.start()
    assert keeper.release(other.message_id) is other, "of another message it does not wait"
    eventually(lambda: keeper.newest(message.message_id) is None)
    may_end.set()
    releasing.join(10)
    assert order == ["extended", "released"]


# ---------------------------------------------------------------- several at once


def batches(world: World, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Ids of the messages of each call for several."""
    found: list[list[str]] = []
    extend_batch = world.queue.extend_batch

    def noted(changes: Sequence[tuple[Message, int]]) -> Sequence[BackhaulError | None]:
        found.append([message.message_id for message, _ in changes])
        return extend_batch(changes)

    monkeypatch.setattr(world.queue, "extend_batch", noted)
    return found


def test_messages_that_are_due_together_are_extended_by_one_call_ten_at_most(
    world: World, keeper: VisibilityKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = batches(world, monkeypatch)
    for _ in range(12):
        keeper.keep(received(world))
    world.clock.advance(40)
    extended(world, 12)

    assert [len(one) for one in calls] == [10, 2]
    world.clock.advance(40)
    extended(world, 24)


def test_a_batch_that_is_extended_in_part_is_judged_message_by_message(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = batches(world, monkeypatch)
    keeper = keeper_of(world)
    good, lost, unanswered = (received(world) for _ in range(3))
    for one in (good, lost, unanswered):
        keeper.keep(one)
    world.faults.at("queue.extend", 2, Fault.FAIL, VisibilityLost("E_VISIBILITY_LOST", "gone"))
    world.faults.at("queue.extend", 3, Fault.FAIL)
    world.clock.advance(40)
    keeper.start()
    extended(world, 3)
    now_s = world.clock.monotonic()
    eventually(lambda: keeper._hidden[unanswered.message_id].due_s == now_s + 5)
    keeper.close()

    assert len(calls) == 1
    assert keeper._hidden[good.message_id].due_s == now_s + 40
    assert [fact.message_id for fact in world.all_of(VisibilityWasLost)] == [lost.message_id]


def test_a_batch_that_is_not_answered_is_tried_again_soon(
    world: World, keeper: VisibilityKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    down = OutageError.of("sqs", "E_SQS_UNREACHABLE", "no route to host")
    turns = iter([down])
    extend_batch = world.queue.extend_batch

    def once_down(changes: Sequence[tuple[Message, int]]) -> Sequence[BackhaulError | None]:
        for error in turns:
            raise error
        return extend_batch(changes)

    monkeypatch.setattr(world.queue, "extend_batch", once_down)
    messages = [received(world) for _ in range(2)]
    for one in messages:
        keeper.keep(one)
    world.clock.advance(40)
    due_s = world.clock.monotonic() + 5
    eventually(lambda: all(keeper._hidden[one.message_id].due_s == due_s for one in messages))
    world.clock.advance(5)
    extended(world, 2)
    assert world.all_of(VisibilityWasLost) == []


def test_a_message_that_is_due_before_all_others_wakes_the_thread(
    world: World, keeper: VisibilityKeeper
) -> None:
    later = received(world)
    world.clock.advance(30)
    keeper.keep(replace(later, received_monotonic_s=world.clock.monotonic()))
    earlier = received(world)
    keeper.keep(replace(earlier, received_monotonic_s=world.clock.monotonic() - 40))
    extended(world, 1)
