"""A little of `./dev torture` on every push: each kind of fault that is quick, by its seed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from backhaul.testing.servers import Hdfs
from testbed import ElasticMQ, S3Proxy
from tests.torture.faults import FAULTS
from tests.torture.rounds import run_round
from tests.torture.servers import Servers

pytestmark = [pytest.mark.integration, pytest.mark.hdfs, pytest.mark.slow]
# Fault and seed; the seed decides where it strikes. None stops a server: others use them, too.
ROUNDS = (
    ("kill-agent-point", 2),
    ("kill-agent-anytime", 102),
    ("zombie-worker", 115),
    ("namenode-cut", 1),
    ("ledger-full", 1),
    ("two-ledgers", 110),
)


@pytest.fixture(scope="module")
def servers(elasticmq: ElasticMQ, s3proxy: S3Proxy, hdfs: Hdfs) -> Iterator[Servers]:
    with Servers(elasticmq, s3proxy, hdfs) as made:
        yield made


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("fault", "seed"), ROUNDS, ids=[fault for fault, _ in ROUNDS])
def test_a_tormented_agent_loses_nothing_and_shows_nothing_half(
    servers: Servers, fault: str, seed: int
) -> None:
    verdict = run_round(servers, seed, fault, FAULTS[fault])
    print(verdict.line())  # noqa: T201 - shown by -rP
    assert verdict.wrong == []
    assert verdict.struck > 0, verdict.told
