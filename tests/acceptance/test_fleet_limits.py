"""Limits of a route over several agents: exact; a full one takes no slot and no look into S3."""

from __future__ import annotations

from pathlib import Path

import pytest

from backhaul.core.ports.ledger_place import PostgresUrl
from backhaul.core.requests.admission import MINUTE_S
from testbed import ElasticMQ, PostgreSQL, S3Proxy
from tests.acceptance.conftest import Install
from tests.acceptance.installation import Installation, Running, eventually
from tests.acceptance.proxy import Answer, Proxy, Seen
from tests.ledger_places import statement

pytestmark = pytest.mark.integration
ONE_SLOT = {"BACKHAUL_AGENT__SLOTS": "1", "BACKHAUL_LOG__LEVEL": "debug"}
WAITING = 4
FREE = 6


@pytest.fixture
def it(
    install: Install,
    elasticmq: ElasticMQ,
    s3proxy: S3Proxy,
    s3_proxy: Proxy,
    postgresql: PostgreSQL,
    postgres_database: str,
) -> Installation:
    """Whose agents share a database, and read S3 by `s3_proxy`."""
    found = install(elasticmq, s3_proxy, s3_direct=s3proxy)
    found.environment |= {
        "PGPASSFILE": str(postgresql.pass_file),
        "BACKHAUL_LEDGER": postgresql.url(postgres_database),
    }
    return found


def configured(it: Installation, narrow: str = "limits = { in_flight = 1 }\n") -> Path:
    """With a route of which one transfer may be in flight, and one without a limit.

    Args:
        narrow: Other limits of the first.
    """
    config = it.home / "limited.toml"
    config.write_text(
        "".join(
            f'[[route]]\nname = "{name}"\nsource = ["{it.uri(name)}/"]\n'
            f'destination = ["{it.landing.uri}/{name}/"]\n{more}'
            for name, more in (("narrow", narrow), ("wide", ""))
        ),
        "utf-8",
    )
    config.chmod(0o600)
    return config


@pytest.mark.timeout(300)
def test_a_route_that_another_agent_fills_holds_no_slot_and_lists_nothing(
    it: Installation, s3_proxy: Proxy
) -> None:
    def is_of_waiting(seen: Seen) -> bool:
        return "narrow" in seen.target and "long" not in seen.target

    def stall(answer: Answer) -> None:
        answer.stall_after = 1

    def start() -> Running:
        agent = it.start("--config", str(configured(it)), **ONE_SLOT)
        agent.logged("agent started")
        return agent

    waiting, free = [f"narrow/{n}" for n in range(WAITING)], [f"wide/{n}" for n in range(FREE)]
    for key in ("narrow/long", *waiting, *free):
        it.put(key, key.encode() * 9)
    s3_proxy.lie(stall, to=lambda seen: seen.is_object_get and "narrow/long" in seen.path)
    owner = start()
    it.ask_for("narrow/long", "narrow/long")
    eventually(s3_proxy.object_gets, what="the long transfer reads")
    other = start()
    s3_proxy.forget()
    for key in waiting:
        it.ask_for(key, key)
    other.logged("message received", times=WAITING, within_s=60)
    for key in free:
        it.ask_for(key, key)
    other.logged("transfer done", times=FREE, within_s=60)
    assert not owner.of("transfer done")
    assert [one.target for one in s3_proxy.seen if is_of_waiting(one)] == []

    s3_proxy.be_honest()
    eventually(lambda: it.counts() == (0, 0), within_s=120, what=lambda: other.out[-3000:])
    names = [key.rpartition("/")[2] for key in ("narrow/long", *waiting)]
    assert {f"narrow/{name}/{name}" for name in names} <= set(it.landing.files())
    assert {one["receive_count"] for one in other.of("message received")} == {1}
    for agent in (owner, other):
        agent.terminate()
    assert [agent.wait().code for agent in (owner, other)] == [0, 0]
    assert {(one["state"], one["failures"]) for one in it.history()} == {("done", 0)}


PER_MINUTE = 3
LOG_STARTS = """
CREATE TABLE started (at bigint);
CREATE FUNCTION log_start() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO started VALUES (new.at); RETURN NULL; END $$;
CREATE TRIGGER log_start AFTER INSERT ON route_starts FOR EACH ROW EXECUTE FUNCTION log_start()
"""


@pytest.mark.timeout(300)
def test_what_a_route_may_begin_in_a_minute_is_that_of_two_agents_together(
    it: Installation,
    postgresql: PostgreSQL,
    postgres_database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PGPASSFILE", str(postgresql.pass_file))
    ledger = PostgresUrl(text=postgresql.url(postgres_database))
    keys = [f"narrow/{n}" for n in range(PER_MINUTE + 2)]
    for key in keys:
        it.put(key, key.encode() * 9)
    config = configured(it, narrow=f"limits = {{ per_minute = {PER_MINUTE} }}\n")
    agents = [it.start("--config", str(config), BACKHAUL_AGENT__SLOTS="2") for _ in range(2)]
    for agent in agents:
        agent.logged("agent started")
    statement(ledger, LOG_STARTS)
    for key in keys:
        it.ask_for(key, key)
    eventually(lambda: it.counts() == (0, 0), within_s=150, what="all messages deleted")
    began = [at for (at,) in statement(ledger, "SELECT at FROM started ORDER BY at")]
    assert len(began) == len(keys)
    assert all(agent.of("message received") for agent in agents), "both worked"
    spans = [later - first for first, later in zip(began, began[PER_MINUTE:], strict=False)]
    assert min(spans) >= MINUTE_S * 1_000_000
    assert {(one["state"], one["failures"]) for one in it.history()} == {("done", 0)}
