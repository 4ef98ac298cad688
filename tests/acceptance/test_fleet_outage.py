"""Five agents whose database is away for a minute: nobody is judged for it, and all go on."""

from __future__ import annotations

import random
import time

import pytest

from backhaul.testing.servers.postgres.listener import ROLE
from testbed import PostgreSQL
from tests.acceptance.installation import Installation, eventually
from tests.acceptance.proxy import Answer, Proxy

pytestmark = [pytest.mark.integration, pytest.mark.slow]
AGENTS = 5
AWAY_S = 60
RESUMED_WITHIN_S = 30
TREE = {f"part-{n:03}": random.Random(n).randbytes(3000 + n) for n in range(5)}


def stall(answer: Answer) -> None:
    answer.stall_after = 0


@pytest.mark.timeout(400)
def test_an_outage_of_a_minute_costs_no_takeover_and_no_message(
    on_moto: Installation, moto_proxy: Proxy, own_server: PostgreSQL
) -> None:
    """Each has a transfer at work as the database goes, and more messages wait for its return."""
    it = on_moto
    it.environment |= {"PGPASSFILE": str(own_server.pass_file), "BACKHAUL_LEDGER": own_server.url()}
    it.environment["AWS_ENDPOINT_URL_S3"] = moto_proxy.endpoint
    for name, data in TREE.items():
        it.put(f"tree/{name}", data)
    agents = [it.start(BACKHAUL_AGENT__SLOTS="1") for _ in range(AGENTS)]
    for one in agents:
        one.logged("agent started", within_s=120)
    moto_proxy.lie(stall)
    for number in range(AGENTS):
        it.ask_for("tree/", f"before={number}")
    for one in agents:
        one.logged("message received", within_s=90)
    eventually(lambda: len(moto_proxy.object_gets()) >= AGENTS, what="all of them copy")
    own_server.shut_down(immediate=True)
    moto_proxy.be_honest()  # what is under way meets the outage with its next step
    for number in range(AGENTS):
        it.ask_for("tree/", f"during={number}")
    time.sleep(AWAY_S)
    assert all(one.is_alive for one in agents)
    assert not [path for path in it.landing.files() if "=" in path], "published meanwhile"
    own_server.start()
    for one in agents:
        one.logged("transfer done", within_s=RESUMED_WITHIN_S)
    eventually(lambda: it.counts() == (0, 0), within_s=120, what="all messages deleted")
    judged = "SELECT count(*) FROM members WHERE judged_at IS NOT NULL"
    assert own_server.sql(judged, database=ROLE) == "0"
    for one in agents:
        one.terminate()
    assert [one.wait().code for one in agents] == [0] * AGENTS
    for number in range(AGENTS):
        assert it.has_arrived(TREE, f"before={number}")
        assert it.has_arrived(TREE, f"during={number}")
    assert {one["state"] for one in it.history()} == {"done"}
    # The end of an attempt that met the outage may be in no ledger: then it counts.
    assert max(one["attempt"] for one in it.history()) <= 2
    assert it.dead_letters() == []
    assert not it.landing.staging()
