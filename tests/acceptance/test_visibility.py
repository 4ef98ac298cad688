"""Transfers longer than the visibility timeout are delivered once; several run at once."""

from __future__ import annotations

import random
import time
from collections import Counter

import pytest

from testbed import ElasticMQ, S3Proxy
from tests.acceptance.conftest import Install
from tests.acceptance.proxy import Answer, Proxy

pytestmark = pytest.mark.integration


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_transfers_longer_than_the_visibility_timeout_are_never_delivered_twice(
    install: Install, sqs_proxy: Proxy, s3_proxy: Proxy, elasticmq: ElasticMQ, s3proxy: S3Proxy
) -> None:
    it = install(sqs_proxy, s3_proxy, sqs_direct=elasticmq, s3_direct=s3proxy)
    data = random.Random(9).randbytes(400_000)

    def slow(answer: Answer) -> None:
        answer.rate = len(answer.body) / 75

    s3_proxy.lie(slow)
    for number in range(4):
        it.put(f"slow/{number}", data)
        it.ask_for(f"slow/{number}")
    agent = it.start(BACKHAUL_AGENT__VISIBILITY_TIMEOUT_S="60")
    agent.logged("message received", times=4)
    until_s = time.monotonic() + 85
    looks = 0
    while time.monotonic() < until_s and len(agent.of("transfer done")) < 4:
        # Another consumer, as eager as can be.
        answer = it.sqs.receive_message(QueueUrl=it.queue_url, WaitTimeSeconds=1)
        assert not answer.get("Messages"), "delivered twice"
        looks += 1
    agent.logged("transfer done", times=4)
    agent.terminate()
    ended = agent.wait()
    assert ended.code == 0
    assert looks > 50
    assert len(ended.of("message received")) == 4
    assert len(s3_proxy.object_gets()) == 4, "each object was read once"
    assert s3_proxy.most_open_bodies == 4, "all at once"
    assert it.landing.files() == {f"slow/{n}".split("/")[1]: data for n in range(4)}
    assert it.counts() == (0, 0)
    renewed = Counter(sqs_proxy.extended())
    assert len(renewed) == 4
    assert all(2 <= times <= 5 for times in renewed.values()), "each about every 20 s"


def test_slots_bound_the_transfers_and_the_messages_taken(
    install: Install, sqs_proxy: Proxy, s3_proxy: Proxy, elasticmq: ElasticMQ, s3proxy: S3Proxy
) -> None:
    it = install(sqs_proxy, s3_proxy, sqs_direct=elasticmq, s3_direct=s3proxy)

    def slow(answer: Answer) -> None:
        answer.rate = len(answer.body) / 3

    s3_proxy.lie(slow)
    for number in range(6):
        it.put(f"{number}", b"x" * 1000)
        it.ask_for(f"{number}", f"{number}")
    agent = it.start("--drain", BACKHAUL_AGENT__SLOTS="2")
    agent.logged("message received", times=2)
    time.sleep(1)
    assert it.counts() == (4, 2), "no message is taken without a free slot"
    ended = agent.wait()
    assert ended.code == 0, ended
    assert s3_proxy.most_open_bodies == 2
    assert len(it.landing.files()) == 6
    assert it.counts() == (0, 0)


def test_a_route_brings_no_more_at_once_than_its_limit(
    install: Install, s3_proxy: Proxy, elasticmq: ElasticMQ, s3proxy: S3Proxy
) -> None:
    it = install(elasticmq, s3_proxy, s3_direct=s3proxy)

    def slow(answer: Answer) -> None:
        answer.rate = len(answer.body) / 1

    s3_proxy.lie(slow)
    for number in range(3):
        it.put(f"{number}", b"x" * 1000)
        it.ask_for(f"{number}", f"{number}")
    config = it.home / "backhaul.toml"
    config.write_text(
        f'[[route]]\nname = "narrow"\nsource = ["s3://{it.bucket}/"]\n'
        f'destination = ["{it.landing.uri}/"]\nlimits = {{ in_flight = 1 }}\n'
    )
    it.drained("--config", str(config))
    assert s3_proxy.most_open_bodies == 1
    assert len(it.landing.files()) == 3
