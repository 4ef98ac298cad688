"""PostgreSQL and PgBouncer of the test bed: what the tests of a ledger rely on."""

import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from backhaul.testing.servers import ServerFailed, ServerUnavailable, base
from backhaul.testing.servers.ports import free_ports, listening
from backhaul.testing.servers.postgres import family, programs
from backhaul.testing.servers.postgres.user import UNPRIVILEGED
from testbed import PgBouncer, PostgreSQL

UNSYNCED = {"fsync": "off"}


def connect(
    server: PostgreSQL, url: str, *, prepare_threshold: int | None = None
) -> "psycopg.Connection[tuple[object, ...]]":
    return psycopg.connect(
        url,
        passfile=str(server.pass_file),
        connect_timeout=10,
        autocommit=True,
        prepare_threshold=prepare_threshold,
    )


def value(server: PostgreSQL, url: str, statement: str) -> object:
    with connect(server, url) as connection:
        row = connection.execute(statement).fetchone()
        assert row
        return row[0]


@pytest.fixture(scope="module")
def own_postgresql(postgresql: PostgreSQL) -> Iterator[PostgreSQL]:
    """One that these tests may stop. After `postgresql`, which skips where there is none."""
    with PostgreSQL(settings=UNSYNCED) as server:
        server.sql("CREATE TABLE kept AS SELECT 1 AS n", database="backhaul")
        server.sql("GRANT SELECT ON kept TO backhaul", database="backhaul")
        yield server


def kept(server: PostgreSQL) -> str:
    return server.sql("SELECT n FROM kept", database="backhaul")


# The server


@pytest.mark.integration
@pytest.mark.parametrize("name", ["postgresql", "pgbouncer"])
def test_it_listens_on_loopback_alone_and_not_as_root(
    name: str, request: pytest.FixtureRequest
) -> None:
    server: PostgreSQL | PgBouncer = request.getfixturevalue(name)
    (pid,) = server.pids.values()
    assert listening(pid) == {("127.0.0.1", server.ports[0])}
    owner = pwd.getpwuid(Path(f"/proc/{pid}").stat().st_uid).pw_name
    assert owner == (UNPRIVILEGED if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name)


@pytest.mark.integration
def test_cluster_is_utf8_with_checksums_and_synced_unless_said(
    postgresql: PostgreSQL, own_postgresql: PostgreSQL
) -> None:
    shown = "SELECT current_setting('server_encoding'), current_setting('data_checksums')"
    assert postgresql.sql(shown) == "UTF8|on"
    assert own_postgresql.sql("SHOW fsync") == "off"
    assert PostgreSQL()._settings.get("fsync", "on") == "on"
    assert int(postgresql.sql("SHOW server_version_num")) >= programs.OLDEST * 10_000


@pytest.mark.integration
@pytest.mark.parametrize("name", ["postgresql", "pgbouncer"])
def test_password_is_demanded_and_in_no_url(name: str, request: pytest.FixtureRequest) -> None:
    server: PostgreSQL | PgBouncer = request.getfixturevalue(name)
    postgresql: PostgreSQL = request.getfixturevalue("postgresql")
    assert postgresql.password
    assert postgresql.password not in server.url()
    assert postgresql.pass_file.stat().st_mode & 0o777 == 0o600
    assert value(postgresql, server.url(), "SELECT current_user") == "backhaul"
    with pytest.raises(psycopg.OperationalError, match=r"password|SASL"):
        psycopg.connect(server.url(), password="wrong", connect_timeout=10)


@pytest.mark.integration
def test_role_is_a_plain_one(postgresql: PostgreSQL) -> None:
    with (
        connect(postgresql, postgresql.url()) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("CREATE DATABASE other")


@pytest.mark.integration
def test_database_of_a_test_is_empty_and_goes_while_it_is_in_use(postgresql: PostgreSQL) -> None:
    for _ in range(2):
        url = postgresql.create_database("again")
        connection = connect(postgresql, url)
        connection.execute("CREATE TABLE t (n int)")
        postgresql.drop_database("again")
        connection.close()
    postgresql.drop_database("again")


@pytest.mark.integration
def test_database_has_the_encoding_and_collation_that_were_asked_for(
    postgresql: PostgreSQL, postgres_database: str
) -> None:
    shown = "SELECT pg_encoding_to_char(encoding), datcollate, daticulocale FROM pg_database"
    postgresql.create_database("latin", encoding="LATIN1", locale="C")
    postgresql.create_database("icu", icu_locale="en")
    rows = {
        name: postgresql.sql(f"{shown} WHERE datname = '{name}'")
        for name in (postgres_database, "latin", "icu")
    }
    postgresql.drop_database("latin")
    postgresql.drop_database("icu")
    assert rows == {
        postgres_database: "UTF8|C.UTF-8|",
        "latin": "LATIN1|C|",
        "icu": "UTF8|C.UTF-8|en",
    }


@pytest.mark.integration
def test_refused_statement_gives_the_servers_words(postgresql: PostgreSQL) -> None:
    with pytest.raises(ServerFailed, match='relation "missing" does not exist'):
        postgresql.sql("SELECT * FROM missing")


# Restarts


@pytest.mark.integration
@pytest.mark.parametrize("end", ["restart", "immediate", "kill"])
def test_committed_rows_are_there_after(end: str, own_postgresql: PostgreSQL) -> None:
    url, client = own_postgresql.url(), connect(own_postgresql, own_postgresql.url())
    pid = own_postgresql.pids["postgresql"]
    match end:
        case "restart":
            own_postgresql.restart()
        case "immediate":
            own_postgresql.shut_down(immediate=True)
            own_postgresql.start()
        case _:
            own_postgresql.kill()
            assert family.children(pid) == []
            own_postgresql.start()
    assert own_postgresql.url() == url
    assert own_postgresql.pids["postgresql"] != pid
    assert kept(own_postgresql) == "1"
    with pytest.raises(psycopg.OperationalError):
        client.execute("SELECT 1")
    recovered = "automatic recovery in progress" in own_postgresql.log_path.read_text("utf-8")
    assert recovered or end == "restart"


@pytest.mark.integration
def test_suspended_server_answers_no_client_and_then_goes_on(own_postgresql: PostgreSQL) -> None:
    with connect(own_postgresql, own_postgresql.url()) as client:
        own_postgresql.suspend()
        # libpq's own time limit does not bound an answer: so one of ours.
        client.pgconn.send_query(b"SELECT 7")
        client.pgconn.flush()
        time.sleep(0.3)
        client.pgconn.consume_input()
        assert client.pgconn.is_busy()
        own_postgresql.resume()
        result = client.pgconn.get_result()
        assert result is not None
        assert result.get_value(0, 0) == b"7"
        assert client.pgconn.get_result() is None


@pytest.mark.integration
def test_suspended_server_is_stopped_and_leaves_nothing(postgresql: PostgreSQL) -> None:
    with PostgreSQL(settings=UNSYNCED) as server:
        directory, pid = server.directory, server.pids["postgresql"]
        client = connect(server, server.url())
        started = family.children(pid)
        assert len(started) > 1
        server.suspend()
    assert not directory.exists()
    assert not any(each.is_alive for each in started)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
    client.close()


@pytest.mark.integration
def test_server_dies_with_its_killed_starter(postgresql: PostgreSQL) -> None:
    script = """
from testbed import PostgreSQL
server = PostgreSQL(settings={"fsync": "off"}).start()
print(server.pids["postgresql"], server.directory, flush=True)
input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout
        pid, directory = parent.stdout.readline().split()
        assert Path(f"/proc/{pid}").exists()
        parent.kill()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline, "still running"
        time.sleep(0.02)
    subprocess.run(["rm", "-r", directory], check=True)


@pytest.mark.integration
def test_it_takes_another_port_when_its_own_was_taken(
    postgresql: PostgreSQL, pgbouncer: PgBouncer, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[list[int]] = []

    def choose(count: int) -> list[int]:
        given.append([postgresql.ports[0]] if not given else free_ports(count))
        return given[-1]

    monkeypatch.setattr(base, "free_ports", choose)
    with PgBouncer(postgresql) as pooler:
        assert list(pooler.ports) == given[1]
        given.clear()
        with PostgreSQL(settings=UNSYNCED) as server:
            assert list(server.ports) == given[1]


# The pooler


@pytest.mark.integration
def test_setting_of_a_session_leaks_through_the_pooler_and_a_local_one_does_not(
    postgresql: PostgreSQL, postgres_database: str
) -> None:
    with PgBouncer(postgresql, settings={"default_pool_size": "1"}) as pooler:
        url = pooler.url(postgres_database)
        with connect(postgresql, url) as one, connect(postgresql, url) as other:
            pids = {each.execute("SELECT pg_backend_pid()").fetchone() for each in (one, other)}
            assert len(pids) == 1
            with one.transaction():
                one.execute("SET LOCAL lock_timeout = '9s'")
            assert other.execute("SHOW lock_timeout").fetchone() == ("0",)
            one.execute("SET lock_timeout = '7s'")
            assert other.execute("SHOW lock_timeout").fetchone() == ("7s",)


@pytest.mark.integration
@pytest.mark.parametrize("prepare_threshold", [None, 0])
def test_prepared_statements_clash_in_the_pooler_and_none_works(
    prepare_threshold: int | None, postgresql: PostgreSQL, postgres_database: str
) -> None:
    with PgBouncer(postgresql, settings={"default_pool_size": "1"}) as pooler:
        url = pooler.url(postgres_database)
        with (
            connect(postgresql, url, prepare_threshold=prepare_threshold) as one,
            connect(postgresql, url, prepare_threshold=prepare_threshold) as other,
        ):
            assert one.execute("SELECT 1 + %s", (1,)).fetchone() == (2,)
            if prepare_threshold is None:
                assert other.execute("SELECT 1 + %s", (2,)).fetchone() == (3,)
            else:
                with pytest.raises(psycopg.errors.DuplicatePreparedStatement):
                    other.execute("SELECT 1 + %s", (2,))


@pytest.mark.integration
def test_clients_of_the_pooler_come_back_soon_after_the_server(own_postgresql: PostgreSQL) -> None:
    # Else a statement waits for a server for two minutes.
    with PgBouncer(own_postgresql, settings={"query_wait_timeout": "1"}) as pooler:
        assert value(own_postgresql, pooler.url(), "SELECT n FROM kept") == 1
        own_postgresql.kill()
        with pytest.raises(psycopg.OperationalError):
            value(own_postgresql, pooler.url(), "SELECT 1")
        own_postgresql.start()
        deadline = time.monotonic() + 10
        while True:
            try:
                assert value(own_postgresql, pooler.url(), "SELECT n FROM kept") == 1
            except psycopg.OperationalError:
                assert time.monotonic() < deadline
            else:
                break


# Machines that lack something


def test_without_programs_and_packages_it_is_said_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(programs, "_VERSIONS", "no-such-directory")
    monkeypatch.setattr(programs, "_SHARED_CACHE", tmp_path)
    monkeypatch.setenv("BACKHAUL_TESTBED_CACHE", str(tmp_path))
    with pytest.raises(ServerUnavailable, match="install: apt-get install postgresql, or"):
        PostgreSQL().start()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="the user stays the same")
@pytest.mark.integration
def test_directory_that_only_root_reaches_is_refused(
    postgresql: PostgreSQL, tmp_path: Path
) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(ServerFailed, match=rf"{UNPRIVILEGED}.* cannot reach {tmp_path}/closed"):
        PostgreSQL(tmp_path / "closed").start()


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests are run so")
@pytest.mark.integration
@pytest.mark.slow
def test_it_starts_for_a_user_who_is_not_root(postgresql: PostgreSQL) -> None:
    # Imported first, as this tree may be closed to the user; so is Python, without which nothing
    # ends a server with its starter: so it is a detached one.
    user = pwd.getpwnam(UNPRIVILEGED)
    script = f"""
import codecs
import os
from testbed import PostgreSQL
codecs.lookup("ascii")
os.setgroups([])
os.setgid({user.pw_gid})
os.setuid({user.pw_uid})
with PostgreSQL(settings={UNSYNCED}, detached=True) as server:
    print(server.sql("SELECT 1"))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ("1\n", "")
