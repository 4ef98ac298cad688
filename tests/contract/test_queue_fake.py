"""`FakeQueue` held to the suite that ElasticMQ and moto pass, and to what AWS documents."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from backhaul.core.errors import VisibilityLost
from backhaul.testing.fakes import FakeClock, FakeQueue
from tests.contract.test_queue import (
    REASON,
    one,
    test_a_forgotten_handle_keeps_no_other_message_from_being_deleted,
    test_a_refused_handle_is_the_loss_of_its_message_alone,
    test_deleted_message_is_gone_and_deleting_again_is_fine,
    test_deleting_by_a_forgotten_handle_is_fine,
    test_depth_counts_what_waits_and_what_is_in_flight,
    test_depth_has_the_retention_that_the_queue_keeps,
    test_empty_queue_gives_an_empty_list,
    test_extended_message_stays_invisible,
    test_extending_a_deleted_message_is_visibility_lost,
    test_facts_name_the_queue_and_its_dead_letter_queue,
    test_fifo_messages_carry_their_group,
    test_group_waits_for_its_message_in_flight_and_other_groups_do_not,
    test_group_whose_message_is_handed_back_begins_with_it_again,
    test_message_arrives_with_everything_sqs_knows,
    test_more_than_twelve_hours_in_all_is_visibility_lost,
    test_nonsense_handle_is_visibility_lost,
    test_one_answer_may_bring_several_of_a_group,
    test_queue_without_redrive_policy_has_no_dead_letters,
    test_receive_count_grows_with_each_delivery,
    test_several_messages_are_deleted_by_one_call,
    test_several_messages_are_extended_by_one_call_each_by_its_own_time,
    test_visibility_zero_shows_the_message_at_once,
)

# Collected here a second time, with the fixtures of this file.
__all__ = [
    "test_a_forgotten_handle_keeps_no_other_message_from_being_deleted",
    "test_a_refused_handle_is_the_loss_of_its_message_alone",
    "test_deleted_message_is_gone_and_deleting_again_is_fine",
    "test_deleting_by_a_forgotten_handle_is_fine",
    "test_depth_counts_what_waits_and_what_is_in_flight",
    "test_depth_has_the_retention_that_the_queue_keeps",
    "test_empty_queue_gives_an_empty_list",
    "test_extended_message_stays_invisible",
    "test_extending_a_deleted_message_is_visibility_lost",
    "test_facts_name_the_queue_and_its_dead_letter_queue",
    "test_fifo_messages_carry_their_group",
    "test_group_waits_for_its_message_in_flight_and_other_groups_do_not",
    "test_group_whose_message_is_handed_back_begins_with_it_again",
    "test_message_arrives_with_everything_sqs_knows",
    "test_more_than_twelve_hours_in_all_is_visibility_lost",
    "test_nonsense_handle_is_visibility_lost",
    "test_one_answer_may_bring_several_of_a_group",
    "test_queue_without_redrive_policy_has_no_dead_letters",
    "test_receive_count_grows_with_each_delivery",
    "test_several_messages_are_deleted_by_one_call",
    "test_several_messages_are_extended_by_one_call_each_by_its_own_time",
    "test_visibility_zero_shows_the_message_at_once",
]


class RealClock:
    def now(self) -> datetime:
        return datetime.now(tz=UTC)

    def monotonic(self) -> float:
        return time.monotonic()


@pytest.fixture
def server() -> None:
    """No server."""


@pytest.fixture
def opened() -> Callable[..., FakeQueue]:
    def make(*, fifo: bool = False, dead_letters: bool = True) -> FakeQueue:
        return FakeQueue(
            RealClock(), has_dead_letters=dead_letters, max_receive_count=7, is_fifo=fifo
        )

    return make


def test_message_comes_back_when_its_timeout_ends() -> None:
    clock = FakeClock()
    queue = FakeQueue(clock)
    queue.send("x")
    first = one(queue, visibility_timeout_s=60)
    clock.advance(59)
    assert queue.receive(max_messages=1, wait_s=0, visibility_timeout_s=60) == []
    clock.advance(1)

    again = one(queue)
    assert (again.message_id, again.receive_count) == (first.message_id, 2)
    assert again.receipt_handle != first.receipt_handle


def test_older_handle_is_refused_and_deletes_nothing() -> None:
    clock = FakeClock()
    queue = FakeQueue(clock)
    message_id = queue.send("x")
    first = one(queue)
    queue.redeliver(message_id)
    second = one(queue)

    with pytest.raises(VisibilityLost):
        queue.extend(first, 60)
    queue.delete(first)
    assert queue.remaining == [message_id]
    queue.delete(second)
    assert queue.remaining == []


def test_sqs_redrives_by_itself_after_too_many_receives() -> None:
    clock = FakeClock()
    queue = FakeQueue(clock, max_receive_count=2)
    queue.send("x")
    for _ in range(2):
        queue.extend(one(queue), 0)

    assert queue.receive(max_messages=1, wait_s=0, visibility_timeout_s=60) == []
    assert [letter.reason for letter in queue.dead_letters] == [None]


def test_dead_letter_carries_its_reason() -> None:
    queue = FakeQueue(FakeClock())
    queue.send("body")
    message = one(queue)

    assert queue.send_dead_letter(message, REASON) is True
    (letter,) = queue.dead_letters
    assert (letter.body, letter.reason) == ("body", REASON)


def test_poll_that_finds_nothing_lets_the_clock_pass() -> None:
    clock = FakeClock()
    queue = FakeQueue(clock)
    before_s = clock.monotonic()

    assert queue.receive(max_messages=1, wait_s=20, visibility_timeout_s=60) == []
    assert clock.monotonic() == before_s + 20


def test_fifo_dead_letter_is_kept_once_with_its_group() -> None:
    clock = FakeClock()
    queue = FakeQueue(clock, is_fifo=True)
    queue.send("x", group="orders")
    message = one(queue)
    for _ in range(2):
        queue.send_dead_letter(message, REASON)
    assert [letter.group for letter in queue.dead_letters] == ["orders"]
    clock.advance(300)
    queue.send_dead_letter(message, REASON)
    assert len(queue.dead_letters) == 2
