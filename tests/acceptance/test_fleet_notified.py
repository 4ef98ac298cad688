"""Trouble of several agents on one PostgreSQL is notified: of each of them, and of the ledger."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from testbed import PostgreSQL
from tests.acceptance.installation import Installation, eventually
from tests.acceptance.test_ledger_on_postgres import on
from tests.acceptance.test_notify import KEEP, configured, hook, notified
from tests.torture.tcp import TcpProxy

pytestmark = pytest.mark.integration


def with_hook(it: Installation) -> Path:
    return configured(it, hook(it, *KEEP), 'every = "1s"', 'after = "1s"')


@pytest.mark.timeout(300)
def test_trouble_of_an_agent_that_does_not_lead_is_notified(
    on_moto: Installation, postgresql: PostgreSQL, postgres_database: str
) -> None:
    it = on(on_moto, postgresql, postgresql.url(postgres_database))
    config = str(with_hook(it))
    behind = urlsplit(it.environment["AWS_ENDPOINT_URL_SQS"])
    with TcpProxy(behind.port or 80) as between:
        leader = it.start("--config", config)
        leader.logged("agent started")
        through = behind._replace(netloc=f"127.0.0.1:{between.port}").geturl()
        follower = it.start("--config", config, AWS_ENDPOINT_URL_SQS=through)
        follower.logged("agent started")
        between.refuse()
        eventually(lambda: notified(it), within_s=90, what=lambda: follower.out[-2000:])
        assert not leader.of("SQS receive failed")
        between.be_honest()
        for agent in (leader, follower):
            agent.terminate()
        assert [agent.wait().code for agent in (leader, follower)] == [0, 0]
    trouble = notified(it)[0]
    assert (trouble["about"], trouble["health"]["state"]) == (["health"], "not-polling")


@pytest.mark.timeout(300)
def test_a_ledger_that_is_away_is_notified_and_its_return(
    on_moto: Installation, own_server: PostgreSQL
) -> None:
    it = on(on_moto, own_server, own_server.url())
    agent = it.start("--config", str(with_hook(it)))
    it.ask_for("tree/", "tree")  # a start that the ledger fails ends: this one has begun to work
    agent.logged("transfer done")
    own_server.shut_down(immediate=True)
    eventually(lambda: notified(it), within_s=90, what=lambda: agent.out[-2000:])
    agent.logged("nothing is received while the ledger does not see this agent", within_s=60)
    assert not agent.of("SQS receive failed")
    own_server.start()
    agent.logged("receiving goes on", within_s=60)
    eventually(lambda: len(notified(it)) > 1, within_s=60, what=lambda: agent.out[-2000:])
    agent.terminate()
    assert agent.wait().code == 0
    trouble, *_, recovery = notified(it)
    assert (trouble["about"], trouble["health"]["state"]) == (["health"], "held")
    assert "Held by ledger" in trouble["subject"]
    assert recovery["about"] == ["recovery"]
