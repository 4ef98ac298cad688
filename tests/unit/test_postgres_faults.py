"""An error of PostgreSQL becomes one of Backhaul, with a code, the server's words and a fix."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors

from backhaul.adapters.ledger.postgres.faults import PostgresDatabase
from backhaul.adapters.ledger.postgres.waits import NoAnswer
from backhaul.core.errors import OutageError
from backhaul.core.ports.ledger_place import PostgresUrl

URL = PostgresUrl("postgresql://backhaul@db/backhaul")


def translated(error: Exception) -> OutageError:
    found = PostgresDatabase(URL).translated(error)
    assert isinstance(found, OutageError)
    assert found.dependency == "ledger"
    assert found.hint
    assert str(URL) in found.message
    return found


@pytest.mark.parametrize(
    ("state", "text", "code"),
    [
        ("53100", "could not extend file: No space left on device", "E_LEDGER_FULL"),
        ("53300", "too many connections for role", "E_LEDGER_CONNECTIONS"),
        ("53200", "out of memory", "E_LEDGER_IO"),
        ("25006", "cannot execute UPDATE in a read-only transaction", "E_LEDGER_READONLY"),
        ("28P01", "password authentication failed", "E_LEDGER_LOGIN"),
        ("42501", "permission denied for table meta", "E_LEDGER_LOGIN"),
        ("55P03", "canceling statement due to lock timeout", "E_LEDGER_LOCKED"),
        ("57P01", "terminating connection due to administrator command", "E_LEDGER_AWAY"),
        ("58030", "could not read block", "E_LEDGER_IO"),
        ("08P01", "server conn crashed?", "E_LEDGER_AWAY"),
    ],
)
def test_what_the_server_says_is_an_outage_with_its_code(state: str, text: str, code: str) -> None:
    found = translated(errors.lookup(state)(text))
    assert found.code == code
    assert text in found.message


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("server closed the connection unexpectedly", "E_LEDGER_AWAY"),
        ("FATAL: no more connections allowed (max_client_conn)", "E_LEDGER_CONNECTIONS"),
        ("session is read-only", "E_LEDGER_READONLY"),
        ("FATAL: password authentication failed", "E_LEDGER_LOGIN"),
    ],
)
def test_what_has_no_number_is_known_by_its_words(text: str, code: str) -> None:
    assert translated(psycopg.OperationalError(text)).code == code


def test_a_server_that_says_nothing_is_away() -> None:
    found = translated(NoAnswer("no answer for 20 s"))
    assert (found.code, "no answer for 20 s" in found.message) == ("E_LEDGER_AWAY", True)


def test_a_forbidden_function_is_named_with_its_grant() -> None:
    text = "permission denied for function pg_control_system"
    found = translated(errors.InsufficientPrivilege(text))
    assert (found.code, text in found.message) == ("E_LEDGER_LOGIN", True)
    assert "GRANT EXECUTE ON FUNCTION" in found.hint
