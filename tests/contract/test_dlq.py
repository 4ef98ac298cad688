"""`backhaul dlq` against ElasticMQ: what the agent wrote is read, and sent back."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from backhaul.adapters.aws.clients import AwsSession
from backhaul.adapters.aws.dead_letter import shortened
from backhaul.adapters.aws.sqs import SqsQueue
from backhaul.adapters.system.clock import SystemClock
from backhaul.app import dlq
from backhaul.app.letters import LetterFilter
from backhaul.app.queues import ChosenQueue
from backhaul.core.errors import BadMessage, ConfigurationError
from backhaul.core.ports import SentAgain
from backhaul.testing.servers import clients
from testbed import ElasticMQ
from tests.contract.test_queue import REASON, use

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

pytestmark = pytest.mark.integration
REGION = clients.REGION


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A queue with its dead-letter queue, and three dead letters on it."""

    name: str
    raw: SQSClient
    queue: SqsQueue
    ids: tuple[str, ...]

    def redriven(self) -> list[str]:
        found = self.raw.receive_message(QueueUrl=self.queue.facts.url, MaxNumberOfMessages=10)
        return sorted(one["Body"] for one in found.get("Messages", []))


def named(queue: str) -> ChosenQueue:
    return ChosenQueue(text=queue, region=REGION, label=queue)


@pytest.fixture
def pair(elasticmq: ElasticMQ, monkeypatch: pytest.MonkeyPatch) -> Pair:
    use(monkeypatch, clients.environment(sqs=elasticmq))
    monkeypatch.setattr(dlq, "POLL_WAIT_S", 0)  # ElasticMQ has all letters at once
    return made(clients.sqs_client(elasticmq))


def made(raw: SQSClient, *, fifo: bool = False) -> Pair:
    tail, kind = (".fifo", {"FifoQueue": "true"}) if fifo else ("", {})
    short = f"dlq-{uuid.uuid4().hex[:8]}"
    name = f"{short}{tail}"
    dead = raw.create_queue(
        QueueName=f"{short}-dead{tail}",
        Attributes=kind,  # type: ignore[arg-type]
    )["QueueUrl"]
    arn = raw.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]
    policy = {"deadLetterTargetArn": arn["QueueArn"], "maxReceiveCount": 10}
    raw.create_queue(
        QueueName=name,
        Attributes={"RedrivePolicy": json.dumps(policy), **kind},  # type: ignore[dict-item]
    )
    queue = SqsQueue.open(name, REGION, AwsSession(REGION), SystemClock())
    for number in range(3):
        queue.send(f"raw/p/{number}, /land/d", {"owner": "me"}, group=f"g{number}")
    for message in queue.receive(max_messages=10, wait_s=1, visibility_timeout_s=60):
        # Each has a transfer of its own, by which SQS knows a dead letter that is sent twice.
        reason = replace(REASON, transfer_id=message.message_id) if fifo else REASON
        assert queue.send_dead_letter(message, reason)
        queue.delete(message)
    letters = dlq.read_dead_letters(named(name), most=100)
    return Pair(name=name, raw=raw, queue=queue, ids=tuple(one.message_id for one in letters))


def test_dead_letters_carry_the_reason(pair: Pair) -> None:
    letters = dlq.read_dead_letters(named(pair.name), most=100)
    assert sorted(one.body for one in letters) == [f"raw/p/{n}, /land/d" for n in range(3)]
    found = {(x.code, x.reason, x.attempts, x.host, x.transfer_id) for x in letters}
    assert found == {("E_SRC_EMPTY", "s3://b/p/: no objects", 3, "edge-1", REASON.transfer_id)}
    assert {one.first_seen for one in letters} == {"2026-11-22T12:00:00+00:00"}


def test_reading_leaves_them_where_they_are(pair: Pair) -> None:
    again = dlq.read_dead_letters(named(pair.name), most=100)
    assert {one.message_id for one in again} == set(pair.ids)


def test_one_letter_is_found_by_the_start_of_its_id(pair: Pair) -> None:
    assert dlq.read_dead_letter(named(pair.name), pair.ids[1], most=9).message_id == pair.ids[1]
    with pytest.raises(BadMessage, match="E_DLQ_NOT_FOUND"):
        dlq.read_dead_letter(named(pair.name), "none", most=9)


def test_one_letter_goes_back_and_the_others_stay(pair: Pair) -> None:
    letter = dlq.read_dead_letter(named(pair.name), pair.ids[0], most=9)
    sent: list[SentAgain] = []
    assert dlq.redrive(named(pair.name), (pair.ids[0],), most=9, sent=sent.append) == 1
    assert pair.redriven() == [letter.body]
    (one,) = sent
    assert (one.dead_letter_id, one.transfer_id) == (pair.ids[0], REASON.transfer_id)
    assert one.message_id not in pair.ids
    left = {one.message_id for one in dlq.read_dead_letters(named(pair.name), most=9)}
    assert left == set(pair.ids[1:])


def test_all_letters_go_back_with_their_senders_attributes_only(pair: Pair) -> None:
    assert dlq.redrive(named(pair.name), None, most=9, sent=lambda _id: None) == 3
    back = pair.queue.receive(max_messages=10, wait_s=1, visibility_timeout_s=60)
    assert [one.attributes for one in back] == [{"owner": "me"}] * 3
    assert dlq.read_dead_letters(named(pair.name), most=9) == []


def test_redrive_that_died_between_sending_and_deleting_is_finished_by_the_next(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(_one: SentAgain) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dlq.redrive(named(pair.name), None, most=9, sent=die)
    assert len(dlq.read_dead_letters(named(pair.name), most=9)) == 3
    assert dlq.redrive(named(pair.name), None, most=9, sent=lambda _id: None) == 3
    assert len(set(pair.redriven())) == 3  # one of them twice: the transfer adopts


def test_a_queue_without_a_dead_letter_queue_is_refused(pair: Pair) -> None:
    pair.raw.create_queue(QueueName=f"{pair.name}-alone")
    with pytest.raises(ConfigurationError, match="E_DLQ_NONE"):
        dlq.read_dead_letters(named(f"{pair.name}-alone"), most=9)


def test_letters_go_back_into_their_own_groups_once(
    pair: Pair,
) -> None:
    fifo = made(pair.raw, fifo=True)

    def die(_one: SentAgain) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dlq.redrive(named(fifo.name), None, most=9, sent=die)
    assert dlq.redrive(named(fifo.name), None, most=9, sent=lambda _id: None) == 3
    back = fifo.queue.receive(max_messages=10, wait_s=1, visibility_timeout_s=60)
    assert sorted((one.group, one.body) for one in back) == [
        (f"g{number}", f"raw/p/{number}, /land/d") for number in range(3)
    ]


def test_a_shortened_body_is_not_sent_again(pair: Pair) -> None:
    url = pair.queue.facts.dead_letter_url
    assert url is not None
    letter = shortened("raw/p/9, /land/d" * 9_000)
    pair.raw.send_message(QueueUrl=url, MessageBody=letter)
    with pytest.raises(BadMessage, match="E_DLQ_SHORTENED: 3 sent; 1 not"):
        dlq.redrive(named(pair.name), None, most=100, sent=lambda _: None)
    assert pair.redriven() == [f"raw/p/{n}, /land/d" for n in range(3)]
    (left,) = dlq.read_dead_letters(named(pair.name), most=100)
    assert left.body == letter


# ---------------------------------------------------------------- chosen by filters


def test_letters_are_deleted_by_whole_ids_and_no_other(pair: Pair) -> None:
    gone: list[str] = []
    with pytest.raises(BadMessage, match="E_DLQ_NOT_FOUND"):
        dlq.delete(
            named(pair.name),
            [pair.ids[1], pair.ids[0][:8]],
            most=9,
            deleted=lambda one: gone.append(one.message_id),
        )
    assert gone == [pair.ids[1]]
    left = {one.message_id for one in dlq.read_dead_letters(named(pair.name), most=9)}
    assert left == {pair.ids[0], pair.ids[2]}
    assert pair.redriven() == []


def test_filters_choose_and_leave_everything_where_it_is(pair: Pair) -> None:
    def ids(**conditions: Any) -> set[str]:
        wanted = LetterFilter(**conditions)
        found = dlq.find_dead_letters(named(pair.name), most=9, wanted=wanted)
        assert found.read == 3
        return {one.message_id for one in found.matching}

    now = datetime.now(UTC)
    assert ids() == ids(codes=("E_OTHER", "E_SRC_EMPTY")) == set(pair.ids)
    assert ids(codes=("E_OTHER",)) == set()
    assert ids(message=pair.ids[2][:9]) == {pair.ids[2]}
    assert ids(since=now - timedelta(hours=1)) == ids(until=now + timedelta(hours=1)) == ids()
    assert ids(since=now + timedelta(hours=1)) == ids(until=now - timedelta(hours=1)) == set()
    with pytest.raises(ConfigurationError, match="E_LEDGER_MISSING"):
        ids(route="clicks")


# ---------------------------------------------------------------- by transfers


def letter_of(pair: Pair, transfer_id: str, body: str = "raw/p/9, /land/d") -> None:
    """One more dead letter, of this transfer."""
    pair.queue.send(body)
    (message,) = pair.queue.receive(max_messages=1, wait_s=1, visibility_timeout_s=60)
    assert pair.queue.send_dead_letter(message, replace(REASON, transfer_id=transfer_id))
    pair.queue.delete(message)


def test_the_letters_of_these_transfers_go_back_and_others_stay(pair: Pair) -> None:
    letter_of(pair, "t9")
    sent: list[SentAgain] = []
    short = dlq.redrive_transfers(
        named(pair.name), {"t9", "of no letter"}, most=9, sent=sent.append
    )
    assert short == set()
    (one,) = sent
    assert one.transfer_id == "t9"
    assert pair.redriven() == ["raw/p/9, /land/d"]
    left = {one.message_id for one in dlq.read_dead_letters(named(pair.name), most=9)}
    assert left == set(pair.ids)


def test_no_more_letters_are_read_than_are_needed(pair: Pair) -> None:
    """All three are of one transfer, as after a lost answer: one goes back."""
    sent: list[SentAgain] = []
    dlq.redrive_transfers(named(pair.name), {REASON.transfer_id}, most=9, sent=sent.append)
    assert len(sent) == 1
    assert len(dlq.read_dead_letters(named(pair.name), most=9)) == 2
    assert len(pair.redriven()) == 1


def test_a_transfers_letter_with_a_shortened_body_stays_and_is_named(pair: Pair) -> None:
    url = pair.queue.facts.dead_letter_url
    assert url is not None
    pair.raw.send_message(
        QueueUrl=url,
        MessageBody=shortened("raw/p/9, /land/d" * 9_000),
        MessageAttributes={"backhaul.transfer": {"DataType": "String", "StringValue": "t9"}},
    )
    sent: list[SentAgain] = []
    short = dlq.redrive_transfers(named(pair.name), {"t9"}, most=99, sent=sent.append)
    assert (short, sent) == ({"t9"}, [])
    assert len(dlq.read_dead_letters(named(pair.name), most=9)) == 4
