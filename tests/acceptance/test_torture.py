"""A little of `./dev torture` on every push: each kind of fault that is quick, by its seed.

Those of a fleet take half a minute and more: `./dev prove --long` runs them, one of each.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from backhaul.testing.servers import Hdfs
from testbed import ElasticMQ, PostgreSQL, S3Proxy
from tests.torture.faults import FAULTS
from tests.torture.fleet import LEASE, FleetRound, FleetServers
from tests.torture.fleet_faults import FLEET_FAULTS
from tests.torture.rounds import judged, run_round
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


@pytest.fixture(scope="module")
def fleet(
    elasticmq: ElasticMQ, s3proxy: S3Proxy, hdfs: Hdfs, postgresql: PostgreSQL
) -> Iterator[FleetServers]:
    del postgresql  # skips where there is none
    with FleetServers(elasticmq, s3proxy, hdfs) as made:
        yield made


@pytest.mark.timeout(400)
@pytest.mark.long
@pytest.mark.parametrize("fault", sorted(FLEET_FAULTS))
def test_a_tormented_fleet_loses_nothing_and_applies_nothing_twice(
    fleet: FleetServers, fault: str
) -> None:
    verdict = judged(FleetRound(fleet, 1, fault, lease=LEASE), FLEET_FAULTS[fault])
    print(verdict.line())  # noqa: T201 - shown by -rP
    assert verdict.wrong == []
