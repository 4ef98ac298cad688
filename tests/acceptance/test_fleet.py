"""Several agents on one PostgreSQL: one takes over what another leaves, and nothing comes twice."""

from __future__ import annotations

import json
import random
import signal
import time

import pytest

from testbed import PostgreSQL
from tests.acceptance.installation import Installation, eventually

pytestmark = pytest.mark.integration
TREE = {f"part-{n:03}": random.Random(n).randbytes(3000 + n) for n in range(20)}
TAKEOVER_S = 60.0
RECEIVES_MORE = 2


@pytest.fixture
def it(on_moto: Installation, postgresql: PostgreSQL, postgres_database: str) -> Installation:
    """Whose agents share a database."""
    url = postgresql.url(postgres_database)
    on_moto.environment |= {"PGPASSFILE": str(postgresql.pass_file), "BACKHAUL_LEDGER": url}
    for name, data in TREE.items():
        on_moto.put(f"tree/{name}", data)
    return on_moto


def arrived(it: Installation, below: str) -> bool:
    found = it.landing.files()
    return all(found.get(f"{below}/{name}") == data for name, data in TREE.items())


def listed(it: Installation) -> list[dict[str, object]]:
    found = it.backhaul("agents", "--json")
    assert found.code == 0, found
    return [json.loads(line) for line in found.out.splitlines()]


@pytest.mark.timeout(300)
def test_two_agents_share_the_work_and_every_command_sees_both(it: Installation) -> None:
    agents = [it.start(), it.start()]
    for one in agents:
        one.logged("agent started")
    for number in range(12):
        it.ask_for("tree/", f"day={number:02}")
    eventually(lambda: it.counts() == (0, 0), within_s=90, what="all messages deleted")
    assert all(arrived(it, f"day={number:02}") for number in range(12))
    assert [one["state"] for one in it.history()] == ["done"] * 12
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
def test_agent_that_falls_silent_is_followed_and_ends_when_it_wakes(it: Installation) -> None:
    zombie = it.start()
    zombie.logged("agent started")
    it.ask_for("tree/", "day=01")
    (first,) = zombie.logged("message received")
    zombie.send_signal(signal.SIGSTOP)
    stopped_s = time.monotonic()
    was_done = bool(zombie.of("transfer done"))
    follower = it.start()
    eventually(
        lambda: arrived(it, "day=01") and it.counts() == (0, 0),
        within_s=TAKEOVER_S + 30,
        what=lambda: follower.out[-6000:] + follower.err + "ZOMBIE" + zombie.out[-3000:],
    )
    if not was_done:
        assert time.monotonic() - stopped_s < TAKEOVER_S + 10
        again = follower.of("message received")[-1]
        assert again["receive_count"] - first["receive_count"] <= RECEIVES_MORE
    # Whatever it was about when it was stopped: it was judged a while ago by then.
    eventually(lambda: time.monotonic() - stopped_s > 45, within_s=60, what="it was judged")
    zombie.send_signal(signal.SIGCONT)
    ended = zombie.wait(60)
    assert ended.code == 75, ended
    assert "E_LEDGER_FENCED" in ended.err + ended.out
    assert "Traceback" not in ended.err
    follower.terminate()
    assert follower.wait().code == 0
    assert arrived(it, "day=01")
    assert not it.landing.staging()
    assert [one["state"] for one in it.history()] == ["done"]
    assert it.dead_letters() == []
