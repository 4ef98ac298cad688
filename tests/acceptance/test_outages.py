"""A dependency that goes away under running copies makes them wait. It costs no attempt.

In short: the worker counts as stalled after 10 s, and what it needs is away for several times that.
BACKHAUL_TEST_OUTAGE_S=190 runs the same with the agent's own settings and an outage of that length.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from backhaul.testing.servers import Hdfs
from testbed import ElasticMQ, S3Proxy
from tests.acceptance.conftest import Install
from tests.acceptance.installation import Installation, Running, eventually
from tests.acceptance.landing import HdfsLanding
from tests.torture.tcp import TcpProxy

pytestmark = [pytest.mark.integration, pytest.mark.hdfs, pytest.mark.timeout(600)]

LONG_S = float(os.environ.get("BACKHAUL_TEST_OUTAGE_S") or 0)
OUTAGE_S = LONG_S or 30.0
SETTINGS = {"BACKHAUL_BANDWIDTH__LIMIT": "700kB/s"}
if not LONG_S:
    SETTINGS["BACKHAUL_AGENT__STALL_TIMEOUT_S"] = "10"
COPIES = 4
TREE = {f"part-{n}": random.Random(n).randbytes(size) for n, size in enumerate((3_000, 700_000))}
TREE["large"] = random.Random(9).randbytes(5_000_000)
GOES_ON = ("transfer moving again", "transfer resumed", "transfer done")


@dataclass(kw_only=True)
class Outage:
    """A way in which something goes away and comes back."""

    dependency: str
    begin: Callable[[], None]
    end: Callable[[], None]


@dataclass(kw_only=True)
class Through:
    """A server behind a TCP proxy, as clients see it."""

    endpoint: str
    access_key: str
    secret_key: str


@pytest.fixture(scope="module")
def own_hdfs() -> Iterator[Hdfs]:
    with Hdfs() as server:
        yield server


@pytest.fixture(scope="module")
def own_s3() -> Iterator[S3Proxy]:
    with S3Proxy() as server:
        yield server


@contextlib.contextmanager
def before(server: ElasticMQ) -> Iterator[tuple[TcpProxy, Through]]:
    with TcpProxy(server.ports[0]) as proxy:
        endpoint = f"http://127.0.0.1:{proxy.port}"
        yield (
            proxy,
            Through(endpoint=endpoint, access_key=server.access_key, secret_key=server.secret_key),
        )


def outage_of(what: str, hdfs: Hdfs, s3: S3Proxy, sqs: TcpProxy) -> Outage:
    begin: Callable[[], object]
    end: Callable[[], object]
    match what:
        case "namenode killed":
            begin, end = hdfs.kill_namenode, hdfs.start_namenode
        case "namenode stopped":
            begin, end = hdfs.suspend_namenode, hdfs.resume_namenode
        case "datanode killed":
            begin, end = hdfs.kill_datanode, hdfs.start_datanode
        case "datanode stopped":
            begin, end = hdfs.suspend_datanode, hdfs.resume_datanode
        case "s3 killed":
            begin, end = s3.kill, s3.start
        case "s3 stopped":
            begin, end = s3.suspend, s3.resume
        case "sqs refuses":
            begin, end = sqs.refuse, sqs.be_honest
        case "sqs silent":
            begin, end = sqs.stall, sqs.be_honest
        case _:
            raise AssertionError(what)
    kind = what.split(maxsplit=1)[0]
    dependency = {"s3": "s3", "sqs": "sqs"}.get(kind, "hdfs")
    return Outage(dependency=dependency, begin=lambda: void(begin()), end=lambda: void(end()))


def void(_: object) -> None:
    """For functions whose result nobody wants."""


def waits(agent: Running, dependency: str) -> list[dict[str, object]]:
    """Log lines that name what is away."""
    lines = [*agent.of("transfer waiting for a dependency"), *agent.of("transfer held")]
    return [line for line in lines if line["dependency"] == dependency]


# Each dependency once.
QUICK = ("namenode stopped", "s3 killed", "sqs refuses")
MORE = ("namenode killed", "datanode killed", "datanode stopped", "s3 stopped", "sqs silent")
WAYS = [*QUICK, *(pytest.param(what, marks=pytest.mark.long) for what in MORE)]


@pytest.mark.parametrize("what", WAYS)
def test_outage_under_running_copies_costs_no_attempt(
    what: str, install: Install, elasticmq: ElasticMQ, own_s3: S3Proxy, own_hdfs: Hdfs
) -> None:
    with before(elasticmq) as (tcp, sqs):
        it = install(sqs, own_s3, own_hdfs, sqs_direct=elasticmq)
        it.landing = landing = HdfsLanding(own_hdfs.uri, f"/landing/{it.name}", is_named=False)
        landing.client.mkdirs(landing.path, create_parent=True)
        outage = outage_of(what, own_hdfs, own_s3, tcp)
        for copy in range(COPIES):
            for name, data in TREE.items():
                it.put(f"{copy}/{name}", data)
            it.ask_for(f"{copy}/", f"out-{copy}")
        agent = it.start(**SETTINGS)
        eventually(lambda: writing(it) > 1, what="copies under way", within_s=90)
        assert not agent.of("transfer done")
        outage.begin()
        try:
            begun_s = time.monotonic()
            if outage.dependency != "sqs":
                shown(it, agent, outage.dependency)
            shown_s = time.monotonic() - begun_s
            time.sleep(max(0.0, OUTAGE_S - shown_s))
        finally:
            outage.end()
        resumed_s = goes_on(agent, outage.dependency)
        agent.logged("transfer done", times=COPIES, within_s=180)
        eventually(lambda: it.counts() == (0, 0), what="deleted", within_s=60)
        agent.terminate()
        ended = agent.wait()
    print(f"{what}: shown after {shown_s:.1f} s, resumed after {resumed_s:.1f} s")  # noqa: T201 - -rP
    assert ended.code == 0, ended
    assert ended.of("attempt failed") == []
    assert "Traceback" not in ended.out + ended.err
    rows = it.history()
    assert [(row["state"], row["attempt"], row["failures"]) for row in rows] == [
        ("done", 1, 0)
    ] * COPIES
    wanted = {f"out-{n}/{name}": data for n in range(COPIES) for name, data in TREE.items()}
    assert it.landing.files() == wanted
    assert it.landing.staging() == []
    assert it.dead_letters() == []


@pytest.mark.slow
def test_one_of_three_datanodes_that_dies_ends_no_attempt(
    install: Install, elasticmq: ElasticMQ, own_s3: S3Proxy
) -> None:
    with Hdfs(datanodes=3) as hdfs:
        it = install(elasticmq, own_s3, hdfs)
        it.landing = landing = HdfsLanding(hdfs.uri, f"/landing/{it.name}", is_named=False)
        landing.client.mkdirs(landing.path, create_parent=True)
        for name, data in TREE.items():
            it.put(f"{name}", data)
            it.put(f"more/{name}", data)
        it.ask_for("", "out")
        agent = it.start(BACKHAUL_BANDWIDTH__LIMIT="700kB/s")
        eventually(lambda: writing(it) > 0, what="copies under way", within_s=90)
        hdfs.kill_datanode(1)
        agent.logged("transfer done", within_s=300)
        agent.terminate()
        ended = agent.wait()
        assert ended.of("transfer held") == []
        assert ended.of("attempt failed") == []
        (row,) = it.history()
        assert (row["state"], row["attempt"], row["failures"]) == ("done", 1, 0)


def writing(it: Installation) -> int:
    """Copies whose large file is being written."""
    return sum(path.endswith("/large") for path in it.landing.staging())


def shown(it: Installation, agent: Running, dependency: str) -> None:
    """Log and `status` name what is away, while it is away."""
    eventually(
        lambda: waits(agent, dependency), within_s=OUTAGE_S, what=f"{dependency} is named as away"
    )

    def held() -> list[dict[str, object]]:
        listed = it.backhaul("status", "--json")
        rows = [json.loads(line)["transfer"] for line in listed.out.splitlines()]
        return [row for row in rows if row["held_by"] == dependency and row["code"]]

    eventually(held, within_s=30, what="status names it")


def goes_on(agent: Running, dependency: str) -> float:
    """Seconds until every transfer moves that waited; 0 where none did."""
    returned_s = time.monotonic()
    waited = {line["transfer_id"] for line in waits(agent, dependency)}
    seen = {event: len(agent.of(event)) for event in GOES_ON}

    def all_move() -> bool:
        lines = [line for event in GOES_ON for line in agent.of(event)[seen[event] :]]
        return waited <= {line["transfer_id"] for line in lines}

    eventually(all_move, within_s=180, what="all move again")
    return time.monotonic() - returned_s if waited else 0.0
