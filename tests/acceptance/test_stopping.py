"""SIGTERM and SIGINT: what is begun is finished or handed back, and nothing is cut in half."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator

import pytest

from testbed import ElasticMQ, S3Proxy
from tests.acceptance.conftest import Install
from tests.acceptance.installation import Installation, Running, eventually, worker_pids
from tests.acceptance.proxy import Answer, Proxy

pytestmark = pytest.mark.integration
DATA = random.Random(7).randbytes(400_000)
BOTH = [signal.SIGTERM, signal.SIGINT]


@pytest.fixture
def it(
    install: Install, sqs_proxy: Proxy, s3_proxy: Proxy, elasticmq: ElasticMQ, s3proxy: S3Proxy
) -> Iterator[Installation]:
    made = install(sqs_proxy, s3_proxy, sqs_direct=elasticmq, s3_direct=s3proxy)
    made.put("a", DATA)
    made.put("b", DATA)
    yield made
    s3_proxy.be_honest()


def copying(it: Installation, s3_proxy: Proxy, seconds: float, **settings: str) -> Running:
    """An agent in the middle of one object."""

    def slow(answer: Answer) -> None:
        answer.rate = len(answer.body) / seconds

    s3_proxy.lie(slow)
    it.ask_for("a")
    agent = it.start(**settings)
    eventually(s3_proxy.object_gets, what="a GET")
    time.sleep(0.3)
    return agent


def end_of(agent: Running, timeout_s: float = 60) -> tuple[int, float]:
    """Exit code, and seconds from now."""
    started_s = time.monotonic()
    ended = agent.wait(timeout_s)
    assert "Traceback" not in ended.err + ended.out, ended
    return ended.code, time.monotonic() - started_s


@pytest.mark.parametrize("number", BOTH)
def test_a_transfer_is_finished_within_the_grace_and_nothing_more_is_received(
    it: Installation, s3_proxy: Proxy, sqs_proxy: Proxy, number: signal.Signals
) -> None:
    agent = copying(it, s3_proxy, 3)
    agent.send_signal(number)
    agent.logged("agent stopping")
    it.ask_for("b", "never")
    asked = len(sqs_proxy.of("ReceiveMessage"))
    code, seconds = end_of(agent)
    assert code == 0
    assert seconds < 15
    # One poll may have been under way; no other is begun.
    assert len(sqs_proxy.of("ReceiveMessage")) <= asked + 1
    assert it.landing.files() == {"a": DATA}
    assert it.landing.staging() == []
    assert it.counts() == (1, 0), "the second message waits for the next agent"
    assert list(worker_pids(it.home)) == []


@pytest.mark.parametrize("number", BOTH)
def test_a_grace_that_is_too_short_hands_the_message_back_at_once(
    it: Installation, s3_proxy: Proxy, number: signal.Signals
) -> None:
    agent = copying(it, s3_proxy, 60, BACKHAUL_AGENT__STOP_GRACE_S="1")
    agent.send_signal(number)
    code, seconds = end_of(agent)
    assert code == 0
    assert seconds < 30, "the copy takes a minute"
    assert it.counts() == (1, 0)
    assert [name for name in it.landing.files() if ".backhaul" not in name] == []
    assert list(worker_pids(it.home)) == []
    (row,) = it.history()
    assert row["failures"] == 0, "a stop is not the message's fault"
    s3_proxy.be_honest()
    it.drained()
    assert it.landing.files() == {"a": DATA}
    assert it.landing.staging() == []


@pytest.mark.parametrize("number", BOTH)
def test_a_second_signal_ends_at_once(
    it: Installation, s3_proxy: Proxy, number: signal.Signals
) -> None:
    # One slot, so that no poll is under way: one that is left behind may swallow what is handed
    # back, and hide it for one visibility timeout.
    agent = copying(it, s3_proxy, 60, BACKHAUL_AGENT__SLOTS="1")
    agent.send_signal(number)
    agent.logged("agent stopping")
    agent.send_signal(number)
    code, seconds = end_of(agent)
    assert code == 130, code
    assert seconds < 5
    assert it.counts() == (1, 0)
    assert [name for name in it.landing.files() if ".backhaul" not in name] == []
    assert list(worker_pids(it.home)) == []


def test_a_drain_that_is_stopped_leaves_the_rest_on_the_queue(
    it: Installation, s3_proxy: Proxy
) -> None:
    for number in range(20):
        it.ask_for("b", f"{number}")
    agent = copying(it, s3_proxy, 2, BACKHAUL_AGENT__SLOTS="2")
    agent.terminate()
    code, _ = end_of(agent)
    assert code == 0
    visible, hidden = it.counts()
    assert hidden == 0
    delivered = [name for name in it.landing.files() if ".backhaul" not in name]
    assert visible == 21 - len(delivered)
    assert 1 <= len(delivered) <= 4


@pytest.mark.parametrize("number", BOTH)
def test_an_idle_agent_ends_within_its_poll(
    it: Installation, sqs_proxy: Proxy, number: signal.Signals
) -> None:
    agent = it.start(BACKHAUL_AGENT__POLL_WAIT_S="5")
    eventually(lambda: any(one.action == "ReceiveMessage" for one in sqs_proxy.seen), what="a poll")
    agent.send_signal(number)
    agent.logged("agent stopping")
    asked = len(sqs_proxy.of("ReceiveMessage"))
    code, _ = end_of(agent, timeout_s=30)
    assert code == 0
    assert len(sqs_proxy.of("ReceiveMessage")) <= asked + 1, "it waited for another poll"


def test_a_signal_during_the_start_ends_it_without_a_traceback(it: Installation) -> None:
    # Not earlier: while the interpreter itself starts, Python answers a signal in its own way. Not
    # SIGINT: a shell's background jobs are born ignoring it.
    it.is_warm = False
    for delay_s in (0.8, 1.2, 1.6):
        agent = it.start()
        time.sleep(delay_s)
        agent.send_signal(signal.SIGTERM)
        ended = agent.wait(30)
        assert "Traceback" not in ended.err, ended
    assert list(worker_pids(it.home)) == []
