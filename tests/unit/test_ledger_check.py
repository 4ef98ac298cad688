"""`backhaul ledger check`: whatever is wrong with a ledger is found and named, and nothing else."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from backhaul.adapters.ledger import open_ledger
from backhaul.app import ledger_check
from backhaul.app.ledger_check import LedgerFinding, check_ledger
from backhaul.cli import main
from backhaul.core.model import TransferState
from tests.contract.test_ledger import JOB, LANDING, T0, planned
from tests.docs.manual import DOCS
from tests.docs.test_schemas import Checker
from tests.ledgers import bring, bring_dead

AT = T0 + timedelta(days=3650)  # after the ledger was made: ended ones must be sealed


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("sound") / "ledger.db"
    with closing(open_ledger(path, create=True)) as ledger:
        for number in range(4):
            bring(ledger, f"t{number}", AT)
        bring(ledger, "t4", AT, place="t3", state=TransferState.SUPERSEDED)
        bring_dead(ledger, "t5", AT)
        ledger.begin(None, "t6", "raw/t6/", "/landing/t6", AT)
        under_way = LANDING.join("t6")
        ledger.claim(
            "t6",
            JOB,
            under_way,
            LANDING,
            directory=under_way,
            first=[planned(0)],
            is_complete=True,
            min_epoch=1,
            now=AT,
        )
    return path.read_bytes()


@pytest.fixture
def path(made: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "ledger.db"
    path.touch(0o600)
    path.write_bytes(made)
    return path


def findings(path: Path, **how: Any) -> set[tuple[str, str]]:
    """Kind and transfer of each."""
    found: list[LedgerFinding] = []
    state = check_ledger(path, found=found.append, **how)
    assert state.findings == found
    return {(one.kind, one.transfer_id) for one in found}


def edit(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def test_nothing_is_wrong_with_what_the_agent_writes(path: Path) -> None:
    before = path.read_bytes()
    full, state = check_ledger(path, is_full=True), check_ledger(path)
    assert (full.pages, full.findings) == ("integrity_check", [])
    assert (state.pages, state.findings) == ("quick_check", [])
    assert (state.sealed, state.objects) == (5, 15)
    assert state.rows["transfers"] == 7
    assert state.rows["objects"] == 16
    assert {one.name for one in state.tables} >= {"transfers", "objects", "published", "journal"}
    assert sum(one.size_bytes for one in state.tables) + state.free_bytes == path.stat().st_size
    assert path.read_bytes() == before
    assert [one.name for one in path.parent.iterdir()] == [path.name]


EDITS: dict[str, tuple[str, set[tuple[str, str]]]] = {
    "a proof was changed": (
        "UPDATE objects SET crc32c = 'ffffffff' WHERE transfer_id = 't1' AND seq = 1",
        {("evidence", "t1")},
    ),
    "a proof is nothing that is written": (
        "UPDATE objects SET proof = 'perhaps' WHERE transfer_id = 't1' AND seq = 1",
        {("evidence", "t1")},
    ),
    "an object is gone": (
        "DELETE FROM objects WHERE transfer_id = 't2' AND seq = 2",
        {("evidence", "t2")},
    ),
    "a sealing line was changed": (
        "UPDATE seals SET line = replace(line, 'objects\":3', 'objects\":4') WHERE number = 2",
        {("evidence", "t1"), ("evidence", "t2")},  # the next one carries its digest
    ),
    "a sealing line is gone": (
        "DELETE FROM seals WHERE transfer_id = 't1'",
        {("evidence", "t1"), ("evidence", "t2")},
    ),
    "another destination than was sealed": (
        "UPDATE transfers SET destination = '/elsewhere' WHERE id = 't0'",
        {("evidence", "t0")},
    ),
    "a transfer is gone": (
        "DELETE FROM transfers WHERE id = 't0'",
        {("evidence", "t0"), ("rows", "t0")},
    ),
    "an ended one has no time of its end": (
        "UPDATE transfers SET finished_at = NULL WHERE id = 't5'",
        {("rows", "t5")},
    ),
    "an ended one has an owner": (
        "UPDATE transfers SET owner = 'edge1:1:1:1' WHERE id = 't5'",
        {("rows", "t5")},
    ),
    "an open one has a time of its end": (
        "UPDATE transfers SET finished_at = 1 WHERE id = 't6'",
        {("rows", "t6")},
    ),
    "a published one is still being published": (
        "UPDATE transfers SET renames_possible = 1 WHERE id = 't3'",
        {("rows", "t3")},
    ),
    "a published one has no complete plan": (
        "UPDATE transfers SET plan_complete = 0 WHERE id = 't3'",
        {("rows", "t3")},
    ),
    "an ended one owns a destination": (
        "UPDATE destinations SET owner_transfer = 't5' WHERE owner_transfer = 't6'",
        {("rows", "t5")},
    ),
    "files were published by an unknown one": (
        "UPDATE published SET transfer_id = 't9' WHERE transfer_id = 't1'",
        {("rows", "t9")},
    ),
    "the journal has an unknown one": (
        "UPDATE journal SET transfer_id = 't9' WHERE transfer_id = 't5'",
        {("rows", "t9")},
    ),
    "a reply is about an unknown one": (
        "INSERT INTO replies VALUES ('k', '', 't9', 'done', '{}', 'waiting', 0, 1, 1, 1, 0, 0, 0)",
        {("rows", "t9")},
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_each_edit_is_found_and_nothing_else(path: Path, name: str) -> None:
    statement, expected = EDITS[name]
    edit(path, statement)
    assert findings(path) == expected


def test_objects_of_earlier_transfers_are_left_out_and_the_chain_is_not(path: Path) -> None:
    edit(
        path,
        "UPDATE objects SET crc32c = 'ffffffff' WHERE transfer_id = 't1'",
        "UPDATE seals SET seal = 'x' WHERE transfer_id = 't3'",
    )
    assert findings(path, since=AT + timedelta(days=1)) == {("evidence", "t3")}


def test_damaged_pages_are_found(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size - 3 * 4096)
        file.write(b"\xff" * 2 * 4096)
    assert {kind for kind, _ in findings(path)} == {"pages"}


def test_an_index_that_lacks_a_row_is_found_by_a_full_check(path: Path) -> None:
    edit(
        path,
        "PRAGMA writable_schema = 1",
        "UPDATE sqlite_master SET sql = replace(sql, 'source, id)', 'source COLLATE NOCASE, id)')"
        " WHERE name = 'ix_transfers_source'",
    )
    edit(path, "UPDATE transfers SET source = 'S3://RAW/t0/' WHERE id = 't4'")
    edit(
        path,
        "PRAGMA writable_schema = 1",
        "UPDATE sqlite_master SET sql = replace(sql, ' COLLATE NOCASE', '')"
        " WHERE name = 'ix_transfers_source'",
    )
    assert ("pages", "") in findings(path, is_full=True)


def test_pages_of_a_large_file_are_read_in_pieces(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commits of the agent wait for a reader: nothing reads the whole file at once."""
    monkeypatch.setattr(ledger_check, "AT_ONCE_BYTES", 1000)
    state = check_ledger(path)
    assert (state.pages, state.findings) == ("", [])
    assert all(one.is_estimate for one in state.tables)
    assert {one.name for one in state.tables} == set(state.rows)
    exact = {one.name: one.size_bytes for one in check_ledger(path, is_full=True).tables}
    assert {one.name: one.size_bytes for one in state.tables}.items() <= exact.items()


def test_a_ledger_that_others_may_change_is_found(path: Path) -> None:
    path.chmod(0o666)
    found: list[LedgerFinding] = []
    check_ledger(path, found=found.append)
    (one,) = found
    assert one.kind == "access"
    assert f"chmod go-w {path}" in one.what


def run(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["ledger", "check", *arguments])
    shown = capsys.readouterr()
    return ended.value.code, shown.out, shown.err


def test_the_command_shows_what_is_there_and_ends_with_65_for_findings(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run("--ledger", str(path), capsys=capsys)
    assert code == 0
    assert "nothing is wrong" in out
    assert "7 rows" in out
    assert "5 transfers with 15 objects computed again" in out
    edit(path, "DELETE FROM objects WHERE transfer_id = 't2'")
    code, out, _ = run("--ledger", str(path), capsys=capsys)
    assert code == 65
    assert "evidence  t2: its object lines differ from those sealed" in out
    assert "1 finding" in out


def test_the_document_fits_its_schema(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(path, "DELETE FROM objects WHERE transfer_id = 't2'")
    code, out, _ = run("--json", "--ledger", str(path), capsys=capsys)
    assert code == 65
    document = json.loads(out)
    schema = json.loads((DOCS / "schema" / "ledger-check.schema.json").read_text("utf-8"))
    assert Checker(schema).accepts(document)
    assert document["findings"][0]["transfer_id"] == "t2"


def test_what_is_no_ledger_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run("--ledger", str(tmp_path / "none.db"), capsys=capsys)
    assert code == 78
    assert "E_LEDGER_MISSING" in err
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as connection, connection:
        connection.execute("CREATE TABLE songs (name TEXT)")
    code, _, err = run("--ledger", str(other), capsys=capsys)
    assert code == 78
    assert "E_LEDGER_CORRUPT" in err
