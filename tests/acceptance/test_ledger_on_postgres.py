"""One agent whose ledger is on PostgreSQL works like one with a file."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from testbed import PgBouncer, PostgreSQL
from tests.acceptance.installation import Installation, eventually

pytestmark = pytest.mark.integration
TREE = {f"part-{n:03}": random.Random(n).randbytes(3000 + n) for n in range(30)}


def on(it: Installation, server: PostgreSQL, url: str) -> Installation:
    it.environment |= {"PGPASSFILE": str(server.pass_file), "BACKHAUL_LEDGER": url}
    for name, data in TREE.items():
        it.put(f"tree/{name}", data)
    return it


@pytest.fixture(params=["postgresql", "pgbouncer"])
def it(
    request: pytest.FixtureRequest,
    on_moto: Installation,
    postgresql: PostgreSQL,
    postgres_database: str,
) -> Installation:
    """Whose ledger is a database of its own, directly or behind a pooler."""
    server: PostgreSQL | PgBouncer = request.getfixturevalue(request.param)
    return on(on_moto, postgresql, server.url(postgres_database))


@pytest.mark.timeout(300)
def test_data_arrives_and_every_command_reads_the_ledger(it: Installation, tmp_path: Path) -> None:
    it.ask_for("tree/", "day=01")
    ended = it.drained()
    assert it.has_arrived(TREE, "day=01"), ended
    assert not it.landing.staging()
    (transfer,) = it.history()
    assert (transfer["state"], transfer["objects_planned"]) == ("done", len(TREE))
    shown = it.show(transfer["id"])
    assert shown["transfer"]["id"] == transfer["id"]
    assert len(it.evidence(transfer["id"])) == len(TREE)
    commands: tuple[tuple[str, ...], ...] = (
        ("status",),
        ("status", "--json"),
        ("report",),
        ("where", f"{it.landing.uri}/day=01/part-000"),
        ("verify", transfer["id"]),
        ("journal",),
        ("limit", "10MB"),
        ("limit", "off"),
        ("ledger", "prune", "--older", "90d", "--dry-run"),
        ("ledger", "check"),
        ("ledger", "migrate"),
    )
    for command in commands:
        done = it.backhaul(*command)
        assert done.code == 0, (command, done)
        assert "Traceback" not in done.err
    copied = it.backhaul(
        *("copy", f"{it.uri('tree/')}", f"{it.landing.uri}/copied", "--allow", it.allow)
    )
    assert copied.code == 0, copied
    assert it.has_arrived(TREE, "copied")
    refused = it.backhaul("ledger", "backup", str(tmp_path / "copy.db"))
    assert (refused.code, "E_LEDGER_SERVER" in refused.err) == (64, True), refused


# Behind a pooler alone: what a killed client left open is the pooler's, too.
@pytest.mark.parametrize("it", ["pgbouncer"], indirect=True)
@pytest.mark.timeout(300)
def test_killed_agent_is_followed_at_once_by_another_on_the_same_node(it: Installation) -> None:
    it.ask_for("tree/", "day=02")
    agent = it.start()
    agent.logged("message received")
    agent.kill()
    it.ask_for("tree/", "day=03")
    agent = it.start()
    eventually(lambda: it.has_arrived(TREE, "day=03"), within_s=60, what="the next message arrived")
    # It may have arrived before the kill, and not have been recorded.
    eventually(lambda: it.counts() == (0, 0), within_s=120, what="both messages deleted")
    agent.terminate()
    assert agent.wait().code == 0
    assert it.has_arrived(TREE, "day=02")
    assert not it.landing.staging()
    assert [one["state"] for one in it.history()] == ["done", "done"]


@pytest.mark.timeout(300)
def test_database_that_stops_for_seconds_holds_the_agent_and_loses_nothing(
    on_moto: Installation, own_server: PostgreSQL
) -> None:
    it = on(on_moto, own_server, own_server.url())
    it.ask_for("tree/", "day=01")
    agent = it.start()
    eventually(
        lambda: it.has_arrived(TREE, "day=01"), within_s=60, what="the first message arrived"
    )
    own_server.shut_down(immediate=True)
    it.ask_for("tree/", "day=02")
    time.sleep(5)
    assert agent.is_alive
    own_server.start()
    eventually(
        lambda: it.has_arrived(TREE, "day=02"), within_s=90, what="the second message arrived"
    )
    eventually(lambda: it.counts() == (0, 0), within_s=60, what="both messages deleted")
    agent.terminate()
    assert agent.wait().code == 0
    assert [one["state"] for one in it.history()] == ["done", "done"]
    assert it.dead_letters() == []


@pytest.mark.timeout(300)
def test_each_fault_of_the_database_is_one_line_with_a_code_and_a_fix(
    on_moto: Installation, own_server: PostgreSQL
) -> None:
    it = on(on_moto, own_server, own_server.url())
    url = own_server.url()
    own_server.create_database("latin", encoding="LATIN1", locale="C")
    own_server.create_database("standby")
    own_server.create_database("newer")
    newer = own_server.url("newer")
    assert it.drain(BACKHAUL_LEDGER=newer).code == 0
    own_server.sql("UPDATE alembic_version SET version_num = '9999'", database="newer")
    needed = "UPDATE meta SET value = '9999' WHERE name = 'schema_needed'"
    own_server.sql(needed, database="newer")
    own_server.sql("ALTER DATABASE standby SET default_transaction_read_only = on")
    own_server.create_database("crowded")
    own_server.sql("ALTER DATABASE crowded CONNECTION LIMIT 0")
    own_server.create_database("forbidden")
    own_server.sql(
        "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC", database="forbidden"
    )
    own_server.create_database("older")
    older = own_server.url("older")
    assert it.drain(BACKHAUL_LEDGER=older).code == 0
    own_server.sql("UPDATE alembic_version SET version_num = '0001'", database="older")
    secret = url.replace("://backhaul@", "://backhaul:hush@")
    cases = {
        "E_LEDGER_AWAY": {"BACKHAUL_LEDGER": "postgresql://backhaul@127.0.0.1:1/x"},
        "E_LEDGER_LOGIN": {"PGPASSFILE": str(it.home / "no-passwords")},
        "E_LEDGER_READONLY": {"BACKHAUL_LEDGER": own_server.url("standby")},
        "E_LEDGER_CONNECTIONS": {"BACKHAUL_LEDGER": own_server.url("crowded")},
        "E_LEDGER_ENCODING": {"BACKHAUL_LEDGER": own_server.url("latin")},
        "E_LEDGER_NEWER": {"BACKHAUL_LEDGER": newer},
        "E_LEDGER_PASSWORD": {"BACKHAUL_LEDGER": secret},
        "E_LEDGER_ADDRESS": {"BACKHAUL_LEDGER": "postgresql://backhaul@h:1/x?nonsense=1"},
    }
    passwords = str(own_server.pass_file)
    for code, settings in cases.items():
        it.environment |= {"BACKHAUL_LEDGER": url, "PGPASSFILE": passwords, **settings}
        ended = it.drain()
        assert ended.code in {69, 78}, (code, ended)
        assert code in ended.err, (code, ended)
        assert "hint:" in ended.err, ended
        assert "Traceback" not in ended.err, ended
        assert "hush" not in ended.out + ended.err
    it.environment["PGPASSFILE"] = passwords
    forbidden = it.drain(BACKHAUL_LEDGER=own_server.url("forbidden"))
    assert (forbidden.code, "GRANT EXECUTE ON FUNCTION" in forbidden.err) == (69, True), forbidden
    read = it.backhaul("history", BACKHAUL_LEDGER=older)
    assert (read.code, "E_LEDGER_OLDER" in read.err) == (78, True), read
    started = it.drain(BACKHAUL_LEDGER=older)
    assert (started.code, "backhaul ledger migrate --ledger" in started.err) == (78, True), started
    assert it.counts() == (0, 0)
