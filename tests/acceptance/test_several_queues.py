"""One agent works several queues: each is polled by itself, and none holds up another."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from testbed import ElasticMQ, S3Proxy
from tests.acceptance.conftest import Install
from tests.acceptance.installation import REGION, Installation, Running, eventually
from tests.acceptance.proxy import Answer, Proxy, Seen

pytestmark = pytest.mark.integration

SLOTS = {"BACKHAUL_AGENT__SLOTS": "2"}
FAILED_POLLS = 3  # in a row, and it is not healthy
FLOOD = 12
LIST_S = 0.7


class TwoQueues:
    """An installation whose configuration has two queues; the first is the installation's own."""

    def __init__(self, it: Installation) -> None:
        self.it = it
        self.second = f"{it.name}-second"
        self.url = ""
        self.config = it.home / "two.toml"

    def create_second(self) -> None:
        arn = self.it.sqs.get_queue_attributes(
            QueueUrl=self.it.dead_url, AttributeNames=["QueueArn"]
        )["Attributes"]["QueueArn"]
        redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 50})
        self.url = self.it.sqs.create_queue(
            QueueName=self.second, Attributes={"RedrivePolicy": redrive}
        )["QueueUrl"]

    def configured(self) -> Path:
        queues = "".join(
            f'[[queue]]\nname = "{name}"\nregion = "{REGION}"\n'
            for name in (self.it.queue, self.second)
        )
        route = (
            f'[[route]]\nname = "r"\nsource = ["s3://{self.it.bucket}/"]\n'
            f'destination = ["{self.it.landing.uri}/"]\n'
        )
        self.config.write_text(queues + route, "utf-8")
        self.config.chmod(0o600)
        return self.config

    def start(self, *arguments: str) -> Running:
        """`backhaul run` without QUEUE and REGION."""
        it = self.it
        running = Running(
            it.argv("run", "--config", str(self.configured()), *arguments),
            {**it.environment, **SLOTS},
            it.home / "runs" / str(len(it._running)),
            it._start,
        )
        it._running.append(running)
        return running

    def ask_second(self, key: str, below: str) -> str:
        body = f"{self.it.bucket}/{key}, {self.it.landing.uri}/{below}"
        return self.it.sqs.send_message(QueueUrl=self.url, MessageBody=body)["MessageId"]

    def left(self) -> tuple[int, int]:
        """Messages on each of them, received or not."""
        names: list[Any] = [
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesNotVisible",
        ]
        found = [
            self.it.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
            for url in (self.it.queue_url, self.url)
        ]
        first, second = (sum(int(one[name]) for name in names) for one in found)
        return first, second

    def show_again(self, proxy: Proxy) -> None:
        """End the wait for the visibility timeouts of what the killed agent held."""
        eventually(proxy.no_poll_is_open, what="the polls of the dead have ended")
        for seen, body in proxy.of("ReceiveMessage"):
            url = json.loads(seen.body)["QueueUrl"]
            for one in json.loads(body).get("Messages", []):
                with contextlib.suppress(self.it.sqs.exceptions.ClientError):
                    self.it.sqs.change_message_visibility(
                        QueueUrl=url, ReceiptHandle=one["ReceiptHandle"], VisibilityTimeout=0
                    )
        proxy.forget()


@pytest.fixture
def two(install: Install, sqs_proxy: Proxy, elasticmq: ElasticMQ, s3proxy: S3Proxy) -> TwoQueues:
    found = TwoQueues(install(sqs_proxy, s3proxy, sqs_direct=elasticmq))
    for name in "abcd":
        found.it.put(f"p/{name}", name.encode())
    return found


def test_both_queues_are_drained_also_after_a_kill(two: TwoQueues, sqs_proxy: Proxy) -> None:
    two.create_second()
    for name in "abcd":
        two.it.ask_for(f"p/{name}", "first")
        two.ask_second(f"p/{name}", "second")
    agent = two.start()
    agent.logged("message received", times=2)
    agent.kill()
    two.show_again(sqs_proxy)
    ended = two.start("--drain").wait()
    assert ended.code == 0, ended
    assert two.left() == (0, 0), ended
    wanted = {f"{where}/{one}": one.encode() for where in ("first", "second") for one in "abcd"}
    assert two.it.landing.files() == wanted
    assert {one["queue"] for one in ended.of("queue opened")} == {two.it.queue, two.second}
    assert {one["state"] for one in two.it.history()} == {"done"}


def test_a_queue_that_is_not_there_or_denied_holds_up_no_other(
    two: TwoQueues, sqs_proxy: Proxy
) -> None:
    it = two.it
    agent = two.start()
    # It is not there yet; the other one is worked.
    (failed,) = agent.logged("SQS receive failed")[:1]
    assert (failed["queue"], failed["code"]) == (two.second, "E_QUEUE_NOT_FOUND")
    it.ask_for("p/a", "first")
    agent.logged("transfer done", times=1)
    two.create_second()
    two.ask_second("p/a", "second")
    agent.logged("queue opened", times=2)
    agent.logged("transfer done", times=2)
    eventually(lambda: two.left() == (0, 0))

    # It is denied under way: its message stays, and the other queue goes on.
    def deny(answer: Answer) -> None:
        answer.status = 400
        answer.body = b'{"__type":"com.amazon.coral.service#AccessDeniedException"}'

    rule = sqs_proxy.lie(deny, to=lambda seen: two.second.encode() in seen.body, before=True)
    eventually(lambda: [one for one in agent.of("SQS receive failed") if "DENIED" in one["code"]])
    two.ask_second("p/b", "second")
    it.ask_for("p/b", "first")
    agent.logged("transfer done", times=3)
    eventually(lambda: rule.used >= FAILED_POLLS, within_s=60)
    eventually(lambda: f"Not polling {two.second}" in it.backhaul("status").out, within_s=60)
    assert "of 2 queues 1 polled" in it.backhaul("status").out
    assert set(it.landing.files()) == {"first/a", "first/b", "second/a"}
    agent.terminate()
    ended = agent.wait()
    assert ended.code == 0, ended
    assert two.left() == (0, 1)


def test_a_queue_that_is_deleted_under_way_holds_up_no_other_and_may_come_back(
    two: TwoQueues,
) -> None:
    it = two.it
    two.create_second()
    agent = two.start()
    two.ask_second("p/a", "second")
    agent.logged("transfer done", times=1)
    it.sqs.delete_queue(QueueUrl=two.url)

    def failed() -> list[tuple[str, str]]:
        return [(one["queue"], one["code"]) for one in agent.of("SQS receive failed")]

    # ElasticMQ answers the poll that is under way with an error of its own.
    eventually(lambda: (two.second, "E_QUEUE_NOT_FOUND") in failed(), within_s=60)
    assert {queue for queue, _ in failed()} == {two.second}
    it.ask_for("p/b", "first")
    agent.logged("transfer done", times=2)
    two.create_second()
    two.ask_second("p/c", "second")
    agent.logged("transfer done", times=3)
    agent.terminate()
    ended = agent.wait()
    assert ended.code == 0, ended
    assert two.left() == (0, 0)
    assert set(it.landing.files()) == {"first/b", "second/a", "second/c"}


def test_messages_of_both_get_slots_while_one_is_flooded(
    two: TwoQueues, sqs_proxy: Proxy, s3_proxy: Proxy
) -> None:
    is_polled = threading.Event()

    def wait_for_second(_answer: Answer) -> None:
        assert is_polled.wait(60), "the second queue is not polled"

    def polled(_answer: Answer) -> None:
        is_polled.set()

    def poll_of(queue: str) -> Callable[[Seen], bool]:
        url = f'/{queue}"'.encode()
        return lambda seen: seen.action == "ReceiveMessage" and url in seen.body

    # Both are polled before either has a slot, and each message takes longer than a poll: this is
    # about how slots are shared, and not about how fast a busy machine opens and polls a queue.
    sqs_proxy.lie(wait_for_second, to=poll_of(two.it.queue))
    sqs_proxy.lie(polled, to=poll_of(two.second))
    s3_proxy.lie(lambda _answer: time.sleep(LIST_S), to=lambda seen: "list-type" in seen.query)
    two.it.environment["AWS_ENDPOINT_URL_S3"] = s3_proxy.endpoint
    two.create_second()
    for _ in range(FLOOD):
        two.it.ask_for("p/a", "first")
    for name in "abcd":
        two.ask_second(f"p/{name}", "second")
    ended = two.start("--drain").wait()
    assert ended.code == 0, ended
    received = [one["queue"] for one in ended.of("message received")]
    assert len(received) == FLOOD + 4
    # All four of the short queue have a slot before two thirds of the flood have.
    last = max(number for number, queue in enumerate(received) if queue == two.second)
    assert received[:last].count(two.it.queue) < FLOOD * 2 / 3, received
