"""Replies in batches: what is taken together, what is left out of it, what fails as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from backhaul.adapters.aws.sqs_answer import sent_ids
from backhaul.core.agent.replying.lane import NOTED_AT_ONCE
from backhaul.core.errors import BackhaulError, ConfigurationError, OutageError
from backhaul.core.ports.replies import ReplyState
from backhaul.core.replies.delivery import ReplyDead, ReplyNotTaken, ReplySent
from backhaul.core.replies.reply import Reply
from tests.unit.test_reply_sender import DOWN, NO, Bed, Inbox


class Batches(Inbox):
    """An inbox that takes batches.

    Attributes:
        sizes: Of each batch that came.
        left_out: The transfers whose replies no batch takes.
        failure: What the next batch fails with, after it took what it takes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.left_out: set[str] = set()
        self.failure: BackhaulError | None = None

    def deliver_batch(self, replies: Sequence[Reply]) -> frozenset[str]:
        self.sizes.append(len(replies))
        taken = [one.key for one in replies if one.transfer_id not in self.left_out]
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        self.keys += taken
        return frozenset(taken)


@pytest.fixture
def bed() -> Bed:
    bed = Bed()
    bed.inbox = Batches()
    bed.targets["out"] = bed.inbox
    return bed


def batches(bed: Bed) -> Batches:
    assert isinstance(bed.inbox, Batches)
    return bed.inbox


def names(count: int) -> list[str]:
    return [f"t{number:02}" for number in range(count)]


def keys(*transfers: str) -> list[str]:
    return [f"{one}-0-dead" for one in transfers]


def test_what_is_due_is_delivered_in_batches_that_are_noted_whole(bed: Bed) -> None:
    bed.end(*names(NOTED_AT_ONCE + 3))
    bed.lane.turn(reads=True)
    assert batches(bed).sizes == [NOTED_AT_ONCE, 3]
    assert batches(bed).keys == keys(*names(NOTED_AT_ONCE + 3))
    assert bed.states().count(ReplyState.SENT) == NOTED_AT_ONCE
    bed.lane.note()
    assert set(bed.states()) == {ReplyState.SENT}
    assert len(bed.said(ReplySent)) == NOTED_AT_ONCE + 3


def test_no_more_than_ten_wait_to_be_noted(bed: Bed) -> None:
    bed.offer(*names(4))
    bed.lane.turn(reads=False)
    bed.end(*(f"u{number}" for number in range(8)))
    bed.lane.turn(reads=False)
    assert batches(bed).sizes == [4, NOTED_AT_ONCE - 4, 2]
    assert bed.states().count(ReplyState.SENT) == NOTED_AT_ONCE


def test_one_alone_is_no_batch(bed: Bed) -> None:
    bed.end("t1")
    bed.lane.turn(reads=True)
    assert (batches(bed).sizes, batches(bed).keys) == ([], keys("t1"))


def test_what_a_batch_leaves_out_is_delivered_alone_and_its_error_is_told(bed: Bed) -> None:
    batches(bed).left_out = {"t1", "t2"}
    batches(bed).errors = [NO]
    bed.end("t0", "t1", "t2", "t3")
    bed.lane.turn(reads=True)
    bed.lane.note()
    assert batches(bed).keys == keys("t0", "t3", "t2")
    (dead,) = bed.said(ReplyDead)
    assert isinstance(dead, ReplyDead)
    assert (dead.key, dead.code) == (keys("t1")[0], "E_NO")
    assert bed.states().count(ReplyState.SENT) == 3


@pytest.mark.parametrize("error", [DOWN, ConfigurationError("E_FILE", "gone", hint="put it back")])
def test_a_batch_that_fails_lets_the_target_rest_and_loses_nothing(
    bed: Bed, error: BackhaulError
) -> None:
    batches(bed).failure = error
    bed.end(*names(3))
    bed.lane.turn(reads=True)
    assert bed.lane.rests
    (put_off,) = bed.said(ReplyNotTaken)
    assert isinstance(put_off, ReplyNotTaken)
    assert (put_off.key, put_off.code) == (keys("t00")[0], error.code)
    assert (batches(bed).keys, set(bed.states())) == ([], {ReplyState.WAITING})
    bed.clock.advance(3600)
    bed.lane.turn(reads=True)
    bed.lane.note()
    assert sorted(batches(bed).keys) == keys(*names(3))
    assert set(bed.states()) == {ReplyState.SENT}


def test_a_batch_that_is_refused_whole_is_delivered_one_by_one(bed: Bed) -> None:
    batches(bed).failure = NO
    bed.end(*names(3))
    bed.lane.turn(reads=True)
    assert batches(bed).keys == keys(*names(3))
    assert not bed.said(ReplyDead)


def test_while_the_agent_ends_each_is_delivered_and_noted_alone(bed: Bed) -> None:
    bed.lane.note_each()
    bed.end(*names(3))
    bed.lane.turn(reads=True)
    assert batches(bed).sizes == []
    assert set(bed.states()) == {ReplyState.SENT}


def test_what_sqs_confirms_of_a_batch_is_taken_and_nothing_else() -> None:
    answer: dict[str, Any] = {
        "Successful": [{"Id": "1", "MessageId": "m", "MD5OfMessageBody": _MD5_OF_B}],
        "Failed": [{"Id": "0", "SenderFault": True, "Code": "InvalidMessageContents"}],
    }
    assert sent_ids(answer, {"0": "a", "1": "b"}, "queue q") == {"1"}
    assert sent_ids({}, {"0": "a"}, "queue q") == frozenset()


@pytest.mark.parametrize(
    "entry",
    [
        {"Id": "7", "MessageId": "m"},
        {"MessageId": "m"},
        {"Id": "0"},
        {"Id": "0", "MessageId": "m", "MD5OfMessageBody": "of another"},
    ],
)
def test_an_answer_to_a_batch_that_cannot_be_is_no_success(entry: dict[str, Any]) -> None:
    with pytest.raises(OutageError) as caught:
        sent_ids({"Successful": [entry]}, {"0": "a"}, "queue q")
    assert caught.value.code == "E_SQS_ANSWER"


_MD5_OF_B = "92eb5ffee6ae2fec3ad71c777531578f"
