"""What the machine does to an agent: no room for the log, few descriptors, a quota, a dead poll."""

from __future__ import annotations

import resource

import pytest

from backhaul.testing.servers import Hdfs
from testbed import ElasticMQ, S3Proxy
from tests.acceptance.conftest import Install
from tests.acceptance.installation import Installation, eventually
from tests.acceptance.landing import HdfsLanding
from tests.acceptance.proxy import Answer, Proxy

pytestmark = pytest.mark.integration


def test_a_log_that_cannot_be_written_stops_no_transfer(local: Installation) -> None:
    it = local
    it.put("a", b"content")
    it.ask_for("a")
    ended = it.drain(BACKHAUL_LOG__FILE="/dev/full")
    assert ended.code == 0, ended
    assert it.landing.files() == {"a": b"content"}
    assert it.counts() == (0, 0)


def test_an_agent_with_few_file_descriptors_loses_nothing(local: Installation) -> None:
    it = local
    wanted = {}
    for number in range(150):
        it.put(f"p/{number:03}", b"%d" % number)
        wanted[f"out/{number:03}"] = b"%d" % number
    agent = it.start()
    agent.logged("agent started")
    before = resource.prlimit(agent.pid, resource.RLIMIT_NOFILE, (48, 48))
    assert before[0] > 48
    for worker in agent.workers():
        resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (48, 48))
    it.ask_for("p/", "out")
    seen = eventually(
        lambda: (
            agent.of("transfer done") or agent.of("attempt failed") or agent.of("transfer held")
        ),
        what="something becomes of it",
    )
    assert seen
    agent.terminate()
    assert agent.wait().code == 0
    assert it.landing.files() in ({}, wanted)
    it.drained()
    assert it.landing.files() == wanted
    assert it.dead_letters() == []


def test_a_poll_whose_connection_is_dead_is_given_up_and_asked_again(
    install: Install, sqs_proxy: Proxy, elasticmq: ElasticMQ, s3proxy: S3Proxy
) -> None:
    it = install(sqs_proxy, s3proxy, sqs_direct=elasticmq)
    it.put("a", b"content")

    def hang(answer: Answer) -> None:
        answer.hang = True

    rule = sqs_proxy.lie(
        hang, to=lambda seen: seen.action == "ReceiveMessage", times=1, before=True
    )
    it.ask_for("a")
    ended = it.drained()
    assert rule.used == 1
    assert [line["code"] for line in ended.of("SQS receive failed; retrying")] == [
        "E_SQS_UNREACHABLE"
    ]
    assert it.landing.files() == {"a": b"content"}


@pytest.mark.hdfs
def test_a_directory_whose_quota_is_used_up_holds_until_there_is_room(
    install: Install, elasticmq: ElasticMQ, s3proxy: S3Proxy, hdfs: Hdfs
) -> None:
    it = install(elasticmq, s3proxy, hdfs)
    directory = f"/{it.name}-quota"
    landing = HdfsLanding(hdfs.uri, directory, is_named=False)
    landing.client.mkdirs(directory)
    it.landing = landing
    for name in "abc":
        it.put(f"p/{name}", name.encode())
    hdfs.command("dfsadmin", "-setQuota", "5", directory)  # itself, staging, and one file
    agent = it.start()
    it.ask_for("p/", "out")
    (held, *_) = agent.logged("transfer held", within_s=60)
    assert held["code"] == "E_DST_QUOTA"
    hdfs.command("dfsadmin", "-clrQuota", directory)
    agent.logged("transfer done", within_s=90)
    agent.terminate()
    assert agent.wait().code == 0
    assert it.landing.files() == {f"out/{name}": name.encode() for name in "abc"}
    (row,) = it.history()
    assert (row["state"], row["failures"]) == ("done", 0)
