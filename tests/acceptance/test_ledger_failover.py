"""The agent goes on by itself after a failover, and refuses the old primary when that returns."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from testbed import PostgreSQL
from testbed.postgres import PostgresStandby
from tests.acceptance.installation import Installation, eventually
from tests.acceptance.test_ledger_on_postgres import TREE, on

pytestmark = [pytest.mark.integration, pytest.mark.long]
UNSYNCED = {"fsync": "off"}


@pytest.fixture
def pair(postgresql: PostgreSQL) -> Iterator[tuple[PostgreSQL, PostgresStandby]]:
    """A primary and its standby; after `postgresql`, which skips where there is none."""
    del postgresql
    with (
        PostgreSQL(settings=UNSYNCED) as primary,
        PostgresStandby(primary, settings=UNSYNCED) as standby,
    ):
        yield primary, standby


@pytest.mark.timeout(300)
def test_an_agent_follows_a_failover_and_no_old_primary(
    on_moto: Installation, pair: tuple[PostgreSQL, PostgresStandby]
) -> None:
    primary, standby = pair
    first, second = (f"127.0.0.1:{server.ports[0]}" for server in pair)
    it = on(on_moto, primary, f"postgresql://backhaul@{first},{second}/backhaul")
    it.environment["STATE_DIRECTORY"] = str(it.home / "state")
    it.ask_for("tree/", "day=01")
    agent = it.start()
    eventually(
        lambda: it.has_arrived(TREE, "day=01"), within_s=60, what="the first message arrived"
    )
    assert "W_LEDGER_ASYNC" in {one["code"] for one in agent.logged("installation is risky")}
    eventually(lambda: it.counts() == (0, 0), within_s=60, what="the first message deleted")
    standby.stop_receiving()
    it.ask_for("tree/", "day=02")
    eventually(
        lambda: it.has_arrived(TREE, "day=02"), within_s=60, what="the second message arrived"
    )
    primary.kill()
    it.ask_for("tree/", "day=03")
    standby.forget_unreceived()
    standby.promote()
    eventually(
        lambda: it.has_arrived(TREE, "day=03"), within_s=90, what="the third message arrived"
    )
    eventually(lambda: it.counts() == (0, 0), within_s=90, what="all messages deleted")
    assert agent.is_alive
    agent.terminate()
    assert agent.wait().code == 0
    assert not it.landing.staging()
    assert it.dead_letters() == []
    assert {one["state"] for one in it.history()} == {"done"}
    # The old primary takes writes again, and is the first of the address.
    primary.start()
    it.ask_for("tree/", "day=04")
    assert it.drained().code == 0
    assert it.has_arrived(TREE, "day=04")
    assert standby.sql("SELECT count(*) FROM transfers", database="backhaul") == str(
        len(it.history())
    )
    it.ask_for("tree/", "day=05")
    ended = it.drain(BACKHAUL_LEDGER=primary.url())
    assert (ended.code, "E_LEDGER_OLD_PRIMARY" in ended.err) == (69, True), ended
    assert "Traceback" not in ended.err
    assert not it.has_arrived(TREE, "day=05")
