"""Replies leave the ledger: order, rest after a failure, the end of patience, threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backhaul.core.agent.replying import sender as sending
from backhaul.core.agent.replying.lane import MOST, NOTED_AT_ONCE, ReplyLane
from backhaul.core.agent.replying.sender import ReplySender
from backhaul.core.errors import (
    BackhaulError,
    ConfigurationError,
    OutageError,
    PermanentError,
    TransientError,
)
from backhaul.core.model import Hold, TransferState
from backhaul.core.ports import MessageKey
from backhaul.core.ports.replies import ReplyState, ReplyTarget
from backhaul.core.replies.delivery import RepliesUnknown, ReplyDead, ReplyNotTaken, ReplySent
from backhaul.core.replies.patience import ReplyPatience
from backhaul.core.replies.reply import Reply, ReplyEvent, ReplyWish
from backhaul.testing.fakes import FakeClock, Fault, Faults, MemoryFile, MemoryLedger

OUT = OutageError.of("ledger", "E_LEDGER_IO", "full")
DOWN = OutageError.of("target", "E_DOWN", "no answer")
NO = PermanentError("E_NO", "never")


class Inbox:
    """A target that takes everything but what it is told to refuse."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.errors: list[Exception] = []

    def deliver(self, reply: Reply) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.keys.append(reply.key)


class Bed:
    """A ledger with ended transfers, a lane to one target, and what is said about it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.file, self.faults = MemoryFile(), Faults()
        self.ledger = MemoryLedger(self.file, "me", faults=self.faults)
        self.inbox = Inbox()
        self.targets: dict[str, ReplyTarget] = {"out": self.inbox}
        self.facts: list[object] = []
        self.is_over = False
        self.sends = True
        self.lane = self.new_lane()

    def emit(self, fact: object) -> None:
        self.facts.append(fact)

    def new_lane(self) -> ReplyLane:
        return ReplyLane(
            "out",
            ledger=self.ledger,
            find=self.targets.get,
            clock=self.clock,
            emit=self.emit,
            chance=lambda: 1.0,
            patience=ReplyPatience(),
            goes_on=lambda: not self.is_over,
        )

    def end(self, *ids: str, target: str = "out") -> None:
        for one in ids:
            key = MessageKey(queue="q", message_id=f"m-{one}")
            wishes = [ReplyWish(target=target)]
            self.ledger.begin(key, one, "s3://b/k", "/d", self.clock.now(), replies=wishes)
            self.ledger.fail(one, TransferState.DEAD, "E_X", "it broke", self.clock.now())

    def offer(self, *ids: str) -> None:
        """End them, and have the lane learn it at once."""
        self.ledger.observe_replies(self.lane.offer)
        self.end(*ids)

    def states(self) -> list[ReplyState]:
        return [one.state for one in self.file.replies.values()]

    def said(self, kind: type) -> list[object]:
        return [one for one in self.facts if isinstance(one, kind)]


@pytest.fixture
def bed() -> Bed:
    return Bed()


# ---------------------------------------------------------------- one target


def test_what_is_due_is_delivered_in_order_and_marked(bed: Bed) -> None:
    bed.end("t1", "t2", "t3", "t4", "t5", "t6")
    assert not bed.lane.turn(reads=True)
    assert bed.inbox.keys == [f"t{number}-0-dead" for number in range(1, 7)]
    assert len(bed.said(ReplySent)) == 6
    assert not bed.lane.is_idle
    assert not bed.lane.turn(reads=True)
    assert set(bed.states()) == {ReplyState.SENT}
    assert bed.lane.is_idle


def test_what_was_delivered_is_noted_when_enough_have_gathered(bed: Bed) -> None:
    for number in range(NOTED_AT_ONCE - 1):
        bed.offer(f"t{number:02}")
        bed.lane.turn(reads=False)
    assert bed.faults.count("ledger.note_replies_sent") == 0
    bed.offer("last")
    bed.lane.turn(reads=False)
    assert set(bed.states()) == {ReplyState.SENT}
    assert bed.faults.count("ledger.note_replies_sent") == 1
    assert bed.faults.count("ledger.due_replies") == 0


def test_a_ledger_that_is_down_never_lets_more_gather_than_that(bed: Bed) -> None:
    bed.faults.always("ledger.note_replies_sent", OUT)
    bed.end(*(f"t{number:02}" for number in range(2 * NOTED_AT_ONCE)))
    for _ in range(5):
        bed.lane.turn(reads=True)
        bed.clock.advance(600)
    assert len(bed.inbox.keys) == NOTED_AT_ONCE
    bed.faults.never("ledger.note_replies_sent")
    for _ in range(2):
        bed.lane.turn(reads=True)
    bed.lane.note()
    assert set(bed.states()) == {ReplyState.SENT}
    assert len(bed.inbox.keys) == len(set(bed.inbox.keys)) == 2 * NOTED_AT_ONCE


def test_what_was_delivered_is_noted_before_the_target_rests(bed: Bed) -> None:
    bed.end("t1", "t2")
    refuses = iter([None, DOWN])

    def deliver(reply: Reply) -> None:
        if error := next(refuses):
            raise error
        bed.inbox.keys.append(reply.key)

    bed.inbox.deliver = deliver  # type: ignore[method-assign]
    bed.lane.turn(reads=True)
    assert bed.lane.rests
    assert bed.states() == [ReplyState.SENT, ReplyState.WAITING]


# ---------------------------------------------------------------- offered


def test_what_is_offered_is_delivered_without_reading_and_once(bed: Bed) -> None:
    bed.offer("t1", "t2")
    assert bed.lane.has_news
    assert not bed.lane.turn(reads=False)
    assert bed.inbox.keys == ["t1-0-dead", "t2-0-dead"]
    assert bed.faults.count("ledger.due_replies") == 0
    bed.lane.turn(reads=False)
    bed.lane.turn(reads=True)
    assert bed.inbox.keys == ["t1-0-dead", "t2-0-dead"]
    assert bed.states() == [ReplyState.SENT] * 2


def test_what_was_offered_and_then_read_is_delivered_once(bed: Bed) -> None:
    bed.offer("t1")
    bed.lane.turn(reads=True)
    assert not bed.lane.has_news
    bed.lane.turn(reads=False)
    assert bed.inbox.keys == ["t1-0-dead"]


def test_more_than_a_lane_is_offered_are_read(bed: Bed) -> None:
    ids = [f"t{number:02}" for number in range(MOST + 3)]
    bed.offer(*ids)
    while bed.lane.turn(reads=False):
        pass
    assert bed.inbox.keys == [f"{one}-0-dead" for one in ids]
    assert bed.faults.count("ledger.due_replies") == 2


def test_so_many_are_in_hand_when_an_operator_drops_them(bed: Bed) -> None:
    bed.offer(*(f"t{number:02}" for number in range(MOST)))
    is_first = True

    def deliver(reply: Reply) -> None:
        nonlocal is_first
        if is_first:
            is_first = False
            bed.offer(*(f"u{number:02}" for number in range(2 * MOST)))
            for one in bed.file.replies.values():
                one.state = ReplyState.DEAD  # not due any more
        bed.inbox.keys.append(reply.key)

    bed.inbox.deliver = deliver  # type: ignore[method-assign]
    while bed.lane.turn(reads=False):
        pass
    bed.lane.turn(reads=True)
    bed.lane.turn(reads=False)
    assert len(bed.inbox.keys) == 2 * MOST


def test_after_a_rest_the_ledger_says_which_are_due(bed: Bed) -> None:
    bed.offer("t1")
    bed.inbox.errors = [DOWN]
    bed.lane.turn(reads=False)
    bed.offer("t2")
    bed.clock.advance(2)
    bed.lane.turn(reads=False)
    assert bed.inbox.keys == ["t2-0-dead", "t1-0-dead"]
    assert bed.faults.count("ledger.due_replies") == 1


def test_a_full_page_may_have_more_behind(bed: Bed) -> None:
    bed.end(*(f"t{number:02}" for number in range(MOST)))
    assert bed.lane.turn(reads=True)
    assert not bed.lane.turn(reads=True)


def test_a_target_that_fails_rests_and_its_other_replies_wait(bed: Bed) -> None:
    bed.end("t1", "t2")
    bed.inbox.errors = [DOWN]
    assert not bed.lane.turn(reads=True)
    assert bed.lane.rests
    assert not bed.lane.is_idle
    assert bed.inbox.keys == []
    assert bed.states() == [ReplyState.WAITING] * 2
    (fact,) = bed.said(ReplyNotTaken)
    assert isinstance(fact, ReplyNotTaken)
    assert (fact.code, fact.retry_in_s) == ("E_DOWN", 2.0)
    bed.clock.advance(fact.retry_in_s)
    bed.lane.turn(reads=True)
    assert sorted(bed.inbox.keys) == ["t1-0-dead", "t2-0-dead"]
    bed.lane.note()
    assert bed.lane.is_idle


def test_failures_in_a_row_make_the_rest_longer_up_to_minutes(bed: Bed) -> None:
    bed.end("t1")
    bed.inbox.errors = [DOWN] * 12
    for _ in range(12):
        bed.lane.turn(reads=True)
        bed.clock.advance(600)
    rests = [one.retry_in_s for one in bed.facts if isinstance(one, ReplyNotTaken)]
    assert rests[:4] == [2, 4, 8, 16]
    assert rests[-1] == 600
    bed.lane.turn(reads=True)
    assert bed.inbox.keys == ["t1-0-dead"]


def test_one_that_is_always_refused_does_not_keep_the_others(bed: Bed) -> None:
    bed.end("t1", "t2")
    bed.inbox.errors = [DOWN]
    bed.lane.turn(reads=True)
    bed.clock.advance(2)
    bed.inbox.errors = []
    bed.lane.turn(reads=True)
    assert "t2-0-dead" in bed.inbox.keys


def test_the_target_may_name_its_rest(bed: Bed) -> None:
    bed.end("t1")
    error = TransientError("E_429", "slow down")
    error.retry_after_s = 90.0
    bed.inbox.errors = [error]
    bed.lane.turn(reads=True)
    bed.clock.advance(89)
    assert bed.lane.rests
    bed.clock.advance(1)
    bed.lane.turn(reads=True)
    assert bed.inbox.keys == ["t1-0-dead"]


def test_what_will_never_be_taken_is_given_up_at_once_and_the_next_one_goes(bed: Bed) -> None:
    bed.end("t1", "t2")
    bed.inbox.errors = [NO]
    bed.lane.turn(reads=True)
    bed.lane.note()
    assert bed.states() == [ReplyState.DEAD, ReplyState.SENT]
    (fact,) = bed.said(ReplyDead)
    assert isinstance(fact, ReplyDead)
    assert (fact.key, fact.code) == ("t1-0-dead", "E_NO")


def test_after_three_days_it_is_given_up(bed: Bed) -> None:
    bed.end("t1")
    bed.inbox.errors = [DOWN, DOWN]
    bed.lane.turn(reads=True)
    bed.clock.advance(timedelta(days=3).total_seconds())
    bed.lane.turn(reads=True)
    assert bed.states() == [ReplyState.DEAD]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError("a defect"), "E_BUG"),
        (ConfigurationError("E_CFG", "its secret is gone"), "E_CFG"),
    ],
)
def test_a_defect_of_a_target_is_a_failure_like_any_other(
    bed: Bed, error: Exception, code: str
) -> None:
    bed.end("t1")
    bed.inbox.errors = [error]
    bed.lane.turn(reads=True)
    assert [one.code for one in bed.file.replies.values()] == [code]
    assert bed.states() == [ReplyState.WAITING]


def test_a_target_that_is_configured_no_longer_is_given_up(bed: Bed) -> None:
    bed.end("t1")
    bed.targets.clear()
    bed.lane.turn(reads=True)
    (fact,) = bed.said(ReplyDead)
    assert isinstance(fact, ReplyDead)
    assert fact.hint == (
        "write its [[reply]] again, restart the agent, then: backhaul replies resend --target out"
    )
    assert [one.code for one in bed.file.replies.values()] == ["E_REPLY_TARGET"]
    assert bed.states() == [ReplyState.DEAD]


def test_a_ledger_that_does_not_take_the_mark_gets_it_later_and_nothing_is_sent_twice(
    bed: Bed,
) -> None:
    bed.end("t1")
    bed.faults.at("ledger.note_replies_sent", 1, Fault.FAIL, OUT)
    bed.lane.turn(reads=True)
    assert not bed.lane.turn(reads=True)
    assert bed.states() == [ReplyState.WAITING]
    assert not bed.lane.is_idle
    assert len(bed.said(RepliesUnknown)) == 1
    bed.clock.advance(2)
    bed.lane.turn(reads=True)
    assert bed.states() == [ReplyState.SENT]
    assert bed.inbox.keys == ["t1-0-dead"]


def test_a_process_that_dies_before_the_mark_sends_it_again_with_the_same_key(bed: Bed) -> None:
    bed.end("t1")
    bed.lane.turn(reads=True)
    bed.new_lane().turn(reads=True)
    assert bed.inbox.keys == ["t1-0-dead"] * 2


def test_once_the_ledger_is_closed_nothing_is_begun_or_marked(bed: Bed) -> None:
    bed.end("t1", "t2")

    def deliver(reply: Reply) -> None:
        bed.inbox.keys.append(reply.key)
        bed.is_over = True

    bed.inbox.deliver = deliver  # type: ignore[method-assign]
    bed.lane.turn(reads=True)
    assert bed.inbox.keys == ["t1-0-dead"]
    assert bed.states() == [ReplyState.WAITING] * 2


# ---------------------------------------------------------------- threads


class Hanging:
    """A target that answers when the test lets it."""

    def __init__(self) -> None:
        self.is_called, self.goes_on = threading.Event(), threading.Event()

    def deliver(self, reply: Reply) -> None:
        del reply
        self.is_called.set()
        self.goes_on.wait(30)


class Slow:
    """A target that takes as many as the test lets it, and works on the next one until then."""

    def __init__(self, takes: int) -> None:
        self.keys: list[str] = []
        self.is_called = threading.Event()
        self._takes = threading.Semaphore(takes)

    def deliver(self, reply: Reply) -> None:
        if not self._takes.acquire(blocking=False):
            self.is_called.set()
            self._takes.acquire(timeout=30)
        self.keys.append(reply.key)

    def let(self, takes: int) -> None:
        self._takes.release(takes)


@pytest.fixture
def slow(bed: Bed) -> Iterator[Slow]:
    made = Slow(takes=3)
    bed.targets["out"] = made
    yield made
    made.let(9)


@pytest.fixture
def sender(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> Iterator[ReplySender]:
    monkeypatch.setattr(sending, "GATHER_S", 0.0)
    monkeypatch.setattr(sending, "CLOSE_S", 0.2)
    made = ReplySender(
        ledger=bed.ledger,
        find=bed.targets.get,
        clock=bed.clock,
        emit=bed.emit,
        chance=lambda: 1.0,
        sends=lambda: bed.sends,
    )
    yield made
    made.close()


def eventually(is_so: Callable[[], bool]) -> None:
    passing = threading.Event()
    for _ in range(1000):
        if is_so():
            return
        passing.wait(0.01)
    pytest.fail("it never came")


def test_a_start_sends_what_an_earlier_process_left(bed: Bed, sender: ReplySender) -> None:
    bed.end("t1")
    sender.start()
    eventually(lambda: bed.inbox.keys == ["t1-0-dead"])


def test_an_end_is_sent_without_waiting_for_the_next_look(bed: Bed, sender: ReplySender) -> None:
    sender.start()
    eventually(lambda: bed.faults.count("ledger.due_reply_targets") == 1)
    bed.end("t1")
    eventually(lambda: bed.inbox.keys == ["t1-0-dead"])
    assert bed.faults.count("ledger.due_reply_targets") == 1
    assert bed.faults.count("ledger.due_replies") == 0


def test_what_was_sent_is_noted_by_the_next_look(bed: Bed, sender: ReplySender) -> None:
    sender.start()
    bed.end("t1")
    eventually(lambda: bed.inbox.keys == ["t1-0-dead"])
    assert bed.states() == [ReplyState.WAITING]
    bed.clock.advance(sending.LOOK_EVERY_S)
    bed.end("t2")  # else the look would come only after that time indeed
    eventually(lambda: bed.states()[0] is ReplyState.SENT)
    eventually(lambda: len(bed.inbox.keys) == 2)


def test_a_ledger_that_did_not_take_a_note_is_tried_once_more_at_the_end(
    bed: Bed, sender: ReplySender
) -> None:
    bed.end("t1")
    bed.faults.at("ledger.note_replies_sent", 1, Fault.FAIL, OUT)
    bed.faults.at("ledger.due_reply_targets", 2, Fault.FAIL, OUT)
    sender.start()
    eventually(lambda: bed.inbox.keys == ["t1-0-dead"])
    eventually(lambda: not sender._lanes["out"].is_busy)
    sender._look()
    sender._lanes["out"].lane.note()
    assert bed.states() == [ReplyState.WAITING]
    sender.close()
    assert bed.states() == [ReplyState.SENT]
    assert bed.inbox.keys == ["t1-0-dead"]


def test_a_target_that_hangs_delays_no_other_and_no_end(bed: Bed, sender: ReplySender) -> None:
    hanging = Hanging()
    bed.targets["hangs"] = hanging
    bed.end("t1", target="hangs")
    sender.start()
    assert hanging.is_called.wait(30)
    bed.end("t2")
    eventually(lambda: bed.inbox.keys == ["t2-0-dead"])
    bed.end("t3", target="hangs")
    bed.clock.advance(60)
    sender.close()
    hanging.goes_on.set()
    assert bed.file.replies["t1-0-dead", "hangs"].state is ReplyState.WAITING


def test_what_becomes_due_while_a_target_works_follows(bed: Bed, sender: ReplySender) -> None:
    hanging = Hanging()
    bed.targets["out"] = hanging
    bed.end("t1")
    sender.start()
    assert hanging.is_called.wait(30)
    bed.end("t2")
    sender._look()
    hanging.goes_on.set()
    eventually(lambda: not sender._lanes["out"].lane.has_news)
    eventually(lambda: not sender._lanes["out"].is_busy)
    sender.close()
    assert bed.states() == [ReplyState.SENT] * 2


THREE_OF_FOUR = [ReplyState.SENT] * 3 + [ReplyState.WAITING]


def test_what_a_slow_target_has_is_noted_while_it_works_on_the_next(
    bed: Bed, sender: ReplySender, slow: Slow
) -> None:
    bed.end("t1", "t2", "t3", "t4")
    sender.start()
    assert slow.is_called.wait(30)
    sender._look()
    assert bed.states() == THREE_OF_FOUR


def test_the_end_notes_what_a_target_has_that_hangs_on_the_next(
    bed: Bed, sender: ReplySender, slow: Slow
) -> None:
    bed.end("t1", "t2", "t3", "t4")
    bed.faults.at("ledger.note_replies_sent", 1, Fault.FAIL, OUT)  # of the last look
    sender.start()
    assert slow.is_called.wait(30)
    sender.close()
    assert bed.states() == THREE_OF_FOUR
    again = Slow(takes=4)
    bed.targets["out"] = again
    bed.new_lane().turn(reads=True)
    assert again.keys == ["t4-0-dead"]


def test_what_is_delivered_while_the_agent_ends_is_noted_though_the_target_hangs_then(
    bed: Bed, sender: ReplySender, slow: Slow
) -> None:
    bed.end("t1", "t2", "t3", "t4", "t5")
    sender.start()
    assert slow.is_called.wait(30)
    sender.close()
    slow.let(1)
    eventually(lambda: bed.states() == [ReplyState.SENT] * 4 + [ReplyState.WAITING])


def test_each_delivery_is_noted_at_once_while_the_agent_ends(bed: Bed) -> None:
    bed.end("t1", "t2")
    noted: list[list[ReplyState]] = []

    def deliver(reply: Reply) -> None:
        del reply
        noted.append(bed.states())

    bed.inbox.deliver = deliver  # type: ignore[method-assign]
    bed.lane.note_each()
    bed.lane.turn(reads=True)
    assert noted[1] == [ReplyState.SENT, ReplyState.WAITING]
    assert set(bed.states()) == {ReplyState.SENT}


def test_what_is_delivered_while_the_ledger_notes_others_is_noted_later(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    bed.end("t1", "t2")
    bed.targets["out"] = slow = Slow(takes=1)
    note: Any = bed.ledger.note_replies_sent
    with ThreadPoolExecutor(1) as threads:
        turn = threads.submit(bed.lane.turn, reads=True)
        assert slow.is_called.wait(30)

        def slowly(*args: Any) -> None:
            note(*args)
            slow.let(1)
            turn.result(30)

        monkeypatch.setattr(bed.ledger, "note_replies_sent", slowly)
        bed.lane.note()
    monkeypatch.setattr(bed.ledger, "note_replies_sent", note)
    assert bed.states() == [ReplyState.SENT, ReplyState.WAITING]
    bed.lane.turn(reads=True)
    assert set(bed.states()) == {ReplyState.SENT}
    assert slow.keys == ["t1-0-dead", "t2-0-dead"]


def test_a_ledger_that_is_down_is_not_kept_busy_with_every_target_at_work(
    bed: Bed, sender: ReplySender
) -> None:
    slow = {name: Slow(takes=1) for name in ("one", "two")}
    bed.targets.update(slow)
    for name in slow:
        bed.end(f"{name}-1", f"{name}-2", target=name)
    sender._look()
    assert all(one.is_called.wait(30) for one in slow.values())
    bed.faults.always("ledger.note_replies_sent", OUT)
    sender._look()
    assert bed.faults.count("ledger.note_replies_sent") == 1
    bed.faults.never("ledger.note_replies_sent")
    for one in slow.values():
        one.let(1)


def test_the_end_sends_what_is_due(bed: Bed, sender: ReplySender) -> None:
    sender.start()
    bed.end("t1")
    sender.close()
    eventually(lambda: bed.states() == [ReplyState.SENT])


def test_a_ledger_that_is_down_is_asked_again(bed: Bed, sender: ReplySender) -> None:
    bed.end("t1")
    bed.faults.at("ledger.due_reply_targets", 1, Fault.FAIL, OUT)
    sender._look()
    assert len(bed.said(RepliesUnknown)) == 1
    sender._look()
    eventually(lambda: bed.inbox.keys == ["t1-0-dead"])


def test_a_target_that_rests_is_left_alone(bed: Bed, sender: ReplySender) -> None:
    bed.end("t1")
    bed.inbox.errors = [DOWN]
    sender._look()
    eventually(lambda: len(bed.said(ReplyNotTaken)) == 1)
    bed.end("t2")
    eventually(lambda: not sender._lanes["out"].is_busy)
    sender._look()
    assert not sender._lanes["out"].is_busy


def test_not_more_targets_than_that_are_at_work_at_once(
    bed: Bed, sender: ReplySender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "LANES_MOST", 1)
    hanging = Hanging()
    bed.targets["hangs"] = hanging
    bed.end("t1", target="hangs")
    bed.end("t2")
    sender._look()
    assert not sender._lanes["out"].is_busy
    hanging.goes_on.set()
    eventually(lambda: not sender._lanes["hangs"].is_busy)
    sender._look()  # notes what the first one has sent
    eventually(lambda: not sender._lanes["hangs"].is_busy)
    sender._look()
    eventually(lambda: bed.inbox.keys == ["t2-0-dead"])


def test_targets_without_work_are_forgotten(
    bed: Bed, sender: ReplySender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "LANES_KEPT", 0)
    monkeypatch.setattr(sending, "LINGER_S", 0.0)
    bed.end("t1")
    sender._look()
    eventually(lambda: bed.inbox.keys == ["t1-0-dead"])
    eventually(lambda: not sender._lanes["out"].is_busy)
    sender._look()  # notes it
    eventually(lambda: not sender._lanes["out"].is_busy)
    eventually(lambda: sender._lanes["out"].thread is None)
    sender._look()
    assert sender._lanes == {}


def test_a_thread_waits_for_the_next_reply(bed: Bed, sender: ReplySender) -> None:
    sender.start()
    bed.end("t1")
    eventually(lambda: bed.inbox.keys == ["t1-0-dead"])
    eventually(lambda: not sender._lanes["out"].is_busy)
    thread = sender._lanes["out"].thread
    bed.end("t2")
    eventually(lambda: len(bed.inbox.keys) == 2)
    assert sender._lanes["out"].thread is thread
    assert thread is not None
    sender.close()
    eventually(lambda: not thread.is_alive())
    assert bed.states() == [ReplyState.SENT] * 2


def test_long_holds_are_reported_at_intervals(bed: Bed, sender: ReplySender) -> None:
    events = frozenset(ReplyEvent)
    wishes = [ReplyWish(target="out", events=events, held_after_s=60)]
    now = bed.clock.now()
    bed.ledger.begin(None, "t1", "s3://b/k", "/d", now, replies=wishes)
    hold = Hold(dependency="s3", since=now)
    bed.ledger.fail("t1", TransferState.HELD, "E_S3", "no", now, refund=True, hold=hold)
    sender._look()
    bed.clock.advance(60)
    sender._look()
    eventually(lambda: bed.inbox.keys == ["t1-0-held"])


# ---------------------------------------------------------------- where no route sends any


def looks(bed: Bed) -> int:
    assert bed.faults.count("ledger.report_holds") <= bed.faults.count("ledger.due_reply_targets")
    return bed.faults.count("ledger.due_reply_targets")


def look_if_due(sender: ReplySender) -> None:
    """As its thread does."""
    if sender._look_in_s() == 0:
        sender._look()


def test_without_any_the_ledger_is_seldom_read(bed: Bed, sender: ReplySender) -> None:
    bed.sends = False
    look_if_due(sender)
    assert looks(bed) == 1  # what an earlier configuration left
    bed.faults.at("ledger.due_reply_targets", 2, Fault.FAIL, OUT)
    for _ in range(24):
        bed.clock.advance(sending.LOOK_EVERY_S)
        look_if_due(sender)
    assert looks(bed) == 1 + 24 * sending.LOOK_EVERY_S / sending.UNUSED_LOOK_EVERY_S
    assert len(bed.said(RepliesUnknown)) == 1
    bed.end("t1")  # by another process
    bed.clock.advance(sending.UNUSED_LOOK_EVERY_S)
    look_if_due(sender)
    eventually(lambda: bed.inbox.keys == ["t1-0-dead"])


def test_a_route_that_sends_some_again_is_followed_at_once(bed: Bed, sender: ReplySender) -> None:
    bed.sends = False
    look_if_due(sender)
    bed.clock.advance(sending.LOOK_EVERY_S)
    bed.sends = True
    look_if_due(sender)
    assert looks(bed) == 2


@pytest.mark.parametrize("is_delivered", [True, False])
def test_what_an_earlier_configuration_left_is_followed_as_before(
    bed: Bed, sender: ReplySender, *, is_delivered: bool
) -> None:
    bed.sends = False
    bed.end("t1")
    bed.inbox.errors = [] if is_delivered else [DOWN]
    look_if_due(sender)
    eventually(lambda: bool(bed.said(ReplySent if is_delivered else ReplyNotTaken)))
    eventually(lambda: not sender._lanes["out"].is_busy)
    bed.clock.advance(sending.LOOK_EVERY_S)
    look_if_due(sender)
    assert looks(bed) == 2
    eventually(lambda: bed.inbox.keys == ["t1-0-dead"])
    eventually(lambda: not sender._lanes["out"].is_busy)
    sender._lanes["out"].lane.note()
    assert bed.states() == [ReplyState.SENT]
    bed.clock.advance(sending.LOOK_EVERY_S)
    look_if_due(sender)
    assert looks(bed) == 2


def test_patience_is_over_only_after_its_time() -> None:
    patience, began = ReplyPatience(for_s=10), datetime(2026, 1, 1, tzinfo=UTC)
    assert not patience.is_over(began, began + timedelta(seconds=9.9))
    assert patience.is_over(began, began + timedelta(seconds=10))
    assert isinstance(DOWN, BackhaulError)
