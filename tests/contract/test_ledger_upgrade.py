"""A database's schema changes by `ledger migrate` alone; epochs rise from cluster to cluster."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from alembic import command
from alembic.config import Config

import backhaul
from backhaul import cli
from backhaul.adapters.ledger import agent_lock, migrate_ledger, open_ledger, open_reader
from backhaul.adapters.ledger.dialects import migrate as dialects_migrate
from backhaul.adapters.ledger.dialects.migrate import HEAD, needed_by
from backhaul.adapters.ledger.postgres import upgrade
from backhaul.adapters.ledger.postgres.engine import writing_engine
from backhaul.adapters.ledger.postgres.faults import PostgresDatabase
from backhaul.adapters.ledger.postgres.members.member import Member
from backhaul.adapters.ledger.postgres.moment import ServerMoment
from backhaul.core.errors import ConfigurationError, LedgerDamaged, LedgerLocked
from backhaul.core.ports import MessageKey
from backhaul.core.ports.ledger_place import PostgresUrl
from testbed import PgBouncer, PostgreSQL
from tests.contract.test_ledger import DAY, KEY, begin, claim
from tests.ledger_places import statement

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

pytestmark = pytest.mark.integration
BEFORE_MEMBERS = "0022"
OTHER = MessageKey(queue="work", message_id="m-2")


@pytest.fixture
def url(
    postgresql: PostgreSQL, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> PostgresUrl:
    """Of an empty database."""
    monkeypatch.setenv("PGPASSFILE", str(postgresql.pass_file))
    return PostgresUrl(postgresql.url(postgres_database))


@pytest.fixture(params=["postgres", "pgbouncer"])
def older(
    url: PostgresUrl, postgres_database: str, request: pytest.FixtureRequest
) -> Iterator[PostgresUrl]:
    """As an older version left it, with a transfer; directly, or by a pooler of transactions."""
    config = Config()
    config.set_main_option("script_location", str(Path(backhaul.__file__).parent / "migrations"))
    engine = writing_engine(url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, BEFORE_MEMBERS)
    engine.dispose()
    statement(
        url,
        "INSERT INTO transfers (id, source, destination, state, attempt, failures,"
        " source_changes, plan_complete, renames_possible, objects_planned, bytes_planned,"
        " markers, first_seen_at, updated_at)"
        " VALUES ('t1', 's', 'd', 'pending', 1, 0, 0, false, false, 0, 0, 0, 1, 1)",
    )
    if request.param == "postgres":
        yield url
    else:
        pooler: PgBouncer = request.getfixturevalue("pgbouncer")
        yield PostgresUrl(pooler.url(postgres_database))


def revision(url: PostgresUrl) -> str:
    ((found,),) = statement(url, "SELECT version_num FROM alembic_version")
    return str(found)


def test_only_the_command_changes_an_older_schema(
    older: PostgresUrl, capsys: pytest.CaptureFixture[str]
) -> None:
    openings: tuple[Callable[[], object], ...] = (
        lambda: agent_lock(older, "edge1").__enter__(),
        lambda: open_ledger(older, create=True),
        lambda: open_ledger(older, create=False, migrates=False),
        lambda: open_reader(older),
    )
    for opening in openings:
        with pytest.raises(ConfigurationError, match="E_LEDGER_OLDER") as caught:
            opening()
        assert f"backhaul ledger migrate --ledger '{older}'" in str(caught.value.hint)
    assert revision(older) == BEFORE_MEMBERS
    arguments = ["ledger", "migrate", "--ledger", str(older)]
    assert cli._run(arguments) == 0
    assert f"migrated from schema {BEFORE_MEMBERS} to {HEAD}" in capsys.readouterr().out
    assert cli._run(arguments) == 0
    assert f"it has schema {HEAD} already" in capsys.readouterr().out
    assert cli._run([*arguments, "--json"]) == 0
    same = {"v": 1, "ledger": str(older), "before": HEAD, "after": HEAD}
    assert json.loads(capsys.readouterr().out) == same
    assert revision(older) == HEAD
    with closing(open_ledger(older, create=True)) as ledger:
        assert begin(ledger, "t2", KEY).transfer_id == "t2"
    assert statement(older, "SELECT id FROM transfers ORDER BY id") == [("t1",), ("t2",)]


def test_an_empty_database_is_no_ledger_to_migrate(
    url: PostgresUrl, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli._run(["ledger", "migrate", "--ledger", str(url)]) == 78
    assert "E_LEDGER_MISSING" in capsys.readouterr().err


def test_a_schema_stays_while_an_agent_from_before_members_reports(older: PostgresUrl) -> None:
    at = "(extract(epoch FROM now()) * 1000000)::bigint"
    statement(
        older,
        "INSERT INTO agents (id, host, owner, version, queue, region, slots, started_at, beats,"  # noqa: S608
        f" beat_at, report) VALUES ('a', 'edge9', 'o', 'v', 'q', 'r', 1, {at}, 1, {at}, '{{}}')",
    )
    with pytest.raises(LedgerLocked, match=r"E_LEDGER_IN_USE.*edge9"):
        migrate_ledger(older)
    assert revision(older) == BEFORE_MEMBERS
    statement(older, "UPDATE agents SET ended_at = beat_at")
    assert migrate_ledger(older).after == HEAD


def test_what_changed_is_printed_as_json(
    older: PostgresUrl, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli._run(["ledger", "migrate", "--ledger", str(older), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["before"], found["after"]) == (BEFORE_MEMBERS, HEAD)
    assert statement(older, "SELECT value FROM meta WHERE name = 'schema_needed'") == [
        (needed_by(HEAD),)
    ]


def test_a_newer_schema_is_taken_if_it_only_adds_to_one_that_is_known(url: PostgresUrl) -> None:
    open_ledger(url, create=True).close()
    statement(url, "UPDATE alembic_version SET version_num = '9001'")
    with closing(open_ledger(url, create=False)) as ledger:
        assert begin(ledger, "t1", KEY).transfer_id == "t1"
    open_reader(url).close()
    assert migrate_ledger(url).after == "9001"
    statement(url, "UPDATE meta SET value = '9001' WHERE name = 'schema_needed'")
    openings: tuple[Callable[[], object], ...] = (
        lambda: open_ledger(url, create=False),
        lambda: open_reader(url),
        lambda: migrate_ledger(url),
    )
    for opening in openings:
        with pytest.raises(ConfigurationError, match="E_LEDGER_NEWER"):
            opening()


def test_a_schema_that_changed_while_a_command_came_is_seen(
    url: PostgresUrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_ledger(url, create=True).close()
    join = Member.join

    def late(self: Member) -> None:
        statement(url, "UPDATE meta SET value = '9001' WHERE name = 'schema_needed'")
        statement(url, "UPDATE alembic_version SET version_num = '9001'")
        join(self)

    monkeypatch.setattr(Member, "join", late)
    with pytest.raises(ConfigurationError, match="E_LEDGER_NEWER"):
        open_ledger(url, create=False)
    assert statement(url, "SELECT id FROM members WHERE ended_at IS NULL") == []


@pytest.fixture
def without_steps(url: PostgresUrl, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """A database with members whose schema counts as older; its steps do nothing."""

    def steps(engine: Engine, lock: Callable[[Connection], object], **_: object) -> None:
        with engine.begin() as tx:
            lock(tx)

    monkeypatch.setattr(dialects_migrate, "upgrade", steps)
    engine = writing_engine(url)
    yield engine
    engine.dispose()


def test_who_comes_while_the_schema_changes_is_seen_and_who_was_silent_is_out(
    url: PostgresUrl, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    with closing(open_ledger(url, create=True)):
        engine = request.getfixturevalue("without_steps")
        statement(url, f"UPDATE alembic_version SET version_num = '{BEFORE_MEMBERS}'")  # noqa: S608
        monkeypatch.setattr(upgrade, "wait_for_nobody", lambda *_: {})
        with pytest.raises(LedgerLocked, match="E_LEDGER_IN_USE"):
            upgrade.change_schema(engine, "it", BEFORE_MEMBERS)
        counters = "SELECT id, beats FROM members WHERE judged_at IS NULL"
        silent = dict(statement(url, counters))
        assert len(silent) == 1
        monkeypatch.setattr(upgrade, "wait_for_nobody", lambda *_: silent)
        upgrade.change_schema(engine, "it", BEFORE_MEMBERS)
        assert statement(url, counters) == []


# ---------------------------------------------------------------- another cluster


def test_epochs_rise_over_a_cluster_whose_timelines_begin_anew(url: PostgresUrl) -> None:
    here = 1  # its timeline
    with closing(open_ledger(url, create=True)) as ledger:
        begin(ledger, "t1", KEY)
        first = claim(ledger, "t1")
    assert first is not None
    assert first.epoch >> 40 == here
    ((row,),) = statement(url, "SELECT value FROM meta WHERE name = 'lineage'")
    system = row.removesuffix(":0")
    # As after pg_upgrade of a cluster that had reached timeline 5.
    statement(url, "UPDATE meta SET value = '42:0' WHERE name = 'lineage'")
    statement(url, f"UPDATE destinations SET epoch = {(5 << 40) + 7}")  # noqa: S608
    for number in range(2):
        with closing(open_ledger(url, create=True)) as ledger:
            begin(ledger, "again", KEY)
            known = claim(ledger, "t1")
            begin(ledger, f"new{number}", replace(OTHER, message_id=f"n-{number}"))
            new = claim(ledger, f"new{number}", destination=replace(DAY, path=f"/n/{number}"))
        assert known is not None
        assert new is not None
        assert [known.epoch >> 40, new.epoch >> 40] == [5 + here, 5 + here]
        assert statement(url, "SELECT value FROM meta WHERE name = 'lineage'") == [(f"{system}:5",)]


def test_a_promotion_in_the_new_cluster_is_above_all_claims_before_it() -> None:
    database = PostgresDatabase(PostgresUrl("postgresql:///x"), timelines_before=5)
    assert database.name
    one, two = (ServerMoment(system=1, timeline=number) for number in (1, 2))
    assert two.least_epoch(5) >> 40 == (one.least_epoch(5) >> 40) + 1 == 7


def test_an_edited_row_of_the_lineage_is_refused(url: PostgresUrl) -> None:
    open_ledger(url, create=True).close()
    with psycopg.connect(url.text) as connection:
        connection.execute("UPDATE meta SET value = 'soon' WHERE name = 'lineage'")
    with pytest.raises(LedgerDamaged, match=r"E_LEDGER_CORRUPT.*lineage"):
        open_ledger(url, create=True)
