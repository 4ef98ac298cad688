"""`SqsQueue` against ElasticMQ (strict about handles, has redrive) and moto (strict about 12 h)."""

from __future__ import annotations

import hashlib
import json
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from botocore.client import BaseClient

from backhaul.adapters.aws.clients import AwsSession
from backhaul.adapters.aws.sqs import SqsQueue
from backhaul.core.errors import (
    BadMessage,
    ConfigurationError,
    OutageError,
    VisibilityLost,
)
from backhaul.core.ports import DeadLetterReason, Message, Queue
from backhaul.testing.servers import Moto, clients
from testbed import ElasticMQ

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

pytestmark = pytest.mark.integration

Server = ElasticMQ | Moto
REASON = DeadLetterReason(
    code="E_SRC_EMPTY",
    sentence="s3://b/p/: no objects",
    hint="",
    attempts=3,
    first_seen_at=datetime(2026, 11, 22, 12, 0, tzinfo=UTC),
    transfer_id="0123456789abcdef",
    host="edge-1",
)


class RealClock:
    def now(self) -> datetime:
        return datetime.now(tz=UTC)

    def monotonic(self) -> float:
        return time.monotonic()


@pytest.fixture(params=["elasticmq", "moto_server"])
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def raw(server: Server) -> SQSClient:
    """The stand-in as another client sees it."""
    return clients.sqs_client(server)


def use(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        if name.startswith("AWS_") or name.lower() == "no_proxy":
            monkeypatch.setenv(name, value)


@pytest.fixture
def aws(server: Server, monkeypatch: pytest.MonkeyPatch) -> AwsSession:
    use(monkeypatch, clients.environment(sqs=server))
    return AwsSession(clients.REGION)


@pytest.fixture
def opened(aws: AwsSession, raw: SQSClient) -> Callable[..., SqsQueue]:
    """Make a queue with a dead-letter queue and open it; `fifo=True` makes both FIFO."""

    def make(*, fifo: bool = False, dead_letters: bool = True) -> SqsQueue:
        tail = ".fifo" if fifo else ""
        name = f"q-{uuid.uuid4().hex[:12]}"
        attributes = {"FifoQueue": "true"} if fifo else {}
        policy = {}
        if dead_letters:
            dead = raw.create_queue(
                QueueName=f"{name}-dead{tail}",
                Attributes={**attributes, "MessageRetentionPeriod": "1209600"},  # type: ignore[dict-item]
            )["QueueUrl"]
            arn = raw.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])
            target = arn["Attributes"]["QueueArn"]
            policy = {
                "RedrivePolicy": json.dumps({"deadLetterTargetArn": target, "maxReceiveCount": 7})
            }
        raw.create_queue(QueueName=f"{name}{tail}", Attributes={**attributes, **policy})  # type: ignore[dict-item]
        return SqsQueue.open(f"{name}{tail}", clients.REGION, aws, RealClock())

    return make


def one(queue: Queue, *, visibility_timeout_s: int = 60) -> Message:
    (message,) = queue.receive(max_messages=10, wait_s=5, visibility_timeout_s=visibility_timeout_s)
    return message


def _next(queue: Queue) -> Message:
    (message,) = queue.receive(max_messages=1, wait_s=5, visibility_timeout_s=60)
    return message


def dead_letter(raw: SQSClient, queue: SqsQueue) -> MessageTypeDef:
    assert queue.facts.dead_letter_url is not None
    answer = raw.receive_message(
        QueueUrl=queue.facts.dead_letter_url,
        MessageAttributeNames=["All"],
        WaitTimeSeconds=5,
    )
    (message,) = answer["Messages"]
    return message


def texts(message: MessageTypeDef) -> dict[str, str]:
    return {n: v["StringValue"] for n, v in message["MessageAttributes"].items()}


# ---------------------------------------------------------------- open


def test_facts_name_the_queue_and_its_dead_letter_queue(opened: Callable[..., SqsQueue]) -> None:
    facts = opened().facts

    assert facts.arn.endswith(f":{facts.name}")
    assert facts.dead_letter_name == f"{facts.name}-dead"
    assert facts.dead_letter_url is not None
    assert facts.dead_letter_url.endswith(f"/{facts.dead_letter_name}")
    assert facts.max_receive_count == 7


def test_facts_tell_both_retentions(opened: Callable[..., SqsQueue], server: Server) -> None:
    facts = opened().facts

    if isinstance(server, ElasticMQ):  # keeps no retention at all
        assert facts.retention_s is None
        return
    assert (facts.retention_s, facts.dead_letter_retention_s) == (345_600, 1_209_600)


def test_queue_without_redrive_policy_has_no_dead_letters(
    opened: Callable[..., SqsQueue],
) -> None:
    queue = opened(dead_letters=False)
    queue.send("x")

    assert queue.facts.dead_letter_url is None
    assert queue.send_dead_letter(one(queue), REASON) is False


def test_queue_opens_by_url_too(opened: Callable[..., SqsQueue], aws: AwsSession) -> None:
    facts = opened().facts

    assert SqsQueue.open(facts.url, clients.REGION, aws, RealClock()).facts == facts


def test_queue_opens_by_its_arn_too(opened: Callable[..., SqsQueue], aws: AwsSession) -> None:
    facts = opened().facts
    _, _, _, region, account, name = facts.arn.split(":")
    found = SqsQueue.open(f"arn:aws:sqs:{region}:{account}:{name}", region, aws, RealClock())
    assert found.facts == facts


def test_the_account_of_an_arn_is_asked_for(
    opened: Callable[..., SqsQueue], aws: AwsSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = opened().facts.name
    calls: list[dict[str, str]] = []
    any_client: Any = BaseClient
    call = any_client._make_api_call

    def noted(self: BaseClient, operation: str, parameters: dict[str, str]) -> object:
        calls.append(parameters)
        return call(self, operation, parameters)

    monkeypatch.setattr(BaseClient, "_make_api_call", noted)
    # The stand-ins have one account and find the name in any.
    arn = f"arn:aws:sqs:{clients.REGION}:210987654321:{name}"
    SqsQueue.for_sending(arn, clients.REGION, aws, RealClock())
    assert calls == [{"QueueName": name, "QueueOwnerAWSAccountId": "210987654321"}]


def test_the_host_of_a_url_is_called_where_no_endpoint_is_configured(
    opened: Callable[..., SqsQueue], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = opened().facts.name
    host = clients.environment(sqs=server)["AWS_ENDPOINT_URL_SQS"]
    monkeypatch.delenv("AWS_ENDPOINT_URL_SQS")
    aws = AwsSession(clients.REGION)
    url = f"{host}/000000000000/{name}"
    queue = SqsQueue.open(url, clients.REGION, aws, RealClock())
    queue.send("raw/p/, /land/d")
    assert one(queue).body == "raw/p/, /land/d"


def test_a_configured_endpoint_goes_before_the_host_of_a_url(
    opened: Callable[..., SqsQueue], aws: AwsSession
) -> None:
    name = opened().facts.name
    url = f"http://127.0.0.1:1/000000000000/{name}"
    assert SqsQueue.open(url, clients.REGION, aws, RealClock()).facts.name == name


def test_missing_queue_is_a_configuration_error(aws: AwsSession, server: Server) -> None:
    with pytest.raises(ConfigurationError) as caught:
        SqsQueue.open("no-such-queue", clients.REGION, aws, RealClock())

    assert caught.value.code == "E_QUEUE_NOT_FOUND"
    for part in ("no-such-queue", clients.REGION, server.endpoint):
        assert part in caught.value.message


def test_missing_queue_by_url_is_a_configuration_error(aws: AwsSession, server: Server) -> None:
    url = f"{server.endpoint}/123456789012/no-such-queue"
    with pytest.raises(ConfigurationError) as caught:
        SqsQueue.open(url, clients.REGION, aws, RealClock())

    assert caught.value.code == "E_QUEUE_NOT_FOUND"


# ---------------------------------------------------------------- receive, extend, delete


def test_message_arrives_with_everything_sqs_knows(opened: Callable[..., SqsQueue]) -> None:
    queue = opened()
    before_s = time.monotonic()
    message_id = queue.send("a/b, /c\u00e9 \U0001f600", {"trace": "t-1"})
    message = one(queue)

    assert message.message_id == message_id
    assert message.body == "a/b, /c\u00e9 \U0001f600"
    assert message.queue == queue.facts.arn
    assert message.receive_count == 1
    assert message.sender_id
    assert message.attributes == {"trace": "t-1"}
    assert message.sent_at is not None
    assert abs((datetime.now(tz=UTC) - message.sent_at).total_seconds()) < 30
    assert before_s <= message.received_monotonic_s <= time.monotonic()


def test_empty_queue_gives_an_empty_list(opened: Callable[..., SqsQueue]) -> None:
    assert opened().receive(max_messages=10, wait_s=0, visibility_timeout_s=30) == []


def test_receive_count_grows_with_each_delivery(opened: Callable[..., SqsQueue]) -> None:
    queue = opened()
    queue.send("x")
    queue.extend(one(queue), 0)

    assert one(queue).receive_count == 2


def test_visibility_zero_shows_the_message_at_once(opened: Callable[..., SqsQueue]) -> None:
    queue = opened()
    queue.send("x")
    first = one(queue, visibility_timeout_s=300)
    queue.extend(first, 0)

    assert one(queue).message_id == first.message_id


def test_extended_message_stays_invisible(opened: Callable[..., SqsQueue]) -> None:
    queue = opened()
    queue.send("x")
    message = one(queue, visibility_timeout_s=1)
    queue.extend(message, 60)
    queue.extend(message, 60)
    time.sleep(1.2)

    assert queue.receive(max_messages=1, wait_s=0, visibility_timeout_s=30) == []


def test_extending_a_deleted_message_is_visibility_lost(opened: Callable[..., SqsQueue]) -> None:
    queue = opened()
    queue.send("x")
    message = one(queue)
    queue.delete(message)

    with pytest.raises(VisibilityLost) as caught:
        queue.extend(message, 60)
    assert caught.value.code == "E_VISIBILITY_LOST"
    assert message.message_id in caught.value.message


def test_nonsense_handle_is_visibility_lost(opened: Callable[..., SqsQueue]) -> None:
    queue = opened()
    queue.send("x")

    with pytest.raises(VisibilityLost):
        queue.extend(replace(one(queue), receipt_handle="nonsense"), 60)


@pytest.mark.parametrize(("waited_s", "wanted_s"), [(0.0, 43_201), (1.1, 43_200)])
def test_more_than_twelve_hours_in_all_is_visibility_lost(
    opened: Callable[..., SqsQueue], server: Server, waited_s: float, wanted_s: int
) -> None:
    queue = opened()
    queue.send("x")
    message = one(queue)
    time.sleep(waited_s)
    if isinstance(server, ElasticMQ):  # takes any time, "strict" limits or not
        queue.extend(message, wanted_s)
        return

    with pytest.raises(VisibilityLost):
        queue.extend(message, wanted_s)


def test_deleted_message_is_gone_and_deleting_again_is_fine(
    opened: Callable[..., SqsQueue],
) -> None:
    queue = opened()
    queue.send("x")
    message = one(queue, visibility_timeout_s=1)
    queue.delete(message)
    queue.delete(message)
    time.sleep(1.2)

    assert queue.receive(max_messages=1, wait_s=0, visibility_timeout_s=30) == []


def test_deleting_by_a_forgotten_handle_is_fine(opened: Callable[..., SqsQueue]) -> None:
    queue = opened()
    queue.send("x")

    queue.delete(replace(one(queue), receipt_handle="nonsense"))


# ---------------------------------------------------------------- several at once


def several(queue: Queue, count: int) -> list[Message]:
    found: list[Message] = []
    while len(found) < count:
        found += queue.receive(max_messages=10, wait_s=5, visibility_timeout_s=60)
    return found


def test_several_messages_are_deleted_by_one_call(opened: Callable[..., SqsQueue]) -> None:
    queue = opened()
    for number in range(10):
        queue.send(f"body {number}")
    messages = several(queue, 10)

    assert queue.delete_batch(messages) == [None] * 10
    assert queue.delete_batch(messages) == [None] * 10, "safe to repeat"
    depth = queue.depth()
    assert (depth.visible, depth.in_flight) == (0, 0)


def test_a_forgotten_handle_keeps_no_other_message_from_being_deleted(
    opened: Callable[..., SqsQueue],
) -> None:
    queue = opened()
    queue.send("first")
    queue.send("second")
    first, second = several(queue, 2)
    queue.delete(first)
    unknown = replace(first, message_id="unknown", receipt_handle="nonsense")

    assert queue.delete_batch([unknown, second]) == [None, None]
    depth = queue.depth()
    assert (depth.visible, depth.in_flight) == (0, 0)


def test_several_messages_are_extended_by_one_call_each_by_its_own_time(
    opened: Callable[..., SqsQueue],
) -> None:
    queue = opened()
    queue.send("first")
    queue.send("second")
    first, second = several(queue, 2)

    assert queue.extend_batch([(first, 0), (second, 60)]) == [None, None]
    assert [again.message_id for again in several(queue, 1)] == [first.message_id]


def test_a_refused_handle_is_the_loss_of_its_message_alone(
    opened: Callable[..., SqsQueue],
) -> None:
    queue = opened()
    queue.send("first")
    queue.send("second")
    first, second = several(queue, 2)
    nonsense = replace(first, receipt_handle="nonsense")

    lost, done = queue.extend_batch([(nonsense, 60), (second, 0)])
    assert isinstance(lost, VisibilityLost)
    assert done is None
    assert [again.message_id for again in several(queue, 1)] == [second.message_id]


# ---------------------------------------------------------------- dead letters


def test_dead_letter_is_the_body_unchanged_with_its_reason(
    opened: Callable[..., SqsQueue], raw: SQSClient
) -> None:
    queue = opened()
    queue.send("bucket/p/, /d", {"trace": "t-1"})
    message = one(queue)

    assert queue.send_dead_letter(message, REASON) is True
    letter = dead_letter(raw, queue)
    assert letter["Body"] == "bucket/p/, /d"
    assert texts(letter) == {
        "backhaul.code": "E_SRC_EMPTY",
        "backhaul.reason": "s3://b/p/: no objects",
        "backhaul.attempts": "3",
        "backhaul.first_seen": "2026-11-22T12:00:00+00:00",
        "backhaul.transfer": "0123456789abcdef",
        "backhaul.host": "edge-1",
        "backhaul.queue": queue.facts.arn,
        "trace": "t-1",
    }
    assert letter["MessageAttributes"]["backhaul.attempts"]["DataType"] == "Number"


def test_dead_letter_has_at_most_ten_attributes_and_no_refused_character(
    opened: Callable[..., SqsQueue], raw: SQSClient
) -> None:
    queue = opened()
    queue.send("x", {f"a{i}": "v" for i in range(10)})
    message = one(queue)
    reason = replace(REASON, sentence="nul \x00 " + "r" * 2000, hint="h")

    queue.send_dead_letter(message, reason)
    found = texts(dead_letter(raw, queue))
    assert len(found) == 10
    assert found["backhaul.hint"] == "h"
    assert found["backhaul.reason"].startswith("nul \\x00 r")
    assert len(found["backhaul.reason"]) <= 1010
    assert {n for n in found if not n.startswith("backhaul.")} == {"a0", "a1"}


def test_second_death_replaces_the_reason_of_the_first(
    opened: Callable[..., SqsQueue], raw: SQSClient
) -> None:
    queue = opened()
    queue.send("x", {"backhaul.code": "E_OLD", "backhaul.extra": "1"})

    queue.send_dead_letter(one(queue), REASON)
    found = texts(dead_letter(raw, queue))
    assert found["backhaul.code"] == "E_SRC_EMPTY"
    assert "backhaul.extra" not in found


def test_body_that_does_not_fit_with_its_reason_is_shortened(
    opened: Callable[..., SqsQueue], raw: SQSClient
) -> None:
    queue = opened()
    queue.send("x")
    body = "é" + "x" * (1024 * 1024)  # both stand-ins count characters, SQS bytes
    message = replace(one(queue), body=body)

    assert queue.send_dead_letter(message, REASON) is True
    letter = dead_letter(raw, queue)
    short = json.loads(letter["Body"])
    assert short["sha256"] == hashlib.sha256(body.encode()).hexdigest()
    assert short["bytes"] == 1024 * 1024 + 2
    assert short["head"] == "é" + "x" * 4094
    assert texts(letter)["backhaul.code"] == "E_SRC_EMPTY"


def test_fifo_messages_carry_their_group(opened: Callable[..., SqsQueue]) -> None:
    queue = opened(fifo=True)
    queue.send("x", group="orders")
    assert one(queue).group == "orders"
    assert queue.facts.is_fifo
    standard = opened()
    standard.send("y")
    assert (one(standard).group, standard.facts.is_fifo) == (None, False)


def test_group_waits_for_its_message_in_flight_and_other_groups_do_not(
    opened: Callable[..., SqsQueue],
) -> None:
    queue = opened(fifo=True)
    for number in range(3):
        queue.send(f"a{number}", group="a")
    queue.send("b0", group="b")
    seen = [_next(queue), _next(queue)]
    assert sorted(message.body for message in seen) == ["a0", "b0"]
    assert queue.receive(max_messages=1, wait_s=0, visibility_timeout_s=60) == []
    (first,) = [message for message in seen if message.group == "a"]
    queue.delete(first)
    assert _next(queue).body == "a1"


def test_group_whose_message_is_handed_back_begins_with_it_again(
    opened: Callable[..., SqsQueue],
) -> None:
    queue = opened(fifo=True)
    for number in range(2):
        queue.send(f"a{number}", group="a")
    queue.extend(_next(queue), 0)
    again = _next(queue)
    assert (again.body, again.receive_count) == ("a0", 2)
    queue.extend(again, 1)  # a back-off holds up the group, and no message overtakes it
    assert queue.receive(max_messages=1, wait_s=0, visibility_timeout_s=60) == []
    assert _next(queue).body == "a0"


def test_one_answer_may_bring_several_of_a_group(opened: Callable[..., SqsQueue]) -> None:
    """Why the agent asks a FIFO queue for one message at a time."""
    queue = opened(fifo=True)
    for number in range(3):
        queue.send(f"a{number}", group="a")
    found = queue.receive(max_messages=10, wait_s=1, visibility_timeout_s=60)
    assert [message.body for message in found] == ["a0", "a1", "a2"]


def test_fifo_dead_letter_keeps_the_group(opened: Callable[..., SqsQueue], raw: SQSClient) -> None:
    queue = opened(fifo=True)
    queue.send("x", group="orders")
    message = one(queue)
    assert queue.send_dead_letter(message, REASON)
    assert queue.facts.dead_letter_url is not None
    (letter,) = raw.receive_message(
        QueueUrl=queue.facts.dead_letter_url, MessageSystemAttributeNames=["All"]
    )["Messages"]
    assert letter["Attributes"]["MessageGroupId"] == "orders"
    assert letter["Attributes"]["MessageDeduplicationId"] == REASON.transfer_id


def test_fifo_dead_letter_is_sent_once(opened: Callable[..., SqsQueue], raw: SQSClient) -> None:
    queue = opened(fifo=True)
    queue.send("x")
    message = one(queue)
    queue.send_dead_letter(message, REASON)
    queue.send_dead_letter(message, REASON)

    dead_letter(raw, queue)
    assert queue.facts.dead_letter_url is not None
    answer = raw.receive_message(QueueUrl=queue.facts.dead_letter_url, WaitTimeSeconds=1)
    assert answer.get("Messages", []) == []


# ---------------------------------------------------------------- errors


def test_sending_what_sqs_refuses_is_a_bad_message(opened: Callable[..., SqsQueue]) -> None:
    with pytest.raises(BadMessage) as caught:
        opened().send("x" * (1024 * 1024 + 1))
    assert caught.value.code == "E_MSG_REFUSED"


def test_queue_deleted_under_way_is_an_outage(
    opened: Callable[..., SqsQueue], raw: SQSClient
) -> None:
    queue = opened()
    raw.delete_queue(QueueUrl=queue.facts.url)

    with pytest.raises(OutageError) as caught:
        queue.receive(max_messages=1, wait_s=0, visibility_timeout_s=30)
    assert (caught.value.dependency, caught.value.code) == ("sqs", "E_QUEUE_NOT_FOUND")


def test_unreachable_sqs_is_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, never listening: connections are refused
        use(
            monkeypatch,
            {
                "AWS_ENDPOINT_URL_SQS": f"http://127.0.0.1:{taken.getsockname()[1]}",
                "AWS_ACCESS_KEY_ID": "k",
                "AWS_SECRET_ACCESS_KEY": "s",
            },
        )
        with pytest.raises(OutageError) as caught:
            SqsQueue.open("q", clients.REGION, AwsSession(clients.REGION), RealClock())
    assert (caught.value.dependency, caught.value.code) == ("sqs", "E_SQS_UNREACHABLE")


# ---------------------------------------------------------------- depth


def test_depth_counts_what_waits_and_what_is_in_flight(opened: Callable[..., SqsQueue]) -> None:
    queue = opened()
    assert (queue.depth().visible, queue.depth().in_flight) == (0, 0)
    for number in range(3):
        queue.send(f"body {number}")
    taken = _next(queue)
    found = queue.depth()
    assert (found.visible, found.in_flight, found.delayed) == (2, 1, 0)
    queue.delete(taken)
    assert (queue.depth().visible, queue.depth().in_flight) == (2, 0)


def test_depth_counts_the_dead_letters(opened: Callable[..., SqsQueue]) -> None:
    queue = opened()
    assert queue.depth().dead_letters == 0
    queue.send("a body")
    queue.send_dead_letter(_next(queue), REASON)
    assert queue.depth().dead_letters == 1


def test_depth_has_the_retention_that_the_queue_keeps(opened: Callable[..., SqsQueue]) -> None:
    queue = opened()
    assert queue.depth().retention_s == queue.facts.retention_s
