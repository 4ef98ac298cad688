"""What fails for a while comes back by itself, after a back-off, and the ledger remembers."""

from __future__ import annotations

import json

import pytest

from testbed import ElasticMQ, S3Proxy
from tests.acceptance.conftest import Install
from tests.acceptance.installation import Installation
from tests.acceptance.proxy import Answer, Proxy, Seen

pytestmark = pytest.mark.integration


def slow_down(answer: Answer) -> None:
    answer.refuse(503, "SlowDown")


def broken(answer: Answer) -> None:
    answer.refuse(500, "InternalError")


def test_a_failed_attempt_returns_by_visibility_and_is_counted(
    install: Install, sqs_proxy: Proxy, s3_proxy: Proxy, elasticmq: ElasticMQ, s3proxy: S3Proxy
) -> None:
    it = install(sqs_proxy, s3_proxy, sqs_direct=elasticmq, s3_direct=s3proxy)
    it.put("a", b"content")
    s3_proxy.lie(lambda answer: answer.flip_a_bit(), times=8)  # four tries an attempt
    it.ask_for("a")
    ended = it.drained(BACKHAUL_AGENT__BACKOFF_BASE_S="2")

    assert it.landing.files() == {"a": b"content"}
    failed = ended.of("attempt failed")
    assert [line["code"] for line in failed] == ["E_CHECKSUM", "E_CHECKSUM"]
    given_back = [
        json.loads(seen.body)["VisibilityTimeout"]
        for seen, _ in sqs_proxy.of("ChangeMessageVisibility")
    ]
    assert given_back == [line["retry_in_s"] for line in failed]
    assert 1 <= given_back[0] <= 2 <= given_back[1] <= 4
    (row,) = it.history()
    assert (row["state"], row["attempt"], row["failures"]) == ("done", 3, 2)
    journal = it.show(row["id"])["journal"]
    assert [entry["code"] for entry in journal if entry["code"]] == ["E_CHECKSUM", "E_CHECKSUM"]
    assert journal[-1]["state"] == "done"


@pytest.mark.parametrize(
    ("where", "fault"),
    [
        ("listing", slow_down),
        ("object", broken),
        pytest.param("listing", broken, marks=pytest.mark.long),
        pytest.param("object", slow_down, marks=pytest.mark.long),
    ],
    ids=lambda one: getattr(one, "__name__", one),
)
def test_an_s3_that_is_busy_for_a_while_costs_no_message(
    behind_proxy: Installation, s3_proxy: Proxy, fault: object, where: str
) -> None:
    it = behind_proxy
    it.put("p/a", b"content")

    def wanted(seen: Seen) -> bool:
        return seen.is_list if where == "listing" else seen.is_object_get

    # An attempt asks four times. A hold is long, a failed attempt soon repeated.
    lie, times = (slow_down, 7) if fault is slow_down else (broken, 14)
    rule = s3_proxy.lie(lie, to=wanted, times=times)
    it.ask_for("p/", "out")
    it.drained()
    assert rule.used == times
    assert it.landing.files() == {"out/a": b"content"}
    assert it.dead_letters() == []


def test_a_lost_answer_to_delete_is_mended_from_the_ledger(
    install: Install, sqs_proxy: Proxy, s3_proxy: Proxy, elasticmq: ElasticMQ, s3proxy: S3Proxy
) -> None:
    it = install(sqs_proxy, s3_proxy, sqs_direct=elasticmq, s3_direct=s3proxy)
    it.put("a", b"content")
    sqs_proxy.lie(broken, to=lambda seen: seen.action == "DeleteMessage", times=3, before=True)
    it.ask_for("a")
    it.drained()
    assert len(s3_proxy.object_gets()) == 1
    assert it.landing.files() == {"a": b"content"}


def test_a_message_delivered_twice_is_copied_once(
    install: Install, sqs_proxy: Proxy, s3_proxy: Proxy, elasticmq: ElasticMQ, s3proxy: S3Proxy
) -> None:
    """SQS may deliver twice; here the proxy repeats the answer to a receive."""
    it = install(sqs_proxy, s3_proxy, sqs_direct=elasticmq, s3_direct=s3proxy)
    it.put("a", b"content")
    first: list[bytes] = []

    def repeat(answer: Answer) -> None:
        if b"ReceiptHandle" in answer.body:
            first.append(answer.body)
        elif first:
            answer.body = first[0]

    sqs_proxy.lie(repeat, to=lambda seen: seen.action == "ReceiveMessage", times=3)
    it.ask_for("a")
    ended = it.drain()
    assert ended.code == 0, ended
    assert len(s3_proxy.object_gets()) == 1
    assert ended.of("duplicate delivery")
    assert it.counts() == (0, 0)
    (row,) = it.history()
    assert row["state"] == "done"
