"""What `doctor` says of a ledger on PostgreSQL."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from backhaul.adapters.ledger import open_ledger
from backhaul.app.doctor import ledger
from backhaul.app.doctor.context import DoctorContext
from backhaul.app.doctor.finding import Finding, State
from backhaul.core.ports.ledger_place import PostgresUrl
from backhaul.settings.model import Settings
from testbed import PostgreSQL
from tests.ledger_places import statement

pytestmark = pytest.mark.integration


@pytest.fixture
def url(
    postgresql: PostgreSQL, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> PostgresUrl:
    monkeypatch.setenv("PGPASSFILE", str(postgresql.pass_file))
    return PostgresUrl(postgresql.url(postgres_database))


def context(url: PostgresUrl) -> DoctorContext:
    return DoctorContext(
        loaded=None,
        fault=None,
        settings=Settings.model_validate({"ledger": url.text}),
        config_path=None,
    )


def probed(url: PostgresUrl) -> dict[str, Finding]:
    return {one.check: one for one in ledger.server(context(url))}


def test_a_near_server_with_room_is_well(url: PostgresUrl, monkeypatch: pytest.MonkeyPatch) -> None:
    found = probed(url)
    assert {name: one.state for name, one in found.items()} == {
        "ledger.server": State.OK,
        "ledger.connections": State.OK,
    }
    assert "takes writes, and a round trip takes" in found["ledger.server"].text
    monkeypatch.setattr(ledger, "SLOW_TRIP_S", 0.0)
    slow = probed(url)["ledger.server"]
    assert (slow.state, bool(slow.fix)) == (State.WARNING, True)


def test_a_database_with_few_connections_left_is_warned_of(
    url: PostgresUrl, postgresql: PostgreSQL
) -> None:
    name = url.text.rpartition("/")[2]
    postgresql.sql(f"ALTER DATABASE {name} CONNECTION LIMIT 3")
    few = probed(url)["ledger.connections"]
    assert (few.state, few.code) == (State.WARNING, "E_LEDGER_CONNECTIONS")
    assert few.text.startswith("2 of 3 connections are left")
    assert any("CONNECTION LIMIT" in line for line in few.fix)


def test_an_older_schema_has_the_command_that_changes_it(url: PostgresUrl) -> None:
    with closing(open_ledger(url, create=True)):
        pass
    statement(url, "UPDATE alembic_version SET version_num = '0001'")
    (found,) = ledger.schema(context(url))
    assert (found.state, found.code) == (State.FAILED, "E_LEDGER_OLDER")
    assert any("backhaul ledger migrate" in line for line in found.fix)


def test_what_refuses_the_login_is_said_once(
    url: PostgresUrl, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))
    assert probed(url) == {}
    (found,) = ledger.schema(context(url))
    assert (found.state, found.code, bool(found.fix)) == (State.FAILED, "E_LEDGER_LOGIN", True)
