"""Every SQLite error reaches the core in Backhaul's words."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import DatabaseError, ResourceClosedError

from backhaul.adapters.ledger import Owner, open_ledger
from backhaul.adapters.ledger.dialects.database import TransactionBlock
from backhaul.adapters.ledger.sqlite.faults import DAMAGED, OUTAGES, mapped, translated
from backhaul.adapters.ledger.store import SqlLedger
from backhaul.core.errors import BackhaulError, ConfigurationError, ExitCode, OutageError
from backhaul.core.model import TransferState
from backhaul.core.ports import AttemptStart, MessageKey

PATH = Path("/var/lib/backhaul/ledger.sqlite")
T0 = datetime(2026, 11, 22, tzinfo=UTC)
KEY = MessageKey(queue="q", message_id="m")
# What a caller of ours can cause and nothing outside can: a bug, by its nature.
OURS = {
    "SQLITE_CONSTRAINT",
    "SQLITE_EMPTY",
    "SQLITE_ERROR",
    "SQLITE_FORMAT",
    "SQLITE_INTERNAL",
    "SQLITE_MISMATCH",
    "SQLITE_MISUSE",
    "SQLITE_NOLFS",
    "SQLITE_NOTFOUND",
    "SQLITE_NOTICE",
    "SQLITE_OK",
    "SQLITE_DONE",
    "SQLITE_RANGE",
    "SQLITE_ROW",
    "SQLITE_SCHEMA",
    "SQLITE_WARNING",
}
PRIMARY = [
    "SQLITE_ABORT", "SQLITE_AUTH", "SQLITE_BUSY", "SQLITE_CANTOPEN", "SQLITE_CONSTRAINT",
    "SQLITE_CORRUPT", "SQLITE_DONE", "SQLITE_EMPTY", "SQLITE_ERROR", "SQLITE_FORMAT",
    "SQLITE_FULL", "SQLITE_INTERNAL", "SQLITE_INTERRUPT", "SQLITE_IOERR", "SQLITE_LOCKED",
    "SQLITE_MISMATCH", "SQLITE_MISUSE", "SQLITE_NOLFS", "SQLITE_NOMEM", "SQLITE_NOTADB",
    "SQLITE_NOTFOUND", "SQLITE_NOTICE", "SQLITE_OK", "SQLITE_PERM", "SQLITE_PROTOCOL",
    "SQLITE_RANGE", "SQLITE_READONLY", "SQLITE_ROW", "SQLITE_SCHEMA", "SQLITE_TOOBIG",
    "SQLITE_WARNING",
]  # fmt: skip


def sqlite_error(code: int) -> DatabaseError:
    origin = sqlite3.OperationalError("the detail")
    origin.sqlite_errorcode = code
    return DatabaseError("SELECT secret", {}, origin)


@pytest.mark.parametrize("name", PRIMARY)
def test_every_result_code_has_a_place(name: str) -> None:
    code = getattr(sqlite3, name)
    assert (code in OUTAGES) + (code in DAMAGED) + (name in OURS) == 1


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (sqlite3.SQLITE_BUSY, "E_LEDGER_LOCKED"),
        (sqlite3.SQLITE_BUSY_RECOVERY, "E_LEDGER_LOCKED"),
        (sqlite3.SQLITE_FULL, "E_LEDGER_FULL"),
        (sqlite3.SQLITE_READONLY_DBMOVED, "E_LEDGER_READONLY"),
        (sqlite3.SQLITE_IOERR_FSYNC, "E_LEDGER_IO"),
    ],
)
def test_outage_of_the_ledger_is_named_without_the_statement(code: int, name: str) -> None:
    error = translated(sqlite_error(code), PATH)
    assert isinstance(error, OutageError)
    assert (error.code, error.dependency) == (name, "ledger")
    assert str(PATH) in error.message
    assert "secret" not in error.message
    assert error.hint


@pytest.mark.parametrize("code", [sqlite3.SQLITE_CORRUPT_INDEX, sqlite3.SQLITE_NOTADB])
def test_damage_stops_the_agent(code: int) -> None:
    error = translated(sqlite_error(code), PATH)
    assert isinstance(error, ConfigurationError)
    assert error.code == "E_LEDGER_CORRUPT"


@pytest.mark.parametrize(
    "error", [sqlite_error(sqlite3.SQLITE_ERROR), ResourceClosedError("This Connection is closed")]
)
def test_anything_else_is_a_bug(error: Exception) -> None:
    with pytest.raises(BackhaulError, match="E_LEDGER_BUG") as caught, mapped(PATH):
        raise error
    assert caught.value.exit_code is ExitCode.BUG
    assert caught.value.__cause__ is error


# ---------------------------------------------------------------- the real thing


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def ledger(path: Path) -> Iterator[SqlLedger]:
    opened = open_ledger(path, create=True, owner=Owner.current("edge1"), busy_timeout_s=0.05)
    yield opened
    opened.close()


def begin(ledger: SqlLedger, new_id: str = "t1", key: MessageKey | None = KEY) -> AttemptStart:
    return ledger.begin(key, new_id, "s", "d", T0)


def fail(ledger: SqlLedger) -> None:
    ledger.fail("t1", TransferState.HELD, "E_X", "x", T0)


def test_ledger_locked_by_another_process_is_an_outage(ledger: SqlLedger, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(OutageError, match="E_LEDGER_LOCKED"):
        begin(ledger)
    other.execute("ROLLBACK")
    other.close()
    assert begin(ledger).attempt == 1


def test_commit_held_up_by_a_reader_records_nothing(ledger: SqlLedger, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN")
    other.execute("SELECT * FROM transfers").fetchall()
    with pytest.raises(OutageError, match="E_LEDGER_LOCKED"):
        begin(ledger)
    other.execute("ROLLBACK")
    other.close()
    assert begin(ledger, "t2").transfer_id == "t2"


def pragma(ledger: SqlLedger, statement: str) -> None:
    """Past the transaction, which a read-only connection refuses to begin."""
    connection = ledger._commits._connection.connection.dbapi_connection
    assert connection is not None
    connection.cursor().execute(f"PRAGMA {statement}")


def test_full_ledger_is_an_outage_and_goes_on_afterwards(ledger: SqlLedger) -> None:
    pragma(ledger, "max_page_count=1")  # SQLite takes the present size
    source = "s" * 1_000_000
    with pytest.raises(OutageError, match="E_LEDGER_FULL"):
        ledger.begin(KEY, "t1", source, "d", T0)
    pragma(ledger, "max_page_count=100000")
    assert begin(ledger, "last").attempt == 1


def test_read_only_ledger_is_an_outage(ledger: SqlLedger) -> None:
    pragma(ledger, "query_only=ON")
    with pytest.raises(OutageError, match="E_LEDGER_READONLY"):
        begin(ledger)


def test_transfer_whose_failure_could_not_be_recorded_may_begin_again(ledger: SqlLedger) -> None:
    begin(ledger)
    pragma(ledger, "query_only=ON")
    with pytest.raises(OutageError):
        fail(ledger)
    pragma(ledger, "query_only=OFF")
    again = begin(ledger, "t2")
    assert (again.transfer_id, again.attempt, again.is_live) == ("t1", 2, False)
    assert begin(ledger, "t3").is_live


def test_transfer_that_comes_back_while_its_loss_is_noticed_is_under_way(
    ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(ledger)
    fail(ledger)
    transaction = ledger._commits.transaction

    @contextmanager
    def and_then_begin(block: TransactionBlock) -> Iterator[Connection]:
        with transaction(block) as tx:
            yield tx
        monkeypatch.undo()
        begin(ledger)

    monkeypatch.setattr(ledger._commits, "transaction", and_then_begin)
    assert not ledger.is_mine("t1")
    assert begin(ledger).is_live


def test_id_used_twice_is_a_bug(ledger: SqlLedger) -> None:
    begin(ledger)
    with pytest.raises(BackhaulError, match="E_LEDGER_BUG"):
        begin(ledger, "t1", None)


def test_closed_ledger_is_a_bug_of_the_caller(ledger: SqlLedger) -> None:
    ledger.close()
    ledger.close()
    with pytest.raises(BackhaulError, match="E_LEDGER_BUG"):
        begin(ledger)


def test_naive_time_is_refused(ledger: SqlLedger) -> None:
    with pytest.raises(BackhaulError, match="E_LEDGER_BUG"):
        ledger.begin(None, "t1", "s", "d", datetime(2026, 1, 1))  # noqa: DTZ001
