"""One byte rate over several agents: what they read together, and whose part goes to whom."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from backhaul.adapters.system.rate_bucket import RateBucket
from backhaul.adapters.system.rate_seat import ShareFile, bucket_file
from backhaul.core.fleet.liveness import DEAD_S
from backhaul.core.fleet.rate_shares import RESERVED_S
from backhaul.core.ports.ledger_place import PostgresUrl
from backhaul.core.rate_limit import CREDIT_S, PIECE_S
from testbed import ElasticMQ, PostgreSQL, S3Proxy
from tests.acceptance.conftest import Install
from tests.acceptance.installation import Installation, Running, eventually
from tests.contract.test_ledger_fleet_limits import CHECK_EACH_COMMIT
from tests.ledger_places import statement

pytestmark = pytest.mark.integration
LIMIT = 1 << 20
LONG = 32 * LIMIT
WINDOW = 6 * LIMIT  # bytes that are watched


@pytest.fixture
def it(
    install: Install,
    elasticmq: ElasticMQ,
    s3proxy: S3Proxy,
    postgresql: PostgreSQL,
    postgres_database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Installation:
    monkeypatch.setenv("PGPASSFILE", str(postgresql.pass_file))
    found = install(elasticmq, s3proxy)
    found.environment |= {
        "PGPASSFILE": str(postgresql.pass_file),
        "BACKHAUL_LEDGER": postgresql.url(postgres_database),
        "BACKHAUL_BANDWIDTH__LIMIT": str(LIMIT),
        "BACKHAUL_AGENT__SLOTS": "1",
    }
    return found


@dataclass
class Node:
    """An agent with files of its own, as on a host of its own."""

    agent: Running
    ledger: Path

    @property
    def share(self) -> int | None:
        return ShareFile(self.ledger, 1).read()

    @property
    def taken(self) -> int:
        return RateBucket(bucket_file(self.ledger, 1)).taken()


def start(it: Installation, name: str) -> Node:
    state = it.home / name
    state.mkdir()
    agent = it.start(STATE_DIRECTORY=str(state))
    agent.logged("agent started")
    (share,) = state.glob("ledger-*.share-1")
    return Node(agent, share.with_name(share.name.removesuffix(".share-1")))


@pytest.mark.timeout(400)
def test_two_agents_read_no_more_than_one_limit_and_a_dead_one_s_part_comes_back(
    it: Installation, postgresql: PostgreSQL, postgres_database: str
) -> None:
    keys = ("one", "two")
    for key in keys:
        it.put(key, key.encode() * (LONG // 3))
    one = start(it, "node1")
    assert one.share == LIMIT, "alone, and at once"
    statement(PostgresUrl(text=postgresql.url(postgres_database)), CHECK_EACH_COMMIT)
    it.ask_for("one", "one")
    eventually(lambda: one.taken > LIMIT, what="it reads")
    two = start(it, "node2")
    it.ask_for("two", "two")
    eventually(lambda: one.share == two.share == LIMIT // 2, within_s=90, what="equal parts")

    began_s, first, before = time.monotonic(), two.taken, one.taken + two.taken
    eventually(lambda: one.taken + two.taken - before > WINDOW, within_s=60, what="both read")
    # A reader that woke up late may catch up on so much, and no more.
    passed_s = time.monotonic() - began_s + CREDIT_S + PIECE_S
    assert one.taken + two.taken - before <= LIMIT * passed_s
    assert two.taken > first, "both read"

    two.agent.kill()
    died_s = time.monotonic()
    eventually(
        lambda: one.share == LIMIT, within_s=2 * (DEAD_S + RESERVED_S), what="all is its own"
    )
    assert time.monotonic() - died_s >= RESERVED_S
    set_by_hand = it.backhaul("limit", "off", STATE_DIRECTORY=str(it.home / "node3"))
    assert set_by_hand.code == 0, set_by_hand
    eventually(lambda: one.share is None, what="no limit")
    eventually(lambda: it.counts() == (0, 0), within_s=120, what=lambda: one.agent.out[-3000:])
    assert {len(data) for data in it.landing.files().values()} == {len(b"one") * (LONG // 3)}
    assert "no limit, by hand" in it.backhaul("limit").out
    one.agent.terminate()
    assert one.agent.wait().code == 0
