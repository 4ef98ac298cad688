"""Several agents on one PostgreSQL: one takes over what another leaves, and nothing comes twice."""

from __future__ import annotations

import json
import random
import signal

import pytest

from testbed import PostgreSQL
from tests.acceptance.installation import Installation, eventually
from tests.acceptance.proxy import Answer, Proxy

pytestmark = pytest.mark.integration
TREE = {f"part-{n:03}": random.Random(n).randbytes(3000 + n) for n in range(20)}
RECEIVES_MORE = 2
ELSEWHERE_WITHIN_S = 60  # as docs/postgresql.md promises, where its silence alone is seen
SLOTS = 3
MESSAGES = 12


@pytest.fixture
def gate(moto_proxy: Proxy) -> Proxy:
    """Of what the agents read from S3: no object's bytes come, until it is honest."""

    def stall(answer: Answer) -> None:
        answer.stall_after = 0

    moto_proxy.lie(stall)
    return moto_proxy


@pytest.fixture
def it(
    on_moto: Installation, gate: Proxy, postgresql: PostgreSQL, postgres_database: str
) -> Installation:
    """Whose agents share a database, and read S3 by the gate."""
    url = postgresql.url(postgres_database)
    on_moto.environment |= {"PGPASSFILE": str(postgresql.pass_file), "BACKHAUL_LEDGER": url}
    on_moto.environment["AWS_ENDPOINT_URL_S3"] = gate.endpoint
    for name, data in TREE.items():
        on_moto.put(f"tree/{name}", data)
    return on_moto


def listed(it: Installation) -> list[dict[str, object]]:
    found = it.backhaul("agents", "--json")
    assert found.code == 0, found
    return [json.loads(line) for line in found.out.splitlines()]


@pytest.mark.timeout(300)
def test_two_agents_share_the_work_and_every_command_sees_both(
    it: Installation, gate: Proxy
) -> None:
    agents = [it.start(BACKHAUL_AGENT__SLOTS=str(SLOTS)) for _ in range(2)]
    for one in agents:
        one.logged("agent started")
    for number in range(MESSAGES):
        it.ask_for("tree/", f"day={number:02}")
    # Neither can take more than it has slots for, before it may copy.
    for one in agents:
        one.logged("message received", times=SLOTS, within_s=90)
    gate.be_honest()
    eventually(lambda: it.counts() == (0, 0), within_s=120, what="all messages deleted")
    assert all(it.has_arrived(TREE, f"day={number:02}") for number in range(MESSAGES))
    assert [one["state"] for one in it.history()] == ["done"] * MESSAGES
    assert all(one.of("transfer done") for one in agents), "both worked"
    found = eventually(lambda: len(listed(it)) == 2 and listed(it), within_s=30, what="both listed")
    assert found
    assert sum(bool(one["is_leader"]) for one in found) == 1
    status = it.backhaul("status")
    assert status.code == 0, status
    for one in agents:
        one.terminate()
    assert [one.wait().code for one in agents] == [0, 0]
    assert not it.landing.staging()
    assert it.dead_letters() == []


@pytest.mark.timeout(300)
def test_agent_that_falls_silent_is_followed_and_ends_when_it_wakes(
    it: Installation, gate: Proxy, postgresql: PostgreSQL, postgres_database: str
) -> None:
    def judged() -> str:
        count = "SELECT count(*) FROM members WHERE judged_at IS NOT NULL"
        return postgresql.sql(count, database=postgres_database)

    zombie = it.start()
    zombie.logged("agent started")
    it.ask_for("tree/", "day=01")
    (first,) = zombie.logged("message received")
    eventually(gate.object_gets, what="it copies")
    zombie.send_signal(signal.SIGSTOP)
    gate.be_honest()
    follower = it.start()

    def both_logs() -> str:
        return follower.out[-6000:] + follower.err + "ZOMBIE" + zombie.out[-3000:]

    eventually(lambda: it.has_arrived(TREE, "day=01"), within_s=ELSEWHERE_WITHIN_S, what=both_logs)
    eventually(lambda: it.counts() == (0, 0), what=both_logs)
    assert judged() == "1"
    again = follower.of("message received")[-1]
    assert again["receive_count"] - first["receive_count"] <= RECEIVES_MORE
    zombie.send_signal(signal.SIGCONT)
    ended = zombie.wait(60)
    assert ended.code == 75, ended
    assert "E_LEDGER_FENCED" in ended.err + ended.out
    assert "Traceback" not in ended.err
    follower.terminate()
    assert follower.wait().code == 0
    assert it.has_arrived(TREE, "day=01")
    assert not it.landing.staging()
    assert [one["state"] for one in it.history()] == ["done"]
    assert it.dead_letters() == []
