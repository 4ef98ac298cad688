"""`ledger copy`: a file's records in a database, all of them or none."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backhaul import cli
from backhaul.adapters.ledger import Owner, agent_lock, open_ledger, open_reader
from backhaul.adapters.ledger.opening.moving import MovedLedger, move_ledger
from backhaul.core.errors import BackhaulError, BadArgument, LedgerDamaged, LedgerLocked
from backhaul.core.model import TransferState
from backhaul.core.ports import MessageKey
from backhaul.core.ports.ledger_place import PostgresUrl
from tests.contract.test_ledger import KEY, LANDING, begin, claim
from tests.dashboard_ledger import filled
from tests.ledger_places import SERVERS, ledger_place, statement

pytestmark = pytest.mark.integration
NOW = datetime.now(UTC)
ROWS = "SELECT count(*) FROM transfers"
KILLED_AT = "objects"
KILL_ITSELF = f"""
import os, signal, sys
from pathlib import Path
from backhaul.adapters.ledger.opening.moving import move_ledger
from backhaul.core.ports.ledger_place import PostgresUrl

def progress(table):
    if table == {KILLED_AT!r}:
        os.kill(os.getpid(), signal.SIGKILL)

move_ledger(Path(sys.argv[1]), PostgresUrl(sys.argv[2]), progress)
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """With something in every table that the dashboard shows."""
    path = tmp_path / "from.db"
    filled(path, NOW)
    # The one who filled it still runs; such an owner is another test's.
    gone = replace(Owner.current("edge1"), start=1).text
    for table in ("transfers", "destinations"):
        statement(path, f"UPDATE {table} SET owner = '{gone}' WHERE owner IS NOT NULL")  # noqa: S608 - two names
    return path


@pytest.fixture
def target(request: pytest.FixtureRequest, tmp_path: Path) -> PostgresUrl:
    found = ledger_place(getattr(request, "param", "postgres"), request, tmp_path)
    assert isinstance(found, PostgresUrl)
    return found


def move(source: Path, target: PostgresUrl) -> MovedLedger:
    return move_ledger(source, target, lambda _: None)


@pytest.mark.parametrize("target", SERVERS, indirect=True)
def test_every_record_arrives_and_is_read_as_before(source: Path, target: PostgresUrl) -> None:
    moved = move(source, target)
    assert not moved.was_there
    assert {"transfers", "objects", "journal"} < {
        name for name, one in moved.tables.items() if one.rows
    }
    for name, one in moved.tables.items():
        own = "'turn_claim', 'turn_sum', 'leader', 'lineage', 'schema_needed'"
        kept = "" if name != "meta" else f" WHERE name NOT IN ({own})"
        count = f"SELECT count(*) FROM {name}{kept}"  # noqa: S608 - of the schema
        assert statement(source, count) == statement(target, count) == [(one.rows,)], name
    with closing(open_reader(source)) as before, closing(open_reader(target)) as after:
        assert after.ledger_id() == before.ledger_id()
        for (transfer_id,) in statement(source, "SELECT id FROM transfers WHERE finished_at > 0"):
            assert after.show(transfer_id) == before.show(transfer_id)


def test_the_agent_goes_on_with_what_was_begun_and_numbers_go_on(
    tmp_path: Path, target: PostgresUrl
) -> None:
    source = tmp_path / "from.db"
    elsewhere = replace(Owner.current("edge2"), boot_id="another")
    with closing(open_ledger(source, create=True, owner=elsewhere)) as ledger:
        begin(ledger, "t1", KEY)
    move(source, target)
    with closing(open_ledger(target, create=False)) as ledger:
        again = begin(ledger, "new", KEY)
        assert (again.transfer_id, again.is_live) == ("t1", False)
        assert begin(ledger, "t2", MessageKey(queue="work", message_id="m-2")).transfer_id == "t2"
    numbers = [number for (number,) in statement(target, "SELECT number FROM journal")]
    assert len(numbers) == len(set(numbers)) > len(statement(source, "SELECT 1 FROM journal"))


def test_long_siblings_that_a_killed_agent_owned_are_copied(
    tmp_path: Path, target: PostgresUrl
) -> None:
    source = tmp_path / "from.db"
    gone = replace(Owner.current("edge1"), start=1)
    places = [LANDING.join(f"{'x' * 300}/hour={hour:02}") for hour in range(2)]
    keys = [MessageKey(queue="work", message_id=f"m-{hour}") for hour in range(2)]
    with closing(open_ledger(source, create=True, owner=gone)) as ledger:
        before = []
        for hour, place in enumerate(places):
            begin(ledger, f"t{hour}", keys[hour])
            before.append(claim(ledger, f"t{hour}", destination=place))
    move(source, target)
    assert move(source, target).was_there
    with closing(open_ledger(target, create=False)) as ledger:
        for hour, first in enumerate(before):
            assert first is not None
            again = begin(ledger, "new", keys[hour])
            assert (again.transfer_id, again.is_takeover) == (f"t{hour}", True)
            found = claim(ledger, f"t{hour}", destination=places[hour])
            assert found is not None
            assert found.epoch > first.epoch
            ledger.fail(f"t{hour}", TransferState.WAITING, "E_X", "gives it up", NOW)


def test_a_kill_leaves_nothing_and_the_next_try_copies_all_once(
    source: Path, target: PostgresUrl
) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILL_ITSELF, str(source), str(target)], check=False
    )
    assert killed.returncode < 0
    assert statement(target, ROWS) == [(0,)]
    first = move(source, target)
    assert statement(target, ROWS) == statement(source, ROWS)
    again = move(source, target)
    assert again == replace(first, was_there=True)
    assert statement(target, ROWS) == statement(source, ROWS)


def test_a_database_with_other_records_is_refused(source: Path, target: PostgresUrl) -> None:
    with closing(open_ledger(target, create=True)) as ledger:
        begin(ledger, "mine", KEY)
    with pytest.raises(BadArgument, match=r"E_LEDGER_OCCUPIED.*already has records") as caught:
        move(source, target)
    assert "new database" in str(caught.value.hint)
    assert statement(target, "SELECT id FROM transfers") == [("mine",)]


def test_neither_ledger_may_be_in_use(source: Path, target: PostgresUrl) -> None:
    with agent_lock(source), pytest.raises(LedgerLocked, match="E_LEDGER_IN_USE") as caught:
        move(source, target)
    assert str(source) in caught.value.message
    with agent_lock(target), pytest.raises(LedgerLocked, match="E_LEDGER_IN_USE"):
        move(source, target)
    statement(
        source,
        f"UPDATE transfers SET owner = '{Owner.current().text}', finished_at = NULL"  # noqa: S608
        " WHERE id = (SELECT min(id) FROM transfers)",
    )
    with pytest.raises(LedgerLocked, match=r"E_LEDGER_IN_USE.*by the process"):
        move(source, target)
    assert statement(target, ROWS) == [(0,)]


def test_what_arrives_changed_is_not_kept(source: Path, target: PostgresUrl) -> None:
    statement(
        target,
        "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN NEW.source = 's3://other/'; RETURN NEW; END $$",
    )
    statement(
        target,
        "CREATE TRIGGER spoil BEFORE INSERT ON transfers FOR EACH ROW EXECUTE FUNCTION spoil()",
    )
    try:
        with pytest.raises(BackhaulError, match=r"E_LEDGER_COPY.*transfers.*nothing was copied"):
            move(source, target)
    finally:
        statement(target, "DROP FUNCTION spoil CASCADE")
    assert statement(target, ROWS) == [(0,)]


def test_a_row_that_backhaul_did_not_write_is_refused(source: Path, target: PostgresUrl) -> None:
    with sqlite3.connect(source) as edited:
        edited.execute(
            "UPDATE transfers SET attempt = 'many' WHERE id = (SELECT min(id) FROM transfers)"
        )
    with pytest.raises(LedgerDamaged, match=r"E_LEDGER_CORRUPT.*transfers.*many") as caught:
        move(source, target)
    assert "ledger check" in str(caught.value.hint)
    assert statement(target, ROWS) == [(0,)]


def test_the_command_says_what_it_did(
    source: Path, target: PostgresUrl, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli._run(["ledger", "copy", str(source), str(target)]) == 0
    assert "copied; counts and digests are equal" in capsys.readouterr().out
    assert cli._run(["ledger", "copy", str(source), str(target)]) == 0
    assert "had already been copied" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("{db}", "other.db"), "TO is an address"),
        (("postgresql://a/b", "postgresql://c/d"), "E_LEDGER_SERVER"),
        (("missing.db", "postgresql://c/d"), "E_LEDGER_MISSING"),
        (("{db}", "postgresql://u:hush@c/d"), "E_LEDGER_PASSWORD"),
    ],
)
def test_what_is_no_file_or_no_address_is_refused(
    source: Path, arguments: tuple[str, str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = cli._run(["ledger", "copy", *(one.format(db=source) for one in arguments)])
    told = capsys.readouterr().err
    assert code in {64, 78}
    assert words in told
    assert "hush" not in told
