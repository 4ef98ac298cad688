"""Where a ledger may be, and who of several agents has it."""

from __future__ import annotations

import sys
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.exc import PendingRollbackError

from backhaul import cli
from backhaul.adapters.ledger import open_ledger, opening
from backhaul.adapters.ledger.opening import servers
from backhaul.adapters.ledger.postgres.faults import PostgresDatabase
from backhaul.core.errors import BadArgument, ConfigurationError, OutageError
from backhaul.core.ports.ledger_place import PostgresUrl, file_of
from backhaul.settings.model import Settings

URL = "postgresql://backhaul@db.example.com:5432/backhaul"


# ---------------------------------------------------------------- the setting


@pytest.mark.parametrize("text", [URL, "postgres:///db?service=x", "postgresql://a,b:1/db"])
def test_an_address_is_kept_as_it_was_written(text: str) -> None:
    found = Settings.model_validate({"ledger": text})
    assert found.ledger_place == PostgresUrl(text)
    assert str(found.ledger_place) == text


@pytest.mark.parametrize(
    "text", ["/srv/ledger.db", "postgresql", "x/postgresql://y", "mysql://h/d"]
)
def test_everything_else_is_a_file(text: str) -> None:
    assert Settings.model_validate({"ledger": text}).ledger_place == Path(text)


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://backhaul:hush@db/backhaul",
        "postgresql://db/backhaul?password=hush",
        "postgresql://db/backhaul?pass%77ord=hush",
        "postgresql://db/backhaul?user=x&sslpassword=hush",
    ],
)
def test_a_password_in_the_address_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(ConfigurationError, match="E_LEDGER_PASSWORD") as caught:
        PostgresUrl.parse(text)
    assert "hush" not in f"{caught.value} {caught.value.hint}"
    assert caught.value.__cause__ is None


def test_what_cannot_be_read_is_refused_and_not_shown() -> None:
    with pytest.raises(ConfigurationError, match="E_LEDGER_ADDRESS") as caught:
        PostgresUrl.parse("postgresql://hush@[::1/db")
    assert "hush" not in f"{caught.value} {caught.value.hint}"


def test_files_of_the_node_are_in_its_state_directory_and_each_ledgers_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/backhaul")
    found = [Settings.model_validate({"ledger": one}).ledger_path for one in (URL, f"{URL}2")]
    assert {one.parent for one in found} == {Path("/var/lib/backhaul")}
    assert len({one.name for one in found}) == 2
    assert Settings().ledger_path == Path("/var/lib/backhaul/ledger.db")


def test_a_command_about_a_file_says_what_does_the_same_for_a_database() -> None:
    assert file_of(Path("x.db"), "ledger backup", "pg_dump") == Path("x.db")
    with pytest.raises(BadArgument, match="E_LEDGER_SERVER") as caught:
        file_of(PostgresUrl(URL), "ledger backup", "pg_dump")
    assert caught.value.hint == "pg_dump"


def test_backup_of_a_database_is_refused_with_the_command_that_makes_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli._run(["ledger", "backup", "/backup/my ledger", "--ledger", URL]) == 64
    told = capsys.readouterr().err
    assert "E_LEDGER_SERVER" in told
    assert "hint: pg_dump --format=custom '--file=/backup/my ledger' ADDRESS, with" in told


def test_a_database_needs_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, servers.__name__)
    for module in [name for name in sys.modules if ".ledger.postgres" in name]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delattr(opening, "servers")
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigurationError, match="E_LEDGER_DRIVER") as caught:
        open_ledger(PostgresUrl(URL), create=True)
    assert caught.value.hint == "pip install 'backhaul[postgres]'"


# ---------------------------------------------------------------- what a server answers


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("FATAL:  sorry, too many clients already", "E_LEDGER_CONNECTIONS"),
        (
            "FATAL:  remaining connection slots are reserved for superusers",
            "E_LEDGER_CONNECTIONS",
        ),
        ("FATAL:  no more connections allowed (max_client_conn)", "E_LEDGER_CONNECTIONS"),
        ('FATAL:  password authentication failed for user "backhaul"', "E_LEDGER_LOGIN"),
        ('FATAL:  database "backhaul" does not exist', "E_LEDGER_LOGIN"),
        ("session is read-only", "E_LEDGER_READONLY"),
        ("Connection refused", "E_LEDGER_AWAY"),
    ],
)
def test_a_connection_that_does_not_come_about_is_known_by_its_words(words: str, code: str) -> None:
    """Such an error has no SQLSTATE."""
    found = PostgresDatabase(PostgresUrl(URL)).translated(psycopg.OperationalError(words))
    assert isinstance(found, OutageError)
    assert found.code == code
    assert URL in found.message
    assert found.hint


def test_a_block_whose_connection_was_lost_under_another_one_is_held() -> None:
    """Threads share a commit: the second one meets what SQLAlchemy has left of the first."""
    lost = PendingRollbackError("Can't reconnect until invalid transaction is rolled back.")
    found = PostgresDatabase(PostgresUrl(URL)).translated(lost)
    assert isinstance(found, OutageError)
    assert found.code == "E_LEDGER_AWAY"
