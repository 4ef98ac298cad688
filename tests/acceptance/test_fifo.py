"""A FIFO queue: the order within a group, and a poison message that does not block it."""

from __future__ import annotations

import pytest

from testbed import ElasticMQ, S3Proxy
from tests.acceptance.conftest import Install
from tests.acceptance.installation import Installation
from tests.acceptance.proxy import Answer, Proxy

pytestmark = pytest.mark.integration


@pytest.fixture
def on_fifo(install: Install, elasticmq: ElasticMQ, s3proxy: S3Proxy) -> Installation:
    return install(elasticmq, s3proxy, is_fifo=True)


def test_a_group_keeps_its_order_and_a_poison_message_does_not_block_it(
    on_fifo: Installation,
) -> None:
    it = on_fifo
    for name in "abc":
        it.put(f"p/{name}", name.encode())
    poison = it.ask_for("p/none", "out", group="g")
    rest = [it.ask_for(f"p/{name}", "out", group="g") for name in "abc"]
    other = it.ask_for("p/a", "other", group="h")
    ended = it.drained()
    assert it.landing.files() == {"out/a": b"a", "out/b": b"b", "out/c": b"c", "other/a": b"a"}
    received = [line["message_id"] for line in ended.of("message received")]
    assert [one for one in received if one != other] == [poison, *rest]
    ends = [
        line["message_id"]
        for line in ended.events
        if line["event"].startswith(("transfer done", "message dead-lettered"))
    ]
    assert [one for one in ends if one != other] == [poison, *rest]
    (letter,) = it.sqs.receive_message(QueueUrl=it.dead_url, MessageSystemAttributeNames=["All"])[
        "Messages"
    ]
    assert letter["Attributes"]["MessageGroupId"] == "g"


def test_a_receive_whose_answer_is_lost_hides_no_group(
    install: Install, sqs_proxy: Proxy, elasticmq: ElasticMQ, s3proxy: S3Proxy
) -> None:
    """Asked again by the same attempt id, the queue gives the same message at once."""
    it = install(sqs_proxy, s3proxy, sqs_direct=elasticmq, is_fifo=True)
    it.put("a", b"content")

    def lose(answer: Answer) -> None:
        answer.refuse(503, "ServiceUnavailable")

    rule = sqs_proxy.lie(lose, to=lambda seen: seen.action == "ReceiveMessage", times=1)
    it.ask_for("a", group="g")
    it.drained()
    assert rule.used == 1
    assert it.landing.files() == {"a": b"content"}
