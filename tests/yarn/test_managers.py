"""Two ResourceManagers: whichever is active is asked, and an application outlives the change."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from backhaul.testing.servers import Hdfs, Moto
from testbed.yarn import Yarn
from tests.yarn.cluster import Site, carried_slowly, when

pytestmark = [pytest.mark.integration, pytest.mark.hdfs, pytest.mark.yarn, pytest.mark.slow]

FILES = {f"part-{n:03}": random.Random(n).randbytes(5000 + n) for n in range(12)}


@pytest.fixture(scope="module")
def yarn(hdfs: Hdfs, moto_server: Moto) -> Iterator[Yarn]:
    with Yarn(hdfs=hdfs, s3=moto_server, is_pair=True) as running:
        yield running


@pytest.mark.timeout(400)
def test_the_other_manager_is_asked_and_the_application_goes_on(site: Site) -> None:
    agent, slow = carried_slowly(site, FILES, within_s=120)
    # A master that was not launched yet would be waited for by YARN itself, for ten minutes.
    when(site.mappers, "a mapper copies")
    before = site.yarn.endpoint
    site.yarn.fail_over()
    assert site.yarn.endpoint != before
    agent.logged("transfer done", within_s=200)
    agent.terminate()
    agent.wait()
    assert len(site.applications()) == 1
    site.check_end("d", slow)
