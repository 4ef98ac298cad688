"""NameNode failover under a copy: the data arrives once, whole, and no reader sees less.

BACKHAUL_TEST_OUTAGE_S=75 adds an outage that is longer than the HDFS client's own patience, about a
minute: its writes fail then, and it leaves a short file.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backhaul.adapters.hadoop.configuration.properties import HadoopConfiguration
from backhaul.app.doctor.finding import State
from backhaul.testing.servers import ServerUnavailable
from testbed import ElasticMQ, HdfsPair, S3Proxy
from tests.acceptance.conftest import Install
from tests.acceptance.doctoring import Doctor, assert_red
from tests.acceptance.installation import Installation, Running, eventually
from tests.acceptance.landing import HdfsLanding
from tests.acceptance.proxy import Answer, Proxy
from tests.witness import Witness

pytestmark = [pytest.mark.integration, pytest.mark.hdfs, pytest.mark.slow]
OUTAGES_S = [3.0, *map(float, os.environ.get("BACKHAUL_TEST_OUTAGE_S", "").split())]
COPY_S = 5
TREE = {f"part-{n:02}": random.Random(n).randbytes(3000 + n) for n in range(20)}
TREE["large"] = random.Random(99).randbytes(6_000_000)


@pytest.fixture(scope="module")
def pair() -> Iterator[HdfsPair]:
    made = HdfsPair()
    try:
        made.start()
    except ServerUnavailable as exc:
        if os.environ.get("CI"):
            pytest.fail(f"needed in CI: {exc}", pytrace=False)
        pytest.skip(str(exc))
    yield made
    made.stop()


@pytest.fixture
def it(
    install: Install, elasticmq: ElasticMQ, s3proxy: S3Proxy, s3_proxy: Proxy, pair: HdfsPair
) -> Installation:
    made = install(elasticmq, s3_proxy, pair, s3_direct=s3proxy)
    made.landing = HdfsLanding(
        pair.uri, f"/landing/{made.name}", is_named=False, conf_dir=pair.conf_dir
    )
    for name, data in TREE.items():
        made.put(f"tree/{name}", data)
    return made


def slowly(answer: Answer) -> None:
    answer.rate = len(answer.body) / COPY_S


@contextlib.contextmanager
def witnessed_copy(it: Installation, s3_proxy: Proxy, pair: HdfsPair) -> Iterator[Running]:
    """A copy is under way in the block; after it the data is there, once, whole."""
    landing = it.landing
    assert isinstance(landing, HdfsLanding)
    s3_proxy.lie(slowly)
    it.ask_for("tree/", "out")
    conf_dir: Path = pair.conf_dir
    with Witness(pair.uri, landing.path, {"out": TREE}, {}, seed=1, conf_dir=conf_dir) as witness:
        agent = it.start()
        eventually(lambda: len(s3_proxy.object_gets()) > len(TREE) / 2, what="copying")
        time.sleep(COPY_S / 3)  # in the middle of it
        assert not agent.of("transfer done")
        yield agent
        s3_proxy.be_honest()
        agent.logged("transfer done", within_s=120)
        eventually(lambda: it.counts() == (0, 0), what="deleted")
        agent.terminate()
        ended = agent.wait()
    assert ended.code == 0, ended
    assert witness.wrong == []
    assert witness.looks > witness.blind
    assert it.landing.files() == {f"out/{name}": data for name, data in TREE.items()}
    assert it.landing.staging() == []
    assert it.dead_letters() == []
    assert len(ended.of("transfer done")) == 1
    assert "Traceback" not in ended.out + ended.err
    (row,) = it.history()
    assert row["state"] == "done"
    told = [(line["event"], line.get("code")) for line in ended.events]
    print(  # noqa: T201 - shown by -rP
        f"{witness.looks} looks, {witness.blind} without an answer; "
        f"{row['failures']} failures; {told}"
    )


@pytest.mark.timeout(300)
def test_a_failover_by_hand_under_a_copy_costs_nothing(
    it: Installation, s3_proxy: Proxy, pair: HdfsPair
) -> None:
    with witnessed_copy(it, s3_proxy, pair):
        pair.fail_over()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("outage_s", OUTAGES_S)
def test_an_active_namenode_that_is_killed_is_waited_for_until_the_other_takes_over(
    it: Installation, s3_proxy: Proxy, pair: HdfsPair, outage_s: float
) -> None:
    with witnessed_copy(it, s3_proxy, pair) as agent:
        pair.kill_active()
        time.sleep(outage_s)
        assert agent.is_alive
        pair.fail_over()
        agent.logged("transfer done", within_s=150)
    pair.start_standby()


@pytest.mark.timeout(300)
def test_the_doctor_knows_a_standby_safe_mode_and_what_does_not_answer(
    pair: HdfsPair, doctor: Doctor
) -> None:
    """The last one of this file: the pair is of no more use afterwards."""
    doctor.set(HADOOP_CONF_DIR=str(pair.conf_dir))
    place = {"r": f"{pair.uri}/doctor/"}
    fine = doctor.findings(place)
    assert {one.state for one in fine.values()} == {State.OK}, fine
    configuration = HadoopConfiguration.load(pair.conf_dir)
    address = configuration.get(f"dfs.namenode.rpc-address.bed.{pair.standby}")
    found = doctor.findings({"r": f"hdfs://{address}/doctor/"})["r"]
    assert_red(found, "hdfs.standby", "hdfs haadmin -getAllServiceState", "hdfs://NAMESERVICE/dir")
    pair.safemode("enter")
    found = doctor.findings(place)["r"]
    pair.safemode("leave")
    assert_red(found, "hdfs.safe_mode", "hdfs dfsadmin -safemode leave")
    pair.kill_datanode()
    found = doctor.findings(place)["r"]
    host, port = pair.datanode_address()
    assert_red(found, "hdfs.datanode", f"nc -vz -w 5 {host} {port}", f"{host}:{port} does not")
    pair.kill_active()
    found = doctor.findings(place)["r"]
    assert_red(found, "hdfs.namenode", "nothing listens on that port", "jps | grep NameNode")
