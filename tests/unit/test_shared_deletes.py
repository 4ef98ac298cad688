"""Deletes of several slots at the same moment: one call, and each learns what became of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from backhaul.core.agent.deletes import SharedDeletes
from backhaul.core.errors import OutageError
from backhaul.core.ports import Message
from backhaul.testing.fakes import FakeClock, FakeQueue
from tests.world import eventually


class SlowQueue(FakeQueue):
    """Its first call waits until it may go on.

    Attributes:
        calls: Ids of the messages of each call.
        failing: Messages that are not deleted.
    """

    def __init__(self) -> None:
        super().__init__(FakeClock())
        self.calls: list[list[str]] = []
        self.failing: set[str] = set()
        self.may_go_on = threading.Event()
        self.error: BaseException | None = None

    def delete(self, message: Message) -> None:
        (error,) = self._call([message])
        if error is not None:
            raise error

    def delete_batch(self, messages: Sequence[Message]) -> Sequence[OutageError | None]:
        return self._call(messages)

    def _call(self, messages: Sequence[Message]) -> list[OutageError | None]:
        self.calls.append([one.message_id for one in messages])
        assert self.may_go_on.wait(10)
        error, self.error = self.error, None
        if error is not None:
            raise error
        found: list[OutageError | None] = []
        for one in messages:
            if one.message_id not in self.failing:
                super().delete(one)
            found.append(outage(one) if one.message_id in self.failing else None)
        return found


def no_check() -> None:
    """This process may delete."""


def outage(message: Message) -> OutageError:
    return OutageError.of("sqs", "E_SQS_THROTTLED", message.message_id)


@pytest.fixture
def queue() -> SlowQueue:
    return SlowQueue()


@pytest.fixture
def threads(queue: SlowQueue) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(20) as made:
        yield made
        queue.may_go_on.set()


def received(queue: FakeQueue, count: int) -> list[Message]:
    for _ in range(count):
        queue.send("x")
    found: list[Message] = []
    while len(found) < count:
        found += queue.receive(max_messages=10, wait_s=0, visibility_timeout_s=60)
    return found


def at_once(
    queue: SlowQueue,
    threads: ThreadPoolExecutor,
    count: int,
    check: Callable[[], None] = lambda: None,
) -> list[Future[None]]:
    """One call under way, all others waiting for it."""
    deletes = SharedDeletes(queue, check)
    first, *rest = received(queue, count)
    found = [threads.submit(deletes.delete, first)]
    eventually(lambda: queue.calls)
    found += [threads.submit(deletes.delete, one) for one in rest]
    eventually(lambda: len(deletes._waiting) == len(rest))
    return found


def test_a_message_alone_is_deleted_at_once_by_a_call_of_its_own(queue: SlowQueue) -> None:
    queue.may_go_on.set()
    deletes = SharedDeletes(queue, no_check)
    for message in received(queue, 3):
        deletes.delete(message)
    assert queue.calls == [["m-1"], ["m-2"], ["m-3"]]
    assert queue.deleted == ["m-1", "m-2", "m-3"]


def test_those_that_come_while_a_call_runs_are_the_next_call_ten_at_most(
    queue: SlowQueue, threads: ThreadPoolExecutor
) -> None:
    calls = at_once(queue, threads, 15)
    queue.may_go_on.set()
    for one in calls:
        one.result(10)

    assert [len(one) for one in queue.calls] == [1, 10, 4]
    assert sorted(queue.deleted) == sorted(f"m-{number}" for number in range(1, 16))


def test_nobody_returns_before_its_own_message_is_deleted(
    queue: SlowQueue, threads: ThreadPoolExecutor
) -> None:
    calls = at_once(queue, threads, 4)
    assert not any(one.done() for one in calls)
    assert queue.deleted == []
    queue.may_go_on.set()
    for number, one in enumerate(calls, 1):
        one.result(10)
        assert f"m-{number}" in queue.deleted


def test_a_batch_that_fails_in_part_fails_for_those_alone(
    queue: SlowQueue, threads: ThreadPoolExecutor
) -> None:
    queue.failing = {"m-3"}
    calls = at_once(queue, threads, 5)
    queue.may_go_on.set()
    failures = [one.exception(10) for one in calls]

    assert [getattr(one, "message", None) for one in failures] == [None, None, "m-3", None, None]
    assert sorted(queue.deleted) == ["m-1", "m-2", "m-4", "m-5"]


def test_a_batch_that_is_not_answered_fails_for_all_of_it(
    queue: SlowQueue, threads: ThreadPoolExecutor
) -> None:
    first, *rest = at_once(queue, threads, 4)
    down = OutageError.of("sqs", "E_SQS_UNREACHABLE", "no route to host")
    answered = iter([None, down])
    queue_call = queue._call

    def call(messages: Sequence[Message]) -> list[OutageError | None]:
        queue.error = next(answered)
        return queue_call(messages)

    queue._call = call  # type: ignore[method-assign]
    next(answered)
    queue.may_go_on.set()

    assert first.exception(10) is None
    assert [one.exception(10) for one in rest] == [down] * 3
    assert queue.deleted == ["m-1"]


def test_a_slot_that_breaks_off_leaves_the_others_to_delete_for_themselves(
    queue: SlowQueue, threads: ThreadPoolExecutor
) -> None:
    first, *rest = at_once(queue, threads, 4)
    queue.error = ZeroDivisionError("a defect")
    queue.may_go_on.set()

    assert isinstance(first.exception(10), ZeroDivisionError)
    for one in rest:
        one.result(10)
    assert sorted(queue.deleted) == ["m-2", "m-3", "m-4"]


def test_a_defect_within_a_batch_is_its_own_slots_and_costs_no_other_its_delete(
    queue: SlowQueue, threads: ThreadPoolExecutor
) -> None:
    turns = iter([None, ZeroDivisionError("a defect")])

    def check() -> None:
        error = next(turns, None)
        if error is not None:
            raise error

    calls = at_once(queue, threads, 4, check)
    queue.may_go_on.set()
    failures = [one.exception(10) for one in calls]

    assert [type(one) for one in failures].count(ZeroDivisionError) == 1
    assert len(queue.deleted) == 3


def test_a_process_that_may_not_delete_any_more_calls_nothing(queue: SlowQueue) -> None:
    lost = OutageError.of("ledger", "E_LEDGER_UNREACHABLE", "it does not see this process")

    def check() -> None:
        raise lost

    (message,) = received(queue, 1)
    with pytest.raises(OutageError) as caught:
        SharedDeletes(queue, check).delete(message)
    assert caught.value is lost
    assert queue.calls == []
